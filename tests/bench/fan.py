"""How soon a delta has reached everyone who is attached.

It is timed from the moment one delta's bytes leave the driver until the last of the attached clients has it. The next
delta leaves only then: Backchat merges deltas that wait, and merged ones would be fewer than those they are compared
with. For Backchat the driver is the model server, so that what it writes is a chunk of the model's stream; for the bare
server it is one of the attached clients, and writes the very frame that Backchat made of such a chunk, which the server
writes to all of them. Either way two processes are at work: the driver and one server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import ClassVar, Final

import msgspec
from msgspec import Struct

from tests.bench import model
from tests.bench.driver import Sample, no_collector
from tests.bench.figures import Figure, Found, Pair, micros
from tests.bench.links import PATIENCE, SETTLE_SECONDS, client_frame, connect, disconnect, failing, submit
from tests.bench.loads import both
from tests.bench.plan import Plan
from tests.bench.stage import Needs, Stage
from tests.bench.watching import Watcher, nothing, run_over

_MESSAGE: Final = submit("How are you?")


class Fan(Struct, frozen=True, kw_only=True):
    """One delta to so many clients. `limit`: also the driver's own limit, the same on bare sockets."""

    apart: ClassVar[bool] = True

    name: str
    words: str
    clients: int
    target: float | None = None
    limit: bool = False

    @property
    def figures(self) -> list[Figure]:
        own = "the load driver's own limit, p50"
        limit = Figure(name=own, show=micros, better="less")
        p50 = Figure(
            name="p50", show=micros, better="less", target=self.target, limit=(self.name, own) if self.limit else None
        )
        return [p50, limit] if self.limit else [p50]

    def needs(self, plan: Plan) -> Needs:
        del plan
        return Needs(("fan", "echo", *(["bare"] if self.limit else [])), {"fan": {self.name: 1}})

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        path = f"/fan/{self.name}"
        # Attaching so many takes longer than measuring, so they stay.
        ours = await connect(stage.server("fan"), [f"/ws/{self.name}"] * self.clients, Watcher)
        echo = await connect(stage.server("echo"), [path] * self.clients, Watcher)
        bare: list[Watcher] = []
        if self.limit:
            # Any frame counts there, as on the echo.
            target = msgspec.structs.replace(stage.server("bare"), echoes=True)
            bare = await connect(target, [path] * self.clients, Watcher)
        await asyncio.sleep(SETTLE_SECONDS)
        for number, seconds in stage.plan.measurements(stage.plan.fan_seconds):
            # The frame is what Backchat made last: the first round, which is not counted, measures ours first.
            sample, beside = await both(
                number,
                partial(_fan_out, ours, stage.told, seconds),
                partial(_fan_out_bare, echo, ours[0], seconds),
            )
            found = {"p50": Pair(sample.p50, beside.p50)}
            if bare:
                limit = await _fan_out_bare(bare, ours[0], seconds)
                found[self.figures[1].name] = Pair(limit.p50, beside.p50)
            yield found if number else {}
        await disconnect([*ours, *echo, *bare])
        await asyncio.sleep(SETTLE_SECONDS)


async def _fan_out(links: list[Watcher], server: model.Told, seconds: float) -> Sample:
    """One run's deltas to all links, attached to one session of Backchat."""
    for link in links:
        link.replied = nothing
    links[0].send(_MESSAGE)
    asked = await server.asked()
    asked.write(model.BEGIN)
    result = await _paced(links, lambda: asked.write(model.DELTA), seconds)
    overs = [run_over(link) for link in links]
    asked.write(model.END)
    # All of them, so that what is measured next meets a quiet machine.
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*overs)
    return result


async def _fan_out_bare(links: list[Watcher], ours: Watcher, seconds: float) -> Sample:
    """The frame that a link to ours got last, again and again, to all links of a bare server, which writes what one of
    them sends to all."""
    return await _paced(links, partial(links[0].send, client_frame(ours.last)), seconds)


async def _paced(links: list[Watcher], tell: Callable[[], None], seconds: float) -> Sample:
    """Deltas, one after the other, each told once all links have the one before; at least one, and for `seconds`. The
    latencies are until the last link has it."""
    now = time.perf_counter
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    latencies: list[float] = []
    missing = everyone = len(links)
    told_at = 0.0

    def seen() -> None:
        nonlocal missing, told_at
        missing -= 1
        if missing:
            return
        at = now()
        latencies.append(at - told_at)
        if at - began < seconds:
            missing, told_at = everyone, now()
            tell()
        else:
            done.set_result(None)

    with no_collector():
        for link in links:
            link.seen, link.failed = seen, failing(done)
        began = told_at = now()
        tell()
        async with asyncio.timeout(seconds + PATIENCE):
            await done
    return Sample.of(len(latencies) / sum(latencies), latencies)
