"""Lines as a Markdown table, with what there is to say about the machine and its noise."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median
from typing import Final

from tests.bench.figures import Line, ratio_words
from tests.bench.plan import Plan

HEAD: Final = ["row", "what", "ours", "echo", "ratio (min to max)", "target"]
ENOUGH: Final = 2.0
"""How many times what a server reaches the load driver must be able to do for nobody to ask which of both was
measured."""


def markdown(lines: Sequence[Line], every: Sequence[Line]) -> str:
    """The table of some lines out of all that were measured."""
    by_key = {(line.row, line.figure.name): line for line in every}
    cells = [HEAD, ["---", "---", "---:", "---:", "---:", "---:"], *(_cells(line, by_key) for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def targeted(lines: Sequence[Line]) -> list[Line]:
    """Those that have a target."""
    return [line for line in lines if line.figure.target is not None]


def _cells(line: Line, by_key: dict[tuple[str, str], Line]) -> list[str]:
    figure = line.figure
    what = line.what
    limit = None if figure.limit is None else by_key.get(figure.limit)
    if limit is not None:
        room = headroom(line, limit)
        if room < ENOUGH:
            what += f" (**the load driver could do only {room:.1f} times that**)"
    spread = f" ({figure.show(min(line.ours))} to {figure.show(max(line.ours))})" if figure.spread else ""
    beside = "" if figure.beside == "echo" else f" ({figure.beside})"
    return [
        line.row,
        what,
        figure.show(median(line.ours)) + spread,
        figure.show(median(line.beside)) + beside if line.beside else "",
        ratio_words(line.ratios) if line.beside else "",
        figure.reach,
    ]


def headroom(line: Line, limit: Line) -> float:
    """How many times what the server reaches the load driver could do by itself."""
    ratio = median(limit.ours) / median(line.ours)
    return ratio if line.figure.better == "more" else 1 / ratio


def noise(plan: Plan, lines: Sequence[Line]) -> str:
    """How it was measured, and how far the echo, which does the same work every time, was from itself."""
    said = [f"Medians of {plan.rounds} rounds of {plan.seconds:g} s ({_exceptions(plan)}), each beside the echo in the"]
    said.append("same round; a ratio is the median of those of the rounds, not of the two columns.")
    said.append("The load driver runs on the same cores.")
    one, many, _ = plan.crowds
    rates = [value for line in lines if _loaded(line, many, "round trips") for value in line.beside]
    times = [value for line in lines if _loaded(line, one, "p50") for value in line.beside]
    if rates and times:
        said.append(
            f"Noise: the echo alone went from {min(rates):,.0f}/s to {max(rates):,.0f}/s on {many} connections, and"
            f" from {min(times) * 1e6:,.0f} µs to {max(times) * 1e6:,.0f} µs (p50) on one."
        )
    return f"{' '.join(said)} {machine()}"


def _exceptions(plan: Plan) -> str:
    twice = f"with {plan.crowds[2]} connections twice that"
    counted = f"starts and imports: {plan.starts} rounds, memory: {plan.fills}, bytecodes: 1"
    return f"{twice}; deltas: {plan.fan_seconds:g} s; {counted}"


def _loaded(line: Line, links: int, figure: str) -> bool:
    return line.row in (f"status-{links}", f"undo-{links}", f"retry-{links}") and line.figure.name == figure


def machine() -> str:
    """What was measured on."""
    return (
        f"{os.cpu_count()} cores, {platform.system()}, {platform.python_implementation()} "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, uvicorn {version('uvicorn')}."
    )
