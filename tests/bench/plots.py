"""Plots of what was found, as SVG. Their colours can be told from a light and from a dark background."""

import math
from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Final

from msgspec import Struct

from tests.bench.figures import Line, millis

WIDTH: Final = 760
TEXT: Final = "#747c86"
FAINT: Final = "#8884"
GOOD: Final = "#3f86c9"
SHORT: Final = "#d07a2b"
COLOURS: Final = (GOOD, SHORT, "#3d9b78", "#a56bb5")


def _svg(height: int, title: str, told: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" font-family="sans-serif" font-size="12" fill="{TEXT}">\n'
        f"<title>{escape(title)}</title>\n<desc>{escape(told)}</desc>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, said: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(said)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def _box(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="14" fill="{colour}"/>'


class _Log(Struct, frozen=True):
    """A logarithmic axis: from `low` to `high`, at the places `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = math.log(min(max(value, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def marks(self, *leading: int) -> list[float]:
        """The numbers on it that are a power of ten times one of these."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        numbers = [float(f"{digit}e{power}") for power in powers for digit in leading]
        return [number for number in numbers if self.low <= number <= self.high]


def _around(values: Sequence[float], start: float, end: float) -> _Log:
    """An axis that holds all values, with a margin."""
    return _Log(min(values) / 1.3, max(values) * 1.3, start, end)


# Ratios.


def ratios(lines: Sequence[Line]) -> str:
    """A bar for each line, from 1 (as good as what it stands beside) to the ratio, with its target, and a whisker from
    the least to the most of its rounds."""
    left, right, row = 290.0, WIDTH - 110.0, 26
    bottom = 24 + row * len(lines)
    axis = _around([0.5, 2.0, *(value for line in lines for value in line.ratios)], left, right)
    parts = [_line(axis(value), 10, axis(value), bottom, FAINT) for value in axis.marks(1, 2, 5)]
    parts += [_text(axis(value), bottom + 16, f"{value:g}", "middle") for value in axis.marks(1, 2, 5)]
    for number, line in enumerate(lines):
        parts += _bar(line, axis, 18 + row * number)
    parts.append(_text(left, bottom + 36, "times what stands beside it; thick: the target; thin: all rounds"))
    told = "; ".join(f"{line.key} {median(line.ratios):.2f}, target {line.figure.reach}" for line in lines)
    return _svg(bottom + 46, "Ratios and their targets", told, parts)


def _bar(line: Line, axis: _Log, y: float) -> list[str]:
    value, target = median(line.ratios), line.figure.target
    assert target is not None
    reached = value >= target if line.figure.better == "more" else value <= target
    begin, end = sorted((axis(1), axis(value)))
    middle = y + 7
    return [
        _text(8, middle + 4, line.key if len(line.key) < 44 else f"{line.key[:43]}…"),
        _box(begin, y, max(1.0, end - begin), GOOD if reached else SHORT),
        _line(axis(min(line.ratios)), middle, axis(max(line.ratios)), middle, TEXT),
        _line(axis(target), y - 4, axis(target), y + 18, TEXT, 3),
        _text(WIDTH - 100, middle + 4, f"{value:.2f} ({line.figure.reach})"),
    ]


# Growth.


def growth(title: str, across: str, lines: Sequence[Line]) -> str:
    """A curve of times for each row, over the sizes of its lines."""
    height, left, right, bottom = 300, 60.0, WIDTH - 200.0, 256.0
    rows = dict.fromkeys(line.row for line in lines)
    curves = [[line for line in lines if line.row == row] for row in rows]
    values = [value for line in lines for value in line.ours]
    sizes = [float(line.figure.size or 1) for line in lines]
    x, y = _around(sizes, left, right), _around(values, bottom, 12.0)
    parts = [_line(left, y(value), right, y(value), FAINT) for value in y.marks(1)]
    parts += [_text(left - 6, y(value) + 4, _short(value), "end") for value in y.marks(1)]
    parts += [_text(x(size), bottom + 16, f"{size:,.0f}", "middle") for size in sorted(set(sizes))]
    parts.append(_text((left + right) / 2, bottom + 36, across, "middle"))
    lasts = [(y(median(mine[-1].ours)) + 4, mine[-1]) for mine in curves]
    parts += [part for mine, colour in zip(curves, COLOURS, strict=False) for part in _curve(mine, x, y, colour)]
    # From above, each below the one before.
    below = 0.0
    for place, line in sorted(lasts, key=lambda last: last[0]):
        below = max(place, below + 14)
        parts.append(_text(right + 10, below, f"{line.row} {millis(median(line.ours))}"))
    told = "; ".join(f"{line.key}: {millis(median(line.ours))}" for line in lines)
    return _svg(height, title, told, parts)


def _curve(lines: Sequence[Line], x: _Log, y: _Log, colour: str) -> list[str]:
    places = [(x(line.figure.size or 1), line) for line in lines]
    points = " ".join(f"{place:.1f},{y(median(line.ours)):.1f}" for place, line in places)
    return [
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(_line(place, y(min(line.ours)), place, y(max(line.ours)), colour) for place, line in places),
        *(
            f'<circle cx="{place:.1f}" cy="{y(median(line.ours)):.1f}" r="4" fill="{colour}"/>'
            for place, line in places
        ),
    ]


def _short(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1e3:g} ms"
