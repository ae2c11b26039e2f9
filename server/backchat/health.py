"""How the server is: `/healthz`, `/readyz` and `/metrics`."""

import asyncio
from collections.abc import Callable
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from backchat.access import Access
from backchat.api import json_response
from backchat.counts import Counts, Gauges
from backchat.errors import Forbidden, StorageFailed
from backchat.names import OWNER
from backchat.store.base import Store

PROBE_SECONDS: Final = 1.0
"""How long what a probe of the store has found is good for: whoever asks more often costs nothing."""
PATIENCE_SECONDS: Final = 5.0
"""After how long a store that has not answered counts as failing."""


class Health:
    """The routes, and what they tell of."""

    def __init__(self, store: Store, access: Access, counts: Counts, gauges: Callable[[], Gauges]) -> None:
        self._store = store
        self._access = access
        self._counts = counts
        self._gauges = gauges
        self._draining = False
        self._probe: asyncio.Task[bool] | None = None
        self._probed = 0.0

    def routes(self) -> list[BaseRoute]:
        """The first two want no token: what asks for them is mostly no person."""
        return [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
        ]

    def drain(self) -> None:
        """The server goes down, so it is ready no more."""
        self._draining = True

    async def _healthz(self, _: Request) -> Response:
        return json_response({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        if self._draining:
            return json_response({"status": "draining"}, 503)
        if not await self._stores():
            return json_response({"status": "storage_failed"}, 503)
        return json_response({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        admission = await self._access.admit(request.headers)
        if admission.owner != OWNER:
            raise Forbidden("Only whoever runs this server may read its numbers.")
        return await anyio.to_thread.run_sync(_exposition, self._counts, self._gauges())

    async def _stores(self) -> bool:
        loop = asyncio.get_running_loop()
        if self._probe is None or (self._probe.done() and loop.time() >= self._probed + PROBE_SECONDS):
            self._probe = loop.create_task(self._ask())
        # Shared by all who ask meanwhile, so none of them may cancel it.
        return await asyncio.shield(self._probe)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._store.probe()
        except (StorageFailed, TimeoutError):
            return False
        finally:
            self._probed = asyncio.get_running_loop().time()
        return True


def _exposition(counts: Counts, gauges: Gauges) -> Response:
    # Late, and on a thread: most servers are never asked.
    from backchat.metrics import MEDIA_TYPE, exposition

    body = exposition(counts, gauges)
    return Response(body, headers={"cache-control": "no-store"}, media_type=MEDIA_TYPE)
