"""All that the page says by itself stands in one module, so that a translation is a file.

The page gets another such file, in which every sentence stands in odd brackets: what has none was written elsewhere.
"""

import re
from typing import Final

import pytest
from playwright.async_api import Route, expect

from backchat.page import static_directory
from tests.browser.chromium import Person
from tests.browser.setting import CYAN, SAILING, Given, session
from tests.support.client import client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

STRINGS: Final = static_directory() / "strings.js"
SETTINGS: Final = ("language", "direction")
"""What a translation says of itself, which is no sentence."""

TRANSLATION: Final = """
import * as english from "/static/strings.js?english";
const strange = (value) => {
    if (typeof value === "string") return value && `⟦${value}⟧`;
    if (typeof value === "function") return (...given) => strange(value(...given));
    if (Array.isArray(value)) return value.map(strange);
    if (value?.constructor !== Object) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, strange(one)]));
};
"""

# What people, models and the server say stays as it is, and so does the name of the product.
FOREIGN: Final = (
    "article .text, article .rendered, message-queue .text, dialog.people li, .failure span, .notice .text, time, bdi,"
    " .name, code, .brand, noscript, [role=option] span, command-palette .hint"
)
ENGLISH: Final = """(foreign) => {
    const said = [];
    const see = (text, one) => {
        const own = text.replace(/⟦[^]*⟧/g, " ").replace(/Backchat/g, " ");
        if (/\\p{L}{2}/u.test(own)) said.push(`${one.tagName} ${one.className}: ${text.trim().slice(0, 100)}`);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        // A sentence may be made of several nodes.
        if (one.closest(foreign) || one.matches("script, style")) continue;
        const whole = one.closest("p, li, h1, h2, h3, button, label, dialog p, [role=option], summary, span");
        if (!whole?.textContent.includes("⟦")) see(walker.currentNode.data, one);
    }
    for (const one of document.body.querySelectorAll("[aria-label], [title], [placeholder], img[alt]")) {
        if (one.closest(".rendered")) continue;
        for (const name of ["aria-label", "title", "placeholder", "alt"]) {
            const value = one.getAttribute(name) ?? "";
            if (!value.includes("⟦")) see(value, one);
        }
    }
    return said;
}"""


async def test_nothing_is_said_but_what_the_translation_says(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    image = {"type": "image_url", "image_url": {"url": CYAN}}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}
    given(
        {**SAILING, "personality": None},
        session("parts", {"role": "user", "content": [image, {"type": "odd"}]}, call, {"role": "tool", "content": "1"}),
    )
    source = STRINGS.read_text(encoding="utf-8")
    names = re.findall(r"^export const (\w+)", source, re.MULTILINE)
    translated = "".join(
        f"export const {name} = {f'english.{name}' if name in SETTINGS else f'strange(english.{name})'};\n"
        for name in names
    )

    async def translate(route: Route) -> None:
        await route.fulfill(body=TRANSLATION + translated, content_type="text/javascript")

    await user.context.route(re.compile(r"/strings\.js$"), translate)

    async def translated_all() -> None:
        await tab.drawn()
        assert await tab.page.evaluate(ENGLISH, FOREIGN) == []

    tab = await user.opens(server.http, "/s/parts")
    await expect(tab.messages).to_have_count(3)
    await translated_all()
    tab = await user.opens(server.http, f"/s/{SAILING['session_id']}")
    await expect(tab.messages).to_have_count(4)
    await tab.page.locator("[data-connection=open]").wait_for()
    async with client(server.ws(SAILING["session_id"])) as other:
        await other.submit("/undo")
        await expect(tab.messages).to_have_count(2)
        await translated_all()
        await other.submit("And then?")
        await expect(tab.reply).to_have_count(1)
        await other.submit("And after that?")
        await translated_all()
        scripted.fail("It broke.")
        await expect(tab.reply).to_have_count(0)
        await translated_all()
    composer = tab.page.locator("#message")
    await composer.fill("/")
    await expect(tab.options.first).to_be_visible()
    await translated_all()
    await composer.fill("/nonsense")
    await composer.press("Enter")
    await translated_all()
    await composer.fill("")
    await composer.press("ArrowUp")
    await translated_all()
