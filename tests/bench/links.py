"""WebSocket clients that do as little as a client can.

Requests are frames made once. Of what comes back a client tells apart three things by their first bytes: the reply to
its request, a notification (not counted), and anything else (an error, which ends the measurement).
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import Struct

PATIENCE: Final = 30.0
"""Seconds until something that must happen has failed."""
AT_ONCE: Final = 16
"""How many connections are opened at the same time."""
SETTLE_SECONDS: Final = 0.03
"""A pause around measurements, in which a server gets over connections that came or went."""

REPLY: Final = b'{"jsonrpc":"2.0","id":1,"result":'
NOTIFICATION: Final = b'{"jsonrpc":"2.0","method":'
TEXT: Final = 0x81
_BEGIN: Final = b'{"jsonrpc":"2.0",'
_ANSWER: Final = b'{"jsonrpc":"2.0","id":'
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


def head_of(opcode: int, size: int) -> bytes:
    """What a server's frame with a payload of fewer than 65,536 bytes begins with."""
    return bytes((opcode, size)) if size < 126 else bytes((opcode, 126)) + size.to_bytes(2, "big")


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A masked frame with a payload of fewer than 65,536 bytes, as clients must send it."""
    head = head_of(opcode, len(payload))
    masked = bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(payload))
    return head[:1] + bytes((head[1] | 0x80,)) + head[2:] + _MASK + masked


def submit(text: str) -> bytes:
    """The frame that submits what a person typed. Its id is always 1: a link has one request on its way."""
    return client_frame(b'{"jsonrpc":"2.0","id":1,"method":"submit","params":{"text":"%s"}}' % text.encode())


class Target(Struct, frozen=True):
    """A server under load. `greets` says whether it speaks first (`attached`), `echoes` whether any frame is the
    reply; `pid` is that of its process."""

    port: int
    pid: int
    greets: bool
    echoes: bool


class Link(asyncio.Protocol):
    """One connection with at most one request on its way; `replied` is called when its reply has come."""

    def __init__(self, target: Target, path: str) -> None:
        loop = asyncio.get_running_loop()
        self.target = target
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.replied: Callable[[Link], None] = _nobody
        self.failed: Callable[[Exception], None] = _raise
        self.sent_at = 0.0
        self.requests = 0
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
        self._transport.write(handshake(self._path, self.target.port))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)
        self._fail(exc or ConnectionError(f"the server closed {self._path}"))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if self.ready.done() and self._skim(data):
            self._rest = b""
        else:
            self._walk(data)

    def _skim(self, data: bytes) -> bool:
        """Deals with data that is a number of whole text frames, as nearly all is; whether it was.

        On a busy session there are a hundred notifications for each reply, and a client that looked at each of them in
        Python would measure itself. What a frame begins with cannot stand within one: JSON escapes quotes.
        """
        if self.target.echoes:
            if not 2 <= len(data) <= 127 or data[0] != TEXT or data[1] != len(data) - 2:
                return False
            self.replied(self)
            return True
        last = data.rfind(_BEGIN)
        size = len(data) - last
        if last < 2 or size > 65535 or _PING in data:
            return False
        head = head_of(TEXT, size)
        if not data.startswith(head, last - len(head)):
            return False
        at = data.find(_ANSWER)
        if at < 0:
            return True
        if data.startswith(REPLY, at):
            self.replied(self)
        else:
            self._fail(RuntimeError(data[at : at + 400].decode(errors="replace")))
        return True

    def _walk(self, data: bytes) -> None:
        """Deals with data frame by frame, and keeps what is no whole one yet."""
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
        if not self.target.greets:
            self.ready.set_result(None)
        return over

    def _frame(self, data: bytes, opcode: int, at: int, length: int) -> None:
        if opcode == TEXT:
            if self.target.echoes or data.startswith(REPLY, at):
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


def handshake(path: str, port: int) -> bytes:
    """The request that opens a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


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


async def _opened(link: AnyLink) -> AnyLink:
    await asyncio.get_running_loop().create_connection(partial(_same, link), "127.0.0.1", link.target.port)
    await link.ready
    return link


async def connect(target: Target, paths: Sequence[str], kind: Callable[[Target, str], AnyLink]) -> list[AnyLink]:
    """Opens a link to each path, and returns once all have been greeted. Raises ConnectionError."""
    links: list[AnyLink] = []
    async with asyncio.timeout(PATIENCE):
        for first in range(0, len(paths), AT_ONCE):
            links += await asyncio.gather(*(_opened(kind(target, path)) for path in paths[first : first + AT_ONCE]))
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
        await _opened(link)
        taken = time.perf_counter() - began
    await disconnect([link])
    return taken
