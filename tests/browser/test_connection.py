"""The connection comes and goes; nothing typed is lost, and nothing is done twice."""

import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.async_api import WebSocket, expect

from backchat.limits import caller
from backchat.names import OWNER
from tests.browser.chromium import NETWORK, Person, Sent, Tab, each
from tests.browser.setting import SAILING, Given, Serve, session
from tests.browser.wire import Wire
from tests.support.client import Json, client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]


async def lost(tab: Tab) -> None:
    """Returns once the page knows that its connection is gone."""
    await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")


async def test_the_page_says_whether_it_is_connected(server: Running, given: Given, user: Person, wire: Wire) -> None:
    given(SAILING)
    user.expected = NETWORK
    await user.context.clock.install()
    tab = await user.opens(wire.http)
    await tab.connected()
    await expect(tab.connection).to_have_text("Connected")
    heard = tab.page.locator("connection-state [role=status]")
    await expect(heard).to_be_empty()
    wire.cut()
    await lost(tab)
    # It says when it tries again, and lets nobody wait for that.
    between_attempts = re.compile(r"Reconnecting in \d+ s")
    await expect(tab.connection).to_have_text(between_attempts)
    await expect(heard).to_have_text("The connection is lost.")
    await tab.shows(*SAID)
    await user.context.clock.pause_at(time.time() + 3600)
    await expect(tab.connection).to_have_text(between_attempts)
    wire.mend()
    await tab.page.get_by_role("button", name="Try now").click()
    await tab.connected()
    await tab.shows(*SAID)
    await user.context.clock.resume()
    await expect(heard).to_have_text("Connected again.")


async def test_a_tab_that_comes_back_resumes_from_what_it_has_seen(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    received: list[Json] = []

    def listen(socket: WebSocket) -> None:
        if "/ws/" in socket.url:
            socket.on("framereceived", lambda frame: received.append(json.loads(frame)))

    tab.page.on("websocket", listen)
    async with client(server.ws("5a111ab0a7e0")) as other:
        revision, log = other.view.revision, other.view.log
        wire.cut()
        await lost(tab)
        await other.submit("/undo")
        await other.say("meanwhile")
        wire.mend()
        await tab.shows(*SAID[:2], "meanwhile", "meanwhile")
    first, *later = (urlsplit(socket.url) for socket in tab.sockets)
    assert (first.path, first.query) == ("/ws/5a111ab0a7e0", "")
    assert {socket.path for socket in later} == {"/ws/5a111ab0a7e0"}
    name = received[0]["params"]["name"]
    assert parse_qs(later[-1].query) == {"after": [str(revision)], "log": [log], "name": [name]}
    attached = next(frame["params"] for frame in received if frame.get("method") == "attached")
    assert "messages" not in attached
    assert len([event for event in attached["events"] if event["method"] == "transcript.spliced"]) == 3


async def test_a_line_typed_without_a_connection_waits_and_is_applied_once(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await lost(tab)
    await tab.submit("Are we there yet?")
    await expect(tab.pending).to_contain_text("Are we there yet?")
    await expect(tab.pending).to_contain_text("Not sent yet")
    await expect(tab.composer).to_have_value("")
    await tab.shows(*SAID)
    wire.mend()
    await tab.shows(*SAID, "Are we there yet?", "Are we there yet?")
    await expect(tab.pending).to_be_hidden()
    async with client(server.ws("5a111ab0a7e0")) as other:
        assert other.view.texts == [*SAID, "Are we there yet?", "Are we there yet?"]


@pytest.mark.parametrize("line", ["/undo", "And now?"])
async def test_a_line_whose_answer_was_lost_is_sent_again_and_applied_once(
    server: Running, given: Given, user: Person, wire: Wire, line: str
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    sent = Sent(tab)
    after = SAID[:2] if line == "/undo" else [*SAID, line, line]
    async with client(server.ws("5a111ab0a7e0")) as other:
        wire.mute()
        await tab.submit(line)
        await other.until(lambda: other.view.texts == after)
        await tab.shows(*SAID)
        wire.cut()
        await lost(tab)
        await expect(tab.pending).to_contain_text(line)
        wire.mend()
        await tab.shows(*after)
        await expect(tab.pending).to_be_hidden()
        assert (await other.submit("/status"))["data"]["message_count"] == len(after)
        assert other.view.texts == after
    assert len({submit["op_id"] for submit in sent.submits}) == 1
    assert len(sent.submits) == 2
    # What undo gave back was in the lost answer, and comes with the second one.
    await expect(tab.composer).to_have_value(SAID[2] if line == "/undo" else "")
    await expect(tab.alert).to_be_empty()


async def test_a_line_that_waits_survives_a_reload_and_is_applied_once(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    sent = Sent(tab)
    async with client(server.ws("5a111ab0a7e0")) as other:
        wire.mute()
        await tab.submit("/undo")
        await other.until(lambda: other.view.texts == SAID[:2])
        wire.cut()
        await lost(tab)
        wire.mend()
        await tab.page.reload()
        await tab.shows(*SAID[:2])
        await tab.connected()
        await expect(tab.pending).to_be_hidden()
        await expect(tab.composer).to_have_value(SAID[2])
        assert (await other.submit("/status"))["data"]["message_count"] == 2
    assert len({submit["op_id"] for submit in sent.submits}) == 1


async def test_the_browser_going_offline_and_back_loses_nothing(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(server.http)
    await tab.connected()
    await user.context.set_offline(True)
    await tab.submit("Still there?")
    await user.context.set_offline(False)
    await tab.shows(*SAID, "Still there?", "Still there?")
    await tab.connected()
    async with client(server.ws("5a111ab0a7e0")) as other:
        assert other.view.texts == [*SAID, "Still there?", "Still there?"]


async def test_a_restart_of_the_server_is_survived_with_what_was_typed_meanwhile(
    server: Running, serve: Serve, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])
    await server.stop()
    await lost(tab)
    await tab.submit("Back again?")
    await expect(tab.pending).to_contain_text("Not sent yet")
    again = await serve()
    wire.mend(again)
    await tab.shows(*SAID[:2], "Back again?", "Back again?")
    await tab.connected()
    assert "after=2" in tab.sockets[-1].url
    async with client(again.ws("5a111ab0a7e0")) as other:
        assert other.view.texts == [*SAID[:2], "Back again?", "Back again?"]


async def test_a_reply_that_the_server_took_down_with_it_is_kept_and_marked(
    server: Running, serve: Serve, user: Person, wire: Wire, scripted: Scripted
) -> None:
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.submit("Tell me a story")
    scripted.say("Once upon")
    await expect(tab.reply).to_contain_text("Once upon")
    await server.stop()
    await tab.shows("Tell me a story", "Once upon")
    await expect(tab.messages.last).to_contain_text("Interrupted")
    wire.mend(await serve())
    await tab.connected()
    await tab.shows("Tell me a story", "Once upon")
    await expect(tab.reply).to_have_count(0)
    await expect(tab.stop).to_be_hidden()


async def test_a_connection_lost_in_mid_reply_is_resumed_without_a_gap_or_a_repeat(
    server: Running, user: Person, wire: Wire, scripted: Scripted
) -> None:
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.submit("Count")
    scripted.say("one ", "two ")
    await expect(tab.reply).to_contain_text("one two")
    wire.cut()
    await lost(tab)
    scripted.say("three ")
    await tab.stop.click()
    await expect(tab.alert).to_contain_text("the reply cannot be stopped now")
    wire.mend()
    await expect(tab.reply).to_contain_text("one two three")
    scripted.say("four")
    scripted.end()
    await tab.shows("Count", "one two three four")
    await expect(tab.reply).to_have_count(0)


async def test_a_reload_in_mid_reply_goes_on_where_the_reply_is(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Count")
    scripted.say("one ", "two ")
    await expect(tab.reply).to_contain_text("one two")
    await tab.page.reload()
    await tab.shows("Count")
    await expect(tab.reply).to_contain_text("one two")
    await expect(tab.stop).to_be_visible()
    scripted.say("three")
    await expect(tab.reply).to_contain_text("one two three")
    scripted.end()
    await tab.shows("Count", "one two three")
    await expect(tab.reply).to_have_count(0)


async def test_a_line_too_long_to_send_comes_back(serve: Serve, user: Person) -> None:
    server = await serve(max_frame=2000)
    tab = await user.opens(server.http)
    await tab.submit("hello")
    await tab.shows("hello", "hello")
    await tab.submit("long " * 1000)
    await expect(tab.alert).to_contain_text("too long to send")
    await expect(tab.composer).to_have_value("long " * 1000)
    await tab.connected()
    await tab.submit("short")
    await tab.shows("hello", "hello", "short", "short")


async def test_a_server_with_a_token_asks_for_it_and_then_lets_in(serve: Serve, given: Given, user: Person) -> None:
    given(SAILING)
    user.expected = NETWORK
    server = await serve(token="open-sesame")
    tab = await user.opens(server.http)
    field = tab.page.get_by_label("Access token")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("type", "password")
    await tab.shows()
    await tab.type("open-barley")
    await tab.press("Enter")
    await expect(tab.page.get_by_role("dialog").get_by_role("alert")).to_have_text("That is not the token.")
    await expect(field).to_be_focused()
    await tab.type("open-sesame")
    await tab.press("Enter")
    await expect(field).to_be_hidden()
    await tab.shows(*SAID)
    await tab.connected()
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])
    # Once is enough, for every tab; and no script can read what was kept.
    another = await user.opens(server.http, "/s/5a111ab0a7e0")
    await another.shows(*SAID[:2])
    assert await another.page.evaluate("document.cookie") == ""
    assert "open-sesame" not in json.dumps(await user.context.cookies())
    assert "open-sesame" not in another.page.url


async def test_an_invitation_in_the_address_signs_in_without_a_question_and_leaves_the_address(
    serve: Serve, given: Given, user: Person
) -> None:
    given(SAILING)
    user.expected = NETWORK
    server = await serve(host="0.0.0.0")
    tab = await user.opens(server.http, f"/#sign-in={server.backchat.invite()}")
    await tab.shows(*SAID)
    await tab.connected()
    await expect(tab.page.get_by_label("Access token")).to_be_hidden()
    assert "sign-in" not in tab.page.url
    await tab.submit("/undo")
    await tab.shows(*SAID[:2])


async def test_an_invitation_that_was_used_is_told_and_asks_for_a_token(serve: Serve, user: Person) -> None:
    user.expected = NETWORK
    server = await serve(host="0.0.0.0")
    code = server.backchat.invite()
    await server.backchat._users.sign_in(str(code))
    tab = await user.opens(server.http, f"/#sign-in={code}")
    await expect(tab.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("has been used")
    assert str(code) not in tab.page.url
    await expect(tab.page.get_by_label("Access token")).to_be_focused()


async def test_a_session_opened_by_its_address_on_a_server_with_a_token_shows_after_sign_in(
    serve: Serve, given: Given, user: Person
) -> None:
    given(SAILING)
    user.expected = NETWORK
    server = await serve(token="open-sesame")
    tab = await user.opens(server.http, "/s/5a111ab0a7e0")
    await tab.page.get_by_label("Access token").fill("open-sesame")
    await tab.page.get_by_role("button", name="Sign in").click()
    await tab.shows(*SAID)
    await tab.connected()
    await expect(tab.page.get_by_role("dialog")).to_be_hidden()


async def test_lines_that_wait_are_counted_and_can_be_taken_back_before_they_are_sent(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    sent = Sent(tab)
    wire.cut()
    await lost(tab)
    for line in ("One", "Two", "Three"):
        await tab.submit(line)
    await expect(tab.page.get_by_text("3 lines wait to be sent")).to_be_visible()
    await tab.pending.get_by_role("listitem").filter(has_text="Two").get_by_role("button", name="Take back").click()
    await expect(tab.page.get_by_text("2 lines wait to be sent")).to_be_visible()
    await expect(tab.composer).to_have_value("Two")
    await expect(tab.composer).to_be_focused()
    await each(tab.pending.get_by_role("listitem"), "One", "Three")
    wire.mend()
    await tab.shows(*SAID, "One", "One", "Three", "Three")
    await expect(tab.page.get_by_text("to be sent")).to_be_hidden()
    assert [submit["text"] for submit in sent.submits] == ["One", "Three"]


async def test_lines_that_wait_are_sent_also_where_another_session_has_been_opened_since(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    other = session("other", "left", "right", title="Which side?")
    given(SAILING, other)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await lost(tab)
    await tab.submit("Are we there yet?")
    await tab.submit("/unknown")
    await tab.links.filter(has_text="Which side?").click()
    await expect(tab.page.get_by_text("Not here yet")).to_be_visible()
    await expect(tab.page.get_by_text("2 lines wait to be sent")).to_be_visible()
    wire.mend()
    await tab.shows("left", "right")
    await expect(tab.alert).to_contain_text("Not done in “First night passage”: There is no command /unknown.")
    async with client(server.ws(SAILING["session_id"])) as first:
        await first.until(lambda: first.view.texts == [*SAID, "Are we there yet?", "Are we there yet?"])
    await tab.answered()
    await tab.links.filter(has_text="First night passage").click()
    await tab.shows(*SAID, "Are we there yet?", "Are we there yet?")
    await expect(tab.composer).to_have_value("/unknown")
    # Also after a reload, and once only.
    line = {"op_id": "waits", "text": "left again", "typed": True}
    await tab.page.evaluate(
        "(line) => sessionStorage.setItem('backchat.pending.other', JSON.stringify([{...line, at: Date.now()}]))", line
    )
    await tab.page.reload()
    await tab.shows(*SAID, "Are we there yet?", "Are we there yet?")
    async with client(server.ws("other")) as second:
        await second.until(lambda: second.view.texts == ["left", "right", "left again", "left again"])
    await tab.answered()
    await tab.links.filter(has_text="Which side?").click()
    await tab.shows("left", "right", "left again", "left again")


async def test_what_was_written_in_a_tab_that_is_closed_is_there_in_the_next(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab, beside = await user.opens(wire.http), await user.opens(wire.http)
    for one in (tab, beside):
        await one.connected()
    wire.cut()
    await lost(tab)
    await tab.submit("Are we there yet?")
    await expect(tab.pending).to_contain_text("Not sent yet")
    await tab.composer.fill("And n")
    await tab.page.close()
    wire.mend()
    following = await user.opens(wire.http)
    await following.shows(*SAID, "Are we there yet?", "Are we there yet?")
    await expect(following.composer).to_have_value("And n")
    await expect(beside.composer).to_have_value("")
    # Where it is written from now on.
    await following.composer.fill("")
    await following.page.reload()
    await following.shows(*SAID, "Are we there yet?", "Are we there yet?")
    await expect(following.composer).to_have_value("")
    another = await user.opens(wire.http)
    await another.shows(*SAID, "Are we there yet?", "Are we there yet?")
    await expect(another.composer).to_have_value("")


async def test_lines_of_tabs_that_are_closed_join_those_of_the_next_but_no_button_is_pressed_later(
    server: Running, given: Given, user: Person
) -> None:
    given(SAILING)
    tab = await user.opens(server.http)
    await tab.shows(*SAID)
    await tab.page.evaluate(
        """(key) => {
        const line = (text, typed) => ({ op_id: text, text, typed, at: Date.now() });
        addEventListener("pagehide", () => {
            sessionStorage.setItem(`backchat.pending.${key}`, JSON.stringify([line("mine", true)]));
            localStorage.setItem(`backchat.left.pending.${key}`, JSON.stringify([line("theirs", true)]));
        });
        sessionStorage.setItem("backchat.pending.none", JSON.stringify([line("/undo", false)]));
        sessionStorage.setItem("backchat.draft.none", JSON.stringify("a draft"));
        dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
    }""",
        SAILING["session_id"],
    )
    left = "() => Object.keys(localStorage).filter((key) => key.includes('.left.'))"
    assert await tab.page.evaluate(left) == [f"backchat.left.pending.{SAILING['session_id']}"], "it may still come back"
    await tab.page.reload()
    await tab.shows(*SAID, "theirs", "theirs", "mine", "mine")
    assert await tab.page.evaluate(left) == []
    await tab.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide'))")
    assert await tab.page.evaluate(left) == ["backchat.left.draft.none"]


async def test_lines_for_a_session_that_is_gone_come_back_into_its_draft(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await lost(tab)
    await tab.submit("Are we there yet?")
    await tab.links.filter(has_text="Which side?").click()
    async with httpx.AsyncClient() as http:
        await http.delete(f"{server.http}/api/sessions/{SAILING['session_id']}")
    wire.mend()
    await expect(tab.alert).to_contain_text("This session was deleted. Your line is back there.")
    await tab.answered()
    async with httpx.AsyncClient() as http:
        await http.post(f"{server.http}/api/sessions/{SAILING['session_id']}/restore")
    await tab.links.filter(has_text="First night passage").click()
    await expect(tab.composer).to_have_value("Are we there yet?")


async def test_a_session_that_cannot_be_loaded_yet_shows_nothing_of_the_one_before(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    Scripted(server)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.submit("Go on")
    await tab.submit("And then")
    await expect(tab.waiting).to_have_count(1)
    await expect(tab.stop).to_be_visible()
    wire.cut()
    await lost(tab)
    await tab.links.filter(has_text="Which side?").click()
    await expect(tab.page.get_by_text("Not here yet")).to_be_visible()
    await expect(tab.queue).to_be_hidden()
    await expect(tab.stop).to_be_hidden()
    wire.mend()
    await tab.shows("left", "right")


async def test_a_line_that_may_have_arrived_is_not_given_back(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    async with client(server.ws("5a111ab0a7e0")) as other:
        wire.mute()
        await tab.submit("Did it arrive?")
        await other.until(lambda: len(other.view.texts) == len(SAID) + 2)
        wire.cut()
        await lost(tab)
        await expect(tab.pending).to_contain_text("it may have arrived")
        await expect(tab.pending.get_by_role("button", name="Take back")).to_be_hidden()
        wire.mend()
        await tab.shows(*other.view.texts)


async def test_what_was_written_long_ago_is_sent_only_if_it_is_still_meant(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    await user.context.clock.install()
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await lost(tab)
    for line in ("Are you up?", "Good night!", "Forget it"):
        await tab.submit(line)
    await user.context.clock.fast_forward("49:00:00")
    wire.mend()
    await tab.connected()
    lines = tab.pending.get_by_role("listitem")
    await each(lines, "Are you up?", "Good night!", "Forget it")
    await expect(lines.get_by_text("Written 2 days ago")).to_have_count(3)
    # What is written now is not held up by it.
    await tab.submit("Good morning")
    await tab.shows(*SAID, "Good morning", "Good morning")
    await lines.filter(has_text="Good night!").get_by_role("button", name="Send").click()
    await tab.shows(*SAID, "Good morning", "Good morning", "Good night!", "Good night!")
    await lines.filter(has_text="Forget it").get_by_role("button", name="Take back").click()
    await expect(tab.composer).to_have_value("Forget it")
    # Nor does a reload send it.
    await tab.page.reload()
    await tab.connected()
    await each(lines, "Are you up?")
    await tab.shows(*SAID, "Good morning", "Good morning", "Good night!", "Good night!")


async def test_offline_is_said_and_a_reply_that_was_being_written_is_paused(
    server: Running, user: Person, wire: Wire, scripted: Scripted
) -> None:
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.submit("Count")
    scripted.say("one ")
    await expect(tab.reply).to_contain_text("one")
    paused = tab.page.get_by_text("Not connected: the reply shows on")
    await expect(paused).to_be_hidden()
    wire.cut()
    await user.context.set_offline(True)
    await expect(tab.connection).to_have_text("Offline")
    await expect(tab.page.locator("connection-state [role=status]")).to_have_text("Offline.")
    await expect(paused).to_be_visible()
    scripted.say("two")
    wire.mend()
    await user.context.set_offline(False)
    await expect(tab.reply).to_contain_text("one two")
    await expect(paused).to_be_hidden()
    scripted.end()
    await tab.shows("Count", "one two")


async def test_the_list_is_live_after_the_sign_in_too(serve: Serve, given: Given, user: Person) -> None:
    given(SAILING)
    user.expected = NETWORK
    server = await serve(token="open-sesame")
    tab = await user.opens(server.http)
    await tab.page.get_by_label("Access token").fill("open-sesame")
    await tab.press("Enter")
    await expect(tab.links).to_have_count(1)
    headers = {"authorization": "Bearer open-sesame"}
    async with httpx.AsyncClient(base_url=server.http, trust_env=False, headers=headers) as http:
        assert (await http.post("/api/sessions", json={"title": "Another"})).status_code == 201
    await expect(tab.links).to_have_count(2)


async def test_lines_that_the_server_would_not_take_yet_wait_and_go_out_in_their_order(
    serve: Serve, given: Given, user: Person
) -> None:
    given(SAILING)
    server = await serve(commands_per_minute=60)
    tab = await user.opens(server.http)
    await tab.connected()
    for _ in range(60):
        server.backchat._commands.take(caller({"client": ("127.0.0.1", 1)}, OWNER))
    await tab.submit("one")
    await expect(tab.pending).to_contain_text("That was much at once; this goes out in a moment")
    await tab.submit("two")
    await tab.shows(*SAID, "one", "one", "two", "two")
    await expect(tab.pending).to_be_hidden()
    # Nothing was given up for lost meanwhile.
    assert len(tab.sockets) == 1
