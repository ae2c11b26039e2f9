"""G7: what a hostile connection holds of the server's memory is bounded, and gone when it is.

The memory is what Python has handed out (tracemalloc). Whoever attacks here lives in the same process, and is made of
bytes that were there before.
"""

import asyncio
import gc
import json
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Final

import httpx
import pytest
from websockets.frames import Frame, Opcode

from backchat import protocols as server_module
from backchat.transcript import Created, Message
from tests.bench.links import handshake
from tests.support.client import client, eventually
from tests.support.figures import Figure
from tests.support.server import Running, running

FRAME: Final = 64 * 1024
OUTBOX: Final = 128 * 1024
BOUND: Final = 1024 * 1024
"""How many bytes a connection may hold: what is read at once (asyncio takes 256 KiB), a message that is not whole, what
waits for the session, what waits for the peer."""
LEFT: Final = 8 * 1024
"""How many bytes of one that is gone may be left, in caches of all kinds."""
HOSTILE: Final = 3
MOST_SENT: Final = 300_000
"""How many bytes each of them sends: more than one read takes."""
ROUNDS: Final = 100
"""How often each of them is given the processor, to send as much as is taken."""

SETTINGS: Final = {"backend": "none", "max_frame": FRAME, "outbox_characters": OUTBOX, "send_seconds": 0.3}


def masked(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def request(method: str, **params: object) -> bytes:
    return masked(Opcode.TEXT, json.dumps({"id": 1, "method": method, "params": params}).encode())


POST: Final = b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\n"
ATTACHED: Final[dict[str, tuple[bytes, bytes]]] = {
    "commands": (b"", request("submit", text="/usage") * 500),
    "messages": (b"", masked(Opcode.TEXT, b"\0" * (FRAME // 2))),
    "pages": (b"", request("messages", before=100) * 100),
    "empty frames": (b"", masked(Opcode.TEXT, b"") * 10_000),
    "binary frames": (b"", masked(Opcode.BINARY, b"x" * 20) * 1000),
    "typed lines": (b"", masked(Opcode.TEXT, b"/status") * 5000),
    "pings": (b"", masked(Opcode.PING, b"x" * 125) * 1000),
    "short pings": (b"", masked(Opcode.PING, b"x" * 14) * 1000),
    "pongs": (b"", masked(Opcode.PONG, b"x" * 14) * 1000),
    "fragments": (masked(Opcode.TEXT, b"x", fin=False), masked(Opcode.CONT, b"xx", fin=False) * 5000),
    "empty fragments": (masked(Opcode.TEXT, b"", fin=False), masked(Opcode.CONT, b"", fin=False) * 10_000),
    "half a frame": (b"\x81\xfe\xff\xff0000", b"x" * 100),
    "an oversized frame": (b"\x81\xff\x00\x00\x00\x00\x10\x00\x00\x000000", b"x" * 100_000),
    "deep JSON": (b"", masked(Opcode.TEXT, b'{"a":' * 4000)),
    "renderings": (b"", request("render", messages=list(range(1, 50))) * 100),
}
"""What those who have shaken hands send first, and then again and again."""
ELSEWHERE: Final[dict[str, tuple[bytes, bytes]]] = {
    "a path without end": (b"GET /", b"x" * 10_000),
    "a header without end": (POST + b"X: ", b"x" * 10_000),
    "headers without end": (POST, b"X: x\r\n" * 2000),
    "empty lines": (b"", b"\r\n" * 5000),
    "a handshake without end": (handshake("/ws", 80)[:-2], b"X: x\r\n" * 2000),
    "a chunk's name without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 10_000),
    "trailers without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n" * 2000),
    "a body without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n     \r\n" * 2000),
    "a deep body": (POST + b"Content-Length: 60000\r\n\r\n", b"[" * 10_000),
    "requests in a row": (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200),
    "answers that nobody reads": (b"", b"GET /commands.js HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "no HTTP": (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 1000),
}
FLOODS: Final = ATTACHED | ELSEWHERE


@contextmanager
def counted() -> Iterator[Callable[[], tuple[int, int]]]:
    """Gives the bytes that are held more than when this began: now, and at the most."""
    gc.collect()
    tracemalloc.start(1)
    try:
        begin, _ = tracemalloc.get_traced_memory()

        def held() -> tuple[int, int]:
            now, most = tracemalloc.get_traced_memory()
            return now - begin, most - begin

        yield held
    finally:
        tracemalloc.stop()


class Enemy:
    """Sends as much as is taken, and reads nothing."""

    def __init__(self, port: int, first: bytes, again: bytes) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._rest: Iterator[bytes] = cycle((again,))
        self._now = memoryview(first or again)
        self._left = MOST_SENT

    def send(self) -> None:
        """Sends until no more is taken."""
        with suppress(BlockingIOError, ConnectionError):
            while self._left > 0:
                sent = self._socket.send(self._now)
                self._left -= sent
                self._now = self._now[sent:] or memoryview(next(self._rest))

    def close(self) -> None:
        self._socket.close()


async def flooded(server: Running, session_id: str, kind: str, number: int, rounds: int) -> list[Enemy]:
    """What so many enemies have become of, each of whom has sent what it could for a while."""
    first, again = FLOODS[kind]
    if kind in ATTACHED:
        first = handshake(f"/ws/{session_id}", server.port) + first
    enemies = [Enemy(server.port, first, again) for _ in range(number)]
    for _ in range(rounds):
        for enemy in enemies:
            enemy.send()
        await asyncio.sleep(0)
    return enemies


@asynccontextmanager
async def attacked(data: Path, **options: object) -> AsyncIterator[tuple[Running, str]]:
    """A server, and a session of it with a few pages of text."""
    async with running(data, **SETTINGS | options) as server:
        messages = [Message(id=one, role="user", content="x" * 400, created_at=1.0) for one in range(1, 101)]
        async with server.backchat.sessions.create("local", Created(), messages) as session:
            session_id = session.id
        yield server, session_id


async def gone(server: Running) -> None:
    """Returns once nobody is connected, and what they had is free."""
    await eventually(lambda: not server.connections and not len(server.backchat._places))
    async with httpx.AsyncClient(trust_env=False) as http:
        # What is on its way to the disk is done before this is.
        await http.get(f"{server.http}/api/sessions")
    await eventually(lambda: not server.connections)
    gc.collect()


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_holds_a_bounded_number_of_bytes_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure, kind: str
) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 2.0)
    async with attacked(tmp_path) as (server, session_id):
        # Whatever is made once, at the first of its kind.
        for enemy in await flooded(server, session_id, kind, 1, ROUNDS):
            enemy.close()
        await gone(server)
        with counted() as held:
            enemies = await flooded(server, session_id, kind, HOSTILE, ROUNDS)
            for enemy in enemies:
                enemy.close()
            _, most = held()
            assert most < HOSTILE * BOUND
            await gone(server)
            left, _ = held()
        # Others are served as before.
        async with client(server.ws()) as one:
            await one.submit("/status")
    figure("G7", "most bytes held for a hostile connection", most // HOSTILE, most=True)
    figure("G7", "hostile connections", HOSTILE)
    assert left < HOSTILE * LEFT + 100_000


async def test_half_open_handshakes_and_silence_are_forgotten_with_all_they_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.3)
    number = 200
    async with attacked(tmp_path) as (server, session_id):
        begun = (b"", b"G", handshake(f"/ws/{session_id}", server.port)[:-2])

        async def knock(times: int) -> None:
            sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(times)]
            for one, sent in zip(sockets, cycle(begun), strict=False):
                one.sendall(sent)
            await eventually(lambda: len(server.connections) == times)
            # They stay, and are ended all the same.
            await gone(server)
            for one in sockets:
                one.close()

        await knock(number)
        with counted() as held:
            await knock(number)
            left, most = held()
    figure("G7", "half-open handshakes ended", 2 * number)
    assert most < number * 32 * 1024
    assert left < 200_000


async def test_sessions_and_connections_that_come_and_go_leave_nothing(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    async with attacked(tmp_path, idle_sessions=5) as (server, _):

        async def churn(times: int) -> None:
            for _ in range(times):
                async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
                    await one.submit("hello")
                    await two.submit("/undo")
            await gone(server)

        await churn(20)
        while True:
            with counted() as held:
                await churn(30)
                left, _ = held()
            assert len(server.backchat.sessions._live) <= 5
            assert left < 200_000
            figure("G7", "sessions that came and went", 30)
            if time.monotonic() >= until:
                break
