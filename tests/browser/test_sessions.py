"""The list of sessions: making, opening and deleting them."""

import re

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.chromium import NETWORK, Person, Tab
from tests.browser.setting import SAILING, Given, session
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
A_SESSION = re.compile(r"/s/[a-z0-9_-]+$")


async def ask_to_delete(tab: Tab, title: str) -> None:
    await tab.page.get_by_role("button", name=f"Delete session: {title}").click()
    await expect(tab.page.get_by_role("dialog")).to_contain_text(f"Delete “{title}”?")


async def test_the_first_line_makes_the_first_session(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await expect(tab.page.get_by_text("Nothing here yet")).to_be_visible()
    await expect(tab.links).to_have_count(0)
    await expect(tab.page).to_have_url(f"{server.http}/")
    await tab.submit("Ahoy")
    await tab.shows("Ahoy", "Ahoy")
    await expect(tab.page).to_have_url(A_SESSION)
    await expect(tab.links).to_have_count(1)
    await expect(tab.here).to_contain_text("2 messages")


async def test_a_new_session_is_empty_first_in_the_list_and_open(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
    await one.page.get_by_role("button", name="New session").click()
    await one.shows()
    await one.connected()
    await expect(one.page).to_have_url(A_SESSION)
    await expect(one.links).to_have_count(2)
    await expect(one.links.first).to_have_attribute("aria-current", "page")
    await expect(one.links.first).to_contain_text("Untitled session")
    # The other tab lists it, and stays where it is.
    await expect(two.links).to_have_count(2)
    await expect(two.here).to_contain_text("First night passage")
    await two.shows(*SAID)


async def test_one_goes_from_session_to_session_and_back_and_drafts_stay_where_they_are(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await tab.composer.fill("a draft")
    await tab.links.filter(has_text="Which side?").click()
    await tab.shows("left", "right")
    await expect(tab.page).to_have_url(f"{server.http}/s/other")
    await expect(tab.here).to_contain_text("Which side?")
    await expect(tab.composer).to_have_value("")
    await tab.page.go_back()
    await tab.shows(*SAID)
    await expect(tab.composer).to_have_value("a draft")
    await tab.page.go_forward()
    await tab.shows("left", "right")
    await tab.submit("up")
    await tab.shows("left", "right", "up", "up")
    await tab.page.go_back()
    await tab.shows(*SAID)
    await tab.page.reload()
    await tab.shows(*SAID)
    await expect(tab.composer).to_have_value("a draft")


async def test_a_session_is_deleted_only_after_asking(server: Running, given: Given, user: Person) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await ask_to_delete(tab, "First night passage")
    await tab.page.get_by_role("button", name="Cancel").click()
    await expect(tab.page.get_by_role("dialog")).to_be_hidden()
    await tab.shows(*SAID)
    await expect(tab.links).to_have_count(2)

    await ask_to_delete(tab, "First night passage")
    await tab.page.get_by_role("button", name="Delete", exact=True).click()
    await tab.shows("left", "right")
    await expect(tab.page).to_have_url(f"{server.http}/s/other")
    await expect(tab.links).to_have_count(1)
    await expect(tab.page.get_by_role("dialog")).to_be_hidden()

    await ask_to_delete(tab, "Which side?")
    await tab.page.get_by_role("button", name="Delete", exact=True).click()
    await tab.shows()
    await expect(tab.links).to_have_count(0)
    await expect(tab.page).to_have_url(f"{server.http}/")
    await tab.submit("Anew")
    await tab.shows("Anew", "Anew")


async def test_deleting_one_that_is_not_open_leaves_the_open_one_alone(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await tab.composer.fill("a draft")
    await ask_to_delete(tab, "Which side?")
    await tab.page.get_by_role("button", name="Delete", exact=True).click()
    await expect(tab.links).to_have_count(1)
    await tab.shows(*SAID)
    await expect(tab.composer).to_have_value("a draft")
    await tab.connected()


async def test_a_session_deleted_elsewhere_says_so_and_keeps_what_was_typed(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.composer.fill("a draft")
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        assert (await http.delete("/api/sessions/5a111ab0a7e0")).status_code == 200
    await expect(tab.alert).to_contain_text("This session was deleted.")
    await expect(tab.connection).to_have_attribute("data-connection", "closed")
    await expect(tab.links).to_have_count(1)
    await expect(tab.composer).to_have_value("a draft")
    await tab.composer.press("Enter")
    await expect(tab.alert).to_contain_text("This session was deleted.")
    await expect(tab.composer).to_have_value("a draft")
    assert len(tab.sockets) == 1, "it does not try again"
    await tab.links.click()
    await tab.shows("left", "right")
    await tab.connected()


async def test_an_address_without_a_session_says_so(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    for path in ("/s/nobody", "/s/NOT%20an%20id"):
        tab = await user.opens(server.http, path)
        await expect(tab.alert).to_contain_text("There is no session at this address.")
        await expect(tab.connection).to_have_attribute("data-connection", "closed")
        await tab.links.click()
        await tab.shows(*SAID)


async def test_deleting_what_another_has_deleted_already_is_no_error(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    user.expected = NETWORK
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await ask_to_delete(tab, "Which side?")
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        assert (await http.delete("/api/sessions/other")).status_code == 200
    await tab.page.get_by_role("button", name="Delete", exact=True).click()
    await expect(tab.links).to_have_count(1)
    await expect(tab.alert).to_be_empty()
    await tab.shows(*SAID)
