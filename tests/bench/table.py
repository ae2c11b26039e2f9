"""The figures as a Markdown table, and their place in the README."""

import os
import platform
import sqlite3
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

from tests.bench.driver import Sample
from tests.bench.rounds import Measured, Paired

BEGIN: Final = "<!-- bench -->"
END: Final = "<!-- /bench -->"


class Line(Struct, frozen=True, kw_only=True):
    """A line of the table. `ours` and `beside` have a value for each round, and the ratio is of each round's two.
    `spread`: the least and the most of ours are shown too."""

    row: str
    what: str
    ours: list[float]
    beside: list[float] | None = None
    show: Callable[[float], str]
    beside_is: str = ""
    target: str = ""
    spread: bool = False

    def cells(self) -> list[str]:
        """The cells, from left to right."""
        spread = f" ({self.show(min(self.ours))} to {self.show(max(self.ours))})" if self.spread else ""
        return [
            self.row,
            self.what,
            self.show(median(self.ours)) + spread,
            "" if self.beside is None else self.show(median(self.beside)) + self.beside_is,
            "" if self.beside is None else _ratio([a / b for a, b in zip(self.ours, self.beside, strict=True)]),
            self.target,
        ]


def lines(measured: Measured) -> list[Line]:
    """The lines of the table."""
    crowd, plan = f"{measured.plan.crowd} connections", measured.plan
    found = [
        *_load(measured, "status-1", "`/status`, 1 connection", "≤ 1.25"),
        *_undo_alone(measured),
        *_load(measured, "status-many", f"`/status`, {crowd}", rate="≥ 0.70"),
        *_load(measured, "undo-many", f"durable `/undo`, {crowd} on as many sessions", rate="≥ 0.50", p99="≤ 3"),
        *_load(measured, "undo-shared", f"durable `/undo`, {crowd} on one session", rate="≥ 0.45"),
    ]
    long, short = [pair[0] for pair in measured.lengths], [pair[1] for pair in measured.lengths]
    found.append(
        Line(
            row="undo-length",
            what=f"`/undo` on {plan.long:,} messages, beside {plan.short:,}: p50",
            ours=long,
            beside=short,
            show=_time,
            beside_is=f" ({plan.short:,})",
            target="≤ 1.1",
        )
    )
    found += _attaching(measured)
    found.append(
        Line(row="sqlite-row", what="one row committed durably by SQLite alone", ours=measured.row, show=_time)
    )
    found.append(
        Line(
            row="driver",
            what=f"the load driver's own limit: {crowd} to a bare socket",
            ours=[pair.ours.rate for pair in measured.limit],
            beside=[pair.beside.rate for pair in measured.limit],
            show=_rate,
        )
    )
    return [*found, *_first_delta(measured), *_fans(measured)]


def _attaching(measured: Measured) -> list[Line]:
    plan = measured.plan
    found = []
    for row, state, pairs in (("attach", "in memory", measured.attaches), ("cold", "not in memory", measured.cold)):
        found.append(
            Line(
                row=row,
                what=f"attaching to a session of {plan.long:,} messages {state}, beside one of {plan.tail:,}"
                + (": p50" if row == "attach" else ""),
                ours=[pair[0] for pair in pairs],
                beside=[pair[1] for pair in pairs],
                show=_milliseconds,
                beside_is=f" ({plan.tail:,})",
            )
        )
    return found


def _first_delta(measured: Measured) -> list[Line]:
    ours, alone = [pair[0] for pair in measured.first], [pair[1] for pair in measured.first]
    return [
        Line(
            row="first-delta",
            what="message to first `run.delta`, 1 connection, beside asking the same model server directly: p50",
            ours=ours,
            beside=alone,
            show=_time,
            beside_is=" (direct)",
        ),
        Line(
            row="first-delta",
            what="added by the server, the message's durable commit included: p50",
            ours=[one - other for one, other in zip(ours, alone, strict=True)],
            show=_milliseconds,
            spread=True,
        ),
    ]


def _fans(measured: Measured) -> list[Line]:
    most = measured.plan.fans[-1]
    found: list[Line] = []
    for clients, pairs in measured.fans.items():
        what = f"one delta to {_clients(clients)}, until the last has it: p50"
        target = "≤ 1.3" if clients == most else ""
        found.append(_line(f"delta-{clients}", what, pairs, lambda sample: sample.p50, _time, target))
    what = f"the load driver's own limit: the same to {_clients(most)} on bare sockets: p50"
    return [*found, _line("delta-driver", what, measured.fan_limit, lambda sample: sample.p50, _time, "")]


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number:,} clients"


def _load(measured: Measured, name: str, what: str, p50: str = "", *, rate: str = "", p99: str = "") -> list[Line]:
    pairs = measured.loads[name]
    return [
        _line(name, f"{what}: round trips", pairs, lambda sample: sample.rate, _rate, rate),
        _line(name, f"{what}: p50", pairs, lambda sample: sample.p50, _time, p50),
        _line(name, f"{what}: p99", pairs, lambda sample: sample.p99, _time, p99),
    ]


def _line(
    name: str,
    what: str,
    pairs: list[Paired],
    value: Callable[[Sample], float],
    show: Callable[[float], str],
    target: str,
) -> Line:
    return Line(
        row=name,
        what=what,
        ours=[value(pair.ours) for pair in pairs],
        beside=[value(pair.beside) for pair in pairs],
        show=show,
        target=target,
    )


def _undo_alone(measured: Measured) -> list[Line]:
    rate, p50, p99 = _load(measured, "undo-1", "durable `/undo`, 1 connection")
    # What cannot be saved: the echo's round trip, and one row on the disk.
    floor = [pair.beside.p50 + row for pair, row in zip(measured.loads["undo-1"], measured.row, strict=True)]
    whole = Line(
        row="undo-1",
        what="the same p50, beside the echo's + one row by SQLite alone",
        ours=p50.ours,
        beside=floor,
        show=_time,
        beside_is=" (both)",
        target="≤ 1.5",
    )
    return [rate, p50, whole, p99]


def markdown(measured: Measured) -> str:
    """The table, with what there is to say about the machine and its noise."""
    head = ["row", "what", "ours", "echo", "ratio (min to max)", "target"]
    rows = [head, ["---", "---", "---:", "---:", "---:", "---:"], *(line.cells() for line in lines(measured))]
    return "\n".join([*("| " + " | ".join(row) + " |" for row in rows), "", noise(measured)])


def noise(measured: Measured) -> str:
    """How far the echo, which does the same work every time, was from itself."""
    many = [pair.beside.rate for name in ("status-many", "undo-many", "undo-shared") for pair in measured.loads[name]]
    one = [pair.beside.p50 for name in ("status-1", "undo-1") for pair in measured.loads[name]]
    plan = measured.plan
    return (
        f"Medians of {plan.rounds} rounds of {plan.seconds:g} s (deltas: {plan.fan_seconds:g} s), each beside the echo "
        f"in the same round. "
        f"Noise: the echo alone went from {_rate(min(many))} to {_rate(max(many))} on {plan.crowd} connections, "
        f"and from {_time(min(one))} to {_time(max(one))} (p50) on one. "
        f"{os.cpu_count()} cores, {platform.system()}, {platform.python_implementation()} "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, uvicorn {version('uvicorn')}."
    )


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _ratio(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


class NoMarkers(Exception):
    """The file has no place for the table."""


def write(file: Path, table: str) -> None:
    """Puts the table between the markers in a file, in place of what is there. Raises NoMarkers."""
    before, after = around(file)
    file.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def around(file: Path) -> tuple[str, str]:
    """What stands before the markers, and behind them. Raises NoMarkers."""
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"{file} has no lines {BEGIN} and {END} to put the table between.")
    return before, after
