"""Fixtures that most tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

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
        " something fails. Without it each takes a few seconds. Choose them with -k 'crowd or machine'.",
    )


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> float:
    """For how many seconds a test that makes up what happens shall go on; 0: a few rounds."""
    return 60 * float(request.config.getoption("--soak"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with an empty data directory and the echo backend."""
    async with running(tmp_path / "data") as server:
        yield server
