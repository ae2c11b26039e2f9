"""All sessions of the server, by id: at most one live object for each, and a bounded number of idle ones in memory."""

import asyncio
import builtins
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec

from backchat.errors import (
    BackchatError,
    NoSuchSession,
    SessionDeleted,
    SessionExists,
    SessionUnreadable,
    StorageFailed,
)
from backchat.frames import Completion
from backchat.hub.local import LocalHub
from backchat.logs import tell
from backchat.sessions import Run, Session, Surroundings, completed
from backchat.store.base import Found, Loaded, Place, Store, Summary
from backchat.transcript import SESSION_ID, Created, Message, State, Tree
from backchat.views import Offer

if TYPE_CHECKING:
    from backchat.importer import Left, Ready

_log = logging.getLogger("backchat.registry")


class Sessions:
    """All sessions of the server: at most one live object for each, and a bounded number of idle ones.

    `most_idle` sessions that nobody uses stay in memory; beyond that the least recently used leave.
    """

    def __init__(
        self,
        store: Store,
        hub: LocalHub,
        *,
        backend: str,
        offer: Callable[[], Offer],
        ask_models: Callable[[], None],
        start_run: Callable[[Session, Run], None],
        changed: Callable[[str, str], None],
        ended: Callable[[Session, Run, str], None] = lambda *_: None,
        most_idle: int,
        op_id_seconds: float = 168 * 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self._store = store
        self._most_idle = most_idle
        self._live: dict[str, Session] = {}
        # Least recently used first; a plain dict would be slow to take the first from, again and again.
        self._idle: OrderedDict[str, Session] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._around = Surroundings(
            store=store,
            hub=hub,
            backend=backend,
            offer=offer,
            ask_models=ask_models,
            start_run=start_run,
            changed=changed,
            ended=ended,
            settled=self._settled,
            reload=self._reload,
            op_id_seconds=op_id_seconds,
            clock=clock,
            new_id=_new_id,
        )

    @asynccontextmanager
    async def use(self, owner: str, session_id: str) -> AsyncIterator[Session]:
        """The session, in memory for as long as the context lasts. Raises what `Session.ready` raises; NoSuchSession
        also where it is somebody else's."""
        session = self._taken(session_id)
        try:
            try:
                await session.ready()
            except (SessionDeleted, SessionUnreadable):
                await self._check_owner(owner, session_id)
                raise
            if session.owner != owner:
                raise NoSuchSession
            yield session
        finally:
            self._left(session)

    async def _check_owner(self, owner: str, session_id: str) -> None:
        """Asks the store, for a session that is not loaded. Raises NoSuchSession, StorageFailed."""
        if await self._store.owner(session_id) != owner:
            raise NoSuchSession

    def _taken(self, session_id: str) -> Session:
        """The live object of a session, in memory until whoever calls this calls `_left`. Raises NoSuchSession."""
        if not SESSION_ID.fullmatch(session_id):
            raise NoSuchSession
        # No await between the look-up and the insertion: there is never a second object.
        session = self._live.get(session_id)
        if session is None:
            session = self._live[session_id] = Session(session_id, self._around)
        self._take(session)
        return session

    def _take(self, session: Session) -> None:
        session.users += 1
        self._idle.pop(session.id, None)

    def _left(self, session: Session) -> None:
        session.users -= 1
        self._settled(session)

    @asynccontextmanager
    async def create(self, owner: str, created: Created, messages: Iterable[Message] = ()) -> AsyncIterator[Session]:
        """A new session, durable, in memory for as long as the context lasts. Raises StorageFailed."""
        session = Session(_new_id(), self._around, owner)
        self._live[session.id] = session
        self._take(session)
        try:
            await session.create(created, list(messages))
            tell(_log, logging.INFO, "session created", session=session.id, owner=owner)
            yield session
        finally:
            self._left(session)

    async def bring_in(self, owner: str, data: bytes, title: str | None) -> AsyncIterator["Ready | Left"]:
        """Imports the sessions of a file: each that is ready is durable, the others are left out. See `sessions_in`.

        What takes long is done on a thread, and a session is committed like any other outcome, so nobody waits for
        more than one of them.
        """
        found = _sessions_in(owner, data, title, self.clock())
        while (one := await anyio.to_thread.run_sync(next, found, None)) is not None:
            yield await self._brought_in(owner, one) if one.outcome == "imported" else one

    async def _brought_in(self, owner: str, ready: "Ready") -> "Ready | Left":
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        try:
            taken = await self._store.owner(ready.commit.session_id)
            if taken not in (None, owner):
                # Somebody else's, of which nobody here shall hear.
                ready = ready.copied()
                taken = await self._store.owner(ready.commit.session_id)
            if taken is not None:
                return ready.there_already()
            told = partial(self._settle_import, done, owner, ready.commit.session_id)
            self._store.commit(ready.commit, told)
            failure = await done
        except StorageFailed as error:
            failure = error
        if failure is None:
            return ready
        if isinstance(failure, SessionExists):
            return ready.left("skipped", failure)
        return ready.left("broken", "it could not be stored")

    def _settle_import(
        self, done: asyncio.Future[Exception | None], owner: str, session_id: str, failure: Exception | None
    ) -> None:
        # Also where whoever asked for it has gone, or where it failed: then it may have happened.
        self._around.changed(owner, session_id)
        if not done.cancelled():
            done.set_result(failure)

    async def export(self, owner: str, session_id: str) -> Loaded:
        """A session as it is stored, with nothing on its way that a crash has left. Raises what `use` raises."""
        async with self.use(owner, session_id):
            return await self._store.load(session_id, math.inf)

    async def restore(self, owner: str, session_id: str) -> None:
        """Brings a deleted session back. Raises what `Session.restore` raises; NoSuchSession also where it is somebody
        else's."""
        session = self._taken(session_id)
        try:
            await self._check_owner(owner, session_id)
            await session.restore()
        finally:
            self._left(session)

    async def list(self, owner: str, after: Place | None, limit: int) -> list[Summary]:
        """Stored sessions, last updated first. Raises StorageFailed."""
        return await self._store.sessions(owner, after, limit)

    async def summaries(self, owner: str, ids: builtins.list[str]) -> builtins.list[dict[str, Any]]:
        """Those of these sessions that are not deleted, as a list has them. Raises StorageFailed."""
        return [self.shown(summary) for summary in await self._store.summaries(owner, ids)]

    def shown(self, summary: Summary) -> dict[str, Any]:
        """A session as a list has it: what is stored, and what only this process knows."""
        return {
            **msgspec.structs.asdict(summary),
            "model": summary.model or self._around.offer().model,
            "agent_running": self.running(summary.session_id),
        }

    async def search(self, owner: str, query: str, limit: int) -> builtins.list[Found]:
        """Stored sessions that have all words of a query, last updated first (see `Store.search`). Raises
        StorageFailed."""
        return await self._store.search(owner, query, limit)

    def complete(self, text: str) -> Completion:
        """What could stand where something is being typed, in a session that has yet to be made."""
        return completed(text, State(), Tree(), self._around)

    async def forget_ops(self) -> None:
        """Drops all op records from the store that are too old. Raises StorageFailed."""
        forgotten = self.clock() - self._around.op_id_seconds
        # In steps, so that commits have their turn in between.
        while await self._store.prune(forgotten):
            pass

    @property
    def in_memory(self) -> tuple[int, int]:
        """How many sessions are in memory, and how many of these nobody uses."""
        return len(self._live), len(self._idle)

    def running(self, session_id: str) -> bool:
        """Whether a session has a live run."""
        session = self._live.get(session_id)
        return session is not None and session.running

    async def interrupt_runs(self) -> None:
        """Ends every live run as `interrupted`, those that begin meanwhile too; returns once they are durable, or
        cannot be. Precondition: before long nobody asks for another."""
        lost: set[Session] = set()
        while live := [session for session in self._live.values() if session.busy and session not in lost]:
            ends = await asyncio.gather(*(session.interrupt() for session in live), return_exceptions=True)
            for session, end in zip(live, ends, strict=True):
                if isinstance(end, BaseException):
                    # One session's trouble must not keep the others from being told of the shutdown.
                    lost.add(session)
                    _log.error("a live reply was lost: %s", end, exc_info=end)

    def _settled(self, session: Session) -> None:
        if not session.idle or self._live.get(session.id) is not session:
            return
        if not session.usable:
            del self._live[session.id]
            return
        self._idle.pop(session.id, None)
        self._idle[session.id] = session
        if len(self._idle) > self._most_idle:
            oldest, _ = self._idle.popitem(last=False)
            del self._live[oldest]

    def _reload(self, session: Session) -> None:
        async def reload() -> None:
            self._take(session)
            try:
                await session.ready()
            except BackchatError:
                # Told to everyone who waits by `ready` itself.
                pass
            finally:
                self._left(session)

        task = asyncio.get_running_loop().create_task(reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sessions_in(owner: str, data: bytes, title: str | None, now: float) -> Iterator["Ready | Left"]:
    # Late, and on the thread that asks for the first: most servers never read a file, and a server starts without it.
    from backchat.importer import sessions_in

    yield from sessions_in(data, title, now, owner)


def _new_id() -> str:
    return secrets.token_hex(16)
