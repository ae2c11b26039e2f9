"""The load driver: what is sent over links, and how long it takes."""

import asyncio
import gc
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from tests.bench.links import PATIENCE, Link, failing

TICK_SECONDS: Final = 0.01
"""What the clock of a process's time on the processor can tell apart."""


class Sample(Struct, frozen=True):
    """What one measurement found: round trips per second, the median and 99th percentile of their latency in seconds,
    and the seconds on the processor that each took the server."""

    rate: float
    p50: float
    p99: float
    cpu: float = 0.0

    @classmethod
    def of(cls, rate: float, latencies: list[float], cpu: float = 0.0) -> "Sample":
        """The sample of some latencies, at least one."""
        return cls(rate, percentile(latencies, 0.5), percentile(latencies, 0.99), cpu)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values does not exceed. There is at least one
    value."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def _processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def load(links: list[Link], frame: bytes, seconds: float, most: int) -> Sample:
    """Each link sends the frame again as soon as its reply has come, for `seconds`, or until the first has done so
    `most` times. Returns when nothing is on its way any more. Raises what a server answers instead of a reply."""
    now = time.perf_counter
    drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    latencies: list[float] = []
    under_way = len(links)
    ended: float | None = None

    def stop() -> None:
        nonlocal ended
        if ended is None:
            ended = now()

    def replied(link: Link) -> None:
        nonlocal under_way, ended
        if not latencies and ended is not None:
            # Not one within the time: then it lasts until the first.
            ended = now()
            latencies.append(ended - link.sent_at)
        elif ended is None:
            latencies.append(now() - link.sent_at)
            if link.requests < most:
                link.send(frame)
                return
            stop()
        under_way -= 1
        if under_way == 0 and not drained.done():
            drained.set_result(None)

    with no_collector():
        pid = links[0].target.pid
        used = _processor_seconds(pid)
        timer = asyncio.get_running_loop().call_later(seconds, stop)
        began = now()
        for link in links:
            link.requests, link.replied, link.failed = 0, replied, failing(drained)
            link.send(frame)
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                await drained
        finally:
            timer.cancel()
    assert ended is not None
    used = max(_processor_seconds(pid) - used, TICK_SECONDS)
    return Sample.of(len(latencies) / (ended - began), latencies, used / sum(link.requests for link in links))


async def take_turns(links: list[Link], prepare: bytes, frame: bytes, times: int) -> list[list[float]]:
    """The latencies, in seconds, of `frame` on each link. One link after the other sends `prepare`, then `frame`,
    `times` times over, so that whatever else the machine does meets all of them alike."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    latencies: list[list[float]] = [[] for _ in links]
    turn = 0

    def send() -> None:
        step = turn // 2
        links[step % len(links)].send(frame if turn % 2 else prepare)

    def replied(link: Link) -> None:
        nonlocal turn
        if turn % 2:
            latencies[turn // 2 % len(links)].append(time.perf_counter() - link.sent_at)
        turn += 1
        if turn < 2 * times * len(links):
            send()
        elif not done.done():
            done.set_result(None)

    with no_collector():
        for link in links:
            link.replied, link.failed = replied, failing(done)
        send()
        async with asyncio.timeout(PATIENCE):
            await done
    return latencies


async def everyone(links: list[Link], frame: bytes) -> None:
    """Each link sends the frame once; returns when every reply has come."""
    await load(links, frame, 0.0, 1)


@contextmanager
def no_collector() -> Iterator[None]:
    """Keeps the garbage collector of this process from running in the middle of a measurement."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
