"""What rows are measured on: data directories that are seeded and servers that run, for as many rows as need them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from socket import socket
from typing import Protocol, Self

from msgspec import Struct

from tests.bench import servers
from tests.bench.disk import Rows, seed
from tests.bench.figures import Figure, Found
from tests.bench.links import SETTLE_SECONDS, Link, Target, connect, disconnect
from tests.bench.model import MODEL, Told
from tests.bench.plan import Plan
from tests.bench.servers import Together


class Needs(Struct, frozen=True):
    """What a row is measured on: servers, by name, and the sessions that data directories hold: for each directory the
    ids, and how many messages each has. A server of Backchat's has the directory of its own name."""

    servers: tuple[str, ...] = ()
    directories: dict[str, dict[str, int]] = {}


class Row(Protocol):
    """What is measured together. `words` say what, in the table; `apart` says that nothing else is measured until all
    rounds of it are."""

    @property
    def name(self) -> str: ...

    @property
    def words(self) -> str: ...

    @property
    def apart(self) -> bool: ...

    @property
    def figures(self) -> Sequence[Figure]:
        """What it finds."""
        ...

    def needs(self, plan: Plan) -> Needs:
        """What must be there."""
        ...

    def rounds(self, stage: "Stage") -> AsyncIterator[Found]:
        """Measures, a round at a time."""
        ...


class Stage:
    """Everything that some rows need, made with the context. `told` is the model server that the driver is itself;
    `model_port` is where another one is, which answers at once."""

    def __init__(self, plan: Plan, rows: Sequence[Row], work: Path, listening: socket) -> None:
        self.plan = plan
        self._listening = listening
        self._links: dict[tuple[str, ...], list[Link]] = {}
        self.model_port = 0
        self.told = Told()
        self._rows = rows
        self._work = work
        self._stack = ExitStack()
        self._servers: dict[str, Target] = {}
        self.disk = Rows(self.directory("alone"))

    def directory(self, name: str) -> Path:
        """A directory by name; there if a row needs it."""
        return self._work / name

    def server(self, name: str) -> Target:
        """A server by name, which a row must need."""
        return self._servers[name]

    async def links(self, name: str, paths: Sequence[str]) -> list[Link]:
        """Links to each path of a server. They stay open, for all rows that use the same ones: opening many takes
        longer than measuring."""
        key = (name, *paths)
        if key not in self._links:
            self._links[key] = await connect(self.server(name), paths, Link)
            await asyncio.sleep(SETTLE_SECONDS)
        return self._links[key]

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Within this the driver is a model server; afterwards no link is open."""
        async with self.told.serving(self._listening):
            yield
            await disconnect([link for links in self._links.values() for link in links])

    def __enter__(self) -> Self:
        names: list[str] = []
        directories: dict[str, dict[str, int]] = {}
        for row in self._rows:
            needs = row.needs(self.plan)
            names += [name for name in needs.servers if name not in names]
            for name, sessions in needs.directories.items():
                directories.setdefault(name, {}).update(sessions)
        seed(self._work, directories)
        with ExitStack() as stack:
            stack.callback(self.disk.close)
            together = stack.enter_context(Together())
            if "first" in names:
                self.model_port = together.start(["tests.bench.model"]).port()
            started = {name: together.start(self._command(name)) for name in names}
            self._servers = {name: running.target() for name, running in started.items()}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _command(self, name: str) -> list[str]:
        data = self.directory(name)
        match name:
            case "echo":
                return servers.echo()
            case "bare":
                return ["tests.bench.bare"]
            case "talk":
                return servers.backchat(data, "--backend", "echo", "--echo-delay", "0")
            case "first":
                return servers.backchat(data, *_openai(self.model_port))
            case "fan":
                return servers.backchat(data, *_openai(self._listening.getsockname()[1]))
            case "cold":
                return servers.backchat(data, "--backend", "none", "--idle-sessions", "0")
            case _:
                return servers.backchat(data, "--backend", "none")


def _openai(port: int) -> list[str]:
    return ["--backend", "openai", "--base-url", f"http://127.0.0.1:{port}/v1", "--model", MODEL]
