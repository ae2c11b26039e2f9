"""What is measured, and in which order: rounds, in each of which every row meets what it is compared with back to
back."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.bench import servers
from tests.bench.disk import Rows, seed
from tests.bench.driver import Sample, Target, connect, disconnect, load, loop_factory, percentile, submit, take_turns

SETTLE_SECONDS: Final = 0.05
"""A pause between measurements, in which a server gets rid of the connections of the last one."""


class Plan(Struct, frozen=True, kw_only=True):
    """How much is measured. A measurement takes `seconds`, or ends sooner when a session has no turn left."""

    rounds: int
    seconds: float
    crowd: int = 50
    """Connections in the rows with many."""
    alone_turns: int
    """Turns of the session that one connection undoes, for each round."""
    crowd_turns: int
    """Turns of each of the sessions that many connections undo, for each round."""
    shared_turns: int
    """Turns of the one session that many connections undo, for each round."""
    short: int = 10
    """Messages in the short session."""
    long: int = 10_000
    """Messages in the long one."""
    length_undos: int
    """Undos on either of them, for each round."""
    rows: int
    """Rows that SQLite commits alone, for each round."""


FULL: Final = Plan(
    rounds=7, seconds=1.5, alone_turns=5000, crowd_turns=600, shared_turns=3000, length_undos=300, rows=300
)
QUICK: Final = Plan(
    rounds=3, seconds=0.4, alone_turns=1500, crowd_turns=160, shared_turns=1000, length_undos=100, rows=100
)


class Paired(Struct, frozen=True):
    """One measurement of ours and the one beside it."""

    ours: Sample
    beside: Sample


class Load(Struct, frozen=True):
    """A row of round trips: the text that is submitted, on how many connections, on one session or one for each.
    `turns` is what each session has to take back."""

    name: str
    text: str
    links: int
    turns: int
    shared: bool = False

    def sessions(self, number: int) -> list[str]:
        """The ids of the sessions of round `number`, one for each connection."""
        return [f"{self.name}-{number}-{0 if self.shared else link}" for link in range(self.links)]


def loads(plan: Plan) -> list[Load]:
    """The rows of round trips."""
    return [
        Load("status-1", "/status", 1, 1),
        Load("undo-1", "/undo", 1, plan.alone_turns),
        Load("status-many", "/status", plan.crowd, 1),
        Load("undo-many", "/undo", plan.crowd, plan.crowd_turns),
        Load("undo-shared", "/undo", plan.crowd, plan.shared_turns, shared=True),
    ]


class Measured(Struct, frozen=True):
    """All that was found, a list item for each round. `loads` is by name of the row; `lengths` are median latencies
    (in seconds) of `/undo` on the long session and on the short one; `row` is the median time in seconds of a row
    that SQLite
    commits alone; `limit` the driver's own, beside the echo."""

    plan: Plan
    loads: dict[str, list[Paired]]
    lengths: list[tuple[float, float]]
    row: list[float]
    limit: list[Paired]


def measure(plan: Plan, directory: Path | None, say: Callable[[str], None]) -> Measured:
    """Runs everything, on the disk of `directory` (default: where temporary files go). `say` is told how far it is.
    Leaves no file and no process."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backchat-bench-", dir=directory)))
        say("seeding")
        seed(work / "data", _sessions(plan))
        rows = Rows(work / "alone")
        stack.callback(rows.close)
        ours = stack.enter_context(servers.ours(work / "data"))
        echo = stack.enter_context(servers.echo())
        bare = stack.enter_context(servers.bare())
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory()))
        return runner.run(_Bench(plan, ours, echo, bare, rows, say).run())


def _sessions(plan: Plan) -> dict[str, int]:
    found = {"short": plan.short, "long": plan.long}
    for row in loads(plan):
        # One round more, to warm up.
        for number in range(plan.rounds + 1):
            found |= dict.fromkeys(row.sessions(number), row.turns)
    return found


class _Bench:
    """The rounds."""

    def __init__(
        self, plan: Plan, ours: Target, echo: Target, bare: Target, rows: Rows, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._ours = ours
        self._echo = echo
        self._bare = bare
        self._rows = rows
        self._say = say

    async def run(self) -> Measured:
        """Every round. The first is not counted: it warms up caches, the allocator and the processor."""
        plan = self._plan
        found = Measured(plan, defaultdict(list), [], [], [])
        warm = Measured(plan, defaultdict(list), [], [], [])
        for number in range(plan.rounds + 1):
            self._say(f"round {number} of {plan.rounds}" if number else "warming up")
            await self._round(number, found if number else warm, plan.seconds if number else plan.seconds / 4)
        return found

    async def _round(self, number: int, found: Measured, seconds: float) -> None:
        for row in loads(self._plan):
            found.loads[row.name].append(await self._pair(row, number, seconds))
        found.lengths.append(await self._lengths())
        found.row.append(percentile(self._rows.commit(self._plan.rows), 0.5))
        many = Load("limit", "/status", self._plan.crowd, 1)
        beside = await self._sample(self._echo, many, number, seconds)
        found.limit.append(Paired(await self._sample(self._bare, many, number, seconds), beside))

    async def _pair(self, row: Load, number: int, seconds: float) -> Paired:
        # Who comes first changes from round to round, so that being first helps neither.
        if number % 2:
            beside = await self._sample(self._echo, row, number, seconds)
            return Paired(await self._sample(self._ours, row, number, seconds), beside)
        ours = await self._sample(self._ours, row, number, seconds)
        return Paired(ours, await self._sample(self._echo, row, number, seconds))

    async def _sample(self, target: Target, row: Load, number: int, seconds: float) -> Sample:
        links = await connect(target, [f"/ws/{session}" for session in row.sessions(number)])
        # On a shared session all connections together have its turns.
        turns = row.turns // row.links if row.shared else row.turns
        endless = target is not self._ours or row.text == "/status"
        await asyncio.sleep(SETTLE_SECONDS)
        sample = await load(links, submit(row.text), seconds, 2**62 if endless else turns)
        await disconnect(links)
        await asyncio.sleep(SETTLE_SECONDS)
        return sample

    async def _lengths(self) -> tuple[float, float]:
        links = await connect(self._ours, ["/ws/long", "/ws/short"])
        # A message put back for each one taken away: either session keeps its length.
        long, short = await take_turns(links, submit("one more"), submit("/undo"), self._plan.length_undos)
        await disconnect(links)
        return percentile(long, 0.5), percentile(short, 0.5)
