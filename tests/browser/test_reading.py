"""What a person sees of a session."""

import json
from typing import Any, Final

import pytest
from playwright.async_api import Locator, expect

from backchat.importer import files_in
from tests.browser.chromium import UNANCHORED, Person
from tests.browser.setting import CYAN, SAILING, Given, Serve, session
from tests.support.client import Json, client
from tests.support.scripted import Scripted
from tests.support.server import SAMPLES, Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><b>bold</b>"
LINES = [f"line {number} of the log" for number in range(450)]


async def place(locator: Locator) -> float:
    """How far from the top of the window something is."""
    box = await locator.bounding_box()
    assert box is not None
    return box["y"]


async def scrolled_to(log: Locator, top: int) -> None:
    await log.evaluate("(log, top) => { log.scrollTop = top; }", top)


async def test_an_imported_session_shows_its_title_and_its_messages(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.shows(*(message["content"] for message in SAILING["messages"]))
    await expect(tab.page).to_have_url(f"{server.http}/s/5a111ab0a7e0")
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("First night passage")
    await expect(tab.here).to_contain_text("First night passage")
    await expect(tab.page).to_have_title("First night passage – Backchat")
    for number, message in enumerate(SAILING["messages"]):
        await expect(tab.messages.nth(number)).to_have_attribute("data-role", message["role"])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not beside this checkout")
@pytest.mark.parametrize("store", ["webui-2026-04", "webui-2026-08"])
async def test_every_session_of_a_sample_store_can_be_opened(
    server: Running, given: Given, user: Person, store: str
) -> None:
    sessions = [json.loads(file.read_text()) for file in files_in([SAMPLES / store]) if file.name != "_index.json"]
    given(*sessions)
    tab = await user.opens(server.http)
    for one in sessions:
        await tab.sessions.locator(f'a[href="/s/{one["session_id"]}"]').click()
        await tab.connected()
        await expect(tab.here).to_have_attribute("href", f"/s/{one['session_id']}")
        async with client(server.ws(one["session_id"])) as other:
            await expect(tab.messages).to_have_count(len(other.view.messages))
        if isinstance(last := (one["messages"] or [{"content": None}])[-1]["content"], str):
            await expect(tab.messages.last).to_contain_text(last)


async def test_what_is_no_conversation_is_folded_and_can_be_unfolded(
    server: Running, given: Given, user: Person
) -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "tide_table", "arguments": '{"port": "Brest"}'}}
    given(
        session(
            "folds",
            {"role": "system", "content": "You are a skipper."},
            {"role": "user", "content": "When is high water?"},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "content": "04:12 6.9 m", "name": "tide_table", "tool_call_id": "c1"},
            {"role": "assistant", "content": "At twelve past four."},
        )
    )
    tab = await user.opens(server.http)
    await tab.shows("System message", "When is high water?", "tide_table", "tide_table", "At twelve past four.")
    for number, inside in ((0, "You are a skipper."), (2, '"port": "Brest"'), (3, "04:12 6.9 m")):
        article = tab.messages.nth(number)
        unfolded = article.locator("details > .text").get_by_text(inside)
        await expect(unfolded).to_be_hidden()
        # What it is about shows all the same.
        await expect(article.locator("summary .glance")).to_contain_text(inside)
        await article.locator("summary").click()
        await expect(unfolded).to_be_visible()


async def test_content_of_any_shape_is_shown(server: Running, given: Given, user: Person) -> None:
    shapes: list[tuple[Any, str]] = [
        ([{"type": "text", "text": "part one"}, {"type": "text", "text": ", part two"}], "part one, part two"),
        ([{"type": "video", "url": "https://example.invalid/film"}], "Attachment: video"),
        ([{"type": "text", "text": 5}, None, "bare"], "bare"),
        ({"odd": ["thing"]}, '"odd"'),
        (None, "null"),
        (7, "7"),
        ("two\n\n  lines", "two lines"),
        ("", ""),
    ]
    given(session("shapes", *({"role": "user", "content": content} for content, _ in shapes), "So it is."))
    tab = await user.opens(server.http)
    await tab.shows(*(shown for _, shown in shapes), "So it is.")


async def test_markup_in_a_title_and_in_messages_stays_text(server: Running, given: Given, user: Person) -> None:
    parts = [{"type": "text", "text": HOSTILE}, {"type": HOSTILE, "text": HOSTILE}]
    calls = [{"function": {"name": HOSTILE, "arguments": HOSTILE}}]
    given(
        session(
            "hostile",
            HOSTILE,
            HOSTILE,
            {"role": "user", "content": parts},
            {"role": HOSTILE, "content": HOSTILE, "name": HOSTILE, "tool_calls": calls},
            title=HOSTILE,
            model=HOSTILE,
        )
    )
    tab = await user.opens(server.http)
    await tab.shows(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    await expect(tab.here).to_contain_text(HOSTILE)
    await expect(tab.page.locator("[role=log] :is(script, img, b), nav :is(script, img, b)")).to_have_count(0)
    await tab.submit("/status")
    await expect(tab.notice).to_contain_text(HOSTILE)
    await tab.submit(HOSTILE)
    await expect(tab.messages.last).to_have_attribute("data-role", "assistant")
    await expect(tab.messages.nth(5)).to_contain_text(HOSTILE)
    await expect(tab.page).to_have_title(f"{HOSTILE} – Backchat")
    await tab.act(HOSTILE, "Delete")
    await expect(tab.notice).to_contain_text(f"Deleted “{HOSTILE}”.")


async def test_an_image_is_shown_only_when_it_is_in_the_message_itself(
    server: Running, given: Given, user: Person
) -> None:
    urls = (CYAN, f"{server.http}/static/icon.svg", "https://example.invalid/pixel.png", "javascript:alert(1)")
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    given(session("images", {"role": "user", "content": parts}, {"role": "assistant", "content": "Cyan."}))
    tab = await user.opens(server.http)
    await tab.shows("https://example.invalid/pixel.png", "Cyan.")
    image = tab.log.get_by_role("img")
    await expect(image).to_have_count(1)
    await expect(image).to_have_attribute("src", CYAN)
    await expect(image).to_have_js_property("naturalWidth", 1)
    for url in urls[1:]:
        await expect(tab.log.get_by_text(url)).to_be_visible()
    # Whoever wants to see those goes there; no script is an address.
    links = tab.log.get_by_role("link")
    assert [await link.get_attribute("href") for link in await links.all()] == list(urls[1:3])


async def test_what_did_not_come_along_with_an_import_is_said_in_words(
    server: Running, given: Given, user: Person
) -> None:
    parts = [
        {"type": "image_asset_pointer", "asset_pointer": f"file-service://file-{name}", "width": 3} for name in "ab"
    ]
    parts.append({"type": "audio_asset_pointer", "asset_pointer": "sediment://file-c"})
    metadata = {"attachments": [{"id": "file-a", "name": "chart <1>.png"}]}
    given(session("parts", {"role": "user", "content": parts, "metadata": metadata}, "I see."))
    tab = await user.opens(server.http)
    await tab.shows("The image “chart <1>.png” did not come along", "I see.")
    await expect(tab.messages.first.locator(".text")).to_have_text(
        [
            "The image “chart <1>.png” did not come along with the import.",
            "An image that did not come along with the import.",
            "A recording that did not come along with the import.",
        ]
    )


async def test_each_text_runs_in_its_own_direction(server: Running, given: Given, user: Person) -> None:
    given(session("both", "الطقس جميل اليوم", "It is, isn't it?"))
    tab = await user.opens(server.http)
    directions = [("الطقس جميل اليوم", "rtl"), ("It is, isn't it?", "ltr")]
    for text, direction in directions:
        await expect(tab.log.get_by_text(text)).to_have_css("direction", direction)


@pytest.mark.parametrize(("backend", "line"), [("echo", "only repeat what you say"), ("none", "nothing replies")])
async def test_the_page_says_plainly_that_no_model_is_connected(
    serve: Serve, user: Person, backend: str, line: str
) -> None:
    server = await serve(backend=backend)
    tab = await user.opens(server.http)
    said = tab.page.get_by_text("No model is connected")
    await expect(said).to_be_visible()
    await expect(said).to_contain_text(line)
    await tab.submit("Anybody there?")
    await tab.shows("Anybody there?", *(["Anybody there?"] if backend == "echo" else []))
    await expect(said).to_be_visible()


# A long transcript.


def long() -> Json:
    return session("long", *LINES)


async def test_a_long_session_opens_at_its_end_with_the_last_two_hundred(
    server: Running, given: Given, user: Person
) -> None:
    given(long())
    tab = await user.opens(server.http)
    await expect(tab.messages).to_have_count(200)
    await expect(tab.messages.first).to_contain_text(LINES[250])
    await expect(tab.messages.last).to_contain_text(LINES[449])
    await expect(tab.messages.last).to_be_in_viewport(ratio=1)


UP: Final = """(log, top) => {
    log.scrollTop = top;
    const edge = log.getBoundingClientRect().top;
    const seen = [...log.querySelectorAll("article")].find((one) => one.getBoundingClientRect().bottom > edge);
    return [seen.dataset.id, seen.getBoundingClientRect().top];
}"""
"""Scrolls, and tells which message is the first to be seen then, and where."""


async def test_earlier_messages_come_before_the_top_is_reached_and_what_one_reads_stays_in_place(
    server: Running, given: Given, user: Person
) -> None:
    given(long())
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.log.evaluate(UNANCHORED)
    for count in (400, 450):
        seen, before = await tab.log.evaluate(UP, 1000)
        await expect(tab.messages).to_have_count(count)
        await tab.drawn()
        moved = await place(tab.log.locator(f"article[data-id='{seen}']")) - before
        # The button goes away with the last page.
        assert abs(moved) < 2, f"what was read moved by {moved} pixels"
    await expect(tab.page.get_by_role("button", name="Show earlier messages")).to_be_hidden()
    assert await tab.messages.evaluate_all("(all) => all.map((one) => Number(one.dataset.id))") == list(range(1, 451))


async def test_going_up_to_the_top_brings_earlier_messages(server: Running, given: Given, user: Person) -> None:
    given(long())
    tab = await user.opens(server.http)
    await expect(tab.messages.last).to_be_in_viewport(ratio=1)
    await scrolled_to(tab.log, 0)
    await expect(tab.messages).to_have_count(400)
    await expect(tab.messages.filter(has_text=LINES[250])).to_be_in_viewport()


async def test_a_message_of_the_transcript_can_be_shown_however_far_up_it_is(
    server: Running, given: Given, user: Person
) -> None:
    given(long())
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/undo")
    await expect(tab.messages).to_have_count(198)
    show = "(id) => document.querySelector('transcript-view').show(id)"
    # Number 450 is off the transcript, and there never was a 999.
    for number in (450, 999):
        assert not await tab.page.evaluate(show, number)
    await expect(tab.messages).to_have_count(198)
    for number in (3, 300):
        assert await tab.page.evaluate(show, number)
        article = tab.log.locator(f"article[data-id='{number}']")
        await expect(article).to_be_focused()
        await tab.drawn()
        await expect(article).to_be_in_viewport(ratio=1)


async def test_taking_back_more_than_the_view_holds_shows_what_is_left(
    server: Running, given: Given, user: Person
) -> None:
    given(long())
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/undo 220")
    await tab.shows(*LINES[:10])
    await expect(tab.page.get_by_role("button", name="Show earlier messages")).to_be_hidden()


async def test_the_view_follows_a_reply_only_while_its_reader_is_at_the_end(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(session("follow", *LINES[:60]))
    tab = await user.opens(server.http)
    await tab.connected()
    latest = tab.page.get_by_role("button", name="Jump to latest")
    await tab.submit("Go on")
    for number in range(40):
        scripted.say(f"answer {number}\n")
    end = tab.log.get_by_text("answer 39")
    await expect(end).to_contain_text("answer 39")
    await tab.drawn()
    assert await tab.log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 2
    await expect(latest).to_be_hidden()

    read = tab.messages.nth(50)
    await read.scroll_into_view_if_needed()
    await expect(latest).to_be_visible()
    before = await place(read)
    for number in range(40, 80):
        scripted.say(f"answer {number}\n")
    await expect(tab.reply).to_contain_text("answer 79")
    await tab.drawn()
    assert await place(read) == before
    scripted.end()
    await expect(tab.reply).to_have_count(0)
    await tab.drawn()
    assert await place(read) == before

    await latest.click()
    await tab.drawn()
    assert await tab.log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 2
    await expect(latest).to_be_hidden()


async def test_notices_that_come_and_go_leave_the_reader_at_the_end(
    server: Running, given: Given, user: Person
) -> None:
    given(session("long", *LINES[:60]))
    tab = await user.opens(server.http)
    await tab.connected()
    for line, said in [("/help", "List the commands"), ("/usage", "In all"), ("/status", "messages")] * 4:
        await tab.submit(line)
        await expect(tab.notice).to_contain_text(said)
        await tab.drawn()
        assert await tab.log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 2
    await expect(tab.page.get_by_role("button", name="Jump to latest")).to_be_hidden()
