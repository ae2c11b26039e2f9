"""The composer: lines, commands and their answers, the list of commands."""

import asyncio

import pytest
from playwright.async_api import Browser, Route, WebSocketRoute, expect

from backchat.commands import TABLE
from tests.browser.axe import accessible
from tests.browser.chromium import Person, Tab, each, person
from tests.browser.setting import SAILING, Given, session
from tests.support.client import client
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]


async def offers(tab: Tab, *names: str, chosen: bool = True) -> None:
    """Waits until the list of commands is these, the first of them chosen, or none."""
    await each(tab.options, *(f"/{name}" for name in names))
    await each(tab.chosen, *([f"/{names[0]}"] if chosen else []))


# Answers.


async def test_status_usage_and_help_are_answered_next_to_the_composer_and_change_nothing(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    answers = {
        "/status": [
            "First night passage: 4 messages",
            "Model: some/model-1",
            "Workspace: /home/user/boat",
            "skipper",
        ],
        "/usage": ["In all: 1,834 tokens in, 402 out, 2,236 together; cost about $0.00231"],
        "/HELP": [command.usage for command in TABLE.values()] + [command.summary for command in TABLE.values()],
    }
    for line, parts in answers.items():
        await tab.submit(line)
        for part in parts:
            await expect(tab.notice).to_contain_text(part)
        # A long one scrolls.
        await expect(tab.notice.locator(".notice")).to_be_in_viewport(ratio=1)
        await expect(tab.composer).to_have_value("")
        await tab.shows(*SAID)
    assert "\n" in await tab.notice.inner_text(), "its lines are lines"
    await tab.notice.get_by_role("button", name="Dismiss").click()
    await expect(tab.notice).to_be_empty()
    await expect(tab.composer).to_be_focused()


async def test_an_unknown_command_keeps_the_line_and_a_click_on_the_nearest_name_mends_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/udno 2")
    await expect(tab.alert).to_contain_text("There is no command /udno.")
    await expect(tab.composer).to_have_value("/udno 2")
    await tab.alert.get_by_role("button", name="/undo").click()
    await expect(tab.alert).to_be_empty()
    await expect(tab.composer).to_have_value("/undo 2")
    await expect(tab.composer).to_be_focused()
    await tab.press("Enter")
    await tab.shows()


async def test_a_line_with_an_unknown_name_can_be_sent_as_a_message(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.submit("/nobody knows")
    await expect(tab.alert).to_contain_text("There is no command /nobody.")
    await expect(tab.composer).to_have_value("/nobody knows")
    # By keys, and with what has become of the line.
    await tab.press("End")
    await tab.type(" it")
    await tab.press("Shift+Tab", "Shift+Tab")
    await expect(tab.alert.get_by_role("button", name="Send as a message")).to_be_focused()
    await tab.press("Enter")
    await tab.shows(*SAID, "/nobody knows it", "/nobody knows it")
    await expect(tab.composer).to_have_value("")
    await expect(tab.composer).to_be_focused()
    await expect(tab.alert).to_be_empty()


async def test_an_argument_that_cannot_be_taken_is_explained_and_keeps_the_line(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    for line in ("/undo x", "/undo -1", "/undo 0", "/undo 1 2"):
        await tab.submit(line)
        await expect(tab.alert).to_contain_text("Usage: /undo [turns]")
        await expect(tab.composer).to_have_value(line)
    await tab.shows(*SAID)


async def test_a_line_that_only_looks_like_a_command_is_a_message(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.submit("/etc/hosts is odd")
    await tab.shows("/etc/hosts is odd", "/etc/hosts is odd")
    await tab.submit("//undo")
    await tab.shows("/etc/hosts is odd", "/etc/hosts is odd", "/undo", "/undo")


# Keys.


async def test_enter_submits_shift_enter_breaks_the_line_and_blanks_are_not_sent(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await expect(tab.composer).to_be_focused()
    await expect(tab.send).to_be_disabled()
    await tab.press("Space", "Shift+Enter", "Enter")
    await expect(tab.composer).to_have_value(" \n")
    await expect(tab.send).to_be_disabled()
    await tab.composer.fill("")
    await tab.type("one")
    await tab.press("Shift+Enter")
    await tab.type("two")
    await expect(tab.composer).to_have_value("one\ntwo")
    await expect(tab.send).to_be_enabled()
    await tab.press("Enter")
    await tab.shows("one\ntwo", "one\ntwo")
    await expect(tab.composer).to_have_value("")
    for number, way in enumerate(("click", "key"), start=2):
        await tab.composer.fill(way)
        if way == "click":
            await tab.send.click()
        else:
            await tab.press("Tab", "Enter")
        await expect(tab.messages).to_have_count(2 * number)
        await expect(tab.messages.last).to_contain_text(way)
        await expect(tab.composer).to_be_focused()


async def test_the_field_is_as_high_as_its_text_up_to_a_part_of_the_screen_and_scrolls_then(
    server: Running, user: Person
) -> None:
    tab = await user.opens(server.http)
    await expect(tab.composer).to_be_focused()

    async def height() -> float:
        box = await tab.page.locator("message-composer form").bounding_box()
        assert box is not None
        return box["height"]

    line, heights = "\u0633\u0637\u0631 \u0645\u0646 \u0627\u0644\u0646\u0635\n", []
    for lines in (1, 3, 100, 1000):
        await tab.composer.fill(line * lines)
        await expect(tab.composer).to_have_css("direction", "rtl")
        await tab.press("Control+End")
        await tab.type("x")
        heights.append(await height())
        # What one types is in view; what is not, if anything, is the space below it.
        end = await tab.composer.evaluate("""(field) => {
            const { top, bottom } = field.parentElement.getBoundingClientRect();
            const scrolled = field.scrollTop + field.parentElement.scrollTop;
            return field.scrollHeight - scrolled - (bottom - top);
        }""")
        assert end < 16, "less than a line"
    one, three, hundred, thousand = heights
    assert one < three < hundred < 0.45 * 760
    assert abs(hundred - thousand) < 8, "however it is measured"
    await tab.composer.fill("x")
    await expect(tab.composer).to_have_css("direction", "ltr")
    assert await height() < one


async def test_enter_that_belongs_to_an_input_method_submits_nothing(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    press = """(field, how) =>
        field.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true, ...how}))"""
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        for line in ("にほん", "/und"):
            await tab.composer.fill(line)
            assert await tab.composer.evaluate(press, composing), "the page let the key be"
            await expect(tab.composer).to_have_value(line)
    await tab.shows()
    # The same key without an input method does submit, so the above says something.
    await tab.composer.fill("にほん")
    assert not await tab.composer.evaluate(press, {})
    await tab.shows("にほん", "にほん")


async def test_text_that_an_input_method_is_composing_is_not_sent_by_its_enter(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await expect(tab.composer).to_be_focused()
    devtools = await user.context.new_cdp_session(tab.page)
    await devtools.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    enter = {"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    await devtools.send("Input.dispatchKeyEvent", enter)
    await expect(tab.composer).to_have_value("にほん")
    await devtools.send("Input.insertText", {"text": "日本"})
    await expect(tab.composer).to_have_value("日本")
    await tab.press("Enter")
    await tab.shows("日本", "日本")


async def test_the_list_follows_what_is_composed_and_leaves_its_keys_alone(server: Running, user: Person) -> None:
    # The keyboards of phones compose every word.
    tab = await user.opens(server.http)
    await tab.ready()
    await expect(tab.composer).to_be_focused()
    await tab.type("/")
    devtools = await user.context.new_cdp_session(tab.page)
    await devtools.send("Input.imeSetComposition", {"text": "u", "selectionStart": 1, "selectionEnd": 1})
    await offers(tab, "undo", "usage")
    for key in ("ArrowDown", "Tab", "Escape", "Enter"):
        pressed = {"type": "rawKeyDown", "key": key, "code": key, "windowsVirtualKeyCode": 229}
        await devtools.send("Input.dispatchKeyEvent", pressed)
    await offers(tab, "undo", "usage")
    await expect(tab.composer).to_have_value("/u")
    await devtools.send("Input.insertText", {"text": "us"})
    await offers(tab, "usage", "status")
    await tab.press("Enter", "Enter")
    await expect(tab.notice).to_contain_text("tokens in")


# The list of commands.


async def test_a_slash_lists_the_commands_in_groups_and_typing_on_narrows_the_list(
    server: Running, user: Person
) -> None:
    tab = await user.opens(server.http)
    await expect(tab.palette).to_be_hidden()
    await tab.ready()
    await tab.composer.focus()
    await tab.type("/")
    by_group = sorted(TABLE.values(), key=lambda one: [other.group for other in TABLE.values()].index(one.group))
    await offers(tab, *(command.name for command in by_group), chosen=False)
    await tab.page.wait_for_function("performance.getEntriesByName('key-to-palette').length === 1")
    for number, command in enumerate(by_group):
        await expect(tab.options.nth(number)).to_contain_text(command.usage)
        await expect(tab.options.nth(number)).to_contain_text(command.summary)
    await tab.type("U")
    await offers(tab, "undo", "usage")
    await tab.type("s")
    await offers(tab, "usage", "status")
    await tab.type("x")
    await expect(tab.palette).to_be_hidden()
    await tab.press("Backspace")
    await offers(tab, "usage", "status")
    await tab.type(" ")
    await expect(tab.palette).to_be_hidden()
    for text in ("no /", "//", "/ undo", "/etc/"):
        await tab.composer.fill(text)
        await expect(tab.palette).to_be_hidden()
    # What one looks for may be in the middle of a name, or in what a command does: then none is chosen for one.
    await tab.composer.fill("/do")
    await offers(tab, "undo", "redo")
    await tab.composer.fill("/token")
    await offers(tab, "usage", chosen=False)
    await tab.press("Enter")
    await expect(tab.alert).to_contain_text("There is no command /token.")


async def test_a_slash_alone_does_nothing_by_enter_and_is_a_combobox_until_the_list_is_put_away(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    await expect(tab.composer).to_be_focused()
    assert await tab.composer.get_attribute("role") is None
    await tab.type("/")
    await tab.press("Enter", "Enter", "Home", "End", "PageUp", "PageDown", "Enter")
    await expect(tab.composer).to_have_value("/")
    await expect(tab.send).to_be_disabled()
    await expect(tab.chosen).to_have_count(0)
    for name, value in {"role": "combobox", "aria-expanded": "true", "aria-controls": "commands"}.items():
        await expect(tab.composer).to_have_attribute(name, value)
    await accessible(tab)
    await tab.press("ArrowUp")
    await expect(tab.chosen).to_contain_text(f"/{list(TABLE)[-1]}")
    await tab.press("Escape")
    await expect(tab.palette).to_be_hidden()
    assert await tab.composer.get_attribute("role") is None
    # It stays away until the text changes.
    await tab.title.click()
    await tab.composer.focus()
    await expect(tab.palette).to_be_hidden()
    await tab.type("x")
    await tab.press("Backspace")
    await expect(tab.palette).to_be_visible()
    await tab.shows(*SAID)


async def test_what_was_used_lately_comes_first_in_every_tab(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    for line in ("/usage", "/status", "/usage", "/nobody", "hello"):
        await tab.submit(line)
        await expect(tab.composer).to_have_value("/nobody" if line == "/nobody" else "")
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.type("/")
    recent = tab.palette.get_by_role("group", name="Recently used")
    await each(recent.get_by_role("option"), "/usage", "/status")
    await expect(tab.options).to_have_count(len(TABLE))
    await tab.type("s")
    await offers(tab, "status", "stop", "system")
    await each(recent.get_by_role("option"), "/status")


async def test_a_slash_typed_before_the_commands_are_known_lists_them_once_they_are(
    server: Running, user: Person
) -> None:
    known = asyncio.Event()

    async def late(route: Route) -> None:
        await known.wait()
        await route.continue_()

    await user.context.route("**/api/commands", late)
    tab = await user.opens(server.http)
    await expect(tab.composer).to_be_focused()
    await tab.type("/u")
    await expect(tab.palette).to_be_hidden()
    known.set()
    await offers(tab, "undo", "usage")


async def test_a_command_typed_before_the_session_is_on_screen_is_not_done_to_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    seen = asyncio.Event()
    held: list[tuple[WebSocketRoute, str | bytes]] = []

    async def late(route: Route) -> None:
        await seen.wait()
        await route.continue_()

    def between(page: WebSocketRoute) -> None:
        page.connect_to_server().on_message(
            lambda frame: page.send(frame) if seen.is_set() else held.append((page, frame))
        )

    await user.context.route("**/api/commands", late)
    await user.context.route_web_socket("**/ws/*", between)
    tab = await user.opens(server.http, f"/s/{SAILING['session_id']}")
    await expect(tab.composer).to_be_focused()
    await tab.submit("/undo")
    await expect(tab.pending).to_contain_text("/undo")
    seen.set()
    for page, frame in held:
        page.send(frame)
    await expect(tab.alert).to_contain_text("the session was not on screen yet")
    await expect(tab.composer).to_have_value("/undo")
    await tab.shows(*SAID)
    await tab.press("Enter")
    await tab.shows(*SAID[:2])


async def test_the_list_of_commands_goes_by_arrows_tab_and_escape(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.ready()
    await tab.composer.focus()
    await tab.type("/u")
    await offers(tab, "undo", "usage")
    for key, name in (("ArrowDown", "usage"), ("ArrowDown", "undo"), ("ArrowUp", "usage")):
        await tab.press(key)
        await expect(tab.chosen).to_contain_text(f"/{name}")
        chosen = await tab.chosen.get_attribute("id")
        assert chosen
        await expect(tab.composer).to_have_attribute("aria-activedescendant", chosen)
    await tab.press("Tab")
    await expect(tab.composer).to_have_value("/usage")
    await expect(tab.composer).to_be_focused()
    await tab.press("Escape")
    await expect(tab.palette).to_be_hidden()
    await expect(tab.composer).to_have_value("/usage")
    await tab.press("Enter")
    await expect(tab.notice).to_contain_text("tokens in")


async def test_enter_completes_a_part_of_a_name_and_runs_a_whole_one(
    server: Running, given: Given, user: Person
) -> None:
    given(session("turns", "a", "b", "c", "d"))
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.type("/und")
    await offers(tab, "undo")
    await tab.press("Enter")
    # It takes an argument, so there is room for one.
    await expect(tab.composer).to_have_value("/undo ")
    await tab.shows("a", "b", "c", "d")
    await tab.press("Enter")
    await tab.shows("a", "b")
    await tab.composer.fill("")
    await tab.type("/undo")
    await offers(tab, "undo")
    await tab.press("Enter")
    await tab.shows()


async def test_a_click_on_a_listed_command_completes_it_and_keeps_the_focus(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.ready()
    await tab.composer.focus()
    await tab.type("/")
    await tab.options.filter(has_text="/status").click()
    await expect(tab.composer).to_have_value("/status")
    await expect(tab.composer).to_be_focused()
    await tab.press("Enter")
    await expect(tab.notice).to_contain_text("Untitled session: 0 messages")
    async with client(server.ws(tab.session_id)) as other:
        assert other.view.texts == []


async def test_on_a_phone_enter_begins_a_new_line_and_sends_commands_only(server: Running, browser: Browser) -> None:
    async with person(browser, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as user:
        tab = await user.opens(server.http)
        await tab.ready()
        await tab.composer.focus()
        await tab.type("one\ntwo")
        await expect(tab.composer).to_have_value("one\ntwo")
        await expect(tab.composer).to_have_attribute("enterkeyhint", "enter")
        await tab.send.click()
        await tab.shows("one two", "one two")
        await tab.composer.focus()
        await tab.type("/undo")
        await tab.press("Enter")
        await tab.shows()
