"""Somebody at the page, another client on a raw socket, and a model, all at once: all end with the same transcript.

What they do is a few hundred random schedules; support/interleavings.py says what must hold after each.
"""

import asyncio
import json
from contextlib import aclosing, suppress
from itertools import count
from random import Random
from typing import Any, Final

import pytest
from playwright.async_api import Error, WebSocket

from tests.browser.chromium import NETWORK, Person, Tab
from tests.browser.setting import Serve
from tests.support.client import PATIENCE, Json, eventually
from tests.support.interleavings import Conversation, Line, Socket, Watcher, same, schedule
from tests.support.model_server import model_server
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

SEEDS = range(4)
SESSIONS = 4
"""How many sessions each seed plays."""
SCHEDULES = 5
"""How many schedules each session goes through, one after the other."""

A_MOMENT: Final = 300
"""Milliseconds that a button which is just going away may keep the mouse waiting."""

SHOWN: Final = """() => {
    const all = (within, selector) => [...(within?.querySelectorAll(selector) ?? [])];
    const texts = (within, selector) => all(within, selector).map((one) => one.textContent.trim());
    const run = document.querySelector("[role=log] article[data-run]");
    const queue = document.querySelector("message-queue");
    return {
        messages: [...document.querySelectorAll("[role=log] article[data-id]")].map((article) => ({
            id: Number(article.dataset.id),
            role: article.dataset.role,
            texts: texts(article, ":scope > .text"),
            reasoning: texts(article, ":scope > .reasoning > .text").join(""),
            ending: texts(article, ":scope > .failure, :scope > .end").join(""),
        })),
        run: run && {
            run_id: run.dataset.run,
            text: texts(run, ":scope > .text").join(""),
            reasoning: texts(run, ":scope > .reasoning > .text").join(""),
        },
        queue: texts(queue, "li .text"),
        paused: !queue.hidden && queue.textContent.includes("Paused"),
        stop: !document.querySelector("button.stop").hidden,
        unsent: texts(document, ".pending li").length,
    };
}"""
"""What the page shows. White space around a text is nothing to see, and is not rendered."""


def expected(facts: Json) -> Json:
    """What a page shows of the facts of a view."""
    return {
        "messages": [
            {
                "id": message["id"],
                "role": message["role"],
                "texts": texts(message["content"]),
                "reasoning": message.get("reasoning", "").strip(),
                "ending": ending(message),
            }
            for message in facts["messages"]
        ],
        "run": facts["run"] and {name: value.strip() for name, value in facts["run"].items()},
        "queue": [waiting["preview"] for waiting in facts["session"]["queue"]],
        "paused": facts["session"]["queue_paused"],
        "stop": facts["run"] is not None,
        "unsent": 0,
    }


def texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content.strip()] if content else []
    return [part["text"].strip() for part in content]


def ending(message: Json) -> str:
    note = message.get("note")
    match message.get("finish"):
        case "failed":
            return f"The reply failed{' here' if message['content'] else ''}. {note}"
        case "stopped" | "interrupted" as finish:
            return ". ".join(filter(None, [finish.capitalize(), note]))
        case _:
            return note or ""


class PageHand:
    """A hand at the page: it types into the composer and presses buttons. `lines` are what the page then sent."""

    name = "page"

    def __init__(self, tab: Tab, frames: list[tuple[bool, Json]]) -> None:
        self.tab = tab
        self.lines: dict[str, Line] = {}
        self.view = Watcher()
        """What the page was sent."""
        self.left = False
        self._frames = frames
        self._typed = 0
        self._missed = 0
        self._reloads = 0
        self._attached = 0

    @classmethod
    async def opened(cls, user: Person, server: Running, path: str) -> "PageHand":
        """A hand at a page that was opened at a path."""
        frames: list[tuple[bool, Json]] = []

        def connected(socket: WebSocket) -> None:
            if "/ws/" not in socket.url:
                return  # the list's own
            socket.on("framesent", lambda text: frames.append((True, json.loads(text))))
            socket.on("framereceived", lambda text: frames.append((False, json.loads(text))))

        user.context.once("page", lambda page: page.on("websocket", connected))
        return cls(await user.opens(server.http, path), frames)

    def _look(self) -> None:
        """Takes in what went over the page's socket."""
        for sent, frame in self._frames:
            method = frame.get("method")
            if sent:
                if method == "submit":
                    params = frame["params"]
                    self.lines.setdefault(params["op_id"], Line(params["op_id"], params["text"]))
            elif method is not None:
                self._attached += method == "attached"
                self.view.apply(method, frame["params"])
            elif frame["id"] in self.lines:
                self.lines[frame["id"]].reply = frame
                revision = frame.get("result", {}).get("revision", 0)
                assert revision <= self.view.revision, "a reply before the events it tells of"
        self._frames.clear()

    @property
    def waiting(self) -> list[str]:
        self._look()
        not_sent = max(self._typed - len(self.lines), 0)
        return ["something not sent"] * not_sent + [str(one.said) for one in self.lines.values() if one.reply is None]

    async def submit(self, line: str | list[Json]) -> None:
        await self.tab.submit(line if isinstance(line, str) else " ".join(texts(line)))
        self._typed += 1

    async def press(self, button: str) -> None:
        queue = self.tab.page.locator("message-queue")
        found = {
            "stop": self.tab.stop,
            "go": queue.get_by_role("button", name="Send now").or_(queue.get_by_role("button", name="Go on")),
            "drop": queue.get_by_role("button", name="Take out").first,
        }[button]
        if not await found.is_visible():
            return
        try:
            await found.click(timeout=A_MOMENT)
        except Error:
            # Somebody else was quicker.
            self._missed += 1
        else:
            self._typed += 1

    async def leave(self) -> None:
        # What a page is told while it goes away, nobody hears. One that was not attached yet would not count.
        await eventually(lambda: not self.waiting and self._attached > self._reloads)
        self.left = True
        self._reloads += 1
        await self.tab.page.reload()

    async def back(self) -> None:
        """A page comes back by itself."""

    async def shows(self, facts: Json) -> None:
        wanted = expected(facts)
        shown: Json = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while (shown := await self.tab.page.evaluate(SHOWN)) != wanted:
                    await self.tab.drawn()
        except TimeoutError as late:
            differs = {name: (shown[name], wanted[name]) for name in wanted if shown[name] != wanted[name]}
            raise AssertionError(f"the page shows something else than the first client: {differs}") from late
        # A page that shows nothing yet looks like one that has nothing to show.
        with suppress(TimeoutError):
            await eventually(lambda: not self.waiting and self._attached > self._reloads and self.view.facts() == facts)
        same(self.view.facts(), facts, "the page's view")
        assert len(self.lines) <= self._typed + self._missed, "the page sent what nobody typed"
        # A page whose view is torn mends itself with a new connection, so that nothing would be seen of it.
        assert self._attached == 1 + self._reloads, "the page had to start over"


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_page_a_raw_socket_and_a_model_at_once_end_with_one_transcript(
    serve: Serve, user: Person, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    # A page that is reloaded while it connects.
    user.expected = NETWORK
    random = Random(seed)
    async with model_server() as models:
        models.hold_all()
        server = await serve(backend="openai", base_url=models.url, model="test-model", retries=1, queue_messages=3)
        broken = 0
        for number in range(SESSIONS):
            tag = f"p{seed}.{number}"
            one = Socket("socket", server)
            session_id = await one.open()
            page = await PageHand.opened(user, server, f"/s/{session_id}")
            await page.tab.connected()
            talk = Conversation(server, models, tag, session_id, [one, page])
            messages = count(1)
            async with aclosing(talk):
                for _ in range(SCHEDULES):
                    await talk.play(schedule(random, ["socket", "page"], tag, messages), random)
            if not (one.left or page.left):
                assert one.view.heard == page.view.heard
            broken += talk.model.broken
            await page.tab.page.close()
        assert broken > 0, "no stream was broken off"
