"""A network that cuts connections at the worst moments, and delivers late what was sent over them: nothing is lost,
nothing happens twice, and whoever comes back misses nothing (G2 to G4).

Each checker is itself checked: with a bug planted in the server it fails.
"""

import asyncio
import itertools
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from backchat.frames import SubmitParams, Who
from backchat.hub.local import LocalHub, Subscriber
from backchat.sessions import Answer, Session
from backchat.store import sqlite
from backchat.store.base import Checkpoint, Commit, KnownOp
from backchat.store.sqlite import Database
from tests.promises.test_histories import of_note, transcript
from tests.support.checkers import Broken, exactly_once, gapless, read_log, real_time, replays
from tests.support.client import Json, client, eventually
from tests.support.crowd import Crowd
from tests.support.faults import Gate
from tests.support.figures import Figure
from tests.support.proxy import CUT_IN_MID_REQUEST, DOWN, UP, Fault, Kind, Network
from tests.support.server import Running, running

SEEDS = 2
FOR_EVER = 3600.0
"""For as long as the network is not told to settle."""


@asynccontextmanager
async def network_to(server: Running) -> AsyncIterator[Network]:
    """A network that has only the faults that are planned."""
    async with Network(lambda: server.port) as network:
        yield network


async def cut(network: Network, session_id: str, fault: Fault, **params: Any) -> None:
    """Sends a request over a connection of its own, which is cut."""
    network.planned.append(fault)
    struck = network.struck.total()
    async with client(network.ws(session_id)) as one:
        await one.send("submit", **params)
        await eventually(lambda: network.struck.total() > struck)
        await one.closed()


async def gone(server: Running, session_id: str, but: int) -> None:
    """Returns once the server has heard everything that the connections said which are cut. `but` are not."""
    await eventually(lambda: len(server.backchat._hub.subscribers(session_id)) <= but)


def first_of(results: Sequence[Json]) -> Json:
    """What several answers to the same request all say."""
    bare = [{key: value for key, value in result.items() if key != "replayed"} for result in results]
    assert all(one == bare[0] for one in bare), results
    return bare[0]


@pytest.mark.parametrize("params", [{"text": "and this"}, {"text": "/undo"}, {"text": "/retry"}], ids=str)
@pytest.mark.parametrize("kind", sorted(CUT_IN_MID_REQUEST))
async def test_a_request_whose_connection_is_cut_anywhere_is_applied_once_however_it_is_repeated(
    tmp_path: Path, kind: Kind, params: Json, figure: Figure
) -> None:
    async with running(tmp_path) as server, network_to(server) as network, client(server.ws()) as watching:
        await watching.say("before")
        session_id = watching.session_id
        await cut(network, session_id, Fault(kind, 0, FOR_EVER), op_id="a", **params)
        async with AsyncExitStack() as stack:
            three = [await stack.enter_async_context(client(server.ws(session_id))) for _ in range(3)]
            results = await asyncio.gather(*(one.request("submit", op_id="a", **params) for one in three))
            # What the old connection had on the way comes now, after those that were sent after it.
            await network.settle()
            await gone(server, session_id, 4)
            results.append(await three[0].request("submit", op_id="a", **params))
            first = first_of(results)
            assert results[-1]["replayed"] is True
            await watching.until(lambda: watching.view.run is None and watching.view.revision >= first["revision"])
            await three[0].until(lambda: three[0].view.facts() == watching.view.facts())
        assert [entry.revision for entry in read_log(tmp_path, session_id) if entry.op_id == "a"] == [first["revision"]]
        assert network.struck == {kind: 1}
        figure("G2", "connections cut in mid-request", 1)
        figure("G2", "requests repeated", 4)


@pytest.mark.parametrize("kind", ["sent, before the answer", "sent late"])
async def test_a_request_is_applied_once_whose_connection_is_cut_and_that_is_repeated_while_its_commit_is_on_its_way(
    tmp_path: Path, kind: Kind, figure: Figure
) -> None:
    async with running(tmp_path) as server, network_to(server) as network, client(server.ws()) as watching:
        await watching.say("before")
        session_id = watching.session_id
        gate = Gate(server)
        await cut(network, session_id, Fault(kind, 0, FOR_EVER), op_id="a", text="/undo")
        if kind != "sent late":
            await gate.reached()
        async with AsyncExitStack() as stack:
            three = [await stack.enter_async_context(client(server.ws(session_id))) for _ in range(3)]
            numbers = [await one.send("submit", op_id="a", text="/undo") for one in three]
            await gate.reached()
            await network.settle()
            await gone(server, session_id, 4)
            gate.open.set()
            results = [await one.reply(number) for one, number in zip(three, numbers, strict=True)]
        assert sum("replayed" in result for result in results) == (2 if kind == "sent late" else 3)
        first = first_of(results)
        assert [entry.revision for entry in read_log(tmp_path, session_id) if entry.op_id == "a"] == [first["revision"]]
        figure("G2", "connections cut in mid-request", 1)
        figure("G2", "requests repeated", 3)


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
async def test_what_old_connections_had_on_the_way_changes_nothing_once_it_was_sent_again_in_another_order(
    tmp_path: Path, order: Sequence[str], figure: Figure
) -> None:
    """Three connections at once, each lost with a request on the way; then the same over one, in any order."""
    lines = {"a": "first", "b": "/undo", "c": "/title third"}
    async with running(tmp_path, backend="none") as server, network_to(server) as network:
        async with client(server.ws()) as one:
            await one.say("before")
            session_id = one.session_id
            for op_id, line in lines.items():
                await cut(network, session_id, Fault("sent late", 0, FOR_EVER), op_id=op_id, text=line)
            results = {op_id: await one.submit(lines[op_id], op_id=op_id) for op_id in order}
            facts = one.view.facts()
            await network.settle()
            await gone(server, session_id, 1)
            for op_id, line in lines.items():
                assert await one.submit(line, op_id=op_id) == {**results[op_id], "replayed": True}
            assert one.view.facts() == facts
        assert [entry.op_id for entry in read_log(tmp_path, session_id)[2:]] == list(order)
        figure("G2", "connections cut in mid-request", 3)
        figure("G2", "requests repeated", 6)


@pytest.mark.parametrize("replies", [1, 3])
async def test_a_client_that_is_cut_in_the_middle_of_what_it_is_told_is_told_the_rest_when_it_is_back(
    tmp_path: Path, replies: int, figure: Figure
) -> None:
    async with running(tmp_path) as server, network_to(server) as network, client(server.ws()) as other:
        session_id = other.session_id
        network.planned.append(Fault("answered, and half of it arrives", replies - 1))
        async with client(network.ws(session_id)) as one:
            for number in range(replies - 1):
                await one.submit(f"message {number}")
            await one.send("submit", text="the last")
            await one.closed()
        for _ in range(2):
            await other.say("meanwhile")
        await other.until(lambda: other.view.run is None and not other.view.session["queue"])
        seen = one.view.revision
        async with client(server.ws(session_id, f"after={seen}&log={one.view.log}"), one.view) as again:
            assert "events" in again.attached
            await again.until(lambda: again.view.facts() == other.view.facts())
        figure("G4", "connections resumed", 1)


async def test_a_crowd_on_a_network_that_cuts_holds_and_reorders_sees_one_history_in_which_everything_happened_once(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    seeds = deque(range(SEEDS))
    struck: Counter[Kind] = Counter()
    while seeds:
        seed = seeds.popleft()
        crowd = Crowd(tmp_path / str(seed), seed, faults=True)
        assert crowd.network is not None
        try:
            histories = await crowd.live(restart=True)
            log = read_log(crowd.data, crowd.session_id)
            gapless(histories, log)
            real_time(histories)
            exactly_once(histories, log)
            replays(histories, transcript(crowd.data, crowd.session_id))
        except Exception as error:
            error.add_note(f"the seed was {seed}")
            raise
        struck += crowd.network.struck
        cuts = sum(number for kind, number in crowd.network.struck.items() if kind in CUT_IN_MID_REQUEST)
        figure("G2", "connections cut in mid-request", cuts)
        figure("G2", "requests repeated", sum(asked.times - 1 for history in histories for asked in history.asked))
        figure("G3", "histories checked", len(histories))
        figure("G4", "connections resumed", Counter(of_note(histories))["resumed"])
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))
    # Else nothing was put to the test.
    assert struck.keys() == {*UP, *DOWN}


# Planted bugs.


async def found(data: Path, match: str, *, restart: bool = False) -> None:
    """Asserts that a crowd on such a network comes upon what is planted, and that a checker says this."""
    for seed in range(5):
        crowd = Crowd(data / str(seed), seed, clients=8, faults=True)
        histories = await crowd.live(restart=restart)
        log = read_log(crowd.data, crowd.session_id)
        try:
            gapless(histories, log)
            exactly_once(histories, log)
        except Broken as broken:
            with pytest.raises(Broken, match=match):
                raise broken
            return
    raise AssertionError("the bug was not found")


async def test_a_record_that_is_written_in_another_transaction_than_its_events_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Database.write
    late: list[Commit] = []

    def apart(
        self: Database, commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]] = ()
    ) -> list[Exception | None]:
        done = write(self, commits, checkpoints)
        late.extend(one for one in commits if one.record is not None)
        for number, one in enumerate(reversed(late)):
            assert one.record is not None
            record = (one.record.body_hash, one.record.reply.decode()) if number > 8 else (None, None)
            self._db.execute(
                "UPDATE event SET body_hash = ?, reply = ? WHERE session_id = ? AND revision = ?",
                (*record, one.session_id, one.events[-1].revision),
            )
        del late[:-9]
        return done

    monkeypatch.setattr(Database, "write", apart)
    # SQLite would not have it: the index is the second line of defence.
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "DROP INDEX event_op"))
    await found(tmp_path, r"is in the log \d+ times", restart=True)


async def test_a_repetition_that_is_decided_anew_while_the_first_is_on_its_way_from_a_lost_connection_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, submit, submit_now, write = Session._known, Session.submit, Session.submit_now, Database.write
    asking: ContextVar[str] = ContextVar("asking")

    async def asked(self: Session, params: SubmitParams, who: Who, answer: Answer) -> None:
        asking.set(who.connection)
        await submit(self, params, who, answer)

    def asked_now(self: Session, params: SubmitParams, who: Who, answer: Answer) -> bool:
        asking.set(who.connection)
        return submit_now(self, params, who, answer)

    def forgetful(self: Session, op_id: str) -> KnownOp | None:
        for pending in self._pending:
            if pending.op_id == op_id and pending.steps[-1].event.cause.connection != asking.get():
                return None
        return known(self, op_id)

    def slow(self: Database, *args: Any) -> list[Exception | None]:
        time.sleep(0.02)
        return write(self, *args)

    monkeypatch.setattr(Session, "submit", asked)
    monkeypatch.setattr(Session, "submit_now", asked_now)
    monkeypatch.setattr(Session, "_known", forgetful)
    monkeypatch.setattr(Database, "write", slow)
    # SQLite would not have it: the index is the second line of defence.
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "DROP INDEX event_op"))
    await found(tmp_path, r"is in the log \d+ times|was acknowledged in different ways")


async def test_a_server_that_takes_for_read_whatever_it_has_written_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach, unsubscribe = Session.attach, LocalHub.unsubscribe
    written: dict[str, int] = {}
    sessions: list[Session] = []

    async def believing(self: Session, who: Who, subscriber: Subscriber, after: int | None, log: str | None) -> None:
        sessions.append(self)
        await attach(self, who, subscriber, after and max(after, written.get(who.name, 0)), log)

    def noting(self: LocalHub, session_id: str, connection: str) -> None:
        for who, _ in self.attached(session_id):
            if who.connection == connection:
                written[who.name] = sessions[-1]._published.revision
        unsubscribe(self, session_id, connection)

    monkeypatch.setattr(Session, "attach", believing)
    monkeypatch.setattr(LocalHub, "unsubscribe", noting)
    await found(tmp_path, r"was told \d+ (after|as the last)|was told everything up to")
