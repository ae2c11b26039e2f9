"""Messages that wait while a reply is written: visible, bounded, durable, and never sent unasked."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from backchat import ops, runs
from backchat.commands import Invocation, parse
from backchat.errors import BadArgument, NotQueued, QueueFull
from backchat.importer import import_files
from backchat.store.sqlite import Database
from backchat.transcript import (
    Created,
    Queued,
    QueueDropped,
    QueuePaused,
    QueueResumed,
    QueueSent,
    Replied,
    path,
)
from backchat.views import LiveRun, Offer, Outcome, StopRun, View
from tests.support.client import PATIENCE, Client, Refused, client, eventually
from tests.support.client import View as Shown
from tests.support.histories import OFFER, Action, actions, contents, lived
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.views import advanced, view

Json = dict[str, Any]

PARTS: list[Json] = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}, "detail": {"x": [1, None, 0.5]}},
]


# What ops decide.


def after(before: View, outcome: Outcome) -> View:
    """The view once an outcome has happened."""
    state, _ = advanced(before.state, before.tree, outcome)
    run = None if outcome.stop is not None else before.run
    if (start := outcome.start) is not None:
        run = LiveRun(start.run_id, start.parent, "", model=start.model)
    return replace(before, state=state, run=run)


def decided(before: View, line: str) -> Outcome:
    """What a typed command does."""
    invocation = parse(line)
    assert isinstance(invocation, Invocation)
    return invocation.decide(before)


def replying(*waiting: Any, text: str = "half", most: int = 20) -> View:
    """A session in which a reply to "one" is as far as `text`, and these messages wait for its end."""
    before = view("one", run=text, created=Created(title="T"), offer=Offer(replies=True, most_queued=most))
    for content in waiting:
        before = after(before, ops.submit(before, content))
    return before


def paused(*waiting: Any) -> View:
    """A session in which nothing runs, and these messages wait for a person."""
    before = replying(*waiting)
    return after(before, ops.stop(before))


def kinds(outcome: Outcome) -> list[type]:
    """The types of an outcome's events."""
    return [type(decided.body) for decided in outcome.events]


def waits(state_of: View) -> list[Any]:
    """The contents of what waits."""
    return [waiting.content for waiting in state_of.state.queue]


def transcript(shown: View) -> list[Any]:
    """The contents of the transcript."""
    return [message.content for message in path(shown.head)]


def test_a_message_during_a_reply_waits_and_changes_nothing_else() -> None:
    before = replying()
    outcome = ops.submit(before, "two")
    assert outcome.data == {"queued_id": 1}
    assert kinds(outcome) == [Queued]
    assert (outcome.start, outcome.stop) == (None, None)
    now = after(before, outcome)
    assert (transcript(now), waits(now), now.run) == (["one"], ["two"], before.run)
    assert now.state.transcript_revision == before.state.transcript_revision
    assert not now.state.queue_paused


def test_a_message_without_a_live_reply_does_not_wait_even_if_others_do() -> None:
    before = paused("two")
    outcome = ops.submit(before, "three")
    assert "message_id" in outcome.data
    now = after(before, outcome)
    assert (transcript(now), waits(now), now.state.queue_paused) == (["one", "half", "three"], ["two"], True)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_can_wait_than_the_setting_allows(most: int) -> None:
    before = replying(*"abc"[:most], most=most)
    with pytest.raises(QueueFull):
        ops.submit(before, "one too many")
    if most:
        before = after(before, ops.queue_drop(before, None))
        assert ops.submit(before, "fits").data == {"queued_id": most + 1}, "a number is never used twice"


def test_when_a_reply_completes_the_next_message_is_sent_and_answered_in_the_same_step() -> None:
    before = replying("two", PARTS)
    outcome = ops.finish(before, "completed")
    assert kinds(outcome) == [Replied, QueueSent]
    assert outcome.stop == StopRun("completed")
    now = after(before, outcome)
    assert transcript(now) == ["one", "half", "two"]
    assert waits(now) == [PARTS]
    assert not now.state.queue_paused
    assert outcome.start is not None
    assert (outcome.start.parent, outcome.start.run_id) == (now.state.head, f"r{now.state.revision}")
    last = after(now, ops.finish(now, "completed"))
    assert transcript(last) == ["one", "half", "two", "", PARTS]
    assert waits(last) == []


def test_the_message_that_is_sent_on_is_answered_by_what_is_chosen_by_then() -> None:
    offer = Offer(replies=True, model="one", personalities={"pirate": "Arr."})
    before = replace(replying("two"), offer=offer)
    for line in ("/model two", "/personality pirate", "/system Be brief."):
        before = after(before, decided(before, line))
    start = ops.finish(before, "completed").start
    assert start is not None
    assert (start.model, start.system) == ("two", "Arr.\n\nBe brief.")


ENDS: dict[str, Callable[[View], Outcome]] = {
    "stop": ops.stop,
    "undo": ops.undo,
    "retry": ops.retry,
    "clear": ops.clear,
    "failed": lambda before: ops.finish(before, "failed"),
    "interrupted": lambda before: ops.finish(before, "interrupted"),
}


@pytest.mark.parametrize("text", ["half", ""])
@pytest.mark.parametrize("end", ENDS)
def test_a_reply_that_ends_in_any_other_way_pauses_the_queue_and_sends_nothing_of_it(end: str, text: str) -> None:
    before = replying("two", "three", text=text)
    outcome = ENDS[end](before)
    assert kinds(outcome).count(QueuePaused) == 1
    assert QueueSent not in kinds(outcome)
    now = after(before, outcome)
    assert waits(now) == ["two", "three"]
    assert now.state.queue_paused


@pytest.mark.parametrize("end", ENDS)
def test_what_is_paused_already_or_empty_is_not_paused_again(end: str) -> None:
    before = replying("two")
    before = after(before, ops.retry(before))
    assert before.state.queue_paused
    assert QueuePaused not in kinds(ENDS[end](before))
    assert QueuePaused not in kinds(ENDS[end](replying()))


def test_a_reply_that_completes_before_a_paused_queue_leaves_it_alone() -> None:
    before = replying("two")
    before = after(before, ops.retry(before))
    assert before.run is not None
    outcome = ops.finish(replace(before, run=replace(before.run, text="again")), "completed")
    assert kinds(outcome) == [Replied]
    assert outcome.start is None
    assert waits(after(before, outcome)) == ["two"]


def test_a_restart_pauses_what_waits() -> None:
    before = replace(replying("two"), run=None)
    outcome = ops.pause(before)
    assert kinds(outcome) == [QueuePaused]
    assert ops.pause(after(before, outcome)).events == ()
    assert ops.pause(view("one")).events == ()


def test_the_queue_is_listed_with_the_beginning_of_each_message() -> None:
    outcome = ops.queue(replying("x" * 200, "y" * 201, PARTS))
    assert outcome.data == {
        "queue": [
            {"id": 1, "preview": "x" * 200},
            {"id": 2, "preview": "y" * 200 + "..."},
            {"id": 3, "preview": "What is this?"},
        ],
        "paused": False,
    }
    assert outcome.events == ()
    assert ops.queue(replying()).data == {"queue": [], "paused": False}


def test_what_a_person_reads_of_the_queue_says_what_to_do() -> None:
    assert ops.queue(replying()).notice == "No message is waiting."
    assert ops.queue(replying("two")).notice == "1: two\nThe next is sent when the reply is done."
    assert ops.queue(paused("two")).notice == "1: two\nPaused: /queue go sends on, /queue drop takes one out."
    assert ops.stop(replying("two", "three")).notice == "Stopped. 2 messages wait; /queue go sends on."
    assert ops.stop(replying("two")).notice == "Stopped. 1 message waits; /queue go sends on."
    assert ops.stop(replying()).notice == "Stopped."


@pytest.mark.parametrize(
    ("number", "taken", "left"), [(None, 3, [1, 2]), (1, 1, [2, 3]), (2, 2, [1, 3]), (3, 3, [1, 2])]
)
def test_drop_takes_one_message_out_and_gives_its_text_back(number: int | None, taken: int, left: list[int]) -> None:
    before = replying("first", PARTS, "third")
    outcome = ops.queue_drop(before, number)
    assert outcome.data == {"queued_id": taken}
    assert outcome.prefill == {1: "first", 2: "What is this?", 3: "third"}[taken]
    assert kinds(outcome) == [QueueDropped]
    assert [waiting.id for waiting in after(before, outcome).state.queue] == left


@pytest.mark.parametrize("number", [None, 1, 2])
def test_drop_and_go_where_nothing_of_that_number_waits_are_refused(number: int | None) -> None:
    before = replying("two")
    empty = after(before, ops.queue_drop(before, 1))
    with pytest.raises(NotQueued):
        ops.queue_drop(empty, number)
    with pytest.raises(NotQueued):
        ops.queue_go(empty)
    with pytest.raises(NotQueued, match="No message 2 is waiting"):
        ops.queue_drop(before, 2)


def test_an_empty_queue_is_not_paused_so_the_next_message_goes_on_by_itself() -> None:
    before = paused("two")
    empty = after(before, ops.queue_drop(before, None))
    assert not empty.state.queue_paused
    sent = after(before, ops.queue_go(before))
    assert not sent.state.queue_paused


def test_go_sends_the_first_message_and_the_rest_follows() -> None:
    before = paused("two", "three")
    outcome = ops.queue_go(before)
    assert kinds(outcome) == [QueueResumed, QueueSent]
    assert outcome.data == {"sent": [1]}
    now = after(before, outcome)
    assert transcript(now) == ["one", "half", "two"]
    assert (waits(now), now.state.queue_paused) == (["three"], False)
    assert outcome.start is not None
    assert outcome.start.parent == now.state.head
    assert transcript(after(now, ops.finish(now, "completed"))) == ["one", "half", "two", "", "three"]


def test_go_during_a_reply_lets_the_queue_follow_it() -> None:
    before = replying("two")
    before = after(before, ops.retry(before))
    outcome = ops.queue_go(before)
    assert kinds(outcome) == [QueueResumed]
    assert (outcome.start, outcome.stop) == (None, None)
    now = after(before, outcome)
    assert transcript(after(now, ops.finish(now, "completed"))) == ["one", "", "two"]
    assert ops.queue_go(now).events == (), "it goes on already"


def test_go_where_nothing_replies_sends_all_that_waits() -> None:
    before = view("one", replies=False, created=Created(title="T", pending="two"))
    outcome = ops.queue_go(before)
    assert outcome.start is None
    assert transcript(after(before, outcome)) == ["one", "two"]
    # More than one waits where a server that had a backend is started without.
    before = replace(paused("two", "three"), offer=Offer(replies=False))
    now = after(before, ops.queue_go(before))
    assert transcript(now) == ["one", "half", "two", "three"]
    assert (waits(now), now.state.queue_paused) == ([], False)


@pytest.mark.parametrize("line", ["/queue go 1", "/queue 1", "/queue stop", "/queue drop x", "/queue drop 0"])
def test_what_the_queue_command_cannot_take_is_told(line: str) -> None:
    with pytest.raises(BadArgument, match="/queue"):
        decided(paused("two"), line)


@given(contents)
def test_any_content_that_waited_is_sent_unchanged(content: Any) -> None:
    before = replying(content)
    assert transcript(after(before, ops.finish(before, "completed")))[-1] == content
    before = paused(content)
    assert transcript(after(before, ops.queue_go(before)))[-1] == content


@given(actions, st.lists(st.text(max_size=5), max_size=4))
def test_a_queue_that_is_not_paused_has_a_live_run_before_it(chosen: list[Action], seed: list[str]) -> None:
    history = lived([], *seed)
    for action in chosen:
        history.do(action)
        assert not history.state.queue or history.state.queue_paused or history.run is not None
        assert history.state.queue or not history.state.queue_paused, "what is empty is not paused"
        assert len(history.state.queue) <= OFFER.most_queued


@given(actions)
def test_whatever_waited_still_waits_or_was_dropped_or_was_sent_once_as_it_was(chosen: list[Action]) -> None:
    history = lived(chosen)
    ever: dict[int, Any] = {}
    sent, dropped = [], []
    for event in history.events:
        match event.body:
            case Queued(id=number, content=content):
                assert number == len(ever) + 1
                ever[number] = content
            case QueueSent(id=number, message=message):
                sent.append(number)
                said = history.tree[message].message
                assert (said.role, said.content) == ("user", ever[number])
            case QueueDropped(id=number):
                dropped.append(number)
            case _:
                pass
    assert sent == sorted(sent), "in the order in which they were written"
    assert sorted([*sent, *dropped, *(one.id for one in history.state.queue)]) == list(ever)
    assert [one.content for one in history.state.queue] == [ever[one.id] for one in history.state.queue]


@given(actions)
def test_what_waits_is_sent_only_after_a_reply_that_completed_or_when_a_person_says_so(chosen: list[Action]) -> None:
    history = lived([])
    for action in chosen:
        seen, was_paused = len(history.events), history.state.queue_paused
        history.do(action)
        happened = [event.body for event in history.events[seen:]]
        if any(isinstance(body, QueueSent) for body in happened):
            assert action == ("go", None) or (action == ("finish", "completed") and not was_paused)
            assert history.run is not None
            assert [type(body) for body in happened if not isinstance(body, Replied | QueueResumed)] == [QueueSent]
        if happened and action[0] in ("stop", "undo", "retry", "clear", "restart"):
            assert history.state.queue_paused == bool(history.state.queue)


# Over real sockets.


@contextlib.asynccontextmanager
async def in_reply(data: Path, *waiting: str, **options: Any) -> AsyncIterator[tuple[Running, Scripted, Client]]:
    """A server, its backend, and a client in a session where "half" of the reply to "one" is written and these
    messages wait."""
    async with running(data, **options) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            replies.say("half")
            await one.submit("one")
            await one.until(lambda: one.view.run and one.view.run["text"] == "half")
            for text in waiting:
                await one.submit(text)
            yield server, replies, one


def shown(one: Client) -> tuple[list[str], bool]:
    """What a client sees of the queue: the previews, and whether it is paused."""
    session = one.view.session
    return [waiting["preview"] for waiting in session["queue"]], session["queue_paused"]


def asked(replies: Scripted) -> list[Any]:
    """What replies were asked for: the last message of each prompt."""
    return [prompt.messages[-1].content for prompt in replies.prompts]


async def written(one: Client, text: str) -> None:
    """Waits until the live run has written this."""
    await one.until(lambda: one.view.run and one.view.run["text"] == text)


def stored(data: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


async def test_a_message_that_waits_is_seen_by_every_client_and_by_those_who_come_later(tmp_path: Path) -> None:
    async with in_reply(tmp_path) as (server, replies, one), client(server.ws(one.session_id)) as two:
        result = await one.submit("two", op_id="q")
        assert result == {"queued_id": 1, "revision": one.view.revision}
        await two.at(result["revision"])
        for each in (one, two):
            assert shown(each) == (["two"], False)
            assert each.view.texts == ["one"]
            update = each.named("session.updated")[-1]
            assert update["session"]["queue"] == [{"id": 1, "preview": "two"}]
            assert update["cause"] == {
                "op_id": "q",
                "command": None,
                "connection": one.view.connection,
                "name": one.view.name,
            }
        async with client(server.ws(one.session_id)) as late:
            assert late.attached["session"]["queue"] == [{"id": 1, "preview": "two"}]
            assert late.attached["session"]["queue_paused"] is False
            assert late.view.facts() == one.view.facts()
        listing = await two.submit("/queue")
        assert listing["data"] == {"queue": [{"id": 1, "preview": "two"}], "paused": False}
        assert (await two.submit("/status"))["data"]["queue"] == [{"id": 1, "preview": "two"}]
        assert asked(replies) == ["one"]


async def test_a_plain_text_frame_waits_too(tmp_path: Path) -> None:
    async with in_reply(tmp_path) as (_, _, one):
        await one.socket.send("two")
        assert (await one.reply(None))["queued_id"] == 1
        assert shown(one) == (["two"], False)


async def another_run(one: Client, run_id: str) -> None:
    """Waits until another run than this one is live."""
    await one.until(lambda: one.view.run and one.view.run["run_id"] != run_id)


async def test_a_completed_reply_and_the_next_message_are_shown_in_one_order_to_every_client(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three") as (server, replies, one), client(server.ws(one.session_id)) as two:
        revision, run_id = one.view.revision, two.attached["run"]["run_id"]
        marks = [len(each.seen) for each in (one, two)]
        replies.end()
        for each, mark in zip((one, two), marks, strict=True):
            await another_run(each, run_id)
            frames = each.seen[mark:]
            assert [frame["method"] for frame in frames] == [
                "transcript.spliced", "session.updated", "run.ended",
                "transcript.spliced", "session.updated", "run.started",
            ]  # fmt: skip
            answer, counted, ended, said, queue, started = (frame["params"] for frame in frames)
            assert (answer["revision"], answer["keep"]) == (revision + 1, 1)
            assert [message["content"] for message in answer["messages"]] == ["half"]
            assert counted["revision"] == revision + 1
            assert ended == {"run_id": run_id, "reason": "completed"}
            assert (said["revision"], said["keep"]) == (revision + 2, 2)
            assert [message["content"] for message in said["messages"]] == ["two"]
            assert queue["revision"] == revision + 2
            assert queue["session"]["queue"] == [{"id": 2, "preview": "three"}]
            assert started["run_id"] != run_id
        assert one.view.facts() == two.view.facts()


async def test_what_waits_is_sent_one_by_one_each_after_the_reply_before_it(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three", "four") as (_, replies, one):
        for number, said in enumerate(("two", "three", "four"), start=2):
            replies.end()
            replies.say(f"answer to {said}")
            await written(one, f"answer to {said}")
            assert len(replies.prompts) == number
        replies.end()
        await one.until(lambda: one.view.run is None)
        assert one.view.texts == [
            "one", "half", "two", "answer to two", "three", "answer to three", "four", "answer to four",
        ]  # fmt: skip
        assert asked(replies) == ["one", "two", "three", "four"]
        assert shown(one) == ([], False)


async def test_after_anything_but_a_completed_reply_nothing_is_sent_until_a_person_says_so(
    server: Running, subtests: pytest.Subtests
) -> None:
    for end in ("/stop", "/undo", "/retry", "/clear", "failure"):
        with subtests.test(end):
            replies = Scripted(server)
            async with client(server.ws()) as one:
                await _waits_for_a_person(replies, one, end)


async def _waits_for_a_person(replies: Scripted, one: Client, end: str) -> None:
    replies.say("half")
    await one.submit("one")
    await written(one, "half")
    for text in ("two", "three"):
        await one.submit(text)
    if end == "failure":
        replies.fail("The model is gone.")
    else:
        await one.submit(end)
    await one.until(lambda: one.view.session["queue_paused"])
    if end != "/retry":
        await one.until(lambda: one.view.run is None)
        # What is said now does not wait, and that its reply completes does not set the queue going.
        await one.submit("aside")
    replies.say("whole")
    replies.end()
    await one.until(lambda: one.view.run is None)
    assert one.view.texts[-1] == "whole"
    assert shown(one) == (["two", "three"], True)
    before = ["one", "one" if end == "/retry" else "aside"]
    assert asked(replies) == before
    await one.submit("/queue go")
    replies.say("answer")
    await written(one, "answer")
    assert (asked(replies), shown(one)) == ([*before, "two"], (["three"], False))
    replies.end()
    replies.say("and another")
    await written(one, "and another")
    assert (asked(replies), shown(one)) == ([*before, "two", "three"], ([], False))


async def test_content_with_other_parts_than_text_waits_and_is_sent_unchanged(tmp_path: Path) -> None:
    async with in_reply(tmp_path) as (_, replies, one):
        assert (await one.request("submit", content=PARTS))["queued_id"] == 1
        assert shown(one) == (["What is this?"], False)
        replies.end()
        replies.say("a picture")
        await written(one, "a picture")
        assert asked(replies)[-1] == PARTS
        assert one.view.texts[-1] == PARTS


async def test_a_queue_that_is_full_refuses_and_changes_nothing(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", queue_messages=1) as (_, replies, one):
        revision = one.view.revision
        with pytest.raises(Refused, match="No more than 1 message can wait") as caught:
            await one.submit("three", op_id="q")
        assert caught.value.code == "queue_full"
        assert (await one.submit("/status"))["revision"] == revision
        replies.end()
        await one.until(lambda: shown(one) == ([], False))
        assert (await one.submit("three", op_id="q"))["queued_id"] == 2, "an error is not stored under its op_id"


async def test_two_clients_that_take_the_same_message_out_at_once_take_out_one(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three") as (server, _, one), client(server.ws(one.session_id)) as two:
        ends = await asyncio.gather(one.submit("/queue drop 1"), two.submit("/queue drop 1"), return_exceptions=True)
        (done,) = [end for end in ends if isinstance(end, dict)]
        (refused,) = [end for end in ends if isinstance(end, Refused)]
        assert (done["data"], done["prefill"]) == ({"queued_id": 1}, "two")
        assert refused.code == "not_queued"
        await one.at(done["revision"])
        assert shown(one) == (["three"], False)


@contextlib.contextmanager
def held(server: Running) -> Any:
    """Holds commits back as long as the context lasts."""
    store: Any = server.backchat._store
    write, gate = store._writer.write, threading.Event()

    def wait(*batch: Any) -> Any:
        assert gate.wait(PATIENCE)
        return write(*batch)

    store._writer.write = wait
    try:
        yield
    finally:
        gate.set()


@pytest.mark.parametrize("line", ["/queue drop 1", "/stop"])
async def test_what_a_person_does_while_a_message_is_on_its_way_out_of_the_queue_counts_after_it(
    tmp_path: Path, line: str
) -> None:
    async with in_reply(tmp_path, "two", "three") as (server, replies, one):
        session = server.backchat.sessions._live[one.session_id]
        facts = one.view.facts()
        with held(server):
            replies.end()
            await eventually(lambda: len(session._pending) == 1)
            request = await one.send("submit", text=line)
            await eventually(lambda: len(session._pending) == 2)
            assert one.view.facts() == facts, "nothing is shown before it is durable"
        if line == "/stop":
            assert (await one.reply(request))["data"] == {"stopped": True}
            assert one.view.run is None
            assert shown(one) == (["three"], True)
            assert asked(replies) == ["one"], "a reply that was stopped before it began is asked of nobody"
        else:
            with pytest.raises(Refused) as caught:
                await one.reply(request)
            assert caught.value.code == "not_queued"
            assert shown(one) == (["three"], False)
        assert one.view.texts == ["one", "half", "two"]


async def test_an_answer_and_the_message_that_follows_it_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two") as (_, replies, one):
        db = sqlite3.connect(tmp_path / "backchat.db")
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON event WHEN NEW.type = 'queue_sent'"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
        replies.end()
        await one.until(lambda: len(one.view.messages) == 2 and one.view.run is None)
        assert (one.view.texts, one.view.messages[1]["finish"]) == (["one", "half"], "interrupted")
        assert shown(one) == (["two"], True)
        db.execute("DROP TRIGGER broken")
        db.close()
        await one.submit("/queue go")
        replies.say("answer")
        await written(one, "answer")
        assert asked(replies) == ["one", "two"]


async def test_a_step_that_seemed_to_fail_but_happened_goes_on_where_it_was(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three") as (server, replies, one):
        store: Any = server.backchat._store
        write, lies = store._writer.write, iter([True])

        def lie(commits: Any, checkpoints: Any = ()) -> Any:
            results = write(commits, checkpoints)
            return [sqlite3.OperationalError("disk I/O error")] * len(commits) if next(lies, False) else results

        store._writer.write = lie
        replies.end()
        await one.again(2)
        assert (one.view.texts, shown(one)) == (["one", "half", "two"], (["three"], False))
        replies.say("answer")
        await written(one, "answer")
        assert asked(replies) == ["one", "two"]
        replies.end()
        replies.say("last")
        await written(one, "last")
        assert asked(replies) == ["one", "two", "three"]


async def test_what_waits_is_sent_even_if_nobody_is_there_to_see_it(tmp_path: Path) -> None:
    async with running(tmp_path, idle_sessions=0) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            session_id = one.session_id
            for text in ("one", "two"):
                await one.submit(text)
        await eventually(lambda: not server.backchat.sessions._around.hub.subscribers(session_id))
        for text in ("answer to one", "answer to two"):
            replies.say(text)
            replies.end()
        await eventually(lambda: not server.backchat.sessions._live)
        assert asked(replies) == ["one", "two"]
        async with client(server.ws(session_id)) as one:
            assert one.view.texts == ["one", "answer to one", "two", "answer to two"]
            assert shown(one) == ([], False)


# Coming back.


async def test_a_client_that_was_away_for_any_part_of_it_sees_what_a_new_one_sees(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three", "four") as (server, replies, one):
        await one.submit("/queue drop 2")
        replies.end()
        await one.until(lambda: shown(one) == (["four"], False))
        await one.submit("/stop")
        await one.submit("/queue go")
        replies.say("more")
        await written(one, "more")
        async with client(server.ws(one.session_id)) as fresh:
            facts = fresh.view.facts()
        assert one.view.facts() == facts
        for count in range(1, len(one.seen) + 1):
            stale = Shown()
            for frame in one.seen[:count]:
                if "method" in frame:
                    stale.apply(frame["method"], frame["params"])
            query = f"after={stale.revision}&log={stale.log}"
            async with client(server.ws(one.session_id, query), stale) as back:
                assert "events" in back.attached
                assert back.view.facts() == facts


async def test_what_waits_survives_a_restart_and_is_sent_when_a_person_says_so(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three") as (_, _, one):
        session_id, view = one.session_id, one.view
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with (
            client(server.ws(session_id, f"after={view.revision}&log={view.log}"), view) as back,
            client(server.ws(session_id)) as fresh,
        ):
            assert "events" in back.attached
            assert back.view.facts() == fresh.view.facts()
            assert (back.view.texts, back.view.messages[1]["finish"]) == (["one", "half"], "interrupted")
            assert shown(back) == (["two", "three"], True)
            await back.submit("/status")
            assert asked(replies) == []
            await back.submit("/queue go")
            replies.say("answer")
            await written(back, "answer")
            assert (asked(replies), shown(back)) == (["two"], (["three"], False))


@pytest.mark.parametrize(
    ("saved", "texts"),
    [("half", ["one", "half"]), ("", ["one", ""]), (None, ["one"])],
    ids=["half", "begun", "nothing"],
)
async def test_a_server_that_was_killed_comes_back_with_the_queue_paused_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: str | None, texts: list[str]
) -> None:
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0 if saved else 3600.0)
    async with in_reply(tmp_path / "one", "two") as (_, _, one):
        session_id = one.session_id
        await eventually(lambda: stored(tmp_path / "one", "SELECT text FROM checkpoint") == [(saved or "",)])
        # The disk as a crash would leave it.
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert not stored(tmp_path / "two", "SELECT * FROM event WHERE type = 'queue_paused'")
    if saved is None:
        # Whatever is known of the run, it is no more.
        with sqlite3.connect(tmp_path / "two" / "backchat.db") as db:
            db.execute("DELETE FROM checkpoint")
        db.close()
    async with running(tmp_path / "two") as server:
        replies = Scripted(server)
        async with client(server.ws(session_id)) as one:
            await one.until(lambda: one.view.session["queue_paused"] and one.view.run is None)
            assert shown(one) == (["two"], True)
            assert one.view.texts == texts
            assert [message["finish"] for message in one.view.messages[1:]] == ["interrupted"] * (len(texts) - 1)
            revision = (await one.submit("/status"))["revision"]
            assert asked(replies) == []
        async with client(server.ws(session_id)) as again:
            assert (await again.submit("/status"))["revision"] == revision, "once is enough"
            await again.submit("/queue go")
            replies.say("answer")
            await written(again, "answer")
            assert asked(replies) == ["two"]


# Exactly once.


async def test_a_message_that_is_sent_again_with_its_op_id_waits_once_and_is_sent_once(tmp_path: Path) -> None:
    async with in_reply(tmp_path) as (_, replies, one):
        first = await one.submit("two", op_id="q")
        again = {**first, "replayed": True}
        assert await one.submit("two", op_id="q") == again
        assert shown(one) == (["two"], False)
        replies.end()
        replies.say("answer")
        await written(one, "answer")
        assert await one.submit("two", op_id="q") == again
        assert shown(one) == ([], False)
        replies.end()
        await one.until(lambda: one.view.run is None)
        assert await one.submit("two", op_id="q") == again
        session_id = one.session_id
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws(session_id)) as one:
            assert await one.submit("two", op_id="q") == again
            assert one.view.texts == ["one", "half", "two", "answer"]
            assert asked(replies) == []


async def test_a_queue_command_that_is_sent_again_with_its_op_id_happens_once(tmp_path: Path) -> None:
    async with in_reply(tmp_path, "two", "three", "four") as (_, replies, one):
        dropped = await one.submit("/queue drop", op_id="drop")
        assert dropped["data"] == {"queued_id": 3}
        assert await one.submit("/queue drop", op_id="drop") == {**dropped, "replayed": True}
        assert shown(one) == (["two", "three"], False)
        await one.submit("/stop")
        gone = await one.submit("/queue go", op_id="go")
        replies.say("answer")
        await written(one, "answer")
        await one.submit("/stop")
        assert await one.submit("/queue go", op_id="go") == {**gone, "replayed": True}
        assert shown(one) == (["three"], True)
        assert asked(replies) == ["one", "two"]
        session_id = one.session_id
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws(session_id)) as one:
            for first, line, op_id in ((dropped, "/queue drop", "drop"), (gone, "/queue go", "go")):
                assert await one.submit(line, op_id=op_id) == {**first, "replayed": True}
            assert shown(one) == (["three"], True)
            assert asked(replies) == []


# What an import brought.


def imported(data: Path, **fields: Any) -> str:
    """The id of a session that was imported with these fields."""
    data.mkdir()
    file = data.with_suffix(".json")
    file.write_text(json.dumps({"session_id": "old", **fields}))
    with Database(data) as database:
        (result,) = import_files(database, [file])
    assert result.outcome == "imported"
    return result.detail


WRITTEN_BEFORE: list[Json] = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]


async def test_what_was_written_before_an_import_and_never_sent_waits_for_a_person(tmp_path: Path) -> None:
    session_id = imported(tmp_path / "data", messages=WRITTEN_BEFORE, pending_user_message="/two  words")
    async with running(tmp_path / "data") as server:
        replies = Scripted(server)
        async with client(server.ws(session_id)) as one:
            assert (one.view.texts, shown(one)) == (["one", "1"], (["/two  words"], True))
            assert one.view.session["queue"][0]["id"] == 1
            await one.submit("/status")
            assert asked(replies) == []
            await one.submit("/queue go")
            replies.say("answer")
            await written(one, "answer")
            assert asked(replies) == ["/two  words"]
            assert shown(one) == ([], False)
            assert (await one.submit("three"))["queued_id"] == 2


async def test_where_nothing_replies_it_goes_to_the_transcript(tmp_path: Path) -> None:
    session_id = imported(tmp_path / "data", messages=WRITTEN_BEFORE, pending_user_message="two")
    async with running(tmp_path / "data", backend="none") as server, client(server.ws(session_id)) as one:
        assert shown(one) == (["two"], True)
        result = await one.submit("/queue go", op_id="go")
        await one.at(result["revision"])
        assert (one.view.texts, shown(one), one.view.run) == (["one", "1", "two"], ([], False), None)
        assert await one.submit("/queue go", op_id="go") == {**result, "replayed": True}
        await one.say("three")
        assert one.view.texts == ["one", "1", "two", "three"]


async def test_it_can_be_taken_out_and_is_back_in_the_composer(tmp_path: Path) -> None:
    session_id = imported(tmp_path / "data", messages=[], pending_user_message="two")
    async with running(tmp_path / "data") as server, client(server.ws(session_id)) as one:
        assert (await one.submit("/queue drop 1"))["prefill"] == "two"
        assert shown(one) == ([], False)


def test_nothing_but_white_space_does_not_wait() -> None:
    for pending in ("", " \n\t"):
        assert waits(view(created=Created(pending=pending))) == []
