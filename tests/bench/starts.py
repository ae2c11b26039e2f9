"""How long a server takes to start."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import ClassVar, Final

from msgspec import Struct

from tests.bench.figures import Figure, Found, Pair, millis
from tests.bench.links import PATIENCE, handshake
from tests.bench.loads import both
from tests.bench.plan import Plan
from tests.bench.servers import Running, backchat, echo
from tests.bench.stage import Needs, Stage

POLL_SECONDS: Final = 0.002
"""How often a server that does not listen yet is tried."""


class Start(Struct, frozen=True, kw_only=True):
    """From a new process to the first accepted WebSocket; `target` is for what `backchat serve` does by default."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    target: float

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure(name="", show=millis, better="less", target=self.target),
            Figure(name="with `--backend none`", show=millis, better="less"),
        ]

    def needs(self, plan: Plan) -> Needs:
        del plan
        return Needs((), {self.name: {"started": 10}})

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        data = stage.directory(self.name)
        default, none = (figure.name for figure in self.figures)
        for number in range(stage.plan.starts):
            ours, beside = await both(
                number,
                lambda: started(lambda port: backchat(data, port=port), "/ws/started"),
                lambda: started(echo, "/ws/started"),
            )
            without = await started(lambda port: backchat(data, "--backend", "none", port=port), "/ws/started")
            yield {default: Pair(ours, beside), none: Pair(without, beside)}


async def started(command: Callable[[int], list[str]], path: str) -> float:
    """The seconds from spawning the command for a port until a WebSocket on it has been accepted."""
    port = _free_port()
    arguments = command(port)
    began = time.perf_counter()
    with Running(arguments):
        async with asyncio.timeout(PATIENCE):
            reader, writer = await _connected(port)
            writer.write(handshake(path, port))
            answer = await reader.readuntil(b"\r\n\r\n")
        taken = time.perf_counter() - began
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        writer.close()
        await writer.wait_closed()
    return taken


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(POLL_SECONDS)
