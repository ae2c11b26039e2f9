"""A network between clients and a server that cuts, halves, holds and reorders what it carries.

It knows of WebSocket only that the first thing either side sends is a handshake, and that a server's frames are not
masked, so that it can tell a reply from the rest.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final, Literal, Self

from msgspec import Struct

Kind = Literal[
    "before it is sent",
    "half sent",
    "sent, before the answer",
    "sent late",
    "answered, and nothing arrives",
    "answered, and half of it arrives",
    "answered, and all of it arrives",
    "half closed",
    "half attached",
    "held",
]
UP: Final[tuple[Kind, ...]] = ("before it is sent", "half sent", "sent, before the answer", "sent late", "held")
"""What happens to something that a client sends. `sent late` is what a network does that has lost the client, but not
what it sent: the server has it when the client has long come back and sent it again, over another connection. But for
`held`, where all is only late, the client has lost its connection at once."""
DOWN: Final[tuple[Kind, ...]] = (
    "answered, and nothing arrives",
    "answered, and half of it arrives",
    "answered, and all of it arrives",
    "half closed",
    "half attached",
)
"""What happens to something that a server sends: to a reply, but for `half attached`. Where nothing of it arrives, the
server's end lingers for a while. `half closed` tells the server that nothing more comes, and carries what it sends."""
CUT_IN_MID_REQUEST: Final = frozenset((*UP, *DOWN)) - {"held", "half attached"}
PIECE: Final = 65536
_REPLIES: Final = (b'"result":', b'"error":')


class Fault(Struct, frozen=True):
    """What goes wrong with a connection once `after` things of its kind have gone well, and for how many seconds."""

    kind: Kind
    after: int = 0
    seconds: float = 0.0


class Network:
    """Carries connections on a port of its own to `port()`, for as long as the context lasts.

    With `random` every connection may have a fault of its own; those in `planned` come first, in their order. `struck`
    counts what went wrong.
    """

    def __init__(self, port: Callable[[], int], random: Random | None = None) -> None:
        self._target = port
        self._random = random
        self.port = 0
        self.planned: deque[Fault | None] = deque()
        self.struck: Counter[Kind] = Counter()
        self.calm = asyncio.Event()
        """No more faults, and nothing is held any longer."""
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ws(self, session_id: str = "", query: str = "") -> str:
        """The address of a session's socket; of a new session's without an id."""
        path = f"/ws/{session_id}" if session_id else "/ws"
        return f"ws://127.0.0.1:{self.port}{path}{'?' + query if query else ''}"

    async def settle(self) -> None:
        """Has no more faults, delivers what is held; returns once all that was cut has ended."""
        self.calm.set()
        while ending := [line.task for line in self._lines if line.ends]:
            await asyncio.wait(ending)

    def fault(self) -> Fault | None:
        """What shall go wrong with the next connection."""
        if self.planned:
            return self.planned.popleft()
        if self._random is None or self.calm.is_set() or self._random.random() < 0.3:
            return None
        after = min(self._random.randrange(8), self._random.randrange(8))
        return Fault(self._random.choice((*UP, *DOWN)), after, self._random.choice((0.0, 0.002, 0.02, 0.05)))

    async def wait(self, seconds: float) -> None:
        """Returns after that time, or once it is calm."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.calm.wait()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        fault = self.fault()
        try:
            server = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:
            writer.transport.abort()
            return
        line = _Line(self, (reader, writer), server, fault, task)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)


_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Line:
    """One connection that is carried."""

    def __init__(
        self, network: Network, client: _End, server: _End, fault: Fault | None, task: asyncio.Task[None]
    ) -> None:
        self.ends = False
        """Whether it has been cut, so that it will end by itself."""
        self.task = task
        self._struck = False
        self._deaf = False
        self._network = network
        self._client = client
        self._server = server
        self._fault = fault
        self._flows = asyncio.Event()
        self._flows.set()

    async def run(self) -> None:
        """Carries both ways until both ends are closed."""
        ways = [asyncio.ensure_future(way) for way in (self._up(), self._down())]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            self._cut(self._client, self._server)

    async def _up(self) -> None:
        count = -1
        while piece := await _read(self._client):
            # The first is the handshake.
            if self._strikes(UP, count):
                await self._lose_upwards(piece)
            elif not self._deaf:
                _write(self._server, piece)
            count += 1
        if self._struck and self._fault is not None and self._fault.kind == "answered, and nothing arrives":
            # The server's end lingers.
            await self._network.wait(self._fault.seconds)
        self._server[1].close()

    async def _lose_upwards(self, piece: bytes) -> None:
        assert self._fault is not None
        match self._fault.kind:
            case "before it is sent":
                self._cut(self._client, self._server)
            case "half sent":
                _write(self._server, piece[: len(piece) // 2])
                self._cut(self._client)
            case "sent, before the answer":
                _write(self._server, piece)
                self._cut(self._client)
            case "sent late":
                self._cut(self._client)
                await self._network.wait(self._fault.seconds)
                _write(self._server, piece)
            case "held":
                self._flows.clear()
                await self._network.wait(self._fault.seconds)
                self._flows.set()
                _write(self._server, piece)
            case other:
                raise AssertionError(other)

    async def _down(self) -> None:
        count = -1
        while piece := await _read(self._server):
            await self._flows.wait()
            is_reply = any(mark in piece for mark in _REPLIES)
            if self._fault is not None and self._fault.kind == "half attached":
                is_reply = count == 0 or b'"attached"' in piece
                count = self._fault.after if is_reply else count
            if count >= 0 and is_reply and self._strikes(DOWN, count):
                await self._lose_downwards(piece)
            else:
                _write(self._client, piece)
            count += is_reply or count < 0
        self._client[1].close()

    async def _lose_downwards(self, piece: bytes) -> None:
        assert self._fault is not None
        match self._fault.kind:
            case "answered, and nothing arrives":
                self._cut(self._client)
            case "answered, and half of it arrives" | "half attached":
                _write(self._client, piece[: len(piece) // 2])
                self._client[1].close()
            case "answered, and all of it arrives":
                _write(self._client, piece)
                self._client[1].close()
            case "half closed":
                _write(self._client, piece)
                self._deaf = True
                with suppress(OSError):
                    self._server[1].write_eof()
            case other:
                raise AssertionError(other)

    def _strikes(self, kinds: tuple[Kind, ...], count: int) -> bool:
        """Whether it is time for the fault."""
        fault = self._fault
        if fault is None or fault.kind not in kinds or count < fault.after or self._struck:
            return False
        self._struck, self.ends = True, fault.kind != "held"
        self._network.struck[fault.kind] += 1
        return True

    @staticmethod
    def _cut(*ends: _End) -> None:
        for _, writer in ends:
            writer.transport.abort()


async def _read(end: _End) -> bytes:
    """What comes next; nothing once that end is closed."""
    with suppress(OSError):
        return await end[0].read(PIECE)
    return b""


def _write(end: _End, piece: bytes) -> None:
    transport = end[1].transport
    if not transport.is_closing():
        transport.write(piece)
