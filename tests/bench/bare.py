"""The least that a server can do: asyncio on a socket, no HTTP and no WebSocket library. What the load driver reaches
against this is the driver's own limit. Prints its port.

On `/fan/NAME` whatever comes from one goes to all that are there, on any other path it is answered. On
`/busy/NUMBER/SIZE` so many notifications of so many bytes come before each answer, in one write.
"""

import asyncio
import signal
from collections import defaultdict
from typing import Any

from tests.bench.links import NOTIFICATION, REPLY, TEXT, head_of, loop_factory

_ANSWER = head_of(TEXT, len(REPLY) + 3) + REPLY + b"{}}"


_attached: defaultdict[bytes, set[Any]] = defaultdict(set)


def _answer(path: bytes) -> bytes:
    if not path.startswith(b"/busy/"):
        return _ANSWER
    number, size = map(int, path.split(b"/")[2:])
    said = NOTIFICATION + b'"busy","params":"'
    return (head_of(TEXT, size) + said + b"x" * (size - len(said) - 2) + b'"}') * number + _ANSWER


class _Bare(asyncio.Protocol):
    """Says yes to a handshake, then answers each frame (all of one size, under 126 bytes) with the same bytes, or
    writes it to all with the same path: still masked, for nobody looks."""

    def __init__(self) -> None:
        self._open = False
        self._answer = b""
        self._fan: set[Any] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._open = True
            path = data.split(b" ", 2)[1]
            self._answer = _answer(path)
            if path.startswith(b"/fan/"):
                self._fan = _attached[path]
                self._fan.add(self._transport)
            self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        elif data[0] == 0x88:
            self._transport.close()
        elif self._fan is not None:
            # The mask is four bytes long.
            head = 2 if data[1] & 0x7F < 126 else 4
            frame = bytes((data[0], data[1] & 0x7F)) + data[2:head] + data[head + 4 :]
            for transport in self._fan:
                transport.write(frame)
        else:
            self._transport.write(self._answer * (len(data) // (6 + (data[1] & 0x7F))))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._fan is not None:
            self._fan.discard(self._transport)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Bare, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves until it is ended by a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
