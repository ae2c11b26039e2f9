"""Which models a backend offers: asked in the background, and remembered for a while."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from backchat.backends.base import Backend
from backchat.errors import BackendFailed

FRESH_SECONDS: Final = 60.0
"""How long an answer is good for."""
AGAIN_SECONDS: Final = 2.0
"""How long a failure is."""

_log = logging.getLogger("backchat.models")


class Models:
    """Keeps the names of a backend's models: `known` is called with them whenever the backend has told them."""

    def __init__(self, backend: Backend, known: Callable[[tuple[str, ...]], None]) -> None:
        self._backend = backend
        self._known = known
        self._fresh_until = 0.0
        self._asking: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Asks, unless the last answer is fresh or on its way. Nobody waits for it."""
        loop = asyncio.get_running_loop()
        if self._backend.model is not None and self._asking is None and loop.time() >= self._fresh_until:
            self._asking = loop.create_task(self._ask())

    async def _ask(self) -> None:
        good = AGAIN_SECONDS
        try:
            self._known(tuple(await self._backend.models()))
            good = FRESH_SECONDS
        except BackendFailed as error:
            _log.warning("%s", error)
        finally:
            self._asking = None
            self._fresh_until = asyncio.get_running_loop().time() + good

    async def close(self) -> None:
        """Asks no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
