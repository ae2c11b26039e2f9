"""How many bytecodes the event loop runs for one command. What else happens on a machine changes this by one or two in
a hundred (how often the loop goes round while it waits for the disk), so it shows what a change costs where times are
lost in the noise. What is written in C, and the writer, do not count."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Final

from msgspec import Struct

from tests.bench.driver import everyone
from tests.bench.figures import Figure, Found, Pair, number
from tests.bench.links import SETTLE_SECONDS, Link, connect, disconnect, submit
from tests.bench.plan import Plan
from tests.bench.servers import Running, backchat
from tests.bench.stage import Needs, Stage

LENGTH: Final = 300
"""How many messages the session has: more than a view is given at once."""
ROUNDS: Final = 20
"""How often the command is sent, once what is only done the first time has been."""


class Bytecodes(Struct, frozen=True, kw_only=True):
    """The bytecodes for one command, with this many connections on its session."""

    apart: ClassVar[bool] = False

    name: str
    words: str
    text: str
    links: int

    @property
    def figures(self) -> list[Figure]:
        return [Figure(name="", show=number, better="less")]

    def needs(self, plan: Plan) -> Needs:
        return Needs((), {self.name: {"one": LENGTH}})

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        data = stage.directory(self.name)
        with Running(["tests.bench.counted", *backchat(data, "--backend", "none")[1:]]) as running:
            links = await connect(running.target(), ["/ws/one"] * self.links, Link)
            counts = []
            for times in (ROUNDS // 4, ROUNDS):
                for _ in range(times):
                    await everyone(links[:1], submit(self.text))
                # What follows the last reply belongs to it.
                await asyncio.sleep(SETTLE_SECONDS)
                counts.append(running.bytecodes())
            await disconnect(links)
        yield {"": Pair((counts[1] - counts[0]) / ROUNDS)}
