"""How long a whole reply takes, without a model: the `echo` backend says a message back, word by word and at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import ClassVar, Final

from msgspec import Struct, field

from tests.bench.driver import no_collector, percentile
from tests.bench.figures import Figure, Found, Pair, micros
from tests.bench.links import PATIENCE, SETTLE_SECONDS, Link, connect, disconnect, failing, submit
from tests.bench.loads import both, echoed
from tests.bench.plan import Plan
from tests.bench.stage import Needs, Stage
from tests.bench.watching import Watcher, completed

_MESSAGE: Final = submit("How are you on this fine day in spring?")
_UNDO: Final = submit("/undo 1000")
KEPT: Final = 20
"""How many messages a session gains before they are undone: what a backend is given grows with a transcript."""


class Message(Struct, frozen=True, kw_only=True):
    """A message until its reply is there, on so many connections, each on a session of its own."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    links: int

    @property
    def figures(self) -> list[Figure]:
        names = "to the last delta, p50", "to the last delta, p99", "to `run.ended`, p50"
        return [Figure(name=name, show=micros, better="less") for name in names]

    def needs(self, plan: Plan) -> Needs:
        del plan
        return Needs(("talk", "echo"), {"talk": dict.fromkeys(self._sessions(), 1)})

    def _sessions(self) -> list[str]:
        return [f"{self.name}-{link}" for link in range(self.links)]

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        p50, p99, ended = (figure.name for figure in self.figures)
        for number, seconds in stage.plan.measurements():
            times, echo = await both(
                number, partial(self._measured, stage, seconds), partial(echoed, stage, self.links, seconds)
            )
            found = {
                p50: Pair(percentile(times.last, 0.5), echo.p50),
                p99: Pair(percentile(times.last, 0.99), echo.p99),
                ended: Pair(percentile(times.ended, 0.5), echo.p50),
            }
            yield found if number else {}

    async def _measured(self, stage: Stage, seconds: float) -> "_Times":
        links = await connect(stage.server("talk"), [f"/ws/{session}" for session in self._sessions()], Watcher)
        await asyncio.sleep(SETTLE_SECONDS)
        times = _Times()
        with no_collector():
            until = time.perf_counter() + seconds
            async with asyncio.timeout(seconds + PATIENCE):
                await asyncio.gather(*(_talk(link, until, times) for link in links))
        await disconnect(links)
        await asyncio.sleep(SETTLE_SECONDS)
        return times


class _Times(Struct):
    """Seconds from messages to the last delta of their replies, and until these had ended."""

    last: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)


def _talk(link: Watcher, until: float, times: _Times) -> asyncio.Future[None]:
    """One message after the other, at least one, until a time; done when all is undone."""
    now = time.perf_counter
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    said, seen_at, undoing = 0, 0.0, False

    def say() -> None:
        nonlocal said
        said += 1
        link.send(_MESSAGE)

    def seen() -> None:
        nonlocal seen_at
        seen_at = now()

    def ended(frame: bytes) -> None:
        nonlocal undoing
        at = now()
        if not completed(frame):
            link.failed(RuntimeError(frame.decode()))
            return
        times.last.append(seen_at - link.sent_at)
        times.ended.append(at - link.sent_at)
        if at < until and said % KEPT:
            say()
        else:
            undoing = True
            link.send(_UNDO)

    def replied(_: Link) -> None:
        nonlocal undoing
        if not undoing:
            return
        undoing = False
        if now() < until:
            say()
        elif not done.done():
            done.set_result(None)

    link.seen, link.ended, link.replied, link.failed = seen, ended, replied, failing(done)
    say()
    return done
