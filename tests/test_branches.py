"""/branch: a new session from any message; /goto: any message, or the head of any revision."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backchat.choices import MOST_TITLE
from backchat.errors import NoSuchMessage, NoSuchRevision, NothingToBranch
from backchat.transcript import (
    EVENT_NAMES,
    EVENT_TYPES,
    Added,
    Created,
    Dropped,
    Edited,
    Message,
    ModelChosen,
    Opened,
    Origin,
    Picked,
    Redone,
    Replied,
    Spent,
    TakenBack,
    Usage,
)
from backchat.views import Offer, Outcome
from tests.support.client import Client, Json, Refused, client
from tests.support.offering import Offering
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.talk import Talk, talked

# /branch.


def added(outcome: Outcome) -> tuple[Added, ...]:
    """What a new session begins with."""
    assert outcome.opens is not None
    return outcome.opens.events[0].added


def copies(outcome: Outcome) -> list[Message]:
    """The messages that a new session begins with."""
    return [one.message for one in added(outcome)]


def created(outcome: Outcome) -> Created:
    """The first event of a new session."""
    assert outcome.opens is not None
    body = outcome.opens.events[0].body
    assert isinstance(body, Created)
    return body


def test_a_branch_is_a_new_session_of_copies_that_name_their_originals() -> None:
    talk = talked("one", "two")
    outcome = talk.enter("/branch")
    assert outcome.data == {"session_id": "new-1", "title": "one (branch)", "message_id": 4}
    assert outcome.notice == "A new session with 4 messages: connect to /ws/new-1"
    assert [(one.id, one.role, one.content, one.original) for one in copies(outcome)] == [
        (1, "user", "one", Origin(1, "s")),
        (2, "assistant", "ONE", Origin(2, "s")),
        (3, "user", "two", Origin(3, "s")),
        (4, "assistant", "TWO", Origin(4, "s")),
    ]
    assert created(outcome).messages == 4
    assert outcome.opens is not None
    assert [decided.head for decided in outcome.opens.events] == [4]
    assert [one.parent for one in added(outcome)] == [0, 1, 2, 3]


def test_a_branch_is_said_in_both_sessions_and_changes_nothing_else_in_the_old_one() -> None:
    talk = talked("one")
    before = talk.state
    outcome = talk.enter("/branch 1")
    assert [decided.body for decided in outcome.events] == [Opened("new-1", 1)]
    assert created(outcome).branched_from == Origin(1, "s")
    assert (talk.state.head, talk.state.transcript_revision) == (before.head, before.transcript_revision)
    assert (talk.state.title, talk.state.redo) == (before.title, before.redo)


def test_a_branch_begins_from_any_message_on_screen_or_off_it() -> None:
    talk = talked("one", "two", "three")
    assert [one.content for one in copies(talk.enter("/branch 3"))] == ["one", "ONE", "two"]
    talk.enter("/edit 3 zwei")
    talk.answer("ZWEI")
    outcome = talk.enter("/branch 5 The old way")
    assert [one.original for one in copies(outcome)] == [Origin(number, "s") for number in (1, 2, 3, 4, 5)]
    assert created(outcome).branched_from == Origin(5, "s")
    assert outcome.data == {"session_id": "new-2", "title": "The old way", "message_id": 5}
    assert [one.original for one in copies(talk.enter("/branch"))] == [Origin(number, "s") for number in (1, 2, 7, 8)]


def test_a_branch_takes_everything_of_a_message_but_its_run_and_what_it_cost() -> None:
    talk = talked()
    content = [{"type": "image_url", "image_url": {"url": "data:"}}]
    talk.say(content)
    talk.write("x")
    talk.answer("y", Usage(input_tokens=7, output_tokens=3))
    message = talk.tree[2].message
    (said, reply) = copies(talk.enter("/branch"))
    assert (said.content, said.created_at) == (content, talk.tree[1].message.created_at)
    assert (reply.content, reply.finish, reply.created_at) == ("xy", message.finish, message.created_at)
    assert (message.run_id, message.usage) == ("r2", Usage(input_tokens=7, output_tokens=3))
    assert (reply.run_id, reply.usage, reply.cost) == (None, None, None)


def test_what_was_paid_for_there_is_not_billed_here_again() -> None:
    talk = talked("one")
    talk.say("two")
    talk.answer("2", Usage(input_tokens=7, output_tokens=3))
    branch = talk.enter("/branch")
    new = Talk(added=added(branch), created=created(branch))
    assert new.state.spent == new.head.spent == Spent()
    assert talk.state.spent.input_tokens == 7


def test_a_branch_of_a_branch_names_the_session_it_was_made_from() -> None:
    first = talked("one").enter("/branch")
    new = Talk(added=added(first), created=created(first), session_id="new-1")
    assert new.state.branched_from == Origin(2, "s")
    again = new.enter("/branch 1")
    assert [one.original for one in copies(again)] == [Origin(1, "new-1")]
    assert created(again).branched_from == Origin(1, "new-1")


def test_a_branch_of_what_a_drop_has_copied_names_those_copies() -> None:
    talk = talked("one", "two")
    talk.enter("/drop 1")
    assert [one.original for one in copies(talk.enter("/branch"))] == [Origin(5, "s"), Origin(6, "s")]


def test_the_choices_of_a_session_come_along() -> None:
    offer = Offer(replies=True, model="one", models=("one", "two"), personalities={"pirate": "Arr."})
    talk = talked("hello", offer=offer, created=Created(workspace="/w"))
    for line in ("/model two", "/personality pirate", "/system Be brief.", "/title Mine"):
        talk.enter(line)
    outcome = talk.enter("/branch")
    first = created(outcome)
    assert (first.model, first.workspace, first.personality, first.system) == ("two", "/w", "pirate", "Be brief.")
    assert first.title == "Mine (branch)"
    assert outcome.opens is not None
    assert [(decided.body, decided.head) for decided in outcome.opens.events[1:]] == [(ModelChosen("two"), 2)]


def test_a_model_that_nobody_chose_is_not_chosen_in_the_branch_either() -> None:
    talk = talked("hello", created=Created(model="elsewhere"), offer=Offer(replies=True, model="one"))
    outcome = talk.enter("/branch")
    assert created(outcome).model == talk.state.model
    assert outcome.opens is not None
    assert len(outcome.opens.events) == 1


@pytest.mark.parametrize(
    ("old", "line", "title"),
    [
        ("Mine", "/branch", "Mine (branch)"),
        ("Mine", "/branch Yours  and\tours", "Yours and ours"),
        ("Mine", "/branch -- 3 rivers", "3 rivers"),
        ("x" * MOST_TITLE, "/branch", "x" * (MOST_TITLE - 12) + "... (branch)"),
        ("x" * (MOST_TITLE - 12), "/branch", "x" * (MOST_TITLE - 12) + " (branch)"),
        (None, "/branch", None),
        ("  ", "/branch", None),
    ],
)
def test_the_title_of_a_branch_is_the_one_given_or_says_of_which_it_is_one(
    old: str | None, line: str, title: str | None
) -> None:
    talk = Talk("one", created=Created(title=old))
    outcome = talk.enter(line)
    assert (outcome.data["title"], created(outcome).title) == (title, title)
    assert title is None or len(title) <= MOST_TITLE


def test_what_cannot_be_branched_from_is_refused() -> None:
    with pytest.raises(NothingToBranch, match=r"^Nothing is on screen to branch from; /new begins an empty session\.$"):
        Talk().enter("/branch")
    with pytest.raises(NoSuchMessage, match=r"^There is no message 2,026 in this session\. Put -- before a text "):
        talked("one").enter("/branch 2026 plans")
    talk = talked("one")
    talk.enter("/clear")
    with pytest.raises(NothingToBranch):
        talk.enter("/branch")
    assert len(copies(talk.enter("/branch 2"))) == 2


def test_a_branch_during_a_reply_leaves_the_reply_alone() -> None:
    talk = talked("one")
    talk.say("two")
    talk.write("half")
    outcome = talk.enter("/branch")
    assert (outcome.stop, talk.run is not None) == (None, True)
    assert [one.content for one in copies(outcome)] == ["one", "ONE", "two"]


# /goto.


def test_goto_ends_the_transcript_with_a_message() -> None:
    talk = talked("one", "two", "three")
    revision = talk.state.revision
    outcome = talk.enter("/goto 3")
    assert talk.ids == [1, 2, 3]
    assert outcome.data == {"message_id": 3, "removed_count": 3, "restored_count": 0}
    assert outcome.notice == f"The transcript ends with message 3 now. /goto @{revision} goes back."
    assert talk.bodies[-1] is Picked
    outcome = talk.enter(f"/goto @{revision}")
    assert talk.ids == [1, 2, 3, 4, 5, 6]
    assert outcome.data == {"message_id": 6, "removed_count": 0, "restored_count": 3}


def test_goto_a_message_of_another_branch() -> None:
    talk = talked("one", "two")
    talk.enter("/edit 3 zwei")
    talk.answer("ZWEI")
    outcome = talk.enter("/goto #4")
    assert (talk.ids, outcome.data) == (
        [1, 2, 3, 4], {"message_id": 4, "removed_count": 2, "restored_count": 2},
    )  # fmt: skip


def test_goto_a_revision_brings_the_transcript_of_that_time_back() -> None:
    talk = talked("one", "two", "three")
    for line in ("/undo 2", "/edit 1 eins", "/clear", "/title T"):
        talk.enter(line)
        if talk.run is not None:
            talk.answer("EINS")
    seen = [step.after.head for step in talk.loaded()[1]]
    for revision, head in enumerate(seen, start=1):
        talk.enter(f"/goto @{revision}")
        assert talk.state.head == head


def test_goto_the_first_revision_of_a_session_that_began_empty_empties_it() -> None:
    talk = talked("one")
    outcome = talk.enter("/goto @1")
    assert (talk.ids, outcome.data["message_id"]) == ([], None)
    assert outcome.notice == "The transcript is empty now. /goto @3 goes back."


def test_goto_where_one_is_changes_nothing() -> None:
    talk = talked("one")
    for line in ("/goto 2", f"/goto @{talk.state.revision}"):
        outcome = talk.enter(line)
        assert (outcome.events, outcome.notice) == ((), "The transcript ends with message 2 now.")
        assert outcome.data == {"message_id": 2, "removed_count": 0, "restored_count": 0}


def test_goto_stops_the_reply_that_is_being_written_and_names_the_way_back_to_it() -> None:
    talk = talked("one")
    talk.say("two")
    talk.write("half")
    outcome = talk.enter("/goto 2")
    assert [type(decided.body) for decided in outcome.events] == [Replied, Picked]
    assert outcome.stop is not None
    assert outcome.data == {"message_id": 2, "removed_count": 2, "restored_count": 0, "stopped": True}
    assert outcome.notice is not None
    talk.enter(outcome.notice[outcome.notice.index("/goto") :].removesuffix(" goes back."))
    assert talk.texts == ["one", "ONE", "two", "half"]


def test_goto_the_message_that_is_being_answered_stops_the_reply() -> None:
    talk = talked("one")
    talk.say("two")
    outcome = talk.enter("/goto 3")
    assert [type(decided.body) for decided in outcome.events] == [Picked]
    assert (outcome.stop is not None, talk.run, talk.ids) == (True, None, [1, 2, 3])
    talk.enter("/retry")
    talk.write("half")
    talk.enter("/goto 3")
    assert (talk.ids, len(talk.tree.nodes)) == ([1, 2, 3], 5)


@pytest.mark.parametrize("asked", ["4", "99", "9" * 30])
def test_goto_a_revision_that_is_not_there_yet_is_refused(asked: str) -> None:
    with pytest.raises(NoSuchRevision, match=r"^There is no revision [\d,]+ yet; the last is 3\.$") as caught:
        talked("one").enter(f"/goto @{asked}")
    assert caught.value.data == {"code": "no_such_revision", "revision": 3}


# What the log has.


def test_the_names_that_events_have_on_disk_are_for_good() -> None:
    assert {EVENT_NAMES[body] for body in (TakenBack, Redone, Edited, Picked, Dropped)} == {
        ("taken_back", 1), ("redone", 1), ("edited", 1), ("picked", 1), ("dropped", 1),
    }  # fmt: skip
    assert (EVENT_NAMES[Created], EVENT_NAMES[Opened]) == (("created", 2), ("opened", 2))
    assert EVENT_TYPES["head_moved", 1] is TakenBack


# Over real sockets.


def stored(data: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


async def quiet(one: Client) -> None:
    """Waits until no reply is being written."""
    await one.until(lambda: one.view.run is None)


async def test_a_branch_goes_on_by_itself_and_says_where_it_is_from(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        for text in ("one", "two"):
            await one.say(text)
        result = await one.submit("/branch 2 Aside", op_id="b")
        assert result["data"]["message_id"] == 2
        origin = {"message_id": 2, "session_id": one.session_id}
        async with client(server.ws(result["data"]["session_id"])) as new:
            assert (new.view.texts, new.view.session["title"]) == (["one", "one"], "Aside")
            assert new.view.session["branched_from"] == origin
            assert [message["original"] for message in new.view.messages] == [
                {"message_id": number, "session_id": one.session_id} for number in (1, 2)
            ]
            status = await new.submit("/status")
            assert status["data"]["branched_from"] == origin
            assert f"Branched from message 2 of {one.session_id}." in status["notice"].splitlines()
            (first,) = (await new.submit("/log"))["data"]["events"]
            assert first["did"] == f"began with 2 messages, branched from message 2 of {one.session_id}"
            assert (first["command"], first["cause"]["connection"]) == ("branch", one.view.connection)
            await new.say("three")
            assert new.view.texts == ["one", "one", "three", "three"]
            new_facts = new.view.facts()
        assert one.view.texts == ["one", "one", "two", "two"]
        (last,) = (await one.submit("/log 1"))["data"]["events"]
        assert last["did"] == f"branched from message 2 into the session {result['data']['session_id']}"
        assert last["cause"] == {
            "op_id": "b", "command": "branch", "connection": one.view.connection, "name": one.attached["name"],
        }  # fmt: skip
        session_id, facts = one.session_id, one.view.facts()
    async with (
        running(tmp_path) as server,
        client(server.ws(session_id)) as one,
        client(server.ws(result["data"]["session_id"])) as new,
    ):
        assert (one.view.facts(), new.view.facts()) == (facts, new_facts)


async def test_a_branch_of_what_is_being_answered_leaves_the_reply_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            replies.say("half")
            run_id = (await one.submit("one"))["run_id"]
            await one.until(lambda: one.view.run and one.view.run["text"])
            result = await one.submit("/branch")
            async with client(server.ws(result["data"]["session_id"])) as new:
                assert (new.view.texts, new.attached["run"]) == (["one"], None)
                replies.say(" and half")
                replies.end()
                assert (await one.ended(run_id))["reason"] == "completed"
                assert one.view.texts == ["one", "half and half"]
                assert len(new.seen) == 1, "nothing of it comes here"


async def test_a_branch_is_asked_like_the_session_it_came_from(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "Pirate.md").write_text("You are a pirate.")
    async with running(tmp_path / "data", prompts=prompts) as server:
        replies = Offering(server, "one", "two")
        async with client(server.ws()) as one:
            replies.report(usage=Usage(input_tokens=1024, output_tokens=512))
            replies.say("answer")
            replies.end()
            await one.say("hello")
            for line in ("/model two", "/personality pirate", "/system Be brief."):
                await one.submit(line)
            assert one.view.session["input_tokens"] == 1024
            made = (await one.submit("/branch"))["data"]
            async with client(server.ws(made["session_id"])) as new:
                session = new.view.session
                assert [session[name] for name in ("model", "personality", "system")] == ["two", "Pirate", "Be brief."]
                assert (session["input_tokens"], session["estimated_cost"]) == (0, None)
                usage = (await new.submit("/usage"))["data"]
                assert (usage["total_tokens"], usage["on_screen"]["total_tokens"]) == (0, 0)
                replies.say("again")
                replies.end()
                await new.say("and now?")
                prompt = replies.prompts[-1]
                assert (prompt.model, prompt.system) == ("two", "You are a pirate.\n\nBe brief.")
                assert [message.content for message in prompt.messages] == ["hello", "answer", "and now?"]


async def test_a_branch_is_made_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await one.say("one")
        first = await one.submit("/branch", op_id="b")
        async with client(server.ws(one.session_id)) as two:
            assert await two.submit("/branch", op_id="b") == {**first, "replayed": True}
        session_id = one.session_id
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert await one.submit("/branch", op_id="b") == {**first, "replayed": True}
    assert stored(tmp_path, "SELECT count(*) FROM session") == [(2,)]


@pytest.mark.parametrize("part", ["event WHEN NEW.type = 'opened'", "event WHEN NEW.type = 'created'", "message"])
async def test_a_branch_and_the_record_of_it_are_stored_together_or_not_at_all(tmp_path: Path, part: str) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await one.say("one")
        before = stored(tmp_path, "SELECT session_id, revision FROM event")
        db = sqlite3.connect(tmp_path / "backchat.db")
        db.execute(f"CREATE TRIGGER broken BEFORE INSERT ON {part} BEGIN SELECT RAISE(ABORT, 'broken'); END")
        with pytest.raises(Refused) as caught:
            await one.submit("/branch", op_id="b")
        assert caught.value.code == "storage_failed"
        await one.again(2)
        assert stored(tmp_path, "SELECT session_id, revision FROM event") == before
        assert stored(tmp_path, "SELECT count(*), (SELECT count(*) FROM session) FROM message") == [(2, 1)]
        db.execute("DROP TRIGGER broken")
        db.close()
        made = await one.submit("/branch", op_id="b")
        assert "replayed" not in made
        async with client(server.ws(made["data"]["session_id"])) as new:
            assert new.view.texts == ["one", "one"]


async def test_a_branch_is_refused_for_a_transcript_that_has_changed(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        stale = one.view.revision
        await one.submit("/undo")
        with pytest.raises(Refused) as caught:
            await one.submit("/branch 2", if_revision=stale)
        assert caught.value.code == "stale_revision"
        with pytest.raises(Refused) as caught:
            await one.submit("/branch", if_revision=one.view.revision)
        assert caught.value.code == "nothing_to_branch"


async def test_goto_moves_every_client_and_knows_every_revision_after_a_restart(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "data") as server,
        client(server.ws()) as one,
        client(server.ws(one.session_id)) as two,
    ):
        for text in ("one", "two", "three"):
            await one.say(text)
        seen = {one.view.revision: one.view.texts}
        for line in ("/goto 3", "/undo", "/clear", "/redo"):
            result = await one.submit(line)
            await two.at(result["revision"])
            assert one.view.facts() == two.view.facts()
            seen[result["revision"]] = one.view.texts
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
        session_id = one.session_id
    for data in ("data", "killed"):
        async with running(tmp_path / data) as server, client(server.ws(session_id)) as one:
            for revision, texts in seen.items():
                await one.submit(f"/goto @{revision}")
                assert one.view.texts == texts
            with pytest.raises(Refused) as caught:
                await one.submit("/goto @999")
            assert caught.value.code == "no_such_revision"
            assert caught.value.error["data"]["revision"] == one.view.revision


async def test_goto_a_revision_that_is_not_durable_yet(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        revision = one.view.revision
        numbers = [await one.send("submit", text=text) for text in ("/undo", f"/goto @{revision}", "/goto @1")]
        replies = [await one.reply(number) for number in numbers]
        assert [reply["revision"] for reply in replies] == [revision + 1, revision + 2, revision + 3]
        assert one.view.texts == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("/branch", "nothing_to_branch"),
        ("/branch 9 title", "no_such_message"),
        ("/goto 9", "no_such_message"),
        ("/goto @9", "no_such_revision"),
        ("/goto", "bad_argument"),
        ("/drop 1", "no_such_turn"),
        ("/redo", "nothing_to_redo"),
    ],
)
async def test_errors_have_names_that_a_program_can_go_by(server: Running, line: str, code: str) -> None:
    async with client(server.ws()) as one:
        with pytest.raises(Refused) as caught:
            await one.submit(line)
        assert caught.value.code == code
        assert one.view.revision == 1


MOVES: list[Json] = [
    {"text": "/undo"}, {"text": "/redo"}, {"text": "/retry"}, {"text": "/clear"}, {"text": "/edit 1 eins"},
    {"text": "/prev"}, {"text": "/next"}, {"text": "/pick 1"}, {"text": "/goto 1"}, {"text": "/goto @1"},
    {"text": "/drop 1"},
]  # fmt: skip


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move["text"])
async def test_a_command_for_a_transcript_that_has_changed_since_changes_nothing(server: Running, move: Json) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        stale = one.view.revision
        await one.submit("/retry")
        await quiet(one)
        await one.submit("/undo")
        before = one.view.facts()
        with pytest.raises(Refused) as caught:
            await one.submit(**move, if_revision=stale)
        assert caught.value.code == "stale_revision"
        assert caught.value.error["data"]["revision"] == one.view.revision
        async with client(server.ws(one.session_id)) as fresh:
            assert fresh.view.facts() == before


LIVE = {
    "/undo": [],
    "/redo": ["one", "1"],
    "/retry": ["one"],
    "/clear": [],
    "/edit eins": ["eins"],
    "/prev": ["one", "1"],
    "/pick 2": ["one", "1"],
    "/goto 2": ["one", "1"],
    "/goto @1": [],
    "/drop 1": [],
}
"""What changes the transcript, and what is left of it where "one" was answered with "1" and is being answered again."""


@pytest.mark.parametrize("line", LIVE)
async def test_what_changes_the_transcript_first_stops_the_reply_for_every_client_and_keeps_it(
    tmp_path: Path, line: str
) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            replies.say("1")
            replies.end()
            await one.say("one")
            await one.submit("/retry")
            replies.say("half")
            await two.until(lambda: two.view.run and two.view.run["text"] == "half")
            await one.submit("waits")
            assert two.view.run is not None
            run_id, mark, revision = two.view.run["run_id"], len(two.seen), two.view.revision
            result = await two.submit(line, if_revision=revision, op_id="m")
            assert await two.submit(line, op_id="m") == {**result, "replayed": True}
            await one.at(result["revision"])
            assert one.view.texts == two.view.texts == LIVE[line]
            frames = [frame for frame in two.seen[mark:] if "method" in frame]
            kept, ended = (
                next(at for at, frame in enumerate(frames) if frame["method"] == method)
                for method in ("transcript.spliced", "run.ended")
            )
            (half,) = frames[kept]["params"]["messages"]
            assert (half["content"], half["finish"], half["variant"]) == ("half", "stopped", {"index": 2, "count": 2})
            assert frames[ended]["params"] == {"run_id": run_id, "reason": "stopped"}
            assert kept < ended < max(at for at, frame in enumerate(frames) if "keep" in frame["params"])
            assert two.view.session["queue_paused"], "what waits is not sent unasked"
            await one.submit(f"/goto {half['id']}")
            assert one.view.texts == ["one", "half"]


async def test_of_two_commands_for_one_transcript_that_are_on_their_way_at_once_the_second_is_stale(
    server: Running,
) -> None:
    async with client(server.ws()) as one:
        for text in ("one", "two"):
            await one.say(text)
        seen = one.view.revision
        numbers = [await one.send("submit", text="/undo", if_revision=seen) for _ in range(2)]
        assert (await one.reply(numbers[0]))["revision"] == seen + 1
        with pytest.raises(Refused) as caught:
            await one.reply(numbers[1])
        assert (caught.value.code, caught.value.error["data"]["revision"]) == ("stale_revision", seen + 1)


async def test_what_is_no_matter_of_the_transcript_makes_no_revision_stale(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        seen = one.view.revision
        for line in ("/title T", "/branch", "/system be brief", "/new"):
            await one.submit(line)
        assert (await one.submit("/undo", if_revision=seen))["data"]["turns"] == 1
