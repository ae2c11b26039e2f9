"""Which models a backend offers: asked when somebody wants to know, and remembered for a while."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from backchat.backends.base import Backend
from backchat.errors import BackendFailed

FRESH_SECONDS: Final = 60.0
"""How long an answer is good for."""
PATIENCE_SECONDS: Final = 10.0
"""How long to wait for one."""

Names = tuple[str, ...]

_log = logging.getLogger("backchat.models")


class Models:
    """The names of a backend's models. `known` is called with them whenever they were asked for."""

    def __init__(self, backend: Backend, known: Callable[[Names], None]) -> None:
        self._backend = backend
        self._known = known
        self._names: Names = ()
        self._fresh_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._waiting: list[Callable[[Names], None]] = []

    def tell(self, listener: Callable[[Names], None]) -> None:
        """Calls back with the names: now, or once the backend has answered. What was known last where it does not."""
        loop = asyncio.get_running_loop()
        if self._backend.model is None or loop.time() < self._fresh_until:
            listener(self._names)
            return
        self._waiting.append(listener)
        if self._asking is None:
            self._asking = loop.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._names = tuple(await self._backend.models())
            self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS
        except BackendFailed as error:
            _log.warning("%s", error)
        except TimeoutError:
            _log.warning("the model server did not list its models within %g seconds", PATIENCE_SECONDS)
        finally:
            self._asking = None
            self._known(self._names)
            waiting, self._waiting = self._waiting, []
            for listener in waiting:
                listener(self._names)

    async def close(self) -> None:
        """Asks no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
