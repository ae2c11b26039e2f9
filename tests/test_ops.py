"""What commands decide: DESIGN section 5, to the letter."""

from typing import Any

import pytest

from backchat import ops, reports
from backchat.errors import NothingToRetry, NothingToUndo
from backchat.transcript import Created, Replied, TakenBack, path, text_of
from backchat.views import Outcome, StartRun, StopRun, View
from tests.support.views import advanced, view


def left(before: View, outcome: Outcome) -> list[Any]:
    """The contents of the transcript after an outcome."""
    state, _ = advanced(before.state, before.tree, outcome)
    return [message.content for message in path(before.tree[state.head])]


def test_undo_takes_off_the_last_turn_and_gives_its_text_back() -> None:
    before = view("one", "1", "two", "2")
    outcome = ops.undo(before)
    assert outcome.data == {"removed_count": 2, "removed_preview": "two", "turns": 1}
    assert outcome.prefill == "two"
    assert left(before, outcome) == ["one", "1"]


@pytest.mark.parametrize(
    ("turns", "taken", "kept"), [(1, 1, ["one", "1", "two", "2"]), (2, 2, ["one", "1"]), (3, 3, []), (99, 3, [])]
)
def test_undo_takes_off_as_many_turns_as_asked_for_or_all(turns: int, taken: int, kept: list[str]) -> None:
    before = view("one", "1", "two", "2", "three", "3")
    outcome = ops.undo(before, turns)
    assert outcome.data["turns"] == taken
    assert outcome.data["removed_count"] == 2 * taken
    assert left(before, outcome) == kept


def test_the_preview_and_the_prefill_of_undo_are_those_of_the_oldest_removed_message() -> None:
    oldest = "x" * 41
    outcome = ops.undo(view(oldest, "1", "two", "2"), 2)
    assert outcome.data["removed_preview"] == "x" * 40 + "..."
    assert outcome.prefill == oldest


def test_a_preview_of_exactly_forty_characters_has_no_dots() -> None:
    assert ops.undo(view("é" * 40)).data["removed_preview"] == "é" * 40


def test_messages_before_the_first_user_message_stay_when_all_is_undone() -> None:
    before = view(("system", "be brief"), ("user", "hi"), ("assistant", "hello"))
    assert left(before, ops.undo(before, 9)) == ["be brief"]


def test_a_turn_includes_tool_messages_and_two_questions_in_a_row_are_two_turns() -> None:
    before = view(("user", "a"), ("user", "b"), ("assistant", "x"), ("tool", "y"), ("assistant", "z"))
    outcome = ops.undo(before)
    assert outcome.data == {"removed_count": 4, "removed_preview": "b", "turns": 1}
    assert left(before, outcome) == ["a"]


@pytest.mark.parametrize("contents", [(), (("assistant", "good morning"),), (("system", "s"), ("tool", "t"))])
def test_without_a_user_message_there_is_nothing_to_undo_or_to_retry(contents: tuple[Any, ...]) -> None:
    with pytest.raises(NothingToUndo, match=r"^Nothing to undo\.$"):
        ops.undo(view(*contents))
    with pytest.raises(NothingToRetry, match=r"^No previous message to retry\.$"):
        ops.retry(view(*contents))


def test_retry_with_a_backend_moves_the_head_to_the_same_user_message_and_starts_a_run_there() -> None:
    before = view("one", "1", "two", "2")
    outcome = ops.retry(before)
    assert outcome.data == {"last_user_text": "two", "removed_count": 2, "resent": True}
    assert outcome.prefill is None
    assert outcome.start == StartRun("r2", 3, None, None)
    assert left(before, outcome) == ["one", "1", "two"]


def test_retry_without_a_backend_takes_the_message_off_and_gives_its_text_back() -> None:
    before = view("one", "1", "two", "2", replies=False)
    outcome = ops.retry(before)
    assert outcome.data == {"last_user_text": "two", "removed_count": 2, "resent": False}
    assert outcome.prefill == "two"
    assert outcome.start is None
    assert left(before, outcome) == ["one", "1"]


def test_a_retry_of_an_unanswered_message_is_an_event_too_so_that_a_retransmission_asks_once() -> None:
    outcome = ops.retry(view("one"))
    assert [type(decided.body) for decided in outcome.events] == [TakenBack]
    assert outcome.data["removed_count"] == 1


@pytest.mark.parametrize("op", [ops.undo, ops.retry])
def test_a_command_that_changes_the_transcript_keeps_what_a_live_run_had_written(op: Any) -> None:
    before = view("one", "1", "two", run="half a th")
    outcome = op(before)
    assert [type(decided.body) for decided in outcome.events] == [Replied, TakenBack]
    partial = outcome.events[0].added[0].message
    assert (partial.content, partial.finish, partial.run_id) == ("half a th", "stopped", "live")
    assert outcome.stop == StopRun("stopped")
    assert outcome.data["removed_count"] == 2, "the question and the partial reply"


def test_a_run_that_had_written_nothing_leaves_no_message_behind() -> None:
    outcome = ops.undo(view("one", run=""))
    assert [type(decided.body) for decided in outcome.events] == [TakenBack]
    assert outcome.stop == StopRun("stopped")


def test_stop_keeps_the_partial_reply_and_removes_nothing() -> None:
    before = view("one", run="half")
    outcome = ops.stop(before)
    assert outcome.data == {"stopped": True}
    assert left(before, outcome) == ["one", "half"]


def test_stop_without_a_run_says_so() -> None:
    assert ops.stop(view("one")).data == {"stopped": False}


def test_status_has_the_documented_fields() -> None:
    created = Created(title="T", model="m", workspace="/w", personality="p", created_at=5.0)
    before = view("one", "1", created=created, run="x")
    assert reports.status(before).data == {
        "session_id": "s", "title": "T", "model": "m", "workspace": "/w", "personality": "p", "system": None,
        "message_count": 2, "created_at": 5.0, "updated_at": before.at, "agent_running": True,
        "queue": [], "queue_paused": False, "redo_steps": 0, "branched_from": None,
    }  # fmt: skip


def test_usage_is_what_came_with_an_import_and_an_unknown_cost_is_null_not_zero() -> None:
    spent = {
        "input_tokens": 7, "output_tokens": 5, "total_tokens": 12, "cached_tokens": 0, "reasoning_tokens": 0,
        "estimated_cost": None, "unpriced": 1, "estimated": False,
    }  # fmt: skip
    created = Created(input_tokens=7, output_tokens=5, model="m")
    assert reports.usage(view(created=created)).data == {
        **spent, "model": "m", "on_screen": spent, "context_tokens": 0,
    }  # fmt: skip
    assert reports.usage(view(created=Created(estimated_cost=0.25))).data["estimated_cost"] == 0.25


def test_undone_turns_stay_billed() -> None:
    before = view("one", "1", created=Created(input_tokens=7))
    state, _ = advanced(before.state, before.tree, ops.undo(before))
    assert state.spent.input_tokens == 7


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "Will that"}, {"type": "text", "text": "lock?"}], "Will that lock?"),
        ([{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "this"}], "this"),
        ([{"type": "text", "text": 5}, {"type": "text", "text": "x"}, {"type": "text"}], " x "),
        ([], ""),
        (["loose"], ""),
        (None, "None"),
        (12, "12"),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_the_text_of_content(content: Any, text: str) -> None:
    assert text_of(content) == text
