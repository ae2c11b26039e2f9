"""A connection that ends at any of its awaits, and a server that ends after any of its writes (G9, G6).

Nothing here is left to chance: each await and each write has its turn.
"""

import asyncio
import json
import shutil
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backchat import runs
from backchat.names import OWNER
from backchat.store.base import Commit, Done
from backchat.store.sqlite import Database
from tests.support.checkers import Kept, read_log, read_messages
from tests.support.client import PATIENCE, Json, client, eventually
from tests.support.faults import Write, replace_write
from tests.support.figures import Figure
from tests.support.scripted import Scripted
from tests.support.server import Running, running

# Cancelled at every await.


@types.coroutine
def stepping(work: Coroutine[Any, Any, object], wait: int, *, late: bool) -> Generator[Any, Any, bool]:
    """Does the work, and cancels the task that it is done in at its n-th wait: as the wait begins or, if `late`, once
    it is over but before the work goes on. Returns whether there was such a wait."""
    task = asyncio.current_task()
    assert task is not None
    error: BaseException | None = None
    for number in count(1):
        try:
            waiting = work.send(None) if error is None else work.throw(error)
        except StopIteration:
            break
        except asyncio.CancelledError:
            return True
        if number == wait:
            if late and waiting is not None:
                waiting.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        error = None
        try:
            yield waiting
        except BaseException as thrown:  # noqa: BLE001 - the work shall have it
            error = thrown
    return False


async def cancelled(work: Coroutine[Any, Any, object], wait: int, *, late: bool) -> bool:
    """Cancels some work at its n-th wait, as above; False where it came to its end before."""

    async def stepped() -> bool:
        return await stepping(work, wait, late=late)

    return await asyncio.create_task(stepped())


class Peer:
    """The far end of a WebSocket that a server gives to its application: sends these lines at once, and goes. A line is
    `text`, or `op_id: text`."""

    def __init__(self, server: Running, path: str, *lines: str) -> None:
        self._app = server.backchat.asgi
        self._path = path
        self._host = f"127.0.0.1:{server.port}".encode()
        self._coming = [{"type": "websocket.connect"}, *map(_frame, lines), {"type": "websocket.disconnect"}]

    async def connect(self) -> None:
        """Returns when the connection is over."""
        scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": [(b"host", self._host)],
            "subprotocols": [],
            "state": {},
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        await asyncio.sleep(0)
        return self._coming.pop(0)

    async def _send(self, _: Any) -> None:
        await asyncio.sleep(0)


def _frame(line: str) -> Json:
    op_id, _, text = line.rpartition(": ")
    params = {"text": text} | ({"op_id": op_id} if op_id else {})
    return {"type": "websocket.receive", "text": json.dumps({"id": 1, "method": "submit", "params": params})}


class Handed:
    """Keeps all commits that are handed to a server's store, and what became of them."""

    def __init__(self, server: Running) -> None:
        self.commits: list[Commit] = []
        self.done: list[Exception | None] = []
        store: Any = server.backchat._store
        self._commit = store.commit
        store.commit = self._handed

    def _handed(self, commit: Commit, done: Done) -> None:
        def told(error: Exception | None) -> None:
            self.done.append(error)
            done(error)

        self.commits.append(commit)
        self._commit(commit, told)

    async def settled(self) -> None:
        """Returns once each is done; fails unless all were committed."""
        await eventually(lambda: len(self.done) == len(self.commits))
        assert self.done == [None] * len(self.commits)


LINES = ["new: hello", "/undo", "old: earlier", "/status", "again", "new: hello", "/retry", "/stop"]
LATE = pytest.mark.parametrize("late", [False, True], ids=["as it begins to wait", "as it would go on"])


@asynccontextmanager
async def slept(server: Running) -> AsyncIterator[str]:
    """A session that is not in memory, and nobody must be left to hold it there in the end."""
    async with client(server.ws()) as one:
        await one.say("earlier", op_id="old")
        session_id = one.session_id
    live = server.backchat.sessions._live
    await eventually(lambda: not live)
    yield session_id
    await eventually(lambda: not live)


async def answers(server: Running, session_id: str) -> None:
    """Fails unless the next client finds the session as it should be, and is answered."""
    async with client(server.ws(session_id)) as one:
        await one.submit("/status")
        await one.until(lambda: one.view.run is None)
        first = await one.submit("hello", op_id="new")
        assert await one.submit("hello", op_id="new") == {**first, "replayed": True}
        await one.until(lambda: one.view.run is None)
        async with client(server.ws(session_id)) as fresh:
            assert fresh.view.facts() == one.view.facts()


@LATE
@pytest.mark.parametrize("others", [0, 2], ids=["alone", "among others"])
async def test_a_connection_that_ends_at_any_await_cancels_no_commit_and_holds_no_lock(
    tmp_path: Path, late: bool, others: int, figure: Figure
) -> None:
    async with running(tmp_path, idle_sessions=0) as server:
        for wait in count(1):
            async with slept(server) as session_id:
                handed = Handed(server)
                every = [Peer(server, f"/ws/{session_id}", *LINES).connect() for _ in range(others)]
                others_done = asyncio.gather(*every)
                # With others before it, it has to wait for the lock while the session is loaded.
                await asyncio.sleep(0)
                struck = await cancelled(Peer(server, f"/ws/{session_id}", *LINES).connect(), wait, late=late)
                async with asyncio.timeout(PATIENCE):
                    await others_done
                await handed.settled()
                log = read_log(tmp_path, session_id)
                assert [entry.revision for entry in log] == list(range(1, len(log) + 1))
                await answers(server, session_id)
                ops = [entry.op_id for entry in read_log(tmp_path, session_id) if entry.op_id]
                assert sorted(ops) == ["new", "old"]
            if not struck:
                break
        assert wait > len(LINES)
        figure("G9", "connections ended at an await", wait - 1)


@LATE
async def test_a_connection_that_ends_while_its_session_is_made_leaves_all_of_it_or_nothing(
    tmp_path: Path, late: bool, figure: Figure
) -> None:
    async with running(tmp_path, idle_sessions=0) as server:
        for wait in count(1):
            handed = Handed(server)
            struck = await cancelled(Peer(server, "/ws", "new: hello").connect(), wait, late=late)
            await handed.settled()
            await eventually(lambda: not server.backchat.sessions._live)
            made = [commit.session_id for commit in handed.commits if commit.create is not None]
            for session_id in made:
                await answers(server, session_id)
            if not struck:
                assert made
                break
        figure("G9", "connections ended at an await", wait - 1)


async def _delete(server: Running, session_id: str) -> None:
    async with server.backchat.sessions.use(OWNER, session_id) as session:
        await session.delete()


async def _rename(server: Running, session_id: str) -> None:
    async with server.backchat.sessions.use(OWNER, session_id) as session:
        await session.rename("other")


async def _restore(server: Running, session_id: str) -> None:
    await server.backchat.sessions.restore(OWNER, session_id)


@LATE
@pytest.mark.parametrize("change", [_delete, _rename, _restore])
async def test_a_request_that_ends_at_any_await_cancels_no_commit_and_holds_no_lock(
    tmp_path: Path,
    late: bool,
    change: Callable[[Running, str], Coroutine[Any, Any, None]],
    figure: Figure,
) -> None:
    async with running(tmp_path, idle_sessions=0) as server:
        for wait in count(1):
            async with slept(server) as session_id:
                if change is _restore:
                    await _delete(server, session_id)
                handed = Handed(server)
                struck = await cancelled(change(server, session_id), wait, late=late)
                await handed.settled()
                # What was handed over has happened; what was not has not.
                with Database(tmp_path) as database:
                    loaded = database.load(session_id, deleted=True)
                    shown = session_id in [one.session_id for one in database.sessions("local", None, 200)]
                happened = bool(handed.commits)
                assert shown == (not happened if change is _delete else happened or change is _rename)
                assert (loaded.history[-1].after.title == "other") == (happened and change is _rename)
                await server.backchat.sessions.restore(OWNER, session_id)
                await answers(server, session_id)
            if not struck:
                assert happened
                break
        figure("G9", "requests ended at an await", wait - 1)


# Ended after every write.


class Copies:
    """A copy of the data after each write of a server, as a crash at that moment would leave it."""

    def __init__(self, server: Running, directory: Path) -> None:
        self.made: list[Path] = []
        self._data = server.settings.data
        self._directory = directory
        replace_write(server, self._copying)

    def _copying(self, write: Write) -> Write:
        def copying(commits: Any, checkpoints: Any = ()) -> list[Exception | None]:
            results = write(commits, checkpoints)
            copy = self._directory / str(len(self.made))
            copy.mkdir(parents=True)
            # Nobody else writes, and the rest of the WAL's index is found again.
            for name in ("backchat.db", "backchat.db-wal"):
                shutil.copy(self._data / name, copy)
            self.made.append(copy)
            return results

        return copying


WHOLE = "one two three"


async def test_a_server_that_ends_after_any_write_of_a_turn_leaves_each_reply_absent_whole_or_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    # Each piece is put down by itself.
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    async with running(tmp_path / "data") as server:
        replies = Scripted(server)
        copies = Copies(server, tmp_path / "copies")
        async with client(server.ws()) as one:
            session_id = one.session_id

            async def write(text: str) -> None:
                """The reply goes on, and what there is of it is saved."""
                for piece in text.split(" "):
                    before = len(copies.made)
                    replies.say(piece if piece == "one" else f" {piece}")
                    await eventually(lambda: len(copies.made) > before)  # noqa: B023

            async def end() -> None:
                replies.end()
                await one.until(lambda: one.view.run is None)

            await one.submit("first")
            await write(WHOLE)
            await end()
            await one.submit("/retry")
            await write("one two")
            await one.submit("/stop")
            await one.submit("second")
            await write("one")
            await one.submit("/undo")
            await one.submit("third")
            await one.submit("waits")
            await write("one")
            await one.submit("/retry")
            await write(WHOLE)
            await end()
            await one.submit("/queue go")
            await write(WHOLE)
            await end()
            await one.submit("/edit otherwise")
            await one.submit("/stop")
    with Database(tmp_path / "data") as database:
        assert database.load(session_id).checkpoint is None
    marked = 0
    for copy in copies.made[1:]:
        found = replied(copy, session_id)
        with Database(copy) as database:
            checkpoint = database.load(session_id).checkpoint
        async with running(copy) as server, client(server.ws(session_id)) as one:
            await one.submit("/status")
            assert one.view.run is None
            now = replied(copy, session_id)
            live = now.keys() - found.keys()
            assert live == (set() if checkpoint is None else {checkpoint.run_id})
            for run_id in live:
                assert checkpoint is not None
                assert (now[run_id].content, now[run_id].finish) == (checkpoint.text, "interrupted")
                marked += 1
            assert (await one.say("still here?"))["message_id"]
            assert one.view.texts[-2:] == ["still here?"] * 2
        messages = read_messages(copy, session_id)
        asked = {number for number, one in messages.items() if one.role == "user"}
        unanswered = asked - {one.parent for one in messages.values() if one.role == "assistant"}
        # That was stopped before its first word.
        assert {messages[number].content for number in unanswered} <= {"otherwise"}
        for reply in now.values():
            assert WHOLE.startswith(reply.content)
            assert (reply.content == WHOLE) or reply.finish in ("stopped", "interrupted")
    assert marked > len(copies.made) / 3
    figure("G6", "writes after which a server ended", len(copies.made))


def replied(data: Path, session_id: str) -> dict[str, Kept]:
    """The replies of a session by their runs."""
    return {one.run_id: one for one in read_messages(data, session_id).values() if one.run_id is not None}
