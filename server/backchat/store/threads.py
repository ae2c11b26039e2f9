"""The store on threads: one that writes, with group commit, and workers that read.

Commits are collected on the event loop while the writer is busy and handed to it together, with one wake and one sync
for all of them (DESIGN section 8).
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from backchat.counts import Counts
from backchat.errors import BackchatError, DataDirectoryError, StorageFailed
from backchat.logs import tell
from backchat.store.base import Checkpoint, Commit, Done, Found, Loaded, Place, Store, Summary, User
from backchat.store.sqlite import FAILURES, Database, explained

GATHER_ROUNDS: Final = 3
"""For how many rounds of the loop commits are gathered once a batch is done: whoever it is that has just been answered,
their next share a sync with what waits already."""
ENOUGH: Final = 64
"""How many commits wait for no others: the sync is a small part of what they take together."""
SLOW_SECONDS: Final = 1.0
"""A write that takes longer is worth a line in the log."""
RETRY_SECONDS: Final = 60.0
"""How long after a step of the search index that failed it is tried again."""

_log = logging.getLogger("backchat.store")
_T = TypeVar("_T")
_P = ParamSpec("_P")


class ThreadedStore(Store):
    """A store in the database of `directory`. Create it on the thread of the loop that will use it; raises
    DataDirectoryError."""

    def __init__(self, directory: Path, counts: Counts | None = None) -> None:
        self._counts = counts or Counts()
        self._writer = Database(directory)
        self.path = self._writer.path
        self.epochs = self._writer.begin_epoch()
        try:
            self.users_then = self._writer.users()
            """Those of the start."""
        except FAILURES as error:
            raise DataDirectoryError(f"Cannot use the database {self._writer.path}: {explained(error)}.") from error
        self._reader = _Reader(directory)
        # Of its own, so that no session waits for a search.
        self._searcher = _Reader(directory)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[Commit, Done]] = []
        self._checkpoints: dict[str, Checkpoint] = {}
        self._writing = False
        self._catching_up = False
        self._scheduled = False
        self._idle: asyncio.Future[None] | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def commit(self, commit: Commit, done: Done) -> None:
        self._waiting.append((commit, done))
        self._schedule()

    def checkpoint(self, session_id: str, checkpoint: Checkpoint) -> None:
        self._checkpoints[session_id] = checkpoint
        self._schedule()

    def _schedule(self) -> None:
        if not (self._scheduled or self._writing):
            # Everything decided in this round of the loop shares the sync.
            self._scheduled = True
            self._gather(self._started(), 1)

    def _started(self) -> asyncio.AbstractEventLoop:
        """The loop, once the writer is at work."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="backchat-writer", daemon=True)
            self._thread.start()
            self._catch_up_later()
        return self._loop

    def _gather(self, loop: asyncio.AbstractEventLoop, rounds: int) -> None:
        """Waits so many rounds of the loop for commits, at the most, then hands over what there is. Where there is
        nothing, the index may go on, and the store is idle."""
        self._scheduled = rounds > 0 and len(self._waiting) < ENOUGH
        if self._scheduled:
            loop.call_soon(self._gather, loop, rounds - 1)
        elif self._waiting or self._checkpoints:
            self._hand_over()
        else:
            self._catch_up_later()
            if self._idle is not None:
                self._idle.set_result(None)
                self._idle = None

    def _hand_over(self) -> None:
        self._writing = True
        self._jobs.put(partial(self._write, self._waiting, list(self._checkpoints.items())))
        self._waiting = []
        self._checkpoints = {}

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # Not to be kept until there is another: whoever asked for it may be gone.
            del job

    def _write(self, commits: list[tuple[Commit, Done]], checkpoints: list[tuple[str, Checkpoint]]) -> None:
        assert self._loop is not None
        began = time.perf_counter()
        try:
            results = self._writer.write([commit for commit, _ in commits], checkpoints)
        except Exception as error:  # noqa: BLE001
            # A defect, but if this thread ended nobody would ever be told of any commit again.
            _log_failure("the writer failed", error)
            results = [error] * len(commits)
        self._loop.call_soon_threadsafe(self._finish, commits, results, time.perf_counter() - began)

    def _catch_up_later(self) -> None:
        # A step at a time, and none while commits wait.
        if self._writer.behind and not (self._catching_up or self._writing or self._scheduled):
            self._catching_up = True
            self._jobs.put(self._catch_up)

    def _catch_up(self) -> None:
        assert self._loop is not None
        try:
            self._writer.catch_up()
        except Exception as error:  # noqa: BLE001
            # As above. What failed is what is next, so at once it would fail again.
            _log_failure("a step of the index failed", error)
            self._loop.call_soon_threadsafe(self._loop.call_later, RETRY_SECONDS, self._caught_up)
        else:
            self._loop.call_soon_threadsafe(self._caught_up)

    def _caught_up(self) -> None:
        self._catching_up = False
        self._catch_up_later()

    async def _between_commits(self, what: str, job: Callable[[], _T]) -> _T:
        """What a job returns that the writer does when it has time. Raises what it raises, and StorageFailed where that
        is something else than a BackchatError; then the log has `what`."""
        loop = self._started()
        done: asyncio.Future[_T | Exception] = loop.create_future()

        def tell(result: _T | Exception) -> None:
            if not done.cancelled():
                done.set_result(result)

        def work() -> None:
            result: _T | Exception
            try:
                result = job()
            except Exception as error:  # noqa: BLE001
                # As above; whoever asked hears of it.
                result = error
            loop.call_soon_threadsafe(tell, result)

        self._jobs.put(work)
        result = await done
        if isinstance(result, BackchatError):
            raise result
        if isinstance(result, Exception):
            _log.error("%s: %s", what, result)
            raise StorageFailed from result
        return result

    async def prune(self, forgotten: float) -> bool:
        return await self._between_commits(
            "old op records could not be dropped", partial(self._writer.prune, forgotten)
        )

    async def probe(self) -> None:
        await self._between_commits("the store could not be written to", self._writer.probe)

    async def users(self) -> list[User]:
        return await self._between_commits("the users could not be read", self._writer.users)

    async def add_user(self, user: User) -> None:
        await self._between_commits("a user could not be added", partial(self._writer.add_user, user))

    def _finish(self, commits: list[tuple[Commit, Done]], results: list[Exception | None], seconds: float) -> None:
        self._writing = False
        if commits:
            self._counts.wrote(len(commits), len(results) - results.count(None), seconds)
            if seconds > SLOW_SECONDS:
                tell(_log, logging.WARNING, "a slow write", commits=len(commits), seconds=seconds)
        failed = {commit.session_id for (commit, _), error in zip(commits, results, strict=True) if error is not None}
        orphans: list[tuple[Commit, Done]] = []
        if failed:
            # What was enqueued on top of what failed must not reach the disk: its revisions would leave a gap.
            orphans = [waiting for waiting in self._waiting if waiting[0].session_id in failed]
            self._waiting = [waiting for waiting in self._waiting if waiting[0].session_id not in failed]
        assert self._loop is not None
        self._gather(self._loop, GATHER_ROUNDS)
        for (_, done), error in zip(commits, results, strict=True):
            if error is not None:
                _log.error("a commit failed: %s", error)
            self._call(done, error)
        for _, done in orphans:
            self._call(done, StorageFailed())

    def _call(self, done: Done, error: Exception | None) -> None:
        try:
            done(error)
        except Exception:  # noqa: BLE001
            # A defect in one session must not keep the others from hearing of their commits.
            _log.exception("a commit's completion failed")

    async def load(self, session_id: str, forgotten: float, *, deleted: bool = False) -> Loaded:
        return await self._reader.read(Database.load, session_id, forgotten, deleted=deleted)

    async def owner(self, session_id: str) -> str | None:
        return await self._reader.read(Database.owner, session_id)

    async def reply(self, session_id: str, op_id: str) -> bytes | None:
        return await self._reader.read(Database.reply, session_id, op_id)

    async def sessions(self, owner: str, after: Place | None, limit: int) -> list[Summary]:
        return await self._reader.read(Database.sessions, owner, after, limit)

    async def summaries(self, owner: str, ids: Sequence[str]) -> list[Summary]:
        return await self._reader.read(Database.summaries, owner, ids)

    async def search(self, owner: str, query: str, limit: int) -> list[Found]:
        return await self._searcher.read(Database.search, owner, query, limit)

    async def close(self) -> None:
        if self._loop is not None and self._thread is not None:
            while self._writing or self._scheduled:
                self._idle = self._loop.create_future()
                await self._idle
            self._jobs.put(None)
            await anyio.to_thread.run_sync(self._thread.join)
        self._searcher.close()
        self._reader.close()
        self._writer.close()


def _log_failure(what: str, error: Exception) -> None:
    """One line; where it is a defect, with all that helps to find it."""
    _log.error("%s: %s", what, explained(error), exc_info=None if isinstance(error, FAILURES) else error)


class _Reader:
    """A connection to the database on threads that only read, one at a time."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory)
        self._lock = threading.Lock()
        # Threads that would only wait for the lock are not worth having.
        self._limiter: anyio.CapacityLimiter | None = None

    async def read(
        self, read: Callable[Concatenate[Database, _P], _T], *arguments: _P.args, **options: _P.kwargs
    ) -> _T:
        """What a method of the database returns. Raises StorageFailed."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1)

        def alone() -> _T:
            # A reader whose task was cancelled may still be at work.
            with self._lock:
                return read(self._database, *arguments, **options)

        try:
            return await anyio.to_thread.run_sync(alone, limiter=self._limiter)
        except FAILURES as error:
            _log.error("a read failed: %s", explained(error))
            raise StorageFailed from error

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()
