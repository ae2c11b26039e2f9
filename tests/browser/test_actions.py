"""What can be done with a message: copied, edited, asked again, branched from; and how one gets there."""

from typing import Final

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.browser.chromium import Person, Sent, Tab, person
from tests.browser.setting import SAILING, Given, session
from tests.support.client import client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
SAILING_ID: Final = SAILING["session_id"]
CODE: Final = "Use this:\n\n```sh\nls  -l &&\n  pwd\n```\n\nor *that*."


def action(message: Locator, name: str) -> Locator:
    return message.get_by_role("button", name=name, exact=True)


async def clipboard(tab: Tab) -> str:
    return str(await tab.page.evaluate("navigator.clipboard.readText()"))


async def test_the_text_of_a_message_and_each_block_of_code_can_be_copied_as_they_were_written(
    server: Running, given: Given, user: Person
) -> None:
    given(session("code", "How?", CODE))
    await user.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = await user.opens(server.http)
    told = tab.page.locator("transcript-view > [aria-live=polite]")
    answer = tab.messages.last
    await action(answer, "Copy code").click()
    await expect(told).to_have_text("Copied")
    assert await clipboard(tab) == "ls  -l &&\n  pwd\n"
    await answer.hover()
    await action(answer, "Copy").click()
    await expect(action(answer, "Copy")).to_have_attribute("data-done", "true")
    assert await clipboard(tab) == CODE
    await expect(action(answer, "Copy")).not_to_have_attribute("data-done", "true")


async def test_copying_works_where_the_browser_gives_a_page_no_clipboard(
    server: Running, given: Given, user: Person
) -> None:
    given(session("code", "How?", CODE))
    await user.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = await user.opens(server.http)
    await tab.connected()
    # As with plain HTTP on a home network.
    await tab.page.evaluate("""() => {
        window.clipboard = navigator.clipboard;
        Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true });
    }""")
    copy = action(tab.messages.last, "Copy")
    await copy.focus()
    await tab.press("Enter")
    await expect(copy).to_have_attribute("data-done", "true")
    await expect(copy).to_be_focused()
    assert await tab.page.evaluate("clipboard.readText()") == CODE
    await tab.page.evaluate("document.execCommand = () => false")
    await action(tab.messages.first, "Copy").focus()
    await tab.press("Enter")
    await expect(tab.alert).to_contain_text("The browser did not let it be copied.")


async def test_a_message_of_ones_own_is_edited_in_the_composer(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    first = tab.messages.first
    await expect(action(tab.messages.nth(1), "Edit")).to_have_count(0)
    await first.hover()
    await action(first, "Edit").click()
    await expect(tab.composer).to_be_focused()
    await expect(tab.composer).to_have_value(SAID[0])
    await tab.composer.fill("And to Plymouth?")
    await tab.press("Enter")
    await tab.shows("And to Plymouth?", "And to Plymouth?")
    await expect(tab.took).to_contain_text("Edit took off 4 messages")


async def test_only_the_last_message_can_be_asked_for_again_and_not_while_a_reply_is_being_written(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    again = tab.log.get_by_role("button", name="Ask again")
    await expect(again).to_have_count(1)
    sent = Sent(tab)
    await action(tab.messages.last, "Ask again").click()
    scripted.say("Sleep.")
    await expect(tab.reply).to_contain_text("Sleep.")
    await tab.shows(*SAID[:3])
    await expect(again).to_have_count(0)
    await expect(tab.took).to_contain_text("Retry took off 1 message")
    scripted.end()
    await tab.shows(*SAID[:3], "Sleep.")
    await expect(action(tab.messages.last, "Ask again")).to_be_visible()
    await expect(again).to_have_count(1)
    assert [(submit["text"], "if_revision" in submit) for submit in sent.submits] == [("/retry", True)]


async def test_a_branch_begins_at_the_message(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.messages.nth(1).hover()
    await action(tab.messages.nth(1), "Branch from here").click()
    await tab.shows(*SAID[:2])
    await expect(tab.origin).to_have_text("Branched from First night passage at #2")


async def test_all_actions_are_one_stop_of_the_tab_key_and_arrows_lead_on(
    server: Running, given: Given, user: Person
) -> None:
    given(session("long", *(f"message {number}" for number in range(60))))
    tab = await user.opens(server.http)
    await tab.shows(*(f"message {number}" for number in range(60)))
    await tab.connected()
    last = tab.messages.last
    await tab.log.focus()
    await tab.press("Tab")
    await expect(action(last, "Copy")).to_be_focused()
    await expect(action(last, "Copy")).to_be_in_viewport()
    for key, message, name in (
        ("ArrowRight", last, "Ask again"),
        ("ArrowRight", last, "Branch from here"),
        ("ArrowRight", last, "Copy"),
        ("End", last, "Branch from here"),
        ("ArrowUp", tab.messages.nth(58), "Branch from here"),
        ("ArrowLeft", tab.messages.nth(58), "Edit"),
        # The one above has no such button.
        ("ArrowUp", tab.messages.nth(57), "Copy"),
        ("ArrowDown", tab.messages.nth(58), "Copy"),
        ("Home", tab.messages.nth(58), "Copy"),
    ):
        await tab.press(key)
        await expect(action(message, name)).to_be_focused()
        await expect(action(message, name)).to_have_css("opacity", "1")
    for _ in range(40):
        await tab.press("ArrowUp")
    await expect(action(tab.messages.nth(18), "Copy")).to_be_in_viewport()
    # One stop, wherever it is; and back to where one was.
    await tab.press("Tab")
    await expect(tab.log.locator(":focus")).to_have_count(0)
    await tab.press("Shift+Tab")
    await expect(action(tab.messages.nth(18), "Copy")).to_be_focused()
    # When it goes, the focus does not get lost, and the next stop is at the end.
    async with client(server.ws("long")) as other:
        await other.submit("/undo 25")
    await expect(tab.messages).to_have_count(10)
    await expect(tab.log).to_be_focused()
    await tab.press("Tab")
    await expect(action(tab.messages.last, "Copy")).to_be_focused()


async def test_with_a_finger_all_actions_are_there_and_large_enough(
    server: Running, given: Given, browser: Browser
) -> None:
    given(SAILING)
    async with person(browser, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as user:
        tab = await user.opens(server.http)
        await tab.connected()
        for message, names in (
            (tab.messages.nth(2), ["Copy", "Edit", "Branch from here"]),
            (tab.messages.last, ["Copy", "Ask again"]),
        ):
            for name in names:
                await expect(message.get_by_role("toolbar")).to_have_css("opacity", "1")
                box = await action(message, name).bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 36
