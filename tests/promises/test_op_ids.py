"""Exactly once: what an op_id promises, for how long, and what is left of it after that."""

import asyncio
import itertools
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backchat.errors import StorageFailed
from backchat.store import sqlite
from backchat.store.base import Commit, OpRecord
from backchat.store.sqlite import MIGRATIONS, Database
from backchat.store.threads import ThreadedStore
from tests.support.client import Client, Json, Refused, client, eventually
from tests.support.histories import lived
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.test_store import commit, commits

HOUR = 3600.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def records(data: Path) -> list[tuple[str, str | None, bool, bool]]:
    """All events of a database that have an op_id, in order: it, the command, whether the record is whole, whether
    nothing is left of it."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        return db.execute(
            "SELECT op_id, command, body_hash IS NOT NULL AND reply IS NOT NULL, body_hash IS NULL AND reply IS NULL"
            " FROM event WHERE op_id IS NOT NULL ORDER BY session_id, revision"
        ).fetchall()
    finally:
        db.close()


# Once.

CONTENT = [{"type": "text", "text": "as parts"}]


@pytest.mark.parametrize(
    "params",
    [{"text": "a message"}, {"content": CONTENT}, {"text": "/undo"}, {"text": "/retry"}, {"text": "/title other"},
     {"text": "/new there"}, {"text": "/clear"}],
    ids=str,
)  # fmt: skip
async def test_a_request_is_applied_once_whether_it_is_repeated_at_once_later_or_after_a_restart(
    tmp_path: Path, params: Json
) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await one.say("before")
        numbers = [await one.send("submit", op_id="a", **params) for _ in range(3)]
        first, *again = [await one.reply(number) for number in numbers]
        assert again == [{**first, "replayed": True}] * 2
        await one.until(lambda: one.view.run is None)
        assert await one.request("submit", op_id="a", **params) == {**first, "replayed": True}
        session_id, facts = one.session_id, one.view.facts()
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert await one.request("submit", op_id="a", **params) == {**first, "replayed": True}
        assert one.view.messages == facts["messages"]
        assert one.view.revision == facts["revision"]
    assert [op_id for op_id, *_ in records(tmp_path)] == ["a"]


async def test_a_message_that_is_repeated_while_its_reply_is_written_is_there_once(server: Running) -> None:
    replies = Scripted(server)
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        first = await one.submit("hello", op_id="a")
        replies.say("half")
        await two.until(lambda: two.view.run and two.view.run["text"] == "half")
        assert await two.submit("hello", op_id="a") == {**first, "replayed": True}
        waiting = await one.submit("and this", op_id="b")
        assert await two.submit("and this", op_id="b") == {**waiting, "replayed": True}
        assert len(two.view.session["queue"]) == 1
        replies.end()
        replies.end()
        await one.until(lambda: len(one.view.messages) == 4)
        # Sent by now, and still known by what it was asked with.
        assert await two.submit("and this", op_id="b") == {**waiting, "replayed": True}
        assert len(replies.prompts) == 2


async def test_an_op_id_with_another_text_is_refused_while_the_first_is_on_its_way(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("before")
        numbers = [await one.send("submit", text=text, op_id="a") for text in ("/undo", "/clear", "/undo")]
        first = await one.reply(numbers[0])
        with pytest.raises(Refused) as caught:
            await one.reply(numbers[1])
        assert caught.value.code == "op_id_reused"
        assert await one.reply(numbers[2]) == {**first, "replayed": True}


async def test_an_op_id_is_of_one_session(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws()) as other:
        for each in (one, other):
            assert "replayed" not in await each.say("the same", op_id="a")


async def test_a_read_is_answered_anew_under_the_same_op_id(server: Running) -> None:
    async with client(server.ws()) as one:
        counts = []
        for text in ("first", "second"):
            await one.say(text)
            counts.append((await one.submit("/status", op_id="a"))["data"]["message_count"])
        assert counts == [2, 4]


def test_an_event_without_its_record_or_a_record_without_its_event_is_never_stored(tmp_path: Path) -> None:
    history = lived([("submit", "x"), ("stop", None)])
    with Database(tmp_path) as database:
        database.write(commits(history)[:1])
        one = commit(*history.outcomes[1], op_id="a")
        # The events of an outcome are many rows, and the record is on the last: make that one fail.
        two = Commit(
            session_id="s",
            events=(*one.events, *(event for _, events in history.outcomes[2:] for event in events)),
            added=one.added,
            record=one.record,
        )
        with sqlite3.connect(tmp_path / "backchat.db") as db:
            db.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON event WHEN NEW.op_id IS NOT NULL"
                " BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        db.close()
        assert isinstance(database.write([two])[0], sqlite3.IntegrityError)
        assert len(database.load("s").history) == 1
        assert database.load("s").ops == {}


# For how long.


async def seeded(one: Client) -> Json:
    """Says something, and takes it back under op_id a."""
    await one.say("something")
    return await one.submit("/undo", op_id="a")


@pytest.mark.parametrize("restarted", [False, True], ids=["in memory", "after a restart"])
async def test_a_request_is_known_until_it_is_as_old_as_the_setting_says(tmp_path: Path, restarted: bool) -> None:
    clock = Clock()

    async def undo(server: Running, op_id: str) -> Any:
        async with client(server.ws(session_id)) as one:
            try:
                return (await one.submit("/undo", op_id=op_id)).get("replayed", False)
            except Refused as refused:
                return refused.code

    async with running(tmp_path, clock=clock, op_id_hours=2.0) as server:
        async with client(server.ws()) as one:
            await seeded(one)
            session_id = one.session_id
        clock.now += 2 * HOUR - 1
        if not restarted:
            assert await undo(server, "a") is True
            clock.now += 1
            assert await undo(server, "a") == "nothing_to_undo", "it was decided again"
    if restarted:
        async with running(tmp_path, clock=clock, op_id_hours=2.0) as server:
            assert await undo(server, "a") is True
        clock.now += 1
        async with running(tmp_path, clock=clock, op_id_hours=2.0) as server:
            assert await undo(server, "a") == "nothing_to_undo"


@pytest.mark.parametrize("pruned", [False, True], ids=["before it is pruned", "after it is pruned"])
@pytest.mark.parametrize("restarted", [False, True], ids=["in memory", "after a restart"])
async def test_an_op_id_that_was_forgotten_is_that_of_a_new_request(
    tmp_path: Path, pruned: bool, restarted: bool
) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as server, client(server.ws()) as one:
        await seeded(one)
        await one.say("something else")
        session_id = one.session_id
        clock.now += 169 * HOUR
        if pruned:
            await server.backchat.sessions.forget_ops()
        if not restarted:
            await again(one)
    if restarted:
        async with running(tmp_path, clock=clock) as server:
            if not pruned:
                # As if the server had not come to it yet.
                revive(tmp_path)
            async with client(server.ws(session_id)) as one:
                await again(one)
    # Of both the log tells what they were asked with; only the younger one has a record.
    assert [(op_id, command) for op_id, command, *_ in records(tmp_path)] == [("a", "undo"), ("a", "title")]
    assert [whole for *_, whole, _ in records(tmp_path)] == [0, 1]
    async with running(tmp_path, clock=clock) as server, client(server.ws(session_id)) as one:
        assert (await one.submit("/title b", op_id="a"))["replayed"] is True


def revive(data: Path) -> None:
    """Puts a record back that has been pruned."""
    db = sqlite3.connect(data / "backchat.db")
    db.execute("UPDATE event SET body_hash = x'00', reply = '{}' WHERE op_id IS NOT NULL")
    db.commit()
    db.close()


async def again(one: Client) -> None:
    """Uses op_id a for something else, twice."""
    first = await one.submit("/title b", op_id="a")
    assert "replayed" not in first
    assert await one.submit("/title b", op_id="a") == {**first, "replayed": True}


async def test_what_an_event_was_asked_with_is_told_after_its_record_is_gone(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as server, client(server.ws()) as one:
        await seeded(one)
        (told,) = [splice["cause"] for splice in one.named("transcript.spliced") if splice["cause"]["op_id"]]
        session_id, log = one.session_id, one.view.log
        clock.now += 169 * HOUR
        await server.backchat.sessions.forget_ops()
    assert records(tmp_path) == [("a", "undo", 0, 1)]
    async with running(tmp_path, clock=clock) as server, client(server.ws(session_id, f"after=1&log={log}")) as back:
        causes = [event["params"]["cause"] for event in back.attached["events"]]
        assert told in causes


async def test_a_session_that_stays_in_memory_holds_only_what_is_young(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock, backend="none", op_id_hours=1.0) as server, client(server.ws()) as one:
        session = server.backchat.sessions._live[one.session_id]
        for number in range(50):
            await one.submit(f"/title {number}", op_id=str(number))
            clock.now += 0.1 * HOUR
            # Those of the last hour, and the one of this moment.
            assert len(session._ops) <= 10
        assert list(session._ops) == [str(number) for number in range(40, 50)]


async def test_a_clock_that_is_set_back_costs_nothing_but_time(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock, backend="none") as server, client(server.ws()) as one:
        session = server.backchat.sessions._live[one.session_id]
        clock.now += 1000 * HOUR
        await one.submit("/title early", op_id="early")
        clock.now -= 900 * HOUR
        await one.submit("/title late", op_id="late")
        for op_id in ("early", "late"):
            assert (await one.submit(f"/title {op_id}", op_id=op_id))["replayed"] is True
        # The later one is too old first, though it stands behind the other.
        clock.now += 168 * HOUR
        assert "replayed" not in await one.submit("/title late", op_id="late")
        assert (await one.submit("/title early", op_id="early"))["replayed"] is True
        # Forgotten by a clock that went ahead, then asked again by one that does not find it old: on the disk it is.
        clock.now += 10_000 * HOUR
        await one.submit("/title new", op_id="new")
        assert list(session._ops) == ["new"]
        clock.now -= 10_000 * HOUR
        assert "replayed" not in await one.submit("/title late", op_id="late")
        assert (await one.submit("/title late", op_id="late"))["replayed"] is True
        await server.backchat.sessions.forget_ops()
        assert (await one.submit("/title late", op_id="late"))["replayed"] is True


async def test_a_record_that_was_pruned_under_the_feet_of_its_repetition_is_decided_anew(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as server, client(server.ws()) as one:
        await seeded(one)
        await one.say("more")
        # Another clock, as it were: in memory it is known still.
        await server.backchat._store.prune(clock.now)
        result = await one.submit("/undo", op_id="a")
        assert (result["data"]["removed_preview"], result.get("replayed")) == ("more", None)
        assert (await one.submit("/undo", op_id="a"))["replayed"] is True


# What is dropped from the disk, and how.


def with_records(directory: Path, ages: dict[str, list[float]]) -> Database:
    """A database with sessions whose events have records, at these times."""
    database = Database(directory)
    for session_id, times in ages.items():
        history = lived([("title", str(number)) for number in range(len(times))])
        first, *rest = commits(history, session_id)
        database.write([first])
        for number, (at, one) in enumerate(zip(times, rest, strict=True)):
            (event,) = one.events
            record = OpRecord(op_id=str(number), body_hash=b"h", reply=b"{}")
            moved = type(event)(event.revision, at, event.head, event.body, event.cause)
            assert database.write([Commit(session_id=session_id, events=(moved,), record=record)]) == [None]
    return database


def test_exactly_what_is_old_is_pruned_in_steps_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PRUNED", 7)
    random.seed(4)
    ages = {f"s{number}": [random.uniform(0, 100) for _ in range(number)] for number in range(12)}
    old = sum(at <= 50 for times in ages.values() for at in times)
    with with_records(tmp_path, ages) as database:
        left = [len(records(tmp_path))]
        more = True
        while more:
            more = database.prune(50)
            left.append(sum(whole for *_, whole, _ in records(tmp_path)))
        assert [before - after for before, after in itertools.pairwise(left)] == [7] * (old // 7) + [old % 7]
        for session_id, times in ages.items():
            known = database.load(session_id).ops
            assert known.keys() == {str(number) for number, at in enumerate(times) if at > 50}
            causes = [step.event.cause.op_id for step in database.load(session_id).history[1:]]
            assert causes == [str(number) for number in range(len(times))]


def test_only_what_is_young_is_loaded_though_the_old_is_not_pruned_yet(tmp_path: Path) -> None:
    with with_records(tmp_path, {"s": [60.0, 70.0, 80.0]}) as database:
        assert list(database.load("s", 70.0).ops) == ["2"]
        assert list(database.load("s", 69.0).ops) == ["1", "2"]


def test_where_nothing_is_old_nothing_is_written(tmp_path: Path) -> None:
    with with_records(tmp_path, {"s": [60.0, 70.0]}) as database:
        # What would write now would wait, and fail.
        database._db.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(tmp_path / "backchat.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert database.prune(50) is False
        with pytest.raises(sqlite3.OperationalError):
            database.prune(65)
        other.close()


async def test_commits_have_their_turn_between_the_steps_of_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PRUNED", 1)
    with_records(tmp_path, {"s": [1.0] * 30}).close()
    store = ThreadedStore(tmp_path)
    order: list[str] = []
    last = commits(lived([("title", str(number)) for number in range(31)]))[-1]

    async def prune() -> None:
        while await store.prune(2.0):
            order.append("step")
            if len(order) == 3:
                store.commit(last, lambda _: order.append("commit"))

    await prune()
    assert "commit" in order[3:7]
    assert order.count("step") == 30
    await store.close()


async def test_all_that_is_old_is_pruned_however_many_steps_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PRUNED", 1)
    clock = Clock()
    async with running(tmp_path, clock=clock, backend="none", op_id_hours=1.0) as server, client(server.ws()) as one:
        for op_id in "abc":
            await one.submit(f"/title {op_id}", op_id=op_id)
        clock.now += HOUR
        await one.submit("/title d", op_id="d")
        await server.backchat.sessions.forget_ops()
        assert [(op_id, whole) for op_id, _, whole, _ in records(tmp_path)] == [("a", 0), ("b", 0), ("c", 0), ("d", 1)]


async def test_a_server_prunes_when_it_starts_and_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.app.FORGET_SECONDS", 0.001)
    clock = Clock()
    async with running(tmp_path, clock=clock, op_id_hours=1.0) as server, client(server.ws()) as one:
        await seeded(one)
        clock.now += HOUR
        await eventually(lambda: records(tmp_path) == [("a", "undo", 0, 1)])
    revive(tmp_path)
    async with running(tmp_path, clock=clock, op_id_hours=1.0):
        await eventually(lambda: records(tmp_path) == [("a", "undo", 0, 1)])


async def test_a_pruning_that_fails_costs_a_line_in_the_log_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("backchat.app.FORGET_SECONDS", 0.001)
    clock = Clock()
    async with running(tmp_path, clock=clock, op_id_hours=1.0) as server, client(server.ws()) as one:
        await seeded(one)
        db = sqlite3.connect(tmp_path / "backchat.db")
        db.execute("CREATE TRIGGER broken BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'no'); END")
        clock.now += HOUR
        await eventually(lambda: "old op records could not be dropped: no" in caplog.text)
        assert (await one.say("still here"))["message_id"] == 3
        db.execute("DROP TRIGGER broken")
        db.close()
        await eventually(lambda: records(tmp_path) == [("a", "undo", 0, 1)])


async def test_a_pruning_that_nobody_waits_for_any_more_hurts_nobody(tmp_path: Path) -> None:
    with_records(tmp_path, {"s": [1.0]}).close()
    store = ThreadedStore(tmp_path)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    task = asyncio.create_task(store.prune(2.0))
    await asyncio.sleep(0)
    task.cancel()
    await store.close()
    assert complaints == []
    with Database(tmp_path) as database:
        assert database.load("s").ops == {}


async def test_a_store_says_when_it_could_not_prune(tmp_path: Path) -> None:
    store = ThreadedStore(tmp_path)
    store._writer._db.execute("DROP TABLE event")
    with pytest.raises(StorageFailed):
        await store.prune(1.0)
    await store.close()


def test_records_of_an_older_database_are_known_and_grow_old(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "backchat.db")
    db.executescript("".join(MIGRATIONS[:2]))
    db.execute("PRAGMA user_version = 2")
    db.execute("INSERT INTO session VALUES ('s', 'local', 'l', 50.0, NULL, NULL, NULL, NULL, NULL)")
    for revision, kind, body, op_id in ((1, "created", "{}", None), (2, "titled", '{"title":"a"}', "a"),
                                        (3, "titled", '{"title":"b"}', "b")):  # fmt: skip
        record = (op_id, None if op_id is None else b"h", None if op_id is None else "{}")
        db.execute(
            "INSERT INTO event VALUES ('s', ?, ?, 1, ?, 'c1', NULL, 0, ?, ?, ?, ?)",
            (revision, kind, 50.0 + 10 * (revision - 1), body, *record),
        )
    db.commit()
    db.close()
    with Database(tmp_path) as database:
        assert list(database.load("s").ops) == ["a", "b"]
        assert database.prune(65.0) is False
        assert list(database.load("s").ops) == ["b"]
        assert (database.reply("s", "a"), database.reply("s", "b")) == (None, b"{}")
