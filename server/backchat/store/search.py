"""The full-text index of a database (SQLite's FTS5): what keeps it, and what is shown of what it finds.

A text in it is a message or the title of a session. Its rowid says which: the number of the session (in the table
`searched`) times 2**31, and the id of the message; that of the title is 2**31 - 1, so that it comes last. The index
keeps no text of its own. A message is for ever, so only a title is ever taken out again; for that `searched` has it
as it went in.

What a commit brings is in the index with it, but for what is too much to be done at once (an import, a branch): that
is left in `unsearched`, as ranges of messages, and taken in step by step. A range that begins with 0 has the title.
So is what a damaged index does not take: all of it can be made again, and no commit fails because of it.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from backchat.store.base import Commit
from backchat.transcript import Message
from backchat.words import BEGIN, END, Excerpt, excerpt, expression, markable, searched, searched_content

TITLE: Final = 2**31 - 1
"""What a title has for a message's id."""
TOKENS: Final = "unicode61 remove_diacritics 2"
"""FTS5's name for what a word is."""
AT_ONCE: Final = 50_000
"""How many characters are taken in at once: few enough that no commit waits noticeably."""
PIECE: Final = 8000
"""How many characters of a text are looked through at once for what was found in it: FTS5 takes time quadratic in
them."""
OVERLAP: Final = 200
"""How many of these are looked through again with the next ones, in case the cut goes through what is looked for."""
MOST_EXAMINED: Final = 1_000_000
"""After how many characters it is given up; then the beginning of each text is shown that is still left."""

_decode: Final = msgspec.json.Decoder().decode
_log = logging.getLogger("backchat.store")


def index(db: sqlite3.Connection, commits: Iterable[Commit]) -> bool:
    """Takes in what these commits, all of them just written, have brought; whether some of it is left for later. To be
    called once for a transaction: FTS5 writes what it has with every savepoint. Raises sqlite3.Error where SQLite has
    rolled the transaction back."""
    titles: dict[str, str | None] = {}
    messages: dict[str, list[Message]] = {}
    for commit in _all(commits):
        if commit.listed is not None:
            titles[commit.session_id] = commit.listed.title
        if commit.added:
            messages.setdefault(commit.session_id, []).extend(added.message for added in commit.added)
    if not (titles or messages):
        return False
    # Both savepoints are released by the COMMIT: a statement less for each commit.
    db.execute("SAVEPOINT begun")
    try:
        left = _index(db, titles, messages)
        # Makes FTS5 write what it has, here and not in the COMMIT.
        db.execute("SAVEPOINT written")
        return left
    except sqlite3.Error as error:
        if not db.in_transaction:
            # SQLite has rolled all of it back, as it does where the disk is full.
            raise
        db.execute("ROLLBACK TO begun")
        _log.error("the index of the search took nothing in: %s", error)
    try:
        _leave(db, titles, messages)
    except sqlite3.Error as error:
        if not db.in_transaction:
            raise
        _log.error("nor could all of that be left for later; it will not be found: %s", error)
    return True


def _index(db: sqlite3.Connection, titles: Mapping[str, str | None], messages: Mapping[str, Sequence[Message]]) -> bool:
    left = AT_ONCE
    # In the order of their rowids, or FTS5 would write each apart.
    for number, session_id, title in sorted(_numbered(db, titles.keys() | messages.keys())):
        for message in messages.get(session_id, ()):
            if left < 0:
                until = messages[session_id][-1].id
                db.execute("INSERT INTO unsearched VALUES (?, ?, ?)", (number, message.id, until))
                break
            left -= _take_in(db, number, message.id, searched_content(message.content))
        _retitle(db, number, title, titles.get(session_id, title))
    return left < 0


def _leave(db: sqlite3.Connection, titles: Mapping[str, str | None], messages: Mapping[str, Sequence[Message]]) -> None:
    for number, session_id, _ in _numbered(db, titles.keys() | messages.keys()):
        ranges = [(number, 0, 0)] if session_id in titles else []
        if session_id in messages:
            ranges.append((number, messages[session_id][0].id, messages[session_id][-1].id))
        # The title may be among what was left before.
        db.executemany("INSERT OR IGNORE INTO unsearched VALUES (?, ?, ?)", ranges)


def _numbered(db: sqlite3.Connection, session_ids: Iterable[str]) -> list[tuple[int, str, str | None]]:
    """The rows of `searched` for these sessions."""
    rows = []
    for session_id in session_ids:
        # Most often new. Should it be missing for another reason, no commit may fail because of it.
        db.execute("INSERT OR IGNORE INTO searched (session_id) VALUES (?)", (session_id,))
        found = db.execute("SELECT number, session_id, title FROM searched WHERE session_id = ?", (session_id,))
        rows.append(found.fetchone())
    return rows


def catch_up(db: sqlite3.Connection) -> bool:
    """Takes in some of what was left for later, in a transaction; whether there is more."""
    found = db.execute(
        "SELECT number, session_id, searched.title, session.title, next, until FROM unsearched"
        " JOIN searched USING (number) JOIN session ON session.id = session_id LIMIT 1"
    ).fetchone()
    if found is None:
        return False
    number, session_id, old, title, begin, until = found
    left, end = AT_ONCE, until + 1
    messages = db.execute(
        "SELECT id, content FROM message WHERE session_id = ? AND id BETWEEN ? AND ? ORDER BY id",
        (session_id, begin, until),
    )
    for message_id, content in messages:
        if left < 0:
            end = message_id
            break
        left -= _take_in(db, number, message_id, searched_content(content_of(content)))
    if begin == 0:
        _retitle(db, number, old, title)
    db.execute("DELETE FROM unsearched WHERE number = ? AND next = ?", (number, begin))
    if end <= until:
        db.execute("INSERT INTO unsearched VALUES (?, ?, ?)", (number, end, until))
    return db.execute("SELECT 1 FROM unsearched").fetchone() is not None


def content_of(stored: str) -> Any:
    """The content of a message as it is stored. What is damaged has none: no search fails because of it."""
    try:
        return _decode(stored)
    except msgspec.DecodeError:
        return None


def _take_in(db: sqlite3.Connection, number: int, message_id: int, text: str) -> int:
    """Takes a text in; returns what that counts of AT_ONCE."""
    if text:
        db.execute("INSERT INTO search (rowid, text) VALUES (?, ?)", (number << 31 | message_id, text))
    return len(text) + 1


def _all(commits: Iterable[Commit]) -> Iterator[Commit]:
    for commit in commits:
        yield commit
        if commit.opens is not None:
            yield commit.opens


def _retitle(db: sqlite3.Connection, number: int, old: str | None, new: str | None) -> None:
    if old == new:
        return
    rowid = number << 31 | TITLE
    if old is not None:
        db.execute("INSERT INTO search (search, rowid, text) VALUES ('delete', ?, ?)", (rowid, searched(old)))
    if new is not None:
        db.execute("INSERT INTO search (rowid, text) VALUES (?, ?)", (rowid, searched(new)))
    db.execute("UPDATE searched SET title = ? WHERE number = ?", (new, number))


def excerpts(query: str, texts: Mapping[str, str]) -> dict[str, Excerpt]:
    """What is shown of texts in which the words of `query` were found, by the same keys."""
    found: dict[str, Excerpt] = {}
    words = expression(query, every=False)
    left = list(texts)
    start = examined = 0
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(f"CREATE VIRTUAL TABLE piece USING fts5(text, tokenize='{TOKENS}')")
        while left and examined < MOST_EXAMINED:
            end = start + PIECE
            pieces = [(place, texts[key][start:end]) for place, key in enumerate(left)]
            examined += sum(len(piece) for _, piece in pieces)
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO piece (rowid, text) VALUES (?, ?)", [(place, markable(piece)) for place, piece in pieces]
            )
            hits = db.execute(
                "SELECT rowid, highlight(piece, 0, ?, ?) FROM piece WHERE piece MATCH ?", (BEGIN, END, words)
            )
            for place, marked in hits:
                key = left[place]
                found[key] = excerpt(marked, begins=start == 0, ends=len(texts[key]) <= end)
            db.execute("ROLLBACK")
            start = end - OVERLAP
            left = [key for key in left if key not in found and len(texts[key]) > end]
    for key, text in texts.items():
        if key not in found:
            found[key] = excerpt(markable(text[:PIECE]), begins=True, ends=len(text) <= PIECE)
    return found
