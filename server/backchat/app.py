"""The application: the only place that wires the parts together."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from backchat import frames
from backchat.access import COOKIE, Access, AccessMiddleware
from backchat.backends.base import Backend
from backchat.backends.echo import Echo
from backchat.commands import check_text, describe
from backchat.config import Settings
from backchat.connection import Connection, Limits, close
from backchat.errors import (
    BackchatError,
    DataDirectoryError,
    InvalidParams,
    ParseError,
    TooLarge,
    Unauthorized,
    UnknownMethod,
)
from backchat.hub.local import LocalHub
from backchat.ops import status_fields
from backchat.rows import messages_of
from backchat.runs import Runs
from backchat.sessions import Session, Sessions
from backchat.store.base import Place, Summary
from backchat.store.threads import ThreadedStore
from backchat.transcript import Created, State

MOST_SESSIONS: Final = 200
"""The most sessions in one page of the list."""
MOST_REVISION: Final = 2**53
MOST_TITLE: Final = 400

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Backchat:
    """A server's parts, and its routes. Opens the data directory; raises DataDirectoryError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._access = Access(settings)
        self._directory = settings.data
        self._lock = _locked(settings.data)
        try:
            self._store = ThreadedStore(settings.data)
        except DataDirectoryError:
            self._lock.release()
            raise
        backend = _backend(settings)
        self._runs = None if backend is None else Runs(backend)
        self.sessions = Sessions(
            self._store,
            LocalHub(),
            backend=settings.backend,
            start_run=None if self._runs is None else self._runs.start,
            most_idle=settings.idle_sessions,
        )
        self._limits = Limits(
            in_flight=settings.in_flight,
            outbox_frames=settings.outbox_frames,
            outbox_characters=settings.outbox_bytes,
            send_seconds=settings.send_seconds,
        )
        static = static_directory()
        api = partial(_api, self._access)
        page = _page(static / "index.html")
        self.asgi = Starlette(
            routes=[
                WebSocketRoute("/ws", self._new_socket),
                WebSocketRoute("/ws/{session_id}", self._socket),
                Route("/", page),
                Route("/s/{session_id}", page),
                Mount("/static", _Static(directory=static)),
                Route("/api/login", self._login, methods=["POST"]),
                Route("/api/sessions", api(self._list), methods=["GET"]),
                Route("/api/sessions", api(self._create), methods=["POST"]),
                Route("/api/sessions/{session_id}", api(self._get), methods=["GET"]),
                Route("/api/sessions/{session_id}", api(self._delete), methods=["DELETE"]),
                Route("/api/commands", api(self._commands), methods=["GET"]),
                Route("/healthz", _healthz),
            ],
            middleware=[Middleware(AccessMiddleware, access=self._access)],
            exception_handlers={BackchatError: _error_response, HTTPException: _no_route},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.drain()
            if self._runs is not None:
                await self._runs.close()
            await self.close()

    async def drain(self) -> None:
        """Ends every live run, keeping what it wrote; returns once that is durable."""
        await self.sessions.interrupt_runs()

    async def close(self) -> None:
        """Closes the store, once all that was enqueued is durable, and lets go of the data directory."""
        await self._store.close()
        self._lock.release()

    # WebSockets.

    async def _socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            self._access.check_token(websocket.headers)
            after, log = _resume(websocket.query_params)
            async with self.sessions.use(websocket.path_params["session_id"]) as session:
                await Connection(websocket, session, self._limits).serve(after, log)
        except BackchatError as error:
            await close(websocket, error.close, str(error), self._settings.send_seconds)

    async def _new_socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            self._access.check_token(websocket.headers)
            if _resume(websocket.query_params) != (None, None):
                raise InvalidParams("A new session has nothing to resume: after and log go with /ws/ID.")
            async with self.sessions.create(Created()) as session:
                await Connection(websocket, session, self._limits).serve(None, None)
        except BackchatError as error:
            await close(websocket, error.close, str(error), self._settings.send_seconds)

    # HTTP.

    async def _login(self, request: Request) -> Response:
        body = await _body(request, _Login, self._settings.max_frame)
        if not self._access.is_token(body.token):
            raise Unauthorized
        response = _json({})
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, self._access.cookie(), httponly=True, samesite="strict", secure=secure, max_age=31536000
        )
        return response

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        limit = _whole(query, "limit", 1, MOST_SESSIONS)
        limit = 50 if limit is None else limit
        place = _place(query["after"]) if "after" in query else None
        # One more than asked for tells whether there are more.
        found = await self.sessions.list(place, limit + 1)
        shown = found[:limit]
        following = _cursor(shown[-1]) if len(found) > limit else None
        return _json({"sessions": [self._summary(summary) for summary in shown], "next": following})

    def _summary(self, summary: Summary) -> dict[str, Any]:
        return {**msgspec.structs.asdict(summary), "agent_running": self.sessions.running(summary.session_id)}

    async def _create(self, request: Request) -> Response:
        body = await _body(request, _NewSession, self._settings.max_frame)
        if body.title is not None:
            check_text(body.title)
            if len(body.title) > MOST_TITLE:
                raise InvalidParams(f"A title takes at most {MOST_TITLE} characters.")
        messages = messages_of(body.messages, self.sessions.clock())
        async with self.sessions.create(Created(title=body.title), messages) as session:
            return _json(_status(session), 201)

    async def _get(self, request: Request) -> Response:
        async with self.sessions.use(request.path_params["session_id"]) as session:
            return _json(session.fields)

    async def _delete(self, request: Request) -> Response:
        async with self.sessions.use(request.path_params["session_id"]) as session:
            return _json({"session_id": session.id, "deleted_at": await session.delete()})

    async def _commands(self, _: Request) -> Response:
        return _json({"commands": describe(), "backend": self._settings.backend})


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. Raises DataDirectoryError, SettingError."""
    return Backchat(settings).asgi


class _Login(Struct, forbid_unknown_fields=True):
    token: str


class _NewSession(Struct, forbid_unknown_fields=True):
    title: str | None = None
    messages: list[Any] = msgspec.field(default_factory=list)


class _Static(StaticFiles):
    """Files of the page, with the headers of the page."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(_PAGE_HEADERS)
        return response


def static_directory() -> Path:
    """Where the page is: inside the package when installed, at the top of a checkout otherwise."""
    here = Path(__file__).resolve().parent
    packaged = here / "static"
    return packaged if packaged.is_dir() else here.parent.parent / "static"


def _locked(directory: Path) -> FileLock:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / "backchat.lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataDirectoryError(f"The data directory {directory} is in use by another Backchat server.") from error
    except OSError as error:
        raise DataDirectoryError(
            f"Cannot use the data directory {directory}: {str(error.strerror).lower()}."
        ) from error
    return lock


def _backend(settings: Settings) -> Backend | None:
    return Echo(settings.echo_delay) if settings.backend == "echo" else None


Handler = Callable[[Request], Awaitable[Response]]


def _api(access: Access, handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        access.check_token(request.headers)
        return await handler(request)

    return checked


def _page(index: Path) -> Handler:
    async def page(_: Request) -> Response:
        return FileResponse(index, headers=_PAGE_HEADERS)

    return page


async def _healthz(_: Request) -> Response:
    return _json({"status": "ok"})


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, {"cache-control": "no-store"}, media_type="application/json")


async def _error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, BackchatError)
    return _json({"error": frames.error_body(error)}, error.status)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": frames.error_body(UnknownMethod(f"{error.detail}."))}, error.status_code)


def _status(session: Session) -> dict[str, Any]:
    fields = session.fields
    return {name: fields[name] for name in status_fields("", State(), 0, running=False)}


_T = TypeVar("_T")


async def _body(request: Request, shape: type[_T], most: int) -> _T:
    """The body of a request as JSON of this shape; an empty one counts as `{}`. Raises TooLarge, ParseError,
    InvalidParams."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLarge(f"A request takes at most {most} bytes.")
    try:
        return msgspec.json.decode(bytes(body) or b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"The request is wrong: {error}") from error
    except RecursionError as error:
        raise ParseError("This is nested too deeply.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseError("This is not JSON.") from error


def _resume(query: QueryParams) -> tuple[int | None, str | None]:
    """`after` and `log`. Raises InvalidParams."""
    if unknown := set(query) - {"after", "log"}:
        raise InvalidParams(f"There is no query parameter {min(unknown)!r}.")
    return _whole(query, "after", 0, MOST_REVISION), query.get("log")


def _whole(query: QueryParams, name: str, least: int, most: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise InvalidParams(f"{name} must be a whole number from {least} to {most}.")
    return int(text)


def _cursor(summary: Summary) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((summary.updated_at, summary.session_id))).decode()


def _place(cursor: str) -> Place:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[float, str])
    except ValueError as error:
        raise InvalidParams("after must be the `next` of an earlier page.") from error
