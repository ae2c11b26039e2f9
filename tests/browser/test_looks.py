"""The page on every screen, in the dark, and without a mouse."""

import re
from typing import Literal

import pytest
from playwright.async_api import Browser, ViewportSize, expect

from backchat.transcript import Usage
from tests.browser.axe import accessible
from tests.browser.chromium import Person, Tab, person
from tests.browser.setting import CYAN, SAILING, Given, Serve, session
from tests.support.client import client
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAID = [message["content"] for message in SAILING["messages"]]
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1180, "height": 760}
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
WIDE = "w" * 300
FINGER = 32
"""How many pixels each way a button needs at least."""

OVERFLOWING = """() => {
    const width = document.documentElement.clientWidth;
    const parts = ["html", "main", "main > footer", "nav", "article", "details", "dialog[open]", "message-queue",
        "message-queue ul", "command-palette", "[role=log]", "[role=status]:not(.unseen)", "[role=alert]",
        "[role=listbox]"];
    return [...document.querySelectorAll(parts)]
        .filter((one) => one.scrollWidth > one.clientWidth + 1 || one.getBoundingClientRect().right > width + 1)
        .map((one) => `${one.tagName} ${one.className}: ${one.scrollWidth} in ${one.clientWidth}`);
}"""
"""What is wider than its place."""

CONTRASTS = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const painted = (colours) => {
        context.clearRect(0, 0, 1, 1);
        for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => rgb.map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const found = {};
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
        const seen = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
        if (!text || !seen || element.matches(":disabled")) continue;
        const behind = [];
        for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
        const [ink, paper] = [[...behind, getComputedStyle(element).color], behind].map(painted).map(luminance);
        const contrast = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
        found[text.slice(0, 40)] = Math.min(contrast, found[text.slice(0, 40)] ?? Infinity);
    }
    return found;
}"""
"""The contrast of every text that can be seen, by the formula of WCAG 2."""


async def fits(tab: Tab) -> None:
    await tab.drawn()
    assert await tab.page.evaluate(OVERFLOWING) == []


async def test_nothing_is_wider_than_the_screen_and_all_text_can_be_read(
    server: Running, given: Given, user: Person
) -> None:
    code = "| " + "column | " * 60
    urls = ("https://example.invalid/" + WIDE, CYAN)
    parts = [{"type": "text", "text": WIDE}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    given(
        session(
            "wide",
            WIDE,
            code,
            {"role": "user", "content": parts},
            {"role": "tool", "content": WIDE, "name": WIDE},
            {"role": "assistant", "content": {"json": WIDE}},
            "What of it?",
            title=WIDE,
            model=WIDE,
            workspace="/" + WIDE,
        )
    )
    tab = await user.opens(server.http)
    await tab.connected()
    for summary in await tab.log.locator("summary").all():
        await summary.click()
    await readable(tab)
    await tab.submit("/status")
    await expect(tab.notice).to_contain_text(WIDE)
    await readable(tab)
    await tab.submit("/" + WIDE)
    await expect(tab.alert).to_contain_text("There is no command")
    await readable(tab)
    await tab.composer.fill("/")
    await expect(tab.palette).to_be_visible()
    await readable(tab)


async def test_all_that_a_reply_has_to_say_fits_and_can_be_read(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.submit("Why?")
    await expect(tab.reply).to_contain_text("Waiting for the first word…")
    await readable(tab)
    scripted.reason(WIDE)
    await expect(tab.reply).to_contain_text("Thinking…")
    await readable(tab)
    await tab.reply.locator("summary").click()
    scripted.say(WIDE)
    for line in (WIDE, "Why so?"):
        await tab.submit(line)
    await expect(tab.waiting).to_have_count(2)
    await readable(tab)
    scripted.report(model=WIDE, usage=Usage(10**9, 10**9, 10**9, 10**9))
    scripted.fail(WIDE)
    await tab.shows("Why?", f"The reply failed here. {WIDE}")
    await expect(tab.page.get_by_role("button", name="Send now")).to_be_visible()
    await readable(tab)
    await tab.submit("/retry")
    await expect(tab.reply).to_have_count(1)
    for line in (f"/title {WIDE}", "/queue drop "):
        await tab.composer.fill(line)
        await expect(tab.hint).to_contain_text("Now:")
        await readable(tab)
    await expect(tab.options).to_have_count(2)


async def test_variants_redo_a_branch_and_who_is_there_fit_and_can_be_read(
    server: Running, given: Given, user: Person
) -> None:
    given(session("wide", WIDE, WIDE, "What of it?", "Nothing.", title=WIDE, model=WIDE))
    async with client(server.ws("wide", f"name={WIDE[:40]}")) as other:
        for line in ("/edit 1 " + WIDE, "/retry", "What else?", "/undo"):
            await other.submit(line)
            await other.until(lambda: other.view.run is None)
        branched = await other.submit("/branch")
        tab = await user.opens(server.http, "/s/wide")
        await expect(tab.messages).to_have_count(2)
        for message in await tab.messages.all():
            await expect(message.get_by_role("button", name="Previous variant")).to_be_visible()
        await expect(tab.redo).to_be_visible()
        await expect(tab.presence).to_be_visible()
        await other.submit("/undo")
        await expect(tab.notice).to_contain_text("undid 2 messages")
        await other.submit("/redo")
        await expect(tab.messages).to_have_count(2)
        await readable(tab)
        await tab.messages.last.hover()
        await readable(tab)
        async with client(server.ws(branched["data"]["session_id"])):
            await tab.page.goto(f"{server.http}/s/{branched['data']['session_id']}")
            await expect(tab.origin).to_contain_text(WIDE)
            await readable(tab)


async def test_on_a_phone_a_switch_is_large_enough_for_a_finger(serve: Serve, given: Given, browser: Browser) -> None:
    given(SAILING)
    server = await serve()
    async with person(browser, viewport=PHONE, has_touch=True, is_mobile=True) as user:
        tab = await user.opens(server.http)
        await tab.connected()
        await tab.submit("/retry")
        await tab.shows(*SAID[:3], SAID[2])
        back = tab.messages.last.get_by_role("button", name="Previous variant")
        for button in (back, tab.redo):
            box = await button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= FINGER
        await back.tap()
        await tab.shows(*SAID)
        await tab.messages.last.get_by_role("button", name="Next variant").tap()
        await tab.shows(*SAID[:3], SAID[2])
        await tab.redo.tap()
        await tab.shows(*SAID)
        await fits(tab)


async def readable(tab: Tab) -> None:
    """Asserts that what is on screen fits and stands out, on a phone and on a desk, by day and by night, and is there
    for those who do not see it."""
    for size in (PHONE, DESK):
        await tab.page.set_viewport_size(size)
        await fits(tab)
        for scheme in SCHEMES:
            await tab.page.emulate_media(color_scheme=scheme)
            paper = await tab.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            dark = max(int(part) for part in re.findall(r"\d+", paper)) < 64
            assert dark == (scheme == "dark"), paper
            contrasts = await tab.page.evaluate(CONTRASTS)
            assert len(contrasts) > 5
            assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}, (scheme, size)
    await accessible(tab)


async def test_a_phone_that_is_turned_with_the_menu_open_has_room_for_both(
    serve: Serve, given: Given, browser: Browser
) -> None:
    given(SAILING)
    server = await serve()
    async with person(browser, viewport=PHONE) as user:
        tab = await user.opens(server.http)
        await tab.connected()
        await tab.page.get_by_role("button", name="Open the session list").click()
        await tab.page.set_viewport_size({"width": 850, "height": 390})
        await tab.composer.click()
        await tab.submit("Ahoy")
        await tab.shows(*SAID, "Ahoy", "Ahoy")
        await fits(tab)
        width = await tab.page.evaluate("document.querySelector('main').getBoundingClientRect().width")
        assert width > 500


async def test_on_a_phone_the_sessions_are_a_menu(serve: Serve, given: Given, browser: Browser) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    server = await serve()
    async with person(browser, viewport=PHONE, has_touch=True, is_mobile=True) as user:
        tab = await user.opens(server.http)
        await tab.shows(*SAID)
        await expect(tab.links.first).to_be_hidden()
        await tab.page.get_by_role("button", name="Open the session list").tap()
        await expect(tab.links).to_have_count(2)
        await fits(tab)
        await tab.links.filter(has_text="Which side?").tap()
        await tab.shows("left", "right")
        await expect(tab.links.first).to_be_hidden()
        await fits(tab)
        await tab.page.get_by_role("button", name="Open the session list").tap()
        await tab.press("Escape")
        await expect(tab.links.first).to_be_hidden()
        await tab.composer.fill("Which?")
        await tab.send.tap()
        await tab.shows("left", "right", "Which?", "Which?")


async def test_everything_can_be_done_without_a_mouse(
    server: Running, given: Given, browser: Browser, scripted: Scripted
) -> None:
    given(SAILING, session("other", "left", "right", title="Which side?"))
    async with person(browser) as user:
        tab = await user.opens(server.http)
        await tab.shows(*SAID)
        await tab.connected()
        await expect(tab.composer).to_be_focused()

        # Taking back, by the list of commands.
        await tab.type("/un")
        await tab.press("Tab", "Enter")
        await tab.shows(*SAID[:2])
        await expect(tab.composer).to_be_focused()
        await tab.press("End", "Shift+Home", "Delete")

        # Starting and stopping a reply: Stop comes after the composer.
        await tab.type("Tell me a story")
        await tab.press("Enter")
        scripted.say("Once upon")
        await expect(tab.reply).to_contain_text("Once upon")
        await tab.press("Tab")
        await expect(tab.stop).to_be_focused()
        await tab.press("Enter")
        await expect(tab.messages.last).to_contain_text("Stopped")
        await expect(tab.composer).to_be_focused()

        # Reading: the transcript comes before the composer (and what the notice offers), and scrolls by keys.
        for _ in range(4):
            await tab.press("Shift+Tab")
            if await tab.log.evaluate("(log) => log === document.activeElement"):
                break
        await expect(tab.log).to_be_focused()

        # Another session, past the menu of this one, by the arrow keys; and deleting the first.
        await tab.press("Shift+Tab", "Shift+Tab", "Shift+Tab")
        await expect(tab.here).to_be_focused()
        await tab.press("ArrowDown", "Enter")
        await tab.shows("left", "right")
        await expect(tab.composer).to_be_focused()
        await tab.connected()
        await tab.here.focus()
        await tab.press("ArrowUp", "Tab")
        doomed = tab.page.get_by_role("button", name="Actions for session: First night passage")
        await expect(doomed).to_be_focused()
        await expect(doomed).to_have_css("opacity", "1")
        await tab.press("Enter", "Escape")
        await expect(doomed).to_be_focused()
        await tab.press("Enter", "End", "Enter")
        await expect(tab.links).to_have_count(1)
        await expect(tab.here).to_be_focused()
        await tab.shows("left", "right")


async def test_what_matters_has_a_name_for_those_who_hear_the_page(
    server: Running, given: Given, browser: Browser
) -> None:
    given(SAILING)
    async with person(browser) as user:
        tab = await user.opens(server.http)
        await tab.connected()
        await expect(tab.page.locator("main")).to_have_count(1)
        await expect(tab.page.get_by_role("log", name="Transcript")).to_be_visible()
        await expect(tab.page.get_by_role("heading", level=2, name="You")).to_have_count(2)
        await expect(tab.page.get_by_role("heading", level=2, name="Assistant")).to_have_count(2)
        for element in await tab.page.locator("button, a, textarea, input, img").all():
            if await element.is_visible():
                named = await element.evaluate(
                    "(e) => e.ariaLabel || e.innerText?.trim() || e.labels?.length || e.hasAttribute('alt')"
                )
                assert named, await element.evaluate("(e) => e.outerHTML")
