"""How much each address may take: commands in a minute, WebSockets at a time (DESIGN section 7)."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from backchat.access import refuse
from backchat.config import address_of
from backchat.errors import RateLimited, TooManyConnections

RETRY_SECONDS: Final = 10.0
"""When whoever found no place may come back."""
MOST_CALLERS: Final = 10_000
"""How many rates are kept; of those that went longest without another command the first is forgotten."""


def caller(scope: Scope, owner: str = "") -> str:
    """By whom a request or a WebSocket is counted: who comes in, where that is known, and the address, or the network
    of 64 bits that one host is given of IPv6 addresses. Behind a proxy on this machine, what that says of whom it
    stands for."""
    return f"{owner} {_host(scope)}"


def _host(scope: Scope) -> str:
    client = scope.get("client")
    host = client[0] if client else ""
    address = address_of(host)
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False))


class Rates:
    """How often each caller may do something: as often at once as in a minute, and from then on evenly.

    The generic cell rate algorithm: of each caller one time is kept, that at which all it did would have been even.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        # By last use, so that those who may do anything again are mostly first.
        self._even: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._even)

    def take(self, who: str) -> None:
        """Counts one. Raises RateLimited, which does not count."""
        if not self._seconds:
            return
        now = self._clock()
        even = max(self._even.get(who, now), now) + self._seconds
        if even - now > 60 + self._seconds / 2:
            raise RateLimited(even - now - 60)
        self._even[who] = even
        self._even.move_to_end(who)
        # Two at the most for each that comes: nobody waits for all of them.
        for _ in range(2):
            oldest = next(iter(self._even))
            if self._even[oldest] > now and len(self._even) <= MOST_CALLERS:
                break
            del self._even[oldest]


class Places:
    """How many WebSockets each caller has."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, who: str) -> None:
        """One more. Raises TooManyConnections."""
        number = self._taken.get(who, 0)
        if number >= self._most:
            raise TooManyConnections(RETRY_SECONDS)
        self._taken[who] = number + 1

    def leave(self, who: str) -> None:
        """One less."""
        if self._taken[who] == 1:
            del self._taken[who]
        else:
            self._taken[who] -= 1


class PlacesMiddleware:
    """Refuses a handshake with 429 where its caller has as many WebSockets as it may have."""

    def __init__(self, app: ASGIApp, places: Places) -> None:
        self._app = app
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        who = caller(scope)
        try:
            self._places.take(who)
        except TooManyConnections as error:
            await refuse(scope, send, error)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.leave(who)
