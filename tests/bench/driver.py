"""The load driver: WebSocket clients that do as little as a client can, so that they are not what is measured.

Requests are frames made once. Of what comes back a client tells apart three things by their first bytes: the reply to
its request, a notification (not counted), and anything else (an error, which ends the measurement).
"""

import asyncio
import gc
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import Struct

PATIENCE: Final = 30.0
"""Seconds until something that must happen has failed."""

REPLY: Final = b'{"jsonrpc":"2.0","id":1,"result":'
NOTIFICATION: Final = b'{"jsonrpc":"2.0","method":'
TEXT: Final = 0x81
_MASK: Final = b"\x12\x34\x56\x78"
_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop that uvicorn would choose; None for asyncio's own."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A masked frame with a payload of fewer than 65,536 bytes, as clients must send it."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    masked = bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(payload))
    return bytes((opcode,)) + length + _MASK + masked


def submit(text: str) -> bytes:
    """The frame that submits what a person typed. Its id is always 1: a link has one request on its way."""
    return client_frame(b'{"jsonrpc":"2.0","id":1,"method":"submit","params":{"text":"%s"}}' % text.encode())


class Target(Struct, frozen=True):
    """A server under load. `greets` says whether it speaks first (`attached`), `echoes` whether any frame is the
    reply."""

    port: int
    greets: bool
    echoes: bool


class Link(asyncio.Protocol):
    """One connection with at most one request on its way; `replied` is called when its reply has come."""

    def __init__(self, target: Target, path: str) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.replied: Callable[[Link], None] = _nobody
        self.failed: Callable[[Exception], None] = _raise
        self.sent_at = 0.0
        self.requests = 0
        self._target = target
        self._path = path
        self._rest = b""
        self._open = False
        self._transport: Any = None

    def send(self, frame: bytes) -> None:
        """Sends a request."""
        self.requests += 1
        self.sent_at = time.perf_counter()
        self._transport.write(frame)

    def close(self) -> None:
        """Says goodbye; `lost` is done once the connection is."""
        self.failed = _ignore
        if not self._transport.is_closing():
            self._transport.write(client_frame(b"\x03\xe8", _CLOSE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._target.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            .encode()
        )  # fmt: skip

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)
        self._fail(exc or ConnectionError(f"the server closed {self._path}"))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        if not self._open:
            at = self._handshake(data)
        while end - at >= 2:
            length = data[at + 1]
            body = at + 2
            if length >= 126:
                body += 2 if length == 126 else 8
                if body > end:
                    break
                length = int.from_bytes(data[at + 2 : body], "big")
            if body + length > end:
                break
            self._frame(data, data[at], body, length)
            at = body + length
        self._rest = data[at:]

    def _handshake(self, data: bytes) -> int:
        """Where the first frame begins; 0 while the answer is not whole."""
        over = data.find(b"\r\n\r\n") + 4
        if over < 4:
            return 0
        if not data.startswith(b"HTTP/1.1 101 "):
            self._fail(ConnectionError(data[:over].decode(errors="replace")))
            return len(data)
        self._open = True
        if not self._target.greets:
            self.ready.set_result(None)
        return over

    def _frame(self, data: bytes, opcode: int, at: int, length: int) -> None:
        if opcode == TEXT:
            if self._target.echoes or data.startswith(REPLY, at):
                self.replied(self)
            elif not data.startswith(NOTIFICATION, at):
                self._fail(RuntimeError(data[at : at + min(length, 400)].decode(errors="replace")))
            elif not self.ready.done():
                self.ready.set_result(None)
        elif opcode == _PING:
            self._transport.write(client_frame(data[at : at + length], _PONG))
        elif opcode == _CLOSE:
            self._transport.close()
        else:
            self._fail(RuntimeError(f"a frame that begins with {opcode:#x}"))

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        else:
            self.failed(error)


AnyLink = TypeVar("AnyLink", bound=Link)


def _same(link: AnyLink) -> AnyLink:
    return link


def _nobody(link: Link) -> None:
    raise RuntimeError("a reply that nobody asked for")


def _raise(error: Exception) -> None:
    raise error


def _ignore(error: Exception) -> None:
    del error


def failing(future: asyncio.Future[Any]) -> Callable[[Exception], None]:
    """What makes an error that of whoever waits for the future."""

    def fail(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    return fail


async def connect(target: Target, paths: list[str], kind: Callable[[Target, str], AnyLink]) -> list[AnyLink]:
    """Opens a link to each path, one after the other, and returns once all have been greeted. Raises
    ConnectionError."""
    links = []
    async with asyncio.timeout(PATIENCE):
        for path in paths:
            link = kind(target, path)
            links.append(link)
            await asyncio.get_running_loop().create_connection(partial(_same, link), "127.0.0.1", target.port)
            await link.ready
    return links


async def disconnect(links: Sequence[Link]) -> None:
    """Closes links, and returns once their sockets are closed."""
    for link in links:
        link.close()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(link.lost for link in links))


async def attach_time(target: Target, path: str) -> float:
    """The seconds from the handshake of a new link until it has been greeted. Raises ConnectionError."""
    link = Link(target, path)
    async with asyncio.timeout(PATIENCE):
        began = time.perf_counter()
        await asyncio.get_running_loop().create_connection(partial(_same, link), "127.0.0.1", target.port)
        await link.ready
        taken = time.perf_counter() - began
    await disconnect([link])
    return taken


class Sample(Struct, frozen=True):
    """What one measurement found: round trips per second, and the median and 99th percentile of their latency in
    seconds."""

    rate: float
    p50: float
    p99: float


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values does not exceed. There is at least one
    value."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


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
    return Sample(len(latencies) / (ended - began), percentile(latencies, 0.5), percentile(latencies, 0.99))


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


@contextmanager
def no_collector() -> Iterator[None]:
    """Keeps the garbage collector of this process from running in the middle of a measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
