"""A client that comes back gets what it missed, or is told that this cannot be told: also where the database is a copy
that was put back, and the log that the client knows went on elsewhere."""

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat import frames, transcript
from backchat.frames import Presence, Who
from backchat.hub.local import LocalHub
from backchat.importer import import_files
from backchat.names import OWNER
from backchat.outbox import Burst
from backchat.registry import Sessions
from backchat.sessions import RESUMABLE, Session
from backchat.store.sqlite import Database
from backchat.store.threads import ThreadedStore
from backchat.transcript import TAIL_BYTES, shown
from tests.support.client import Client, Json, View, client, eventually
from tests.support.histories import OFFER, Action, History, actions, lived
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.test_store import commits


@asynccontextmanager
async def resumed(server: Running, view: View) -> AsyncIterator[Client]:
    """A client that comes back with what an earlier one saw. Fails unless it comes to show what a fresh one shows."""
    query = f"after={view.revision}&log={view.log}"
    async with client(server.ws(view.session["session_id"], query), deepcopy(view)) as back:
        async with client(server.ws(view.session["session_id"])) as fresh:
            same(back.view, fresh.view)
        yield back


def same(view: View, fresh: View) -> None:
    """Fails unless both show the same, as far back as both go."""
    start = max(view.start, fresh.start)
    assert view.messages[start - view.start :] == fresh.messages[start - fresh.start :]
    assert {**view.facts(), "messages": []} == {**fresh.facts(), "messages": []}
    assert view.log == fresh.log


async def is_served(server: Running, view: View) -> bool:
    """Whether a client with this view gets what it missed; else it gets a snapshot, and is told."""
    async with resumed(server, view) as back:
        served = "events" in back.attached
        assert served != back.attached.get("reset", False)
        assert served != ("messages" in back.attached)
        return served


async def say(server: Running, session_id: str, *texts: str) -> View:
    """What somebody saw who came to a session, said this and left."""
    async with client(server.ws(session_id)) as one:
        for text in texts:
            await one.say(text)
        await one.until(lambda: one.view.run is None)
        return one.view


def copied(data: Path, to: Path) -> None:
    """Copies the database of a server that runs, as a backup does."""
    to.mkdir()
    source, target = sqlite3.connect(data / "backchat.db"), sqlite3.connect(to / "backchat.db")
    source.backup(target)
    source.close()
    target.close()


# Copies that are put back.


@pytest.fixture(params=["while it runs", "while it is stopped"])
async def copy(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path, list[View]]:
    """A server's data; a copy of it, made while the server ran or was stopped; and what clients saw of one session:
    before the copy was made, just then, and some time later. The last is in the data alone."""
    data, to = tmp_path / "data", tmp_path / "copy"
    async with running(data, backend="none") as server:
        async with client(server.ws()) as one:
            session_id = one.session_id
        before = await say(server, session_id, "one")
        then = await say(server, session_id, "two", "three")
        if request.param == "while it runs":
            copied(data, to)
            return data, to, [before, then, await say(server, session_id, "four", "five", "six")]
    shutil.copytree(data, to)
    async with running(data, backend="none") as server:
        assert await is_served(server, then), "a restart alone changes nothing"
        return data, to, [before, then, await say(server, session_id, "four", "five", "six")]


async def test_a_client_that_saw_more_than_a_copy_has_is_not_served_onto_another_history(
    copy: tuple[Path, Path, list[View]],
) -> None:
    _, put_back, (before, then, later) = copy
    session_id = then.session["session_id"]
    async with running(put_back, backend="none") as server:
        assert not await is_served(server, later), "it was never here"
        other = await say(server, session_id, "4", "5", "6", "7")
        assert other.revision > later.revision
        assert other.texts == ["one", "two", "three", "4", "5", "6", "7"]
        # Now its revision alone would not give it away.
        assert not await is_served(server, later)
        assert await is_served(server, other)
        for known in (before, then):
            assert await is_served(server, known)
    async with running(put_back, backend="none") as server:
        assert not await is_served(server, later), "nor later on"
        for known in (before, then, other):
            assert await is_served(server, known)


async def test_when_the_original_is_put_back_those_who_saw_the_copy_go_on_are_not_served(
    copy: tuple[Path, Path, list[View]],
) -> None:
    data, put_back, (before, then, later) = copy
    session_id = then.session["session_id"]
    async with running(put_back, backend="none") as server:
        fewer = await say(server, session_id, "4")
    assert fewer.revision < later.revision
    async with running(data, backend="none") as server:
        assert not await is_served(server, fewer)
        for known in (before, then, later):
            assert await is_served(server, known)


async def test_a_client_that_saw_no_more_than_a_copy_has_is_served_whenever_it_attached(tmp_path: Path) -> None:
    data, put_back = tmp_path / "data", tmp_path / "copy"
    async with running(data, backend="none") as server, client(server.ws()) as one:
        await one.say("one")
        copied(data, put_back)
        # It has seen all that the copy has, and nothing else, though it stayed.
        stayed = deepcopy(one.view)
        await one.say("two")
        left = one.view
    async with running(put_back, backend="none") as server:
        await say(server, stayed.session["session_id"], "2", "3")
        assert await is_served(server, stayed)
        assert not await is_served(server, left)


async def test_a_session_that_a_copy_does_not_have_is_gone_and_one_made_anew_by_an_import_is_another(
    tmp_path: Path,
) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"session_id": "s", "messages": [{"role": "user", "content": "hello"}]}))
    data, put_back = tmp_path / "data", tmp_path / "copy"
    async with running(data, backend="none") as server:
        copied(data, put_back)
        with Database(data) as database:
            assert [result.outcome for result in import_files(database, [file])] == ["imported"]
        # It came in after this epoch began, and from outside it.
        seen = await say(server, "s")
        assert await is_served(server, seen)
    async with running(data, backend="none") as server:
        assert await is_served(server, seen)
        more = await say(server, "s", "and")
        assert await is_served(server, seen)
    async with running(data, backend="none") as server:
        assert await is_served(server, seen)
        assert await is_served(server, more)
    with Database(put_back) as database:
        assert [result.outcome for result in import_files(database, [file])] == ["imported"]
    async with running(put_back, backend="none") as server:
        assert not await is_served(server, seen)


# Other logs, other revisions.


async def test_a_restart_costs_nobody_a_snapshot_however_many_there_are(tmp_path: Path) -> None:
    views: list[View] = []
    for number in range(4):
        async with running(tmp_path, backend="none") as server:
            session_id = views[0].session["session_id"] if views else ""
            # In some epochs nothing happens.
            views.append(await say(server, session_id, *([] if number % 2 else [f"line {number}"])))
    assert len({view.log for view in views}) == 4
    async with running(tmp_path, backend="none") as server:
        for view in views:
            assert await is_served(server, view)


@pytest.mark.parametrize(
    "log", ["{name}", "{name}.", ".{epoch}", "{name}.{other}", "{other}.{epoch}", "{epoch}.{name}", "{name}.{epoch}.",
            "{name}.{epoch}x", ".", "", "x", "{other}", "%ED%A0%80", "%00", "{name}.1", "{name}.0"],
)  # fmt: skip
async def test_a_log_by_any_other_name_is_not_served(server: Running, log: str) -> None:
    view = await say(server, "", "one")
    async with client(server.ws()) as one:
        assert one.view.log is not None
        other = one.view.log.partition(".")[0]
    assert view.log is not None
    name, _, epoch = view.log.partition(".")
    view.log = log.format(name=name, epoch=epoch, other=other)
    assert not await is_served(server, view)


async def test_a_revision_that_an_epoch_did_not_come_to_is_not_served(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server:
        first = await say(server, "", "one")
    async with running(tmp_path, backend="none") as server:
        second = await say(server, first.session["session_id"], "two", "three")
    async with running(tmp_path, backend="none") as server:
        for view, past in ((first, 1), (second, 1), (second, 99)):
            for more in (0, past):
                asked = deepcopy(view)
                asked.revision += more
                assert await is_served(server, asked) == (more == 0)
        now = await say(server, first.session["session_id"])
        now.revision += 1
        assert not await is_served(server, now)


# How much is missed, and what comes besides.


async def test_as_many_events_as_are_held_are_served_and_one_more_is_a_snapshot(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        start = deepcopy(one.view)
        await one.submit("/title first")
        second = deepcopy(one.view)
        for number in range(RESUMABLE):
            await one.submit(f"/title {number}")
        assert await is_served(server, second)
        assert not await is_served(server, start)
        session_id = one.session_id
    async with running(tmp_path, backend="none") as server, client(server.ws(session_id)):
        assert await is_served(server, second)
        assert not await is_served(server, start)


async def test_missed_events_that_are_too_large_are_a_snapshot(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        start = deepcopy(one.view)
        await one.say("x" * (TAIL_BYTES // 2))
        between = deepcopy(one.view)
        await one.say("y" * (TAIL_BYTES // 2))
        assert await is_served(server, between)
        assert not await is_served(server, start)


async def test_a_client_that_comes_back_in_mid_run_goes_on_at_its_offset(server: Running) -> None:
    replies = Scripted(server)
    async with client(server.ws()) as stayed:
        async with client(server.ws(stayed.session_id)) as left:
            run_id = (await stayed.submit("hello"))["run_id"]
            replies.say("𝄞one ")
            await left.until(lambda: left.view.run and left.view.run["text"])
            seen = deepcopy(left.view)
        replies.reason("hm")
        replies.say("two ")
        await stayed.until(lambda: stayed.view.run and stayed.view.run["text"] == "𝄞one two ")
        async with resumed(server, seen) as back:
            assert back.attached["events"] == []
            assert back.attached["run"] == {"run_id": run_id, "text": "𝄞one two ", "offset": 9, "reasoning": "hm"}
            replies.say("three")
            replies.end()
            await back.ended(run_id)
            assert [delta["offset"] for delta in back.named("run.delta")] == [9]
            await stayed.ended(run_id)
            assert back.view.facts() == stayed.view.facts()


async def test_the_commands_come_with_every_attach(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("hello")
        commands = one.attached["commands"]
        assert "undo" in {command["name"] for command in commands}
        for query in ("", "after=1", f"after=1&log={one.view.log}", "after=99", "after=1&log=x"):
            async with client(server.ws(one.session_id, query)) as back:
                assert back.attached["commands"] == commands


# The law.


WHO = Who("c", "amber heron")


class Heard:
    """A subscriber that keeps what it is sent."""

    def __init__(self) -> None:
        self.frames: list[Json] = []

    def push(self, *frames: str) -> None:
        self.frames.extend(map(json.loads, frames))

    def push_delta(self, delta: Any, frame: str) -> None:
        raise AssertionError("nothing is being written here")

    def follow(self, burst: Burst) -> None:
        raise AssertionError("nothing is published here")

    def leave(self) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        raise AssertionError((code, reason))


def seen_at(history: History, revision: int, log: str) -> View:
    """What a client sees that attaches at a revision."""
    state = history.states[revision]
    head = history.tree[state.head]
    attached = {
        "log": log,
        "revision": revision,
        "session": frames.session_fields("s", state, OFFER, history.tree, running=False),
        "connection": WHO.connection,
        "name": WHO.name,
        "presence": Presence(1, [WHO]),
        "run": None,
        "start": head.tail_start(),
        "messages": shown(history.tree, head, state.last_message, head.tail_start()),
    }
    view = View()
    view.apply("attached", json.loads(msgspec.json.encode(attached)))
    return view


async def attached(session: Session, after: int | None = None, log: str | None = None) -> Json:
    """The params of what a client is told first."""
    heard = Heard()
    await session.attach(WHO, heard, after, log)
    session.detach(WHO)
    (frame,) = heard.frames
    params: Json = frame["params"]
    return params


async def law(directory: Path, history: History, epochs: int) -> None:
    """From every revision of a history that was lived through in so many epochs, under every name that its log had:
    who may have seen that gets what was missed, who cannot have gets a snapshot, and both see what is there."""
    written = commits(history)
    names, last = [], [0]
    many = -(-len(written) // epochs)
    for at in range(0, len(written), many):
        some = written[at : at + many]
        with Database(directory) as database:
            names.append(database.begin_epoch().current)
            assert set(database.write(some)) == {None}
            last.append(some[-1].events[-1].revision)
    store = ThreadedStore(directory)
    sessions = Sessions(
        store,
        LocalHub(),
        backend="echo",
        offer=lambda: OFFER,
        ask_models=lambda: None,
        start_run=lambda session, run: None,
        changed=lambda *_: None,
        most_idle=1,
    )
    async with sessions.use(OWNER, "s") as session:
        # What waited behind a run that is no more is paused, which is an event too.
        await eventually(lambda: session.idle or not session._pending)
        fresh = View()
        fresh.apply("attached", await attached(session))
        name = str(fresh.log).partition(".")[0]
        assert [revision for _, revision in session._epochs] == last[1:]
        for revision in range(1, len(history.events) + 1):
            for epoch, (_, until) in zip(names, pairwise(last), strict=True):
                log = f"{name}.{epoch}"
                view = seen_at(history, revision, log)
                params = await attached(session, revision, log)
                assert ("events" in params) == (revision <= until)
                view.apply("attached", params)
                same(view, fresh)
    await store.close()


@settings(max_examples=40, deadline=None)
@given(actions, st.integers(1, 4))
def test_a_stale_view_plus_what_it_is_sent_is_a_fresh_view_from_every_revision(
    chosen: list[Action], epochs: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        # Short enough for these histories to outgrow it.
        patch.setattr(transcript, "TAIL_MESSAGES", 4)
        history = lived(chosen, "first", "reply")
        asyncio.run(law(Path(directory), history, epochs))
