"""The limits on how much each may take (DESIGN section 7): refused over it, let in again below it, and nothing kept of
whoever is gone."""

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backchat import protocols as serving_module
from backchat.errors import RateLimited, TooManyConnections
from backchat.limits import MOST_CALLERS, Places, Rates, caller
from backchat.names import OWNER
from backchat.protocols import MOST_PIPELINED, WebSocketProtocol
from tests.bench.links import handshake
from tests.support.client import PATIENCE, Client, Refused, client, eventually
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.test_cli import serving

# Rates.


class Clock:
    """A time that passes as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rates: Rates, who: str) -> bool:
    try:
        rates.take(who)
    except RateLimited:
        return False
    return True


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=80))
def test_a_caller_gets_a_minutes_worth_at_once_and_then_no_more_than_the_time_brings(
    per_minute: int, gaps: list[float]
) -> None:
    clock = Clock()
    rates = Rates(per_minute, clock)
    done: list[float] = []
    for gap in gaps:
        clock.now += gap
        if taken(rates, "a"):
            done.append(clock.now)
        # Whoever else there is does not feel it.
        assert taken(Rates(per_minute, clock), "b")
    for first, begin in enumerate(done):
        for last, end in enumerate(done[first:], start=first):
            assert last - first + 1 <= per_minute + (end - begin) * per_minute / 60 + 0.5 + 1e-6


@given(st.integers(1, 600), st.integers(1, 3))
def test_whoever_is_refused_is_told_when_the_next_is_taken(per_minute: int, times: int) -> None:
    clock = Clock()
    rates = Rates(per_minute, clock)
    for _ in range(per_minute):
        rates.take("a")
    for _ in range(times):
        with pytest.raises(RateLimited) as refused:
            rates.take("a")
        # To ask again too early makes nothing worse.
        assert not taken(rates, "a")
        clock.now += refused.value.data["retry_after"] + 0.001
        assert taken(rates, "a")
        assert taken(rates, "b")


def test_a_rate_of_zero_is_no_limit_and_keeps_nothing() -> None:
    rates = Rates(0)
    for _ in range(10_000):
        rates.take("a")
    assert len(rates) == 0


def test_rates_are_kept_of_few_and_of_none_who_may_do_anything_again() -> None:
    clock = Clock()
    rates = Rates(600, clock)
    for number in range(2 * MOST_CALLERS):
        rates.take(str(number))
    assert len(rates) == MOST_CALLERS
    clock.now += 60
    for number in range(MOST_CALLERS):
        rates.take(str(number % 1000))
    assert len(rates) == 1000


def test_a_place_is_free_again_when_it_is_left_and_nothing_is_kept_of_who_has_none() -> None:
    places = Places(2)
    places.take("a")
    places.take("a")
    with pytest.raises(TooManyConnections):
        places.take("a")
    places.take("b")
    places.leave("a")
    places.take("a")
    for who in "aab":
        places.leave(who)
    assert len(places) == 0


@pytest.mark.parametrize(
    ("host", "who"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_caller_is_an_address_or_the_network_that_one_host_is_given(host: str, who: str) -> None:
    assert caller({"client": (host, 1)}, "ann") == f"ann {who}"


def test_who_has_no_address_is_a_caller_too() -> None:
    assert caller({}) == caller({"client": None})


# Commands.


HERE = {"client": ("127.0.0.1", 1)}


def exhausted(server: Running) -> Clock:
    """From now on this machine has sent all that it may; returns the clock by which it may send more."""
    clock = Clock()
    rates = server.backchat._commands
    rates._clock = clock
    rates._even.clear()
    for who in (caller(HERE), caller(HERE, OWNER)):
        while taken(rates, who):
            pass
    return clock


async def refused(request: Awaitable[Any]) -> Any:
    """The data of the error that a request gets."""
    with pytest.raises(Refused) as error:
        await request
    assert error.value.code == "rate_limited"
    return error.value.error["data"]


async def test_too_many_commands_are_refused_and_the_connection_stays_open(tmp_path: Path) -> None:
    async with running(tmp_path, commands_per_minute=30) as server:
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            await one.submit("/title before")
            clock = exhausted(server)
            data = await refused(one.submit("/title over"))
            assert data["retry_after"] == 2
            await refused(two.say("over"))
            # What is no command still goes, and is in order with what is refused.
            assert (await one.request("complete", text="/und"))["candidates"]
            clock.now += 2
            assert (await two.submit("/status"))["data"]["title"] == "before"
            await refused(one.submit("/status"))
        # Whoever comes from elsewhere, as a proxy says, has commands of their own.
        async with client(server.ws(), additional_headers={"X-Forwarded-For": "203.0.113.9"}) as three:
            await three.submit("/title elsewhere")


async def test_over_the_limit_http_changes_nothing_and_still_reads(tmp_path: Path) -> None:
    async with (
        running(tmp_path, commands_per_minute=60, token="secret") as server,
        httpx.AsyncClient(base_url=server.http, headers={"Authorization": "Bearer secret"}, trust_env=False) as http,
    ):
        session_id = (await http.post("/api/sessions", json={})).json()["session_id"]
        clock = exhausted(server)
        for method, path in (
            ("POST", "/api/sessions"),
            ("PATCH", f"/api/sessions/{session_id}"),
            ("DELETE", f"/api/sessions/{session_id}"),
            ("POST", f"/api/sessions/{session_id}/restore"),
            ("POST", "/api/import?name=x"),
            ("POST", "/api/login"),
        ):
            answer = await http.request(method, path, json={"title": "over"})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            error = answer.json()["error"]
            assert (error["data"]["code"], error["data"]["retry_after"]) == ("rate_limited", 1)
            assert "Try again in 1 second" in error["message"]
        assert (await http.get(f"/api/sessions/{session_id}")).json()["title"] is None
        assert len((await http.get("/api/sessions")).json()["sessions"]) == 1
        clock.now += 1
        assert (await http.patch(f"/api/sessions/{session_id}", json={"title": "below"})).json()["title"] == "below"


async def test_who_has_no_token_uses_up_nobodys_commands(tmp_path: Path) -> None:
    async with running(tmp_path, commands_per_minute=60, token="secret") as server:
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            assert (await http.post("/api/sessions", json={})).status_code == 401
        async with connect(server.ws()) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401
        assert len(server.backchat._commands) == 0


async def test_a_new_session_over_the_limit_is_refused_and_none_is_made(tmp_path: Path) -> None:
    async with running(tmp_path, commands_per_minute=60) as server:
        clock = exhausted(server)
        async with connect(server.ws()) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1013
        assert await server.backchat.sessions.list(OWNER, None, 10) == []
        clock.now += 1
        async with client(server.ws()) as one:
            clock.now += 1
            await one.submit("/status")


async def test_a_repetition_over_the_limit_is_refused_and_later_gets_the_first_reply(tmp_path: Path) -> None:
    async with running(tmp_path, commands_per_minute=60) as server, client(server.ws()) as one:
        first = await one.submit("/title once", op_id="a")
        clock = exhausted(server)
        await refused(one.submit("/title once", op_id="a"))
        await refused(one.submit("/title new", op_id="b"))
        clock.now += 1
        assert await one.submit("/title once", op_id="a") == first | {"replayed": True}
        clock.now += 1
        # Nothing is remembered of what was refused.
        assert "replayed" not in await one.submit("/title other", op_id="b")


async def test_a_command_that_had_to_wait_counts_once(tmp_path: Path) -> None:
    async with running(tmp_path, commands_per_minute=60) as server, client(server.ws()) as one:
        await one.submit("/title once", op_id="a")
        rates = server.backchat._commands
        rates._clock = Clock()
        rates._even.clear()
        for _ in range(60):
            # Looked up on the disk.
            await one.submit("/title once", op_id="a")
        await refused(one.submit("/title once", op_id="a"))


# Frames.


def later(protocol: WebSocketProtocol, seconds: float) -> None:
    """So much time has passed."""
    protocol._looked -= seconds
    if protocol._pause is not None:
        protocol._pause.cancel()
        protocol._unpause()


def answers(one: Client) -> list[int]:
    return [frame["id"] for frame in one.seen if "id" in frame]


@pytest.mark.parametrize("together", [True, False])
async def test_frames_over_the_limit_wait_and_none_is_lost(tmp_path: Path, together: bool) -> None:
    async with running(tmp_path, frames_per_minute=60) as server, client(server.ws()) as one:
        (protocol,) = server.connections
        frame = json.dumps({"method": "complete", "params": {"text": "/undo"}, "id": 0})
        sent = [frame.replace("0", str(number)) for number in range(300)]

        def came(late: int) -> bool:
            """Whether all that there is room for has come since."""
            return len(answers(one)) == len(sent) or (len(answers(one)) > late and protocol._pause is not None)

        for text in sent:
            await one.socket.send(text)
            if not together:
                await asyncio.sleep(0)
        await eventually(lambda: protocol._pause is not None)
        async with client(server.ws()) as two:
            # Others are not held up.
            for _ in range(50):
                await two.submit("/status")
        assert 60 <= len(answers(one)) < 100
        assert not protocol.transport.is_reading()
        while len(answers(one)) < len(sent):
            late = len(answers(one))
            later(protocol, 60)
            await eventually(partial(came, late))
        assert answers(one) == list(range(300))
        later(protocol, 60)
        await one.submit("/status")


async def test_a_connection_that_is_not_read_is_not_taken_for_dead(tmp_path: Path) -> None:
    async with running(tmp_path, frames_per_minute=60) as server, client(server.ws()) as one:
        (protocol,) = server.connections
        protocol.stop_keepalive()
        protocol.ping_interval, protocol.ping_timeout = 0.02, 0.5
        asked = [await one.send("complete", text="/undo") for _ in range(100)]
        await eventually(lambda: protocol._pause is not None)
        protocol.start_keepalive()
        await asyncio.sleep(1.2)
        while protocol._pause is not None:
            later(protocol, 60)
            await asyncio.sleep(0.01)
        await one.reply(asked[-1])
        await one.submit("/status")


async def test_the_limit_of_frames_holds_for_control_frames_too(tmp_path: Path) -> None:
    async with running(tmp_path, frames_per_minute=60) as server, client(server.ws()) as one:
        (protocol,) = server.connections
        waiting = [asyncio.ensure_future(await one.socket.ping()) for _ in range(1000)]
        await eventually(lambda: protocol._pause is not None)
        await asyncio.sleep(0.05)
        assert sum(pong.done() for pong in waiting) < 300
        while not waiting[-1].done():
            later(protocol, 60)
            await asyncio.sleep(0)


# Connections.


class Raw(Protocol):
    """A socket of its own, on which this has been sent; closed in the end."""

    def __call__(self, server: Running, sent: bytes = b"") -> socket.socket: ...


@pytest.fixture
def raw() -> Iterator[Raw]:
    opened = []

    def raw(server: Running, sent: bytes = b"") -> socket.socket:
        one = socket.create_connection(("127.0.0.1", server.port))
        one.setblocking(False)
        one.send(sent)
        opened.append(one)
        return one

    yield raw
    for one in opened:
        one.close()


async def told(one: socket.socket) -> bytes:
    """All that comes until the end."""
    loop, all_ = asyncio.get_running_loop(), b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(PATIENCE):
            while some := await loop.sock_recv(one, 65536):
                all_ += some
    return all_


def reset(one: socket.socket) -> None:
    """Ends it without a goodbye."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_one_connection_too_many_is_told_so_and_let_in_when_another_has_left(tmp_path: Path, raw: Raw) -> None:
    async with running(tmp_path, connections=4) as server, client(server.ws()) as one:
        others = [raw(server), raw(server, GET), raw(server, b"GET /half")]
        await eventually(lambda: len(server.connections) == 4)
        for sent in (b"", GET, handshake("/ws", server.port)):
            over = raw(server, sent)
            answer = await told(over)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 10\r\n" in answer
            over.close()
        await one.submit("/status")
        assert len(server.connections) == 4
        others.pop().close()
        await eventually(lambda: len(server.connections) == 3)
        async with client(server.ws()) as two:
            await two.submit("/status")
        for other in others:
            other.close()
    assert server.connections == []


ENDS: dict[str, Callable[[Running], bytes]] = {
    "silence": lambda _: b"",
    "half a head": lambda _: b"GET /ws HTTP/1.1\r\nHos",
    "no HTTP": lambda _: b"\x16\x03\x01\x02\x00\x01",
    "a request": lambda _: GET,
    "an upgrade to nothing": lambda _: GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "half a handshake": lambda _: GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a session that is none": lambda server: handshake("/ws/nope", server.port),
    "a bad query": lambda server: handshake("/ws?x=1", server.port),
    "another host": lambda server: handshake("/ws", server.port).replace(b"127.0.0.1", b"elsewhere.invalid"),
    "no such path": lambda server: handshake("/nowhere", server.port),
    "a WebSocket": lambda server: handshake("/ws", server.port),
    "a watcher": lambda server: handshake("/watch", server.port),
    "a broken frame": lambda server: handshake("/ws", server.port) + b"\xff" * 20,
    "an odd path": lambda server: handshake("/ws/\u00ff", server.port),
}  # fmt: skip


@pytest.mark.parametrize("abruptly", [True, False])
@pytest.mark.parametrize("end", ENDS)
async def test_a_connection_counts_no_more_when_it_has_ended_however_it_did(
    server: Running, raw: Raw, end: str, abruptly: bool
) -> None:
    for wait in (0.0, 0.0, 0.02):
        one = raw(server, ENDS[end](server))
        await asyncio.sleep(wait)
        reset(one) if abruptly else one.close()
    await eventually(lambda: not server.connections and not len(server.backchat._places))


async def test_a_defect_in_a_handshake_leaves_nothing_behind(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def defective(_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.backchat._access, "admit", defective)
    for path in ("/ws", "/watch"):
        with suppress(ConnectionClosed, InvalidStatus):
            async with connect(server.ws().replace("/ws", path)) as socket:
                await socket.recv()
    await eventually(lambda: not server.connections and not len(server.backchat._places))
    assert "ZeroDivisionError" in caplog.text


async def test_one_address_has_so_many_websockets_and_no_more(tmp_path: Path) -> None:
    async with running(tmp_path, connections_per_address=2) as server, AsyncExitStack() as stack:
        one = await stack.enter_async_context(client(server.ws()))
        async with client(server.ws(one.session_id)):
            for path in ("/ws", "/watch", f"/ws/{one.session_id}", "/ws?x=1"):
                with pytest.raises(InvalidStatus) as found:
                    await connect(server.ws().replace("/ws", path))
                assert found.value.response.status_code == 429
                assert found.value.response.headers["Retry-After"] == "10"
            # HTTP goes on, and so do others, as a proxy on this machine tells them apart.
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await http.get(server.http + "/api/sessions")).status_code == 200
            for other in ("203.0.113.9", "203.0.113.10", "made up, 203.0.113.11"):
                headers = {"X-Forwarded-For": other}
                await stack.enter_async_context(client(server.ws(one.session_id), additional_headers=headers))
            assert len(server.backchat._places) == 4
        async with client(server.ws(one.session_id)) as two:
            await two.submit("/status")
    assert len(server.backchat._places) == 0


# Requests that do not come, or too much of them.


@contextmanager
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(serving_module, "HEAD_SECONDS", 0.3)
        yield


async def test_a_head_that_does_not_come_whole_ends_its_connection(
    server: Running, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drip(one: socket.socket, head: bytes) -> None:
        with suppress(OSError):
            for byte in head * 100:
                await asyncio.get_running_loop().sock_sendall(one, bytes([byte]))
                await asyncio.sleep(0.02)

    with hasty(monkeypatch):
        silent = [
            raw(server, sent) for sent in (b"", b"GET", GET[:-2], handshake("/ws", server.port)[:-2], b"\r\n" * 9)
        ]
        silent += [raw(server, GET + sent) for sent in (b"GET", GET[:-1], b"\r\n", GET + GET + b"P")]
        dripping = raw(server)
        dropping = asyncio.create_task(drip(dripping, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1000))
        async with client(server.ws()) as one:
            for end in await asyncio.gather(*map(told, [*silent, dripping])):
                assert end.count(b"200 OK") in (0, 1, 3)
            await one.submit("/status")
            assert len(server.connections) == 1
        dropping.cancel()


async def test_a_whole_head_gives_its_body_all_the_time_it_has(
    server: Running, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hasty(monkeypatch):
        one = raw(server, b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        await asyncio.sleep(0.5)
        one.send(b"}")
        assert b"201 Created" in await told(one)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 1_000_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200_000,
        b"\r\n" * 500_000,
    ],
)
async def test_a_head_that_is_too_long_ends_its_connection(server: Running, raw: Raw, sent: bytes) -> None:
    one = raw(server)
    with suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(one, sent)
    assert (await told(one))[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    await eventually(lambda: not server.connections)


async def test_what_follows_a_body_or_stands_between_its_parts_is_bounded_too(server: Running, raw: Raw) -> None:
    head = b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"1\r\n{\r\n0\r\n" + b"X: x\r\n" * 200_000, b"1;" + b"x" * 1_000_000):
        one = raw(server)
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(one, head + rest)
        assert b"201" not in await told(one)
        await eventually(lambda: not server.connections)


async def test_a_few_requests_may_wait_for_each_other_and_many_may_not(server: Running, raw: Raw) -> None:
    one = raw(server, GET * MOST_PIPELINED + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await told(one)).count(b"200 OK") == MOST_PIPELINED + 1
    many = raw(server)
    with suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(many, GET * 10_000)
    assert (await told(many)).count(b"200 OK") < 100
    await eventually(lambda: not server.connections)


# Runs.


async def test_replies_over_the_limit_wait_for_their_turn_in_their_order(tmp_path: Path) -> None:
    async with running(tmp_path, runs=2) as server, AsyncExitStack() as stack:
        model = Scripted(server)

        def asked(number: int) -> bool:
            return len(model.prompts) == number

        every = [await stack.enter_async_context(client(server.ws())) for _ in range(5)]
        started = [(await one.submit(f"question {number}"))["run_id"] for number, one in enumerate(every)]
        await eventually(partial(asked, 2))
        # Those that wait are live, and can be stopped.
        assert [one.view.run is not None for one in every] == [True] * 5
        await every[2].submit("/stop")
        assert (await every[2].ended(started[2]))["reason"] == "stopped"
        assert asked(2)
        for number, question in ((3, 3), (4, 4)):
            model.end()
            await eventually(partial(asked, number))
            assert model.prompts[-1].messages[-1].content == f"question {question}"
        for _ in range(2):
            model.end()
        for number in (0, 1, 3, 4):
            await every[number].ended(started[number])


async def test_the_time_for_a_first_word_begins_with_the_turn(tmp_path: Path) -> None:
    async with running(tmp_path, runs=1, first_delta_seconds=0.4) as server:
        model = Scripted(server)
        async with client(server.ws()) as one, client(server.ws()) as two:
            first = (await one.submit("a"))["run_id"]
            second = (await two.submit("b"))["run_id"]
            # Both fail in the end, the second as long after the first as that took.
            await one.ended(first)
            assert two.view.run is not None
            await eventually(lambda: len(model.prompts) == 2)
            assert (await two.ended(second))["reason"] == "failed"


# Sessions in memory.


async def test_sessions_come_and_go_and_the_least_recently_used_leave_memory(tmp_path: Path) -> None:
    async with running(tmp_path, idle_sessions=5, backend="none") as server:
        sessions = server.backchat.sessions
        ids = []
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            for _ in range(20):
                ids.append((await http.post("/api/sessions", json={})).json()["session_id"])
                assert len(sessions._live) <= 6
            for round_ in range(3):
                for session_id in ids:
                    await http.get(f"/api/sessions/{session_id}")
                    await http.get(f"/api/sessions/nope-{round_}")
                    assert len(sessions._live) <= 6
            await http.get(f"/api/sessions/{ids[-5]}")
            await http.get(f"/api/sessions/{ids[0]}")
        await eventually(lambda: len(sessions._live) == 5)
        assert list(sessions._live.keys()) == list(sessions._idle) or set(sessions._live) == set(sessions._idle)
        assert set(sessions._idle) == {ids[0], ids[-5], ids[-1], ids[-2], ids[-3]}
        async with client(server.ws(ids[1])), client(server.ws(ids[2])):
            # Those that are used do not count.
            assert len(sessions._live) == 7
        await eventually(lambda: len(sessions._live) == 5)


# Open files.

FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))"


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems count files otherwise, or take no limit from outside"
)
async def test_a_server_with_too_few_files_says_so_and_outlives_those_who_take_them_all(tmp_path: Path) -> None:
    import resource

    async with serving(tmp_path, planted=FEW_FILES) as served:
        port = int(served.page.rstrip("/").rpartition(":")[2])
        for files in (200, 60):
            resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (files, files))
            greedy = []
            for _ in range(250):
                with suppress(OSError):
                    greedy.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
            for one in greedy:
                one.close()
            async with client(served.ws()) as one_more:
                await one_more.say("still there")
        served.process.terminate()
        end = await served.ended()
    assert end.status == 0
    assert end.err == (
        "backchat: The open files that this process may have suffice for 136 connections, not for 10,000; raise them"
        " (ulimit -n), or lower --connections.\n"
    )
