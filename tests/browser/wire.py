"""A network that a test can pull the plug of: it passes bytes on between browsers and a server.

The browser's own "offline" spares sockets that are open already; a cable does not, and can fail in one direction only.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.support.server import Running


class Wire:
    """Stands at an address of its own, which stays the same whatever becomes of the server."""

    def __init__(self, server: Running) -> None:
        self.port = 0
        self._to = server.port
        self._up = True
        self._mute = False
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def http(self) -> str:
        """The address of the page, without the slash."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Breaks every connection; new ones break at once."""
        self._up = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self, server: Running | None = None) -> None:
        """Lets connections through again, to another server if one is given."""
        self._up, self._mute = True, False
        if server is not None:
            self._to = server.port

    def mute(self) -> None:
        """From now on all that the server says is lost; what it is told still arrives."""
        self._mute = True

    async def passes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        if not self._up:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to)
            if not self._up:  # cut meanwhile
                inner_writer.transport.abort()
                writer.transport.abort()
                return
            self._writers |= {writer, inner_writer}
            try:
                await asyncio.gather(
                    self._pump(reader, inner_writer, heard=True), self._pump(inner_reader, writer, heard=False)
                )
            finally:
                self._writers -= {writer, inner_writer}
                inner_writer.transport.abort()
        writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, heard: bool) -> None:
        while data := await reader.read(65536):
            if heard or not self._mute:
                writer.write(data)
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@contextlib.asynccontextmanager
async def wired(server: Running) -> AsyncIterator[Wire]:
    """A wire to a server."""
    wire = Wire(server)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(wire.passes(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    wire.port = listening.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        listening.close()
        wire.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
