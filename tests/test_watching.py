"""`/watch`: those who have the list of sessions on screen are told what changes in it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from msgspec import structs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from backchat import frames, watch
from backchat.errors import StorageFailed
from backchat.frames import SessionsChanged
from backchat.names import OWNER
from backchat.transcript import Created
from tests.support.client import PATIENCE, Json, client, eventually
from tests.support.scripted import Scripted
from tests.support.server import Running


class Watcher:
    """A list of sessions as a page keeps it: read once, then changed by what it is told."""

    def __init__(self, socket: ClientConnection, http: str) -> None:
        self.socket = socket
        self.http = http
        self.frames: list[Json] = []
        self.sessions: dict[str, Json] = {}

    async def read(self) -> None:
        """Reads the list, as the page does after `watching`."""
        self.sessions = {session["session_id"]: session for session in await listed(self.http)}

    async def until(self, condition: Callable[[], Any]) -> None:
        """Takes in what it is told until something is true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.take(json.loads(await self.socket.recv()))

    def take(self, frame: Json) -> None:
        """Takes in one notification."""
        self.frames.append(frame)
        assert frame["method"] == "sessions.changed"
        for session in frame["params"]["sessions"]:
            self.sessions[session["session_id"]] = session
        for session_id in frame["params"]["deleted"]:
            self.sessions.pop(session_id, None)

    def has(self, session_id: str, **fields: Any) -> bool:
        """Whether the list shows a session, with these fields."""
        return session_id in self.sessions and fields.items() <= self.sessions[session_id].items()

    def counts(self, count: int) -> bool:
        """Whether the list shows so many sessions."""
        return len(self.sessions) == count


async def listed(http: str) -> list[Json]:
    """The list of sessions."""
    async with httpx.AsyncClient(base_url=http) as browser:
        sessions: list[Json] = (await browser.get("/api/sessions", params={"limit": 200})).json()["sessions"]
    return sessions


async def close_code(socket: ClientConnection) -> int | None:
    """The code that the server closes with, in time."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionClosed):
            async for _ in socket:
                pass
    return socket.close_code


@contextlib.asynccontextmanager
async def watching(server: Running) -> AsyncIterator[Watcher]:
    """Somebody who watches the list, and has read it."""
    async with connect(f"ws://127.0.0.1:{server.port}/watch", max_size=None, compression=None) as socket:
        assert json.loads(await socket.recv()) == {"jsonrpc": "2.0", "method": "watching", "params": {}}
        one = Watcher(socket, server.http)
        await one.read()
        yield one


async def test_whatever_the_list_shows_is_told_and_comes_to_what_it_is(server: Running) -> None:
    backend = Scripted(server)
    async with (
        watching(server) as list_,
        client(server.ws()) as one,
        httpx.AsyncClient(base_url=server.http) as browser,
    ):
        path = f"/api/sessions/{one.session_id}"
        await list_.until(lambda: list_.has(one.session_id, message_count=0, agent_running=False))
        run_id = (await one.submit("hello"))["run_id"]
        await list_.until(lambda: list_.has(one.session_id, title="hello", message_count=1, agent_running=True))
        backend.say("a")
        backend.end()
        await one.ended(run_id)
        await list_.until(lambda: list_.has(one.session_id, message_count=2, agent_running=False))
        await one.submit("/undo")
        await list_.until(lambda: list_.has(one.session_id, message_count=0))
        await one.submit("/title other")
        await list_.until(lambda: list_.has(one.session_id, title="other"))
        await browser.patch(path, json={"title": "third"})
        await list_.until(lambda: list_.has(one.session_id, title="third"))
        branched = (await one.submit("/new fourth"))["data"]["session_id"]
        await list_.until(lambda: list_.has(branched, title="fourth"))
        made = (await browser.post("/api/sessions", json={"title": "fifth"})).json()["session_id"]
        await list_.until(lambda: list_.has(made, title="fifth"))
        await browser.delete(path)
        await list_.until(lambda: one.session_id not in list_.sessions)
        await browser.post(f"{path}/restore")
        await list_.until(lambda: list_.has(one.session_id, title="third"))
        assert list(list_.sessions.values()) == sorted(
            await listed(server.http), key=lambda session: list(list_.sessions).index(session["session_id"])
        )


async def test_changes_that_come_together_are_told_together(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_CHANGED", 2)
    monkeypatch.setattr(watch, "FLUSH_SECONDS", 1e9)
    async with watching(server) as one, watching(server) as two:
        ids = []
        for title in ("a", "b", "c"):
            async with server.backchat.sessions.create(OWNER, Created(title=title)) as session:
                ids.append(session.id)
        watchers = server.backchat._watchers.of(OWNER)
        for count in (2, 3):
            assert watchers._timer is not None
            # The time is up.
            watchers._timer.cancel()
            watchers._flush()
            for watcher in (one, two):
                await watcher.until(partial(watcher.counts, count))
            await eventually(lambda: watchers._telling is None)
        assert list(one.sessions) == list(two.sessions) == ids
        assert len(one.frames) == len(two.frames) == 2
        assert watchers._timer is None


async def test_what_is_said_on_it_is_refused(server: Running) -> None:
    async with watching(server) as one:
        for said, request_id in (
            ('{"id": 7, "method": "submit", "params": {"text": "a"}}', 7),
            ("/status", None),
            ("{", None),
            (b"binary", None),
        ):
            await one.socket.send(said)
            frame = json.loads(await one.socket.recv())
            assert (frame["id"], frame["error"]["data"]["code"]) == (request_id, "invalid_request")
        assert await listed(server.http) == []


async def test_nothing_is_remembered_while_nobody_watches(server: Running) -> None:
    watchers = server.backchat._watchers.of(OWNER)
    async with client(server.ws()) as one:
        await one.say("a")
        assert not watchers._changed
        async with watching(server):
            assert len(watchers._outboxes) == 1
        await eventually(lambda: not watchers._outboxes)
        await one.say("b")
        assert not watchers._changed


async def test_one_who_comes_just_after_the_last_has_left_is_told_nothing_of_before(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FLUSH_SECONDS", 1e9)
    watchers = server.backchat._watchers.of(OWNER)
    async with watching(server), client(server.ws()):
        assert watchers._timer is not None
    await eventually(lambda: not watchers._outboxes)
    async with watching(server) as one:
        assert watchers._timer is not None
        watchers._timer.cancel()
        watchers._flush()
        await eventually(lambda: watchers._telling is None)
        async with server.backchat.sessions.create(OWNER, Created(title="a")) as session:
            pass
        watchers._timer.cancel()
        watchers._flush()
        await one.until(lambda: one.frames)
        assert [[told["session_id"] for told in frame["params"]["sessions"]] for frame in one.frames] == [[session.id]]


async def test_one_who_listens_too_slowly_is_closed_and_the_others_are_not(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.backchat, "_limits", structs.replace(server.backchat._limits, outbox_frames=2))
    watchers = server.backchat._watchers.of(OWNER)
    async with watching(server) as one:
        (outbox,) = watchers._outboxes
        async with watching(server) as two:
            for _ in range(5):
                # All before the writer has its turn.
                outbox.push(frames.notification(SessionsChanged([], [])))
            assert await close_code(one.socket) == 4008
            async with client(server.ws()) as other:
                await two.until(lambda: two.has(other.session_id))


async def test_who_cannot_be_told_is_closed_so_that_they_read_anew(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> list[Any]:
        raise StorageFailed

    async with watching(server) as one, client(server.ws()):
        monkeypatch.setattr(server.backchat._store, "summaries", failing)
        assert await close_code(one.socket) == 1011


async def test_a_query_is_refused(server: Running) -> None:
    async with connect(f"ws://127.0.0.1:{server.port}/watch?after=1") as socket:
        assert await close_code(socket) == 4400
