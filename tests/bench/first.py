"""How soon the reply of a model begins.

A first delta is timed from the moment the client's message leaves until `run.delta` is there: the message's durable
commit, the request to the model server by the real `openai` backend, and the way back. Beside it stands the same model
server asked by a bare client, in turns with ours. The model server is a process of its own for both, and answers at
once.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

from msgspec import Struct

from tests.bench import model
from tests.bench.driver import no_collector, percentile
from tests.bench.figures import Figure, Found, Pair, micros, millis
from tests.bench.links import PATIENCE, Target, connect, disconnect, failing, submit
from tests.bench.plan import Plan
from tests.bench.stage import Needs, Stage
from tests.bench.watching import Watcher, nothing, run_over

_MESSAGE: Final = submit("How are you?")
_UNDO: Final = submit("/undo")


class FirstDelta(Struct, frozen=True, kw_only=True):
    """From a message to the first delta of its reply."""

    apart: ClassVar[bool] = False

    name: str
    words: str

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure(name="p50", show=micros, better="less", beside="direct"),
            Figure(
                name="added by the server, the message's durable commit included, p50",
                show=millis,
                better="less",
                spread=True,
            ),
        ]

    def needs(self, plan: Plan) -> Needs:
        del plan
        return Needs(("first",), {"first": {"first": 1}})

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        p50, added = self.figures
        for number, _ in stage.plan.measurements():
            ours, alone = await _first_deltas(stage.server("first"), "first", stage.model_port, stage.plan.times)
            yield {p50.name: Pair(ours, alone), added.name: Pair(ours - alone)} if number else {}


class _Asking(asyncio.Protocol):
    """The bare client of a model server."""

    def __init__(self) -> None:
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._read = b""
        self._sent_at = self._first_at = 0.0
        self._transport: Any = None

    async def ask(self, request: bytes) -> float:
        """Asks once; seconds from the request to the first chunk with a text. Returns when the reply is over."""
        self.done = asyncio.get_running_loop().create_future()
        self._read, self._first_at, self._sent_at = b"", 0.0, time.perf_counter()
        self._transport.write(request)
        return await self.done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._first_at and model.DELTA in self._read:
            self._first_at = time.perf_counter()
        if self._read.endswith(b"0\r\n\r\n"):
            self.done.set_result(self._first_at - self._sent_at)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the model server closed the connection"))

    def close(self) -> None:
        """Leaves."""
        self.done.cancel()
        self._transport.close()


async def _first_deltas(ours: Target, session: str, model_port: int, times: int) -> tuple[float, float]:
    """The median seconds to the first delta, by Backchat on one connection and from the model server itself. They take
    turns, `times` each. What the session gains is undone each time, so that its prompt stays as short."""
    (link,) = links = await connect(ours, [f"/ws/{session}"], Watcher)
    _, asking = await asyncio.get_running_loop().create_connection(_Asking, "127.0.0.1", model_port)
    request = model.request(model_port)
    both = []
    with no_collector():
        for _ in range(times):
            async with asyncio.timeout(PATIENCE):
                both.append((await _turn(link), await asking.ask(request)))
    asking.close()
    await disconnect(links)
    return percentile([one for one, _ in both], 0.5), percentile([other for _, other in both], 0.5)


async def _turn(link: Watcher) -> float:
    """One turn, and its undoing; seconds from the message to the first delta of its reply."""
    undone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first_at = 0.0

    def seen() -> None:
        nonlocal first_at
        first_at = first_at or time.perf_counter()

    over = run_over(link)
    link.seen, link.replied = seen, nothing
    link.send(_MESSAGE)
    sent_at = link.sent_at
    await over
    link.replied, link.failed = lambda _: undone.set_result(None), failing(undone)
    link.send(_UNDO)
    await undone
    return first_at - sent_at
