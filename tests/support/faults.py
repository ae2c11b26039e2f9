"""Faults between the store and its database, planted in a server that runs in the test's own process."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

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


class Trouble:
    """What a server's writer meets with for as long as `kind` says so, and how often something failed for it.

    `full`: there is no more room in the database; `read-only`: nothing may be written; `failing`: nothing is, and that
    is said; `lying`: it is, and the opposite is said.
    """

    KINDS: Final = ("full", "read-only", "failing", "lying")

    def __init__(self, server: Running) -> None:
        self.kind: str | None = None
        self.struck = 0
        store: Any = server.backchat._store
        self._db: sqlite3.Connection = store._writer._db
        replace_write(server, self._troubled)

    def _troubled(self, write: Write) -> Write:
        def troubled(
            commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]] = ()
        ) -> list[Exception | None]:
            failed: list[Exception | None] = [sqlite3.OperationalError("disk I/O error")] * len(commits)
            match self.kind:
                case "failing":
                    results = failed
                case "lying":
                    write(commits, checkpoints)
                    results = failed
                case "full":
                    (pages,) = self._db.execute("PRAGMA page_count").fetchone()
                    self._db.execute(f"PRAGMA max_page_count = {pages}")
                    results = write(commits, checkpoints)
                    self._db.execute(f"PRAGMA max_page_count = {2**31}")
                case "read-only":
                    self._db.execute("PRAGMA query_only = ON")
                    results = write(commits, checkpoints)
                    self._db.execute("PRAGMA query_only = OFF")
                case _:
                    results = write(commits, checkpoints)
            self.struck += any(results)
            return results

        return troubled


async def broken_for_good(data: Path) -> sqlite3.Connection:
    """A database that takes no event any more, until its trigger `broken` is dropped."""
    db = sqlite3.connect(data / "backchat.db")
    db.execute("CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'broken'); END")
    return db
