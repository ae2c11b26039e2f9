"""Who may come in: Host, Origin and token (DESIGN section 7). Runs before every route, HTTP and WebSocket."""

import logging
import math
import re
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from backchat.config import Settings, address_of
from backchat.errors import BackchatError, Forbidden
from backchat.users import Admission, Users, cookie_of

_log = logging.getLogger("backchat.access")

COOKIE: Final = "backchat_token"
MOST_LOGGED: Final = 100
"""How many different refusals are logged."""
_SAFE: Final = {"GET", "HEAD"}
_HOST: Final = re.compile(r"([^\s:@/\[\]%]+|\[[0-9a-fA-F.]*:[0-9a-fA-F:.]*\])(?::[0-9]+)?")
"""A name or an address, and perhaps a port (RFC 3986, section 3.2)."""
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Access:
    """The rules that follow from the settings and the users. Each method raises what refuses."""

    def __init__(self, settings: Settings, users: Users) -> None:
        self._settings = settings
        self._users = users
        self._hosts = {host.lower() for host in settings.allowed_hosts}
        self._origins = {origin.lower() for origin in settings.allowed_origins}

    def check_host(self, host: str) -> None:
        """Host must name this server, or a page elsewhere could reach it under a name of its own (DNS rebinding). An
        address cannot be rebound; behind a loopback bind it must be a loopback one."""
        name = _name(host)
        address = address_of(name)
        if address is not None and (address.is_loopback or not self._settings.loopback):
            return
        if name not in self._hosts | {"localhost", self._settings.host.lower()}:
            raise Forbidden(
                f"This server does not answer to the Host {_shown(host)}. Start it with --allowed-host to add one."
            )

    def check_origin(self, scheme: str, host: str, origin: str | None) -> None:
        """Origin, where there is one, must be the server's own or an allowed one. None is a program, which a token or
        the loopback address lets in."""
        if origin is None:
            return
        scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
        schemes = {scheme}
        if _name(host) in self._hosts:
            # A name that was allowed by hand is a proxy's, which may end TLS without saying so.
            schemes.add("https")
        own = {f"{one}://{host.lower().removesuffix(_DEFAULT_PORTS[one])}" for one in schemes}
        if origin.lower() not in own | self._origins:
            raise Forbidden(
                f"This server does not answer to pages from {_shown(origin)}."
                " Start it with --allowed-origin to add one."
            )

    async def admit(self, headers: Headers) -> Admission:
        """As whom somebody comes in. Their token, where one is needed, must come in Authorization or in the cookie
        that `sign_in` gives. Raises Unauthorized, StorageFailed."""
        shown = []
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token.strip():
            shown.append(cookie_of(token.strip()))
        cookies = (cookie_parser(header).get(COOKIE) for header in headers.getlist("cookie"))
        shown += [cookie for cookie in cookies if cookie is not None]
        return await self._users.admit(shown)

    async def sign_in(self, secret: str) -> str:
        """The cookie for a token, or for the code of an invitation. Raises Unauthorized, StorageFailed."""
        return await self._users.sign_in(secret)


class AccessMiddleware:
    """Refuses a request or a handshake that comes to the wrong Host or from the wrong Origin, with 403."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            try:
                host = _only(headers, "host") or ""
                self._access.check_host(host)
                if scope["type"] == "websocket" or scope["method"] not in _SAFE:
                    self._access.check_origin(scope["scheme"], host, _only(headers, "origin"))
                elif headers.get("sec-fetch-site") == "cross-site" and scope["path"].startswith("/api/"):
                    # A page elsewhere cannot read the answer, but its time could tell what a search finds.
                    self._access.check_origin(scope["scheme"], host, headers.get("origin", "null"))
            except BackchatError as error:
                self._log(str(error))
                await refuse(scope, send, error)
                return
        await self._app(scope, receive, send)

    def _log(self, problem: str) -> None:
        # A proxy that is set up wrong shows here; whoever makes names up must not fill the log.
        if problem not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(problem)
            _log.warning("refused: %s", problem)


async def refuse(scope: Scope, send: Send, error: BackchatError) -> None:
    """Answers a request, or a handshake instead of accepting it, with an error as plain text."""
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            # Before the handshake, which a server answers with 403.
            await send({"type": "websocket.close", "code": error.close, "reason": str(error)})
            return
        kind = "websocket.http"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    if (seconds := retry_after(error)) is not None:
        headers.append((b"retry-after", seconds.encode()))
    await send({"type": f"{kind}.response.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": f"{error}\n".encode()})


def retry_after(error: BackchatError) -> str | None:
    """What Retry-After says of an error that passes by itself (RFC 9110, section 10.2.3)."""
    seconds = error.data.get("retry_after")
    return None if seconds is None else str(max(1, math.ceil(seconds)))


def _only(headers: Headers, name: str) -> str | None:
    """The one value of a header that nobody sends twice; None where it is missing. Raises Forbidden."""
    values = headers.getlist(name)
    if len(values) > 1:
        # Whatever stands in front of this server may have gone by another of them (RFC 9112, section 3.2).
        raise Forbidden(f"A request has one {name.capitalize()} at the most.")
    return values[0] if values else None


def _name(host: str) -> str:
    """A Host header without its port; empty where it is none."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found[1].lower()


def _shown(value: str) -> str:
    # Of what a client made up, as much as fits a line, and nothing that a terminal would obey.
    return repr(value[:100])
