"""What the promises were tried with: figures that tests count, as one table."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import pytest

FIGURE: Final = "figure"
"""The property of a test's report that holds `[promise, what, number, most]`."""


class Figure(Protocol):
    """Adds `number` to what has been counted of `what` for a promise, `G1` to `G10`; or keeps the greatest, with
    `most`."""

    def __call__(self, promise: str, what: str, number: int, *, most: bool = False) -> None: ...


def table(reports: Iterable[pytest.TestReport]) -> Sequence[str]:
    """The figures of these tests as the lines of a Markdown table; none where there are no figures."""
    found: dict[tuple[str, str], int] = {}
    for report in reports:
        for name, value in report.user_properties:
            # A report comes once for each phase of a test, and has all of its properties from the one on.
            if name == FIGURE and report.when == "call":
                assert isinstance(value, list)
                promise, what, number, most = value
                before = found.get((promise, what), 0)
                found[promise, what] = max(before, number) if most else before + number
    if not found:
        return []
    rows = sorted(found.items(), key=lambda item: (int(item[0][0][1:]), item[0][1]))
    return [
        "| promise | tried with | number |",
        "| --- | --- | ---: |",
        *(f"| {promise} | {what} | {number:,} |" for (promise, what), number in rows),
    ]
