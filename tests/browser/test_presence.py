"""Who else is there, and who did what."""

from contextlib import AsyncExitStack
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, expect

from tests.browser.axe import accessible
from tests.browser.chromium import NETWORK, Person, Tab, each, person
from tests.browser.setting import SAILING, Given, Serve
from tests.browser.wire import Wire
from tests.support.client import client
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
SAILING_ID: str = SAILING["session_id"]


async def kept_name(tab: Tab) -> str:
    """The name that the tab's browser goes by."""
    name: str = await tab.page.evaluate("JSON.parse(localStorage.getItem('backchat.name'))")
    return name


async def test_one_sees_who_else_is_there_and_which_of_them_one_is(
    serve: Serve, given: Given, browser: Browser
) -> None:
    given(SAILING)
    server = await serve()
    async with person(browser) as one:
        tab = await one.opens(server.http)
        await tab.connected()
        await tab.shows(*SAID)
        await expect(tab.presence).to_be_hidden()
        async with person(browser) as two, client(server.ws(SAILING_ID, "name=night%20watch")):
            other = await two.opens(server.http)
            await other.connected()
            mine, theirs = await kept_name(tab), await kept_name(other)
            await expect(tab.presence).to_have_text(f"3 here: {mine} (you), night watch, {theirs}")
            await expect(tab.presence).to_have_attribute("title", f"{mine} (you)\nnight watch\n{theirs}")
            await expect(other.presence).to_have_text(f"3 here: {mine}, night watch, {theirs} (you)")
            await expect(tab.presence).to_be_visible()
        await expect(tab.presence).to_be_hidden()


async def test_a_browser_keeps_the_name_that_it_was_given(
    server: Running, given: Given, user: Person, browser: Browser
) -> None:
    given(SAILING)
    one = await user.opens(server.http)
    await one.connected()
    name = await kept_name(one)
    assert len(name.split()) == 2
    two = await user.opens(server.http)
    await two.connected()
    await one.page.reload()
    await one.connected()
    for tab in (one, two):
        await expect(tab.presence).to_contain_text("2 here")
        assert await kept_name(tab) == name
        assert parse_qs(urlsplit(tab.sockets[-1].url).query) == {"name": [name]}
    async with client(server.ws(SAILING_ID)) as other:
        names = [who["name"] for who in other.attached["presence"]["present"]]
    assert names[:2] == [name, name]


@pytest.mark.parametrize("stored", ['"\\u0000"', f'"{"w" * 41}"', "7 of 9"])
async def test_a_name_that_the_server_does_not_take_is_given_up_for_another(
    server: Running, given: Given, user: Person, stored: str
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.page.evaluate("(name) => localStorage.setItem('backchat.name', name)", stored)
    await tab.page.reload()
    await tab.connected()
    await tab.shows(*SAID)
    assert len((await kept_name(tab)).split()) == 2


async def test_many_are_counted_and_not_all_of_them_named(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    async with AsyncExitStack() as crowd:
        for number in range(60):
            await crowd.enter_async_context(client(server.ws(SAILING_ID, f"name=n{number}")))
        tab = await user.opens(server.http)
        await expect(tab.presence).to_contain_text("61 here: n0, n1, n2")
        await expect(tab.presence).to_contain_text("n48")
        await expect(tab.presence).to_contain_text(f"{await kept_name(tab)} (you), and 11 more")


async def test_nobody_is_counted_while_the_connection_is_lost(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    async with client(server.ws(SAILING_ID)):
        tab = await user.opens(wire.http)
        await expect(tab.presence).to_be_visible()
        wire.cut()
        await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
        await expect(tab.presence).to_be_hidden()
        wire.mend()
        await expect(tab.presence).to_contain_text("2 here")


async def test_who_changed_the_transcript_by_a_command_is_said_to_the_others(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
        await tab.connected()
    async with client(server.ws(SAILING_ID, "name=%3Cb%3Enight%3C/b%3E%20watch")) as other:
        await other.submit("/undo")
        for tab in (one, two):
            await expect(tab.notice).to_contain_text("\u2068<b>night</b> watch\u2069 undid 2 messages.")
            await tab.shows(*SAID[:2])
    # What one does oneself is answered, what another tab does is told.
    await one.submit("/undo")
    await expect(two.notice).to_contain_text("You, in another tab, undid 2 messages.")
    await expect(one.took).to_contain_text("Undo did 2 messages")
    await two.submit("/undo")
    await expect(two.alert).to_contain_text("Nothing to undo.")
    await two.composer.fill("")
    await one.submit("/goto @1")
    for tab in (one, two):
        await tab.shows(*SAID)
    await expect(two.notice).to_contain_text("You, in another tab, went to another place.")
    await one.submit("/undo 2")
    await expect(one.took).to_contain_text("Undo did 4 messages")
    await one.submit("/help undo")
    await expect(one.notice).to_contain_text("/undo [turns]")
    # A message speaks for itself, and what does not change the transcript startles nobody.
    await two.submit("Ahoy")
    await one.shows("Ahoy", "Ahoy")
    await expect(one.notice).to_contain_text("/undo [turns]")
    await two.submit("/title Ahoy")
    await expect(one.title).to_have_text("Ahoy")
    await expect(one.notice).to_contain_text("/undo [turns]")
    # A new session is of interest to whoever is in the one that it was begun from.
    async with client(server.ws(SAILING_ID, "name=watch")) as other:
        await other.submit("/branch")
    await expect(one.notice).to_contain_text("\u2068watch\u2069 branched this session into a new one.")


async def test_what_another_took_off_comes_back_by_the_button_beside_what_is_said_of_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    async with client(server.ws(SAILING_ID, "name=watch")) as other:
        await other.submit("/drop 1")
        await tab.shows(*SAID[2:])
        await expect(tab.notice).to_contain_text("\u2068watch\u2069 took an earlier turn out.")
        await tab.composer.fill("a draft")
        await tab.press("Shift+Tab", "Shift+Tab")
        await expect(tab.notice.get_by_role("button", name="Show what was there before")).to_be_focused()
        await tab.press("Enter")
        await tab.shows(*SAID)
        await expect(tab.composer).to_be_focused()
        await expect(tab.composer).to_have_value("a draft")


async def test_what_was_read_anew_is_said_to_be_and_older_notices_are_gone(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    await tab.submit("/title T")
    await expect(tab.notice).to_contain_text("Title: T")
    async with client(server.ws(SAILING_ID)) as other:
        wire.cut()
        await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
        await other.submit("/undo")
        # So much more that it cannot be told.
        server.backchat.sessions._live[SAILING_ID]._history.clear()
        wire.mend()
        await tab.shows(*SAID[:2])
        await expect(tab.notice).to_contain_text("What is shown was read anew")
        await expect(tab.notice).not_to_contain_text("Title")


async def test_who_did_something_meanwhile_is_said_to_whoever_comes_back_unless_it_was_oneself(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    async with client(server.ws(SAILING_ID, "name=watch")) as other:
        await other.submit("/retry")
        await other.until(lambda: other.view.run is None)
        tab = await user.opens(wire.http)
        await tab.connected()
        wire.mute()
        await tab.messages.last.get_by_role("button", name="Previous variant").click()
        await other.until(lambda: other.view.texts == SAID)
        wire.cut()
        wire.mend()
        await tab.shows(*SAID)
        await tab.connected()
        assert "after=" in tab.sockets[-1].url
        await expect(tab.notice).to_be_empty()

        wire.cut()
        await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
        await other.submit("/undo")
        await other.submit("/title T")
        wire.mend()
        await tab.shows(*SAID[:2])
        await expect(tab.notice).to_contain_text("\u2068watch\u2069 undid 2 messages.")
        await tab.notice.get_by_role("button", name="Show what was there before").click()
        await tab.shows(*SAID)


async def test_one_goes_by_the_name_that_one_chooses_if_the_server_takes_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    user.expected = NETWORK
    async with client(server.ws(SAILING_ID, "name=night%20watch")):
        tab = await user.opens(server.http)
        await expect(tab.presence).to_contain_text("2 here")
        made_up = await kept_name(tab)
        await tab.presence.get_by_role("button").click()
        panel = tab.page.get_by_role("dialog", name="Who is here")
        await each(panel.get_by_role("listitem"), "night watch", f"{made_up} (you)")
        await accessible(tab)
        field = panel.get_by_role("textbox", name="Your name")
        await expect(field).to_be_focused()
        await expect(field).to_have_value(made_up)
        problem = panel.get_by_role("alert")

        # What is wrong with it, the server says; the page is still there, by its old name.
        await field.fill("w" * 41)
        await field.press("Enter")
        await expect(problem).to_have_text("A name takes 1 to 40 characters.")
        await expect(field).to_be_focused()
        await field.fill(" ")
        await field.press("Enter")
        await expect(problem).to_have_text("A name takes at least one character.")
        await tab.connected()
        await expect(tab.presence).to_contain_text(f"{made_up} (you)")
        assert await kept_name(tab) == made_up

        await field.fill("  <b>Ann</b>   é ")
        await field.press("Enter")
        await expect(panel).to_be_hidden()
        await expect(tab.presence).to_contain_text("<b>Ann</b> é (you)")
        await expect(tab.presence.get_by_role("button")).to_be_focused()
        await tab.submit("/undo")
        await tab.shows(*SAID[:2])
    # And in every tab from now on.
    second = await user.opens(server.http)
    await second.connected()
    assert parse_qs(urlsplit(second.sockets[-1].url).query)["name"] == ["<b>Ann</b> é"]
    # Alone one finds the panel in the menu of the session.
    await second.page.get_by_role("button", name="Actions for this session").click()
    await second.page.get_by_role("menuitem", name="Your name…").click()
    await expect(second.page.get_by_role("dialog", name="Who is here")).to_be_visible()
    await second.press("Escape")
    await expect(second.page.get_by_role("dialog")).to_be_hidden()
    await second.shows(*SAID[:2])
