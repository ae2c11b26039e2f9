"""A server without sockets, that a test drives by hand: real sessions, a real store and real outboxes, in one process.

Whatever a test does, nothing happens meanwhile: each method returns once all is durable and published.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from backchat import frames
from backchat.backends.base import Delta
from backchat.errors import BackchatError, BackendFailed
from backchat.frames import MessagesParams, Result, SubmitParams, Who
from backchat.hub.local import LocalHub
from backchat.names import OWNER
from backchat.outbox import Outbox, texts
from backchat.registry import Sessions
from backchat.sessions import Answer, Run, Session
from backchat.store.base import Checkpoint, Commit, Loaded, SessionInfo, first_commit
from backchat.store.sqlite import Database
from backchat.store.threads import ThreadedStore
from backchat.transcript import Added, Cause, Created, Message, content_size
from backchat.views import Decided, Offer
from tests.support.client import Json, View
from tests.support.plain import MOST_QUEUED, Transcript

SESSION: Final = "session"


class Reader:
    """A client. While it does not read, frames wait for it in its outbox."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.view = View()
        self.reads = True
        self.who: Who | None = None
        """The connection, while there is one."""
        self.attached: Json = {}
        """What the last `attached` that was read said."""
        self._numbers = count(1)
        self._outbox: Outbox | None = None
        self._stack = AsyncExitStack()

    @property
    def sender(self) -> Who:
        """Whose its requests are. What it sent right before it lost its connection comes from a connection, too."""
        return self.who or Who("gone", self.name)

    async def attach(self, sessions: Sessions, after: int | None, session_id: str = SESSION) -> None:
        """Connects; with `after`, to be told what happened since."""
        assert self.who is None
        who = Who(f"{self.name}-{next(self._numbers)}", self.name)
        self._outbox = Outbox(10**6, 10**9)
        session = await self._stack.enter_async_context(sessions.use(OWNER, session_id))
        await session.attach(who, self._outbox, after, None if after is None else self.view.log)
        self._stack.callback(session.detach, who)
        self.who = who

    async def read(self, most: int | None = None) -> None:
        """Takes what waits; no more than so many frames. Presence does not count: a timer sends it, so that how much of
        it waits is not the same every time."""
        assert self._outbox is not None
        taken: list[Json] = []
        self._outbox._catch_up()
        while self._outbox._waiting:
            taken += map(json.loads, texts(self._outbox.get()))
        for frame in [frame for frame in taken if frame["method"] != "presence"][:most]:
            if frame["method"] == "attached":
                self.attached = frame["params"]
            self.view.apply(frame["method"], frame["params"])

    async def leave(self) -> None:
        """Loses the connection, and what waits in it."""
        self.who = self._outbox = None
        self.reads = True
        await self._stack.aclose()


class World:
    """One server, one session, and the run that is being written in it. `model` is what replies."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._clock = count(1_800_000_000)
        self._offer = Offer(replies=True, model="one", most_queued=MOST_QUEUED)
        self.runs: list[tuple[Session, Run]] = []
        """All that ever began, in order."""
        self._log: Database
        self._store: ThreadedStore
        self.sessions: Sessions
        self._open()
        self._log = Database(data)

    def _open(self) -> None:
        self._store = ThreadedStore(self._data)
        self.sessions = Sessions(
            self._store,
            LocalHub(),
            backend="hand",
            offer=lambda: self._offer,
            ask_models=lambda: None,
            start_run=lambda session, run: self.runs.append((session, run)),
            changed=lambda *_: None,
            most_idle=0,
            clock=lambda: float(next(self._clock)),
        )

    async def begin(self, messages: Sequence[Json], screen: Transcript) -> None:
        """Makes the session, with a tree of messages as an import brings it."""
        added = []
        for one in messages:
            message = Message(id=one["id"], role=one["role"], content=one["content"], created_at=0.0)
            added.append(Added(message, one["parent"], content_size(message)))
        created = Created(messages=len(added))
        head = screen[-1] if screen else 0
        info = SessionInfo(id=SESSION, owner=OWNER, log="log", created_at=0.0)
        self._log.write([first_commit(info, [Decided(created, head, tuple(added))], 0.0, Cause())])

    async def restart(self, *, crash: bool) -> None:
        """Ends and begins anew. After a crash what a run wrote is there as far as it was saved."""
        if not crash:
            await self.sessions.interrupt_runs()
        await self._store.close()
        self.runs = []
        self._open()

    async def close(self) -> None:
        await self._store.close()
        self._log.close()

    async def submit(self, requests: Sequence[tuple[SubmitParams, Who]], leaving: Sequence[Reader] = ()) -> list[Json]:
        """Sends requests one right after the other, and returns the replies. Who is `leaving` loses the connection when
        all is decided and nothing is durable."""
        async with self.sessions.use(OWNER, SESSION) as session:
            replies = []
            for params, who in requests:
                replies.append(reply := asyncio.get_running_loop().create_future())
                await session.submit(params, who, _answer(reply))
            for reader in leaving:
                await reader.leave()
            return [json.loads(await reply) for reply in replies]

    @contextmanager
    def failing(self, *, happens: bool) -> Iterator[None]:
        """The next write of commits fails, though perhaps it happens all the same."""
        writer = self._store._writer
        real = writer.write

        def write(
            commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]] = ()
        ) -> list[Exception | None]:
            if not commits:
                # What a run has written so far; whether that is kept, nobody is told.
                return real(commits, checkpoints)
            vars(writer).pop("write")
            if happens:
                real(commits, checkpoints)
            return [sqlite3.OperationalError("disk I/O error")] * len(commits)

        vars(writer)["write"] = write
        try:
            yield
        finally:
            vars(writer).pop("write", None)

    async def pages(self) -> list[Json]:
        """The whole transcript, page by page."""
        messages: list[Json] = []
        before = 10**6
        async with self.sessions.use(OWNER, SESSION) as session:
            while before:
                reply = asyncio.get_running_loop().create_future()
                session.page(MessagesParams(before, 3), _answer(reply))
                page = json.loads(await reply)["result"]
                messages, before = [*page["messages"], *messages], page["start"]
        return messages

    async def settle(self) -> None:
        """Returns once all that was decided is published."""
        await self.submit([(SubmitParams(text="/status"), Who("nobody", "nobody"))])

    def write(self, text: str, *, reasoning: bool = False, number: int = -1) -> None:
        """A piece of a run, the last by default."""
        session, run = self.runs[number]
        session.delta(run, Delta(text, reasoning))

    async def save(self) -> None:
        """What the run has written is put where a crash leaves it."""
        session, run = self.runs[-1]
        session.checkpoint(run)
        await self.settle()

    async def end(self, number: int = -1, fault: str | None = None) -> None:
        """A run ends by itself, or fails. One that was stopped before does nothing any more."""
        session, run = self.runs[number]
        await session.finish(run, "failed" if fault else "completed", BackendFailed(fault) if fault else None)
        await self.settle()

    def load(self) -> Loaded:
        """The session as the disk has it."""
        return self._log.load(SESSION)

    async def state(self) -> Any:
        """The state that the server has come to. It is the same for whoever decides and for whoever looks."""
        async with self.sessions.use(OWNER, SESSION) as session:
            assert session._staged == session._published
            return session._published


def _answer(reply: "asyncio.Future[str]") -> Answer:
    def answer(result: Result | BackchatError) -> None:
        if isinstance(result, BackchatError):
            reply.set_result(frames.error_reply(None, result))
        else:
            reply.set_result(frames.reply(None, result))

    return answer


def plain_message(message: Json) -> Json:
    """What `Plain` knows of a message on the wire."""
    return {key: message[key] for key in message.keys() - {"created_at", "model", "usage", "cost", "note"}}


def plain_session(session: Json) -> Json:
    """What `Plain` knows of a session on the wire."""
    names = ("message_count", "redo_steps", "queue_paused", "agent_running")
    return {"queue": [waiting["id"] for waiting in session["queue"]], **{name: session[name] for name in names}}
