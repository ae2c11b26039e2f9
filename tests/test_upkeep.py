"""`backchat backup` and `backchat check`, as a person runs them, also beside a server that is at work."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backchat import upkeep
from backchat.errors import BackupFailed
from backchat.names import OWNER
from backchat.store import sqlite
from backchat.upkeep import back_up, check
from tests.support.client import Json, Refused, client, eventually
from tests.support.histories import History
from tests.support.server import running
from tests.test_cli import Ended, Served, is_one_clear_line, run, serving, unix
from tests.test_store import commits


async def lived(data: Path) -> list[str]:
    """Data with sessions that have been used, the last of them deleted; their ids."""
    ids = []
    async with running(data) as server:
        for number in range(4):
            async with client(server.ws()) as one:
                for line in (f"hello {number}", "/retry", "more", "/undo", "/title A title", "and more"):
                    await one.submit(line, op_id=line)
                    await one.until(lambda: one.view.run is None)
                ids.append(one.session_id)
        async with server.backchat.sessions.use(OWNER, ids[-1]) as session:
            await session.delete()
    return ids


def is_fine(end: Ended) -> None:
    assert (end.status, end.err) == (0, ""), end.out + end.err
    assert end.out.startswith("No problem in ")
    assert end.out.count("\n") == 1


# Backups.


def put_in_place(copy: Path, data: Path) -> None:
    data.mkdir()
    shutil.copy(copy, data / "backchat.db")


@asynccontextmanager
async def used(served: Served, ids: list[str]) -> AsyncIterator[list[tuple[str, str, Json]]]:
    """A server whose sessions are written to all the while; what has been acknowledged, by session and op_id."""
    acknowledged: list[tuple[str, str, Json]] = []

    async def write(session_id: str, random: Random) -> None:
        async with client(served.ws(session_id)) as one:
            for number in range(10**6):
                line = random.choice((f"{number} " + "words " * random.choice((1, 1, 300)), "/undo", "/retry"))
                op_id = f"{session_id} {number}"[-64:]
                with suppress(Refused):
                    acknowledged.append((session_id, op_id, await one.submit(line, op_id=op_id)))

    writers = [asyncio.create_task(write(session_id, Random(number))) for number, session_id in enumerate(ids)]
    try:
        yield acknowledged
    finally:
        for writer in writers:
            writer.cancel()
        ends = await asyncio.gather(*writers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def test_a_backup_taken_while_clients_write_has_all_that_was_acknowledged_before_it_began(tmp_path: Path) -> None:
    copy, restored = tmp_path / "copy.db", tmp_path / "restored"
    async with serving(tmp_path / "data", "--echo-delay", "0.001") as served:
        ids = []
        for _ in range(3):
            async with client(served.ws()) as one:
                ids.append(one.session_id)
        async with used(served, ids) as acknowledged:
            await eventually(lambda: len(acknowledged) >= 100)
            known = list(acknowledged)
            end = await run("backup", copy, "--data", tmp_path / "data")
            assert (end.status, end.err) == (0, "")
            assert end.out.startswith("3 sessions, ")
            assert str(copy) in end.out
            # A check while they write finds nothing.
            is_fine(await run("check", "--data", tmp_path / "data"))
            assert len(acknowledged) > len(known), "nobody wrote while the copy was made"
    assert names(tmp_path) == {"data", "copy.db"}
    put_in_place(copy, restored)
    is_fine(await run("check", "--data", restored))
    with closing(sqlite3.connect(restored / "backchat.db")) as db:
        stored = dict(db.execute("SELECT op_id, revision FROM event WHERE op_id IS NOT NULL"))
    for _, op_id, result in known:
        assert stored[op_id] == result["revision"]
    async with serving(restored) as served:
        for session_id in ids:
            async with client(served.ws(session_id)) as one:
                await one.say("and on it goes")


@unix
async def test_a_backup_without_a_server_is_the_same_database_for_its_owner_alone(tmp_path: Path) -> None:
    ids = await lived(tmp_path / "data")
    copy = tmp_path / "copy.db"
    end = await run("backup", copy, "--data", tmp_path / "data")
    assert (end.status, end.err, end.out.count("\n")) == (0, "", 1)
    assert end.out.startswith("4 sessions, ")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == {"data", "copy.db"}
    assert dump(copy) == dump(tmp_path / "data" / "backchat.db")
    put_in_place(copy, tmp_path / "restored")
    async with running(tmp_path / "restored") as server, client(server.ws(ids[0])) as one:
        await one.say("still here")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that is in the tables of a database."""
    with closing(sqlite3.connect(path)) as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE rootpage > 0 AND type = 'table'")
        ]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


async def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    await lived(tmp_path / "data")
    taken = tmp_path / "taken"
    taken.write_text("mine")
    is_one_clear_line(await run("backup", taken, "--data", tmp_path / "data"), str(taken), "already")
    assert taken.read_text() == "mine"
    is_one_clear_line(await run("backup", tmp_path, "--data", tmp_path / "data"), "already")
    assert names(tmp_path) == {"data", "taken"}


async def test_a_backup_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    await lived(tmp_path / "data")
    is_one_clear_line(await run("backup", tmp_path / "no" / "copy", "--data", tmp_path / "data"), "no such file")
    (tmp_path / "data" / "backchat.db").write_bytes(b"no database" * 1000)
    is_one_clear_line(await run("backup", tmp_path / "copy", "--data", tmp_path / "data"), "not a database")
    assert names(tmp_path) == {"data"}


def between(patch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Has something happen after each of the many steps in which a backup is made."""

    class Source(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **_: Any) -> None:
            super().backup(target, pages=1, progress=lambda *_: happens())

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=Source)

    patch.setattr(upkeep, "read_only", connect)


async def test_a_backup_is_of_one_moment_and_does_not_begin_again_when_somebody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(tmp_path)
    before = dump(tmp_path / "backchat.db")
    with sqlite.Database(tmp_path) as database:
        steps = count()

        def write() -> None:
            number = next(steps)
            if number < 50:
                assert database.write(commits(History("x"), f"s{number}")) == [None]

        between(monkeypatch, write)
        back_up(tmp_path, tmp_path / "copy.db")
    assert next(steps) > 5
    assert dump(tmp_path / "copy.db") == before != dump(tmp_path / "backchat.db")


async def test_a_backup_that_fails_on_the_way_leaves_nothing_behind_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(tmp_path / "data")

    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    between(monkeypatch, fail)
    with pytest.raises(BackupFailed, match="disk I/O error"):
        back_up(tmp_path / "data", tmp_path / "copy")
    assert names(tmp_path) == {"data"}
    between(monkeypatch, lambda: (tmp_path / "copy").write_text("mine"))
    with pytest.raises(BackupFailed, match="already"):
        back_up(tmp_path / "data", tmp_path / "copy")
    assert names(tmp_path) == {"data", "copy"}
    assert (tmp_path / "copy").read_text() == "mine"


@pytest.mark.parametrize("command", [["backup", "{copy}"], ["check"]], ids=["backup", "check"])
async def test_where_there_is_no_database_none_is_made(tmp_path: Path, command: list[str]) -> None:
    arguments = [argument.format(copy=tmp_path / "copy") for argument in command]
    is_one_clear_line(await run(*arguments, "--data", tmp_path / "data"), str(tmp_path / "data"), "no database")
    assert names(tmp_path) == set()


# Checks.


async def test_a_check_of_a_sound_database_finds_nothing_and_changes_nothing(tmp_path: Path) -> None:
    await lived(tmp_path)
    before = (tmp_path / "backchat.db").read_bytes()
    end = await run("check", "--data", tmp_path)
    is_fine(end)
    assert "in 4 sessions, " in end.out
    assert (tmp_path / "backchat.db").read_bytes() == before


async def test_a_check_takes_a_killed_server_and_its_live_reply_for_what_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path, "--echo-delay", "0.01") as served, client(served.ws()) as one:
        await one.submit("word " * 5000)
        is_fine(await run("check", "--data", tmp_path))
    is_fine(await run("check", "--data", tmp_path))


@pytest.mark.parametrize(("version", "word"), [(10**6, "newer"), (1, "older")])
async def test_a_check_of_a_database_of_another_version_is_one_clear_line(
    tmp_path: Path, version: int, word: str
) -> None:
    await lived(tmp_path)
    with closing(sqlite3.connect(tmp_path / "backchat.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    is_one_clear_line(await run("check", "--data", tmp_path), str(tmp_path), word)


DAMAGES = {
    "UPDATE event SET revision = revision + 1 WHERE session_id = :id AND revision = "
    "(SELECT max(revision) FROM event WHERE session_id = :id)": "cannot follow",
    "DELETE FROM event WHERE session_id = :id": "it has no event",
    "UPDATE event SET body = '[]' WHERE session_id = :id AND revision = 2": "damaged",
    "UPDATE event SET type = 'sung' WHERE session_id = :id AND revision = 2": "does not know an event",
    "UPDATE event SET head = 999 WHERE session_id = :id AND revision = 3": "damaged",
    "UPDATE event SET reply = '{' WHERE session_id = :id AND op_id = '/undo'": "the reply to /undo cannot be repeated",
    "DELETE FROM message WHERE session_id = :id AND id = 1": "damaged",
    "UPDATE message SET content = '\"' WHERE session_id = :id AND id = 2": "damaged",
    "UPDATE message SET content = CAST(x'22ff22' AS TEXT) WHERE session_id = :id AND id = 2": "cannot be read",
    "UPDATE message SET depth = 7 WHERE session_id = :id AND id = 2": "message 2 is at depth 2, and says 7",
    "INSERT INTO message SELECT session_id, id + 90, parent, depth, role, content, extra, run_id, model, usage, cost,"
    " finish, created_at, reasoning, note, original FROM message WHERE session_id = :id AND id = 2": "its messages are",
    "UPDATE session SET title = 'Another' WHERE id = :id": "lists show it otherwise",
    "DELETE FROM session WHERE id = :id": "messages of a session that there is not",
    "INSERT INTO checkpoint (session_id, run_id, text) VALUES (:id, 'gone', 'half')": "replies to nothing",
    "INSERT INTO checkpoint (session_id, run_id, text) SELECT :id, run_id, '' FROM message"
    " WHERE session_id = :id AND run_id IS NOT NULL LIMIT 1": "has ended, and is kept as live",
    "INSERT INTO checkpoint (session_id, run_id, text) VALUES ('stray', 'gone', 'half')": "a live reply of a session",
    "DELETE FROM searched WHERE session_id = :id": "not in the index of the search",
    "UPDATE searched SET title = 'Another' WHERE session_id = :id": "another title in the index",
}


async def test_a_check_finds_each_damage_that_is_planted(tmp_path: Path) -> None:
    ids = await lived(tmp_path / "whole")
    for number, (damage, told) in enumerate(DAMAGES.items()):
        data = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", data)
        # A deleted session is looked at like any other.
        session_id = ids[number % len(ids)]
        with closing(sqlite3.connect(data / "backchat.db")) as db, db:
            assert db.execute(damage, {"id": session_id} if ":id" in damage else {}).rowcount > 0
        problems: list[str] = []
        check(data, problems.append)
        who = session_id if ":id" in damage else "stray"
        assert any(problem.startswith(f"session {who}: ") and told in problem for problem in problems), damage


async def test_a_check_tells_each_problem_in_a_line_and_counts_them(tmp_path: Path) -> None:
    ids = await lived(tmp_path)
    with closing(sqlite3.connect(tmp_path / "backchat.db")) as db, db:
        db.execute("UPDATE message SET depth = 7 WHERE id = 2")
    end = await run("check", "--data", tmp_path)
    *problems, counts = end.out.splitlines()
    assert (end.status, end.err) == (1, "")
    assert problems == [f"session {session_id}: message 2 is at depth 2, and says 7" for session_id in sorted(ids)]
    assert counts.startswith("4 problems in 4 sessions, ")


async def test_a_check_finds_pages_of_something_else(tmp_path: Path) -> None:
    await lived(tmp_path)
    with closing(sqlite3.connect(tmp_path / "backchat.db")) as db:
        pages = dict(db.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0"))
        (size,) = db.execute("PRAGMA page_size").fetchone()
    whole = (tmp_path / "backchat.db").read_bytes()
    for name in ("message", "event_op", "search_data"):
        start = (pages[name] - 1) * size
        (tmp_path / "backchat.db").write_bytes(whole[:start] + bytes([7]) * size + whole[start + size :])
        end = await run("check", "--data", tmp_path)
        assert end.status == 1
        assert "Traceback" not in end.err
        assert end.out.startswith("the database: "), end.out
    (tmp_path / "backchat.db").write_bytes(whole[: len(whole) // 2])
    end = await run("check", "--data", tmp_path)
    assert end.status == 1
    assert "Traceback" not in end.err


def test_the_current_version_is_neither_newer_nor_older(tmp_path: Path) -> None:
    sqlite.Database(tmp_path).close()
    sqlite.Database.reading(tmp_path).close()
