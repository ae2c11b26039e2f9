"""Measures rows: round after round, so that a slow minute of the machine is shared by all."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from backchat.server import listen
from tests.bench.figures import Found, Line, Pair
from tests.bench.links import loop_factory
from tests.bench.plan import Plan
from tests.bench.stage import Row, Stage


def measure(plan: Plan, rows: Sequence[Row], directory: Path | None, say: Callable[[str], None]) -> list[Line]:
    """What the rows find, on the disk of `directory` (default: where temporary files go). `say` is told how far it is.
    Leaves no file and no process."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backchat-bench-", dir=directory)))
        listening = stack.enter_context(listen("127.0.0.1", 0))
        say("seeding, and starting servers")
        stage = stack.enter_context(Stage(plan, rows, work, listening))
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory()))
        return runner.run(_measure(stage, rows, say))


async def _measure(stage: Stage, rows: Sequence[Row], say: Callable[[str], None]) -> list[Line]:
    found: dict[str, list[Found]] = {row.name: [] for row in rows}
    async with stage.at_work():
        # Those that are measured apart come last.
        under_way: dict[str, AsyncIterator[Found]] = {row.name: row.rounds(stage) for row in rows if not row.apart}
        number = 0
        while under_way:
            if number <= stage.plan.rounds:
                say(f"round {number} of {stage.plan.rounds}" if number else "warming up")
            for name, rounds in list(under_way.items()):
                one = await anext(rounds, None)
                if one is None:
                    del under_way[name]
                else:
                    found[name].append(one)
            number += 1
        for row in rows:
            if row.apart:
                say(row.name)
                found[row.name] = [one async for one in row.rounds(stage)]
    return [line for row in rows for line in _lines(row, [one for one in found[row.name] if one])]


def _lines(row: Row, found: Sequence[Found]) -> list[Line]:
    return [Line.of(row.name, row.words, figure, _pairs(found, figure.name)) for figure in row.figures]


def _pairs(found: Sequence[Found], name: str) -> list[Pair]:
    return [one[name] for one in found]
