"""The list of sessions: making, opening, searching, renaming and deleting them; exporting and importing."""

import asyncio
import json
import re

import httpx
import pytest
from playwright.async_api import FilePayload, Route, expect

from tests.browser.axe import accessible
from tests.browser.chromium import NETWORK, Person, each
from tests.browser.setting import SAILING, Given, Serve, session
from tests.browser.wire import Wire
from tests.support.client import PATIENCE, client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
A_SESSION = re.compile(r"/s/[a-z0-9_-]+$")


async def test_the_first_line_makes_the_first_session(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await expect(tab.page.get_by_text("Say something")).to_be_visible()
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
    begin = one.page.get_by_role("button", name="New session")
    assert await begin.evaluate("(button) => button.checkVisibility({opacityProperty: true})")
    await begin.click()
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


async def test_a_draft_written_before_there_is_a_session_is_there_after_a_reload(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await tab.composer.fill("a draft")
    await tab.page.reload()
    await expect(tab.composer).to_have_value("a draft")


async def test_a_new_session_does_not_take_the_draft_of_one_that_was_opened_while_it_was_made(
    server: Running, given: Given, user: Person
) -> None:
    given(session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.shows("left", "right")
    await tab.page.evaluate("""() => sessionStorage.setItem("backchat.draft.new", '"Ahoy"')""")
    await tab.page.goto(server.http)
    await expect(tab.composer).to_have_value("Ahoy")
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await tab.page.route("**/api/sessions", lambda route: held.set_result(route))
    await tab.composer.press("Enter")
    making = await asyncio.wait_for(held, PATIENCE)
    await tab.links.click()
    await tab.shows("left", "right")
    await tab.composer.fill("a draft")
    await making.continue_()
    await tab.shows("Ahoy", "Ahoy")
    await expect(tab.composer).to_have_value("")
    await tab.page.go_back()
    await tab.shows("left", "right")
    await expect(tab.composer).to_have_value("a draft")


async def test_a_session_is_deleted_at_once_and_comes_back_if_one_did_not_mean_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab, second = await user.opens(server.http), await user.opens(server.http)
    await tab.shows(*SAID)
    await tab.act("First night passage", "Delete")
    # What stood below it is shown instead, here; whoever else has it open is told.
    await tab.shows("left", "right")
    await expect(tab.page).to_have_url(f"{server.http}/s/other")
    await expect(tab.links).to_have_count(1)
    await expect(tab.alert).to_be_empty()
    await expect(tab.notice).to_contain_text("Deleted “First night passage”.")
    # Whatever one does next.
    await tab.submit("/status")
    await expect(tab.notice).to_contain_text("Which side?: 2 messages")
    await expect(tab.notice).to_contain_text("Deleted “First night passage”.")
    await tab.notice.get_by_role("button", name="Dismiss").last.click()
    await expect(second.alert).to_contain_text("This session was deleted.")
    await expect(second.links).to_have_count(1)
    # By keyboard: what offers it comes before the composer.
    undo = tab.notice.get_by_role("button", name="Undo")
    await tab.composer.focus()
    await tab.press("Shift+Tab", "Shift+Tab")
    await expect(undo).to_be_focused()
    await tab.press("Enter")
    await tab.shows(*SAID)
    await expect(tab.here).to_contain_text("First night passage")
    await expect(tab.links).to_have_count(2)
    await second.shows(*SAID)
    await second.connected()
    await expect(second.alert).to_be_empty()

    await tab.act("Which side?", "Delete")
    await tab.act("First night passage", "Delete")
    await tab.shows()
    await expect(tab.links).to_have_count(0)
    await expect(tab.page.get_by_text("No sessions yet")).to_be_visible()
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
    await tab.act("Which side?", "Delete")
    await expect(tab.links).to_have_count(1)
    # The focus is on what is left of the list.
    await expect(tab.links).to_be_focused()
    await tab.notice.get_by_role("button", name="Undo").click()
    await each(tab.links, "First night passage", "Which side?")
    await tab.shows(*SAID)
    await expect(tab.composer).to_have_value("a draft")
    await tab.connected()


async def test_a_session_deleted_elsewhere_says_so_keeps_what_was_typed_and_comes_back_when_it_is_restored(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.connected()
    await tab.composer.fill("a draft")
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        for _ in range(2):
            assert (await http.delete("/api/sessions/5a111ab0a7e0")).status_code == 200
            await expect(tab.alert).to_contain_text("This session was deleted.")
            await expect(tab.connection).to_have_attribute("data-connection", "closed")
            await expect(tab.links).to_have_count(1)
            await expect(tab.composer).to_have_value("a draft")
            await tab.composer.press("Enter")
            await expect(tab.alert).to_contain_text("This session was deleted.")
            await expect(tab.composer).to_have_value("a draft")
            assert len(tab.sockets) == 1, "it does not try again"
            assert (await http.post("/api/sessions/5a111ab0a7e0/restore")).status_code == 200
            await tab.shows(*SAID)
            await tab.connected()
            await expect(tab.composer).to_have_value("a draft")
            tab.sockets.pop()
        assert (await http.delete("/api/sessions/5a111ab0a7e0")).status_code == 200
    await expect(tab.links).to_have_count(1)
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
    deleted: list[str] = []

    async def too_late(route: Route) -> None:
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            deleted.append(str((await http.delete("/api/sessions/other")).status_code))
        await route.continue_()

    await tab.page.route("**/api/sessions/other", too_late)
    await tab.act("Which side?", "Delete")
    await expect(tab.links).to_have_count(1)
    assert deleted == ["200"]
    await expect(tab.alert).to_be_empty()
    await tab.shows(*SAID)


async def test_a_session_is_renamed_where_its_title_stands(server: Running, given: Given, user: Person) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab, second = await user.opens(server.http), await user.opens(server.http, "/s/other")
    await tab.shows(*SAID)
    await second.connected()
    field = tab.page.get_by_role("textbox", name="Title of the session")
    link = tab.links.filter(has_text="Which side?")

    # By its menu; Escape leaves it, and the focus, where they were.
    await tab.act("Which side?", "Rename")
    await expect(field).to_be_focused()
    await tab.type("Not this")
    await tab.press("Escape")
    await expect(field).to_be_hidden()
    await expect(link).to_be_focused()
    # By a key; what is there is selected. Everyone sees it.
    await tab.press("F2")
    await tab.type("  The   other side ")
    await tab.press("Enter")
    link = tab.links.filter(has_text="The other side")
    await expect(link).to_be_focused()
    for title in (second.title, second.here):
        await expect(title).to_contain_text("The other side")
    # By a double click, in the heading; leaving the field is as good as Enter.
    await tab.title.dblclick()
    await expect(field).to_have_value("First night passage")
    await field.fill("<b>Second</b> night")
    await tab.composer.click()
    await expect(tab.title).to_have_text("<b>Second</b> night")
    await each(tab.links, "<b>Second</b> night", "The other side")
    await each(second.links, "<b>Second</b> night", "The other side")
    # And in the list; of an emptied field comes a session without a title.
    await tab.links.first.dblclick()
    await field.fill("")
    await field.press("Enter")
    await expect(tab.title).to_have_text("Untitled session")
    await expect(tab.alert).to_be_empty()


async def test_a_title_that_is_being_written_stays_so_where_its_session_moves_in_the_list(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"), session("third", "up", title="Third"))
    tab = await user.opens(server.http, "/s/other")
    await tab.connected()
    await each(tab.links, "First night passage", "Third", "Which side?")
    await tab.act("Which side?", "Rename")
    await tab.type("Half")
    async with client(server.ws("other")) as other:
        await other.say("Hello")
        await expect(tab.sessions.locator("li").first).to_contain_text("4 messages")
        field = tab.page.get_by_role("textbox", name="Title of the session")
        await expect(field).to_be_focused()
        await tab.type(" a title")
        await tab.press("Enter")
        await other.until(lambda: other.view.session["title"] == "Half a title")
    await each(tab.links, "Half a title", "First night passage", "Third")


async def test_a_search_that_failed_is_made_again_and_what_comes_back_is_found_again(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await expect(tab.links).to_have_count(2)
    wire.cut()
    await tab.search.fill("left")
    await expect(tab.alert).to_contain_text("The server cannot be reached.")
    wire.mend()
    await each(tab.links, "Which side?")
    await tab.act("Which side?", "Delete")
    await expect(tab.links).to_have_count(0)
    await tab.notice.get_by_role("button", name="Undo").click()
    await each(tab.links, "Which side?")


async def test_all_sessions_are_searched_and_what_is_found_is_shown_at_its_place(
    server: Running, given: Given, user: Person
) -> None:
    given(
        SAILING,
        session("tides", "When is high water?", "The *tide* is high at noon.", title="Falmouth"),
        session("cats", "Names for a kitten?", "Smokey.", title="Kitten names"),
    )
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    said = tab.page.locator("session-search [role=status]")
    await tab.search.fill("TIDE")
    await expect(said).to_have_text("2 sessions found")
    await each(tab.links, "First night passage", "Falmouth")
    await each(tab.links.locator("mark"), "tide", "tide")
    await tab.search.fill("falm")
    await expect(said).to_have_text("2 sessions found")
    await each(tab.links.locator("mark"), "Falmouth", "Falmouth")
    await accessible(tab)
    await tab.search.fill("nowhere")
    await expect(said).to_have_text("Nothing found")
    await expect(tab.links).to_have_count(0)
    await tab.press("Escape")
    await expect(tab.search).to_be_focused()
    await expect(tab.search).to_have_value("")
    await expect(said).to_be_hidden()
    await expect(tab.links).to_have_count(3)

    # By keyboard: from the field to what was found, and back.
    await tab.type("smokey")
    await expect(tab.links).to_have_count(1)
    await tab.press("ArrowDown")
    await expect(tab.links).to_be_focused()
    await tab.press("ArrowUp")
    await expect(tab.search).to_be_focused()
    await tab.press("ArrowDown", "Enter")
    await tab.shows("Names for a kitten?", "Smokey.")
    await expect(tab.page).to_have_url(f"{server.http}/s/cats#2")
    # What is searched stays as it is; the session that is open may not be among it.
    await expect(tab.search).to_have_value("smokey")
    await tab.search.fill("tide")
    await each(tab.links, "First night passage", "Falmouth")
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        assert (await http.delete("/api/sessions/tides")).status_code == 200
    await each(tab.links, "First night passage")


async def test_of_two_searches_only_the_answer_to_the_newer_one_counts(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("cats", "Names for a kitten?", "Smokey.", title="Kitten names"))
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await tab.page.route("**/api/sessions?*q=kit*", lambda route: held.set_result(route))
    await tab.search.fill("kit")
    late = await held
    await tab.search.fill("passage")
    await each(tab.links, "First night passage")
    async with tab.page.expect_response("**/api/sessions?*q=kit*") as answered:
        await late.continue_()
    await (await answered.value).finished()
    await tab.drawn()
    await each(tab.links, "First night passage")


async def test_what_others_do_is_seen_in_the_list_as_it_happens(
    server: Running, given: Given, user: Person, scripted: Scripted
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await each(tab.links, "First night passage", "Which side?")
    await tab.links.first.focus()
    async with client(server.ws("other")) as other:
        await other.submit("up?")
        await each(tab.links, "Which side?", "First night passage")
        await expect(tab.links.first).to_contain_text("Replying… · 3 messages")
        # It moved; the focus did not.
        await expect(tab.links.nth(1)).to_be_focused()
        scripted.end()
        await expect(tab.links.first).not_to_contain_text("Replying")
        await other.submit("/title Up or down?")
        await each(tab.links, "Up or down?", "First night passage")
    async with client(server.ws()) as other:
        await other.submit("/title New")
        await each(tab.links, "New", "Up or down?", "First night passage")
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            assert (await http.delete(f"/api/sessions/{other.session_id}")).status_code == 200
    await each(tab.links, "Up or down?", "First night passage")
    await expect(tab.links.nth(1)).to_be_focused()


async def test_many_sessions_come_as_one_scrolls_and_the_arrow_keys_lead_through_them(
    server: Running, given: Given, user: Person
) -> None:
    day = 86400
    given(*(session(f"s{n:03}", "hi", title=f"Number {n}", updated_at=1790000000.0 - n * day) for n in range(120)))
    tab = await user.opens(server.http)
    await tab.connected()
    await expect(tab.links).to_have_count(50)
    headings = tab.sessions.get_by_role("heading")
    await expect(headings.first).to_be_visible()
    for count in (100, 120):
        await tab.links.last.scroll_into_view_if_needed()
        await expect(tab.links).to_have_count(count)
    await expect(tab.page.get_by_role("button", name="Show more sessions")).to_be_hidden()
    assert await tab.links.locator(".name").all_text_contents() == [f"Number {n}" for n in range(120)]
    assert await headings.count() >= 4
    # One stop for the tab key, wherever one is in the list.
    await tab.links.first.focus()
    await tab.press("End")
    await expect(tab.links.last).to_be_focused()
    await tab.press("ArrowUp", "Tab", "Tab")
    await expect(tab.sessions.locator(":focus")).to_have_count(0)
    await tab.press("Shift+Tab", "Shift+Tab")
    await expect(tab.links.nth(118)).to_be_focused()
    await tab.press("Enter")
    await expect(tab.title).to_have_text("Number 118")
    # The open one is in sight even where the list does not reach it yet; then it is in its place.
    await tab.page.reload()
    await expect(tab.links).to_have_count(51)
    await expect(tab.here).to_contain_text("Number 118")
    await expect(tab.here).to_be_in_viewport()
    for count in (101, 120):
        await tab.links.last.scroll_into_view_if_needed()
        await expect(tab.links).to_have_count(count)
    await expect(tab.links.nth(118)).to_have_attribute("aria-current", "page")
    # Opened from its address, one that is far down is scrolled to.
    await tab.page.goto(f"{server.http}/s/s045")
    await expect(tab.here).to_contain_text("Number 45")
    await expect(tab.here).to_be_in_viewport()


async def test_the_menu_of_a_session_is_worked_by_keys(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    more = tab.page.get_by_role("button", name="Actions for this session")
    focused = tab.page.locator(":focus")
    await more.focus()
    await expect(more).to_have_attribute("aria-expanded", "false")
    await tab.press("Enter")
    await expect(more).to_have_attribute("aria-expanded", "true")
    await accessible(tab)
    for key, entry in (
        ("ArrowDown", "Export as Markdown"),
        ("End", "Delete"),
        ("ArrowDown", "Rename"),
        ("ArrowUp", "Delete"),
        ("Home", "Rename"),
        ("d", "Delete"),
        ("e", "Export as Markdown"),
        ("e", "Export as JSON"),
    ):
        await tab.press(key)
        await expect(focused).to_have_text(entry)
    await tab.press("Escape")
    await expect(tab.page.get_by_role("menu")).to_have_count(0)
    await expect(more).to_be_focused()
    await tab.press("ArrowDown", "Tab")
    await expect(tab.page.get_by_role("menu")).to_have_count(0)
    await expect(more).not_to_be_focused()
    await more.click()
    await tab.page.mouse.click(600, 400)
    await expect(tab.page.get_by_role("menu")).to_have_count(0)


async def test_a_menu_whose_session_moves_in_the_list_closes_and_gives_back_the_focus(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    tab, second = await user.opens(server.http, "/s/other"), await user.opens(server.http, "/s/other")
    await second.connected()
    lower = await tab.links.last.get_by_text(re.compile("First|Which")).inner_text()
    button = tab.page.get_by_role("navigation").get_by_role("button", name=f"Actions for session: {lower}")
    await tab.links.last.hover()
    await button.click()
    await expect(tab.page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await second.links.filter(has_text=lower).click()
    await second.connected()
    await second.submit("up")
    await expect(tab.links.first).to_contain_text(lower)
    await expect(tab.page.get_by_role("menu")).to_have_count(0)
    await expect(button).to_be_focused()
    await expect(button).to_have_attribute("aria-expanded", "false")


async def test_a_session_is_exported_from_its_menu(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.connected()
    for action, suffix in (("Export as Markdown", ".md"), ("Export as JSON", ".json")):
        async with tab.page.expect_download() as started:
            await tab.act("First night passage", action)
        download = await started.value
        assert download.suggested_filename.endswith(suffix)
        assert SAID[0] in (await download.path()).read_text()
    await tab.shows(*SAID)


DROP = """([kind, files]) => {
    const carried = new DataTransfer();
    for (const [name, text] of files) carried.items.add(new File([text], name));
    return !document.querySelector("main").dispatchEvent(
        new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""
"""Files come over the page, or are let go there; whether the page has them, or the browser would go to them."""


async def test_files_are_imported_wherever_they_are_dropped(server: Running, user: Person) -> None:
    user.expected = NETWORK
    tab, second = await user.opens(server.http), await user.opens(server.http)
    await expect(tab.page.get_by_text("drop a file here")).to_be_visible()
    good = session("dropped", "left", "right", title="Which side?")
    files = [["good.json", json.dumps(good)], ["notes.txt", "no JSON"], ["again.json", json.dumps(good)]]
    assert not await tab.page.evaluate(DROP, ["drop", []]), "what is dragged but no file is the browser's affair"
    assert await tab.page.evaluate(DROP, ["dragenter", files])
    await expect(tab.page.get_by_text("Drop to import")).to_be_visible()
    assert await tab.page.evaluate(DROP, ["dragover", files])
    assert await tab.page.evaluate(DROP, ["drop", files])
    await expect(tab.page.get_by_text("Drop to import")).to_be_hidden()
    await expect(tab.imported.get_by_role("status")).to_have_text("Imported 1 session, 1 skipped, 1 failed.")
    await expect(tab.imported).to_contain_text("notes.txt")
    await expect(tab.imported).to_contain_text("again.json")
    await accessible(tab)
    await expect(second.links).to_have_count(1)
    await tab.imported.get_by_role("link", name="Which side?").click()
    await tab.shows("left", "right")
    await tab.imported.get_by_role("button", name="Dismiss").click()
    await expect(tab.imported).to_be_hidden()
    # Or they are chosen.
    async with tab.page.expect_file_chooser() as chooser:
        await tab.page.get_by_role("button", name="Import…").click()
    chosen = json.dumps(session("chosen", "up", title="Chosen")).encode()
    await (await chooser.value).set_files(FilePayload(name="c.json", mimeType="application/json", buffer=chosen))
    await expect(tab.imported.get_by_role("status")).to_have_text("Imported 1 session.")
    await expect(tab.links).to_have_count(2)


async def test_an_archive_is_said_to_be_one(server: Running, user: Person) -> None:
    tab = await user.opens(server.http)
    await expect(tab.page.get_by_text("drop a file here")).to_be_visible()
    await tab.page.evaluate(DROP, ["drop", [["export.zip", "PK\x03\x04..."]]])
    await expect(tab.imported).to_contain_text("export.zip is an archive: unpack it")


async def test_a_second_new_session_is_the_first_one_while_nothing_was_said_in_it(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    begin = tab.page.get_by_role("button", name="New session")
    await begin.click()
    await expect(tab.links).to_have_count(2)
    await tab.connected()
    await begin.click()
    await expect(tab.composer).to_be_focused()
    await tab.submit("Ahoy")
    await tab.shows("Ahoy", "Ahoy")
    await begin.click()
    await tab.shows()
    await expect(tab.links).to_have_count(3)


async def test_a_file_that_is_too_large_is_said_to_be(serve: Serve, user: Person) -> None:
    user.expected = NETWORK
    server = await serve(import_bytes=1000)
    tab = await user.opens(server.http)
    await tab.page.evaluate(DROP, ["drop", [["large.json", "x" * 3_000_000], ["small.json", "x"]]])
    await expect(tab.imported.get_by_role("status")).to_have_text("Nothing imported, 2 failed.")
    await expect(tab.imported).to_contain_text("large.json is too large to be sent from a page")


async def test_an_address_with_a_message_leads_to_it_however_far_up(
    server: Running, given: Given, user: Person
) -> None:
    given(session("long", *(f"said {number}" for number in range(1, 501))))
    tab = await user.opens(server.http, "/s/long#3")
    wanted = tab.log.locator("article[data-id='3']")
    await expect(wanted).to_be_focused()
    await expect(wanted).to_be_in_viewport()
