"""Replies of a model, as the load driver sees them: how soon one begins, and how soon a delta has reached everyone.

A first delta is timed from the moment the client's message leaves until `run.delta` is there: the message's durable
commit, the request to the model server by the real `openai` backend, and the way back. Beside it stands the same model
server asked by a bare client, in turns with ours. The model server is a process of its own for both, and answers at
once.

Fan-out is timed from the moment one delta's bytes leave the driver until the last of the attached clients has it. The
next delta leaves only then: Backchat merges deltas that wait, and merged ones would be fewer than those they are
compared with. For Backchat the driver is the model server, so that what it writes is a chunk of the model's stream; for
the bare server it is one of the attached clients, and writes the very frame that Backchat made of such a chunk, which
the server writes to all of them. Either way two processes are at work: the driver and one server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from socket import socket
from typing import Any, Final

from tests.bench import model
from tests.bench.driver import (
    PATIENCE,
    TEXT,
    Link,
    Sample,
    Target,
    connect,
    disconnect,
    failing,
    no_collector,
    percentile,
    submit,
)

_DELTA: Final = b'{"jsonrpc":"2.0","method":"run.delta",'
_ENDED: Final = b'{"jsonrpc":"2.0","method":"run.ended",'
_MESSAGE: Final = submit("How are you?")
_UNDO: Final = submit("/undo")


class Watcher(Link):
    """A connection that sees runs: `seen` is called with the frame of each delta (on an echo: any frame), `ended` with
    the one that says how a run ended."""

    def __init__(self, target: Target, path: str) -> None:
        super().__init__(target, path)
        self.seen: Callable[[bytes], object] = _ignore
        self.ended: Callable[[bytes], object] = _ignore

    def _frame(self, data: bytes, opcode: int, at: int, length: int) -> None:
        if opcode == TEXT and (self._target.echoes or data.startswith(_DELTA, at)):
            self.seen(data[at : at + length])
        elif data.startswith(_ENDED, at):
            self.ended(data[at : at + length])
        else:
            super()._frame(data, opcode, at, length)


def _ignore(_: object) -> None:
    pass


def _over(link: Watcher, over: asyncio.Future[None], frame: bytes) -> None:
    """What a link does when a run has ended."""
    if b'"reason":"completed"' in frame:
        over.set_result(None)
    else:
        link.failed(RuntimeError(frame.decode()))


# The first delta.


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


async def first_deltas(ours: Target, session: str, model_port: int, times: int) -> tuple[float, float]:
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
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    undone: asyncio.Future[None] = loop.create_future()
    first_at = 0.0

    def seen(_: bytes) -> None:
        nonlocal first_at
        first_at = first_at or time.perf_counter()

    link.seen, link.ended = seen, partial(_over, link, over)
    link.replied, link.failed = _ignore, failing(over)
    link.send(_MESSAGE)
    sent_at = link.sent_at
    await over
    link.replied, link.failed = lambda _: undone.set_result(None), failing(undone)
    link.send(_UNDO)
    await undone
    return first_at - sent_at


# Fan-out.


class Model:
    """A model server in the driver itself, which says nothing until it is told to."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[model.Asked] = asyncio.Queue()
        self._connections: list[model.Asked] = []

    @asynccontextmanager
    async def serving(self, listening: socket) -> AsyncIterator[None]:
        """Accepts whoever asks."""
        server = await asyncio.get_running_loop().create_server(self._accept, sock=listening)
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.close()

    def _accept(self) -> model.Asked:
        self._connections.append(model.Asked(self._requests.put_nowait))
        return self._connections[-1]

    async def asked(self) -> model.Asked:
        """The next request."""
        async with asyncio.timeout(PATIENCE):
            return await self._requests.get()


async def fan_out(links: list[Watcher], server: Model, seconds: float) -> tuple[Sample, bytes]:
    """One run's deltas to all links, attached to one session of Backchat; also the last frame that a client got."""
    loop = asyncio.get_running_loop()
    for link in links:
        link.replied = _ignore
    links[0].send(_MESSAGE)
    asked = await server.asked()
    asked.write(model.BEGIN)
    result = await _paced(links, lambda: asked.write(model.DELTA), seconds)
    overs: list[asyncio.Future[None]] = [loop.create_future() for _ in links]
    for link, over in zip(links, overs, strict=True):
        link.ended, link.failed = partial(_over, link, over), failing(over)
    asked.write(model.END)
    # All of them, so that what is measured next meets a quiet machine.
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*overs)
    return result


async def fan_out_bare(links: list[Watcher], frame: bytes, seconds: float) -> Sample:
    """The same frame, again and again, to all links of a bare server, which writes what one of them sends to all."""
    sample, _ = await _paced(links, partial(links[0].send, frame), seconds)
    return sample


async def _paced(links: list[Watcher], tell: Callable[[], None], seconds: float) -> tuple[Sample, bytes]:
    """Deltas, one after the other, each told once all links have the one before; at least one, and for `seconds`. The
    latencies are until the last link has it."""
    now = time.perf_counter
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    latencies: list[float] = []
    missing = everyone = len(links)
    told_at = 0.0
    last = b""

    def seen(frame: bytes) -> None:
        nonlocal missing, told_at, last
        missing -= 1
        if missing:
            return
        at = now()
        latencies.append(at - told_at)
        if at - began < seconds:
            missing, told_at = everyone, now()
            tell()
        else:
            last = frame
            done.set_result(None)

    with no_collector():
        for link in links:
            link.seen, link.failed = seen, failing(done)
        began = told_at = now()
        tell()
        async with asyncio.timeout(seconds + PATIENCE):
            await done
    return Sample(len(latencies) / sum(latencies), percentile(latencies, 0.5), percentile(latencies, 0.99)), last
