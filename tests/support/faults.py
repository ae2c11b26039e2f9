"""Faults between the store and its database, planted in a server that runs in the test's own process."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backchat.store.base import Checkpoint, Commit
from tests.support.server import Running

Write = Callable[[Sequence[Commit], Sequence[tuple[str, Checkpoint]]], list[Exception | None]]


def replace_write(server: Running, make: Callable[[Write], Write]) -> None:
    """Puts something between the store and its database."""
    store: Any = server.backchat._store
    store._writer.write = make(store._writer.write)


class Gate:
    """Holds commits back until it is opened, and says when one waits."""

    def __init__(self, server: Running) -> None:
        self.open = threading.Event()
        self.waiting = threading.Event()
        replace_write(server, self._held)

    def _held(self, write: Write) -> Write:
        def held(
            commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]] = ()
        ) -> list[Exception | None]:
            self.waiting.set()
            assert self.open.wait(20)
            return write(commits, checkpoints)

        return held

    async def reached(self) -> None:
        """Returns once a commit waits."""
        await asyncio.to_thread(self.waiting.wait, 20)


def lying_once(write: Write) -> Write:
    """Commits, and says the first time that it failed."""
    lies = iter([True])

    def lie(commits: Sequence[Commit], checkpoints: Any = ()) -> list[Exception | None]:
        results = write(commits, checkpoints)
        return [sqlite3.OperationalError("disk I/O error")] * len(commits) if next(lies, False) else results

    return lie


def failing_once(write: Write) -> Write:
    """Commits nothing the first time."""
    failures = iter([True])

    def fail(commits: Sequence[Commit], checkpoints: Any = ()) -> list[Exception | None]:
        if next(failures, False):
            return [sqlite3.OperationalError("disk I/O error")] * len(commits)
        return write(commits, checkpoints)

    return fail


async def broken_for_good(data: Path) -> sqlite3.Connection:
    """A database that takes no event any more, until its trigger `broken` is dropped."""
    db = sqlite3.connect(data / "backchat.db")
    db.execute("CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'broken'); END")
    return db
