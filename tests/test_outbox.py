"""The outbox: order, merging, bounds."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat import frames
from backchat.frames import RunDelta, Who
from backchat.hub.local import LocalHub
from backchat.outbox import MOST_TOGETHER, Burst, Cut, Outbox, Sent, texts


def push_delta(outbox: Outbox, run_id: str, offset: int, text: str) -> None:
    delta = RunDelta(run_id, offset, text)
    outbox.push_delta(delta, frames.notification(delta))


async def drained(outbox: Outbox) -> list[Any]:
    """All that the outbox gives, once it is closed."""
    outbox.close(1000, "")
    out: list[Any] = []
    while together := outbox.get():
        out.extend(json.loads(frame) for frame in texts(together))
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
    assert outbox.get() == []


async def test_frames_that_are_pushed_together_count_each() -> None:
    outbox = Outbox(3, 10_000)
    outbox.push(*"0000")
    assert outbox.closing is None
    outbox = Outbox(3, 10_000)
    outbox.push(*"00000")
    assert outbox.closing is not None
    outbox = Outbox(10, 10)
    outbox.push("0" * 5, "0" * 6)
    assert outbox.closing is not None


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
    assert outbox.get() == ["0" * 1000]


async def test_frames_go_together_up_to_a_size_and_the_rest_still_counts() -> None:
    outbox = Outbox(10**6, 3 * MOST_TOGETHER)
    frame = "0" * (MOST_TOGETHER // 2)
    for _ in range(5):
        outbox.push(frame)
    assert outbox.get() == [frame] * 2
    outbox.push(frame)
    outbox.push(frame)
    outbox.push(frame)
    assert outbox.closing is None
    outbox.push(frame)
    assert outbox.closing is not None


# Sending at once, and bursts.


class Peer:
    """A writer whose peer takes so many writes, and then no more until the task has waited for it."""

    def __init__(self, outbox: Outbox, takes: int) -> None:
        self._outbox = outbox
        self._most = self._takes = takes
        self.got: list[str] = []
        self.closed = asyncio.Event()

    def send_now(self, together: list[Sent]) -> bool:
        if self._takes == 0:
            return False
        self._takes -= 1
        self.got += texts(together)
        return True

    def start(self) -> None:
        self.task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while together := self._outbox.get():
            await asyncio.sleep(0)
            self._takes = self._most
            # It might take more now, but the task comes to it some time after.
            await asyncio.sleep(0)
            self.got += texts(together)
        if self._outbox.closing is not None:
            self.closed.set()


@pytest.mark.parametrize("takes", [0, 1, 2, 10**9])
@pytest.mark.parametrize("pause", [1, 2, 3, 7])
async def test_what_is_sent_at_once_and_what_is_refused_leave_in_one_order(takes: int, pause: int) -> None:
    outbox = Outbox(10**6, 10**9)
    peer = Peer(outbox, takes)
    outbox.push("first")
    outbox.send_to(peer)
    for number in range(60):
        outbox.push(str(number))
        for _ in range(number % pause):
            await asyncio.sleep(0)
    outbox.close(1000, "")
    await peer.closed.wait()
    assert peer.got == ["first", *map(str, range(60))]


async def test_what_comes_in_one_round_of_the_loop_is_one_write() -> None:
    outbox = Outbox(10**6, 10**9)
    peer = Peer(outbox, 1)
    outbox.send_to(peer)
    burst = Burst()
    outbox.follow(burst)
    burst.add("1")
    outbox.push("2")
    burst.add("3")
    outbox.leave()
    await asyncio.sleep(0)
    assert peer.got == ["1", "2", "3"]


Does = tuple[str, int]


@given(
    st.lists(
        st.tuples(st.sampled_from(["publish", "push", "subscribe", "unsubscribe", "round"]), st.integers(0, 2)),
        min_size=20,
        max_size=60,
    )
)
async def test_each_subscriber_gets_what_is_published_and_what_is_its_own_in_the_order_in_which_they_came(
    does: list[Does],
) -> None:
    hub = LocalHub()
    hub.close()  # nobody is told who comes and goes
    outboxes = [Outbox(10**6, 10**9) for _ in range(3)]
    expected: list[list[str]] = [[] for _ in outboxes]
    attached: set[int] = set()
    for at, (what, number) in enumerate(does):
        match what:
            case "publish":
                hub.publish("s", str(at))
                for one in attached:
                    expected[one].append(str(at))
            case "push":
                outboxes[number].push(str(at))
                expected[number].append(str(at))
            case "subscribe":
                if number not in attached:
                    hub.subscribe("s", Who(str(number), "amber heron"), outboxes[number])
                attached.add(number)
            case "unsubscribe":
                hub.unsubscribe("s", str(number))
                attached.discard(number)
            case _:
                await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [[str(frame) for frame in await drained(outbox)] for outbox in outboxes] == expected


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=30), st.data())
async def test_a_burst_is_the_same_bytes_however_it_is_cut(sizes: list[int], data: st.DataObject) -> None:
    burst = Burst()
    frames = [str(number % 10) * size for number, size in enumerate(sizes)]
    # Some are added once others have been made bytes of.
    for number, frame in enumerate(frames):
        burst.add(frame)
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, number))
            assert burst.framed(start, number + 1, str.encode) == "".join(frames[start : number + 1]).encode()
    cut: Cut | None = Cut(burst, 0, len(frames))
    seen = b""
    while cut is not None:
        some, cut = cut.split(data.draw(st.integers(1, MOST_TOGETHER)))
        assert len(some) > 0
        assert some.size == sum(map(len, some.texts))
        seen += some.framed(str.encode)
    assert seen == "".join(frames).encode()


async def test_the_frames_of_a_burst_count_like_any_other() -> None:
    for most_frames, most_characters in ((3, 10**9), (10**6, 3)):
        outbox, burst = Outbox(most_frames, most_characters), Burst()
        outbox.follow(burst)
        for _ in range(5):
            burst.add("0")
        outbox.leave()
        assert outbox.closing is not None
        assert outbox.closing[0] == 4008


async def test_a_long_burst_does_not_leave_as_one_so_that_the_rest_still_counts() -> None:
    outbox, burst = Outbox(10**6, 10**9), Burst()
    outbox.follow(burst)
    for _ in range(4):
        burst.add("0" * (MOST_TOGETHER // 2))
    outbox.leave()
    assert [len(list(texts(outbox.get()))) for _ in range(2)] == [2, 2]


async def test_nothing_is_sent_once_the_connection_has_ended() -> None:
    outbox = Outbox(10**6, 10**9)
    peer = Peer(outbox, 0)
    outbox.send_to(peer)
    outbox.push("1")
    outbox.send_to(None)
    await asyncio.sleep(0)
    outbox.push("2")
    await asyncio.sleep(0)
    assert not hasattr(peer, "task")


async def test_what_a_burst_holds_is_sent_before_the_connection_closes() -> None:
    outbox, burst = Outbox(10**6, 10**9), Burst()
    outbox.follow(burst)
    burst.add("1")
    outbox.close(4410, "")
    assert list(texts(outbox.get())) == ["1"]


async def test_those_who_only_listen_share_the_bytes_that_they_are_sent() -> None:
    hub, peers = LocalHub(), []
    hub.close()  # nobody is told who comes and goes
    for number in range(3):
        outbox = Outbox(10**6, 10**9)
        hub.subscribe("s", Who(str(number), "amber heron"), outbox)
        peers.append(outbox)
    hub.publish("s", "1")
    for outbox in peers:
        outbox.push("own")
    hub.publish("s", "2", "3")
    await asyncio.sleep(0)
    sent = [outbox.get() for outbox in peers]
    assert [list(texts(together)) for together in sent] == [["1", "own", "2", "3"]] * 3
    made = [one.framed(str.encode) for _, _, one in sent if not isinstance(one, str)]
    assert made[0] == b"23"
    assert all(one is made[0] for one in made)


async def test_who_follows_another_burst_has_taken_all_of_the_one_before() -> None:
    outbox, burst = Outbox(10**6, 10**9), Burst()
    outbox.follow(burst)
    burst.add("1")
    outbox.follow(Burst())
    assert list(texts(outbox.get())) == ["1"]


async def test_a_defect_while_frames_are_sent_loses_none_of_them() -> None:
    def broken(_: list[Sent]) -> bool:
        raise ZeroDivisionError

    outbox = Outbox(10**6, 10**9)
    peer = Peer(outbox, 10**9)
    send_now = peer.send_now
    outbox.send_to(peer)
    peer.send_now = broken  # type: ignore[assignment]
    outbox.push("1")
    await asyncio.sleep(0)
    peer.send_now = send_now  # type: ignore[method-assign]
    outbox.push("2")
    outbox.close(1000, "")
    await peer.closed.wait()
    assert peer.got == ["1", "2"]
