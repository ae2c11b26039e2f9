"""Many clients of one session at once, on real sockets, each with a history of what it did and was told.

What each of them does is drawn from a seed: it sends lines, waits for answers or does not, sends again what it has sent
before, loses its connection and comes back. The server may be stopped, or killed, and started anew meanwhile.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from backchat.errors import StorageFailed
from tests.support.checkers import Answer, Asked, History, Visit
from tests.support.client import PATIENCE, Json, eventually
from tests.support.proxy import Network
from tests.support.server import Running, running

CLIENTS: Final = 20
STEPS: Final = 60
"""How much each of them does."""

NOBODY_KNOWS: Final = str(StorageFailed(unknown=True))

LINES: Final[Mapping[str, int]] = {
    "say": 12,
    "/undo": 4,
    "/undo 2": 1,
    "/redo": 4,
    "/redo 2": 1,
    "/retry": 3,
    "/clear": 1,
    "/edit": 2,
    "/prev": 2,
    "/next": 2,
    "/pick": 2,
    "/goto": 1,
    "/goto @": 1,
    "/drop 1": 1,
    "/drop 2": 1,
    "/stop": 2,
    "/queue go": 1,
    "/queue drop": 1,
    "/title": 1,
    "/branch": 1,
    "/new": 1,
    "/status": 3,
    "/log": 1,
}
"""What a client sends, and how often."""
DEEDS: Final = {"line": 10, "twice": 2, "again": 2, "wait": 5, "leave": 2, "let others": 5}


class Server(Protocol):
    """What a crowd comes to."""

    def ws(self, session_id: str = "", query: str = "") -> str:
        """The address of a session's socket; of a new session's without an id."""


class Crowd:
    """A session and its clients. `options` are the settings of the server that `live` starts; with `faults` they come
    to it over a network that has some of its own."""

    def __init__(
        self,
        data: Path,
        seed: int | str,
        *,
        clients: int = CLIENTS,
        steps: int = STEPS,
        faults: bool = False,
        **options: Any,
    ) -> None:
        self.data = data
        self.network = Network(self._port, Random(f"{seed} network")) if faults else None
        self.clock = count(1)
        self.session_id = ""
        self.arriving: set[Member] = set()
        """Who is on the way from a connection attempt to `attached`."""
        self._options = {"echo_delay": 0.001, "queue_messages": 3, **options}
        self.members = [Member(f"c{number}", self, Random(f"{seed} {number}")) for number in range(clients)]
        self._steps = steps
        self.taken = 0
        """How many steps they have taken together."""
        self._half = asyncio.Event()
        self._server: Server | None = None
        self._running: Running | None = None
        self._up = asyncio.Event()

    async def live(self, *, restart: bool = False) -> list[History]:
        """Everything that they do, until it is quiet: their histories, and that of one who only came to look."""
        async with asyncio.timeout(3 * PATIENCE), self.network or nullcontext():
            async with running(self.data, **self._options) as server:
                self._here(server)
                lives = asyncio.create_task(self.act())
                if not restart:
                    await lives
                    return await self.end()
                await self._half.wait()
                self.shut()
                # A connection that asyncio has accepted, but not made yet, is forgotten with the listening socket.
                await eventually(lambda: not self.arriving)
            async with running(self.data, **self._options) as server:
                self._here(server)
                await lives
                return await self.end()

    def _here(self, server: Running) -> None:
        self._running = server
        self.open(self.network or server)

    def _port(self) -> int:
        assert self._running is not None
        return self._running.port

    def open(self, server: Server) -> None:
        """From now on they come to this server."""
        self._server = server
        self._up.set()

    def shut(self) -> None:
        """From now on they wait for another server. Those who are connected stay so."""
        self._up.clear()

    async def act(self) -> None:
        """All that they do; somebody has to see to it that there is a server."""
        await self.members[0].start()
        self.session_id = self.members[0].session_id
        await asyncio.gather(*(one.live(self._steps) for one in self.members))

    async def end(self) -> list[History]:
        """Once it is quiet, what each has been through, and one who only comes to look."""
        first, *_ = self.members
        if self.network is not None and self._running is not None:
            # A connection that only the server still knows of may have something to say.
            await self.network.settle()
            hub = self._running.backchat._hub
            await eventually(lambda: len(hub.subscribers(self.session_id)) <= sum(c.attached for c in self.members))
        while not _is_quiet((await first.ask("/status"))["data"]):
            pass
        fresh = Member("fresh", self, Random())
        for one in (*self.members, fresh):
            # Whoever is answered has been told all that happened before.
            await one.ask("/status")
            await one.leave()
        return [one.history for one in (*self.members, fresh)]

    async def server(self) -> Server:
        """The server, once there is one."""
        await self._up.wait()
        assert self._server is not None
        return self._server

    def took_step(self) -> None:
        """One of the clients has done something."""
        self.taken += 1
        if self.taken >= self._steps * len(self.members) // 2:
            self._half.set()


def _is_quiet(status: Json) -> bool:
    return not status["agent_running"] and (not status["queue"] or status["queue_paused"])


class Member:
    """One client. It keeps its op_ids, and sends again what was not answered whenever it comes back."""

    def __init__(self, name: str, crowd: Crowd, random: Random) -> None:
        self.history = History(name=name)
        self.session_id = ""
        self._crowd = crowd
        self._random = random
        self._requests = count(1)
        self._socket: ClientConnection | None = None
        self._visit: Visit
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._revision = 0
        self._log = ""

    async def live(self, steps: int) -> None:
        """What this client does."""
        deeds, weights = list(DEEDS), list(DEEDS.values())
        for _ in range(steps):
            (deed,) = self._random.choices(deeds, weights)
            match deed:
                case "line":
                    await self._send(self._asked(line := self._line(), self._careful(line)))
                case "twice":
                    asked = self._asked(line := self._line(), self._careful(line))
                    await self._send(asked)
                    await self._send(asked)
                case "again" if self.history.asked:
                    await self._send(self._random.choice(self.history.asked[-5:]))
                case "wait":
                    await self._settle()
                case "leave":
                    await self.leave()
                case _:
                    for _ in range(self._random.randrange(20)):
                        await asyncio.sleep(0)
            self._crowd.took_step()
        await self._settle()

    async def ask(self, text: str) -> Json:
        """The result of a line that may be refused only while the store fails."""
        asked = self._asked(text)
        while not asked.answers:
            await self._send(asked)
            await self._settle()
        return asked.answers[0].result

    async def start(self) -> None:
        """Attaches, if it is not attached, and sends what was not answered."""
        if self._socket is not None:
            return
        waiting = list(self._waiting)
        while self._socket is None:
            await self._connect()
        for asked in waiting:
            await self._put(asked)

    async def _connect(self) -> None:
        server = await self._crowd.server()
        known = self._log and self._random.random() < 0.8
        visit = Visit(after=self._revision if known else None, sent=next(self._crowd.clock))
        query = f"name={self.history.name}" + (f"&after={self._revision}&log={self._log}" if known else "")
        self._crowd.arriving.add(self)
        try:
            # A server that is killed refuses, or breaks off in the middle; so does a network.
            with suppress(OSError, EOFError, InvalidHandshake):
                self._socket = await connect(
                    server.ws(self._crowd.session_id, query), max_size=None, compression=None, close_timeout=1
                )
            if self._socket is None:
                return
            self._visit = visit
            self._reader = asyncio.create_task(self._read(self._socket, visit))
            async with self._news:
                await self._news.wait_for(lambda: visit.frames or self._socket is None)
        finally:
            self._crowd.arriving.remove(self)

    @property
    def attached(self) -> bool:
        """Whether it has a connection, as far as it knows."""
        return self._socket is not None

    async def leave(self) -> None:
        """Loses its connection."""
        if self._socket is not None and self._reader is not None:
            self._visit.left = True
            self._socket.transport.abort()
            await self._reader

    # Requests.

    def _line(self) -> str:
        (line,) = self._random.choices(list(LINES), list(LINES.values()))
        number = self._random.randint(1, 30)
        match line:
            case "say":
                return " ".join(
                    [f"{self.history.name}-{len(self.history.asked)}", *["word"] * self._random.randrange(4)]
                )
            case "/edit":
                return f"/edit {self._random.choice((f'#{number} ', ''))}better {self.history.name}"
            case "/pick" | "/goto":
                return f"{line} {number}"
            case "/goto @":
                return f"/goto @{self._random.randint(1, self._revision + 1)}"
            case "/title":
                return f"/title {self.history.name}"
            case _:
                return line

    def _careful(self, text: str) -> int | None:
        chance = self._random.random()
        if chance > 0.3 or not text.startswith("/"):
            return None
        return self._revision if chance < 0.2 else self._random.randint(0, self._revision)

    def _asked(self, text: str, if_revision: int | None = None) -> Asked:
        asked = Asked(
            op_id=f"{self.history.name}-{len(self.history.asked)}",
            text=text,
            if_revision=if_revision,
            sent=next(self._crowd.clock),
        )
        self.history.asked.append(asked)
        return asked

    async def _send(self, asked: Asked) -> None:
        await self.start()
        await self._put(asked)

    async def _put(self, asked: Asked) -> None:
        params: Json = {"text": asked.text, "op_id": asked.op_id}
        if asked.if_revision is not None:
            params["if_revision"] = asked.if_revision
        # It says what it asks for, so that the reply to any of several finds that.
        request = f"{next(self._requests)} {asked.op_id}"
        frame = json.dumps({"id": request, "method": "submit", "params": params})
        asked.times += 1
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(frame)

    @property
    def _waiting(self) -> list[Asked]:
        return [asked for asked in self.history.asked if not asked.answers and not asked.refusals]

    async def _settle(self) -> None:
        """Returns once all that was sent is answered."""
        while self._waiting:
            await self.start()
            async with self._news:
                await self._news.wait_for(lambda: not self._waiting or self._socket is None)

    # What comes.

    async def _read(self, socket: ClientConnection, visit: Visit) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                visit = self._take(json.loads(text), visit)
                async with self._news:
                    self._news.notify_all()
        visit.code = socket.close_code
        self._socket = None
        async with self._news:
            self._news.notify_all()

    def _take(self, frame: Json, visit: Visit) -> Visit:
        """Takes a frame in; returns the visit that the next one belongs to."""
        if "method" not in frame:
            self._answered(frame)
            return visit
        params = frame["params"]
        if frame["method"] == "attached" and visit.frames:
            # The server has loaded the session anew, and so begins with this connection.
            visit = Visit(after=None, sent=visit.sent)
        if not visit.frames:
            self.history.visits.append(visit)
            visit.attached = next(self._crowd.clock)
            self._log, self.session_id = params["log"], params["session"]["session_id"]
        visit.frames.append(frame)
        self._revision = params.get("revision", self._revision)
        return visit

    def _answered(self, frame: Json) -> None:
        asked = self.history.asked[int(frame["id"].rpartition("-")[2])]
        if "error" in frame:
            # Where nobody knows, it has to be sent again, once the server has closed this connection.
            if frame["error"]["message"] != NOBODY_KNOWS:
                asked.refusals.append(frame["error"])
        else:
            asked.answers.append(Answer(next(self._crowd.clock), frame["result"]))
