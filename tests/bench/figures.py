"""What is found: figures, what is good about each, and how they are said."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, Literal

from msgspec import Struct


class Pair(Struct, frozen=True):
    """A value of ours, and the one that it stands beside, if there is one."""

    ours: float
    beside: float | None = None


Found = dict[str, Pair]
"""What one round of a row has found, by the name of the figure. Empty where it is not counted."""

Show = Callable[[float], str]


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of a row. Names are unique within a row. `show` says a value; `better` is the direction that is;
    `target` is a bound of the ratio to what stands beside, or of the value itself where `of` says so; `limit` names the
    row and its figure that say what the load driver could do at the most; `spread` shows the least and the most of
    ours; `size` is how many there are of what grows."""

    name: str
    show: Show
    better: Literal["more", "less"]
    target: float | None = None
    of: Literal["ratio", "value"] = "ratio"
    beside: str = "echo"
    limit: tuple[str, str] | None = None
    spread: bool = False
    size: int | None = None

    @property
    def reach(self) -> str:
        """The target in words; empty where there is none."""
        if self.target is None:
            return ""
        return ("≥ " if self.better == "more" else "≤ ") + (
            f"{self.target:.2f}" if self.of == "ratio" else self.show(self.target)
        )


class Line(Struct, frozen=True):
    """A figure of a row, with what was found, a value for each round. `beside` is empty where nothing stands there."""

    row: str
    words: str
    figure: Figure
    ours: list[float]
    beside: list[float]

    @classmethod
    def of(cls, row: str, words: str, figure: Figure, found: Sequence[Pair]) -> "Line":
        """The line of what was found."""
        beside = [pair.beside for pair in found if pair.beside is not None]
        return cls(row, words, figure, [pair.ours for pair in found], beside)

    @property
    def key(self) -> str:
        """What names it among all."""
        return f"{self.row}: {self.figure.name}" if self.figure.name else self.row

    @property
    def ratios(self) -> list[float]:
        """Ours to what stands beside it, for each round."""
        return [ours / beside for ours, beside in zip(self.ours, self.beside, strict=True)] if self.beside else []

    @property
    def what(self) -> str:
        """What it is, in words."""
        return ": ".join(part for part in (self.words, self.figure.name) if part)

    @property
    def judged(self) -> list[float]:
        """What tells whether it became better: the ratios, or ours where there are none or the target says so."""
        return self.ours if self.figure.of == "value" or not self.beside else self.ratios

    def show_judged(self, value: float) -> str:
        """How one of these is said."""
        return self.figure.show(value) if self.judged is self.ours else f"{value:.2f}"


def ratio_words(ratios: list[float]) -> str:
    """The median, and the least and the most."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


# How values are said. All are in seconds, bytes, or so many a second.


def number(value: float) -> str:
    """How many."""
    return f"{value:,.0f}"


def per_second(value: float) -> str:
    """So many a second."""
    return f"{value:,.0f}/s"


def micros(seconds: float) -> str:
    """A time in microseconds."""
    return f"{seconds * 1e6:,.0f} µs"


def millis(seconds: float) -> str:
    """A time in milliseconds."""
    return f"{seconds * 1e3:,.2f} ms"


def megabytes(size: float) -> str:
    """A size in megabytes."""
    return f"{size / 1e6:.1f} MB"


def megabytes_per_second(size: float) -> str:
    """So many megabytes a second."""
    return f"{size / 1e6:.2f} MB/s"


def kibibytes(size: float) -> str:
    """A size in kibibytes."""
    return f"{size / 1024:.1f} KiB"


KIB: Final = 1024
MB: Final = 1_000_000
