"""Fixtures that most tests share."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.figures import FIGURE, Figure, table
from tests.support.server import Running, running

# Whether a law holds is no question of how busy a machine is.
settings.register_profile("backchat", deadline=None, max_examples=40)
settings.load_profile("backchat")


def pytest_addoption(parser: pytest.Parser) -> None:
    """See `--help`."""
    parser.addoption(
        "--soak",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="how long each test that makes up what happens goes on doing so, with other seeds every time: `inf` until"
        " something fails. Without it each takes a few seconds. `python -m tests.promises` gives each its share.",
    )


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> float:
    """For how many seconds a test that makes up what happens shall go on; 0: a few rounds."""
    return 60 * float(request.config.getoption("--soak"))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Counts what a promise was tried with: `figure("G1", "kills survived", 20)`. Figures of the same name add up, from
    all tests and processes, or the greatest is kept (`most=True`), and stand in a table at the end."""

    def add(promise: str, what: str, number: int, *, most: bool = False) -> None:
        record_property(FIGURE, [promise, what, number, most])

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures."""
    reports = [one for some in terminalreporter.stats.values() for one in some if isinstance(one, pytest.TestReport)]
    if lines := table(reports):
        terminalreporter.section("what the promises were tried with")
        terminalreporter.write("\n".join(lines) + "\n")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with an empty data directory and the echo backend."""
    async with running(tmp_path / "data") as server:
        yield server
