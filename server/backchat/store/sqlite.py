"""The tables (DESIGN section 2), and the SQL for all but the index of search.py. One `Database` is one SQLite
connection; nothing here knows of asyncio.

WAL mode with synchronous=FULL: a commit that returned survives a power cut (G1).
"""

import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from backchat.errors import (
    DataDirectoryError,
    NoSuchSession,
    NoSuchUser,
    SessionDeleted,
    SessionExists,
    SessionUnreadable,
    UserExists,
)
from backchat.store import search
from backchat.store.base import (
    Checkpoint,
    Commit,
    Epochs,
    Found,
    KnownOp,
    Loaded,
    Match,
    Place,
    SessionInfo,
    Summary,
    User,
)
from backchat.transcript import (
    EVENT_NAMES,
    EVENT_TYPES,
    Added,
    Body,
    Cause,
    Event,
    Message,
    Origin,
    Tree,
    Usage,
    fold,
    text_of,
)
from backchat.words import Excerpt, expression

BUSY_SECONDS: Final = 10.0
"""How long a write waits for another process (an import) to finish its own."""
WAL_PAGES: Final = 8000
"""After how many pages in the WAL they go into the database, which a commit waits for. Each session has a page of its
own, so that many at once fill the thousand of SQLite's default within a few batches. 32 MB at the most, read once after
a crash."""
MOST_READ: Final = 8 * 1024 * 1024
"""After how many characters of messages, as JSON, a search shows no more of what it found."""
MOST_ROWS: Final = 64
"""How many events one statement inserts at the most; some builds of SQLite take no more than 999 values."""
PRUNED: Final = 100
"""How many op records are dropped at once: few enough that no commit waits noticeably."""

FAILURES: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)
"""What sqlite3 raises where a database is damaged: the last two where SQLite's own message is no text, and where it
believes something to be larger than memory."""

# Numbered from 1 by their place; a database says how many it has been through in its user_version. Never edit one
# that has been released: add another. Titles and the like are in the log; `session` repeats them so that a list need
# not load it.
MIGRATIONS: Final = (
    """
    CREATE TABLE session (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        log TEXT NOT NULL,
        created_at REAL NOT NULL,
        deleted_at REAL,
        title TEXT,
        model TEXT,
        workspace TEXT,
        personality TEXT
    ) WITHOUT ROWID;

    CREATE TABLE message (
        session_id TEXT NOT NULL,
        id INTEGER NOT NULL,
        parent INTEGER NOT NULL,
        depth INTEGER NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        extra TEXT,
        run_id TEXT,
        model TEXT,
        usage TEXT,
        cost REAL,
        finish TEXT,
        created_at REAL NOT NULL,
        PRIMARY KEY (session_id, id)
    ) WITHOUT ROWID;

    CREATE TABLE event (
        session_id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        type TEXT NOT NULL,
        v INTEGER NOT NULL,
        at REAL NOT NULL,
        actor TEXT,
        command TEXT,
        head INTEGER NOT NULL,
        body TEXT NOT NULL,
        op_id TEXT,
        body_hash BLOB,
        reply TEXT,
        PRIMARY KEY (session_id, revision)
    ) WITHOUT ROWID;

    CREATE UNIQUE INDEX event_op ON event (session_id, op_id) WHERE op_id IS NOT NULL;

    CREATE TABLE checkpoint (
        session_id TEXT PRIMARY KEY,
        run_id TEXT NOT NULL,
        text TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE blob (
        hash BLOB PRIMARY KEY,
        content BLOB NOT NULL
    );
    """,
    """
    ALTER TABLE message ADD COLUMN reasoning TEXT;

    ALTER TABLE message ADD COLUMN note TEXT;

    ALTER TABLE checkpoint ADD COLUMN reasoning TEXT NOT NULL DEFAULT '';

    ALTER TABLE checkpoint ADD COLUMN model TEXT;
    """,
    # An op_id stays in the log as what caused an event; the record that answers a retransmission (`body_hash`, `reply`)
    # grows old. The second index finds the oldest without looking at any other. For epochs see `Epochs`. `name` is that
    # of the `actor`.
    """
    ALTER TABLE message ADD COLUMN original TEXT;

    DROP INDEX event_op;

    CREATE UNIQUE INDEX event_op ON event (session_id, op_id) WHERE reply IS NOT NULL;

    CREATE INDEX event_record ON event (at) WHERE reply IS NOT NULL;

    CREATE TABLE epoch (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL
    );

    ALTER TABLE event ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;

    ALTER TABLE event ADD COLUMN name TEXT;
    """,
    # For searches; store/search.py says what is in them.
    """
    CREATE TABLE searched (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL UNIQUE,
        title TEXT
    );

    CREATE TABLE unsearched (
        number INTEGER NOT NULL,
        next INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (number, next)
    ) WITHOUT ROWID;

    CREATE VIRTUAL TABLE search USING fts5(
        text, content='', columnsize=0, prefix='1', tokenize='unicode61 remove_diacritics 2'
    );

    INSERT INTO search (search, rank) VALUES ('pgsz', 1000);

    INSERT INTO searched (session_id) SELECT id FROM session ORDER BY created_at, id;

    INSERT INTO unsearched
        SELECT number, 0, coalesce((SELECT max(id) FROM message m WHERE m.session_id = searched.session_id), 0)
        FROM searched;
    """,
    # `key`: see users.py. The index has all that finding a user's sessions takes.
    """
    CREATE TABLE user (
        name TEXT PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        created_at REAL NOT NULL
    ) WITHOUT ROWID;

    CREATE INDEX session_owner ON session (owner, deleted_at);
    """,
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_usage: Final = msgspec.json.Decoder(Usage).decode
_decode_origin: Final = msgspec.json.Decoder(Origin).decode
_BODIES: Final[dict[tuple[str, int], msgspec.json.Decoder[Body]]] = {
    key: msgspec.json.Decoder(body) for key, body in EVENT_TYPES.items()
}


@cache
def _append_sql(rows: int) -> str:
    row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    return (
        "INSERT INTO event (session_id, revision, type, v, at, actor, command, head, body, op_id, body_hash, reply,"  # noqa: S608 - constants
        f" epoch, name) VALUES {', '.join([row] * rows)}"
    )


def _only_appends(commit: Commit) -> bool:
    """Whether a commit is nothing but events, like that of an undo."""
    more = (
        commit.added, commit.create, commit.listed, commit.ended_run, commit.started_run, commit.deleted_at,
        commit.restores, commit.opens,
    )  # fmt: skip
    return not any(more)


class _AfterFailure(Exception):
    """An earlier commit of the same session failed."""


class Database:
    """A connection to the database in `directory`, created and migrated if need be.

    May be used from any one thread at a time. `behind` says whether something may be left for `catch_up`, by this
    object or by another before it. Raises DataDirectoryError where the directory cannot hold it.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "backchat.db"
        self.behind = True
        self._epoch = 0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Made here, so that nobody else can read it; the files that SQLite puts beside it follow. Only where
            # there is none: a process that closes any descriptor of a database gives up SQLite's locks on it, and the
            # next one to leave would take the WAL away from under us ("How To Corrupt An SQLite Database File",
            # section 2.2).
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(
                self.path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                # One for each number of events that are inserted together, and the others.
                cached_statements=2 * MOST_ROWS,
            )
        except (OSError, sqlite3.Error) as error:
            raise DataDirectoryError(f"Cannot use the data directory {directory}: {_reason(error)}.") from error
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            if sys.platform == "darwin":
                self._db.execute("PRAGMA fullfsync = ON")
                self._db.execute("PRAGMA checkpoint_fullfsync = ON")
            self._migrate()
            # Where a search puts what it finds. Not in a file, where others could read it.
            self._db.execute("PRAGMA temp_store = MEMORY")
            self._db.execute("CREATE TEMP TABLE hit (number INTEGER PRIMARY KEY, message INTEGER NOT NULL)")
        except FAILURES as error:
            self._db.close()
            raise DataDirectoryError(f"Cannot use the database {self.path}: {explained(error)}.") from error
        except DataDirectoryError:
            self._db.close()
            raise

    @classmethod
    def reading(cls, directory: Path) -> Self:
        """One that changes nothing. Raises DataDirectoryError where there is no database, or one of another version."""
        self = cls.__new__(cls)
        self.path = directory / "backchat.db"
        self.behind, self._epoch = False, 0
        self._db = read_only(self.path)
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self._refuse_newer(version)
            if version < len(MIGRATIONS):
                raise DataDirectoryError(
                    f"The database {self.path} was written by an older version of Backchat; `backchat serve` brings it"
                    " up to date."
                )
        except FAILURES as error:
            self._db.close()
            raise DataDirectoryError(f"Cannot use the database {self.path}: {explained(error)}.") from error
        except DataDirectoryError:
            self._db.close()
            raise
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. Everything committed stays."""
        self._db.close()

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == len(MIGRATIONS):
            return
        self._refuse_newer(version)
        with self._transaction("BEGIN EXCLUSIVE"):
            # Another process may have come first.
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in script.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def _refuse_newer(self, version: int) -> None:
        if version > len(MIGRATIONS):
            raise DataDirectoryError(f"The database {self.path} was written by a newer version of Backchat.")

    def begin_epoch(self) -> Epochs:
        """Begins an epoch: what this object writes from now on belongs to it. Raises DataDirectoryError."""
        try:
            with self._transaction("BEGIN IMMEDIATE"):
                self._db.execute("INSERT INTO epoch (id) VALUES (?)", (secrets.token_hex(8),))
            known = self._db.execute("SELECT id, number FROM epoch ORDER BY number").fetchall()
        except sqlite3.Error as error:
            raise DataDirectoryError(f"Cannot use the database {self.path}: {error}.") from error
        current, self._epoch = known[-1]
        return Epochs(dict(known), current)

    def probe(self) -> None:
        """See `Store.probe`. Raises sqlite3.Error."""
        with self._transaction("BEGIN IMMEDIATE"):
            # SQLite would not write a row that stays as it is. No session has this id.
            self._checkpoint("", Checkpoint("", ""))
            self._db.execute("DELETE FROM checkpoint WHERE session_id = ''")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._db.execute(begin)
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # Some failures (a full disk) have rolled back already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def write(
        self, commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]] = ()
    ) -> list[Exception | None]:
        """Commits all that can be, with one sync: for each commit None, or why it failed.

        When one fails, later ones of the same session fail too. Returned failures are SessionExists and sqlite3.Error.
        """
        try:
            self._write_all(commits, checkpoints)
        except (sqlite3.Error, SessionExists) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                # It has waited once.
                return [error] * len(commits)
            # Nothing has happened, or else its revisions are there. Which of them it was is found out one by one.
            return self._write_each(commits, checkpoints)
        return [None] * len(commits)

    def _write_all(self, commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]]) -> None:
        """Commits everything or nothing. Each statement hands the interpreter over and waits for it to come back,
        which costs more than a row: so the events of all commits go together, and where there is nothing else they
        are a transaction by themselves."""
        rows = [row for commit in commits for row in self._event_rows(commit)]
        if not checkpoints and 0 < len(rows) <= MOST_ROWS and all(map(_only_appends, commits)):
            self._append(rows)
            return
        with self._transaction("BEGIN IMMEDIATE"):
            # First: a commit of the same batch may end the run.
            self._save(checkpoints)
            for commit in commits:
                self._insert_rest(commit)
            self._append(rows)
            self.behind = search.index(self._db, commits) or self.behind

    def _write_each(
        self, commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]]
    ) -> list[Exception | None]:
        """Like `write`, with a savepoint for each commit."""
        results: list[Exception | None] = []
        failed: set[str] = set()
        try:
            with self._transaction("BEGIN IMMEDIATE"):
                self._save(checkpoints)
                for commit in commits:
                    if commit.session_id in failed:
                        results.append(_AfterFailure("an earlier commit of the session failed"))
                        continue
                    self._db.execute("SAVEPOINT one")
                    try:
                        self._forget(commit)
                        self._insert_rest(commit)
                        self._append(self._event_rows(commit))
                    except (sqlite3.Error, SessionExists) as error:
                        if not self._db.in_transaction:
                            raise
                        self._db.execute("ROLLBACK TO one")
                        failed.add(commit.session_id)
                        results.append(error)
                    else:
                        results.append(None)
                    self._db.execute("RELEASE one")
                written = (commit for commit, error in zip(commits, results, strict=True) if error is None)
                self.behind = search.index(self._db, written) or self.behind
        except sqlite3.Error as error:
            return [error] * len(commits)
        return results

    def _save(self, checkpoints: Sequence[tuple[str, Checkpoint]]) -> None:
        # Best effort: one that cannot be saved costs nobody a commit.
        for session_id, checkpoint in checkpoints:
            self._db.execute("SAVEPOINT one")
            try:
                self._checkpoint(session_id, checkpoint)
            except sqlite3.Error:
                if not self._db.in_transaction:
                    raise
                self._db.execute("ROLLBACK TO one")
            self._db.execute("RELEASE one")

    def _checkpoint(self, session_id: str, checkpoint: Checkpoint) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?)",
            (session_id, checkpoint.run_id, checkpoint.text, checkpoint.reasoning, checkpoint.model),
        )

    def _insert_rest(self, commit: Commit) -> None:
        """All of a commit but its events."""
        execute = self._db.execute
        session_id = commit.session_id
        if commit.create is not None:
            info = commit.create
            inserted = execute(
                "INSERT OR IGNORE INTO session (id, owner, log, created_at) VALUES (?, ?, ?, ?)",
                (info.id, info.owner, info.log, info.created_at),
            )
            if inserted.rowcount != 1:
                raise SessionExists("There is a session with this id, or there was one.")
        if (listed := commit.listed) is not None:
            execute(
                "UPDATE session SET title = ?, model = ?, workspace = ?, personality = ? WHERE id = ?",
                (listed.title, listed.model, listed.workspace, listed.personality, session_id),
            )
        if commit.added:
            # A message's depth is one more than its parent's, which is in this commit or in the table.
            self._db.executemany(
                "INSERT INTO message SELECT ?1, ?2, ?3,"
                " coalesce((SELECT depth FROM message WHERE session_id = ?1 AND id = ?3), 0) + 1,"
                " ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15",
                [_message_row(session_id, added) for added in commit.added],
            )
        if commit.ended_run is not None:
            execute("DELETE FROM checkpoint WHERE session_id = ? AND run_id = ?", (session_id, commit.ended_run))
        if commit.started_run is not None:
            self._checkpoint(session_id, commit.started_run)
        if commit.deleted_at is not None:
            execute("UPDATE session SET deleted_at = ? WHERE id = ?", (commit.deleted_at, session_id))
        if commit.restores:
            execute("UPDATE session SET deleted_at = NULL WHERE id = ?", (session_id,))
        if commit.opens is not None:
            self._insert_rest(commit.opens)

    def _event_rows(self, commit: Commit) -> list[tuple[Any, ...]]:
        """The rows of a commit's events, and of those of the session that it opens."""
        record, last = commit.record, len(commit.events)
        rows = []
        for number, event in enumerate(commit.events, start=1):
            name, version = EVENT_NAMES[type(event.body)]
            answers: tuple[Any, ...] = (None, None, None)
            if record is not None and number == last:
                answers = (record.op_id, record.body_hash, record.reply.decode())
            cause = event.cause
            rows.append(
                (
                    commit.session_id, event.revision, name, version, event.at, cause.connection, cause.command,
                    event.head, _encode(event.body).decode(), *answers, self._epoch, cause.name,
                )
            )  # fmt: skip
        if commit.opens is not None:
            rows += self._event_rows(commit.opens)
        return rows

    def _append(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), MOST_ROWS):
            some = rows[start : start + MOST_ROWS]
            self._db.execute(_append_sql(len(some)), [value for row in some for value in row])

    def _forget(self, commit: Commit) -> None:
        """Makes an old op record give way to the new one of the same op_id."""
        record = commit.record
        if record is not None:
            self._db.execute(
                "UPDATE event SET body_hash = NULL, reply = NULL"
                " WHERE session_id = ? AND op_id = ? AND reply IS NOT NULL AND at <= ?",
                (commit.session_id, record.op_id, record.forgotten),
            )

    def owner(self, session_id: str) -> str | None:
        """See `Store.owner`. Raises sqlite3.Error."""
        found = self._db.execute("SELECT owner FROM session WHERE id = ?", (session_id,)).fetchone()
        return None if found is None else found[0]

    def users(self) -> list[User]:
        """See `Store.users`. Raises sqlite3.Error."""
        rows = self._db.execute("SELECT name, key, created_at FROM user ORDER BY name")
        return [User(name=name, key=key, created_at=created_at) for name, key, created_at in rows]

    def add_user(self, user: User) -> None:
        """See `Store.add_user`. Raises UserExists, sqlite3.Error."""
        with self._transaction("BEGIN IMMEDIATE"):
            added = self._db.execute(
                "INSERT OR IGNORE INTO user VALUES (?, ?, ?)", (user.name, user.key, user.created_at)
            )
            if added.rowcount != 1:
                raise UserExists(user.name)

    def remove_user(self, name: str) -> None:
        """Takes somebody's token away; the sessions stay. Raises NoSuchUser, sqlite3.Error."""
        with self._transaction("BEGIN IMMEDIATE"):
            if self._db.execute("DELETE FROM user WHERE name = ?", (name,)).rowcount != 1:
                raise NoSuchUser(name)

    def catch_up(self) -> None:
        """Takes some of what was left for later into the index that is searched. Raises sqlite3.Error."""
        with self._transaction("BEGIN IMMEDIATE"):
            behind = search.catch_up(self._db)
        # Not before it is there for others to find, and not at all if the transaction fails.
        self.behind = behind

    def prune(self, forgotten: float) -> bool:
        """See `Store.prune`. Raises sqlite3.Error."""
        old = self._db.execute(
            "SELECT session_id, revision FROM event WHERE reply IS NOT NULL AND at <= ? ORDER BY at LIMIT ?",
            (forgotten, PRUNED),
        ).fetchall()
        if old:
            with self._transaction("BEGIN IMMEDIATE"):
                self._db.executemany(
                    "UPDATE event SET body_hash = NULL, reply = NULL WHERE session_id = ? AND revision = ?", old
                )
        return len(old) == PRUNED

    def load(self, session_id: str, forgotten: float = 0.0, *, deleted: bool = False) -> Loaded:
        """See `Store.load`. Raises NoSuchSession, SessionDeleted, SessionUnreadable, sqlite3.Error."""
        with self._transaction("BEGIN"):
            found = self._db.execute(
                "SELECT id, owner, log, created_at, deleted_at FROM session WHERE id = ?", (session_id,)
            ).fetchone()
            if found is None:
                raise NoSuchSession
            if found[4] is not None and not deleted:
                raise SessionDeleted
            events = self._db.execute(
                "SELECT revision, type, v, at, actor, name, command, head, body, op_id, body_hash, epoch FROM event"
                " WHERE session_id = ? ORDER BY revision",
                (session_id,),
            ).fetchall()
            messages = self._db.execute(
                "SELECT id, parent, role, content, extra, run_id, model, usage, cost, finish, created_at,"
                " reasoning, note, original FROM message WHERE session_id = ? ORDER BY id",
                (session_id,),
            ).fetchall()
            row = self._db.execute(
                "SELECT run_id, text, reasoning, model FROM checkpoint WHERE session_id = ?", (session_id,)
            ).fetchone()
        tree = Tree()
        try:
            for message in messages:
                tree.add(_added(message))
            history = list(fold(map(_event, events), tree))
        except (KeyError, ValueError) as error:
            raise SessionUnreadable(f"The log of session {session_id} is damaged: {error}.") from error
        return Loaded(
            info=SessionInfo(id=found[0], owner=found[1], log=found[2], created_at=found[3]),
            tree=tree,
            history=history,
            ops={
                op_id: KnownOp(body_hash, at)
                for _, _, _, at, *_, op_id, body_hash, _ in events
                if body_hash is not None and at > forgotten
            },
            # Revisions come in order, so the last of each epoch stays.
            epochs=list({epoch: revision for revision, *_, epoch in events}.items()),
            checkpoint=None if row is None else Checkpoint(*row),
        )

    def reply(self, session_id: str, op_id: str) -> bytes | None:
        """See `Store.reply`. Raises sqlite3.Error."""
        found = self._db.execute(
            "SELECT reply FROM event WHERE session_id = ? AND op_id = ? AND reply IS NOT NULL", (session_id, op_id)
        ).fetchone()
        return None if found is None else str(found[0]).encode()

    def sessions(self, owner: str, after: Place | None, limit: int) -> list[Summary]:
        """See `Store.sessions`."""
        at, last_id = (None, None) if after is None else after
        # All have to be looked at, but only those that are shown closely.
        rows = self._db.execute(
            f"SELECT {_SUMMARY} FROM (SELECT s.id, {_UPDATED} AS at FROM session s"  # noqa: S608 - constants
            " WHERE s.owner = ?1 AND s.deleted_at IS NULL AND (?2 IS NULL OR (at, s.id) < (?2, ?3))"
            f" ORDER BY at DESC, s.id DESC LIMIT ?4) top CROSS JOIN session s ON s.id = top.id {_LATEST}"
            " ORDER BY e.at DESC, s.id DESC",
            (owner, at, last_id, limit),
        )
        return [_summary(row) for row in rows]

    def summaries(self, owner: str, ids: Sequence[str]) -> list[Summary]:
        """See `Store.summaries`."""
        rows = self._db.execute(
            # The other way round all sessions would be looked at.
            f"SELECT {_SUMMARY} FROM json_each(?2) CROSS JOIN session s ON s.id = json_each.value {_LATEST}"  # noqa: S608 - constants
            " WHERE s.owner = ?1 AND s.deleted_at IS NULL",
            (owner, _encode(ids).decode()),
        )
        return [_summary(row) for row in rows]

    def search(self, owner: str, query: str, limit: int) -> list[Found]:
        """See `Store.search`. Raises sqlite3.Error."""
        words = expression(query)
        if words is None:
            return [Found(summary, None) for summary in self.sessions(owner, None, limit)]
        with self._transaction("BEGIN"):
            self._db.execute("DELETE FROM hit")
            # The first of each session. Several times as fast as GROUP BY, which would sort what is in order.
            self._db.execute(
                "INSERT OR IGNORE INTO hit SELECT rowid >> 31, rowid & ?1 FROM search WHERE search MATCH ?2"
                " ORDER BY rowid",
                (search.TITLE, words),
            )
            rows = self._db.execute(
                f"SELECT nullif(top.message, ?2), {_SUMMARY}"  # noqa: S608 - constants
                f" FROM (SELECT hit.message, s.id, {_UPDATED} AS at FROM hit"
                " CROSS JOIN searched ON searched.number = hit.number"
                " CROSS JOIN session s ON s.id = searched.session_id"
                " WHERE s.owner = ?1 AND s.deleted_at IS NULL ORDER BY at DESC, s.id DESC LIMIT ?3) top"
                f" CROSS JOIN session s ON s.id = top.id {_LATEST} ORDER BY e.at DESC, s.id DESC",
                (owner, search.TITLE, limit),
            ).fetchall()
        found = [(message_id, _summary(row)) for message_id, *row in rows]
        texts: dict[str, str] = {}
        left = MOST_READ
        for message_id, summary in found:
            if message_id is not None and left > 0:
                row = self._db.execute(
                    "SELECT content FROM message WHERE session_id = ? AND id = ?", (summary.session_id, message_id)
                ).fetchone()
                # A damaged index may find what there is not.
                content = "null" if row is None else row[0]
                left -= len(content)
                texts[summary.session_id] = text_of(search.content_of(content))
        shown = search.excerpts(query, texts)
        return [
            Found(summary, None if message_id is None else _match(message_id, shown.get(summary.session_id)))
            for message_id, summary in found
        ]


_SUMMARY: Final = "s.id, s.title, s.model, s.workspace, s.personality, coalesce(m.depth, 0), s.created_at, e.at"
_UPDATED: Final = "(SELECT at FROM event WHERE session_id = s.id ORDER BY revision DESC LIMIT 1)"
_LATEST: Final = (
    "JOIN event e ON e.session_id = s.id AND e.revision = (SELECT max(revision) FROM event WHERE session_id = s.id)"
    " LEFT JOIN message m ON m.session_id = s.id AND m.id = e.head"
)


def _summary(row: Sequence[Any]) -> Summary:
    session_id, title, model, workspace, personality, message_count, created_at, updated_at = row
    return Summary(
        session_id=session_id,
        title=title,
        model=model,
        workspace=workspace,
        personality=personality,
        message_count=message_count,
        created_at=created_at,
        updated_at=updated_at,
    )


def _match(message_id: int, shown: Excerpt | None) -> Match:
    if shown is None:
        return Match(message_id=message_id, before="", match="", after="")
    return Match(message_id=message_id, before=shown.before, match=shown.match, after=shown.after)


def _message_row(session_id: str, added: Added) -> tuple[Any, ...]:
    message = added.message
    return (
        session_id,
        message.id,
        added.parent,
        message.role,
        _encode(message.content).decode(),
        None if message.extra is None else _encode(message.extra).decode(),
        message.run_id,
        message.model,
        None if message.usage is None else _encode(message.usage).decode(),
        message.cost,
        message.finish,
        message.created_at,
        message.reasoning,
        message.note,
        None if message.original is None else _encode(message.original).decode(),
    )


def _added(row: tuple[Any, ...]) -> Added:
    (message_id, parent, role, content, extra, run_id, model, usage, cost, finish, created_at, *late) = row
    reasoning, note, original = late
    message = Message(
        id=message_id,
        role=role,
        content=_decode(content),
        created_at=created_at,
        run_id=run_id,
        finish=finish,
        model=model,
        usage=None if usage is None else _decode_usage(usage),
        cost=cost,
        reasoning=reasoning,
        note=note,
        extra=None if extra is None else _decode(extra),
        original=None if original is None else _decode_origin(original),
    )
    # The bytes of `content_size`: the two and the brackets, the comma and perhaps a null around them.
    size = len(content.encode()) + (4 if extra is None else len(extra.encode())) + 3
    return Added(message, parent, size if reasoning is None else size + len(_encode(reasoning)))


def _event(row: tuple[Any, ...]) -> Event:
    revision, kind, version, at, actor, name, command, head, body, op_id, *_ = row
    decoder = _BODIES.get((kind, version))
    if decoder is None:
        raise SessionUnreadable(f"This version of Backchat does not know an event in it: {kind}, version {version}.")
    return Event(revision, at, head, decoder.decode(body), Cause(op_id, command, actor, name))


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, to a database that is there. Raises DataDirectoryError."""
    if not path.is_file():
        raise DataDirectoryError(f"There is no database in {path.parent}.")
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
    except sqlite3.Error as error:
        raise DataDirectoryError(f"Cannot use the database {path}: {error}.") from error


def explained(error: Exception) -> str:
    """Why the store failed, without what sqlite3 repeats of a text that is none: it may be somebody's message."""
    if isinstance(error, UnicodeDecodeError):
        return "the database is damaged"
    if isinstance(error, MemoryError):
        return "out of memory"
    return str(error).partition(" with text ")[0]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
