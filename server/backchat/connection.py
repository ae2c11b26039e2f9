"""One WebSocket, attached to one session: a reader, an outbox, a writer.

The reader never waits for a commit or a run, only for room: a bounded number of requests are in flight. Everything
that is sent goes through the outbox, so its order is defined.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final, assert_never

from msgspec import Struct
from starlette.websockets import WebSocket

from backchat import frames
from backchat.counts import Counts
from backchat.errors import BackchatError, InvalidRequest
from backchat.frames import (
    BadFrame,
    Complete,
    Completion,
    Messages,
    Page,
    Render,
    Rendered,
    RenderParams,
    Reply,
    RequestId,
    Result,
    Submit,
    Who,
)
from backchat.outbox import Outbox
from backchat.rendering import Rendering
from backchat.sessions import Answer, Session
from backchat.writing import TRANSPORT, writing

_log = logging.getLogger("backchat.connection")


class Limits(Struct, frozen=True, kw_only=True):
    """What one connection may take. `send_seconds` is how long frames that are sent together may take to
    leave."""

    in_flight: int
    outbox_frames: int
    outbox_characters: int
    send_seconds: float


class Connection:
    """Serves one accepted WebSocket until either side closes it. `name` is that of whoever is at the far end;
    `take_command` is called before each `submit`, and raises what refuses it."""

    def __init__(
        self,
        websocket: WebSocket,
        session: Session,
        name: str,
        rendering: Rendering,
        limits: Limits,
        counts: Counts,
        take_command: Callable[[], None],
    ) -> None:
        self.who = Who(secrets.token_hex(4), name)
        self._websocket = websocket
        self._session = session
        self._rendering = rendering
        self._limits = limits
        self._counts = counts
        self._take_command = take_command
        # Whether what the reader is given next has been counted.
        self._counted = False
        self.outbox = Outbox(limits.outbox_frames, limits.outbox_characters)
        self._in_flight = 0
        self._reading = False
        self._over = False
        self._room: asyncio.Future[None] | None = None
        # One rendering at a time, so that a connection that asks for many waits its turn among the others.
        self._to_render: list[tuple[RenderParams, Answer]] = []
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

    def end(self, error: BackchatError) -> None:
        """Whoever is at the far end may not be here any more: nothing that they say counts from now on."""
        self._over = True
        self._reading = False
        self.outbox.close(error.close, str(error))

    # Reading.

    async def _read(self) -> None:
        transport = self._websocket.scope.get("extensions", {}).get(TRANSPORT)
        if transport is not None:
            transport["deliver_to"](self._deliver)
        while True:
            self._reading = not self._over
            message = await self._websocket.receive()
            self._reading = False
            if message["type"] == "websocket.disconnect":
                return
            if self._over:
                continue
            text = message.get("text")
            if self._in_flight >= self._limits.in_flight:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
                if self._over:
                    continue
            self._in_flight += 1
            if text is None:
                self._session.refuse(
                    InvalidRequest("Frames are text; this one was binary."), partial(self._answer, None)
                )
            elif (submitted := self._take(text)) is not None:
                await self._session.submit(submitted.params, self.who, partial(self._answer, submitted.id))

    def _deliver(self, text: str) -> bool:
        """Takes a frame at once if nothing has to be waited for, which costs less than to wake the reader; returns
        whether it did."""
        if not self._reading or self._in_flight >= self._limits.in_flight:
            return False
        self._in_flight += 1
        submitted = self._take(text)
        if submitted is None or self._session.submit_now(
            submitted.params, self.who, partial(self._answer, submitted.id)
        ):
            return True
        self._in_flight -= 1
        self._counted = True
        return False

    def _take(self, text: str) -> Submit | None:
        """Deals with a frame, but for what may have to wait for the session's lock: that is returned."""
        self._counts.frames += 1
        try:
            request = frames.decode(text)
        except BadFrame as bad:
            self._session.refuse(bad.error, partial(self._answer, bad.id))
            return None
        match request:
            case Submit():
                if self._counted:
                    self._counted = False
                    return request
                try:
                    self._take_command()
                except BackchatError as error:
                    self._session.refuse(error, partial(self._answer, request.id))
                    return None
                return request
            case Messages():
                self._session.page(request.params, partial(self._answer, request.id))
            case Complete():
                self._session.complete(request.params, partial(self._answer, request.id))
            case Render():
                self._to_render.append((request.params, partial(self._answer, request.id)))
                if self._renderer is None:
                    self._renderer = asyncio.get_running_loop().create_task(self._render())
            case _:
                assert_never(request)
        return None

    async def _render(self) -> None:
        try:
            while self._to_render:
                params, answer = self._to_render.pop(0)
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
            self._counts.errors[result.name] += 1
            self.outbox.push(frames.error_reply(request_id, result))
        else:
            self._counts.requests[_kind(result)] += 1
            self.outbox.push(frames.reply(request_id, result))


_METHODS: Final = {Page: "messages", Completion: "complete", Rendered: "render"}


def _kind(result: Result) -> str:
    """What was asked for: a command, `message`, or a method."""
    if isinstance(result, Reply):
        return result.command or "message"
    return _METHODS[type(result)]
