"""What the bench puts on the disk by itself: the sessions to take turns back from, and the rows that show what the
disk alone costs."""

import secrets
import sqlite3
import sys
import time
from pathlib import Path

from backchat import ops
from backchat.sessions import OWNER
from backchat.store.base import Commit, SessionInfo
from backchat.store.sqlite import Database
from backchat.transcript import Cause, Created, Event, Message, chained


def seed(directory: Path, sessions: dict[str, int]) -> None:
    """Stores sessions: for each id the number of messages, each a user's, so that each is a turn."""
    with Database(directory) as database:
        for session_id, messages in sessions.items():
            (failure,) = database.write([_commit(session_id, messages)])
            if failure is not None:
                raise failure
        # Or the server under load would do it.
        while database.behind:
            database.catch_up()


def _commit(session_id: str, number: int) -> Commit:
    # As importer.py does.
    now = time.time()
    messages = [
        Message(id=ordinal, role="user", content=f"This is question number {ordinal}.", created_at=now)
        for ordinal in range(1, number + 1)
    ]
    (decided,) = ops.create(Created(title="A session of the bench"), chained(messages), number).events
    return Commit(
        session_id=session_id,
        events=(Event(1, now, decided.head, decided.body, Cause(command="import")),),
        added=decided.added,
        create=SessionInfo(id=session_id, owner=OWNER, log=secrets.token_hex(8), created_at=now),
    )


class Rows:
    """A database of its own, with Backchat's tables and durability, to put single rows in."""

    def __init__(self, directory: Path) -> None:
        with Database(directory) as database:
            path = database.path
        self._db = sqlite3.connect(path, isolation_level=None)
        # As store/sqlite.py does. The journal mode stays with the file, these do not.
        self._db.execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":
            self._db.execute("PRAGMA fullfsync = ON")
            self._db.execute("PRAGMA checkpoint_fullfsync = ON")
        self._revision = 0

    def commit(self, times: int) -> list[float]:
        """Commits that many rows like an undo's, one by one; for each the seconds until it was durable."""
        taken = []
        for _ in range(times):
            self._revision += 1
            row = ("alone", self._revision, "taken_back", 1, time.time(), "0123abcd", "undo", 1, "{}")
            began = time.perf_counter()
            self._db.execute(
                "INSERT INTO event (session_id, revision, type, v, at, actor, command, head, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            taken.append(time.perf_counter() - began)
        return taken

    def close(self) -> None:
        """Closes the database."""
        self._db.close()
