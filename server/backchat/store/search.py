"""The full-text index of a database (SQLite's FTS5): what keeps it, and what is shown of what it finds.

A text in it is a message or the title of a session. Its rowid says which: the number of the session (in the table
`searched`) times 2**31, and the id of the message; that of the title is 2**31 - 1, so that it comes last. The index
keeps no text of its own. A message is for ever, so only a title is ever taken out again; for that `searched` has it
as it went in.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Final

from backchat.store.base import Commit
from backchat.words import BEGIN, END, Excerpt, excerpt, expression, markable, searched, searched_content

TITLE: Final = 2**31 - 1
"""What a title has for a message's id."""
TOKENS: Final = "unicode61 remove_diacritics 2"
"""FTS5's name for what a word is."""
PIECE: Final = 8000
"""How many characters of a text are looked through at once for what was found in it: FTS5 takes time quadratic in
them."""
OVERLAP: Final = 200
"""How many of these are looked through again with the next ones, in case the cut goes through what is looked for."""
MOST_EXAMINED: Final = 1_000_000
"""After how many characters it is given up; then the beginning of each text is shown that is still left."""


def index(db: sqlite3.Connection, commits: Iterable[Commit]) -> None:
    """Takes in what these commits, all of them just written, have brought. To be called once for a transaction: FTS5
    writes what it has with every savepoint."""
    titles: dict[str, str | None] = {}
    texts: dict[str, list[tuple[int, str]]] = {}
    for commit in _all(commits):
        if commit.create is not None:
            db.execute("INSERT INTO searched (session_id) VALUES (?)", (commit.session_id,))
        if commit.listed is not None:
            titles[commit.session_id] = commit.listed.title
        for added in commit.added:
            text = searched_content(added.message.content)
            texts.setdefault(commit.session_id, []).append((added.message.id, text))
    rows = [
        db.execute("SELECT number, session_id, title FROM searched WHERE session_id = ?", (session_id,)).fetchone()
        for session_id in titles.keys() | texts.keys()
    ]
    # In the order of their rowids, or FTS5 would write each apart.
    for number, session_id, title in sorted(rows):
        place = number << 31
        db.executemany(
            "INSERT INTO search (rowid, text) VALUES (?, ?)",
            [(place | message_id, text) for message_id, text in texts.get(session_id, ())],
        )
        new = titles.get(session_id, title)
        if new != title:
            _retitle(db, place | TITLE, title, new)
            db.execute("UPDATE searched SET title = ? WHERE number = ?", (new, number))


def _all(commits: Iterable[Commit]) -> Iterator[Commit]:
    for commit in commits:
        yield commit
        if commit.opens is not None:
            yield commit.opens


def _retitle(db: sqlite3.Connection, rowid: int, old: str | None, new: str | None) -> None:
    if old is not None:
        db.execute("INSERT INTO search (search, rowid, text) VALUES ('delete', ?, ?)", (rowid, searched(old)))
    if new is not None:
        db.execute("INSERT INTO search (rowid, text) VALUES (?, ?)", (rowid, searched(new)))


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
