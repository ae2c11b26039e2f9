"""Rows that show how something grows: on longer sessions, and among more of them. All that a row measures takes turns,
so that whatever else the machine does meets all of it alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from msgspec import Struct

from tests.bench.driver import no_collector, percentile, take_turns
from tests.bench.figures import Figure, Found, Pair, Show
from tests.bench.links import PATIENCE, Link, attach_time, connect, disconnect, submit
from tests.bench.plan import Plan
from tests.bench.servers import backchat
from tests.bench.stage import Needs, Stage
from tests.bench.starts import started

_ONE_MORE, _UNDO = submit("one more"), submit("/undo")
PROBE: Final = "probe"
"""The session that is looked at among others."""
SHORT: Final = 10
"""How many messages it has."""


class Size(Struct, frozen=True):
    """One size of what grows: what it is called, how many of it there are, a server, and a session on it. `sessions`
    are those of its data directory; None is the echo, which has none and does not grow."""

    words: str
    number: int
    server: str
    session: str
    sessions: dict[str, int] | None


ECHO: Final = Size("echo", 0, "echo", "echo", None)


def long_sessions(lengths: Sequence[int], server: str) -> list[Size]:
    """Sessions with so many messages, on one server."""
    sessions = {f"length-{length}": length for length in lengths}
    return [Size(f"{length:,} messages", length, server, name, sessions) for name, length in sessions.items()]


def many_sessions(numbers: Sequence[int], server: str = "stored") -> list[Size]:
    """Sessions among so many, on a server for each number."""
    return [
        Size(f"{number:,} sessions", number, f"{server}-{number}", PROBE, _among(number, SHORT)) for number in numbers
    ]


def long_among_many(messages: int, sessions: int) -> list[Size]:
    """A short session among few, and a long one among many."""
    return [
        Size(f"{number:,} messages among {among:,} sessions", among, server, PROBE, _among(among, number))
        for number, among, server in ((SHORT, SHORT, f"stored-{SHORT}"), (messages, sessions, f"long-{sessions}"))
    ]


def _among(number: int, messages: int) -> dict[str, int]:
    """So many sessions: the one with so many messages, and others with two."""
    return {PROBE: messages} | {f"other-{other}": 2 for other in range(number - 1)}


Times = list[list[float]]
Measure = Callable[[Stage, Sequence[Size], int], Awaitable[Times]]
"""Measures each size so many times: for each the seconds it took."""


class Growth(Struct, frozen=True, kw_only=True):
    """Something that is measured on several sizes. The first may stand beside the echo (`echo`), each other one stands
    beside the first; `target` is of the last. `fresh`: each round starts the servers anew, so there are fewer."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    measure: Measure
    sizes: list[Size]
    show: Show
    target: float | None = None
    echo: bool = False
    fresh: bool = False

    @property
    def figures(self) -> list[Figure]:
        first, *others = self.sizes
        last = self.sizes[-1]
        return [
            Figure(name=first.words, show=self.show, better="less", size=first.number),
            *(
                Figure(
                    name=size.words,
                    show=self.show,
                    better="less",
                    beside=first.words,
                    size=size.number,
                    target=self.target if size is last else None,
                )
                for size in others
            ),
        ]

    def needs(self, plan: Plan) -> Needs:
        del plan
        servers = {} if self.fresh else dict.fromkeys(size.server for size in self.sizes)
        return Needs(
            (*servers, *(["echo"] if self.echo else [])),
            {size.server: size.sessions for size in self.sizes if size.sessions is not None},
        )

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        sizes = [*self.sizes, ECHO] if self.echo else self.sizes
        # What starts anew is never warm.
        numbers = range(1, stage.plan.starts + 1) if self.fresh else range(stage.plan.rounds + 1)
        for number in numbers:
            times = stage.plan.times if number else 1
            values = [percentile(taken, 0.5) for taken in await self.measure(stage, sizes, times)]
            first, *others = [Pair(value, values[0]) for value in values[: len(self.sizes)]]
            pairs = [Pair(first.ours, values[-1] if self.echo else None), *others]
            yield {size.words: pair for size, pair in zip(self.sizes, pairs, strict=True)} if number else {}


async def undo(stage: Stage, sizes: Sequence[Size], times: int) -> Times:
    """An `/undo` of a message that was put there just before, so that each session keeps its length."""
    links: list[Link] = []
    for size in sizes:
        links += await connect(stage.server(size.server), [f"/ws/{size.session}"], Link)
    taken = await take_turns(links, _ONE_MORE, _UNDO, times)
    await disconnect(links)
    return taken


async def attach(stage: Stage, sizes: Sequence[Size], times: int) -> Times:
    """From connecting to `attached` (to the handshake's answer, on the echo)."""
    taken: Times = [[] for _ in sizes]
    for _ in range(times):
        for size, one in zip(sizes, taken, strict=True):
            one.append(await attach_time(stage.server(size.server), f"/ws/{size.session}"))
    return taken


async def attach_cold(stage: Stage, sizes: Sequence[Size], times: int) -> Times:
    """The same, but seldom: each time loads the session."""
    return await attach(stage, sizes, max(1, times // 20))


async def list_sessions(stage: Stage, sizes: Sequence[Size], times: int) -> Times:
    """`GET /api/sessions`, on connections that stay open."""
    ports = [stage.server(size.server).port for size in sizes]
    streams = [await asyncio.open_connection("127.0.0.1", port) for port in ports]
    taken: Times = [[] for _ in sizes]
    with no_collector():
        for _ in range(times):
            for (reader, writer), port, one in zip(streams, ports, taken, strict=True):
                one.append(await _get(reader, writer, port))
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()
    return taken


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> float:
    began = time.perf_counter()
    writer.write(b"GET /api/sessions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        size = next(line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(size))
    return time.perf_counter() - began


async def start(stage: Stage, sizes: Sequence[Size], times: int) -> Times:
    """From a new process to the first accepted WebSocket; once, for the rounds are many."""
    del times
    return [[await _started(stage.directory(size.server), size.session)] for size in sizes]


async def _started(data: Path, session: str) -> float:
    return await started(lambda port: backchat(data, "--backend", "none", port=port), f"/ws/{session}")
