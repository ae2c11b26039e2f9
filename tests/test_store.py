"""The store: what was lived through is what is loaded; a failed commit takes its session's later ones with it."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from backchat.errors import NoSuchSession, SessionDeleted, SessionExists, SessionUnreadable
from backchat.store.base import Checkpoint, Commit, KnownOp, Listed, OpRecord, SessionInfo, listed
from backchat.store.sqlite import MIGRATIONS, Database
from backchat.store.threads import ENOUGH, ThreadedStore
from backchat.transcript import Event
from backchat.views import Outcome
from tests.support.client import eventually
from tests.support.histories import Action, History, actions, lived
from tests.support.views import AT


def commit(
    outcome: Outcome,
    events: list[Event],
    session_id: str = "s",
    op_id: str | None = None,
    shown: Listed | None = None,
) -> Commit:
    """A commit of one outcome; of a new session if that is what the outcome begins."""
    first = events[0].revision == 1
    return Commit(
        session_id=session_id,
        events=tuple(events),
        added=tuple(added for decided in outcome.events for added in decided.added),
        create=SessionInfo(id=session_id, owner="local", log="l", created_at=AT) if first else None,
        listed=shown,
        record=None if op_id is None else OpRecord(op_id=op_id, body_hash=b"h", reply=b"{}"),
    )


def commits(history: History, session_id: str = "s") -> list[Commit]:
    return [
        commit(outcome, events, session_id, shown=listed(history.states[events[-1].revision]))
        for outcome, events in history.outcomes
    ]


def log(database: Database, session_id: str) -> list[Event]:
    return [step.event for step in database.load(session_id).history]


def refuse_revision(directory: Path, revision: int) -> None:
    """From now on the database refuses this event, and no other."""
    with sqlite3.connect(directory / "backchat.db") as db:
        db.execute(
            f"CREATE TRIGGER broken BEFORE INSERT ON event WHEN NEW.revision = {revision}"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    db.close()


@settings(max_examples=40, deadline=None)
@given(actions)
def test_what_is_loaded_folds_to_what_was_lived_through(chosen: list[Action]) -> None:
    history = lived(chosen, "first", "reply")
    with tempfile.TemporaryDirectory() as directory, Database(Path(directory)) as database:
        assert database.write(commits(history)) == [None] * len(history.outcomes)
        loaded = database.load("s")
    tree = loaded.tree
    assert [step.after for step in loaded.history] == history.states[1:]
    assert {number: node.message for number, node in tree.nodes.items()} == {
        number: node.message for number, node in history.tree.nodes.items()
    }
    assert {n: (node.depth, node.size) for n, node in tree.nodes.items()} == {
        n: (node.depth, node.size) for n, node in history.tree.nodes.items()
    }


def test_the_list_has_what_the_log_says_without_loading_it(tmp_path: Path) -> None:
    history = lived([("submit", "x"), ("write", "y"), ("finish", "completed"), ("undo", 1), ("title", "new")], "a", "b")
    with Database(tmp_path) as database:
        database.write(commits(history))
        (summary,) = database.sessions("local", None, 10)
    assert summary.message_count == history.tree[history.state.head].depth
    assert summary.updated_at == history.state.updated_at
    assert (summary.title, summary.model) == ("new", "one")


def test_when_a_commit_fails_later_ones_of_its_session_fail_and_those_of_others_do_not(tmp_path: Path) -> None:
    ours, other = lived([("submit", "x"), ("stop", None), ("submit", "y")]), lived([("submit", "x")])
    with Database(tmp_path) as database:
        assert database.write([commits(ours)[0], commits(other, "other")[0]]) == [None, None]
        # The second of ours is missing, so the third has a revision that another writer took.
        taken = commits(ours)[1]
        assert database.write([taken]) == [None]
        failed, later, fine = database.write([taken, commits(ours)[2], commits(other, "other")[1]])
        assert isinstance(failed, sqlite3.IntegrityError)
        assert later is not None
        assert fine is None
        assert [event.revision for event in log(database, "s")] == [1, 2]
        assert [event.revision for event in log(database, "other")] == [1, 2]


def test_an_id_is_never_used_twice_even_after_deletion(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        first = commits(lived([]))[0]
        database.write([first])
        assert isinstance(database.write([first])[0], SessionExists)
        database.write([Commit(session_id="s", deleted_at=AT)])
        assert isinstance(database.write([first])[0], SessionExists)
        assert database.sessions("local", None, 10) == []
        with pytest.raises(SessionDeleted):
            database.load("s")
        with pytest.raises(NoSuchSession):
            database.load("t")


def test_an_op_id_is_unique_within_its_session(tmp_path: Path) -> None:
    history = lived([("submit", "x"), ("stop", None), ("submit", "y")])
    with Database(tmp_path) as database:
        database.write(commits(history)[:1])
        first, second = (commit(*history.outcomes[number], op_id="same") for number in (1, 2))
        assert database.write([first]) == [None]
        assert isinstance(database.write([second])[0], sqlite3.IntegrityError)
        assert database.load("s").ops == {"same": KnownOp(b"h", first.events[-1].at)}
        assert database.reply("s", "same") == b"{}"


def test_an_event_of_an_unknown_type_refuses_the_session_and_changes_nothing(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.write(commits(lived([])))
        with sqlite3.connect(tmp_path / "backchat.db") as db:
            db.execute("UPDATE event SET type = 'sung', v = 7")
        db.close()
        with pytest.raises(SessionUnreadable, match=r"sung, version 7"):
            database.load("s")


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM message WHERE id = 1",
        "DELETE FROM event WHERE revision = 2",
        "UPDATE message SET content = '{' WHERE id = 2",
        "UPDATE event SET body = '[]' WHERE revision = 2",
        "UPDATE event SET head = 99 WHERE revision = 2",
    ],
)
def test_a_damaged_log_refuses_the_session_whatever_the_damage(tmp_path: Path, damage: str) -> None:
    with Database(tmp_path) as database:
        database.write(commits(lived([("submit", "x"), ("stop", None), ("submit", "y")], "a", "b")))
        with sqlite3.connect(tmp_path / "backchat.db") as db:
            db.execute(damage)
        db.close()
        with pytest.raises(SessionUnreadable, match="damaged"):
            database.load("s")


def test_a_checkpoint_that_cannot_be_saved_costs_nobody_a_commit(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        with sqlite3.connect(tmp_path / "backchat.db") as db:
            db.execute("CREATE TRIGGER broken BEFORE INSERT ON checkpoint BEGIN SELECT RAISE(ABORT, 'broken'); END")
        db.close()
        assert database.write(commits(lived([])), [("s", Checkpoint("r", "x"))]) == [None]


async def test_another_process_that_comes_and_goes_takes_nothing_away(tmp_path: Path) -> None:
    store = ThreadedStore(tmp_path)
    visit = "from pathlib import Path; from backchat.store.sqlite import Database; Database(Path('.')).close()"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", visit], cwd=tmp_path, check=True)
    assert (tmp_path / "backchat.db-wal").exists()
    results: list[Exception | None] = []
    store.commit(commits(lived([]))[0], results.append)
    await eventually(lambda: results)
    # The disk as a crash would leave it.
    shutil.copytree(tmp_path, tmp_path / "copy")
    with Database(tmp_path / "copy") as database:
        assert len(log(database, "s")) == 1
    await store.close()


async def test_the_writer_outlives_a_defect(tmp_path: Path) -> None:
    store = ThreadedStore(tmp_path)
    results: list[Exception | None] = []
    # What no SQLite error is: a text that cannot be encoded.
    store.commit(commit(*lived([]).outcomes[0], session_id="\ud800"), results.append)
    await eventually(lambda: results)
    store.commit(commits(lived([]))[0], results.append)
    await store.close()
    assert isinstance(results[0], UnicodeEncodeError)
    assert results[1] is None


def test_a_checkpoint_is_there_until_its_run_ends(tmp_path: Path) -> None:
    history = lived([("submit", "x"), ("write", "half"), ("finish", "completed")])
    with Database(tmp_path) as database:
        database.write(commits(history)[:2], [("s", Checkpoint("r1", "ha"))])
        database.write([], [("s", Checkpoint("r1", "half"))])
        assert database.load("s").checkpoint == Checkpoint("r1", "half")
        last = commits(history)[2]
        database.write([Commit(session_id="s", events=last.events, added=last.added, ended_run="r1")])
        assert database.load("s").checkpoint is None


def test_what_a_commit_does_beside_its_event_is_done_though_it_adds_no_message(tmp_path: Path) -> None:
    written = commits(lived([("submit", "x"), ("undo", 1)]))
    event = written[-1].events[-1]
    with Database(tmp_path) as database:
        assert set(database.write(written)) == {None}

        def also(**fields: Any) -> None:
            nonlocal event
            event = msgspec.structs.replace(event, revision=len(log(database, "s")) + 1)
            assert database.write([Commit(session_id="s", events=(event,), **fields)]) == [None]

        also(started_run=Checkpoint("r1", ""))
        assert database.load("s").checkpoint == Checkpoint("r1", "")
        also(ended_run="r1")
        assert database.load("s").checkpoint is None
        also(listed=Listed(title="T", model=None, workspace=None, personality=None))
        assert [one.title for one in database.sessions("local", None, 9)] == ["T"]
        also(deleted_at=AT)
        with pytest.raises(SessionDeleted):
            database.load("s")
        database.write([Commit(session_id="s", restores=True)])
        assert database.load("s").checkpoint is None


def test_the_database_syncs_every_commit(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        assert database._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database._db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def _tell(told: list[int], revision: int, error: Exception | None) -> None:
    assert error is None
    told.append(revision)


def batches_of(store: ThreadedStore) -> list[int]:
    """How many commits each batch has that is written from now on."""
    batches: list[int] = []
    write = store._writer.write

    def counting(batch: list[Commit], checkpoints: list[tuple[str, Checkpoint]]) -> list[Exception | None]:
        batches.append(len(batch))
        return write(batch, checkpoints)

    store._writer.write = counting  # type: ignore[assignment, method-assign]
    return batches


async def test_commits_are_told_of_in_order_and_share_syncs(tmp_path: Path) -> None:
    store = ThreadedStore(tmp_path)
    history = lived([("submit", "x"), ("stop", None)] * 20)
    told: list[int] = []
    batches = batches_of(store)
    for one in commits(history):
        store.commit(one, partial(_tell, told, one.events[-1].revision))
    await store.close()
    assert told == list(range(1, len(history.events) + 1))
    assert batches == [len(history.outcomes)], "what one round of the loop decides shares one sync"


async def test_what_waited_for_a_batch_shares_its_sync_with_the_next_of_who_has_just_been_answered(
    tmp_path: Path,
) -> None:
    store = ThreadedStore(tmp_path)
    first, waiting, answered, *_ = commits(lived([("submit", "x"), ("stop", None), ("submit", "y")]))
    batches = batches_of(store)
    told: list[int] = []

    def tell(error: Exception | None) -> None:
        _tell(told, 1, error)
        # What was answered leaves in this round of the loop, and comes back in the next.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, store.commit, answered, partial(_tell, told, 3))

    store.commit(first, tell)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.commit(waiting, partial(_tell, told, 2))
    await eventually(lambda: 3 in told)
    await store.close()
    assert told == [1, 2, 3]
    assert batches == [1, 2]


async def test_when_enough_has_waited_for_a_batch_it_is_written_at_once(tmp_path: Path) -> None:
    store = ThreadedStore(tmp_path)
    first, *waiting = commits(lived([("submit", "x"), ("stop", None)] * ENOUGH))[: ENOUGH + 1]
    batches = batches_of(store)
    seen: list[bool] = []

    def written(error: Exception | None) -> None:
        assert error is None
        seen.append(store._writing)

    store.commit(first, written)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for one in waiting:
        store.commit(one, written)
    await store.close()
    assert batches == [1, ENOUGH]
    assert seen[0], "the disk works while those are told whose commits it has"


async def test_what_was_enqueued_behind_a_failed_commit_fails_with_it(tmp_path: Path) -> None:
    store = ThreadedStore(tmp_path)
    history = lived([("submit", "x"), ("stop", None), ("submit", "y")])
    first, second, third, *_ = commits(history)
    results: list[Exception | None] = []
    done = asyncio.Event()
    store.commit(first, lambda _: done.set())
    await done.wait()
    refuse_revision(tmp_path, 2)
    store.commit(second, results.append)
    # Let the batch leave, so that the third waits behind it.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.commit(third, results.append)
    await store.close()
    assert None not in results
    assert len(results) == 2
    with Database(tmp_path) as database:
        assert [event.revision for event in log(database, "s")] == [1]


def test_a_database_of_the_first_version_is_read_as_it_was_meant(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    db = sqlite3.connect(tmp_path / "backchat.db")
    db.executescript(MIGRATIONS[0])
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO session VALUES ('s', 'local', 'l', 5.0, NULL, 'old', 'm', NULL, NULL)")
    db.execute("INSERT INTO message VALUES ('s', 1, 0, 1, 'user', '\"hi\"', NULL, NULL, NULL, NULL, NULL, NULL, 5.0)")
    for revision, kind, head, body in (
        (1, "created", 0, '{"title":"old","model":"m","input_tokens":3,"pending":"and?"}'),
        (2, "submitted", 1, '{"message":1}'),
    ):
        db.execute(
            "INSERT INTO event VALUES ('s', ?, ?, 1, 5.0, NULL, NULL, ?, ?, NULL, NULL, NULL)",
            (revision, kind, head, body),
        )
    db.execute("INSERT INTO checkpoint VALUES ('s', 'r2', 'half')")
    db.commit()
    db.close()
    with Database(tmp_path) as database:
        loaded = database.load("s")
        assert [summary.title for summary in database.sessions("local", None, 10)] == ["old"]
    state = loaded.history[-1].after
    assert (state.title, state.model, state.model_chosen, state.spent.input_tokens) == ("old", "m", False, 3)
    assert ([waiting.content for waiting in state.queue], state.queue_paused) == (["and?"], True)
    assert loaded.checkpoint == Checkpoint("r2", "half")
    assert loaded.tree[1].message.content == "hi"
