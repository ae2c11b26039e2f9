"""Import of sessions from files: what is to be committed for each, and the import into a data directory that a server
may be using at the same time. (The server's own is in registry.py.)"""

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final, Literal

import msgspec
from msgspec import Struct

from backchat import ops
from backchat.errors import SessionExists
from backchat.exports import Broken, Imported
from backchat.foreign import NotASession, sessions_of
from backchat.names import OWNER
from backchat.reports import IMPORT
from backchat.sessions import new_log
from backchat.store.base import Commit, SessionInfo, first_commit
from backchat.store.sqlite import Database
from backchat.transcript import SESSION_ID, Cause

MOST_BYTES: Final = 1024**3
"""Files above this are not read."""

Outcome = Literal["imported", "skipped", "broken"]


class Ready(Struct, frozen=True):
    """A session out of a file: its first commit. `place` says where it stands, in a file of several."""

    outcome: ClassVar[Literal["imported"]] = "imported"

    commit: Commit
    place: str | None

    @property
    def title(self) -> str | None:
        """The session's title."""
        return None if self.commit.listed is None else self.commit.listed.title

    def copied(self) -> "Ready":
        """The same under an id of its owner's own, always the same one."""
        info = self.commit.create
        assert info is not None
        session_id = hashlib.sha256(f"{info.owner} {info.id}".encode()).hexdigest()[:32]
        create = msgspec.structs.replace(info, id=session_id)
        return Ready(msgspec.structs.replace(self.commit, session_id=session_id, create=create), self.place)

    def left(self, outcome: Literal["skipped", "broken"], reason: object) -> "Left":
        """That it was not imported."""
        return Left(outcome, str(reason) if self.place is None else f"{self.place}: {reason}")

    def there_already(self) -> "Left":
        """That its id is taken."""
        return self.left("skipped", f"session {self.commit.session_id} is there already, or was deleted")


class Left(Struct, frozen=True):
    """What is not imported, be it a session or a file that holds none, and why: after the session's place in a file of
    several."""

    outcome: Literal["skipped", "broken"]
    reason: str


class Result(Struct, frozen=True):
    """What became of one session, or of a file that holds none: `detail` is the id of the imported session, or the
    reason, after the session's place in a file of several."""

    path: Path
    outcome: Outcome
    detail: str


def sessions_in(data: bytes, title: str | None, now: float, owner: str = OWNER) -> Iterator[Ready | Left]:
    """The sessions in what a file holds, each as it is read. `title` is for one that has no id of its own, `now` for
    what has no time; `owner` is whose they will be."""
    try:
        for found in sessions_of(data, now):
            yield _ready(owner, found, data, title, now)
    except NotASession as reason:
        yield Left("skipped", str(reason))


def _ready(owner: str, found: Imported | Broken, data: bytes, title: str | None, now: float) -> Ready | Left:
    if isinstance(found, Broken):
        return Left("broken", str(found) if found.place is None else f"{found.place}: {found}")
    session_id = found.id
    if session_id is None:
        # A bare list has no id: its content gives one, so that a second import of the same file is noticed.
        session_id = hashlib.sha256(data).hexdigest()[:32]
        found = msgspec.structs.replace(found, created=msgspec.structs.replace(found.created, title=title))
    ready = Ready(_commit(owner, session_id, found, now), found.place)
    if not SESSION_ID.fullmatch(session_id):
        reason = f"its session_id {session_id[:64]!r} is not made of a-z, 0-9, _ and -, or is too long"
        return ready.left("broken", reason)
    return ready


def _commit(owner: str, session_id: str, imported: Imported, now: float) -> Commit:
    info = SessionInfo(
        id=session_id,
        owner=owner,
        log=new_log(),
        created_at=now if imported.created.created_at is None else imported.created.created_at,
    )
    at = now if imported.updated_at is None else imported.updated_at
    events = ops.create(imported.created, imported.messages, imported.head).events
    return first_commit(info, (*events, *imported.further), at, Cause(command=IMPORT))


# Into a data directory.


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


def import_files(database: Database, files: list[Path], owner: str = OWNER) -> Iterator[Result]:
    """Imports what can be imported, one session for one commit, so that a server has its turn in between. A file of
    several sessions has as many results. `owner` is whose they will be."""
    for file in files:
        try:
            data = _read(file)
        except Broken as reason:
            yield Result(file, "broken", str(reason))
            continue
        title = os.fsencode(file.stem).decode(errors="replace")
        for one in sessions_in(data, title, time.time(), owner):
            if one.outcome == "imported":
                one = _import(database, owner, one)
            if one.outcome == "imported":
                yield Result(file, "imported", one.commit.session_id)
                continue
            yield Result(file, one.outcome, one.reason)


def _read(file: Path) -> bytes:
    """Raises Broken."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Broken("it is no regular file")
        if found.st_size > MOST_BYTES:
            raise Broken(f"it is larger than {MOST_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise Broken(f"it cannot be read: {(error.strerror or str(error)).lower()}") from error


def _import(database: Database, owner: str, ready: Ready) -> Ready | Left:
    """What is ready once it is durable."""
    try:
        taken = database.owner(ready.commit.session_id)
        if taken not in (None, owner):
            ready = ready.copied()
            taken = database.owner(ready.commit.session_id)
        if taken is not None:
            return ready.there_already()
        failure = database.write([ready.commit])[0]
    except sqlite3.Error as error:
        failure = error
    if failure is None:
        while database.behind:
            database.catch_up()
        return ready
    if isinstance(failure, SessionExists):
        return ready.left("skipped", failure)
    return ready.left("broken", f"it could not be stored: {failure}")
