"""A server that is told to end in the middle of everything, many times: it loses nothing that was acknowledged, and
ends or marks every reply (G8).

Real processes; each checker is itself checked with a bug that is planted in the server.
"""

import asyncio
import secrets
import signal
import sqlite3
import time
from collections import Counter, deque
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from random import Random

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from backchat.store.sqlite import Database
from tests.promises.test_histories import transcript
from tests.support.checkers import (
    Broken,
    History,
    drained,
    exactly_once,
    gapless,
    read_log,
    read_messages,
    real_time,
    replays,
    untorn,
)
from tests.support.client import Client, View, client, eventually
from tests.support.crowd import Crowd
from tests.support.figures import Figure
from tests.test_cli import Ended, Served, serving, unix

pytestmark = unix

SIGNALS = 4
"""How often a server is told to end before the crowds have done all that they do."""
SESSIONS = 3
CLIENTS = 4
STEPS = 32
SLOWLY = ("--echo-delay", "0.01", "--queue-messages", "3")

LASTING = """
import asyncio
from backchat.app import Backchat

drain = Backchat.drain

async def lasting(self):
    await drain(self)
    await asyncio.sleep(5)

Backchat.drain = lasting
"""
"""So that a second signal comes before the end."""


async def told_to_end(
    data: Path, seed: int, figure: Figure, *, planted: str = "", twice: bool = False
) -> list[tuple[Crowd, list[History]]]:
    """Crowds in several sessions of a server that gets a signal and is started anew, again and again. Raises Broken."""
    random = Random(seed)
    crowds = [Crowd(data, f"{seed} {number}", clients=CLIENTS, steps=STEPS) for number in range(SESSIONS)]
    acting = asyncio.create_task(_all_act(crowds))
    try:
        for life in range(SIGNALS):
            async with serving(data, *SLOWLY, planted=planted) as served:
                for crowd in crowds:
                    crowd.open(served)
                much = SESSIONS * CLIENTS * STEPS * (life + random.random()) / SIGNALS
                await eventually(lambda: acting.done() or sum(crowd.taken for crowd in crowds) >= much)  # noqa: B023
                await asyncio.sleep(random.uniform(0, 0.02))
                for crowd in crowds:
                    crowd.shut()
                before = sent_away(crowds)
                served.signal(signal.SIGTERM)
                if twice:
                    # Two signals of a kind at once are one.
                    while await listens(served):
                        pass
                    await asyncio.sleep(random.uniform(0, 0.05))
                    served.signal(signal.SIGTERM)
                else:
                    await refuses(served, crowds, before)
                end = await served.ended()
            await eventually(lambda: not any(one.attached for crowd in crowds for one in crowd.members))
            if twice:
                if (end.status, end.err) != (128 + signal.SIGTERM, ""):
                    raise Broken(f"after two signals the server ended with {end.status}: {end.err}")
            else:
                left(data, crowds, end, figure)
            figure("G8", "signals under load", 1 + twice)
        async with serving(data, *SLOWLY) as served:
            for crowd in crowds:
                crowd.open(served)
            await acting
            return [(crowd, await crowd.end()) for crowd in crowds]
    finally:
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)


async def _all_act(crowds: list[Crowd]) -> None:
    await asyncio.gather(*(crowd.act() for crowd in crowds))


def sent_away(crowds: list[Crowd]) -> int:
    """How many connections a server has closed because it ends."""
    return sum(visit.code == 1012 for crowd in crowds for one in crowd.members for visit in one.history.visits)


async def refuses(served: Served, crowds: list[Crowd], before: int) -> None:
    """Returns once the server has sent somebody away. Raises Broken if it still takes new connections then."""
    await eventually(lambda: served.process.returncode is not None or sent_away(crowds) > before)
    if await listens(served):
        raise Broken("the server took a new connection after it had begun to end")


async def listens(served: Served) -> bool:
    """Whether a server takes a new connection."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(served.page).port)
    except (ConnectionRefusedError, ConnectionResetError):
        # Reset: while it waited to be taken.
        return False
    writer.transport.abort()
    return True


def left(data: Path, crowds: list[Crowd], end: Ended, figure: Figure) -> None:
    """Checks what a server has left that was told to end. Raises Broken."""
    if (end.status, end.err) != (0, ""):
        raise Broken(f"the server ended with {end.status}: {end.err}")
    with closing(sqlite3.connect(data / "backchat.db")) as db:
        if found := db.execute("SELECT session_id, text FROM checkpoint").fetchall():
            raise Broken(f"replies that nobody has ended: {found}")
    for crowd in crowds:
        if not crowd.session_id:
            continue
        histories = [one.history for one in crowd.members]
        messages = read_messages(data, crowd.session_id)
        drained(histories, messages)
        figure("G8", "replies finished or marked", sum(one.run_id is not None for one in messages.values()))
        with Database(data) as database:
            state = database.load(crowd.session_id).history[-1].after
        for history in histories:
            view = View()
            for frame in [frame for visit in history.visits for frame in visit.frames]:
                view.apply(frame["method"], frame["params"])
            waiting = [one["id"] for one in view.session.get("queue", ())]
            if view.revision == state.revision and waiting != [one.id for one in state.queue]:
                raise Broken(f"{history.name} was told that {waiting} wait, and there wait {state.queue}")


def check(data: Path, session_id: str, histories: list[History]) -> None:
    """Raises Broken."""
    log = read_log(data, session_id)
    exactly_once(histories, log)
    gapless(histories, log)
    real_time(histories)
    replays(histories, transcript(data, session_id))
    untorn(histories, read_messages(data, session_id))


@pytest.mark.parametrize("twice", [False, True], ids=["one signal", "two signals"])
async def test_a_signal_loses_nothing_that_was_acknowledged_and_ends_or_marks_every_reply(
    tmp_path: Path, twice: bool, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    seeds = deque([0])
    while seeds:
        seed = seeds.popleft()
        data = tmp_path / str(seed)
        try:
            every = await told_to_end(data, seed, figure, planted=LASTING if twice else "", twice=twice)
            for crowd, histories in every:
                check(data, crowd.session_id, histories)
            async with serving(data) as served:
                for crowd, histories in every:
                    await repeated(served, crowd.session_id, histories)
        except Exception as error:
            error.add_note(f"the seed was {seed}")
            raise
        ends = Counter(visit.code for _, histories in every for one in histories for visit in one.visits)
        assert ends[1012] or twice, "nothing was put to the test"
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))


BUSY = """
import time
from backchat import server
from backchat.store.sqlite import Database

write = Database.write

def slow(self, *arguments):
    time.sleep(0.03)
    return write(self, *arguments)

Database.write = slow
server.GRACE_SECONDS = 2
"""


async def test_those_who_go_on_sending_do_not_keep_a_server_from_ending(tmp_path: Path) -> None:
    async def go_on(one: Client) -> None:
        with suppress(ConnectionClosed):
            while True:
                await one.send("submit", text="word " * 9)
                await asyncio.sleep(0.001)

    async with serving(tmp_path, "--queue-messages", "0", planted=BUSY) as served, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(served.ws())) for _ in range(5)]
        sending = [asyncio.create_task(go_on(one)) for one in clients]
        for one in clients:
            await one.until(lambda: one.view.run)  # noqa: B023
        served.signal(signal.SIGTERM)
        assert [await one.closed() for one in clients] == [1012] * 5
        await asyncio.gather(*sending)
        end = await served.ended()
        # It would say so had it given up.
        assert (end.status, end.err) == (0, "")
        assert not any(one.view.run for one in clients)


async def repeated(served: Served, session_id: str, histories: list[History]) -> None:
    """Sends all that was acknowledged once more: each must have the answer that it had then."""
    async with client(served.ws(session_id)) as one:
        for history in histories:
            for asked in history.asked:
                known = next((answer.result for answer in asked.answers if answer.acknowledges), None)
                if known is not None:
                    careful = {} if asked.if_revision is None else {"if_revision": asked.if_revision}
                    result = await one.submit(asked.text, op_id=asked.op_id, **careful)
                    assert result == {**known, "replayed": True}


# Planted bugs.

UNDRAINED = """
from backchat.app import Backchat

async def nothing(self):
    pass

Backchat.drain = nothing
"""
LATE = """
import uvicorn
from backchat.server import BackchatServer

# As uvicorn has it: the sockets are closed first, and the application is told last.
BackchatServer.shutdown = uvicorn.Server.shutdown
"""
OPEN = """
import asyncio
from backchat.server import BackchatServer
import uvicorn

async def shutdown(self, sockets=None):
    await self._drain()
    for connection in list(self.server_state.connections):
        connection.shutdown()
    await asyncio.sleep(1)
    await uvicorn.Server.shutdown(self, sockets)

BackchatServer.shutdown = shutdown
"""
UNTOLD = """
from backchat.sessions import Session

interrupt = Session.interrupt

async def silent(self):
    for subscriber in list(self._around.hub.subscribers(self.id)):
        self._around.hub.unsubscribe(self.id, subscriber)
    await interrupt(self)

Session.interrupt = silent
"""
SHORTENED = """
from backchat import ops

finish = ops.finish

def shortened(view, reason, error=None):
    import msgspec
    if reason == "interrupted" and view.run is not None:
        view = msgspec.structs.replace(view, run=msgspec.structs.replace(view.run, text=view.run.text[:1]))
    return finish(view, reason, error)

ops.finish = shortened
"""


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        pytest.param(UNDRAINED, r"what became of the reply|replies that nobody|of a reply, and", id="no drain"),
        pytest.param(LATE, r"what became of the reply", id="a drain after the sockets are closed"),
        pytest.param(OPEN, r"took a new connection", id="a door that stays open"),
        pytest.param(UNTOLD, r"what became of the reply", id="an end that nobody is told of"),
        pytest.param(SHORTENED, r"was told '.*' of a reply, and there is", id="words that are lost"),
    ],
)
async def test_a_server_that_ends_in_another_way_is_found(tmp_path: Path, planted: str, complaint: str) -> None:
    async def often() -> None:
        for seed in range(20):
            await told_to_end(tmp_path / str(seed), seed, lambda *_, **__: None, planted=planted)

    with pytest.raises(Broken, match=complaint):
        await often()
