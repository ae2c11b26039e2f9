"""Undo, retry and stop, as a person sees them, in one tab and in two."""

import pytest
from playwright.async_api import expect

from tests.browser.chromium import NETWORK, Person
from tests.browser.setting import SAILING, Given, Serve, session
from tests.browser.wire import Wire
from tests.support.client import client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]


async def test_undo_takes_the_last_turn_off_and_puts_its_text_into_the_empty_composer(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])
    await expect(tab.composer).to_have_value(SAID[2])
    await expect(tab.composer).to_be_focused()
    await expect(tab.took).to_contain_text("Undo did 2 messages")
    await expect(tab.here).to_contain_text("2 messages")
    async with client(server.ws("5a111ab0a7e0")) as other:
        assert other.view.texts == SAID[:2]


async def test_undo_leaves_a_composer_alone_that_has_been_filled_meanwhile(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await tab.submit("/undo")
    await tab.composer.fill("something else")
    wire.mend()
    await tab.shows(*SAID[:2])
    await expect(tab.took).to_contain_text("Undo did 2 messages")
    await expect(tab.composer).to_have_value("something else")


async def test_undo_of_several_turns_brings_back_the_oldest_text(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/undo 2")
    await tab.shows()
    await expect(tab.composer).to_have_value(SAID[0])
    await expect(tab.page.get_by_text("Nothing here yet")).to_be_visible()
    await tab.submit("/undo")
    await expect(tab.alert).to_contain_text("Nothing to undo.")
    await expect(tab.composer).to_have_value("/undo")


async def test_a_message_that_looks_like_a_command_comes_back_as_a_message(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.submit("//undo the knot")
    await tab.shows("/undo the knot", "/undo the knot")
    await tab.submit("/undo")
    await tab.shows()
    await expect(tab.composer).to_have_value("//undo the knot")
    await tab.composer.press("Enter")
    await tab.shows("/undo the knot", "/undo the knot")


async def test_retry_streams_another_reply_in_place_of_the_last_one(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/retry")
    await tab.shows(*SAID[:3])
    await expect(tab.composer).to_have_value("")
    await expect(tab.here).to_contain_text("Replying…")
    said = ""
    for piece in ("Leave", " on the", " ebb. 👩‍👩‍👧‍👦", " Then sleep."):
        scripted.say(piece)
        said += piece
        await expect(tab.reply).to_contain_text(said)
    await expect(tab.stop).to_be_visible()
    scripted.end()
    await tab.shows(*SAID[:3], said)
    await expect(tab.reply).to_have_count(0)
    await expect(tab.stop).to_be_hidden()


async def test_retry_where_nothing_replies_gives_the_text_back(serve: Serve, given: Given, user: Person) -> None:
    given(SAILING)
    server = await serve(backend="none")
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/retry")
    await tab.shows(*SAID[:2])
    await expect(tab.composer).to_have_value(SAID[2])


async def test_stop_keeps_what_was_written_and_marks_it(server: Running, user: Person, scripted: Scripted) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Tell me a story")
    scripted.say("Once upon", " a time")
    await expect(tab.reply).to_contain_text("Once upon a time")
    await tab.stop.click()
    await tab.shows("Tell me a story", "Once upon a time")
    await expect(tab.messages.last).to_contain_text("Stopped")
    await expect(tab.messages.first).not_to_contain_text("Stopped")
    await expect(tab.stop).to_be_hidden()
    await tab.page.reload()
    await tab.shows("Tell me a story", "Once upon a time")
    await expect(tab.messages.last).to_contain_text("Stopped")


async def test_a_reply_stopped_before_its_first_word_leaves_nothing(
    server: Running, user: Person, scripted: Scripted
) -> None:
    del scripted
    tab = await user.opens(server.http)
    await tab.submit("Tell me a story")
    await tab.stop.click()
    await expect(tab.notice).to_contain_text("Stopped.")
    await expect(tab.reply).to_have_count(0)
    await tab.shows("Tell me a story")


async def test_undo_during_a_reply_takes_the_half_written_reply_too(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Tell me a story")
    scripted.say("Once upon")
    await expect(tab.reply).to_contain_text("Once upon")
    await tab.submit("/undo")
    await tab.shows()
    await expect(tab.reply).to_have_count(0)
    await expect(tab.composer).to_have_value("Tell me a story")
    await expect(tab.took).to_contain_text("Undo did 2 messages")


async def test_two_tabs_stay_in_step(server: Running, given: Given, user: Person, scripted: Scripted) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
        await tab.connected()

    await one.submit("/undo")
    for tab in (one, two):
        await tab.shows(*SAID[:2])
    await expect(two.composer).to_have_value("")

    await two.submit("/retry")
    scripted.say("A day", " and a night")
    for tab in (one, two):
        await tab.shows(SAID[0])
        await expect(tab.reply).to_contain_text("A day and a night")
        await expect(tab.stop).to_be_visible()
    scripted.end()
    for tab in (one, two):
        await tab.shows(SAID[0], "A day and a night")
        await expect(tab.reply).to_have_count(0)

    await one.submit("Sure?")
    scripted.say("Quite")
    for tab in (one, two):
        await tab.shows(SAID[0], "A day and a night", "Sure?")
        await expect(tab.reply).to_contain_text("Quite")
    await two.stop.click()
    for tab in (one, two):
        await tab.shows(SAID[0], "A day and a night", "Sure?", "Quite")
        await expect(tab.messages.last).to_contain_text("Stopped")
        await expect(tab.reply).to_have_count(0)
        await expect(tab.stop).to_be_hidden()
        await expect(tab.here).to_contain_text("4 messages")


async def test_a_tab_opened_in_mid_reply_shows_what_was_written_so_far(
    server: Running, user: Person, scripted: Scripted
) -> None:
    one = await user.opens(server.http)
    await one.submit("Count")
    scripted.say("one two ")
    await expect(one.reply).to_contain_text("one two")
    two = await user.opens(server.http)
    await expect(two.reply).to_contain_text("one two")
    scripted.say("three")
    scripted.end()
    for tab in (one, two):
        await tab.shows("Count", "one two three")


async def test_undo_meant_for_what_another_tab_has_changed_is_not_done(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(session("three", "a1", "a2", "b1", "b2", "c1", "c2"))
    user.expected = NETWORK
    near, far = await user.opens(server.http), await user.opens(wire.http)
    for tab in (near, far):
        await tab.connected()
    wire.cut()
    await near.submit("/undo")
    await near.shows("a1", "a2", "b1", "b2")
    await far.submit("/undo")
    await expect(far.pending).to_contain_text("/undo")
    wire.mend()
    await expect(far.alert).to_contain_text("this session has changed since")
    await expect(far.composer).to_have_value("/undo")
    for tab in (near, far):
        await tab.shows("a1", "a2", "b1", "b2")


async def test_a_refused_command_is_not_joined_to_the_next_one(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
    await tab.submit("/undo")
    await tab.composer.fill("/undo")
    async with client(server.ws(tab.session_id)) as other:
        await other.say("something else")
    wire.mend()
    await expect(tab.alert).to_contain_text("this session has changed since")
    await expect(tab.composer).to_have_value("/undo")


async def test_what_was_wrong_with_a_line_is_not_covered_by_what_could_be_typed(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.ready()
    await tab.submit("/undo")
    await expect(tab.alert).to_contain_text("Nothing to undo.")
    await expect(tab.composer).to_have_value("/undo")
    await expect(tab.options).to_have_count(0)
    await tab.type("x")
    await tab.composer.fill("/u")
    await expect(tab.options).not_to_have_count(0)


# What came off, and the way back.


async def test_what_comes_off_fades_where_it_stood_and_a_line_says_what_did_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await tab.connected()
    # The animation is held at its beginning, so that one can look at it.
    await tab.page.evaluate("""() => {
        const animate = Element.prototype.animate;
        Element.prototype.animate = function (...how) {
            const animation = animate.apply(this, how);
            animation.pause();
            return animation;
        };
    }""")
    leaving = tab.log.locator(".leaving")
    before = await tab.messages.nth(2).bounding_box()
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])
    await expect(tab.took).to_have_text("Undo did 2 messagesRedo")
    await expect(leaving).to_have_count(1)
    await expect(leaving.locator("article")).to_have_count(2)
    assert before is not None
    now = await leaving.locator("article").first.bounding_box()
    assert now is not None
    assert now["x"] == before["x"]
    # Whoever does not see it never meets it again.
    await expect(tab.log.get_by_role("article")).to_have_count(2)
    await expect(leaving).to_have_attribute("inert", "")
    await tab.redo.click()
    await tab.shows(*SAID)
    await expect(leaving).to_have_count(1)
    await tab.page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    await expect(leaving).to_have_count(0)
    await tab.shows(*SAID)
    await expect(tab.took).to_be_hidden()


async def test_nothing_fades_for_those_who_want_no_motion(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.page.emulate_media(reduced_motion="reduce")
    await tab.connected()
    await tab.page.evaluate("""() => {
        window.left = 0;
        new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach((node) => {
            if (node.classList?.contains("leaving")) window.left++;
        }))).observe(document.querySelector("[role=log]"), { childList: true, subtree: true });
    }""")
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])
    assert await tab.page.evaluate("left") == 0


async def test_the_line_says_what_came_off_last_and_after_a_reload_only_that_something_did(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    for line, said in (
        ("/drop 1", "Drop took off 2 messages"),
        ("/edit And by night?", "Edit took off 2 messages"),
        ("/retry", "Retry took off 1 message"),
        ("/clear", "Clear took off 2 messages"),
    ):
        await tab.submit(line)
        await expect(tab.took).to_contain_text(said)
        await expect(tab.reply).to_have_count(0)
        await expect(tab.notice).to_be_empty()
    await tab.redo.click()
    await expect(tab.took).to_contain_text("Retry took off 1 message")
    await tab.page.reload()
    await tab.connected()
    await expect(tab.took).to_have_text("Redo")


async def test_what_follows_a_turn_that_is_dropped_stays_as_it_is(server: Running, given: Given, user: Person) -> None:
    given(session("drop", "a", "**a**", "b", "**b**", {"role": "user", "content": "c"}, "**c**"))
    tab = await user.opens(server.http)
    last = tab.messages.last.locator("strong")
    await expect(last).to_have_text("c")
    node = await last.element_handle()
    await tab.submit("/drop 2")
    await tab.shows("a", "a", "c", "c")
    await tab.submit("/drop 1")
    await tab.shows("c", "c")
    await expect(tab.messages.last.get_by_text("#10")).to_be_visible()
    assert await node.evaluate("(node) => node.isConnected"), "it was drawn anew"
