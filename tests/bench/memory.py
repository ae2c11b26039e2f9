"""How much memory a server takes: idle, and for each who is attached. It is the resident set, as the system counts it,
what processes share included."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Final

import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from tests.bench.figures import KIB, MB, Figure, Found, Pair, kibibytes, megabytes
from tests.bench.links import Link, Target, connect, disconnect
from tests.bench.plan import Plan
from tests.bench.servers import Running, backchat, echo
from tests.bench.stage import Needs, Stage

QUIET_SECONDS: Final = 0.3
"""How long after the last connection memory is looked at: who is attached is told of the others by then."""
LENGTH: Final = 10
"""How many messages a session has."""


class Memory(Struct, frozen=True, kw_only=True):
    """The memory of a server that nobody uses but one, and what each connection and each session adds. `idle` and
    `connection` are targets, in bytes."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    idle: float
    connection: float

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure(name="idle server", show=megabytes, better="less", target=self.idle * MB, of="value"),
            Figure(
                name="each connection, all on one session",
                show=kibibytes,
                better="less",
                target=self.connection * KIB,
                of="value",
            ),
            Figure(name=f"each attached session of {LENGTH} messages besides", show=kibibytes, better="less"),
        ]

    def needs(self, plan: Plan) -> Needs:
        return Needs((), {self.name: dict.fromkeys(["one", *_sessions(plan.clients)], LENGTH)})

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        idle, connection, session = (figure.name for figure in self.figures)
        paths = [f"/ws/{name}" for name in _sessions(stage.plan.clients)]
        one = ["/ws/one"] * len(paths)
        serve = backchat(stage.directory(self.name), "--backend", "none")
        for _ in range(stage.plan.fills):
            bare, bare_each = await _taken(echo(), one)
            ours, each = await _taken(serve, one)
            # On a new server: on this one they would be given memory that the others needed only for a while.
            _, apart = await _taken(serve, paths)
            yield {idle: Pair(ours, bare), connection: Pair(each, bare_each), session: Pair(apart - each)}


def _sessions(number: int) -> list[str]:
    return [f"many-{session}" for session in range(number)]


async def _taken(command: Sequence[str], paths: Sequence[str]) -> tuple[float, float]:
    """The bytes of a new server with one connection, and then what each of the others takes."""
    with Running(command) as running:
        target = running.target()
        # One has been there, so that what is loaded for the first is not counted for all.
        links = await connect(target, ["/ws/one"], Link)
        idle = await _resident(target)
        links += await connect(target, paths, Link)
        full = await _resident(target)
        await disconnect(links)
    return idle, (full - idle) / len(paths)


async def _resident(target: Target) -> float:
    await asyncio.sleep(QUIET_SECONDS)
    return float(psutil.Process(target.pid).memory_info().rss)
