"""One WebSocket, attached to one session: a reader, an outbox, a writer.

The reader never waits for a commit or a run, only for room: a bounded number of requests are in flight. Everything
that is sent goes through the outbox, so its order is defined.
"""

import asyncio
import logging
import secrets
from collections import deque
from functools import partial
from typing import assert_never

from msgspec import Struct
from starlette.websockets import WebSocket

from backchat import frames
from backchat.errors import BackchatError, InvalidRequest
from backchat.frames import (
    BadFrame,
    Complete,
    Messages,
    Render,
    Rendered,
    RenderParams,
    RequestId,
    Result,
    Submit,
    Who,
)
from backchat.outbox import Outbox
from backchat.rendering import Rendering
from backchat.sessions import Answer, Session
from backchat.writing import writing

_log = logging.getLogger("backchat.connection")


class Limits(Struct, frozen=True, kw_only=True):
    """What one connection may take. `send_seconds` is how long one frame may take to leave."""

    in_flight: int
    outbox_frames: int
    outbox_characters: int
    send_seconds: float


class Connection:
    """Serves one accepted WebSocket until either side closes it. `name` is that of whoever is at the far end."""

    def __init__(self, websocket: WebSocket, session: Session, name: str, rendering: Rendering, limits: Limits) -> None:
        self.who = Who(secrets.token_hex(4), name)
        self._websocket = websocket
        self._session = session
        self._rendering = rendering
        self._limits = limits
        self.outbox = Outbox(limits.outbox_frames, limits.outbox_characters)
        self._in_flight = 0
        self._room: asyncio.Future[None] | None = None
        # One rendering at a time, so that a connection that asks for many waits its turn among the others.
        self._to_render: deque[tuple[RenderParams, Answer]] = deque()
        self._renderer: asyncio.Task[None] | None = None

    async def serve(self, after: int | None, log: str | None) -> None:
        """Attaches, then reads and writes until the connection ends. Raises what `Session.ready` raises before it
        attaches."""
        await self._session.attach(self.who, self.outbox, after, log)
        async with writing(self._websocket, self.outbox, self._limits.send_seconds):
            try:
                await self._read()
            finally:
                self._session.detach(self.who)
                if self._renderer is not None:
                    self._renderer.cancel()

    # Reading.

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if self._in_flight >= self._limits.in_flight:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            self._in_flight += 1
            if text is None:
                self._session.refuse(
                    InvalidRequest("Frames are text; this one was binary."), partial(self._answer, None)
                )
                continue
            try:
                request = frames.decode(text)
            except BadFrame as bad:
                self._session.refuse(bad.error, partial(self._answer, bad.id))
                continue
            answer = partial(self._answer, request.id)
            match request:
                case Submit():
                    await self._session.submit(request.params, self.who, answer)
                case Messages():
                    self._session.page(request.params, answer)
                case Complete():
                    self._session.complete(request.params, answer)
                case Render():
                    self._to_render.append((request.params, answer))
                    if self._renderer is None:
                        self._renderer = asyncio.get_running_loop().create_task(self._render())
                case _:
                    assert_never(request)

    async def _render(self) -> None:
        try:
            while self._to_render:
                params, answer = self._to_render.popleft()
                try:
                    result: Result | BackchatError = await self._rendering.render(self._session, params)
                except BackchatError as error:
                    result = error
                except Exception:  # noqa: BLE001
                    # A defect may cost messages their looks, never a request its answer. Who is given none asks for
                    # these no more.
                    _log.exception("a rendering failed")
                    result = Rendered([], None)
                answer(result)
        finally:
            self._renderer = None

    def _answer(self, request_id: RequestId, result: Result | BackchatError) -> None:
        self._in_flight -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if isinstance(result, BackchatError):
            self.outbox.push(frames.error_reply(request_id, result))
        else:
            self.outbox.push(frames.reply(request_id, result))
