"""Fixtures that most tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.server import Running, running


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with an empty data directory and the echo backend."""
    async with running(tmp_path / "data") as server:
        yield server
