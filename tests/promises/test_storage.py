"""A disk that is full, may not be written or fails: whoever is told so finds everything as it was (G1, G2).

What becomes of a database that is damaged is here, too; test_cli.py has those that cannot be used from the start.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random

import httpx
import pytest

from backchat import sessions
from backchat.errors import DataDirectoryError
from tests.promises.test_histories import transcript
from tests.support.checkers import Broken, History, exactly_once, gapless, read_log, real_time, replays
from tests.support.client import PATIENCE, Client, Json, Refused, client, eventually
from tests.support.crowd import Crowd
from tests.support.faults import Trouble
from tests.support.figures import Figure
from tests.support.server import Running, running
from tests.test_cli import Served, serving

SEEDS = 2
FEW = 6
LONG = " ".join("w" * 3000 for _ in range(3))
"""More than fits into what is left of a page."""
KINDS = ("full", "read-only", "failing")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_stored_is_refused_and_every_client_starts_over_from_the_truth(
    server: Running, kind: str
) -> None:
    trouble = Trouble(server)
    async with (
        client(server.ws()) as one,
        client(server.ws(one.session_id)) as two,
        client(server.ws()) as elsewhere,
    ):
        await one.say("hello")
        await elsewhere.say("hello")
        facts = one.view.facts()
        trouble.kind = kind
        # The first in line takes with it what was decided on top of it.
        requests = [
            await one.send("submit", text=LONG, op_id="a"),
            await one.send("submit", text="/undo", op_id="b"),
            await one.send("submit", text="/status"),
        ]
        for request in requests:
            with pytest.raises(Refused) as caught:
                await one.reply(request)
            assert caught.value.code == "storage_failed"
        for each in (one, two):
            await each.again(2)
            assert each.named("attached")[1]["reset"] is True
            assert each.view.facts() == facts
        # Reading goes on, here and elsewhere.
        for each in (one, two, elsewhere):
            assert (await each.submit("/status"))["data"]["message_count"] == 2
        with pytest.raises(Refused) as caught:
            await elsewhere.submit(LONG)
        assert caught.value.code == "storage_failed"

        trouble.kind = None
        first = await one.submit(LONG, op_id="a")
        assert "replayed" not in first
        assert await two.submit(LONG, op_id="a") == {**first, "replayed": True}
        await one.ended(first["run_id"])
        await two.ended(first["run_id"])
        assert (await one.submit("/undo", op_id="b"))["data"]["removed_count"] == 2
        await two.at(one.view.revision)
        assert one.view.messages == two.view.messages == facts["messages"]
        assert (await elsewhere.say("still here?"))["message_id"] == 3
        log = read_log(server.settings.data, one.session_id)
    assert [entry.revision for entry in log] == list(range(1, len(log) + 1))
    assert [entry.op_id for entry in log if entry.op_id] == ["a", "b"]
    is_sound(server.settings.data)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_whose_end_cannot_be_stored_is_kept_as_interrupted_once_there_is_room(
    tmp_path: Path, kind: str
) -> None:
    async with running(tmp_path, echo_delay=0.05) as server:
        trouble = Trouble(server)
        async with client(server.ws()) as one:
            session_id = one.session_id
            await one.submit(LONG)
            trouble.kind = kind
            # Neither its end nor, after a reload, what there is of it can be stored.
            assert await one.closed() == 1011
        trouble.kind = None
        async with client(server.ws(session_id)) as one:
            await one.until(lambda: len(one.view.messages) == 2 and one.view.run is None)
            question, reply = one.view.messages
            assert reply["finish"] == "interrupted"
            assert question["content"].startswith(reply["content"])
            await one.say("still here?")
    is_sound(tmp_path)


async def test_a_session_that_cannot_be_made_is_refused_and_the_next_is_not(server: Running) -> None:
    trouble = Trouble(server)
    trouble.kind = "read-only"
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        refused = await http.post("/api/sessions", json={"title": "no room"})
        assert (refused.status_code, refused.json()["error"]["data"]["code"]) == (503, "storage_failed")
        assert (await http.get("/api/sessions")).json()["sessions"] == []
        trouble.kind = None
        assert (await http.post("/api/sessions", json={"title": "room"})).status_code == 201
        assert [one["title"] for one in (await http.get("/api/sessions")).json()["sessions"]] == ["room"]
    await eventually(lambda: all(one.usable for one in server.backchat.sessions._live.values()))


def is_sound(data: Path) -> None:
    """Fails where SQLite finds something wrong with a database."""
    with closing(sqlite3.connect(data / "backchat.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.execute("INSERT INTO search (search) VALUES ('integrity-check')")


# Now and then, under load.


async def troubled(data: Path, seed: int) -> tuple[Crowd, list[History], int]:
    """A crowd on a server whose disk fails now and then, and how often something failed for it."""
    random = Random(seed)
    crowd = Crowd(data, seed, clients=8, steps=40)
    async with asyncio.timeout(3 * PATIENCE), running(data, echo_delay=0.001, queue_messages=3) as server:
        trouble = Trouble(server)
        crowd.open(server)
        acting = asyncio.create_task(crowd.act())
        while not acting.done():
            trouble.kind = None
            await asyncio.wait([acting], timeout=random.uniform(0, 0.03))
            trouble.kind = random.choice(Trouble.KINDS)
            await asyncio.wait([acting], timeout=random.uniform(0, 0.03))
        trouble.kind = None
        await acting
        return crowd, await crowd.end(), trouble.struck


def check(crowd: Crowd, histories: list[History]) -> None:
    """Raises Broken."""
    log = read_log(crowd.data, crowd.session_id)
    exactly_once(histories, log)
    gapless(histories, log)
    real_time(histories)
    replays(histories, transcript(crowd.data, crowd.session_id))


async def test_a_disk_that_fails_now_and_then_costs_nobody_anything_that_was_acknowledged(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    seeds = deque(range(SEEDS))
    while seeds:
        seed = seeds.popleft()
        try:
            crowd, histories, struck = await troubled(tmp_path / str(seed), seed)
            check(crowd, histories)
            is_sound(crowd.data)
        except Exception as error:
            error.add_note(f"the seed was {seed}")
            raise
        assert struck
        figure("G1", "failed writes survived", struck)
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))


async def test_a_commit_that_happened_and_is_called_undone_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_is_in", lambda pending, history: False)
    broken = [await _broken(tmp_path / str(seed), seed) for seed in range(2)]
    assert any("was refused, and is in the log" in one for one in broken)


async def _broken(data: Path, seed: int) -> str:
    crowd, histories, _ = await troubled(data, seed)
    try:
        check(crowd, histories)
    except Broken as error:
        return str(error)
    return ""


# A limit that the system sets.


@pytest.mark.skipif(sys.platform != "linux", reason="where another process can be given limits")
async def test_a_write_that_the_system_cuts_off_is_refused_and_a_kill_right_then_harms_nothing(tmp_path: Path) -> None:
    import resource

    acknowledged: dict[str, Json] = {}

    async def fill(one: Client) -> str:
        """Sends messages until one is refused; returns its op_id."""
        for number in count(len(acknowledged)):
            try:
                acknowledged[f"o{number}"] = await one.submit(f"o{number} {LONG}", op_id=f"o{number}")
            except Refused as error:
                if error.code != "storage_failed":
                    raise
                return f"o{number}"
        raise AssertionError("unreachable")

    def limit(served: Served, more: int | None) -> None:
        """From now on the WAL can grow by so many bytes, which end in the middle of a page; None: by any number."""
        size = (tmp_path / "backchat.db-wal").stat().st_size
        soft = resource.RLIM_INFINITY if more is None else size + more
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    async with serving(tmp_path, "--backend", "none") as served, client(served.ws()) as one:
        session_id = one.session_id
        await one.submit("hello")
        for times in (2, 3):
            limit(served, 50_000)
            refused = await fill(one)
            await one.again(times)
            assert len(one.view.messages) == 1 + len(acknowledged)
            assert (await one.submit("/status"))["data"]["message_count"] == 1 + len(acknowledged)
            limit(served, None)
            acknowledged[refused] = await one.submit(f"{refused} {LONG}", op_id=refused)
        limit(served, 10_000)
        await fill(one)
        # And killed.
    async with serving(tmp_path, "--backend", "none") as served, client(served.ws(session_id)) as one:
        for op_id, result in acknowledged.items():
            assert await one.submit(f"{op_id} {LONG}", op_id=op_id) == {**result, "replayed": True}
        assert len(one.view.messages) == 1 + len(acknowledged)
    is_sound(tmp_path)


# Damaged databases.


PAGE = 4096
WORDS = " ".join(f"word{number}" for number in range(400))


async def filled(data: Path) -> dict[str, Json]:
    """A database with a few sessions, at rest: their views."""
    facts = {}
    async with running(data, backend="none") as server:
        for _ in range(4):
            async with client(server.ws()) as one:
                for number in range(8):
                    await one.submit(f"{number} {WORDS}")
                facts[one.session_id] = one.view.facts()
    assert not (data / "backchat.db-wal").exists()
    return facts


Damage = Callable[[Path, Random], object]


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _page(path: Path, random: Random) -> None:
    pages = path.stat().st_size // PAGE
    for _ in range(random.choice((1, 1, 3, 20))):
        _overwrite(path, random.randrange(1, pages) * PAGE, random.choice((random.randbytes(PAGE), bytes(PAGE))))


def _bytes(path: Path, random: Random) -> None:
    for _ in range(random.choice((1, 10, 100))):
        _overwrite(path, random.randrange(100, path.stat().st_size), random.randbytes(random.choice((1, 8))))


def _cut(path: Path, random: Random) -> None:
    os.truncate(path, random.randrange(1, path.stat().st_size))


def _wal(path: Path, random: Random) -> None:
    path.with_name("backchat.db-wal").write_bytes(random.randbytes(random.choice((1, 32, 5000, 50_000))))


DAMAGES: dict[str, Damage] = {
    "another header": lambda path, random: _overwrite(path, 0, random.randbytes(100)),
    "another page size": lambda path, random: _overwrite(path, 16, random.randbytes(2)),
    "pages of something else": _page,
    "bytes of something else": _bytes,
    "cut off": _cut,
    "a WAL of something else": _wal,
}


@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_damaged_database_is_refused_or_some_of_its_sessions_are_and_nothing_falls_over(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    facts = await filled(tmp_path / "whole")
    seeds = deque(range(FEW))
    while seeds:
        seed = seeds.popleft()
        data = tmp_path / str(seed)
        shutil.copytree(tmp_path / "whole", data)
        DAMAGES[kind](data / "backchat.db", Random(f"{kind} {seed}"))
        try:
            read = await survives(data, facts)
            if kind == "a WAL of something else":
                assert read == facts.keys()
            assert not [record for record in caplog.records if record.exc_info], caplog.text
        except BaseException as error:
            error.add_note(f"the seed was {seed}")
            raise
        shutil.rmtree(data)
        figure("G1", "damaged databases met", 1)
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))


async def survives(data: Path, facts: dict[str, Json]) -> set[str]:
    """Starts a server on a damaged database; returns the sessions that can be read as they were."""
    before = (data / "backchat.db").read_bytes()
    try:
        async with running(data, backend="none") as server:
            return await _readable(server, facts)
    except DataDirectoryError:
        assert (data / "backchat.db").read_bytes() == before
        return set()


async def _readable(server: Running, facts: dict[str, Json]) -> set[str]:
    readable = set()
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        for path in (
            "/api/sessions",
            "/api/sessions?q=word1",
            *(f"/api/sessions/{session_id}" for session_id in facts),
        ):
            answer = await http.get(path)
            assert answer.status_code in (200, 404, 500, 503)
            if answer.status_code != 200:
                code = answer.json()["error"]["data"]["code"]
                assert code in ("storage_failed", "session_unreadable", "no_such_session")
    for session_id, known in facts.items():
        with contextlib.suppress(ConnectionError, Refused):
            async with client(server.ws(session_id)) as one:
                if one.view.facts() == known:
                    readable.add(session_id)
                await one.submit("still here?")
    with contextlib.suppress(ConnectionError, Refused):
        async with client(server.ws()) as new:
            await new.submit("and a new one?")
    return readable
