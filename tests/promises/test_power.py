"""The power goes, at any moment: what `Database.write` returned for is there, and nothing is half there (G1).

The store's own code writes to a disk that forgets what was not synced; what is left is opened by SQLite as usual. With
less than synchronous=FULL an acknowledged commit is lost, which shows that the disk forgets, and that it is looked for.
"""

import secrets
import shutil
import sqlite3
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Struct

from backchat.errors import BackchatError, NoSuchSession
from backchat.store import sqlite
from backchat.store.base import Checkpoint, Commit
from backchat.store.sqlite import Database
from backchat.transcript import Event
from tests.support.disk import Connection, Disk, Platter, Write
from tests.support.figures import Figure
from tests.support.histories import Action, History, lived
from tests.test_store import commits

SEEDS = 2
SESSIONS = 4
CUTS = 60
"""How many cuts of each life are tried."""
ACTIONS = {
    "submit": 5,
    "write": 5,
    "finish": 4,
    "undo": 2,
    "retry": 2,
    "redo": 1,
    "edit": 1,
    "title": 1,
    "stop": 1,
    "go": 1,
    "clear": 1,
}


WAL_HEADER = 32
"""How many bytes a WAL begins with ("WAL-mode File Format", section 1)."""


class Broken(Exception):
    """Something that a cut must not do."""


class Lost(Broken):
    """What was acknowledged is not there."""


class Told(Struct, frozen=True):
    """`write` has returned, after so many deeds of the disk: each session is at this revision."""

    deeds: int
    revisions: dict[str, int]


class Life(Struct, frozen=True):
    """What was written to a disk."""

    disk: Disk
    histories: dict[str, History]
    told: list[Told]


def drawn(random: Random) -> list[Action]:
    """What people and runs might do."""
    return [(name, _value(name, random)) for name in random.choices(list(ACTIONS), list(ACTIONS.values()), k=25)]


def _value(name: str, random: Random) -> Any:
    match name:
        case "submit" | "write":
            return "words " * random.choice((1, 1, 3, 40, 400))
        case "title":
            return f"title {random.random()}"
        case "undo":
            return random.randint(1, 2)
        case "retry":
            return True
        case "edit":
            return None, "otherwise"
        case "finish":
            return random.choice(("completed", "failed"))
        case _:
            return None


def life(data: Path, random: Random, synchronous: str, patch: pytest.MonkeyPatch) -> Life:
    """Several sessions, written in batches of any size."""
    disk = Disk()
    histories = {f"s{number}": lived(drawn(random), "first", "reply") for number in range(SESSIONS)}
    waiting = {session_id: deque(commits(history, session_id)) for session_id, history in histories.items()}
    told = [Told(0, {})]
    revisions: dict[str, int] = {}
    connect = SimpleNamespace(
        connect=lambda path, **_: Connection(disk, path.name, synchronous),
        Error=sqlite3.Error,
        SQLITE_BUSY=sqlite3.SQLITE_BUSY,
    )
    with patch.context() as patched:
        patched.setattr(sqlite, "sqlite3", connect)
        # So that there are checkpoints, too, and the WAL begins anew.
        patched.setattr(sqlite, "WAL_PAGES", 12)
        with Database(data) as database:
            database.begin_epoch()
            while any(waiting.values()):
                batch: list[Commit] = []
                for session_id in random.sample(sorted(waiting), random.randint(1, SESSIONS)):
                    few = min(random.randint(0, 3), len(waiting[session_id]))
                    batch += [waiting[session_id].popleft() for _ in range(few)]
                saved = [("s0", Checkpoint("run", "half a word" * random.randrange(500)))] * random.randrange(2)
                assert database.write(batch, saved) == [None] * len(batch)
                for commit in batch:
                    revisions[commit.session_id] = commit.events[-1].revision
                told.append(Told(len(disk.deeds), dict(revisions)))
                if random.random() < 0.1:
                    database.catch_up()
    return Life(disk, histories, told)


def check(data: Path, life: Life, at: int) -> None:
    """What a server finds that starts after a cut, which came when the disk had done so much. Raises Broken."""
    least = next(told for told in reversed(life.told) if told.deeds <= at).revisions
    try:
        with Database(data) as database:
            found: dict[str, list[Event]] = {}
            for session_id, history in life.histories.items():
                try:
                    loaded = database.load(session_id)
                except NoSuchSession:
                    found[session_id] = []
                    continue
                found[session_id] = [step.event for step in loaded.history]
                count = len(found[session_id])
                if found[session_id] != history.events[:count]:
                    raise Broken(f"{session_id} has another log")
                whole = [commit for commit in commits(history, session_id) if commit.events[-1].revision <= count]
                if sum(len(commit.added) for commit in whole) != len(loaded.tree.nodes) - 1:
                    raise Broken(f"{session_id} has messages of no event, or events without their messages")
            now = {session_id: len(events) for session_id, events in found.items() if events}
            if any(revision > now.get(session_id, 0) for session_id, revision in least.items()):
                raise Lost(f"{least} was acknowledged, and {now} is there")
            if now not in [told.revisions for told in life.told]:
                raise Broken(f"half a batch is there: {now}")
            # It goes on from there.
            session_id, history = next(iter(life.histories.items()))
            rest = [one for one in commits(history, session_id) if one.events[0].revision > now.get(session_id, 0)]
            if database.write(rest) != [None] * len(rest):
                raise Broken("nothing can be written any more")
            while database.behind:
                database.catch_up()
        with closing(sqlite3.connect(data / "backchat.db")) as db:
            if (problems := db.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
                raise Broken(f"SQLite finds {problems}")
            db.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    except (BackchatError, sqlite3.Error) as error:
        raise Broken(f"it cannot be used: {error}") from error


def tried(directory: Path, seed: int, synchronous: str, patch: pytest.MonkeyPatch) -> list[Broken]:
    """What was broken by any of a number of cuts in the same life."""
    random = Random(seed)
    lived = life(directory / "life", random, synchronous, patch)
    deeds = lived.disk.deeds
    # Else nothing is put to the test: the WAL goes into the database, and begins anew.
    assert sum(isinstance(deed, Write) and deed.offset == 0 and len(deed.data) == WAL_HEADER for deed in deeds) > 3
    platter = Platter()
    broken = []
    moments = deque(sorted(random.sample(range(len(deeds) + 1), CUTS)))
    for at in range(len(deeds) + 1):
        if moments and moments[0] == at:
            moments.popleft()
            data = directory / str(at)
            data.mkdir()
            for name, content in platter.cut(random).items():
                (data / name).write_bytes(content)
            try:
                check(data, lived, at)
            except Broken as error:
                error.add_note(f"the seed was {seed}, and the cut came after {at} deeds")
                broken.append(error)
        if at < len(deeds):
            platter.take(deeds[at])
    return broken


def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(
    tmp_path: Path, soak: float, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = time.monotonic() + soak
    seeds = deque(range(SEEDS))
    while seeds:
        seed = seeds.popleft()
        for error in tried(tmp_path / str(seed), seed, "FULL", monkeypatch):
            raise error
        shutil.rmtree(tmp_path / str(seed))
        figure("G1", "power cuts survived", CUTS)
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_with_less_than_full_synchronous_what_was_acknowledged_is_lost(
    tmp_path: Path, synchronous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tried(tmp_path, 0, synchronous, monkeypatch)
    assert any(isinstance(error, Lost) for error in broken)
    if synchronous == "NORMAL":
        # Lost, but not damaged.
        assert all(isinstance(error, Lost) for error in broken), broken
