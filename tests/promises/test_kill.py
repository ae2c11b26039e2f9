"""A server that is killed in the middle of everything, many times (G1, G6).

Real processes; each checker is itself checked with a bug that is planted in the server.
"""

import asyncio
import secrets
import sqlite3
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from msgspec import Struct

from backchat.store.sqlite import Database
from tests.promises.test_histories import transcript
from tests.support.checkers import (
    Answer,
    Asked,
    Broken,
    History,
    exactly_once,
    gapless,
    read_log,
    read_messages,
    real_time,
    replays,
    untorn,
)
from tests.support.client import PATIENCE, Json, client, eventually
from tests.support.crowd import Crowd, Server
from tests.support.figures import Figure
from tests.test_cli import Served, serving, unix

pytestmark = unix

SEEDS = 1
KILLS = 4
"""How often the server is killed while the crowds are at it."""
SESSIONS = 3
CLIENTS = 4
STEPS = 50

OFTEN = "from backchat import runs; runs.CHECKPOINT_SECONDS = 0.005"
"""So that what a run wrote is put down in the middle of everything else, too."""


class Survived(Struct, frozen=True):
    """What one session has been through."""

    crowd: Crowd
    histories: list[History]


async def killed(data: Path, seed: int, *, kills: int = KILLS, planted: str = OFTEN) -> list[Survived]:
    """Crowds in several sessions of a server that is killed and started anew."""
    random = Random(seed)
    crowds = [Crowd(data, f"{seed} {number}", clients=CLIENTS, steps=STEPS) for number in range(SESSIONS)]
    acting = asyncio.create_task(_all_act(crowds))
    try:
        for life in range(kills + 1):
            async with serving(data, "--echo-delay", "0.003", planted=planted) as served:
                for crowd in crowds:
                    crowd.open(served)
                if life == kills:
                    async with asyncio.timeout(3 * PATIENCE):
                        await acting
                        return [Survived(crowd, await crowd.end()) for crowd in crowds]
                much = SESSIONS * CLIENTS * STEPS * (life + random.random()) / (kills + 1)
                await eventually(lambda: acting.done() or sum(crowd.taken for crowd in crowds) >= much)  # noqa: B023
                await asyncio.sleep(random.uniform(0, 0.02))
                for crowd in crowds:
                    crowd.shut()
    finally:
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
    raise AssertionError("unreachable")


async def _all_act(crowds: list[Crowd]) -> None:
    await asyncio.gather(*(crowd.act() for crowd in crowds))


def check(data: Path, survived: Survived) -> None:
    """Raises Broken."""
    session_id, histories = survived.crowd.session_id, survived.histories
    log = read_log(data, session_id)
    exactly_once(histories, log)
    gapless(histories, log)
    real_time(histories)
    replays(histories, transcript(data, session_id))
    untorn(histories, read_messages(data, session_id))


async def repeated(server: Server, survived: Survived) -> list[Json]:
    """Sends all that was acknowledged once more; returns the results. Each must be the one that was given then."""
    results = []
    async with client(server.ws(survived.crowd.session_id)) as one:
        for history in survived.histories:
            for asked in history.asked:
                known = next((answer.result for answer in asked.answers if answer.acknowledges), None)
                if known is not None:
                    careful = {} if asked.if_revision is None else {"if_revision": asked.if_revision}
                    result = await one.submit(asked.text, op_id=asked.op_id, **careful)
                    assert result == {**known, "replayed": True}
                    results.append(result)
    return results


async def test_what_was_acknowledged_survives_kill_after_kill_and_no_reply_is_torn(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    seeds = deque(range(SEEDS))
    while seeds:
        seed = seeds.popleft()
        data = tmp_path / str(seed)
        try:
            every = await killed(data, seed)
            for survived in every:
                check(data, survived)
            async with serving(data) as served:
                results = [result for survived in every for result in await repeated(served, survived)]
            with Database(data) as database:
                for result in results:
                    if result.get("command") in ("branch", "new"):
                        assert database.load(result["data"]["session_id"]).history
        except Exception as error:
            error.add_note(f"the seed was {seed}")
            raise
        assert results, "nothing was put to the test"
        cut = [
            message
            for survived in every
            for message in read_messages(data, survived.crowd.session_id).values()
            if message.finish == "interrupted"
        ]
        figure("G1", "kills survived", KILLS)
        figure("G1", "acknowledged commands found again", len(results))
        figure("G6", "replies cut by a kill that are marked", len(cut))
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))


async def test_what_was_saved_of_a_reply_before_a_kill_is_there_as_interrupted(tmp_path: Path, figure: Figure) -> None:
    said = [" ".join(f"{name}{number}" for number in range(5000)) for name in "abc"]
    saved: dict[str, str] = {}
    async with serving(tmp_path, "--echo-delay", "0.002", planted=OFTEN) as served:
        sessions = [await begun(served, text) for text in said]
        await eventually(lambda: len(checkpoints(tmp_path)) == len(said))
    saved = checkpoints(tmp_path)
    async with serving(tmp_path) as served:
        for session_id, text in zip(sessions, said, strict=True):
            async with client(served.ws(session_id)) as one:
                await one.until(lambda: one.view.run is None and len(one.view.messages) == 2)
                question, reply = one.view.messages
                assert question["content"] == text
                assert (reply["content"], reply["finish"]) == (saved[session_id], "interrupted")
                assert text.startswith(reply["content"])
    assert checkpoints(tmp_path) == {}
    figure("G6", "replies cut by a kill that are marked", len(said))


async def begun(served: Served, text: str) -> str:
    """A session in which a reply to this is being written; nobody is attached."""
    async with client(served.ws()) as one:
        await one.submit(text)
        return one.session_id


def checkpoints(data: Path) -> dict[str, str]:
    """What is saved of the words of each live run, once it has any."""
    with closing(sqlite3.connect(data / "backchat.db")) as db:
        return dict(db.execute("SELECT session_id, text FROM checkpoint WHERE text != ''"))


# Planted bugs.

HASTY = """
import time
from backchat.store import threads, sqlite

commit, write = threads.ThreadedStore.commit, sqlite.Database.write

def hasty(self, one, done):
    done(None)
    commit(self, one, lambda error: None)

def slow(self, *arguments):
    time.sleep(0.02)
    return write(self, *arguments)

threads.ThreadedStore.commit, sqlite.Database.write = hasty, slow
"""
FORGETFUL = """
from backchat.store import sqlite

sqlite.Database._checkpoint = lambda self, session_id, one: None
"""
GLOSSING = f"""
{OFTEN}
from backchat import ops

finish = ops.finish
ops.finish = lambda view, reason, error=None: finish(view, reason.replace("interrupted", "completed"), error)
"""


async def found(data: Path, planted: str) -> None:
    """Raises Broken if one of a few kills brings a planted bug to light. One for each server: what such a bug leaves is
    nothing to go on from."""
    for seed in range(20):
        for survived in await killed(data / str(seed), seed, kills=1, planted=planted):
            check(data / str(seed), survived)


async def test_an_acknowledgement_before_the_commit_is_found(tmp_path: Path) -> None:
    history = History(name="one")
    async with serving(tmp_path, "--backend", "none", planted=HASTY) as served, client(served.ws()) as one:
        for number in range(10):
            asked = Asked(op_id=f"{number}", text=f"{number}", sent=number, times=1)
            asked.answers.append(Answer(number, await one.submit(asked.text, op_id=asked.op_id)))
            history.asked.append(asked)
        served.process.kill()
    with pytest.raises(Broken, match=r"was acknowledged with \d+, and is not in the log"):
        exactly_once([history], read_log(tmp_path, one.session_id))


async def test_a_reply_that_a_kill_takes_away_is_found(tmp_path: Path) -> None:
    with pytest.raises(Broken, match=r"was told a reply, .*, that is not there"):
        await found(tmp_path, FORGETFUL)


async def test_a_part_of_a_reply_that_passes_for_all_of_it_is_found(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="marked as completed"):
        await found(tmp_path, GLOSSING)
