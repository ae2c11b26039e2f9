"""The writing end of one WebSocket: what its outbox holds is sent, by one task, and the connection ends when a frame
takes too long to leave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from backchat.outbox import Outbox

TRANSPORT: Final = "backchat.transport"
"""The ASGI extension of server.py: `abort()` drops a connection without asking its peer, `send(texts)` writes several
text frames at once and raises OSError when the peer is gone."""


@asynccontextmanager
async def writing(websocket: WebSocket, outbox: Outbox, seconds: float) -> AsyncIterator[None]:
    """Sends what comes into the outbox for as long as the context lasts, and closes an accepted WebSocket once the
    outbox does. `seconds` is how long one frame may take to leave."""
    writer = _Writer(websocket, outbox, seconds)
    task = asyncio.get_running_loop().create_task(writer.write())
    watch = writer.watch()
    try:
        yield
    finally:
        watch()
        task.cancel()
        (end,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(end, Exception):
        raise end


class _Writer:
    def __init__(self, websocket: WebSocket, outbox: Outbox, seconds: float) -> None:
        self._websocket = websocket
        self._outbox = outbox
        self._seconds = seconds
        self._sending_since: float | None = None

    async def write(self) -> None:
        send = self._websocket.scope.get("extensions", {}).get(TRANSPORT, {}).get("send", self._send_each)
        clock = asyncio.get_running_loop().time
        try:
            while together := await self._outbox.get():
                self._sending_since = clock()
                await send(together)
                self._sending_since = None
            assert self._outbox.closing is not None
            await close(self._websocket, *self._outbox.closing, self._seconds)
        except (WebSocketDisconnect, RuntimeError, OSError):
            # The peer is gone, or broke the protocol, and the server has closed the connection: the reader hears of
            # it too.
            pass
        except Exception:
            # Nobody would write any more, so nobody shall wait.
            abort(self._websocket)
            raise

    async def _send_each(self, texts: list[str]) -> None:
        for text in texts:
            await self._websocket.send_text(text)

    def watch(self) -> Callable[[], None]:
        """Aborts the transport when one frame takes too long to leave. One timer, moved when it fires rather than for
        each frame: a frame that began since is looked at again when its own time is up."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._seconds, lambda: look())

        def look() -> None:
            nonlocal timer
            since = self._sending_since
            if since is not None and loop.time() - since >= self._seconds:
                abort(self._websocket)
                return
            timer = loop.call_at((loop.time() if since is None else since) + self._seconds, look)

        return lambda: timer.cancel()


async def close(websocket: WebSocket, code: int, reason: str, seconds: float) -> None:
    """Closes an accepted WebSocket; if the peer has not read the close frame after `seconds`, drops it."""
    # The timer outlives this connection's tasks: a close waits for a peer that may never read again.
    asyncio.get_running_loop().call_later(seconds, abort, websocket)
    # A control frame takes at most 125 bytes, two of them for the code (RFC 6455, section 5.5).
    short = reason.encode()[:120].decode(errors="ignore")
    # A peer that is gone already needs no close frame.
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(seconds):
            await websocket.send({"type": "websocket.close", "code": code, "reason": short})


def abort(websocket: WebSocket) -> None:
    """Drops a connection without a word. Does nothing where the server offers no way to."""
    transport = websocket.scope.get("extensions", {}).get(TRANSPORT)
    if transport is not None:
        transport["abort"]()
