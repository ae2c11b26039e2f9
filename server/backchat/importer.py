"""Import of sessions from files, into a data directory that a server may be using at the same time."""

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from backchat import ops
from backchat.errors import SessionExists
from backchat.exports import Broken, Imported
from backchat.foreign import NotASession, sessions_of
from backchat.reports import IMPORT
from backchat.sessions import OWNER, new_log
from backchat.store.base import Commit, SessionInfo, first_commit
from backchat.store.sqlite import Database
from backchat.transcript import SESSION_ID, Cause

MOST_BYTES: Final = 1024**3
"""Files above this are not read."""


class Result(Struct, frozen=True):
    """What became of one session, or of a file that holds none: `detail` is the id of the imported session, or the
    reason, after the session's place in a file of several."""

    path: Path
    outcome: Literal["imported", "skipped", "broken"]
    detail: str


def files_in(paths: list[Path]) -> list[Path]:
    """The files named, and every .json file below the directories named, in a stable order. Links to directories are
    not followed."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(sorted(file for file in path.rglob("*.json") if file.is_file()))
        else:
            found.append(path)
    return found


def import_files(database: Database, files: list[Path]) -> Iterator[Result]:
    """Imports what can be imported, one session for one commit, so that a server has its turn in between. A file of
    several sessions has as many results."""
    for file in files:
        now = time.time()
        try:
            data_hash, found = _sessions(file, now)
        except NotASession as reason:
            yield Result(file, "skipped", str(reason))
            continue
        except Broken as reason:
            yield Result(file, "broken", str(reason))
            continue
        for one in found:
            yield _result(database, file, one, data_hash, now)


def _sessions(file: Path, now: float) -> tuple[str, Iterator[Imported | Broken]]:
    """A hash of what is in a file, and the sessions in it. Raises NotASession, Broken."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Broken("it is no regular file")
        if found.st_size > MOST_BYTES:
            raise Broken(f"it is larger than {MOST_BYTES} bytes")
        data = file.read_bytes()
    except OSError as error:
        raise Broken(f"it cannot be read: {(error.strerror or str(error)).lower()}") from error
    return hashlib.sha256(data).hexdigest()[:32], sessions_of(data, now)


def _result(database: Database, file: Path, found: Imported | Broken, data_hash: str, now: float) -> Result:
    outcome: Literal["skipped", "broken"]
    try:
        if isinstance(found, Broken):
            raise found
        return Result(file, "imported", _import(database, file, found, data_hash, now))
    except SessionExists as reason:
        outcome, detail = "skipped", str(reason)
    except Broken as reason:
        outcome, detail = "broken", str(reason)
    except sqlite3.Error as error:
        outcome, detail = "broken", f"it could not be stored: {error}"
    return Result(file, outcome, detail if found.place is None else f"{found.place}: {detail}")


def _import(database: Database, file: Path, imported: Imported, data_hash: str, now: float) -> str:
    """Raises SessionExists, Broken, sqlite3.Error."""
    session_id = imported.id
    if session_id is None:
        # A bare list has no id: its content gives one, so that a second import of the same file is noticed.
        session_id = data_hash
        imported = _titled(imported, os.fsencode(file.stem).decode(errors="replace"))
    elif not SESSION_ID.fullmatch(session_id):
        raise Broken(f"its session_id {session_id[:64]!r} is not made of a-z, 0-9, _ and -, or is too long")
    if database.has_session(session_id):
        raise SessionExists(f"session {session_id} is there already, or was deleted")
    failure = database.write([_commit(session_id, imported, now)])[0]
    if failure is not None:
        raise failure
    return session_id


def _titled(imported: Imported, title: str) -> Imported:
    return msgspec.structs.replace(imported, created=msgspec.structs.replace(imported.created, title=title))


def _commit(session_id: str, imported: Imported, now: float) -> Commit:
    info = SessionInfo(
        id=session_id,
        owner=OWNER,
        log=new_log(),
        created_at=now if imported.created.created_at is None else imported.created.created_at,
    )
    at = now if imported.updated_at is None else imported.updated_at
    events = ops.create(imported.created, imported.messages, imported.head).events
    return first_commit(info, events, at, Cause(command=IMPORT))
