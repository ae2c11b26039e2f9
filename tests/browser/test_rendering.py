"""Messages and replies as the server renders them: in place, without a jump, and plain text where there is no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import pytest
from playwright.async_api import Locator, WebSocketRoute, expect

from tests.browser.chromium import UNANCHORED, Person
from tests.browser.setting import Given, session
from tests.support.client import Json
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

PLAN: Final = """# Passage plan

A **night** passage, see [the almanac](https://example.invalid/almanac) and `tide_table()`.

- Ushant
- the Lizard

| Leg | Hours |
|-----|------:|
| one | 5 |

```python
def hours(distance):
    return distance / 5.5
```
"""


class Held:
    """The answers to `render` on their way to the pages of a browser, as long as they are held back."""

    def __init__(self) -> None:
        self.asked: list[Json] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.lost = False
        """The server is one that knows no `render`."""


@asynccontextmanager
async def held(user: Person) -> AsyncIterator[Held]:
    """Stands between the pages and the server."""
    between = Held()
    waiting: set[asyncio.Task[None]] = set()

    def connected(page: WebSocketRoute) -> None:
        far = page.connect_to_server()
        numbers: set[int] = set()

        def asked(frame: str | bytes) -> None:
            request: Json = msgspec.json.decode(frame)
            if request["method"] == "render":
                between.asked.append(request["params"])
                numbers.add(request["id"])
                if between.lost:
                    request["method"] = "unheard_of"
                    frame = msgspec.json.encode(request).decode()
            far.send(frame)

        async def later(frame: str | bytes) -> None:
            await between.go_on.wait()
            page.send(frame)

        def answered(frame: str | bytes) -> None:
            if msgspec.json.decode(frame).get("id") not in numbers:
                return page.send(frame)
            task = asyncio.create_task(later(frame))
            waiting.add(task)
            return task.add_done_callback(waiting.discard)

        page.on_message(asked)
        far.on_message(answered)

    await user.context.route_web_socket("**/ws/*", connected)
    try:
        yield between
    finally:
        between.go_on.set()
        await asyncio.gather(*waiting)


def text(article: Locator) -> Locator:
    return article.locator(":scope > .text")


async def top(element: Locator) -> float:
    """How far from the top of the window something is."""
    return float(await element.evaluate("(element) => element.getBoundingClientRect().top"))


# Messages.


async def test_what_a_model_wrote_is_shown_as_it_was_meant(server: Running, given: Given, user: Person) -> None:
    given(session("plan", "Use `tide_table`:\n\n```sh\nls  -l\n```\n*thanks*", PLAN))
    tab = await user.opens(server.http)
    said, plan = tab.messages.first, tab.messages.last
    await expect(plan.get_by_role("heading", level=3)).to_have_text("Passage plan")
    await expect(plan.locator("strong")).to_have_text("night")
    await expect(plan.get_by_role("listitem")).to_have_text(["Ushant", "the Lizard"])
    await expect(plan.get_by_role("region", name="Table").get_by_role("cell")).to_have_text(["one", "5"])
    link = plan.get_by_role("link", name="the almanac")
    await expect(link).to_have_attribute("href", "https://example.invalid/almanac")
    await expect(link).to_have_attribute("target", "_blank")
    await expect(plan.locator(".code-head span")).to_have_text("python")
    await expect(plan.locator("pre .k")).to_have_text(["def", "return"])
    # What a person typed stays as it was typed.
    await expect(said.locator("p code")).to_have_text("tide_table")
    await expect(said.locator("pre")).to_have_text("ls  -l")
    await expect(said.get_by_text("*thanks*")).to_be_visible()


async def test_a_session_is_never_shown_what_was_rendered_of_another(
    server: Running, given: Given, user: Person
) -> None:
    given(session("one", "a", "**first**"), session("two", "b", "**second**"))
    async with held(user) as between:
        between.go_on.clear()
        tab = await user.opens(server.http, "/s/one")
        await tab.shows("a", "first")
        await tab.sessions.locator("a[href='/s/two']").click()
        await tab.shows("b", "second")
        between.go_on.set()
        for name, word in (("one", "first"), ("two", "second"), ("one", "first")):
            await tab.sessions.locator(f"a[href='/s/{name}']").click()
            await expect(tab.messages.last.locator("strong")).to_have_text(word)


async def test_of_a_long_transcript_only_what_is_near_is_asked_for_and_each_message_once(
    server: Running, given: Given, user: Person
) -> None:
    given(session("long", *(f"**{number}**" for number in range(200))))
    async with held(user) as between:
        tab = await user.opens(server.http)
        await expect(tab.messages.last.locator("strong")).to_have_text("199")
        await tab.drawn()
        await tab.log.evaluate("(log) => { log.scrollTop = 0; }")
        await expect(tab.messages.nth(1).locator("strong")).to_have_text("1")
        await tab.drawn()
        asked = [number for params in between.asked for number in params["messages"]]
        assert {1, 2, 199, 200} <= set(asked)
        assert not set(range(70, 130)) & set(asked)
        await tab.log.evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
        await tab.drawn()
        asked = [number for params in between.asked for number in params["messages"]]
        assert len(set(asked)) == len(asked)
        assert all(len(params["messages"]) <= 50 for params in between.asked)


async def test_what_one_reads_stays_where_it_is_when_it_and_what_is_above_is_rendered_late(
    server: Running, given: Given, user: Person
) -> None:
    given(session("late", *(PLAN for _ in range(30))))
    async with held(user) as between:
        between.go_on.clear()
        tab = await user.opens(server.http)
        await expect(tab.messages.last).to_be_in_viewport()
        await tab.log.evaluate(UNANCHORED)
        await tab.log.evaluate("(log) => { log.scrollTop -= 2500; }")
        await tab.drawn()
        seen = tab.messages.nth(
            await tab.log.evaluate(
                """(log) => [...log.querySelectorAll("article")]
                    .findIndex((one) => one.getBoundingClientRect().bottom > log.getBoundingClientRect().top)"""
            )
        )
        before = await top(seen)
        between.go_on.set()
        await expect(seen.locator("pre")).to_be_attached()
        await tab.drawn()
        assert abs(await top(seen) - before) < 2


async def test_a_server_that_renders_nothing_leaves_the_text_to_be_read(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(session("plain", "a", "**b**"))
    async with held(user) as between:
        between.lost = True
        tab = await user.opens(server.http)
        await expect(tab.messages.last.get_by_text("**b**")).to_have_css("opacity", "1")
        await tab.submit("Go on")
        for piece in ("*one*", " two", " three"):
            scripted.say(piece)
            await expect(text(tab.reply)).to_contain_text(piece)
        await expect(text(tab.reply)).to_have_text("*one* two three")
        scripted.end()
        await tab.shows("a", "**b**", "Go on", "*one* two three")
        # It is asked for again with the next connection, not with every word.
        assert sum("run_id" in params for params in between.asked) == 1
        between.lost = False
        await tab.page.reload()
        await expect(tab.messages.last.locator("em")).to_have_text("one")
        # One that fails in the middle of a reply does not hold the rest of it back.
        await tab.submit("More")
        scripted.say("*four*")
        await expect(text(tab.reply).locator("em")).to_have_text("four")
        between.lost = True
        for piece in (" five", " six"):
            scripted.say(piece)
            await tab.drawn()
        await expect(text(tab.reply)).to_have_text("*four* five six")


# Replies.


async def test_a_reply_is_rendered_as_it_grows_and_what_was_there_stays_the_same(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Why?")
    scripted.say("# Because\n\nIt is *so*.\n\n```python\n" + "x = 1  # " + "long " * 60 + "\n")
    reply = text(tab.reply)
    await expect(reply.locator("h3")).to_have_text("Because")
    await expect(reply.locator("pre")).to_contain_text("long")
    # Somebody scrolls in the code, selects a word, and is about to copy.
    await reply.evaluate("""(reply) => {
        const [heading, paragraph, code] = reply.children;
        window.kept = [heading, paragraph, code, code.querySelector("pre")];
        kept[3].scrollLeft = 150;
        code.querySelector("button").focus();
        const word = paragraph.querySelector("em").firstChild;
        getSelection().setBaseAndExtent(word, 0, word, 2);
    }""")
    undisturbed = """() => [kept.every((one) => one.isConnected), kept[3].scrollLeft, String(getSelection()),
        document.activeElement === kept[2].querySelector("button")]"""
    for piece, shown in (("y = 2\n", "y = 2"), ("```\n\nThat is **all", "That is"), ("**.", "all.")):
        scripted.say(piece)
        await expect(reply).to_contain_text(shown)
        assert await tab.page.evaluate(undisturbed) == [True, 150, "so", True]
    await expect(reply.locator("strong")).to_have_text("all")
    scripted.say("\n\n- one\n- two")
    scripted.end()
    await expect(tab.reply).to_have_count(0)
    await expect(tab.messages.last.get_by_role("listitem")).to_have_text(["one", "two"])
    assert await tab.page.evaluate(undisturbed) == [True, 150, "so", True]
    assert await tab.messages.last.evaluate("(article) => kept.every((one) => article.contains(one))")


async def test_while_one_answer_is_on_its_way_no_other_is_asked_for(
    server: Running, user: Person, scripted: Scripted
) -> None:
    async with held(user) as between:
        tab = await user.opens(server.http)
        await tab.submit("Why?")
        await expect(tab.messages.first.locator(".html")).to_have_text("Why?")
        between.go_on.clear()
        between.asked.clear()
        for number in range(20):
            scripted.say(f"{number} ")
            await tab.drawn()
        await expect(text(tab.reply)).to_contain_text("19")
        assert len(between.asked) == 1
        between.go_on.set()
        await expect(text(tab.reply).locator("p")).to_contain_text("19")


async def test_the_page_measures_how_long_it_takes_until_messages_and_words_are_seen(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(session("plan", "a", PLAN))
    tab = await user.opens(server.http)
    await tab.submit("Go on")
    for word in ("one", " two"):
        scripted.say(word)
        await expect(text(tab.reply)).to_contain_text(word)
    measured: dict[str, float] = {}
    while not {"attach-to-paint", "delta-to-pixel"} <= set(measured):
        await tab.drawn()
        entries = await tab.page.evaluate(
            "performance.getEntriesByType('measure').map(({ name, duration }) => [name, duration])"
        )
        measured = dict(entries)
        assert len(measured) == len(entries)
    assert all(duration > 0 for duration in measured.values())
