"""uvicorn's server, bent where Backchat needs it: a drain before the sockets close, and an end without a traceback."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Final

from starlette.types import ASGIApp
from uvicorn import Config, Server

from backchat.config import Settings
from backchat.errors import SettingError
from backchat.protocols import GRACE_SECONDS, ServerConfig, WebSocketProtocol

_log = logging.getLogger("backchat.server")

BACKLOG: Final = 2048
"""How many connections may wait to be accepted."""
SPARE_FILES: Final = 64
"""How many open files are not for connections: the database, the log, what is imported late, a backend's sockets."""


def uvicorn_config(app: ASGIApp, settings: Settings, connections: int | None = None) -> ServerConfig:
    """How Backchat runs an application, with as many connections at a time as the settings say, or fewer. No
    permessage-deflate: it multiplies memory and lets a bomb in."""
    return ServerConfig(app, settings, settings.connections if connections is None else connections)


def allow_files(connections: int) -> int:
    """Lets this process have as many open files as the system allows, and returns how many connections they suffice
    for: `connections` at the most."""
    if sys.platform == "win32":
        return connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems have a lower limit than they say.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, soft - SPARE_FILES))


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
