"""G5: a slow client costs the others nothing: stalled readers among healthy ones."""

import asyncio
import gc
import random
import secrets
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
import pytest

from backchat.connection import Connection
from backchat.hub.local import LocalHub
from backchat.outbox import Outbox
from backchat.protocols import WebSocketProtocol
from tests.support.client import Client, client, eventually, stalled_client
from tests.support.figures import Figure
from tests.support.server import Running, running

STALLED: Final = 20
LONG: Final = 30_000
"""Characters of a message."""
SYSTEM: Final = 128 * 1024
"""How many bytes the system takes off the server for one who does not read; by itself it takes megabytes."""
SAID: Final = 30
ROOMY: Final = {"outbox_frames": 10**6, "outbox_characters": 2**31, "send_seconds": 600.0, "backend": "none"}


@contextmanager
def stalled(server: Running, session_id: str, number: int) -> Iterator[list[socket.socket]]:
    """So many who shake hands and never read."""
    sockets = [stalled_client(server.port, session_id) for _ in range(number)]
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


async def nibble(sockets: list[socket.socket], seed: int) -> None:
    """Reads a byte of some of them now and then."""
    chance = random.Random(seed)
    for one in sockets:
        one.setblocking(False)
    while True:
        await asyncio.sleep(0.005)
        for one in chance.sample(sockets, len(sockets) // 2):
            try:
                one.recv(1)
            except OSError:
                continue


async def load(speakers: list[Client], said: int) -> None:
    """They say long things, and wait for each answer."""
    for number in range(said):
        await speakers[number % len(speakers)].submit(f"{number} " + "x" * LONG)


async def healthy(stack: AsyncExitStack, server: Running, session_id: str, number: int) -> list[Client]:
    return [await stack.enter_async_context(client(server.ws(session_id))) for _ in range(number)]


def impatient(server: Running) -> None:
    """From now on the system takes little from the server that nobody reads."""
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM)


def behind(server: Running) -> int:
    """How many read less than they are sent."""
    protocols: list[WebSocketProtocol] = server.connections
    return sum(not one.writable.is_set() for one in protocols)


async def served(server: Running, seed: int, said: int = SAID) -> int:
    """Healthy clients do all that they would do alone, before a single stalled one is gone: returns how many events
    they got."""
    impatient(server)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(client(server.ws()))
        here = [first, *await healthy(stack, server, first.session_id, 3)]
        other = await stack.enter_async_context(client(server.ws()))
        there = [other, *await healthy(stack, server, other.session_id, 1)]
        with stalled(server, first.session_id, STALLED) as sockets:
            await eventually(lambda: len(server.connections) == STALLED + len(here) + len(there))
            nibbling = asyncio.create_task(nibble(sockets[::2], seed))
            try:
                await asyncio.gather(load(here, said), load(there, said))
                for one in here + there:
                    await one.at(said + 1)
            finally:
                nibbling.cancel()
            assert len(server.connections) == STALLED + len(here) + len(there)
            assert behind(server) >= STALLED, "nobody was slow"
            for together in (here, there):
                texts = [one.view.texts for one in together]
                assert len(texts[0]) == said
                assert all(text == texts[0] for text in texts)
                events = [[frame for frame in one.seen if "method" in frame][1:] for one in together]
                # From when the last of them came, all of them.
                assert all(event[-said:] == events[0][-said:] for event in events)
    return said * (len(here) + len(there))


async def test_healthy_clients_get_everything_while_others_read_nothing(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    seed = 1
    while True:
        async with running(tmp_path / str(seed), **ROOMY) as server:
            figure("G5", "events that healthy clients got beside stalled ones", await served(server, seed))
        if time.monotonic() >= until:
            break
        seed = secrets.randbits(32)


async def test_a_server_that_waits_for_its_slowest_reader_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = LocalHub.publish
    held: list[str] = []

    def patient(self: LocalHub, session_id: str, *frames: str) -> None:
        held.extend(frames)
        if not any(isinstance(one, Outbox) and one._waiting for one in self.subscribers(session_id).values()):
            publish(self, session_id, *held)
            held.clear()

    monkeypatch.setattr(LocalHub, "publish", patient)
    monkeypatch.setattr("tests.support.client.PATIENCE", 2.0)
    async with running(tmp_path, **ROOMY) as server:
        with pytest.raises((TimeoutError, AssertionError)):
            await served(server, 1)


def of_connections() -> list[object]:
    """All that there is for connections in memory."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, (Connection, Outbox, WebSocketProtocol))]


@pytest.mark.parametrize("goodbye", [False, True])
async def test_stalled_readers_are_gone_within_the_send_limit_with_all_that_they_held(
    tmp_path: Path, figure: Figure, goodbye: bool
) -> None:
    options = {**ROOMY, "send_seconds": 0.5}
    async with running(tmp_path, **options) as server, AsyncExitStack() as stack:
        impatient(server)
        one = await stack.enter_async_context(client(server.ws()))
        two = await stack.enter_async_context(client(server.ws(one.session_id)))
        await load([one, two], 2)
        gc.collect()
        others = len(of_connections())
        files = psutil.Process().num_fds()
        with stalled(server, one.session_id, STALLED) as sockets:
            await eventually(lambda: len(server.connections) == STALLED + 2)
            tracemalloc.start(1)
            try:
                begin, _ = tracemalloc.get_traced_memory()
                await load([one, two], 20)
                if goodbye:
                    for stalling in sockets:
                        stalling.sendall(b"\x88\x80\x00\x00\x00\x00")
                await eventually(lambda: len(server.connections) == 2)
                said = sum(len(text) for text in one.view.texts)
                await eventually(lambda: len(of_connections()) == others)
                assert psutil.Process().num_fds() == files + STALLED
                left, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            # The session has what was said, and so do the two views and all that they have seen; nobody has it twenty
            # times.
            assert left - begin < 10 * said
        figure("G5", "stalled readers dropped", STALLED)
        await one.submit("/status")
        assert one.view.texts == two.view.texts
