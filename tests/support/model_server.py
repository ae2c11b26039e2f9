"""A small OpenAI-compatible model server that speaks the real wire format, faults included.

It runs in the test's own event loop:

    async with model_server() as models:
        ...                                           # unscripted: says the last user message back, word by word
        models.script("Hel", "lo")                    # the next request is answered so
        models.script(think("Hm. "), "Yes.", finish("length"))
        models.script("Hel", wait(event), "lo")       # stalls until the event is set
        models.script(status(429, "Slow down.", retry_after="0.01"))    # and one more request:
        models.script("Hel", reset)

A script is a list of steps; a plain string is a piece of text. What a script leaves open at its end is completed: the
chunk with the finish_reason, the usage where it was asked for, `[DONE]`. Or a test drives a reply itself:

        models.hold()                                 # the next request; hold_all(): each that has no script
        exchange = await models.asked()               # the next one that nobody asked for yet
        await exchange.say("Hel")
        await exchange.finish()

What is written after the client has broken off goes nowhere; `exchange.broken` is set then.
"""

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from tests.support.client import PATIENCE

Json = dict[str, Any]

Step = str | Callable[["Exchange"], Awaitable[None]]

CREATED = 1_800_000_000


def chunk(delta: Json | None = None, finish_reason: str | None = None, *, model: str = "m", **fields: Any) -> Json:
    """A chunk of a chat completion; `fields` add to it or replace."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp",
        "choices": choices,
    } | fields


def sse(data: Any) -> bytes:
    """One server-sent event: a string as it is, anything else as JSON."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    # Half of a surrogate pair can only be sent escaped.
    return f"data: {text}\n\n".encode(errors="backslashreplace")


class Exchange:
    """One request, and the answer to it so far.

    `body` is the decoded JSON of the request (None where it has none), `headers` have lower-case names. `broken` is set
    when the client leaves before the answer is whole, `over` when there is no more to write.
    """

    def __init__(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: dict[str, str], body: Any
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.broken = asyncio.Event()
        self.over = asyncio.Event()
        self.keeps_alive = True
        self._writer = writer
        self._begun = False
        self._role_sent = False
        self._finished = False
        self._texts = 0

    # One method for each thing that can be done; the steps below call them.

    async def say(self, text: str) -> None:
        """A piece of the answer."""
        await self.delta(content=text)
        self._texts += 1

    async def think(self, text: str, field: str = "reasoning_content") -> None:
        """A piece of the reasoning, under one of the names that it goes by."""
        await self.delta(**{field: text})

    async def delta(self, **delta: Any) -> None:
        """A chunk with any delta, after the one with the role."""
        if not self._role_sent:
            self._role_sent = True
            await self.event(self._chunk({"role": "assistant", "content": ""}))
        await self.event(self._chunk(delta))

    async def finish(self, reason: str | None = "stop", usage: Json | None = None) -> None:
        """The end as it should be: the finish_reason (none where it is None), the usage if asked for, `[DONE]`."""
        if reason is not None:
            await self.event(self._chunk({}, reason))
        if self._usage_wanted:
            await self.event(self._chunk() | {"usage": usage or self._counted()})
        await self.event("[DONE]")
        await self.end()

    async def event(self, data: Any) -> None:
        """Any event: a string as it is, anything else as JSON."""
        await self.raw(sse(data))

    async def raw(self, data: bytes) -> None:
        """Any bytes of the stream, as one chunk of the HTTP body."""
        await self._begin("text/event-stream")
        if data:
            await self._write(b"%x\r\n%s\r\n" % (len(data), data))

    async def status(self, number: int, body: Any, headers: dict[str, str]) -> None:
        """A whole response: a string as text, anything else as JSON."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        headers = {"content-type": kind, "content-length": str(len(data))} | headers
        await self._head(number, headers)
        await self._write(data)
        self.over.set()

    async def end(self) -> None:
        """Ends the HTTP body properly, with whatever was said so far."""
        await self._begin("text/event-stream")
        await self._write(b"0\r\n\r\n")
        self.over.set()

    async def cut(self) -> None:
        """Closes the connection in the middle of the HTTP body."""
        self.keeps_alive = False
        self.over.set()

    async def reset(self) -> None:
        """Resets the connection. What was written and not yet read may be lost to the client."""
        self.keeps_alive = False
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.over.set()

    # How.

    @property
    def _usage_wanted(self) -> bool:
        options = self.body.get("stream_options") if isinstance(self.body, dict) else None
        return isinstance(options, dict) and options.get("include_usage") is True

    def _chunk(self, delta: Json | None = None, finish_reason: str | None = None) -> Json:
        # With the usage asked for, the real one has `"usage": null` in every chunk but the last.
        usage: Json = {"usage": None} if self._usage_wanted else {}
        return chunk(delta, finish_reason, model=self.body["model"]) | usage

    def _counted(self) -> Json:
        asked = sum(len(str(message["content"]).split()) for message in self.body["messages"])
        return usage(asked, self._texts)

    async def _begin(self, content_type: str) -> None:
        if not self._begun:
            await self._head(200, {"content-type": content_type, "transfer-encoding": "chunked"})

    async def _head(self, number: int, headers: dict[str, str]) -> None:
        assert not self._begun, "the answer has begun"
        self._begun = True
        lines = [f"HTTP/1.1 {number} {HTTPStatus(number).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        await self._write("\r\n".join([*lines, "", ""]).encode())

    async def _write(self, data: bytes) -> None:
        if self.over.is_set() or self.broken.is_set():
            return
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            # Whoever reads from this connection finds that too, and says so.
            await self.broken.wait()


# Steps of a script.


def usage(prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0) -> Json:
    """Tokens as a provider reports them."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def think(text: str, field: str = "reasoning_content") -> Step:
    """A piece of reasoning."""
    return lambda exchange: exchange.think(text, field)


def delta(**fields: Any) -> Step:
    """A chunk with any delta."""
    return lambda exchange: exchange.delta(**fields)


def finish(reason: str | None = "stop", usage: Json | None = None) -> Step:
    """The end, with this finish_reason and these tokens."""
    return lambda exchange: exchange.finish(reason, usage)


def event(data: Any) -> Step:
    """Any event: a string as it is, anything else as JSON."""
    return lambda exchange: exchange.event(data)


def error(message: str, **fields: Any) -> Step:
    """The event with which a provider tells of a fault in the middle of a stream."""
    return event({"error": {"message": message, "type": "server_error", "param": None, "code": None} | fields})


def raw(data: bytes) -> Step:
    """Any bytes of the stream, as one chunk of the HTTP body."""
    return lambda exchange: exchange.raw(data)


def comment(text: str) -> Step:
    """A line that keeps the connection alive and says nothing."""
    return raw(f": {text}\n\n".encode())


def status(number: int, message: Any = "", *, code: str | None = None, **headers: str) -> Step:
    """An error before the stream: a message in the usual shape, or any other body that is no string. A header's name
    has `_` for `-`."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return answer(number, body if isinstance(message, str) else message, **headers)


def answer(number: int, body: Any, **headers: str) -> Step:
    """Any whole response: a string as text, anything else as JSON. A header's name has `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.status(number, body, named)


def page(html: str = "<!DOCTYPE html>\n<title>Welcome</title>\n", number: int = 200) -> Step:
    """A web page, as a proxy or a wrong address answers."""
    return answer(number, html, content_type="text/html; charset=utf-8")


def wait(told: asyncio.Event) -> Step:
    """Nothing more, until the event is set."""

    async def step(_: Exchange) -> None:
        await told.wait()

    return step


async def end(exchange: Exchange) -> None:
    """The end of the HTTP body, without a finish_reason and without `[DONE]` unless they were sent."""
    await exchange.end()


async def cut(exchange: Exchange) -> None:
    """The connection is closed in the middle of the HTTP body."""
    await exchange.cut()


async def reset(exchange: Exchange) -> None:
    """The connection is reset. What the client has not read by then may be lost to it: `wait` until it has."""
    await exchange.reset()


async def held(exchange: Exchange) -> None:
    """Nothing, until the test has ended the answer itself."""
    await exchange.over.wait()


def echo(exchange: Exchange) -> list[Step]:
    """The last user message, word by word."""
    said = next((m["content"] for m in reversed(exchange.body["messages"]) if m["role"] == "user"), "")
    text = said if isinstance(said, str) else " ".join(part.get("text", "") for part in said or [])
    words = text.split(" ")
    return [*(word + " " for word in words[:-1]), words[-1]]


class ModelServer:
    """The server. `exchanges` are all chat requests so far; `closed` counts those that the client broke off."""

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.models = ["test-model", "another-model"]
        self.exchanges: list[Exchange] = []
        self.closed = 0
        self._scripts: deque[tuple[Step, ...]] = deque()
        self._listings: deque[Step] = deque()
        self._otherwise: Callable[[Exchange], list[Step]] = echo
        self._taken = 0
        self._changed = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()

    # What a test says.

    def script(self, *steps: Step) -> None:
        """How the next chat request that has no script yet is answered."""
        self._scripts.append(steps)

    def script_models(self, step: Step) -> None:
        """How the next request for the models is answered."""
        self._listings.append(step)

    def hold(self) -> None:
        """The next chat request that has no script yet is answered by the test, see `asked`."""
        self.script(held)

    def hold_all(self) -> None:
        """From now on, the test answers every request that has no script."""
        self._otherwise = lambda _: [held]

    @property
    def requests(self) -> list[Json]:
        """The bodies of all chat requests so far."""
        return [exchange.body for exchange in self.exchanges]

    async def asked(self) -> Exchange:
        """The next chat request that was not returned by this before, once it has come."""
        number = self._taken
        self._taken += 1
        await self.until(lambda: len(self.exchanges) > number)
        return self.exchanges[number]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Waits for something that a request or a client that leaves brings about, like `models.closed == 1`."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    # How.

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes a connection."""
        self._connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until either side closes it."""
        try:
            head = await _head(reader)
            while head is not None:
                exchange = await _request(head, reader, writer)
                if exchange is None:
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    break
                # The next head is waited for from the start: that is how a client that leaves is noticed.
                following = asyncio.create_task(_head(reader))
                try:
                    await self._answer(exchange, following)
                    head = await following if exchange.keeps_alive else None
                finally:
                    following.cancel()
        finally:
            writer.close()

    async def _answer(self, exchange: Exchange, following: asyncio.Task[str | None]) -> None:
        answering = asyncio.create_task(self._play(exchange))
        try:
            await asyncio.wait({answering, following}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done() or exchange.over.is_set():
                await answering
                return
            exchange.broken.set()
            self.closed += 1
            await self._notify()
        finally:
            answering.cancel()

    async def _play(self, exchange: Exchange) -> None:
        if exchange.path == "/v1/models" and exchange.method == "GET":
            known = [{"id": name, "object": "model", "created": CREATED, "owned_by": "us"} for name in self.models]
            listing = {"object": "list", "data": known}
            await _step(self._listings.popleft() if self._listings else answer(200, listing), exchange)
            return
        if exchange.path != "/v1/chat/completions" or exchange.method != "POST":
            await exchange.status(404, "404 page not found", {})
            return
        self.exchanges.append(exchange)
        await self._notify()
        for step in self._scripts.popleft() if self._scripts else self._otherwise(exchange):
            await _step(step, exchange)
        if not exchange.over.is_set():
            await exchange.finish()

    async def close(self) -> None:
        """Ends every connection. Raises what went wrong in a script."""
        for task in self._connections:
            task.cancel()
        results = await asyncio.gather(*self._connections, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _step(step: Step, exchange: Exchange) -> None:
    await (exchange.say(step) if isinstance(step, str) else step(exchange))


async def _head(reader: asyncio.StreamReader) -> str | None:
    """The head of the next request, empty for what is no HTTP (but TLS, say); None where none comes any more."""
    try:
        first = await reader.readexactly(1)
        if not first.isalpha():
            return ""
        return (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _request(head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    if not head:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    try:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        # The client left before it had asked.
        return None
    return Exchange(writer, method, path, headers, json.loads(body) if body else None)


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """A model server on a free port of this machine."""
    models = ModelServer()
    server = await asyncio.start_server(models.accept, "127.0.0.1", 0)
    models.port = server.sockets[0].getsockname()[1]
    models.url = f"http://127.0.0.1:{models.port}/v1"
    try:
        yield models
    finally:
        server.close()
        await models.close()
        await server.wait_closed()
