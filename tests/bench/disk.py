"""What the bench puts on the disk by itself: the sessions to take turns back from, the files to import, and the rows
that show what the disk alone costs."""

import json
import secrets
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from backchat import ops
from backchat.names import OWNER
from backchat.store.base import Commit, SessionInfo, first_commit
from backchat.store.sqlite import Database
from backchat.transcript import Cause, Created, Message, chained

BATCH: Final = 1000
"""About how many messages are stored in one transaction. A sync for each session would take longer than all the rest;
with more messages the search index leaves some of them for later, and takes each session's in by itself."""


def seed(directory: Path, directories: Mapping[str, Mapping[str, int]]) -> None:
    """Makes data directories below a directory. Each holds sessions: for each id the number of messages, each a user's,
    so that each is a turn."""
    made: list[tuple[Mapping[str, int], Path]] = []
    for name, sessions in directories.items():
        alike = next((path for others, path in made if others == sessions), None)
        if alike is not None:
            shutil.copytree(alike, directory / name)
            continue
        _seed(directory / name, sessions)
        made.append((sessions, directory / name))


def _seed(directory: Path, sessions: Mapping[str, int]) -> None:
    with Database(directory) as database:
        for some in _batches(sessions):
            for failure in database.write([_commit(session_id, sessions[session_id]) for session_id in some]):
                if failure is not None:
                    raise failure
        # Or the server under load would do it.
        while database.behind:
            database.catch_up()


def _batches(sessions: Mapping[str, int]) -> Iterator[list[str]]:
    """The ids, as many at a time as have about BATCH messages."""
    some: list[str] = []
    messages = 0
    for session_id, number in sessions.items():
        some.append(session_id)
        messages += number
        if messages >= BATCH:
            yield some
            some, messages = [], 0
    yield some


def _commit(session_id: str, number: int) -> Commit:
    now = time.time()
    messages = [
        Message(id=ordinal, role="user", content=f"This is question number {ordinal}.", created_at=now)
        for ordinal in range(1, number + 1)
    ]
    outcome = ops.create(Created(title="A session of the bench"), chained(messages), number)
    info = SessionInfo(id=session_id, owner=OWNER, log=secrets.token_hex(8), created_at=now)
    return first_commit(info, outcome.events, now, Cause(command="import"))


def write_files(directory: Path, number: int, messages: int) -> int:
    """Writes so many files of a session store, each a session with so many messages; returns their bytes."""
    directory.mkdir()
    size = 0
    for file in range(number):
        said = [
            {
                "role": "assistant" if message % 2 else "user",
                "content": f"Sentence {message} of session {file}. " * (12 if message % 2 else 3),
                "timestamp": 1_776_600_000.0 + message,
            }
            for message in range(messages)
        ]
        session_id = f"{file:012x}"
        text = json.dumps({"session_id": session_id, "title": f"Session {file}", "messages": said})
        size += (directory / f"{session_id}.json").write_text(text, encoding="utf-8")
    return size


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
