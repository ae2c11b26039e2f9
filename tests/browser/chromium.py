"""The browser that is installed here, and what a test sees of it."""

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any, Final

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    WebSocket,
    async_playwright,
    expect,
)

from tests.support.client import PATIENCE, Json

NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""In the order of preference: the first one draws no window, and takes half the processor."""

FLAGS: Final = (
    "--no-sandbox",  # containers that run tests as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
)
NETWORK: Final = ("WebSocket connection to", "Failed to load resource:")
"""How the browser's own reports of a lost or refused connection begin."""

UNANCHORED: Final = '(log) => { log.style.overflowAnchor = "none"; }'
"""Makes a browser one that does not itself keep in place what one reads when something above it grows, as Safari is."""

expect.set_options(timeout=PATIENCE * 1000)


def installed() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.asynccontextmanager
async def launched(executable: str) -> AsyncIterator[Browser]:
    """A headless browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


async def each(elements: Locator, *texts: str) -> None:
    """Waits until the elements have these texts somewhere, in order, and there are no others. (With a list,
    `to_contain_text` is content when some of them do.)"""
    words = [r"\s+".join(re.escape(word) for word in text.split()) for text in texts]
    await expect(elements).to_have_text([re.compile(pattern or "^") for pattern in words])


class Tab:
    """One open page, and the parts of it that a person knows: the hooks that the page keeps stable."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets: list[WebSocket] = []
        page.on("websocket", self._connects)
        self.composer = page.get_by_label("Message", exact=True)
        self.send = page.get_by_role("button", name="Send", exact=True)
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.log = page.get_by_role("log")
        self.messages = page.locator("[role=log] article[data-id]")
        self.reply = page.locator("[role=log] article[data-run]")
        self.queue = page.get_by_role("list", name="Waiting", exact=True)
        self.waiting = self.queue.get_by_role("listitem")
        self.pending = page.get_by_role("list", name="Not sent yet")
        self.notice = page.locator("notice-board [role=status]")
        self.alert = page.locator("notice-board [role=alert]")
        self.palette = page.get_by_role("listbox")
        self.options = page.get_by_role("option")
        self.chosen = page.get_by_role("option", selected=True)
        self.hint = page.locator("command-palette > p")
        self.connection = page.locator("[data-connection]")
        self.title = page.get_by_role("heading", level=1)
        self.sessions = page.get_by_role("navigation", name="Sessions")
        self.links = self.sessions.get_by_role("link")
        self.search = page.get_by_role("searchbox", name="Search sessions")
        self.imported = page.get_by_role("region", name="Import")
        self.presence = page.locator("who-is-here")
        self.redo = page.get_by_role("button", name="Redo")
        self.took = page.locator("[role=log] .back")
        self.origin = self.log.get_by_text("Branched from")
        self.here = self.sessions.locator("a[aria-current=page]")

    def _connects(self, socket: WebSocket) -> None:
        # Those of its sessions; the list has one of its own.
        if "/ws/" in socket.url:
            self.sockets.append(socket)

    async def connected(self) -> None:
        """Returns once the page is attached to its session."""
        await expect(self.connection).to_have_attribute("data-connection", "open")

    async def act(self, title: str, action: str) -> None:
        """Does something with a session in the list, by its menu."""
        await self.page.get_by_role("button", name=f"Actions for session: {title}", exact=True).click()
        await self.page.get_by_role("menuitem", name=action).click()

    async def ready(self) -> None:
        """Returns once the page knows the server's commands, session or not."""
        await expect(self.page.get_by_text("No model is connected")).to_be_visible()

    async def submit(self, line: str) -> None:
        """Types a line into the composer, in place of what is there, and presses Enter."""
        await self.composer.fill(line)
        await self.composer.press("Enter")

    async def answered(self) -> None:
        """Returns once the server has answered every line of this tab, in whichever session."""
        await self.page.wait_for_function("() => Object.keys(sessionStorage).every((key) => !key.includes('pending.'))")

    async def shows(self, *texts: str) -> None:
        """Waits until the transcript is these messages, in order (each has its text somewhere), and no others."""
        await each(self.messages, *texts)

    @property
    def session_id(self) -> str:
        """The session that is open, by the page's address."""
        return self.page.url.rpartition("/s/")[2]

    async def type(self, text: str) -> None:
        """Key by key, into whatever has the focus."""
        await self.page.keyboard.type(text)

    async def press(self, *keys: str) -> None:
        """Presses keys, one after the other, wherever the focus is."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def drawn(self) -> None:
        """Returns once all that has been scripted so far is laid out and seen by observers."""
        await self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


class Sent:
    """The submits that leave a tab, on whichever socket."""

    def __init__(self, tab: Tab) -> None:
        self.submits: list[Json] = []
        for socket in tab.sockets:
            self._listen(socket)
        tab.page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framesent", self._sent)

    def _sent(self, frame: bytes | str) -> None:
        request = json.loads(frame)
        if request["method"] == "submit":
            self.submits.append(request["params"])


class Person:
    """A browser of somebody's own: cookies, storage, tabs. Keeps what the pages complain of."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.complained = asyncio.Event()
        self.expected: tuple[str, ...] = ()
        """How complaints begin that the test brings about itself."""
        self._served: set[str] = set()
        context.on("console", self._heard)
        context.on("weberror", lambda error: self._complain(f"uncaught: {error.error}"))
        context.on("request", self._requested)

    def _complain(self, complaint: str) -> None:
        self.complaints.append(complaint)
        self.complained.set()

    def _heard(self, message: ConsoleMessage) -> None:
        # Violations of the Content-Security-Policy are console errors too.
        if message.type == "error" and not message.text.startswith(self.expected):
            self._complain(f"console: {message.text}")

    def _requested(self, request: Request) -> None:
        if not request.url.startswith(("data:", *self._served)):
            self._complain(f"something from elsewhere was asked for: {request.url}")

    async def opens(self, address: str, path: str = "/") -> Tab:
        """A new tab with a page of the server at `address`."""
        self._served.add(f"{address}/")
        page = await self.context.new_page()
        tab = Tab(page)
        await page.goto(address + path)
        return tab


@contextlib.asynccontextmanager
async def person(browser: Browser, **options: Any) -> AsyncIterator[Person]:
    """Somebody with a fresh browser, whose pages must have had nothing to complain of."""
    context = await browser.new_context(**{"viewport": {"width": 1180, "height": 760}, "locale": "en-GB", **options})
    context.set_default_timeout(PATIENCE * 1000)
    user = Person(context)
    try:
        yield user
    finally:
        # A browser that is gone already says so in the test itself.
        with contextlib.suppress(Error):
            await context.close()
    assert not user.complaints, "the page complained: " + "; ".join(user.complaints)
