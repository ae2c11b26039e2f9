"""What is measured, and in which order: rounds, in each of which every row meets what it is compared with back to
back."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import socket
from typing import Final

import msgspec
from msgspec import Struct

from backchat.server import listen
from tests.bench import servers
from tests.bench.disk import Rows, seed
from tests.bench.driver import (
    Link,
    Sample,
    Target,
    attach_time,
    client_frame,
    connect,
    disconnect,
    load,
    loop_factory,
    percentile,
    submit,
    take_turns,
)
from tests.bench.replies import Model, Watcher, fan_out, fan_out_bare, first_deltas

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
    tail: int = 200
    """Messages in the session that the long one is attached to beside: as many as come at once."""
    attaches: int
    """Times that each is attached to, for each round."""
    rows: int
    """Rows that SQLite commits alone, for each round."""
    replies: int
    """Replies whose first delta is timed, for each round."""
    fan_seconds: float
    """How long a measurement with a run's deltas takes."""
    fans: tuple[int, ...] = (1, 100, 1000)
    """To how many clients a run's deltas go; the most are the last."""


FULL: Final = Plan(
    rounds=7,
    seconds=1.5,
    alone_turns=5000,
    crowd_turns=600,
    shared_turns=3000,
    length_undos=300,
    attaches=100,
    rows=300,
    replies=150,
    fan_seconds=1.0,
)
QUICK: Final = Plan(
    rounds=3,
    seconds=0.4,
    alone_turns=1500,
    crowd_turns=160,
    shared_turns=1000,
    length_undos=100,
    attaches=30,
    rows=100,
    replies=40,
    fan_seconds=0.2,
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
    (in seconds) of `/undo` on the long session and on the short one; `attaches` are median times from connecting to
    `attached`, on the long session and on one of the tail's length, in memory, and `cold` the first such time of each,
    when they are not; `row` is the median time in seconds of a row
    that SQLite commits alone; `limit` the driver's own, beside the echo. `first` are median seconds to the first delta,
    ours and from the model server itself; `fans` is by number of clients; `fan_limit` the driver's own with the
    most."""

    plan: Plan
    loads: dict[str, list[Paired]]
    lengths: list[tuple[float, float]]
    attaches: list[tuple[float, float]]
    cold: list[tuple[float, float]]
    row: list[float]
    limit: list[Paired]
    first: list[tuple[float, float]]
    fans: dict[int, list[Paired]]
    fan_limit: list[Paired]

    @classmethod
    def nothing(cls, plan: Plan) -> "Measured":
        """No round yet."""
        return cls(plan, defaultdict(list), [], [], [], [], [], [], defaultdict(list), [])


class Servers(Struct, frozen=True):
    """All that is under load. `first` and `fan` are Backchat with a model: the one that `model_port` serves, and the
    one that the driver is, on `listening`."""

    ours: Target
    echo: Target
    bare: Target
    first: Target
    model_port: int
    fan: Target
    listening: socket


def measure(plan: Plan, directory: Path | None, say: Callable[[str], None]) -> Measured:
    """Runs everything, on the disk of `directory` (default: where temporary files go). `say` is told how far it is.
    Leaves no file and no process."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backchat-bench-", dir=directory)))
        say("seeding")
        seed(work / "data", _sessions(plan))
        seed(work / "first", {"first": 1})
        seed(work / "fan", {f"fan-{clients}": 1 for clients in plan.fans})
        rows = Rows(work / "alone")
        stack.callback(rows.close)
        model_port = stack.enter_context(servers.model())
        listening = stack.enter_context(listen("127.0.0.1", 0))
        under_load = Servers(
            ours=stack.enter_context(servers.ours(work / "data")),
            echo=stack.enter_context(servers.echo()),
            bare=stack.enter_context(servers.bare()),
            first=stack.enter_context(servers.ours(work / "first", model_port)),
            model_port=model_port,
            # Last: it asks for the list of models when it starts, and nobody answers before the driver's loop runs.
            fan=stack.enter_context(servers.ours(work / "fan", listening.getsockname()[1])),
            listening=listening,
        )
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory()))
        return runner.run(_Bench(plan, under_load, rows, say).run())


def _sessions(plan: Plan) -> dict[str, int]:
    found = {"short": plan.short, "long": plan.long}
    for number in range(plan.rounds + 1):
        found |= {f"long-{number}": plan.long, f"tail-{number}": plan.tail}
    for row in loads(plan):
        # One round more, to warm up.
        for number in range(plan.rounds + 1):
            found |= dict.fromkeys(row.sessions(number), row.turns)
    return found


async def _pair(number: int, ours: Callable[[], Awaitable[Sample]], beside: Callable[[], Awaitable[Sample]]) -> Paired:
    """Both measurements. Who comes first changes from round to round, so that being first helps neither."""
    if number % 2:
        second = await beside()
        return Paired(await ours(), second)
    first = await ours()
    return Paired(first, await beside())


class _Bench:
    """The rounds."""

    def __init__(self, plan: Plan, under_load: Servers, rows: Rows, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._servers = under_load
        self._rows = rows
        self._say = say
        self._model = Model()

    async def run(self) -> Measured:
        """Every round. The first is not counted: it warms up caches, the allocator and the processor."""
        plan = self._plan
        found, warm = Measured.nothing(plan), Measured.nothing(plan)
        async with self._model.serving(self._servers.listening):
            for number in range(plan.rounds + 1):
                self._say(f"round {number} of {plan.rounds}" if number else "warming up")
                await self._round(number, found if number else warm, plan.seconds if number else plan.seconds / 4)
            for clients in plan.fans:
                self._say(f"deltas to {clients:,}")
                await self._fan(clients, found, warm)
        return found

    async def _round(self, number: int, found: Measured, seconds: float) -> None:
        plan, echo, bare = self._plan, self._servers.echo, self._servers.bare
        for row in loads(plan):
            sample = partial(self._sample, row=row, number=number, seconds=seconds)
            found.loads[row.name].append(
                await _pair(number, partial(sample, self._servers.ours), partial(sample, echo))
            )
        found.lengths.append(await self._lengths())
        cold, warm = await self._attaches(number)
        found.cold.append(cold)
        found.attaches.append(warm)
        found.row.append(percentile(self._rows.commit(plan.rows), 0.5))
        many = Load("limit", "/status", plan.crowd, 1)
        beside = await self._sample(echo, many, number, seconds)
        found.limit.append(Paired(await self._sample(bare, many, number, seconds), beside))
        found.first.append(await first_deltas(self._servers.first, "first", self._servers.model_port, plan.replies))

    async def _fan(self, clients: int, found: Measured, warm: Measured) -> None:
        """Every round of one number of clients. Attaching so many takes longer than measuring, so they stay."""
        plan, path, most = self._plan, f"fan-{clients}", clients == self._plan.fans[-1]
        ours = await connect(self._servers.fan, [f"/ws/{path}"] * clients, Watcher)
        echo = await connect(self._servers.echo, [f"/fan/{path}"] * clients, Watcher)
        # Any frame counts there, as on the echo.
        bare_socket = msgspec.structs.replace(self._servers.bare, echoes=True)
        bare = await connect(bare_socket, [f"/fan/{path}"] * clients, Watcher) if most else []
        await asyncio.sleep(SETTLE_SECONDS)
        delta = b""

        async def fan(seconds: float) -> Sample:
            nonlocal delta
            sample, delta = await fan_out(ours, self._model, seconds)
            return sample

        async def beside(links: list[Watcher], seconds: float) -> Sample:
            # What Backchat made last: the first round, which is not counted, measures ours first.
            return await fan_out_bare(links, client_frame(delta), seconds)

        for number in range(plan.rounds + 1):
            into, seconds = (found, plan.fan_seconds) if number else (warm, plan.fan_seconds / 4)
            pair = await _pair(number, partial(fan, seconds), partial(beside, echo, seconds))
            into.fans[clients].append(pair)
            if most:
                into.fan_limit.append(Paired(await beside(bare, seconds), pair.beside))
        await disconnect([*ours, *echo, *bare])
        await asyncio.sleep(SETTLE_SECONDS)

    async def _sample(self, target: Target, row: Load, number: int, seconds: float) -> Sample:
        links = await connect(target, [f"/ws/{session}" for session in row.sessions(number)], Link)
        # On a shared session all connections together have its turns.
        turns = row.turns // row.links if row.shared else row.turns
        endless = target is not self._servers.ours or row.text == "/status"
        await asyncio.sleep(SETTLE_SECONDS)
        sample = await load(links, submit(row.text), seconds, 2**62 if endless else turns)
        await disconnect(links)
        await asyncio.sleep(SETTLE_SECONDS)
        return sample

    async def _lengths(self) -> tuple[float, float]:
        links = await connect(self._servers.ours, ["/ws/long", "/ws/short"], Link)
        # A message put back for each one taken away: either session keeps its length.
        long, short = await take_turns(links, submit("one more"), submit("/undo"), self._plan.length_undos)
        await disconnect(links)
        return percentile(long, 0.5), percentile(short, 0.5)

    async def _attaches(self, number: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """The first time, which loads the session, and the median of the others: of the long one, and of the other."""
        paths = [f"/ws/long-{number}", f"/ws/tail-{number}"]
        long, tail = [await attach_time(self._servers.ours, path) for path in paths]
        # One after the other, so that whatever else the machine does meets both alike.
        again: list[list[float]] = [[], []]
        for _ in range(self._plan.attaches):
            for path, times in zip(paths, again, strict=True):
                times.append(await attach_time(self._servers.ours, path))
        return (long, tail), (percentile(again[0], 0.5), percentile(again[1], 0.5))
