"""How fast `backchat import` takes in the files of a session store."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import ClassVar, Final

from msgspec import Struct

from tests.bench.disk import write_files
from tests.bench.figures import Figure, Found, Pair, megabytes_per_second, per_second
from tests.bench.plan import Plan
from tests.bench.servers import Running
from tests.bench.stage import Needs, Stage

LENGTH: Final = 20
"""How many messages each file holds."""


class Import(Struct, frozen=True, kw_only=True):
    """Files of a session each, into an empty data directory, from the start of the process to its end."""

    apart: ClassVar[bool] = False

    name: str
    words: str

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure(name="sessions", show=per_second, better="more"),
            Figure(name="messages", show=per_second, better="more"),
            Figure(name="bytes", show=megabytes_per_second, better="more"),
        ]

    def needs(self, plan: Plan) -> Needs:
        del plan
        return Needs()

    async def rounds(self, stage: Stage) -> AsyncIterator[Found]:
        number = stage.plan.imported
        files = stage.directory("files")
        size = write_files(files, number, LENGTH)
        for turn in range(stage.plan.starts):
            began = time.perf_counter()
            with Running(
                ["backchat", "import", "--data", str(stage.directory(f"imported-{turn}")), str(files)]
            ) as running:
                await asyncio.to_thread(running.wait)
                taken = time.perf_counter() - began
            values = {"sessions": number, "messages": number * LENGTH, "bytes": size}
            yield {name: Pair(value / taken) for name, value in values.items()}
