"""The application: the only place that wires the parts together."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from backchat.access import Access, AccessMiddleware
from backchat.api import Api, error_response, no_route, whole_number
from backchat.backends.base import Backend
from backchat.backends.echo import Echo
from backchat.choices import offers
from backchat.config import Settings
from backchat.connection import Connection, Limits
from backchat.counts import Counts, Gauges
from backchat.errors import BackchatError, DataDirectoryError, InvalidParams, StorageFailed
from backchat.health import Health
from backchat.hub.local import LocalHub
from backchat.limits import Places, PlacesMiddleware, Rates, caller
from backchat.logs import tell
from backchat.models import Models
from backchat.names import OWNER, checked_name, made_up_name
from backchat.outbox import TOO_SLOW, Outbox
from backchat.page import Page, static_directory
from backchat.prompts import personalities
from backchat.registry import Sessions
from backchat.rendering import Rendering
from backchat.runs import Bounds, Runs
from backchat.sessions import Run, Session
from backchat.store.threads import ThreadedStore
from backchat.transcript import Created, Usage
from backchat.users import LOOK_SECONDS, Users
from backchat.views import Offer
from backchat.watch import Everyone, watch
from backchat.writing import close

_log = logging.getLogger("backchat")

MOST_REVISION: Final = 2**53
"""The highest number that JSON readers agree on."""
FORGET_SECONDS: Final = 3600.0
"""How often old op records are looked for."""


class Backchat:
    """A server's parts, and its routes. Opens the data directory; raises DataDirectoryError and SettingError."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._counts = Counts()
        self._commands = Rates(settings.commands_per_minute)
        self._places = Places(settings.connections_per_address)
        backend = _backend(settings)
        self._offer = Offer(
            replies=backend is not None,
            model=None if backend is None else backend.model,
            personalities=_personalities(settings),
            price=partial(_price, backend),
            most_queued=settings.queue_messages,
        )
        self._lock = _locked(settings.data)
        try:
            self._store = ThreadedStore(settings.data, self._counts)
        except DataDirectoryError:
            self._lock.release()
            raise
        self._users = Users(
            self._store,
            self._store.users_then,
            token=settings.token,
            closed=not settings.loopback,
            clock=clock,
        )
        self._access = Access(settings, self._users)
        self._backend = backend
        self._runs: Runs | None = None
        self._models: Models | None = None
        if backend is not None:
            bounds = Bounds(
                first_delta_seconds=settings.first_delta_seconds,
                delta_seconds=settings.delta_seconds,
                characters=settings.reply_characters,
            )
            self._runs = Runs(backend, bounds, settings.runs)
            self._models = Models(backend, self._offered)
        self._hub = LocalHub()
        self._watchers = Everyone(lambda owner, ids: self.sessions.summaries(owner, ids))
        self.sessions = Sessions(
            self._store,
            self._hub,
            backend=settings.backend,
            offer=lambda: self._offer,
            ask_models=_no_models if self._models is None else self._models.refresh,
            start_run=_no_run if self._runs is None else self._runs.start,
            changed=self._watchers.changed,
            ended=self._ended,
            most_idle=settings.idle_sessions,
            op_id_seconds=settings.op_id_hours * 3600,
            clock=clock,
        )
        self._rendering = Rendering()
        self._limits = Limits(
            in_flight=settings.in_flight,
            outbox_frames=settings.outbox_frames,
            outbox_characters=settings.outbox_characters,
            send_seconds=settings.send_seconds,
        )
        self._api = Api(
            self.sessions,
            self._access,
            self._commands,
            backend=settings.backend,
            most_bytes=settings.max_frame,
            import_bytes=settings.import_bytes,
        )
        self._health = Health(self._store, self._access, self._counts, self._gauges)
        self.asgi = Starlette(
            routes=[
                WebSocketRoute("/watch", self._watch),
                WebSocketRoute("/ws", self._socket),
                # A path, so that an id with a slash is told what any other bad id is told.
                WebSocketRoute("/ws/{session_id:path}", self._socket),
                *Page(static_directory()).routes(),
                *self._api.routes(),
                *self._health.routes(),
            ],
            middleware=[
                Middleware(AccessMiddleware, access=self._access),
                Middleware(PlacesMiddleware, places=self._places),
            ],
            exception_handlers={BackchatError: error_response, HTTPException: no_route},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self._models is not None:
            # So that whoever starts a server before its models hears of it now.
            self._models.refresh()
        chores = [asyncio.create_task(self._forget()), asyncio.create_task(self._look_at_users())]
        try:
            yield
        finally:
            for chore in chores:
                chore.cancel()
            await self.drain()
            await self.close()

    async def _forget(self) -> None:
        while True:
            # The store has logged it. It only means that the disk holds a little more for an hour.
            with suppress(StorageFailed):
                await self.sessions.forget_ops()
            await asyncio.sleep(FORGET_SECONDS)

    async def _look_at_users(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # The store has logged it; whoever could come in still can.
            with suppress(StorageFailed):
                await self._users.look()

    def invite(self) -> str | None:
        """The code of an invitation, where nobody could come in otherwise."""
        return self._users.invite() if self._users.nobody and not self._users.open else None

    @property
    def open(self) -> bool:
        """Whether whoever reaches the server may do everything."""
        return self._users.open

    def _ended(self, session: Session, run: Run, reason: str) -> None:
        self._counts.runs[reason] += 1
        tell(
            _log, logging.INFO, "reply ended", session=session.id, run=run.run_id, reason=reason,
            characters=run.text.length, reasoning=run.reasoning.length,
        )  # fmt: skip

    def _gauges(self) -> Gauges:
        sessions, idle = self.sessions.in_memory
        return Gauges(
            connections=self._hub.attached_connections,
            watchers=self._watchers.number,
            sessions=sessions,
            idle_sessions=idle,
            runs=0 if self._runs is None else self._runs.number,
            users=self._users.number,
            database=self._store.path,
        )

    def _offered(self, names: tuple[str, ...]) -> None:
        first = not self._offer.models
        self._offer = msgspec.structs.replace(self._offer, models=names)
        model = self._offer.model
        if first and names and model is not None and not offers(self._offer, model):
            # Late: few ever mistype a model.
            import difflib

            nearest = ", ".join(difflib.get_close_matches(model, names))
            hint = f"it has {nearest}" if nearest else "`backchat models`, with the same --base-url, lists what it has"
            _log.warning("The endpoint does not list the model %r; %s.", model, hint)

    async def drain(self) -> None:
        """Ends every live run, keeping what it wrote; returns once that is durable. Waits for no request's body."""
        self._api.drain()
        self._health.drain()
        self._hub.close()
        self._watchers.close()
        await self.sessions.interrupt_runs()

    async def close(self) -> None:
        """Ends what still runs, closes the store, once all that was enqueued is durable, and lets go of the data
        directory."""
        try:
            if self._models is not None and self._runs is not None and self._backend is not None:
                await self._models.close()
                await self._runs.close()
                await self._backend.close()
        finally:
            await self._store.close()
            self._lock.release()

    # WebSockets.

    async def _watch(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            admission = await self._access.admit(websocket.headers)
            if websocket.query_params:
                raise InvalidParams(f"There is no query parameter {min(websocket.query_params)!r}.")
        except BackchatError as error:
            await close(websocket, error.close, str(error), self._settings.send_seconds)
            return
        outbox = Outbox(self._limits.outbox_frames, self._limits.outbox_characters)
        self._counts.watchers += 1

        def end(error: BackchatError) -> None:
            outbox.close(error.close, str(error))

        self._users.enter(admission, end)
        try:
            await watch(websocket, self._watchers.of(admission.owner), outbox, self._limits.send_seconds)
        finally:
            self._users.leave(end)

    async def _socket(self, websocket: WebSocket) -> None:
        # Accepted first: only an open WebSocket can be told a close code.
        await websocket.accept()
        try:
            admission = await self._access.admit(websocket.headers)
            after, log, name = _asked(websocket.query_params, admission.owner)
            session_id = websocket.path_params.get("session_id")
            take_command = partial(self._commands.take, caller(websocket.scope, admission.owner))
            if session_id is not None:
                opened = self.sessions.use(admission.owner, session_id)
            elif (after, log) == (None, None):
                take_command()
                opened = self.sessions.create(admission.owner, Created())
            else:
                raise InvalidParams("A new session has nothing to resume: after and log go with /ws/ID.")
            async with opened as session:
                connection = Connection(
                    websocket, session, name, self._rendering, self._limits, self._counts, take_command
                )
                # Not as contexts: each would be a frame more, for as long as the connection lasts.
                self._users.enter(admission, connection.end)
                began = self._opened(websocket, connection, session)
                try:
                    await connection.serve(after, log)
                finally:
                    self._users.leave(connection.end)
                    self._closed(connection, session, began)
        except BackchatError as error:
            await close(websocket, error.close, str(error), self._settings.send_seconds)

    def _opened(self, websocket: WebSocket, connection: Connection, session: Session) -> float:
        self._counts.connections += 1
        client = None if websocket.client is None else websocket.client.host
        tell(
            _log, logging.INFO, "connection opened", connection=connection.who.connection, session=session.id,
            owner=session.owner, client=client,
        )  # fmt: skip
        return time.monotonic()

    def _closed(self, connection: Connection, session: Session, began: float) -> None:
        code = None if connection.outbox.closing is None else connection.outbox.closing[0]
        if code == TOO_SLOW:
            self._counts.slow += 1
        tell(
            _log, logging.INFO, "connection closed", connection=connection.who.connection, session=session.id,
            code=code, seconds=time.monotonic() - began,
        )  # fmt: skip


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. Raises DataDirectoryError, SettingError."""
    return Backchat(settings).asgi


def _locked(directory: Path) -> FileLock:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
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
    match settings.backend:
        case "echo":
            return Echo(settings.echo_delay)
        case "openai":
            # Late: it takes as long to import as all the rest together, and longer.
            from backchat.backends.openai import OpenAI

            return OpenAI(
                base_url=settings.base_url, model=settings.model, api_key=settings.api_key, retries=settings.retries
            )
        case _:
            return None


def _personalities(settings: Settings) -> dict[str, str]:
    if settings.prompts is not None:
        return personalities(settings.prompts)
    usual = settings.data / "prompts"
    return personalities(usual) if usual.is_dir() else {}


def _price(backend: Backend | None, model: str, usage: Usage) -> float | None:
    if backend is None:
        return None
    try:
        return backend.price(model, usage)
    except Exception:  # noqa: BLE001
        # Ops look prices up; a defect in somebody's price list may cost a figure, never a session.
        _log.exception("the price of %s could not be looked up", model)
        return None


def _no_models() -> None:
    """There is nothing to ask."""


def _no_run(session: Session, run: Run) -> None:
    raise AssertionError(f"nothing replies, but {session.id} has a run {run.run_id}")


def _asked(query: QueryParams, owner: str) -> tuple[int | None, str | None, str]:
    """`after`, `log` and `name`. A user who gives no name goes by their own; for others one is made up. Raises
    InvalidParams."""
    if unknown := set(query) - {"after", "log", "name"}:
        raise InvalidParams(f"There is no query parameter {min(unknown)!r}.")
    usual = made_up_name(secrets.choice) if owner == OWNER else owner
    name = checked_name(query["name"]) if "name" in query else usual
    return whole_number(query, "after", 0, MOST_REVISION), query.get("log"), name
