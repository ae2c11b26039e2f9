"""/redo: brings back, step by step and exactly, what was taken off; on every client, and after any restart."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backchat.errors import NothingToRedo
from backchat.reports import redo_steps
from backchat.transcript import Redone, Replied, TakenBack
from tests.support.client import Client, Refused, client
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.talk import Talk, talked

# What comes back.


@pytest.mark.parametrize(("line", "turns"), [("/undo", 1), ("/undo 2", 2), ("/undo 3", 3), ("/undo 99", 3)])
def test_an_undo_of_any_length_is_redone_as_one_step(line: str, turns: int) -> None:
    talk = talked("one", "two", "three")
    before = talk.ids
    talk.enter(line)
    assert talk.redo == [(6, turns)]
    outcome = talk.enter("/redo")
    assert talk.ids == before
    assert outcome.data == {"turns": turns, "restored_count": 2 * turns, "removed_count": 0}
    assert outcome.notice == f"Brought back {turns} turn{'s' if turns > 1 else ''}."
    assert talk.redo == []
    assert talk.bodies[-2:] == [TakenBack, Redone]


def test_steps_come_back_one_by_one_the_last_one_first() -> None:
    talk = talked("one", "two", "three", "four")
    seen = [talk.ids]
    for line in ("/undo", "/undo 2", "/undo"):
        talk.enter(line)
        seen.append(talk.ids)
    assert seen[-1] == []
    for before in reversed(seen[:-1]):
        talk.enter("/redo")
        assert talk.ids == before
    assert talk.redo == []


@pytest.mark.parametrize(
    ("line", "turns", "ids"),
    [
        ("/redo", 1, [1, 2]),
        ("/redo 1", 1, [1, 2]),
        ("/redo 2", 3, [1, 2, 3, 4, 5, 6]),
        ("/redo 3", 3, [1, 2, 3, 4, 5, 6]),
        ("/redo 4", 4, [1, 2, 3, 4, 5, 6, 7, 8]),
        ("/redo 99", 4, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_with_a_number_as_many_whole_steps_come_back_as_it_takes(line: str, turns: int, ids: list[int]) -> None:
    talk = talked("one", "two", "three", "four")
    for undo in ("/undo", "/undo 2", "/undo"):
        talk.enter(undo)
    outcome = talk.enter(line)
    assert (outcome.data["turns"], outcome.data["restored_count"]) == (turns, 2 * turns)
    assert talk.ids == ids
    assert len(talk.redo) == {1: 2, 3: 1, 4: 0}[turns]


def test_redo_brings_back_the_reply_that_a_retry_took_off_and_the_new_one_stays_a_variant() -> None:
    talk = talked("one")
    talk.enter("/retry")
    assert talk.redo == [(2, 1)]
    talk.answer("another")
    assert (talk.texts, talk.variants) == (["one", "another"], ["", "2/2"])
    outcome = talk.enter("/redo")
    assert outcome.data == {"turns": 1, "restored_count": 1, "removed_count": 1}
    assert (talk.texts, talk.variants) == (["one", "ONE"], ["", "1/2"])
    talk.enter("/next")
    assert talk.texts == ["one", "another"]


def test_without_a_backend_redo_brings_back_the_message_that_a_retry_gave_back() -> None:
    talk = talked("one", "two", replies=False)
    assert talk.enter("/retry").prefill == "two"
    assert talk.texts == ["one"]
    talk.enter("/redo")
    assert talk.texts == ["one", "two"]


def test_a_retry_that_takes_nothing_off_leaves_nothing_to_redo() -> None:
    talk = Talk("one")
    talk.enter("/retry")
    assert talk.redo == []


def test_redo_brings_back_what_was_cleared() -> None:
    talk = talked("one", "two")
    talk.enter("/clear")
    assert (talk.ids, talk.redo) == ([], [(4, 2)])
    assert talk.enter("/redo").data == {"turns": 2, "restored_count": 4, "removed_count": 0}
    assert talk.ids == [1, 2, 3, 4]


def test_what_has_no_turn_counts_as_one_when_it_comes_back() -> None:
    talk = Talk(("assistant", "good morning"))
    talk.enter("/clear")
    assert talk.enter("/redo 1").data == {"turns": 1, "restored_count": 1, "removed_count": 0}


def test_redo_brings_back_what_an_edit_took_off_although_the_edit_was_answered() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/edit 3 zwei")
    talk.answer("ZWEI")
    assert talk.texts == ["one", "ONE", "zwei", "ZWEI"]
    assert talk.redo == [(6, 2)]
    outcome = talk.enter("/redo")
    assert outcome.data == {"turns": 2, "restored_count": 4, "removed_count": 2}
    assert talk.texts == ["one", "ONE", "two", "TWO", "three", "THREE"]


def test_redo_brings_back_a_turn_that_was_dropped() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/drop 2")
    assert talk.redo == [(6, 1)]
    assert talk.enter("/redo").data == {"turns": 1, "restored_count": 4, "removed_count": 2}
    assert talk.ids == [1, 2, 3, 4, 5, 6]


def test_several_kinds_of_steps_come_back_in_turn() -> None:
    talk = talked("one", "two", "three")
    seen = [talk.ids]
    for line in ("/drop 1", "/undo", "/edit zwei", "/retry", "/clear"):
        talk.enter(line)
        if talk.run is not None:
            talk.answer("!")
        seen.append(talk.ids)
    for before in reversed(seen[:-1]):
        talk.enter("/redo")
        assert talk.ids == before


def test_redo_brings_back_what_a_run_had_written_when_it_was_undone() -> None:
    talk = talked("one")
    talk.say("two")
    talk.write("half")
    talk.enter("/undo")
    talk.enter("/redo")
    assert talk.texts == ["one", "ONE", "two", "half"]
    assert talk.head.message.finish == "stopped"
    assert talk.run is None, "what comes back is what was there, and nobody asks again"


def test_redo_stops_a_live_run_and_keeps_what_it_had_written_as_a_variant() -> None:
    talk = talked("one")
    talk.enter("/retry")
    talk.write("half")
    outcome = talk.enter("/redo")
    assert [type(decided.body) for decided in outcome.events] == [Replied, Redone]
    assert outcome.stop is not None
    assert outcome.data == {"turns": 1, "restored_count": 1, "removed_count": 1}
    assert (talk.texts, talk.variants) == (["one", "ONE"], ["", "1/2"])
    talk.enter("/next")
    assert talk.texts == ["one", "half"]


def test_redo_stops_a_live_run_that_has_written_nothing() -> None:
    talk = talked("one")
    talk.enter("/retry")
    outcome = talk.enter("/redo")
    assert [type(decided.body) for decided in outcome.events] == [Redone]
    assert outcome.stop is not None
    assert (talk.texts, talk.variants) == (["one", "ONE"], ["", ""])


# What ends the redo line, and what does not.


def nothing_to_redo(talk: Talk) -> bool:
    """Whether there is nothing, and the server says so."""
    with pytest.raises(NothingToRedo, match=r"^Nothing to redo\.$"):
        talk.enter("/redo")
    return talk.redo == []


def test_in_a_new_session_there_is_nothing_to_redo_nor_in_one_where_nothing_was_taken_off() -> None:
    assert nothing_to_redo(Talk())
    assert nothing_to_redo(talked("one"))
    talk = talked("one")
    talk.enter("/undo")
    talk.enter("/redo")
    assert nothing_to_redo(talk)


def test_a_submitted_message_ends_the_redo_line_but_what_it_leaves_behind_stays_a_variant() -> None:
    talk = talked("one", "two")
    talk.enter("/undo")
    talk.enter("zwei")
    talk.answer("ZWEI")
    assert nothing_to_redo(talk)
    assert talk.variants == ["", "", "2/2", ""]
    talk.enter("/prev")
    assert talk.texts == ["one", "ONE", "two", "TWO"]


def test_a_message_that_waits_leaves_the_redo_line_and_ends_it_when_it_is_sent() -> None:
    talk = talked("one", "two")
    talk.enter("/undo")
    talk.enter("/retry")
    talk.say("waits")
    assert talk.redo == [(2, 1), (4, 1)]
    talk.answer("again")
    assert talk.texts == ["one", "again", "waits"]
    assert nothing_to_redo(talk)


def test_a_message_from_the_queue_that_a_person_sends_on_ends_the_redo_line() -> None:
    talk = talked("one")
    talk.say("two")
    talk.say("waits")
    talk.enter("/undo")
    assert talk.redo == [(3, 1)]
    talk.enter("/queue go")
    assert talk.texts == ["one", "ONE", "waits"]
    assert nothing_to_redo(talk)


@pytest.mark.parametrize("line", ["/retry", "/edit other"])
@pytest.mark.parametrize("answered", [True, False])
def test_what_a_command_itself_adds_does_not_end_the_redo_line(line: str, answered: bool) -> None:
    talk = talked("one", "two", "three")
    talk.enter("/undo")
    talk.enter(line)
    if answered:
        talk.answer("!")
    else:
        talk.write("!")
        talk.restart()
    assert talk.redo == [(4, 1), (6, 1)]
    talk.enter("/redo")
    assert talk.texts == ["one", "ONE", "two", "TWO"]
    talk.enter("/redo")
    assert talk.texts == ["one", "ONE", "two", "TWO", "three", "THREE"]


@pytest.mark.parametrize(
    "line", ["/pick 3", "/goto 1", "/goto @1", "/branch", "/title T", "/system be brief", "/new", "/stop", "/log"]
)
def test_moving_about_and_choosing_leave_the_redo_line_alone(line: str) -> None:
    talk = talked("one", "two", "three")
    talk.enter("/undo")
    talk.enter(line)
    assert talk.redo == [(6, 1)]
    talk.enter("/redo")
    assert talk.ids == [1, 2, 3, 4, 5, 6]


def test_variants_that_are_chosen_leave_the_redo_line_alone() -> None:
    talk = talked("one")
    talk.enter("/retry")
    talk.answer("2")
    for line, end in (("/prev", "ONE"), ("/next", "2")):
        talk.enter(line)
        assert (talk.texts[-1], talk.redo) == (end, [(2, 1)])


def test_a_step_that_is_back_by_another_way_is_passed_over() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/undo")
    talk.enter("/undo")
    talk.enter("/goto 4")
    outcome = talk.enter("/redo")
    assert (talk.ids, talk.redo) == ([1, 2, 3, 4, 5, 6], [])
    assert outcome.data == {"turns": 1, "restored_count": 2, "removed_count": 0}


def test_where_all_is_back_by_another_way_there_is_nothing_to_redo() -> None:
    talk = talked("one", "two")
    talk.enter("/undo")
    talk.enter("/goto 4")
    with pytest.raises(NothingToRedo):
        talk.enter("/redo")
    with pytest.raises(NothingToRedo):
        talk.enter("/redo 9")


def test_what_an_undo_takes_off_after_a_redo_is_the_next_to_come_back() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/undo 2")
    talk.enter("/redo")
    talk.enter("/undo")
    assert talk.redo == [(6, 1)]
    talk.enter("/redo")
    assert talk.ids == [1, 2, 3, 4, 5, 6]


def test_the_redo_line_is_in_status_and_its_notice() -> None:
    talk = talked("one", "two")
    assert talk.enter("/status").data["redo_steps"] == 0
    talk.enter("/undo")
    talk.enter("/undo")
    outcome = talk.enter("/status")
    assert outcome.data["redo_steps"] == 2
    assert "/redo can bring 2 steps back." in (outcome.notice or "").splitlines()


def test_the_second_step_of_two_is_said_in_one_notice() -> None:
    talk = talked("one", "two")
    talk.enter("/undo")
    talk.enter("/undo")
    talk.enter("/redo 2")
    assert talk.enter("/log 1").data["events"][0]["did"] == "brought 2 steps back: the transcript ends with message 4"


# Over real sockets.


async def quiet(one: Client) -> None:
    """Waits until no reply is being written."""
    await one.until(lambda: one.view.run is None)


def taken_off(line: str) -> tuple[list[str], list[str]]:
    """The texts before and after a line in a session of three echoed turns."""
    before = ["one", "one", "two", "two", "three", "three"]
    after = {
        "/undo": before[:4],
        "/undo 3": [],
        "/retry": before,
        "/clear": [],
        "/edit 1 eins": ["eins", "eins"],
        "/drop 2": ["one", "one", "three", "three"],
    }
    return before, after[line]


LINES = ["/undo", "/undo 3", "/retry", "/clear", "/edit 1 eins", "/drop 2"]


@pytest.mark.parametrize("line", LINES)
async def test_every_client_sees_what_comes_back_and_a_killed_server_still_brings_it_back(
    tmp_path: Path, line: str
) -> None:
    before, after = taken_off(line)
    async with (
        running(tmp_path / "data") as server,
        client(server.ws()) as one,
        client(server.ws(one.session_id)) as two,
    ):
        for text in ("one", "two", "three"):
            await one.say(text)
        ids = [message["id"] for message in one.view.messages]
        await two.submit(line)
        await quiet(two)
        await one.at(two.view.revision)
        assert one.view.texts == after
        assert [each.view.session["redo_steps"] for each in (one, two)] == [1, 1]
        # As after a power cut: nothing is closed.
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
        result = await one.submit("/redo")
        await two.at(result["revision"])
        for each in (one, two):
            assert ([message["id"] for message in each.view.messages], each.view.texts) == (ids, before)
            assert each.view.session["redo_steps"] == 0
        assert two.named("transcript.spliced")[-1]["cause"]["command"] == "redo"
        async with client(server.ws(one.session_id)) as fresh:
            assert fresh.view.facts() == one.view.facts() == two.view.facts()
        session_id = one.session_id
    for data, steps in (("killed", 1), ("data", 0)):
        async with running(tmp_path / data) as server, client(server.ws(session_id)) as one:
            assert one.view.session["redo_steps"] == steps
            if steps:
                assert one.view.texts == after
                await one.submit("/redo")
            assert ([message["id"] for message in one.view.messages], one.view.texts) == (ids, before)


async def test_redo_during_a_live_run_stops_it_for_every_client(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            replies.say("first")
            replies.end()
            await one.say("one")
            await two.submit("/retry")
            replies.say("half")
            await one.until(lambda: one.view.run and one.view.run["text"] == "half")
            run_id = one.view.run and one.view.run["run_id"]
            result = await two.submit("/redo")
            for each in (one, two):
                await each.at(result["revision"])
                assert (each.view.texts, each.view.run) == (["one", "first"], None)
                assert each.view.messages[-1]["variant"] == {"index": 1, "count": 2}
                assert each.named("run.ended")[-1] == {"run_id": run_id, "reason": "stopped"}
            await one.submit("/next")
            assert one.view.messages[-1]["content"] == "half"
            assert one.view.messages[-1]["finish"] == "stopped"


async def test_a_retry_that_died_with_the_server_can_be_redone(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            replies.say("first")
            replies.end()
            await one.say("one")
            await one.submit("/retry")
            shutil.copytree(tmp_path / "data", tmp_path / "killed")
            session_id = one.session_id
    async with running(tmp_path / "killed") as server, client(server.ws(session_id)) as one:
        await one.until(lambda: [message.get("finish") for message in one.view.messages] == [None, "interrupted"])
        await one.submit("/redo")
        assert one.view.texts == ["one", "first"]
        assert one.view.messages[-1]["variant"] == {"index": 1, "count": 2}


async def test_a_message_and_one_from_the_queue_end_the_redo_line_on_every_client(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            replies.say("first")
            replies.end()
            await one.say("one")
            await one.submit("/retry")
            await two.submit("waits")
            await one.until(lambda: one.view.session["queue"])
            assert one.view.session["redo_steps"] == 1
            replies.say("second")
            replies.end()
            await one.until(lambda: one.view.texts == ["one", "second", "waits"])
            await one.until(lambda: one.view.session["redo_steps"] == 0)
            with pytest.raises(Refused) as caught:
                await two.submit("/redo")
            assert caught.value.code == "nothing_to_redo"
            assert caught.value.error["message"] == "Nothing to redo."
            await two.submit("/undo")
            assert two.view.session["redo_steps"] == 1
            await two.submit("now")
            await one.until(lambda: one.view.texts[-1] == "now" and one.view.session["redo_steps"] == 0)


async def test_without_a_backend_what_was_taken_off_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        for text in ("one", "two", "three"):
            await one.say(text)
        for line in ("/undo", "/retry", "/edit eins", "/clear"):
            await one.submit(line)
        assert one.view.session["redo_steps"] == 4
        seen = []
        for _ in range(4):
            await one.submit("/redo")
            seen.append(one.view.texts)
        assert seen == [["eins"], ["one"], ["one", "two"], ["one", "two", "three"]]


async def test_two_redos_under_one_op_id_are_one_and_one_for_an_old_transcript_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, client(server.ws()) as one:
        for text in ("one", "two"):
            await one.say(text)
        await one.submit("/undo")
        stale = one.view.revision
        await one.submit("/undo")
        with pytest.raises(Refused) as caught:
            await one.submit("/redo", if_revision=stale)
        assert (caught.value.code, caught.value.error["data"]["revision"]) == ("stale_revision", one.view.revision)
        assert (one.view.texts, one.view.session["redo_steps"]) == ([], 2)
        first = await one.submit("/redo", op_id="again", if_revision=one.view.revision)
        again = await one.submit("/redo", op_id="again", if_revision=stale)
        assert again == {**first, "replayed": True}
        assert (one.view.texts, one.view.session["redo_steps"]) == (["one", "one"], 1)


Rewrite = Callable[[sqlite3.Connection, str], None]


def _as_head_moved(db: sqlite3.Connection, session_id: str) -> None:
    db.execute(
        "UPDATE event SET type = 'head_moved' WHERE type = 'taken_back' AND session_id = ?",
        (session_id,),
    )


def _stop_without_a_word(db: sqlite3.Connection, session_id: str) -> None:
    # What a stop before the first word was, before there was `run_stopped`: the head stayed.
    (revision, head) = db.execute(
        "SELECT revision, head FROM event WHERE session_id = ? ORDER BY revision DESC LIMIT 1", (session_id,)
    ).fetchone()
    db.execute(
        "INSERT INTO event (session_id, revision, type, v, at, actor, command, head, body)"
        " VALUES (?, ?, 'head_moved', 1, 1.5, 'c', 'stop', ?, ?)",
        (session_id, revision + 1, head, json.dumps({})),
    )


async def test_a_log_from_before_redo_is_redone_too(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        for text in ("one", "two", "three"):
            await one.say(text)
        await one.submit("/undo 2")
        await one.submit("/retry")
        await quiet(one)
        session_id = one.session_id
    _rewritten(tmp_path, session_id, _as_head_moved, _stop_without_a_word)
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert one.view.session["redo_steps"] == 2, "a stop took nothing off"
        assert one.view.texts == ["one", "one"]
        assert one.view.messages[-1]["variant"] == {"index": 2, "count": 2}
        await one.submit("/redo")
        assert one.view.messages[-1]["variant"] == {"index": 1, "count": 2}
        await one.submit("/redo")
        assert one.view.texts == ["one", "one", "two", "two", "three", "three"]
        assert one.view.session["redo_steps"] == 0


def _rewritten(data: Path, session_id: str, *rewrites: Rewrite) -> None:
    db: Any = sqlite3.connect(data / "backchat.db")
    with db:
        for rewrite in rewrites:
            rewrite(db, session_id)
    db.close()


def test_a_step_whose_transcript_is_there_again_is_not_told_as_one_that_can_be_redone() -> None:
    talk = talked("one")
    talk.enter("/undo")
    assert redo_steps(talk.state) == 1
    talk.enter("/goto 2")
    assert redo_steps(talk.state) == 0
    assert "/redo" not in (talk.enter("/status").notice or "")
    with pytest.raises(NothingToRedo):
        talk.enter("/redo")
    talk.enter("/goto 1")
    assert redo_steps(talk.state) == 1


@pytest.mark.parametrize("line", ["/redo", "/redo 2", "/redo 99"])
def test_redoing_more_is_never_refused_where_redoing_less_is_not(line: str) -> None:
    talk = talked("one", "two")
    for before in ("/clear", "/goto 2", "/undo", "/goto 4"):
        talk.enter(before)
    talk.enter(line)
    assert talk.bodies[-1] is Redone


async def test_a_client_is_told_when_another_way_leads_to_what_could_be_redone(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        await one.submit("/undo")
        assert one.view.session["redo_steps"] == 1
        await one.submit("/goto 2")
        assert one.view.session["redo_steps"] == 0


@pytest.mark.parametrize("line", ["/redo 1", "/redo 2", "/redo 3", "/redo 9"])
def test_redoing_never_ends_where_it_began(line: str) -> None:
    talk = talked("one", "two")
    for before in ("/undo", "/goto 1", "/undo", "/goto 4"):
        talk.enter(before)
    assert talk.enter(line).data["removed_count"] == 3
    assert talk.ids == [1]
