"""What was found before, and whether anything has become worse since."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct

from tests.bench.figures import Line
from tests.bench.table import machine

LOSS: Final = 0.1
"""The share that a figure may lose before it is marked."""


class Range(Struct, frozen=True):
    """What judges a figure: a ratio, or the value itself where there is none; median, least and most of the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, line: Line) -> "Range":
        """That of a line."""
        return cls(*(float(f"{value:.5g}") for value in (median(line.judged), min(line.judged), max(line.judged))))


class Mode(Struct, frozen=True):
    """One mode's figures by their keys, and what they were measured on."""

    machine: str
    figures: dict[str, Range]


def read(file: Path) -> dict[str, Mode]:
    """What is recorded, by mode; nothing where there is no file. Raises msgspec.DecodeError."""
    if not file.exists():
        return {}
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Mode])


def record(file: Path, mode: str, lines: Sequence[Line]) -> None:
    """Records one mode's figures, and leaves the other's. Raises msgspec.DecodeError."""
    modes = read(file) | {mode: Mode(machine(), {line.key: Range.of(line) for line in lines})}
    file.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(modes.items()))), indent=1) + b"\n")


def compared(lines: Sequence[Line], before: Mode | None) -> str:
    """A table of what the lines say now and what is recorded."""
    if before is None:
        return "Nothing is recorded to compare with."
    rows = ["| figure | now | recorded | change | |", "| --- | ---: | ---: | ---: | --- |"]
    rows += [_compared(line, before.figures.get(line.key)) for line in lines]
    rows += ["", f"Worse: by more than {LOSS:.0%}, and beyond all rounds of what is recorded."]
    rows += [f"Ratios, or where there is none the value itself. Recorded on: {before.machine}"]
    return "\n".join(rows)


def _compared(line: Line, before: Range | None) -> str:
    now = median(line.judged)
    shown = line.show_judged(now)
    if before is None:
        return f"| {line.key} | {shown} | | | new |"
    change = now / before.median - 1
    return f"| {line.key} | {shown} | {line.show_judged(before.median)} | {change:+.0%} | {mark(line, before)} |"


def mark(line: Line, before: Range) -> str:
    """`worse` where a line has lost more than a tenth, `within noise` where a recorded round was as bad; else empty."""
    now = median(line.judged)
    if line.figure.better == "more":
        lost, beyond = now < before.median * (1 - LOSS), now < before.least
    else:
        lost, beyond = now > before.median * (1 + LOSS), now > before.most
    if not lost:
        return ""
    return "**worse**" if beyond else "within noise"
