"""uvicorn's protocols, bent where Backchat needs it: a way to drop a connection, close codes that arrive, and bounds
for peers that are slow or mean harm."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import (  # type: ignore[attr-defined]  # in C where that was compiled
    CloseCode,
    Frame,
    apply_mask,
)
from websockets.protocol import State

from backchat.config import Settings
from backchat.outbox import Sent
from backchat.writing import TRANSPORT

_log = logging.getLogger("backchat.server")

LINGER_SECONDS: Final = 2.0
"""How long a peer that broke the protocol, or answered no ping, has to read why before it is dropped."""

GRACE_SECONDS: Final = 10
"""How long each stage of the end may take: keeping live replies, closing connections."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take to arrive, from when the connection is made, or its first byte comes."""
HEAD_BYTES: Final = 64 * 1024
"""How many bytes of a request may come without any of its body: its head, what stands between the chunks of its body,
and what follows them."""
MOST_HEADERS: Final = 128
"""How many header fields a request may have: as many as websockets takes."""
MOST_PIPELINED: Final = 16
"""How many requests of one connection may wait for the answer to another."""
LEAST_SENT: Final = 32 * 1024
"""How many bytes of an answer must leave within the time that a client has to take a frame, while that many wait."""

PIECE: Final = 512
"""How many bytes of a long read are parsed at once. A frame takes six at the least, and hundreds in memory."""
MOST_AT_ONCE: Final = 32
"""After how many frames of a long read others have their turn."""

_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LONG_HEAD: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ServerConfig(Config):
    """uvicorn's, and what the protocols below are told. `connections` is how many there may be at a time."""

    def __init__(self, app: ASGIApp, settings: Settings, connections: int) -> None:
        super().__init__(
            app,
            http=_Door,
            ws=WebSocketProtocol,
            ws_max_size=settings.max_frame,
            ws_per_message_deflate=False,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self.connections = connections
        self.frames_per_minute = settings.frames_per_minute
        self.send_seconds = settings.send_seconds


class _Door(asyncio.Protocol):
    """Makes HTTP of a connection, or turns it away where there are as many as there may be."""

    __slots__ = ("_app_state", "_config", "_loop", "_state")

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        # uvicorn's own set: HTTP and WebSocket alike, until they are lost.
        if len(self._state.connections) >= self._config.connections:
            transport.write(_FULL)
            transport.close()
            return
        protocol = HttpProtocol(self._config, self._state, self._app_state, self._loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class _TooMuch(Exception):
    """Stops the parser, after which uvicorn ends the connection."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol. Waits neither for requests that do not come nor for peers that do not read, and holds
    no more than it must of what comes."""

    config: ServerConfig
    _awaiting: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _drained = False
    """Whether what was to be sent has been low since somebody last looked."""
    _apart = 0
    """How many bytes have come since a head was whole or a part of a body came."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_came()
        if self._sending is not None:
            self._sending.cancel()

    # What comes.

    def data_received(self, data: bytes) -> None:
        if self._awaiting is None and self._quiet:
            self._await_head()
        self._apart += len(data)
        super().data_received(data)
        if self._apart > HEAD_BYTES and not self.transport.is_closing():
            if self._quiet:
                self.transport.write(_LONG_HEAD)
            self.transport.close()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _TooMuch
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Those that follow a body too.
        if len(self.headers) >= MOST_HEADERS:
            raise _TooMuch
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_came()
        self._apart = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._apart = 0
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # Or the two would hold each other until the garbage collector comes by.
        self.parser = None  # type: ignore[assignment]  # as uvicorn does

    @property
    def _quiet(self) -> bool:
        """Whether no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        self._awaiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._awaiting is not None:
            self._awaiting.cancel()
            self._awaiting = None

    # What is sent.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._drained = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # All of it is with the transport, which may be waiting to close.
        self._watch()

    def _watch(self) -> None:
        size = self.transport.get_write_buffer_size()
        if size and self._sending is None:
            self._drained = False
            self._sending = self.loop.call_later(self.config.send_seconds, self._look, size)

    def _look(self, before: int) -> None:
        self._sending = None
        size = self.transport.get_write_buffer_size()
        if size and not self._drained and before - size < LEAST_SENT:
            self.transport.abort()
        else:
            self._watch()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol. Offers the application what ASGI does not (see `writing.TRANSPORT`), and ends
    connections whose peers break the protocol or are gone."""

    config: ServerConfig
    _take: Callable[[str], bool] | None = None
    _aligned: bool = True
    """Whether every read so far began and ended between two frames, as it does where frames are small."""
    _held: bool = False
    """Whether nothing more is read."""
    _lingers: bool = False
    """Whether all has been said to the peer, and what still comes is dropped."""
    _unparsed: memoryview = memoryview(b"")
    """What has been read and is not parsed yet. Nothing more is read meanwhile."""
    _pause: asyncio.TimerHandle | None = None
    """There while the peer has sent more frames than it may, and nothing is read."""
    _pong: bytes | None = None
    """The last pong that could not be sent yet."""

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # How many frames may come before anybody looks how long that took, and when somebody did last.
        self._room: float = config.frames_per_minute or math.inf
        self._looked = self.loop.time()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        # The task made there has not begun yet, so it finds this. A refused handshake has no scope.
        if not self.close_sent:
            self.scope["extensions"][TRANSPORT] = {
                "abort": self.transport.abort,
                "send": self.send_frames,
                "send_now": self.send_now,
                "deliver_to": self.deliver_to,
            }

    def deliver_to(self, take: Callable[[str], bool]) -> None:
        """From now on each text frame is offered to `take`; one that it does not take waits to be received, and
        nothing is read before it has been."""
        self._take = take

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                text = b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # uvicorn would log a traceback, with which anybody could fill the log.
                self.frames = []
                if self.conn.state is State.OPEN:
                    # Else a close frame came right behind it, and is answered already.
                    self.conn.send_close(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
            if self._take is not None and self.queue.empty() and self._take(text):
                self.frames = []
                return
        super().send_receive_event_to_app()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Or the two would hold each other, and the session, until the garbage collector comes by.
        self._take = None
        self._forget()

    def _forget(self) -> None:
        """What has been read and not parsed is of no interest any more."""
        self._unparsed = memoryview(b"")
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    async def send_frames(self, together: list[Sent]) -> None:
        """Sends text frames with one write: each write is a system call, and a busy session makes many small frames.
        Raises OSError when the connection is closed."""
        while not self.send_now(together):
            if self.disconnected or self.close_sent or self.transport.is_closing():
                raise ClientDisconnected
            # Once more where it is behind again by the time that this goes on.
            await self.writable.wait()

    def send_now(self, together: list[Sent]) -> bool:
        """Sends text frames with one write, unless the peer is behind or the connection is closed; whether it did."""
        if not self.writable.is_set() or self.disconnected or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(
            b"".join([_framed(one) if isinstance(one, str) else one.framed(_framed) for one in together])
        )
        return True

    def handle_parser_exception(self) -> None:
        """A frame over the limit, bad UTF-8, a broken frame. Closing the socket while the peer still sends would
        reset the connection, and the peer would never see the close code; so only our half is closed, and what still
        comes is dropped."""
        if self.close_sent:
            return
        sent = self.conn.close_sent
        code = CloseCode.PROTOCOL_ERROR if sent is None else sent.code
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": code, "reason": "" if sent is None else sent.reason}
        )
        self._linger()

    def _linger(self) -> None:
        """Sends what there is to send, a close code last, then waits for the peer to go."""
        self.close_sent = self._lingers = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        if not self.transport.is_closing():
            if self.transport.can_write_eof():
                # A peer may have reset the connection, and nobody has read that yet.
                with suppress(OSError):
                    self.transport.write_eof()
            self._forget()
            self.read_paused = self._held = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._lingers or (self.close_sent and self.conn.handshake_exc is not None):
            return
        if self._aligned:
            if not self.handshake_initiated:
                self._aligned = data.endswith(b"\r\n\r\n")
            elif (payload := _only_text(data)) is None:
                self._aligned = _is_only_short(data)
            elif (
                len(payload) <= self.config.ws_max_size
                and self.conn.state is State.OPEN
                and self.conn.current_size is None
                and not self._unparsed
            ):
                # What nearly every read is. The parser, which takes anything, takes several times as long.
                self.curr_msg_data_type = "text"
                self.frames = [payload]
                self.send_receive_event_to_app()
                self._room -= 1
                if self._room < 0:
                    self._count()
                return
        if self._unparsed or len(data) > PIECE:
            self._unparsed = memoryview(bytes(self._unparsed) + data)
            self._go_on()
        else:
            self._parse(data)

    @property
    def _deaf(self) -> bool:
        """Whether nothing may be parsed for now."""
        return self.read_paused or self._held or self._pause is not None

    def _go_on(self) -> None:
        """Parses what has been read, as far as that may be now; reads on once all of it is."""
        frames = 0
        while self._unparsed and frames < MOST_AT_ONCE and not self._deaf and not self.transport.is_closing():
            piece, self._unparsed = bytes(self._unparsed[:PIECE]), self._unparsed[PIECE:]
            frames += self._parse(piece)
        if self.transport.is_closing():
            self._unparsed = memoryview(b"")
        elif self._unparsed or self._deaf:
            self.transport.pause_reading()
            if not self._deaf:
                self.loop.call_soon(self._go_on)
        else:
            self._unparsed = memoryview(b"")
            self.transport.resume_reading()

    def _parse(self, data: bytes) -> int:
        """Returns how many frames that were."""
        self.conn.receive_data(data)
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
            return 0
        frames = len(self.conn.events)
        self._room -= frames
        self.handle_events()
        if self._room < 0 and not self._lingers:
            self._count()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A request that is no handshake, or too long a one: websockets has the answer ready, uvicorn never looks.
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        return frames

    def _count(self) -> None:
        """All frames that could come without another look have come. Lets in as many as the time since the last look
        is good for, a minute's at the most; reads no more where those have come too, until there is room for one."""
        most = self.config.frames_per_minute
        now = self.loop.time()
        self._room = min(self._room + (now - self._looked) * most / 60, most)
        self._looked = now
        if self._room < 0 and not self.transport.is_closing():
            self.transport.pause_reading()
            self._pause = self.loop.call_later((1 - self._room) * 60 / most, self._unpause)

    def _unpause(self) -> None:
        self._pause = None
        self._count()
        self._go_on()

    def hold(self) -> None:
        """Reads nothing more until `shutdown`, so that no command begins a reply whose end nobody would hear of."""
        if self.handshake_complete and not self._lingers and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    async def receive(self) -> Any:
        """What uvicorn does, but that there may be other reasons not to read."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self._unparsed:
                # Not now: what is parsed must not overtake this message.
                self.loop.call_soon(self._go_on)
            elif self._pause is None and not self._held:
                self.transport.resume_reading()
        return message

    def handle_cont(self, event: Frame) -> None:
        # As one: there may be as many as one likes of no size at all.
        if not isinstance(self.frames[0], bytearray):
            self.frames = [bytearray(self.frames[0])]  # type: ignore[list-item]  # may grow
        self.frames[0] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        pongs = self.conn.data_to_send()
        if self.writable.is_set() or self.conn.state is not State.OPEN:
            self.transport.write(b"".join(pongs))
        elif pongs:
            # The peer does not read. The last one answers them all (RFC 6455, section 5.5.3).
            self._pong = pongs[-1]

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._pong is not None:
            pong, self._pong = self._pong, None
            if self.conn.state is State.OPEN and not self.transport.is_closing():
                self.transport.write(pong)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            # What closes waits for a peer that may never read again.
            self.loop.call_later(self.config.send_seconds, self.transport.abort)

    def shutdown(self) -> None:
        if not self.handshake_complete or self.close_sent:
            super().shutdown()
            return
        self.stop_keepalive()
        if self.conn.state is not State.OPEN:
            # A peer that has just said goodbye must not be told to go: websockets refuses a second close frame, and the
            # error would keep uvicorn from all that it has to end after this connection.
            self.transport.close()
            return
        # uvicorn would close the socket, which resets the connection where the peer has sent something that nobody has
        # read; then the peer never sees the close code.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.SERVICE_RESTART})
        self.conn.send_close(CloseCode.SERVICE_RESTART)
        self._linger()

    def keepalive_timeout(self) -> None:
        """The peer has not answered a ping. It may never read again, and a plain close would wait for it."""
        if self._deaf:
            # Or it has, and nobody has listened.
            assert self.ping_timeout is not None
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _only_text(data: bytes) -> bytes | None:
    """The payload, if this is one text frame from a client and nothing else: whole, and shorter than 65,536 bytes (RFC
    6455, section 5.2)."""
    size, begin = len(data) - 6, 2
    if 0 <= size < 126:
        whole = data[0] == 0x81 and data[1] == 0x80 + size
    else:
        size, begin = size - 2, 4
        whole = data[:2] == b"\x81\xfe" and int.from_bytes(data[2:4]) == size >= 126
    payload: bytes | None = apply_mask(data[begin + 4 :], data[begin : begin + 4]) if whole else None
    return payload


def _is_only_short(data: bytes) -> bool:
    """Whether this is one frame from a client and nothing else, of any kind but no longer than a control frame."""
    return len(data) >= 6 and 0x80 <= data[1] < 0x80 + 126 and len(data) == 6 + data[1] - 0x80


_SHORT: Final = tuple(bytes((0x81, size)) for size in range(126))


def _framed(text: str) -> bytes:
    """A text frame as a server sends it: whole, and not masked (RFC 6455, sections 5.1 and 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return _SHORT[size] + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload
