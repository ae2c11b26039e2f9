"""The outbox: order, merging, bounds."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backchat import frames
from backchat.frames import RunDelta
from backchat.outbox import MOST_TOGETHER, Outbox


def push_delta(outbox: Outbox, run_id: str, offset: int, text: str) -> None:
    delta = RunDelta(run_id, offset, text)
    outbox.push_delta(delta, frames.notification(delta))


async def drained(outbox: Outbox) -> list[Any]:
    """All that the outbox gives, once it is closed."""
    outbox.close(1000, "")
    out: list[Any] = []
    while together := await outbox.get():
        out.extend(json.loads(frame) for frame in together)
    return out


async def test_adjacent_deltas_of_a_run_merge_and_nothing_overtakes_them() -> None:
    outbox = Outbox(100, 10_000)
    for run_id, offset, text in [("a", 0, "x"), ("a", 1, "é"), ("a", 2, "z"), ("b", 0, "1")]:
        push_delta(outbox, run_id, offset, text)
    outbox.push('"reply"')
    push_delta(outbox, "b", 1, "2")
    out = await drained(outbox)
    assert [frame if isinstance(frame, str) else frame["params"] for frame in out] == [
        {"run_id": "a", "offset": 0, "text": "xéz"},
        {"run_id": "b", "offset": 0, "text": "1"},
        "reply",
        {"run_id": "b", "offset": 1, "text": "2"},
    ]


@given(st.lists(st.tuples(st.sampled_from("abr"), st.text(max_size=3)), max_size=40))
async def test_the_text_of_every_run_comes_through_whole(pushed: list[tuple[str, str]]) -> None:
    outbox = Outbox(10**6, 10**9)
    texts = {"a": "", "b": ""}
    for run_id, text in pushed:
        if run_id == "r":
            outbox.push("0")
        else:
            push_delta(outbox, run_id, len(texts[run_id]), text)
            texts[run_id] += text
    got = {"a": "", "b": ""}
    for frame in await drained(outbox):
        if frame:
            params = frame["params"]
            assert params["offset"] == len(got[params["run_id"]])
            got[params["run_id"]] += params["text"]
    assert got == texts


async def test_too_many_waiting_frames_close_the_outbox_and_are_dropped() -> None:
    outbox = Outbox(3, 10_000)
    for _ in range(4):
        outbox.push("0")
    assert outbox.closing is None
    outbox.push("0")
    assert outbox.closing is not None
    assert outbox.closing[0] == 4008
    assert await outbox.get() == []


async def test_too_much_waiting_text_closes_the_outbox_whether_merged_or_not() -> None:
    for run_id in ("a", "b"):
        outbox = Outbox(10**6, 1000)
        push_delta(outbox, "a", 0, "x" * 400)
        push_delta(outbox, "b", 0, "x" * 100)
        assert outbox.closing is None
        push_delta(outbox, run_id, 100, "x" * 600)
        assert outbox.closing is not None


async def test_one_frame_of_any_size_may_wait_alone() -> None:
    outbox = Outbox(1, 10)
    outbox.push("0" * 1000)
    assert outbox.closing is None
    assert await outbox.get() == ["0" * 1000]


async def test_frames_go_together_up_to_a_size_and_the_rest_still_counts() -> None:
    outbox = Outbox(10**6, 3 * MOST_TOGETHER)
    frame = "0" * (MOST_TOGETHER // 2)
    for _ in range(5):
        outbox.push(frame)
    assert await outbox.get() == [frame] * 2
    outbox.push(frame)
    outbox.push(frame)
    outbox.push(frame)
    assert outbox.closing is None
    outbox.push(frame)
    assert outbox.closing is not None
