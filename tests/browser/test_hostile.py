"""Nothing that anybody writes, calls a thing or makes a model say becomes more than text on somebody's page.

The browser itself is asked: whatever ran, was blocked by the Content-Security-Policy or asked for something from
elsewhere is a complaint of the page (see `Person`). What would be an element is looked for besides.
"""

import json
from typing import Final
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from tests.browser.chromium import Person, Tab
from tests.browser.setting import Given, session
from tests.support.client import client
from tests.support.hostile import MARKUP, TEXTS
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SUSPICIOUS: Final = """() => {
    const odd = [...document.body.querySelectorAll("*")].filter((one) =>
        one.matches("script, style, link, iframe, object, embed, base, meta, form[action], math, animate")
        || [...one.attributes].some(({ name }) => name.startsWith("on"))
        || (one.matches("a") && !/^(https?:|mailto:)/.test(one.href))
        || (one.matches("img") && !/^data:image|\\/static\\//.test(one.src)));
    return [window.hacked ?? null, ...odd.map((one) => one.outerHTML.slice(0, 200))];
}"""


async def harmless(tab: Tab) -> None:
    """Asserts that nothing ran, and that the page has no element that could."""
    await tab.drawn()
    assert await tab.page.evaluate(SUSPICIOUS) == [None]


async def test_what_people_and_models_write_stays_what_it_is(server: Running, given: Given, user: Person) -> None:
    said = [text for text in TEXTS for _ in range(2)]  # by a person, and by a model
    told = [
        {"role": "assistant", "content": "ok", "reasoning": text, "name": text, "model": text}
        | {"tool_calls": [{"function": {"name": text, "arguments": json.dumps({text: text})}}]}
        for text in TEXTS
    ]
    heard = [{"role": "tool", "content": text, "name": text, "tool_call_id": text} for text in TEXTS]
    parts = [
        {"role": "user", "content": [{"type": text, "text": text}, {"type": "image_url", "image_url": {"url": text}}]}
        for text in TEXTS
    ]
    given(session("said", *said), session("told", "Go on.", *told, *heard), session("parts", *parts))
    for session_id, texts in (("said", said), ("told", []), ("parts", [])):
        tab = await user.opens(server.http, f"/s/{session_id}")
        await tab.connected()
        await expect(tab.messages.first).to_be_visible()
        # Nothing was taken away either: a person finds what was written.
        for text in texts[:4]:
            await expect(tab.messages.filter(has_text=text).first).to_be_attached()
        for summary in await tab.log.locator("summary").all():
            await summary.evaluate("(summary) => summary.parentElement.open = true")
        await harmless(tab)
        await tab.page.close()


async def test_a_reply_that_grows_is_as_harmless(server: Running, user: Person, scripted: Scripted) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Go on.")
    for text in TEXTS:
        # In pieces: what is harmless as a whole must be so when only half of it is there.
        scripted.say(text[: len(text) // 2])
        scripted.say(text[len(text) // 2 :], "\n\n")
    scripted.say("That is all.")
    await expect(tab.reply).to_contain_text("That is all.")
    await harmless(tab)
    scripted.end()
    await expect(tab.messages).to_have_count(2)
    await harmless(tab)


async def test_what_things_are_called_stays_a_name(server: Running, given: Given, user: Person) -> None:
    names = MARKUP[:12]
    given(
        *(
            session(f"s{number}", "hello", "hi", title=name, model=name, workspace=name, personality=name)
            for number, name in enumerate(names)
        )
    )
    tab = await user.opens(server.http, "/s/s0")
    await tab.connected()
    await expect(tab.title).to_have_text(names[0])
    async with client(server.ws("s0", f"name={quote(MARKUP[3])}")) as other:
        await expect(tab.presence).to_be_visible()
        await tab.presence.click()
        await other.submit("/undo")
        await expect(tab.notice).to_contain_text(MARKUP[3])
        await harmless(tab)
        await other.submit(f"/title {MARKUP[1]}")
        await expect(tab.title).to_have_text(MARKUP[1])
        await other.submit("/redo")
        await other.submit("/branch")
    await harmless(tab)


async def test_what_goes_wrong_is_told_as_text(server: Running, user: Person, scripted: Scripted) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Go on.")
    for text in MARKUP[:6]:
        scripted.fail(text)
        await expect(tab.messages.last).to_contain_text(text)
        await harmless(tab)
        await tab.submit(f"/title {text}")
        await expect(tab.notice).to_contain_text(text)
        await harmless(tab)
        await tab.composer.fill(f"/title {text}")
        await harmless(tab)
        await tab.submit("/retry")
        await expect(tab.reply).to_have_count(1)
    for number in range(3):
        await tab.submit(f"{number} {MARKUP[number]}")
    await expect(tab.waiting).to_have_count(3)
    await harmless(tab)
