"""One browser for all of these tests, a fresh profile for each."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.chromium import NAMES, Person, installed, launched, person
from tests.browser.setting import Given, Serve, imported
from tests.browser.wire import Wire, wired
from tests.support.client import Json
from tests.support.scripted import Scripted
from tests.support.server import Running, running

# The browser lives as long as the package's loop, so everything here shares that loop.
shared = pytest_asyncio.fixture(loop_scope="package")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    executable = installed()
    if executable is None:
        pytest.skip(f"there is no Chromium: none of {', '.join(NAMES)} is on the PATH")
    async with launched(executable) as browser:
        yield browser


@shared
async def serve(browser: Browser, tmp_path: Path) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def serve(**options: Any) -> Running:
            return await stack.enter_async_context(running(tmp_path / "data", **options))

        yield serve


@shared
async def server(serve: Serve) -> Running:
    """A server with an empty data directory and the echo backend."""
    return await serve()


@shared
async def user(browser: Browser, serve: Serve) -> AsyncIterator[Person]:
    """Somebody in front of a browser, who must be given no reason to complain."""
    del serve  # the browser must be gone before the servers are
    async with person(browser) as user:
        yield user


@pytest.fixture
def given(tmp_path: Path) -> Given:
    def given(*sessions: Json) -> None:
        imported(tmp_path / "data", tmp_path, *sessions)

    return given


@shared
async def wire(server: Running) -> AsyncIterator[Wire]:
    """A wire to the server that can be cut."""
    async with wired(server) as wire:
        yield wire


@pytest.fixture
def scripted(server: Running) -> Scripted:
    """The server's replies are what the test says."""
    return Scripted(server)
