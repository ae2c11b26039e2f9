"""What protocols.py does beside uvicorn: the bytes of frames, and frames that are taken as they come."""

import asyncio
import gc
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from backchat.commands import Invocation
from backchat.config import Settings
from backchat.connection import Connection
from backchat.frames import RequestId
from backchat.outbox import Burst, Outbox
from backchat.protocols import PIECE, WebSocketProtocol, _framed
from backchat.server import uvicorn_config
from backchat.sessions import Session
from backchat.store.sqlite import Database
from backchat.store.threads import ThreadedStore
from backchat.transcript import Node
from backchat.views import Outcome, View
from backchat.writing import TRANSPORT
from tests.bench.links import handshake
from tests.support.client import PATIENCE, client, eventually
from tests.support.server import running


@given(st.one_of(st.text(), st.integers(0, 70_000).map("x".__mul__)))
@example("x" * 125)
@example("x" * 126)
@example("é" * 63)
@example("x" * 65_535)
@example("x" * 65_536)
def test_a_frame_is_read_as_the_text_that_it_was_made_of(text: str) -> None:
    peer = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN, max_size=None)
    peer.receive_data(_framed(text))
    (frame,) = peer.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, text.encode())
    # Among them the shortest length that will do (RFC 6455, section 5.2).
    assert _framed(text) == frame.serialize(mask=False)


@pytest.mark.parametrize("at_once", ["all", "some", "none"])
async def test_frames_are_decided_in_the_order_they_came_whether_they_are_taken_at_once_or_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: str
) -> None:
    deliver = Connection._deliver
    offered = 0

    def choosy(self: Connection, text: str) -> bool:
        nonlocal offered
        offered += 1
        return (at_once == "all" or (at_once == "some" and offered % 3 != 0)) and deliver(self, text)

    monkeypatch.setattr(Connection, "_deliver", choosy)
    async with running(tmp_path) as server, client(server.ws()) as one:
        # More than may be in flight, so that some have to wait whatever is taken.
        for number in range(300):
            await one.socket.send(
                json.dumps({"id": number, "method": "submit", "params": {"text": f"/title {number}"}})
            )
        await eventually(lambda: len([frame for frame in one.seen if "id" in frame]) == 300)
    replies = [frame for frame in one.seen if "id" in frame]
    assert [reply["id"] for reply in replies] == list(range(300))
    assert [reply["result"]["revision"] for reply in replies] == list(range(2, 302))
    assert [frame["params"]["session"]["title"] for frame in one.seen if frame.get("method") == "session.updated"] == [
        str(number) for number in range(300)
    ]
    assert offered


async def test_a_frame_behind_one_that_waits_for_the_disk_waits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, reads, may_read = ThreadedStore.reply, asyncio.Event(), asyncio.Event()

    async def slow(self: ThreadedStore, session_id: str, op_id: str) -> bytes | None:
        reads.set()
        await may_read.wait()
        return await reply(self, session_id, op_id)

    monkeypatch.setattr(ThreadedStore, "reply", slow)
    async with running(tmp_path) as server, client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await one.submit("/title once", op_id="a")
        again = await one.send("submit", text="/title once", op_id="a")
        behind = await one.send("submit", text="/status")
        await reads.wait()
        # Another client's waits as well: the session's lock is taken.
        others = await two.send("submit", text="/status")
        async with client(server.ws()) as three:
            for _ in range(5):
                await three.submit("/status")
        assert not [frame for frame in one.seen if frame.get("id") in (again, behind)]
        assert not [frame for frame in two.seen if frame.get("id") == others]
        may_read.set()
        await one.reply(behind)
        await two.reply(others)
    assert [frame["id"] for frame in one.seen if frame.get("id") in (again, behind)] == [again, behind]


async def test_a_frame_that_comes_just_as_there_is_room_does_not_overtake_the_one_that_waited_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_write = Database.write, threading.Event()
    answer, overtook = Connection._answer, list[bool]()
    read, connections = Connection._read, list[Connection]()

    def slow(self: Database, *arguments: Any) -> list[Exception | None]:
        may_write.wait(PATIENCE)
        return write(self, *arguments)

    def just_then(self: Connection, request_id: RequestId, result: Any) -> None:
        answer(self, request_id, result)
        if self._room is not None and not overtook and request_id != "late":
            overtook.append(self._deliver('{"id": "late", "method": "submit", "params": {"text": "/status"}}'))

    async def known(self: Connection) -> None:
        connections.append(self)
        await read(self)

    monkeypatch.setattr(Connection, "_read", known)
    async with running(tmp_path, in_flight=1) as server, client(server.ws()) as one:
        monkeypatch.setattr(Connection, "_answer", just_then)
        monkeypatch.setattr(Database, "write", slow)
        await one.send("submit", text="/title first")
        behind = await one.send("submit", text="/status")
        await eventually(lambda: any(connection._room for connection in connections))
        may_write.set()
        await one.reply(behind)
    assert overtook == [False]


async def test_frames_that_had_to_wait_make_room_for_others_when_they_are_answered(tmp_path: Path) -> None:
    async with running(tmp_path, in_flight=2) as server, client(server.ws()) as one:
        await one.submit("/title once", op_id="a")
        for _ in range(5):
            # Looked up on the disk.
            await one.submit("/title once", op_id="a")
        await one.submit("/status")


async def test_a_peer_that_is_behind_again_at_once_is_not_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        (protocol,) = server.connections
        protocol.pause_writing()
        waits = await one.send("submit", text="/title behind")
        await eventually(lambda: any("_write" in repr(task) for task in asyncio.all_tasks()))
        protocol.resume_writing()
        protocol.pause_writing()
        async with client(server.ws()) as two:
            await two.submit("/status")
        protocol.resume_writing()
        await one.reply(waits)
        await one.submit("/status")


async def test_a_defect_in_a_command_ends_its_connection_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = Invocation.decide

    def defective(self: Invocation, view: View) -> Outcome:
        if self.command.name == "usage":
            raise ZeroDivisionError
        return decide(self, view)

    monkeypatch.setattr(Invocation, "decide", defective)
    async with running(tmp_path) as server, client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await one.send("submit", text="/usage")
        await one.closed()
        await two.submit("/title goes on")


async def test_what_a_session_held_is_free_as_soon_as_everybody_has_left(tmp_path: Path) -> None:
    """Not when the garbage collector comes by, which is rarely, so that the memory of a server does not grow."""

    def held() -> list[object]:
        kinds = (Burst, Connection, Outbox, Session, Node)
        # The root of a tree is its own parent; it holds nothing else.
        found = [one for one in gc.get_objects() if isinstance(one, kinds) and getattr(one, "depth", True)]
        return [one for one in found if id(one) not in others]

    gc.collect()
    gc.disable()
    others: set[int] = set()
    # Of other tests; kept, so that none of ours is taken for one of them.
    kept = held()
    others.update(map(id, kept))
    try:
        async with running(tmp_path, idle_sessions=0, backend="none") as server:
            async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
                for text in ("one", "two", "/undo"):
                    await one.submit(text)
                await two.at(one.view.revision)
                assert len(held()) == 2 + 2 + 1 + 2
            await eventually(lambda: not held())
    finally:
        gc.enable()


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


async def answered(sent: list[bytes], *, plain: bool) -> tuple[list[Any], bytes] | None:
    """What an application receives, and what the peer is sent, of these reads; `plain` is uvicorn's own protocol. None
    where that trips, as it does over a close frame right behind bad UTF-8."""
    kind = WebSocketsSansIOProtocol if plain else WebSocketProtocol
    received: list[Any] = []
    tripped = False
    over = asyncio.Event()

    def take(text: str) -> bool:
        received.append({"type": "websocket.receive", "text": text})
        return True

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await send({"type": "websocket.accept"})
        if not plain:
            scope["extensions"][TRANSPORT]["deliver_to"](take)
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                received.append(message)
        received.append(message["code"])
        over.set()

    config = uvicorn_config(app, Settings(max_frame=1000))
    config.load()
    transport = _Transport()
    protocol = kind(config, ServerState(), {})
    protocol.connection_made(transport)
    protocol.data_received(handshake("/", 80))
    for data in sent:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not transport.is_closing() or data == HELLO:
            try:
                protocol.data_received(data)
            except InvalidState:
                assert plain
                tripped = True
    for _ in range(20):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.wait_for(over.wait(), PATIENCE)
    protocol.stop_keepalive()
    if protocol.close_timer is not None:
        protocol.close_timer.cancel()
    return None if tripped else (received, transport.written)


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


FRAMES = st.one_of(
    st.text(max_size=8).map(lambda text: masked(Opcode.TEXT, text.encode())),
    st.sampled_from([124, 125, 126, 127, 1000, 1001]).map(lambda size: masked(Opcode.TEXT, b"x" * size)),
    st.builds(
        masked, st.sampled_from([Opcode.TEXT, Opcode.CONT, Opcode.BINARY]), st.binary(max_size=3), fin=st.booleans()
    ),
    st.builds(masked, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=3)),
    st.just(masked(Opcode.CLOSE, b"\x03\xe8")),
    # Not masked; with a reserved bit; of a reserved kind; of a length that one byte would have held.
    st.sampled_from([b"\x81\x01x", b"\xc1\x81\0\0\0\0x", b"\x83\x81\0\0\0\0x", b"\x81\xfe\x00\x01\0\0\0\0x"]),
    st.binary(min_size=1, max_size=8),
)


HELLO = masked(Opcode.TEXT, b"hello")


@settings(deadline=None)
@given(st.lists(FRAMES, min_size=1, max_size=8), st.lists(st.integers(1, 40), max_size=8))
@example([HELLO, HELLO], [])
@example([masked(Opcode.TEXT, b"begun", fin=False), HELLO], [])
@example([masked(Opcode.BINARY, b"begun", fin=False), masked(Opcode.CONT, b"and ended"), HELLO], [])
# What comes after the first read looks like a frame, and is what another is full of.
@example([bytes((0x82, 0x80 | len(HELLO))) + b"\0\0\0\0" + HELLO, HELLO], [6, len(HELLO)])
@example([masked(Opcode.TEXT, b"x" * 1000), masked(Opcode.TEXT, b"x" * 1001)], [])
@example([masked(Opcode.CLOSE, b"\x03\xe8"), HELLO], [])
@example([masked(Opcode.PONG, b""), HELLO, masked(Opcode.PING, b"x"), HELLO], [])
@example([HELLO + HELLO, HELLO + HELLO[:1], HELLO], [])
@example([b"\x81\x01xyyyy"], [])
@example([b"\xc1\x85\0\0\0\0hello"], [])
@example([b"\x81\xfe\x00\x05\0\0\0\0hello"], [])
@example([masked(Opcode.TEXT, b""), masked(Opcode.TEXT, b"x" * 1000), b"\x81\x01x"], [1])
@example([masked(Opcode.TEXT, b"\xff"), HELLO], [])
@example([masked(Opcode.TEXT, b"\xff") + masked(Opcode.CLOSE, b"\x03\xe8")], [])
async def test_whatever_comes_and_however_it_is_cut_is_taken_as_the_parser_takes_it(
    sent: list[bytes], cuts: list[int]
) -> None:
    # Each frame in a read of its own, as nearly always; or cut anywhere.
    reads = sent
    if cuts:
        whole, reads = b"".join(sent), []
        for cut in cuts:
            reads.append(whole[:cut])
            whole = whole[cut:]
        reads = [data for data in [*reads, whole] if data]
    # What stands before what breaks the protocol counts as far as it came in another piece.
    pieces = [data[start : start + PIECE] for data in reads for start in range(0, len(data), PIECE)]
    ours, theirs = await answered(reads, plain=False), await answered(pieces, plain=True)
    assert ours is not None
    if theirs is None:
        return
    assert ours[0] == theirs[0]
    assert ours[1].partition(b"\r\n\r\n")[2] == theirs[1].partition(b"\r\n\r\n")[2]
