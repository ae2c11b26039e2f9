"""Looking after a database: a copy of it while it is in use, and whether all is well with it. Neither changes it, and a
server may be running on it."""

import math
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from backchat.errors import BackupFailed, DataDirectoryError, SessionUnreadable
from backchat.frames import Reply
from backchat.store.base import Loaded, listed
from backchat.store.sqlite import FAILURES, Database, explained, read_only

PAGES: Final = 1000
"""How many pages are copied at once; between them an interruption is heard."""


class Counts(Struct, frozen=True):
    """What is in a database, deleted sessions included."""

    sessions: int
    messages: int


def _counts(db: sqlite3.Connection) -> Counts:
    return Counts(*db.execute("SELECT (SELECT count(*) FROM session), (SELECT count(*) FROM message)").fetchone())


# A copy.


def back_up(directory: Path, file: Path) -> Counts:
    """Copies the database in `directory` to `file`, as it is at one moment, while others go on writing.

    The copy is one file, for its owner alone, and durable; until it is whole it has another name. Raises BackupFailed
    where there is such a file or it cannot be written, and DataDirectoryError.
    """
    _refuse_to_overwrite(file)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with closing(read_only(directory / "backchat.db")) as source:
        try:
            # In a transaction, so that the copy need not begin again whenever somebody has written.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema")
        except FAILURES as error:
            raise DataDirectoryError(f"Cannot use the database in {directory}: {explained(error)}.") from error
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(part, isolation_level=None)) as target:
                source.backup(target, pages=PAGES)
                counts = _counts(target)
            _sync(part)
            _refuse_to_overwrite(file)
            part.rename(file)
        except OSError as error:
            raise BackupFailed(f"Cannot write {file}: {str(error.strerror).lower()}.") from error
        except FAILURES as error:
            raise BackupFailed(f"Cannot copy the database in {directory} to {file}: {explained(error)}.") from error
        finally:
            with suppress(OSError):
                part.unlink()
    # So that its name is durable as well; not every system can.
    with suppress(OSError):
        _sync(file.parent)
    return counts


def _refuse_to_overwrite(file: Path) -> None:
    if file.exists():
        raise BackupFailed(f"There is a {file} already.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Whether all is well.


def check(directory: Path, tell: Callable[[str], object]) -> Counts:
    """Looks at everything in a database, and tells of each problem in one line; returns what it has looked at. Raises
    DataDirectoryError where it cannot be used, or is of another version."""
    path = directory / "backchat.db"
    with Database.reading(directory) as database, closing(read_only(path)) as db:
        for problem in _seen_twice(lambda: _damages(db)):
            tell(f"the database: {problem}")
        try:
            ids = [str(session_id) for (session_id,) in db.execute("SELECT id FROM session ORDER BY id")]
            counts = _counts(db)
        except FAILURES as error:
            raise DataDirectoryError(f"Cannot read the database {path}: {explained(error)}.") from error
        for session_id in ids:
            for problem in _seen_twice(lambda: _of_session(db, database, session_id)):  # noqa: B023 - done at once
                tell(f"session {session_id}: {problem}")
        for what, sql in _STRAYS.items():
            for problem in _seen_twice(lambda: (f"{session_id}: {what}" for (session_id,) in db.execute(sql))):  # noqa: B023
                tell(f"session {problem}")
        return counts


def _seen_twice(look: Callable[[], Iterable[str]]) -> list[str]:
    """What is found both times: a server may change something between two queries."""
    found = _found(look)
    return [problem for problem in found if problem in _found(look)] if found else []


def _found(look: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return list(look())
    except FAILURES as error:
        return [f"cannot be read: {explained(error)}"]


def _damages(db: sqlite3.Connection) -> Iterator[str]:
    # From SQLite 3.44 on that looks into the index of the search as well.
    for (problem,) in db.execute("PRAGMA integrity_check"):
        if problem != "ok":
            yield " ".join(str(problem).split())


_STRAYS: Final = {
    "messages of a session that there is not": (
        "SELECT DISTINCT session_id FROM message WHERE session_id NOT IN (SELECT id FROM session)"
    ),
    "events of a session that there is not": (
        "SELECT DISTINCT session_id FROM event WHERE session_id NOT IN (SELECT id FROM session)"
    ),
    "a live reply of a session that there is not": (
        "SELECT session_id FROM checkpoint WHERE session_id NOT IN (SELECT id FROM session)"
    ),
    "in the index of the search, and not there": (
        "SELECT session_id FROM searched WHERE session_id NOT IN (SELECT id FROM session)"
    ),
    "not in the index of the search": ("SELECT id FROM session WHERE id NOT IN (SELECT session_id FROM searched)"),
    "another title in the index of the search": (
        "SELECT id FROM session JOIN searched ON session_id = id WHERE searched.title IS NOT session.title"
        " AND number NOT IN (SELECT number FROM unsearched WHERE next = 0)"
    ),
}
"""What must not be, and the sessions of which it is."""


def _of_session(db: sqlite3.Connection, database: Database, session_id: str) -> Iterator[str]:
    try:
        loaded = database.load(session_id, math.inf, deleted=True)
    except SessionUnreadable as error:
        yield str(error)
        return
    if not loaded.history:
        yield "it has no event"
        return
    yield from _of_messages(db, loaded)
    shown = db.execute(
        "SELECT title, model, workspace, personality FROM session WHERE id = ?", (session_id,)
    ).fetchone()
    if shown != msgspec.structs.astuple(listed(loaded.history[-1].after)):
        yield "lists show it otherwise than its log says"
    for op_id, reply in db.execute(
        "SELECT op_id, reply FROM event WHERE session_id = ? AND reply IS NOT NULL", (session_id,)
    ):
        try:
            msgspec.json.decode(reply, type=Reply)
        except ValueError as error:
            yield f"the reply to {op_id} cannot be repeated: {error}"


def _of_messages(db: sqlite3.Connection, loaded: Loaded) -> Iterator[str]:
    tree, state = loaded.tree, loaded.history[-1].after
    # Number 0 is the root, and no message.
    if set(tree.nodes) != set(range(state.last_message + 1)):
        yield f"its messages are not those from 1 to {state.last_message:,}"
    for number, depth in db.execute("SELECT id, depth FROM message WHERE session_id = ?", (loaded.info.id,)):
        node = tree.get(number)
        if node is not None and node.depth != depth:
            yield f"message {number:,} is at depth {node.depth:,}, and says {depth:,}"
    checkpoint = loaded.checkpoint
    if checkpoint is not None:
        if any(node.message.run_id == checkpoint.run_id for node in tree.nodes.values() if node.depth):
            yield f"the reply {checkpoint.run_id} has ended, and is kept as live"
        head = tree[state.head]
        if not head.depth or head.message.role != "user":
            yield f"the reply {checkpoint.run_id} is live, and replies to nothing"
