"""A client as somebody would write it from the protocol's description alone: plain dicts, plain lists."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PATIENCE = 20.0
"""Seconds until a test gives up on something that must happen."""

Json = dict[str, Any]


async def eventually(condition: Callable[[], Any]) -> None:
    """Waits for something that no frame tells of."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


class Refused(Exception):
    """An error reply."""

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.error = error
        self.code = error["data"]["code"]


class View:
    """What a client shows: built from `attached` and what follows, never asked for."""

    def __init__(self) -> None:
        self.log: str | None = None
        self.connection = ""
        self.name = ""
        self.presence: Json | None = None
        self.start = 0
        self.messages: list[Json] = []
        self.revision = 0
        self.session: Json = {}
        self.run: Json | None = None

    def apply(self, method: str, params: Json) -> None:
        """Takes one notification in."""
        match method:
            case "attached":
                if "events" in params:
                    for event in params["events"]:
                        self.apply(event["method"], event["params"])
                else:
                    self.start, self.messages = params["start"], list(params["messages"])
                self.log, self.session = params["log"], dict(params["session"])
                run = params["run"]
                self.run = run and {"run_id": run["run_id"], "text": run["text"], "reasoning": run.get("reasoning", "")}
                assert run is None or run["offset"] == len(run["text"])
                self.revision, self.connection = params["revision"], params["connection"]
                self.name, self.presence = params["name"], params["presence"]
            case "presence":
                self.presence = params
            case "transcript.spliced":
                if "start" in params:
                    self.start, self.messages = params["start"], list(params["messages"])
                else:
                    kept = params["keep"] - self.start
                    assert 0 <= kept <= len(self.messages), (params["keep"], self.start, len(self.messages))
                    self.messages = self.messages[:kept] + params["messages"]
                assert params["revision"] > self.revision
                self.revision = params["revision"]
            case "session.updated":
                self.session |= params["session"]
                assert params["revision"] >= self.revision
                self.revision = params["revision"]
            case "run.started":
                assert self.run is None
                self.run = {"run_id": params["run_id"], "text": "", "reasoning": ""}
            case "run.delta" | "run.reasoning":
                assert self.run is not None
                assert self.run["run_id"] == params["run_id"]
                text = {"run.delta": "text", "run.reasoning": "reasoning"}[method]
                assert len(self.run[text]) == params["offset"]
                self.run[text] += params["text"]
            case "run.ended":
                assert self.run is not None
                assert self.run["run_id"] == params["run_id"]
                self.run = None
            case _:
                raise AssertionError(f"a notification that nobody described: {method}")
        self.session["agent_running"] = self.run is not None

    @property
    def texts(self) -> list[Any]:
        """The contents of the messages, in order."""
        return [message["content"] for message in self.messages]

    def facts(self) -> Json:
        """All of it that must be the same for every client, at any time (where it begins is each client's own, and a
        server that starts again calls the log something else)."""
        return {
            "messages": self.messages,
            "revision": self.revision,
            "session": self.session,
            "run": self.run,
        }


class Client:
    """One attached connection. Frames are read in the background; `seen` has them all, in order, but for `told`: who
    comes and goes is told some time, in no order with the rest."""

    def __init__(self, socket: ClientConnection, view: View | None = None) -> None:
        self.socket = socket
        self.view = view or View()
        self.seen: list[Json] = []
        self.told: list[Json] = []
        self.close_code: int | None = None
        self._ids = itertools.count(1)
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        # Every close code is as good an end as any other; `close_code` has it.
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                frame = json.loads(text)
                (self.told if frame.get("method") == "presence" else self.seen).append(frame)
                if "method" in frame:
                    self.view.apply(frame["method"], frame["params"])
                async with self._changed:
                    self._changed.notify_all()
        self.close_code = self.socket.close_code
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Waits for something that frames bring about, and returns it once it is true."""
        async with asyncio.timeout(PATIENCE), self._changed:
            while not (value := condition()):
                if self._reader.done():
                    self._reader.result()
                    raise ConnectionError(f"closed with {self.close_code} before that happened")
                await self._changed.wait()
        return value

    async def send(self, method: str, /, **params: Any) -> int:
        """Sends a request and returns its id."""
        number = next(self._ids)
        await self.socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return number

    async def reply(self, number: int | None) -> Json:
        """The result of a request. Raises Refused."""
        frame: Json = await self.until(
            lambda: next((f for f in self.seen if "method" not in f and f["id"] == number), None)
        )
        if "error" in frame:
            raise Refused(frame["error"])
        result: Json = frame["result"]
        return result

    async def request(self, method: str, /, **params: Any) -> Json:
        """Sends a request and returns its result. Raises Refused."""
        return await self.reply(await self.send(method, **params))

    async def submit(self, text: str, **params: Any) -> Json:
        """What a person types. Raises Refused."""
        return await self.request("submit", text=text, **params)

    async def say(self, text: str, **params: Any) -> Json:
        """Sends a message and waits for the end of the reply to it, if there is one."""
        result = await self.submit(text, **params)
        if "run_id" in result:
            await self.ended(result["run_id"])
        return result

    async def ended(self, run_id: str) -> Json:
        """The end of a run."""
        frame: Json = await self.until(
            lambda: next((f for f in self.named("run.ended") if f["run_id"] == run_id), None)
        )
        return frame

    async def at(self, revision: int) -> None:
        """Waits until the view is at a revision."""
        await self.until(lambda: self.view.revision >= revision)

    async def again(self, times: int) -> None:
        """Waits until the server has attached this connection that many times."""
        await self.until(lambda: len(self.named("attached")) >= times)

    async def closed(self) -> int:
        """The close code, once the server has closed."""
        async with asyncio.timeout(PATIENCE):
            await self._reader
        assert self.close_code is not None
        return self.close_code

    def named(self, method: str) -> list[Json]:
        """The params of all notifications of one method so far."""
        return [frame["params"] for frame in self.seen if frame.get("method") == method]

    @property
    def attached(self) -> Json:
        """The params of the first notification."""
        first = self.seen[0]
        assert first["method"] == "attached"
        params: Json = first["params"]
        return params

    @property
    def session_id(self) -> str:
        """The session that this is attached to."""
        session_id: str = self.attached["session"]["session_id"]
        return session_id


@contextlib.asynccontextmanager
async def client(url: str, view: View | None = None, **options: Any) -> AsyncIterator[Client]:
    """A client that has been attached. Give it the view of an earlier one to resume."""
    async with connect(url, max_size=None, compression=None, **options) as socket:
        one = Client(socket, view)
        try:
            await one.until(lambda: one.seen)
            yield one
        finally:
            one._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await one._reader


def stalled_client(port: int, session_id: str, headers: str = "") -> socket.socket:
    """A client that shakes hands and never reads again. `headers` are more lines of its request."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", port))
    one.sendall(
        f"GET /ws/{session_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()
    )
    return one
