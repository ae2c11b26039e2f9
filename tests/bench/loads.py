"""Rows of round trips: how many commands a server answers in a second, how soon, and what each costs it; beside the
echo, which says the same frames back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import ClassVar, Final, TypeVar

from msgspec import Struct

from tests.bench.driver import Sample, everyone, load, percentile
from tests.bench.figures import Figure, Found, Pair, micros, per_second
from tests.bench.links import SETTLE_SECONDS, submit
from tests.bench.plan import Plan
from tests.bench.stage import Needs, Stage

ENDLESS: Final = 2**62
"""More round trips than there will be."""
SPARE_TURNS: Final = 10
"""Turns of each session beyond those that are believed to be enough: some links are quicker than others."""
NOTIFICATION_BYTES: Final = 210
"""About how long a notification of an undo is."""

_Ours = TypeVar("_Ours")
_Beside = TypeVar("_Beside")


async def both(
    number: int, ours: Callable[[], Awaitable[_Ours]], beside: Callable[[], Awaitable[_Beside]]
) -> tuple[_Ours, _Beside]:
    """Both measurements. Who comes first changes from round to round, so that being first helps neither."""
    if number % 2:
        second = await beside()
        return await ours(), second
    first = await ours()
    return first, await beside()


def found(ours: Sample, beside: Sample) -> Found:
    """All that two samples say."""
    return {
        "round trips": Pair(ours.rate, beside.rate),
        "p50": Pair(ours.p50, beside.p50),
        "p99": Pair(ours.p99, beside.p99),
        "CPU of the server for each": Pair(ours.cpu, beside.cpu),
    }


async def echoed(stage: Stage, links: int, seconds: float) -> Sample:
    """The echo, on so many connections."""
    return await load(await stage.links("echo", ["/ws/echo"] * links), submit("/status"), seconds, ENDLESS)


class Load(Struct, frozen=True, kw_only=True):
    """A command on so many connections, each on a session of its own or all on one (`shared`). `rate`, `p50` and `p99`
    are targets. `limit` names the row with the driver's own limit."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    text: str
    links: int
    shared: bool = False
    rate: float | None = None
    p50: float | None = None
    p99: float | None = None
    limit: str | None = None

    @property
    def figures(self) -> list[Figure]:
        limit = None if self.limit is None else (self.limit, "round trips")
        return [
            Figure(name="round trips", show=per_second, better="more", target=self.rate, limit=limit),
            Figure(name="p50", show=micros, better="less", target=self.p50),
            Figure(name="p99", show=micros, better="less", target=self.p99),
            Figure(name="CPU of the server for each", show=micros, better="less"),
        ]

    def needs(self, plan: Plan) -> Needs:
        sessions = dict.fromkeys(self._sessions(), self._turns(plan) * (self.links if self.shared else 1))
        return Needs(("turns", "echo"), {"turns": sessions})

    def _sessions(self) -> list[str]:
        """The ids, one for each connection; the same for all commands, for each puts back what it takes."""
        return ["shared"] * self.links if self.shared else [f"of-{self.links}-{link}" for link in range(self.links)]

    def _turns(self, plan: Plan) -> int:
        """How many turns each connection can take back."""
        # One connection waits for each sync.
        most = plan.turns_a_second / (4 if self.links == 1 else 1) * self._seconds(plan.seconds)
        return round(most / self.links) + SPARE_TURNS

    def _seconds(self, seconds: float) -> float:
        # A reply takes longer the more there are who wait for one.
        return seconds * (2 if self.links > 100 else 1)

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        for number, seconds in stage.plan.measurements():
            pair = await both(
                number,
                partial(self._measured, stage, self._seconds(seconds)),
                partial(echoed, stage, self.links, self._seconds(seconds)),
            )
            yield found(*pair) if number else {}

    async def _measured(self, stage: Stage, seconds: float) -> Sample:
        most = ENDLESS if self.text == "/status" else self._turns(stage.plan)
        links = await stage.links("turns", [f"/ws/{session}" for session in self._sessions()])
        sample = await load(links, submit(self.text), seconds, most)
        if self.text != "/status":
            # Every turn is put back, for the next one.
            await everyone(links[:1] if self.shared else links, submit(f"/redo {most * self.links}"))
            # The others are still told of that.
            await asyncio.sleep(SETTLE_SECONDS)
        return sample


class Durable(Load, frozen=True, kw_only=True):
    """A durable command on one connection, also beside what cannot be saved: the echo's round trip, and one row on the
    disk. `floor` is the target of that."""

    floor: float

    @property
    def figures(self) -> list[Figure]:
        rate, p50, *others = super().figures
        both_ = Figure(
            name="p50 beside the echo's + one row by SQLite alone",
            show=micros,
            better="less",
            target=self.floor,
            beside="both",
        )
        row = Figure(name="one row committed durably by SQLite alone, p50", show=micros, better="less")
        return [rate, p50, both_, row, *others]

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        for number, seconds in stage.plan.measurements():
            pair = await both(
                number, partial(self._measured, stage, seconds), partial(echoed, stage, self.links, seconds)
            )
            row = percentile(stage.disk.commit(stage.plan.times), 0.5)
            ours, beside = pair
            _, _, floor, alone, *_ = self.figures
            special = {floor.name: Pair(ours.p50, beside.p50 + row), alone.name: Pair(row)}
            yield {**found(*pair), **special} if number else {}


class Limit(Struct, frozen=True, kw_only=True):
    """The load driver's own limit: the same against a bare socket, with so many notifications before each reply."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    links: int
    notifications: int = 0

    @property
    def figures(self) -> list[Figure]:
        return [Figure(name="round trips", show=per_second, better="more")]

    def needs(self, plan: Plan) -> Needs:
        del plan
        return Needs(("bare",))

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        path = f"/busy/{self.notifications}/{NOTIFICATION_BYTES}"
        for number, seconds in stage.plan.measurements():
            sample = await load(await stage.links("bare", [path] * self.links), submit("/status"), seconds, ENDLESS)
            yield {"round trips": Pair(sample.rate)} if number else {}
