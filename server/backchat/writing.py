"""The writing end of one WebSocket: what its outbox holds is sent, by one task where the peer is behind, and the
connection ends when that takes too long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from backchat.outbox import Outbox, Sent, texts

TRANSPORT: Final = "backchat.transport"
"""The ASGI extension of protocols.py: `abort()` drops a connection without asking its peer, `send(frames)` writes text
frames at once, as soon as the peer takes them, and raises OSError when it is gone; `send_now(frames)` writes them
without waiting, and returns whether it did; `deliver_to(take)` offers each text frame that comes to `take` first, and
lets whoever receives have those for which it returns False."""


@asynccontextmanager
async def writing(websocket: WebSocket, outbox: Outbox, seconds: float) -> AsyncIterator[None]:
    """Sends what comes into the outbox for as long as the context lasts, and closes an accepted WebSocket once the
    outbox does. `seconds` is how long frames that are sent together may take to leave."""
    writer = _Writer(websocket, outbox, seconds)
    outbox.send_to(writer)
    try:
        yield
    finally:
        outbox.send_to(None)
        await writer.end()


class _Writer:
    """Most frames leave at once, and need no task to be woken for them, which costs more than to send them. There is
    one task while the peer takes no more for now."""

    def __init__(self, websocket: WebSocket, outbox: Outbox, seconds: float) -> None:
        self._websocket = websocket
        self._outbox = outbox
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._transport = websocket.scope.get("extensions", {}).get(TRANSPORT, {})
        self.send_now: Callable[[list[Sent]], bool] = self._transport.get("send_now", _never)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._write())

    async def end(self) -> None:
        """Raises what a defect has raised."""
        if self._task is not None:
            self._task.cancel()
            (end,) = await asyncio.gather(self._task, return_exceptions=True)
            if isinstance(end, Exception):
                raise end

    async def _write(self) -> None:
        send = self._transport.get("send", self._send_each)
        try:
            while together := self._outbox.get():
                async with asyncio.timeout(self._seconds):
                    await send(together)
            if self._outbox.closing is not None:
                await close(self._websocket, *self._outbox.closing, self._seconds)
        except TimeoutError:
            abort(self._websocket)
        except (WebSocketDisconnect, RuntimeError, OSError):
            # The peer is gone, or broke the protocol, and the server has closed the connection: the reader hears of
            # it too.
            pass
        except Exception:
            # Nobody would write any more, so nobody shall wait.
            abort(self._websocket)
            raise

    async def _send_each(self, together: list[Sent]) -> None:
        for text in texts(together):
            await self._websocket.send_text(text)


def _never(_: list[Sent]) -> bool:
    """What sends at once where the server offers no way to."""
    return False


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
