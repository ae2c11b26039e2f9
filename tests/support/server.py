"""A real server, in the test's own event loop, so that a test can also reach behind its sockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from backchat.app import Backchat
from backchat.config import Settings
from backchat.server import BackchatServer, listen, uvicorn_config

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"


class _QuietServer(BackchatServer):
    """Leaves the signal handlers to the test runner, and hears at once that it shall end."""

    told: asyncio.Event

    async def main_loop(self) -> None:
        self.told = asyncio.Event()
        await self.on_tick(0)
        await self.told.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Running:
    """A server that accepts connections."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.settings = settings
        # Refuses a data directory that cannot be used, and nothing is open then.
        self.backchat = Backchat(settings, clock)
        self._socket = listen("127.0.0.1", 0)
        self.port: int = self._socket.getsockname()[1]
        self._server = _QuietServer(
            uvicorn_config(self.backchat.asgi, settings),
            started=lambda: None,
            drain=self.backchat.drain,
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    @property
    def http(self) -> str:
        """The address of the page, without the slash."""
        return f"http://127.0.0.1:{self.port}"

    def ws(self, session_id: str = "", query: str = "") -> str:
        """The address of a session's socket; of a new session's without an id."""
        path = f"/ws/{session_id}" if session_id else "/ws"
        return f"ws://127.0.0.1:{self.port}{path}{'?' + query if query else ''}"

    @property
    def connections(self) -> list[Any]:
        """uvicorn's protocols of the open sockets."""
        return list(self._server.server_state.connections)

    async def started(self) -> None:
        """Returns once connections are accepted."""
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stops as on a signal, and returns once the data directory is free again."""
        self._server.should_exit = True
        self._server.told.set()
        await self._task


@contextlib.asynccontextmanager
async def running(data: Path, **options: Any) -> AsyncIterator[Running]:
    """A server on `data`, with an echo that does not dawdle, and without rates, unless told to; `clock` tells it the
    time."""
    clock = options.pop("clock", time.time)
    settings = Settings(data=data, echo_delay=0, frames_per_minute=0, commands_per_minute=0)
    server = Running(msgspec.structs.replace(settings, **options), clock)
    try:
        await server.started()
        yield server
    finally:
        await server.stop()
