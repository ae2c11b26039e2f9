"""A model server that does as little as one can, so that it is not what is measured: asyncio on a socket, every reply
made once. As a process of its own it answers each chat request at once, and prints its port; the load driver can also
be one itself, and then says when each delta leaves."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from socket import socket
from typing import Any, Final

from tests.bench.links import PATIENCE, loop_factory

MODEL: Final = "bench"
TEXT: Final = " token"
"""What each delta says."""
REST_SECONDS: Final = 0.002
"""How long after the first delta the rest of a reply follows. A model takes longer for a token; without a pause the
end of the reply would be dealt with before the first delta has left Backchat."""


def _chunk(**fields: Any) -> bytes:
    """A server-sent event in a chunk of the HTTP body, with all that such servers send."""
    known = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": MODEL}
    return _chunked(b"data: %s\n\n" % json.dumps(known | fields).encode())


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


_USAGE: Final = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
BEGIN: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + _chunk(choices=_choice({"role": "assistant", "content": ""}), usage=None)
)  # fmt: skip
DELTA: Final = _chunk(choices=_choice({"content": TEXT}), usage=None)
END: Final = (
    _chunk(choices=_choice({}, "stop"), usage=None)
    + _chunk(choices=[], usage=_USAGE)
    + _chunked(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)
_NAMES: Final = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
_MODELS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_NAMES) + _NAMES
)


def request(port: int) -> bytes:
    """A chat request as Backchat makes it for one message, but with fewer headers."""
    body = json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": "How are you?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Asked(asyncio.Protocol):
    """One connection of somebody who asks, one request after the other; `asked` is called at each chat request."""

    def __init__(self, asked: Callable[["Asked"], None]) -> None:
        self._asked = asked
        self._rest = b""
        self._transport: Any = None

    def write(self, data: bytes) -> None:
        """Sends a part of a reply."""
        self._transport.write(data)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (over := self._rest.find(b"\r\n\r\n")) >= 0:
            method, *headers = self._rest[:over].split(b"\r\n")
            sizes = [int(line[15:]) for line in headers if line[:15].lower() == b"content-length:"]
            end = over + 4 + sum(sizes)
            if len(self._rest) < end:
                return
            self._rest = self._rest[end:]
            if method.startswith(b"POST "):
                self._asked(self)
            else:
                self.write(_MODELS)


class Told:
    """A model server in the driver itself, which says nothing until it is told to."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[Asked] = asyncio.Queue()
        self._connections: list[Asked] = []

    @asynccontextmanager
    async def serving(self, listening: socket) -> AsyncIterator["Told"]:
        """Accepts whoever asks."""
        server = await asyncio.get_running_loop().create_server(self._accept, sock=listening)
        try:
            yield self
        finally:
            server.close()
            for connection in self._connections:
                connection.close()

    def _accept(self) -> Asked:
        self._connections.append(Asked(self._requests.put_nowait))
        return self._connections[-1]

    async def asked(self) -> Asked:
        """The next request."""
        async with asyncio.timeout(PATIENCE):
            return await self._requests.get()


def _answer(asked: Asked) -> None:
    asked.write(BEGIN + DELTA)
    asyncio.get_running_loop().call_later(REST_SECONDS, asked.write, END)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Asked, _answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves until it is ended by a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
