"""uvicorn, bent where Backchat needs it: a way to drop a connection, close codes that arrive, a drain before the
sockets close."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, apply_mask  # type: ignore[attr-defined]  # in C where that was compiled
from websockets.protocol import State

from backchat.errors import SettingError
from backchat.outbox import Sent
from backchat.writing import TRANSPORT

_log = logging.getLogger("backchat.server")

LINGER_SECONDS: Final = 2.0
"""How long a peer that broke the protocol, or answered no ping, has to read why before it is dropped."""

GRACE_SECONDS: Final = 10
"""How long each stage of the end may take: keeping live replies, closing connections."""
BACKLOG: Final = 2048
"""How many connections may wait to be accepted."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol. Offers the application what ASGI does not (see `writing.TRANSPORT`), and ends
    connections whose peers break the protocol or are gone."""

    _take: Callable[[str], bool] | None = None
    _aligned: bool = True
    """Whether every read so far began and ended between two frames, as it does where frames are small."""
    _held: bool = False
    """Whether nothing more is read."""
    _lingers: bool = False
    """Whether all has been said to the peer, and what still comes is dropped."""

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
            if self.read_paused:
                self.read_paused = False
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
            ):
                # What nearly every read is. The parser, which takes anything, takes several times as long.
                self.curr_msg_data_type = "text"
                self.frames = [payload]
                self.send_receive_event_to_app()
                return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A request that is no handshake, or too long a one: websockets has the answer ready, uvicorn never looks.
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def hold(self) -> None:
        """Reads nothing more until `shutdown`, so that no command begins a reply whose end nobody would hear of."""
        if self.handshake_complete and not self.read_paused and not self.transport.is_closing():
            self.read_paused = self._held = True
            self.transport.pause_reading()

    async def receive(self) -> Any:
        message = await self.queue.get()
        if self.read_paused and not self._held and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        return message

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


def uvicorn_config(app: ASGIApp, max_frame: int) -> Config:
    """How Backchat runs an application. No permessage-deflate: it multiplies memory and lets a bomb in."""
    return Config(
        app,
        ws=WebSocketProtocol,
        ws_max_size=max_frame,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


class BackchatServer(Server):
    """A server that drains before it closes its sockets, and ends without a traceback or a signal of its own."""

    def __init__(self, config: Config, *, started: Callable[[], object], drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._started = started
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Not before: from here on a signal is answered by a drain.
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn closes the sockets first, and tells the application last; by then no reply could be finished.
        for server in self.servers:
            server.close()
        for connection in self.server_state.connections:
            if isinstance(connection, WebSocketProtocol):
                connection.hold()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._drain()
        except TimeoutError:
            _log.error("not every live reply could be kept within %s seconds", GRACE_SECONDS)
        finally:
            await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal drains; it is not recorded, since uvicorn would raise it again at the end. A second one ends
        the process at once, which loses nothing that was acknowledged: that is on the disk."""
        del frame
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything else starts, so that a port in use is one clear line. Raises
    SettingError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # The protocol must be named: asyncio turns Nagle's algorithm off only where it is, and what is accepted
        # inherits it. Without, each exchange of small frames waits 40 ms for a delayed acknowledgement.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if sys.platform == "win32":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingError(f"Cannot listen on {host}, port {port}: {reason.lower()}.") from error
    return listening
