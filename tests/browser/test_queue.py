"""Messages that wait for the end of a reply."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.chromium import NETWORK, Person, Tab, each
from tests.browser.setting import Serve
from tests.browser.wire import Wire
from tests.support.client import Client, client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

LONG = "A very long question. " * 20
PAUSED = "Paused: these wait until you send them on. A new message goes before them."
HOSTILE = "<b>bold</b><script>document.title='owned'</script>"


async def replying(user: Person, server: Running, scripted: Scripted, *waiting: str) -> Tab:
    """A tab in which a reply to "First" is being written, and these messages wait."""
    tab = await user.opens(server.http)
    await tab.submit("First")
    scripted.say("One moment")
    await expect(tab.reply).to_contain_text("One moment")
    for text in waiting:
        await tab.submit(text)
    await waits(tab, *waiting)
    return tab


async def waits(tab: Tab, *texts: str) -> None:
    """Waits until these messages wait, in order, and no others."""
    await each(tab.waiting, *texts)
    await expect(tab.queue).to_be_visible(visible=bool(texts))


async def test_a_message_during_a_reply_waits_and_is_sent_when_the_reply_is_complete(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted)
    await tab.composer.fill("Second")
    await tab.send.click()
    await waits(tab, "Second")
    await tab.submit("Third")
    await waits(tab, "Second", "Third")
    await tab.shows("First")
    await expect(tab.composer).to_have_value("")
    await expect(tab.notice).to_be_empty()
    await expect(tab.alert).to_be_empty()
    await expect(tab.page.get_by_role("button", name=re.compile("Send now|Go on"))).to_be_hidden()
    await expect(tab.reply).to_contain_text("One moment")
    scripted.end()
    await tab.shows("First", "One moment", "Second")
    await waits(tab, "Third")
    scripted.say("Two")
    await expect(tab.reply).to_contain_text("Two")
    scripted.end()
    scripted.say("Three")
    scripted.end()
    await tab.shows("First", "One moment", "Second", "Two", "Third", "Three")
    await waits(tab)


async def test_what_waits_is_seen_in_every_tab_and_after_a_reload(
    server: Running, user: Person, scripted: Scripted
) -> None:
    one = await replying(user, server, scripted, "Second")
    two = await user.opens(server.http)
    await waits(two, "Second")
    await two.submit("Third")
    await waits(one, "Second", "Third")
    await one.page.reload()
    await waits(one, "Second", "Third")
    scripted.end()
    for tab in (one, two):
        await tab.shows("First", "One moment", "Second")
        await waits(tab, "Third")


async def test_a_message_taken_out_goes_back_into_the_composer_of_whoever_took_it(
    server: Running, user: Person, scripted: Scripted
) -> None:
    one = await replying(user, server, scripted, "Second")
    for line in (LONG, "//undo the knot"):
        await one.submit(line)
    two = await user.opens(server.http)
    await waits(two, "Second", "A very long question.", "/undo the knot")
    await one.page.get_by_role("button", name="Take out: A very long").click()
    for tab in (one, two):
        await waits(tab, "Second", "/undo the knot")
    await expect(one.composer).to_have_value(LONG.strip())
    await expect(one.composer).to_be_focused()
    await expect(two.composer).to_have_value("")

    # What is being written stays, and what comes back stays a message.
    await two.composer.fill("a draft")
    await two.page.get_by_role("button", name="Take out: /undo the knot").click()
    await expect(two.composer).to_have_value("//undo the knot\na draft")
    await expect(two.notice).to_be_empty()
    for tab in (one, two):
        await waits(tab, "Second")
    scripted.end()
    await one.shows("First", "One moment", "Second")


async def test_stopping_a_reply_pauses_what_waits_until_one_sends_it(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted, "Second", "Third")
    await tab.stop.click()
    await tab.shows("First", "One moment")
    await expect(tab.page.get_by_text(PAUSED)).to_be_visible()
    await waits(tab, "Second", "Third")
    go = tab.page.get_by_role("button", name="Send now")
    await go.focus()
    await tab.press("Enter")
    await tab.shows("First", "One moment", "Second")
    await expect(tab.page.get_by_text(PAUSED)).to_be_hidden()
    await expect(go).to_be_hidden()
    await expect(tab.composer).to_be_focused()
    await waits(tab, "Third")
    scripted.say("Two")
    scripted.end()
    await tab.shows("First", "One moment", "Second", "Two", "Third")
    await waits(tab)


async def test_a_reply_that_fails_pauses_what_waits(server: Running, user: Person, scripted: Scripted) -> None:
    tab = await replying(user, server, scripted, "Second")
    scripted.fail("The model fell over.")
    await tab.shows("First", "The model fell over.")
    await expect(tab.page.get_by_text(PAUSED)).to_be_visible()
    await waits(tab, "Second")


async def test_what_is_paused_can_be_let_go_on_after_a_reply_that_is_being_written(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted, "Second")
    await tab.stop.click()
    await expect(tab.page.get_by_text(PAUSED)).to_be_visible()
    await tab.submit("First of all")
    await tab.shows("First", "One moment", "First of all")
    await waits(tab, "Second")
    await tab.page.get_by_role("button", name="Go on").click()
    await expect(tab.page.get_by_text(PAUSED)).to_be_hidden()
    await tab.shows("First", "One moment", "First of all")
    scripted.say("Yes")
    scripted.end()
    await tab.shows("First", "One moment", "First of all", "Yes", "Second")


async def test_the_focus_stays_where_it_is_while_the_queue_changes(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted, "Second", "Third", "Fourth")
    take_out = {
        text: tab.page.get_by_role("button", name=f"Take out: {text}") for text in ("Second", "Third", "Fourth")
    }
    async with client(server.ws(tab.session_id)) as other:
        await take_out["Third"].focus()
        await other.submit("Fifth")
        await waits(tab, "Second", "Third", "Fourth", "Fifth")
        await expect(take_out["Third"]).to_be_focused()
        await drop(other, "Second")
        await waits(tab, "Third", "Fourth", "Fifth")
        await expect(take_out["Third"]).to_be_focused()
        # Where it is gone itself, the next one has its place, then the last one, then there is only the composer.
        await drop(other, "Third")
        await expect(take_out["Fourth"]).to_be_focused()
        await drop(other, "Fifth")
        await expect(take_out["Fourth"]).to_be_focused()
        await drop(other, "Fourth")
        await expect(tab.composer).to_be_focused()


async def drop(other: Client, text: str) -> None:
    """Another client takes a message out of the queue."""
    number = next(waiting["id"] for waiting in other.view.session["queue"] if waiting["preview"] == text)
    await other.submit(f"/queue drop {number}")


async def test_the_reader_stays_at_the_end_when_the_queue_makes_room_and_more_comes_at_once(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted, "Second", "Third", "Fourth")
    scripted.say(*(f"\nline {number}" for number in range(60)))
    await expect(tab.reply).to_contain_text("line 59")
    await tab.drawn()
    # The browser moves what is scrolled when it gets room, and says so only when there is more to scroll already.
    await tab.page.evaluate("""() => new Promise((done) => requestAnimationFrame(() => {
        document.querySelector("message-queue").hidden = true;
        setTimeout(() => {
            document.querySelector("article[data-run] > .text").append("\\nmore".repeat(30));
            done();
        });
    }))""")
    await tab.drawn()
    assert await tab.log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 2


async def test_on_a_low_screen_a_long_notice_leaves_room_for_the_queue_and_the_composer(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted, "Second")
    await tab.page.set_viewport_size({"width": 720, "height": 360})
    await tab.submit("/help")
    await expect(tab.notice).to_contain_text("List the commands")
    await expect(tab.composer).to_be_in_viewport(ratio=1)
    await expect(tab.waiting).to_be_in_viewport(ratio=1)


async def test_a_message_that_cannot_wait_comes_back(serve: Serve, user: Person) -> None:
    server = await serve(queue_messages=1)
    tab = await replying(user, server, Scripted(server), "Second")
    await tab.submit("Third")
    await expect(tab.alert).to_contain_text("No more than 1 message can wait for a reply to end.")
    await expect(tab.composer).to_have_value("Third")
    await waits(tab, "Second")


async def test_what_waits_is_shown_as_text_in_its_own_direction(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await replying(user, server, scripted, HOSTILE, "الطقس جميل اليوم")
    await expect(tab.queue.locator("b, script")).to_have_count(0)
    await expect(tab.waiting.nth(1).locator(".text")).to_have_css("direction", "rtl")
    await expect(tab.page.get_by_role("button", name=f"Take out: {HOSTILE}")).to_be_visible()


async def test_without_a_connection_nothing_is_taken_out_or_sent(
    server: Running, user: Person, wire: Wire, scripted: Scripted
) -> None:
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.submit("First")
    await expect(tab.reply).to_have_count(1)
    await tab.submit("Second")
    await waits(tab, "Second")
    wire.cut()
    await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
    await tab.page.get_by_role("button", name="Take out: Second").click()
    await expect(tab.alert).to_contain_text("Not connected: the message cannot be taken out now.")
    wire.mend()
    await tab.connected()
    await waits(tab, "Second")
    del scripted
