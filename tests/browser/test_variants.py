"""Variants, redo and branches, as a person sees them, and what the page sends for them."""

import asyncio
from typing import Final

import pytest
from playwright.async_api import Locator, WebSocketRoute, expect

from backchat.commands import TABLE
from tests.browser.chromium import NETWORK, Person, Sent, Tab
from tests.browser.setting import SAILING, Given, session
from tests.browser.wire import Wire
from tests.support.client import Client, Json, client, eventually
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
SAILING_ID: Final = SAILING["session_id"]


def switch(message: Locator) -> Locator:
    """The switch of variants of a message."""
    return message.get_by_role("group", name="Variant")


def previous(message: Locator) -> Locator:
    return message.get_by_role("button", name="Previous variant")


def following(message: Locator) -> Locator:
    return message.get_by_role("button", name="Next variant")


async def edited(one: Client, *texts: str) -> None:
    """Gives the last user message these texts, one after the other, all of them answered."""
    for text in texts:
        await one.submit(f"/edit {text}")
        await one.until(lambda: one.view.run is None)


async def place(element: Locator) -> float:
    """How far from the top of the window something is."""
    box = await element.bounding_box()
    assert box is not None
    return box["y"]


# Variants.


async def test_a_message_with_variants_has_a_switch_that_shows_the_others(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
        await tab.connected()
        await expect(switch(tab.log)).to_have_count(0)
    await one.submit("/edit And with no wind?")
    await one.shows(*SAID[:2], "And with no wind?", "And with no wind?")
    await one.submit("/edit And by night?")
    for tab in (one, two):
        await tab.shows(*SAID[:2], "And by night?", "And by night?")
        await expect(switch(tab.log)).to_have_count(1)
        last = tab.messages.nth(2)
        await expect(switch(last)).to_have_text("‹3/3›")
        await expect(switch(last)).to_have_attribute("aria-label", "Variant 3 of 3")
        await expect(previous(last)).to_have_attribute("aria-label", "Previous variant (2 of 3)")
        await expect(following(last)).to_be_disabled()

    await previous(two.messages.nth(2)).click()
    for tab in (one, two):
        await tab.shows(*SAID[:2], "And with no wind?", "And with no wind?")
        await expect(switch(tab.messages.nth(2))).to_have_text("‹2/3›")
    await previous(one.messages.nth(2)).click()
    for tab in (one, two):
        await tab.shows(*SAID)
        await expect(switch(tab.messages.nth(2))).to_have_text("‹1/3›")
        await expect(previous(tab.messages.nth(2))).to_be_disabled()
        # What the switch did is seen.
        await expect(tab.notice).not_to_contain_text("Variant")
    await two.page.reload()
    await two.shows(*SAID)
    await expect(switch(two.messages.nth(2))).to_have_text("‹1/3›")
    await following(two.messages.nth(2)).click()
    await one.shows(*SAID[:2], "And with no wind?", "And with no wind?")


async def test_a_retried_reply_is_a_variant_and_one_that_is_being_written_is_kept(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/retry")
    scripted.say("Sleep.")
    scripted.end()
    await tab.shows(*SAID[:3], "Sleep.")
    await tab.submit("/retry")
    scripted.say("Drink tea")
    await expect(tab.reply).to_contain_text("Drink tea")
    await tab.submit("/prev")
    await tab.shows(*SAID[:3], "Sleep.")
    await expect(tab.notice).to_contain_text("Message 5. Variant 2 of 3.")
    await following(tab.messages.last).click()
    await tab.shows(*SAID[:3], "Drink tea")
    await expect(tab.messages.last).to_contain_text("Stopped")
    await expect(tab.notice).not_to_contain_text("Variant")
    await expect(switch(tab.messages.last)).to_have_text("‹3/3›")
    # What a switch shows needs no words, but that it has stopped a reply does.
    await tab.submit("And then?")
    scripted.say("Row")
    await expect(tab.reply).to_contain_text("Row")
    await expect(tab.redo).to_be_hidden()
    await previous(tab.messages.nth(3)).click()
    await tab.shows(*SAID[:3], "Sleep.")
    await expect(tab.notice).to_contain_text("The reply that was being written was stopped.")


async def test_the_keyboard_goes_through_the_variants_and_the_focus_stays_on_the_switch(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    async with client(server.ws(SAILING_ID)) as other:
        await edited(other, "And by night?", "And in fog?")
        tab = await user.opens(server.http)
        await tab.connected()
        message = tab.messages.nth(2)
        await tab.composer.focus()
        for _ in range(5):
            await tab.press("Shift+Tab")
            if await previous(message).evaluate("(button) => button === document.activeElement"):
                break
        await tab.press("Enter")
        await tab.shows(*SAID[:2], "And by night?", "And by night?")
        await expect(previous(message)).to_be_focused()
        await tab.press("Space")
        await tab.shows(*SAID)
        # There is nothing more that way.
        await expect(following(message)).to_be_focused()
        await tab.press("Enter")
        await tab.shows(*SAID[:2], "And by night?", "And by night?")
        await expect(following(message)).to_be_focused()
        # Whoever moves it.
        await other.submit("/pick 5 3")
        await tab.shows(*SAID[:2], "And in fog?", "And in fog?")
        await expect(previous(message)).to_be_focused()
        # Without a sibling the transcript has it.
        await other.submit("/undo")
        await tab.shows(*SAID[:2])
        await expect(tab.log).to_be_focused()


async def test_a_variant_of_the_first_message_is_news_too(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    async with client(server.ws(SAILING_ID)) as other:
        await other.submit("/edit 1 Ahoy")
        await other.until(lambda: other.view.run is None)
    tab = await user.opens(server.http)
    await tab.shows("Ahoy", "Ahoy")
    await expect(tab.log).to_have_attribute("aria-live", "off")
    await previous(tab.messages.first).click()
    await tab.shows(*SAID)
    await expect(tab.log).to_have_attribute("aria-live", "polite")


async def test_a_switch_stays_under_the_mouse_however_long_the_variants_are(
    server: Running, given: Given, user: Person
) -> None:
    tall = "\n".join(str(number) for number in range(60))
    given(session("long", "first", "one", tall, "two", "third", "three", "fourth", "four"))
    async with client(server.ws("long")) as other:
        await other.submit("/edit 3 short")
        await other.until(lambda: other.view.run is None)
    tab = await user.opens(server.http, "/s/long")
    await tab.shows("first", "one", "short", "short")
    message = tab.messages.nth(2)
    await tab.drawn()
    before = await place(switch(message))
    await previous(message).click()
    await tab.shows("first", "one", "59", "two", "third", "three", "fourth", "four")
    await tab.drawn()
    assert abs(await place(switch(message)) - before) < 2
    await following(message).click()
    await tab.shows("first", "one", "short", "short")
    await tab.drawn()
    assert abs(await place(switch(message)) - before) < 2


async def test_a_message_on_screen_is_told_of_a_variant_that_came_meanwhile(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    article = await tab.messages.last.element_handle()
    wire.cut()
    async with client(server.ws(SAILING_ID)) as other:
        await other.submit("/retry")
        await other.until(lambda: other.view.run is None)
        await other.submit("/prev")
    wire.mend()
    await expect(switch(tab.messages.last)).to_have_text("‹1/2›")
    await tab.shows(*SAID)
    assert await article.evaluate("(article) => article.isConnected"), "it was drawn anew"


async def test_a_switch_does_nothing_later_and_nothing_twice(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    async with client(server.ws(SAILING_ID)) as other:
        await edited(other, "two", "three")
        await other.submit("/pick 3")
        tab = await user.opens(wire.http)
        await tab.shows(*SAID)
        sent = Sent(tab)
        wire.cut()
        await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
        await following(tab.messages.nth(2)).click()
        await expect(tab.alert).to_contain_text("Not connected: another variant cannot be shown now.")
        wire.mend()
        await tab.connected()

        wire.mute()
        for _ in range(2):
            await following(tab.messages.nth(2)).click()
        await other.until(lambda: other.view.texts == [*SAID[:2], "two", "two"])
        wire.cut()
        wire.mend()
        await tab.shows(*SAID[:2], "two", "two")
        await expect(tab.alert).to_be_empty()
        assert {submit["text"] for submit in sent.submits} == {"/pick 3 2"}
        assert len({submit["op_id"] for submit in sent.submits}) == 1


async def test_a_switch_of_a_transcript_that_has_changed_says_so(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    async with client(server.ws(SAILING_ID)) as other:
        await edited(other, "two")
        tab = await user.opens(wire.http)
        await tab.shows(*SAID[:2], "two", "two")
        await tab.connected()
        wire.mute()
        await other.say("meanwhile")
        await previous(tab.messages.nth(2)).click()
        wire.cut()
        wire.mend()
        await expect(tab.alert).to_contain_text("Not done: this session has changed since")
        await tab.shows(*SAID[:2], "two", "two", "meanwhile", "meanwhile")
        await expect(tab.composer).to_have_value("")


async def test_every_message_has_the_number_that_commands_know_it_by(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await tab.submit("/edit 3 And by night?")
    await tab.shows(*SAID[:2], "And by night?", "And by night?")
    for message, number in zip(await tab.messages.all(), (1, 2, 5, 6), strict=True):
        shown = message.get_by_text(f"#{number}", exact=True)
        await expect(shown).to_be_visible()
        await expect(shown).to_have_css("user-select", "auto")
    await tab.submit("/goto #5")
    await tab.shows(*SAID[:2], "And by night?")
    await expect(tab.notice).to_contain_text("The transcript ends with message 5 now.")
    await tab.submit("/pick 3")
    await tab.shows(*SAID)
    await expect(tab.notice).to_contain_text("Message 3. Variant 1 of 2.")


# Redo.


async def test_redo_is_there_while_there_is_something_to_bring_back(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
        await tab.connected()
        await expect(tab.redo).to_be_hidden()
    for left in (SAID[:2], []):
        await one.submit("/undo")
        for tab in (one, two):
            await tab.shows(*left)
    await expect(one.took).to_contain_text("Undo did 2 messages")
    for tab in (one, two):
        await expect(tab.redo).to_be_in_viewport()
        await expect(tab.redo).to_have_attribute("title", "Bring back what was last taken off (the last of 2 steps)")
    await two.page.reload()
    await two.redo.click()
    for tab in (one, two):
        await tab.shows(*SAID[:2])
        await expect(tab.redo).to_have_attribute("title", "Bring back what was last taken off")
    await expect(two.notice).to_contain_text("Brought back 1 turn.")
    await one.submit("Another question")
    for tab in (one, two):
        await tab.shows(*SAID[:2], "Another question", "Another question")
        await expect(tab.redo).to_be_hidden()
        # What the message left behind is a variant of it.
        await expect(switch(tab.messages.nth(2))).to_have_text("‹2/2›")


async def test_redo_works_by_keyboard_and_leaves_the_focus_somewhere(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/undo 2")
    await tab.shows()
    await expect(tab.composer).to_have_value(SAID[0])
    await tab.press("Shift+Tab")
    await expect(tab.redo).to_be_focused()
    await tab.press("Enter")
    await tab.shows(*SAID)
    await expect(tab.redo).to_be_hidden()
    await expect(tab.log).to_be_focused()
    await expect(tab.messages.last).to_be_in_viewport()


async def test_redo_does_nothing_later(server: Running, given: Given, user: Person, wire: Wire) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])
    wire.cut()
    await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
    await tab.redo.click()
    await expect(tab.alert).to_contain_text("Not connected: nothing can be brought back now.")
    wire.mend()
    await tab.connected()
    await tab.submit("/status")
    await expect(tab.notice).to_contain_text("2 messages")
    await tab.shows(*SAID[:2])


# What is sent.

LINES: Final = {
    "retry": "/retry",
    "undo": "/undo",
    "redo": "/redo",
    "edit": "/edit 3 And by night?",
    "prev": "/prev",
    "next": "/next",
    "pick": "/pick 3 2",
    "goto": "/goto #2",
    "drop": "/drop 1",
    "clear": "/clear",
    "stop": "/stop",
    "queue": "/queue go",
    "model": "/model none",
    "personality": "/personality none",
    "system": "/system none",
    "title": "/title Another",
    "log": "/log 3",
    "status": "/status",
    "usage": "/usage",
    "help": "/help undo",
    "branch": "/branch 2 A branch",
    "new": "/new",
}
"""A line for each command; those that go to another session come last."""


async def test_every_line_has_an_op_id_and_every_one_that_changes_the_transcript_the_revision_on_screen(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    assert set(LINES) == set(TABLE)
    tab = await user.opens(server.http)
    await tab.connected()
    sent = Sent(tab)
    expected: list[Json] = []
    async with client(server.ws(SAILING_ID)) as other:
        for line in ("Hello", *LINES.values(), "//undo"):
            revision = (await other.submit("/status"))["revision"]
            before = tab.session_id
            await tab.submit(line)
            await eventually(lambda: len(sent.submits) > len(expected))
            name = line.split()[0].removeprefix("/")
            changes = name in TABLE and TABLE[name].changes_transcript
            expected.append({"text": line, **({"if_revision": revision} if changes else {})})
            if name in ("branch", "new"):
                await tab.page.wait_for_url(lambda url: not url.endswith(before))  # noqa: B023 - awaited here
                await tab.connected()
            await tab.answered()
            await expect(tab.reply).to_have_count(0)
            await other.until(lambda: other.view.run is None)
            await settled(tab, other)
    op_ids = [submit.pop("op_id") for submit in sent.submits]
    assert len(set(op_ids)) == len(op_ids)
    assert sent.submits == expected


async def settled(tab: Tab, other: Client) -> None:
    """Returns once the page shows what the other client of its session does."""
    # Its reply comes after all that the page's last line has done.
    await other.submit("/status")
    if tab.session_id == SAILING_ID:
        await tab.shows(*other.view.texts)


async def test_every_button_sends_what_a_line_would(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    sent = Sent(tab)
    async with client(server.ws(SAILING_ID)) as other:
        await tab.submit("/undo")
        await tab.shows(*SAID[:2])
        revisions = [(await other.submit("/status"))["revision"]]
        await tab.redo.click()
        await tab.shows(*SAID)
        await other.submit("/retry")
        scripted.say("Wait")
        await other.until(lambda: other.view.run and other.view.run["text"])
        await tab.submit("Next")
        await expect(tab.waiting).to_have_count(1)
        await tab.stop.click()
        await tab.shows(*SAID[:3], "Wait")
        await tab.page.get_by_role("button", name="Take out").click()
        await expect(tab.queue).to_be_hidden()
        revisions.append((await other.submit("/status"))["revision"])
        await previous(tab.messages.last).click()
        await tab.shows(*SAID)
    pressed = [submit for submit in sent.submits if submit["text"] not in ("/undo", "Next")]
    assert all(submit.pop("op_id") for submit in pressed)
    assert pressed == [
        {"text": "/redo", "if_revision": revisions[0]},
        {"text": "/stop"},
        {"text": "/queue drop 1"},
        {"text": "/pick 5 1", "if_revision": revisions[1]},
    ]


async def test_a_command_in_a_session_made_this_moment_means_the_empty_one(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.ready()
    sent = Sent(tab)
    await tab.submit("/undo")
    await expect(tab.alert).to_contain_text("Nothing to undo.")
    assert [(submit["text"], submit["if_revision"]) for submit in sent.submits] == [("/undo", 1)]


async def test_a_command_for_a_transcript_that_nobody_has_seen_yet_is_not_done(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    connected = asyncio.Event()

    async def between(page: WebSocketRoute) -> None:
        await connected.wait()
        page.connect_to_server()

    await user.context.route_web_socket("**/ws/*", between)
    tab = await user.opens(server.http)
    await tab.ready()
    await tab.submit("/undo")
    await expect(tab.pending).to_contain_text("/undo")
    connected.set()
    await expect(tab.alert).to_contain_text("Not done: the session was not on screen yet.")
    await expect(tab.composer).to_have_value("/undo")
    await tab.shows(*SAID)


# Branches.


async def test_a_branch_opens_in_the_tab_that_asked_and_says_where_it_is_from(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
        await tab.connected()
        await expect(tab.origin).to_be_hidden()
    await one.submit("/branch 2 Another passage")
    await one.shows(*SAID[:2])
    await expect(one.title).to_have_text("Another passage")
    await expect(one.here).to_contain_text("Another passage")
    await expect(one.origin).to_have_text("Branched from First night passage at #2")
    await one.connected()
    assert one.session_id != SAILING_ID
    await expect(one.notice).to_be_empty()
    await one.submit("What else?")
    await one.shows(*SAID[:2], "What else?", "What else?")
    # The other tab lists it, and stays where it is.
    await expect(two.links).to_have_count(2)
    await two.shows(*SAID)
    await expect(two.origin).to_be_hidden()

    branch = one.session_id
    await one.page.evaluate("window.loaded = 'once'")
    link = one.origin.get_by_role("link", name="First night passage")
    await expect(link).to_have_attribute("href", f"/s/{SAILING_ID}")
    await link.focus()
    await one.press("Enter")
    await one.shows(*SAID)
    await expect(one.origin).to_be_hidden()
    assert one.session_id == SAILING_ID
    assert await one.page.evaluate("window.loaded") == "once"
    await one.page.go_back()
    await one.shows(*SAID[:2], "What else?", "What else?")
    await expect(one.origin).to_be_visible()

    # Of a session that is not in the list, nobody knows the title.
    await one.act("First night passage", "Delete")
    await expect(one.links).to_have_count(1)
    await expect(one.origin).to_have_text("Branched from another session at #2")
    assert one.session_id == branch
