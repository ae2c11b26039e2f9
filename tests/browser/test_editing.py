"""Editing a message in the composer."""

import pytest
from playwright.async_api import Locator, expect

from tests.browser.chromium import NETWORK, Person, Sent, Tab
from tests.browser.setting import CYAN, SAILING, Given, session
from tests.browser.test_looks import readable
from tests.browser.wire import Wire
from tests.support.client import client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
SAILING_ID: str = SAILING["session_id"]


def editing(tab: Tab) -> Locator:
    """What is said of the message that is being edited."""
    return tab.page.locator("message-composer form").get_by_text("Editing #")


async def edits(tab: Tab, number: int, text: str) -> None:
    """Waits until a message is being edited, with this text so far."""
    await expect(editing(tab)).to_have_text(f"Editing #{number}")
    await expect(tab.composer).to_have_value(text)
    await expect(tab.composer).to_be_focused()


async def test_up_in_an_empty_composer_edits_the_last_message_and_enter_asks_again(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    sent = Sent(tab)
    await expect(tab.composer).to_be_focused()
    await tab.type("x")
    await tab.press("ArrowUp")
    await expect(editing(tab)).to_be_hidden()
    await tab.press("Delete", "ArrowUp")
    await edits(tab, 3, SAID[2])
    await expect(tab.page.locator("message-composer [aria-live]").get_by_text("Escape cancels")).to_have_count(1)
    # Up and down move in the text now, and a text that looks like a command is one.
    await tab.press("ArrowUp", "ArrowDown", "End", "Shift+Home")
    await tab.type("/undo")
    await expect(tab.palette).to_be_hidden()
    await tab.press("Enter")
    await tab.shows(*SAID[:2], "/undo", "/undo")
    await expect(editing(tab)).to_be_hidden()
    await expect(tab.composer).to_have_value("")
    await expect(tab.composer).to_be_focused()
    assert [(one["text"], one["if_revision"]) for one in sent.submits] == [("/edit 3 /undo", 1)]


async def test_the_draft_waits_while_a_message_is_edited_and_escape_brings_it_back(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http, f"/s/{SAILING_ID}")
    await tab.connected()
    await tab.composer.fill("a draft")
    await tab.messages.nth(0).get_by_role("button", name="Edit").click()
    await edits(tab, 1, SAID[0])
    await tab.press("End")
    await tab.type(" By night?")
    # Neither a reload nor another session loses any of it.
    await tab.page.reload()
    await expect(editing(tab)).to_be_visible()
    await expect(tab.composer).to_have_value(f"{SAID[0]} By night?")
    await tab.links.filter(has_text="Which side?").click()
    await tab.shows("left", "right")
    await expect(editing(tab)).to_be_hidden()
    await expect(tab.composer).to_have_value("")
    await tab.page.go_back()
    await edits(tab, 1, f"{SAID[0]} By night?")
    await readable(tab)
    await tab.press("Escape")
    await expect(editing(tab)).to_be_hidden()
    await expect(tab.composer).to_have_value("a draft")
    await expect(tab.composer).to_be_focused()
    await tab.page.reload()
    await expect(tab.composer).to_have_value("a draft")
    await expect(editing(tab)).to_be_hidden()
    # And a button does what Escape does; it stays, too, where the edit is sent.
    for cancelled in (True, False):
        await tab.messages.nth(2).get_by_role("button", name="Edit").click()
        await edits(tab, 3, SAID[2])
        if cancelled:
            await tab.page.get_by_role("button", name="Cancel the edit").click()
        else:
            await tab.type("!")
            await tab.send.click()
            await tab.shows(*SAID[:2], f"{SAID[2]}!", f"{SAID[2]}!")
        await expect(tab.composer).to_have_value("a draft")
        await expect(tab.composer).to_be_focused()


async def test_an_edit_keeps_the_images_of_a_message_and_says_what_becomes_of_a_reply(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    image = {"type": "image_url", "image_url": {"url": CYAN}}
    given(session("seen", {"role": "user", "content": [{"type": "text", "text": "Which colour?"}, image]}))
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/retry")
    scripted.say("Cy")
    await expect(tab.reply).to_contain_text("Cy")
    await tab.press("ArrowUp")
    await edits(tab, 1, "Which colour?")
    what = tab.page.locator(".editing")
    await expect(what).to_contain_text("what else it has stays")
    await expect(what).to_contain_text("Now: stops the reply first, then asks again")
    await tab.press("Shift+Home")
    await tab.press("Delete")
    await expect(tab.send).to_be_disabled()
    await tab.press("Enter")
    await expect(what).to_be_visible()
    await tab.type("3 colours?")
    await tab.press("Enter")
    await tab.shows("3 colours?")
    await expect(tab.messages.locator("img")).to_have_count(1)
    scripted.end()
    async with client(server.ws("seen")) as other:
        assert other.view.messages[0]["content"] == [{"type": "text", "text": "3 colours?"}, image]


async def test_a_reply_that_comes_meanwhile_does_not_hinder_an_edit(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.submit("One")
    scripted.say("Half")
    await expect(tab.reply).to_contain_text("Half")
    await tab.press("ArrowUp")
    await edits(tab, 1, "One")
    scripted.end()
    await tab.shows("One", "Half")
    await expect(tab.page.locator(".editing")).not_to_contain_text("Now:")
    await tab.type(" more")
    await tab.press("Enter")
    await tab.shows("One more")
    scripted.say("Whole")
    scripted.end()
    await tab.shows("One more", "Whole")


async def test_an_edit_of_a_message_that_was_taken_off_keeps_its_text_and_can_be_sent_as_a_new_one(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.type("a draft")
    await tab.messages.nth(2).get_by_role("button", name="Edit").click()
    await edits(tab, 3, SAID[2])
    await tab.type("!")
    async with client(server.ws(SAILING_ID)) as other:
        await other.submit("/undo")
        await tab.shows(*SAID[:2])
        await edits(tab, 3, f"{SAID[2]}!")
        await tab.press("Enter")
        await expect(tab.alert).to_contain_text("message #3 is not on screen any more")
        await edits(tab, 3, f"{SAID[2]}!")
        await tab.shows(*SAID[:2])
        await tab.alert.get_by_role("button", name="Send as a new message").click()
        await tab.shows(*SAID[:2], f"{SAID[2]}!", f"{SAID[2]}!")
        await expect(tab.composer).to_have_value("a draft")
        await expect(tab.composer).to_be_focused()


@pytest.mark.parametrize("stands", [True, False])
async def test_an_edit_that_the_server_refuses_is_taken_up_again_or_given_back_as_a_line(
    server: Running, given: Given, user: Person, wire: Wire, stands: bool
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    await tab.messages.nth(0).get_by_role("button", name="Edit").click()
    await edits(tab, 1, SAID[0])
    await tab.type("!")
    async with client(server.ws(SAILING_ID)) as other:
        wire.cut()
        await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
        await other.submit("/undo" if stands else "/drop 1")
        await tab.press("Enter")
        await expect(tab.pending).to_contain_text(f"/edit 1 {SAID[0]}!")
        await tab.type("a draft")
        wire.mend()
        await expect(tab.alert).to_contain_text("this session has changed since")
        if stands:
            await edits(tab, 1, f"{SAID[0]}!")
            await tab.press("Enter")
            await tab.shows(f"{SAID[0]}!", f"{SAID[0]}!")
            await expect(tab.composer).to_have_value("a draft")
        else:
            await tab.shows(*SAID[2:])
            await expect(tab.composer).to_have_value(f"/edit 1 {SAID[0]}!\na draft")


async def test_keys_of_an_input_method_neither_begin_nor_end_an_edit(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    press = """(field, [key, how]) => field.dispatchEvent(
        new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...how}))"""
    for how in ({"isComposing": True}, {"keyCode": 229}):
        assert await tab.composer.evaluate(press, ["ArrowUp", how])
        await expect(editing(tab)).to_be_hidden()
    await tab.press("ArrowUp")
    await edits(tab, 3, SAID[2])
    for how in ({"isComposing": True}, {"keyCode": 229}):
        for key in ("Escape", "Enter"):
            assert await tab.composer.evaluate(press, [key, how])
            await edits(tab, 3, SAID[2])
    await tab.shows(*SAID)
