"""The connection comes and goes; nothing typed is lost, and nothing is done twice."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import expect

from tests.browser.chromium import NETWORK, Person, Sent, Tab
from tests.browser.setting import SAILING, Given, Serve
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
    tab = await user.opens(wire.http)
    await tab.connected()
    await expect(tab.connection).to_have_text("Connected")
    wire.cut()
    await lost(tab)
    await expect(tab.connection).to_have_text("Reconnecting…")
    await tab.shows(*SAID)
    wire.mend()
    await tab.connected()
    await tab.shows(*SAID)


async def test_a_tab_that_comes_back_resumes_from_what_it_has_seen(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    received: list[Json] = []
    tab.page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(json.loads(frame)))
    )
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
