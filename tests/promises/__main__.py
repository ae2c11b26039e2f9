"""`python -m tests.promises`: the long form of the promises' tests, and a table of what they were tried with."""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.support.figures import table

HERE: Final = Path(__file__).parent
BEGIN: Final = "<!-- promises -->"
END: Final = "<!-- /promises -->"
WORKERS: Final = 2


class _Soaking:
    """Counts the tests that go on for as long as they are told to."""

    def __init__(self) -> None:
        self.number = 0

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        self.number = sum("soak" in getattr(item, "fixturenames", ()) for item in items)


class _Reports:
    """Keeps what has been reported."""

    def __init__(self) -> None:
        self.all: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.all.append(report)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long all of it may take, about (default: 30)")
    parser.add_argument("--write", action="store_true", help="also put the table into README.md")
    options = parser.parse_args(arguments)
    soaking = _Soaking()
    if status := pytest.main([str(HERE), "--collect-only", "-qq"], plugins=[soaking]):
        return int(status)
    each = options.minutes * WORKERS / max(soaking.number, 1)
    reports = _Reports()
    began = time.monotonic()
    # The long ones at once, so that none is left to run alone in the end.
    status = pytest.main([str(HERE), "-n", str(WORKERS), "--soak", str(each)], plugins=[reports])
    took = timedelta(seconds=round(time.monotonic() - began))
    passed = sum(report.when == "call" and report.passed for report in reports.all)
    lines = [*table(reports.all), "", f"{passed:,} tests in {took}, {'all green' if status == 0 else 'NOT GREEN'}."]
    print("\n".join(lines))
    if options.write and status == 0:
        readme = HERE.parent.parent / "README.md"
        before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        readme.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
