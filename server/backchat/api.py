"""The HTTP API (JSON, but for files): the list of sessions, what they are and what is done to them from there, and
signing in."""

import asyncio
import base64
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import anyio.to_thread
import msgspec
from msgspec import Struct
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from backchat import frames
from backchat.access import COOKIE, Access, retry_after
from backchat.choices import checked_title
from backchat.commands import check_text, describe
from backchat.errors import BackchatError, InvalidParams, ParseError, TimedOut, TooLarge, Unauthorized, UnknownMethod
from backchat.limits import Rates, caller
from backchat.logs import tell
from backchat.registry import Sessions
from backchat.store.base import Loaded, Place, Summary
from backchat.transcript import Created, Message
from backchat.words import MOST_QUERY

MOST_SESSIONS: Final = 200
"""The most sessions in one page of the list."""
BODY_SECONDS: Final = 30.0
"""How long the body of a request may take to arrive, and how much longer one of these many bytes may:"""
BYTES_PER_SECOND: Final = 128 * 1024
STALL_SECONDS: Final = 30.0
"""How long nothing more of a body may arrive before it is given up."""
MOST_IMPORTS: Final = 2
"""How many files are in memory at once; the others wait to be read."""
MOST_FAILED: Final = 100
"""After how many sessions of a file that could not be imported the rest is left: the answer tells of each."""
MOST_NAME: Final = 255
"""The longest name of a file, in characters."""

_log = logging.getLogger("backchat.api")
_T = TypeVar("_T")
Handler = Callable[[Request, str], Awaitable[Response]]
"""Answers a request of somebody who may make it: the owner of the sessions that it is about."""


class _Login(Struct, forbid_unknown_fields=True):
    token: str


class _NewSession(Struct, forbid_unknown_fields=True):
    title: str | None = None
    messages: list[Any] = msgspec.field(default_factory=list)


class _Renaming(Struct, forbid_unknown_fields=True):
    title: str | None


class Api:
    """The routes, and what they need. `most_bytes` bounds the body of a request, `import_bytes` that of an import."""

    def __init__(
        self,
        sessions: Sessions,
        access: Access,
        rates: Rates,
        *,
        backend: str,
        most_bytes: int,
        import_bytes: int,
    ) -> None:
        self._sessions = sessions
        self._access = access
        self._rates = rates
        self._backend = backend
        self._most_bytes = most_bytes
        self._import_bytes = import_bytes
        self._importing = asyncio.Semaphore(MOST_IMPORTS)
        self._draining = False
        self._arriving: set[asyncio.Timeout] = set()

    def routes(self) -> list[BaseRoute]:
        """All but the sign-in want a token, where one is needed."""
        return [
            Route("/api/login", self._login, methods=["POST"]),
            Route("/api/sessions", self._signed_in(self._list), methods=["GET"]),
            Route("/api/sessions", self._signed_in(self._create), methods=["POST"]),
            Route("/api/sessions/{session_id}", self._signed_in(self._get), methods=["GET"]),
            Route("/api/sessions/{session_id}", self._signed_in(self._delete), methods=["DELETE"]),
            Route("/api/sessions/{session_id}", self._signed_in(self._rename), methods=["PATCH"]),
            Route("/api/sessions/{session_id}/restore", self._signed_in(self._restore), methods=["POST"]),
            Route("/api/sessions/{session_id}/export", self._signed_in(self._export), methods=["GET"]),
            Route("/api/import", self._signed_in(self._import), methods=["POST"]),
            Route("/api/complete", self._signed_in(self._complete), methods=["GET"]),
            Route("/api/commands", self._signed_in(self._commands), methods=["GET"]),
        ]

    def drain(self) -> None:
        """Waits no longer for bodies that are still arriving, and ends imports with the session they are at."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for limit in self._arriving:
            limit.reschedule(now)

    def _signed_in(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            admission = await self._access.admit(request.headers)
            if request.method not in ("GET", "HEAD"):
                self._rates.take(caller(request.scope, admission.owner))
            return await handler(request, admission.owner)

        return checked

    async def _login(self, request: Request) -> Response:
        # Whoever guesses does not get far.
        self._rates.take(caller(request.scope))
        body = await self._body(request, _Login)
        client = None if request.client is None else request.client.host
        try:
            cookie = await self._access.sign_in(body.token)
        except Unauthorized:
            tell(_log, logging.WARNING, "sign-in refused", client=client)
            raise
        tell(_log, logging.INFO, "signed in", client=client)
        response = json_response({})
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure, max_age=31536000)
        return response

    async def _list(self, request: Request, owner: str) -> Response:
        query = request.query_params
        if unknown := set(query) - ({"q", "limit"} if "q" in query else {"after", "limit"}):
            raise InvalidParams(f"There is no query parameter {min(unknown)!r}.")
        limit = whole_number(query, "limit", 1, MOST_SESSIONS)
        limit = 50 if limit is None else limit
        if "q" in query:
            return await self._search(owner, query["q"], limit)
        place = _place(query["after"]) if "after" in query else None
        # One more than asked for tells whether there are more.
        found = await self._sessions.list(owner, place, limit + 1)
        shown = found[:limit]
        following = _cursor(shown[-1]) if len(found) > limit else None
        return json_response({"sessions": [self._sessions.shown(summary) for summary in shown], "next": following})

    async def _search(self, owner: str, words: str, limit: int) -> Response:
        if len(words) > MOST_QUERY:
            raise InvalidParams(f"A search takes at most {MOST_QUERY} characters.")
        found = await self._sessions.search(owner, words, limit)
        sessions = [{**self._sessions.shown(one.summary), "match": one.match} for one in found]
        return json_response({"sessions": sessions, "next": None})

    async def _create(self, request: Request, owner: str) -> Response:
        body = await self._body(request, _NewSession)
        title = None if body.title is None else _title(body.title)
        messages = []
        if body.messages:
            messages = await anyio.to_thread.run_sync(_messages, body.messages, self._sessions.clock())
        async with self._sessions.create(owner, Created(title=title), messages) as session:
            return json_response(session.status, 201)

    async def _get(self, request: Request, owner: str) -> Response:
        async with self._sessions.use(owner, request.path_params["session_id"]) as session:
            return json_response(session.fields)

    async def _delete(self, request: Request, owner: str) -> Response:
        async with self._sessions.use(owner, request.path_params["session_id"]) as session:
            return json_response({"session_id": session.id, "deleted_at": await session.delete()})

    async def _rename(self, request: Request, owner: str) -> Response:
        body = await self._body(request, _Renaming)
        title = None if body.title is None else _title(body.title)
        async with self._sessions.use(owner, request.path_params["session_id"]) as session:
            await session.rename(title)
            return json_response(session.status)

    async def _restore(self, request: Request, owner: str) -> Response:
        session_id = request.path_params["session_id"]
        await self._sessions.restore(owner, session_id)
        return json_response({"session_id": session_id})

    async def _export(self, request: Request, owner: str) -> Response:
        query = request.query_params
        if unknown := set(query) - {"format"}:
            raise InvalidParams(f"There is no query parameter {min(unknown)!r}.")
        kind = query.get("format")
        if kind not in ("markdown", "json"):
            raise InvalidParams("format must be markdown or json.")
        loaded = await self._sessions.export(owner, request.path_params["session_id"])
        return await anyio.to_thread.run_sync(_markdown if kind == "markdown" else _json, loaded)

    async def _import(self, request: Request, owner: str) -> Response:
        query = request.query_params
        if unknown := set(query) - {"name"}:
            raise InvalidParams(f"There is no query parameter {min(unknown)!r}.")
        name = query.get("name", "")
        check_text(name)
        if len(name) > MOST_NAME:
            raise InvalidParams(f"The name of a file takes at most {MOST_NAME} characters.")
        # Not what a path before it, or the ending, says.
        stem = " ".join(re.split(r"[/\\]", name)[-1].removesuffix(".json").split()) or None
        told: dict[str, list[dict[str, Any]]] = {"imported": [], "skipped": [], "failed": []}
        async with self._importing:
            body = await self._read(request, self._import_bytes)
            tell(_log, logging.INFO, "import", owner=owner, bytes=len(body))
            async for one in self._sessions.bring_in(owner, body, stem):
                if one.outcome == "imported":
                    told["imported"].append({"session_id": one.commit.session_id, "title": one.title})
                else:
                    told["skipped" if one.outcome == "skipped" else "failed"].append(
                        {"name": name, "reason": one.reason}
                    )
                if len(told["failed"]) >= MOST_FAILED:
                    reason = f"after {MOST_FAILED} failures the rest of the file was not imported"
                    told["failed"].append({"name": name, "reason": reason})
                    break
                if self._draining:
                    told["failed"].append({"name": name, "reason": "the server went down before the end of the file"})
                    break
        return json_response(told)

    async def _complete(self, request: Request, _: str) -> Response:
        query = request.query_params
        if unknown := set(query) - {"text"}:
            raise InvalidParams(f"There is no query parameter {min(unknown)!r}.")
        return json_response(self._sessions.complete(query.get("text", "")))

    async def _commands(self, _: Request, __: str) -> Response:
        return json_response({"commands": describe(), "backend": self._backend})

    async def _body(self, request: Request, shape: type[_T]) -> _T:
        """The body of a request as JSON of this shape; an empty one counts as `{}`. Raises TimedOut, TooLarge,
        ParseError, InvalidParams."""
        body = await self._read(request, self._most_bytes)
        try:
            return msgspec.json.decode(body or b"{}", type=shape)
        except msgspec.ValidationError as error:
            raise InvalidParams(f"The request is wrong: {error}") from error
        except RecursionError as error:
            raise ParseError("This is nested too deeply.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ParseError("This is not JSON.") from error

    async def _read(self, request: Request, most: int) -> bytes:
        """The body of a request of at most so many bytes. Raises TimedOut, TooLarge."""
        if self._draining:
            # Whoever has waited until now is in no list of what `drain` ends.
            raise TimedOut("The server is going down.")
        body = bytearray()
        loop = asyncio.get_running_loop()
        end = loop.time() + BODY_SECONDS + most / BYTES_PER_SECOND
        try:
            async with asyncio.timeout_at(min(end, loop.time() + STALL_SECONDS)) as limit:
                self._arriving.add(limit)
                try:
                    async for chunk in request.stream():
                        body += chunk
                        if len(body) > most:
                            raise TooLarge(f"A request takes at most {most} bytes.")
                        if not self._draining:
                            limit.reschedule(min(end, loop.time() + STALL_SECONDS))
                finally:
                    self._arriving.discard(limit)
        except TimeoutError as error:
            raise TimedOut("The request took too long to arrive.") from error
        except ClientDisconnect as error:
            # Nobody hears the answer, but what is not answered would be logged as a defect.
            raise TimedOut("The request broke off.") from error
        return bytes(body)


async def error_response(_: Request, error: Exception) -> Response:
    """An error as a response: the exception handler for BackchatError."""
    assert isinstance(error, BackchatError)
    response = json_response({"error": frames.error_body(error)}, error.status)
    if isinstance(error, Unauthorized):
        # RFC 9110, section 11.6.1.
        response.headers["www-authenticate"] = "Bearer"
    if (seconds := retry_after(error)) is not None:
        response.headers["retry-after"] = seconds
    return response


async def no_route(_: Request, error: Exception) -> Response:
    """A path or a method that there is not: the exception handler for starlette's HTTPException."""
    assert isinstance(error, HTTPException)
    response = json_response({"error": frames.error_body(UnknownMethod(f"{error.detail}."))}, error.status_code)
    response.headers.update(error.headers or {})
    return response


def json_response(body: Any, status: int = 200) -> Response:
    """A response that nobody keeps."""
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


# On threads. What reads and writes files is imported there, late: a server starts without it.


def _messages(values: list[Any], now: float) -> list[Message]:
    from backchat.foreign import messages_of

    return messages_of(values, now)


def _markdown(loaded: Loaded) -> Response:
    from backchat.portable import to_markdown

    state = loaded.history[-1].after
    text = to_markdown(state, loaded.tree, _when)
    return _file(loaded, text.encode(), "md", "text/markdown; charset=utf-8")


def _json(loaded: Loaded) -> Response:
    from backchat.portable import to_json

    first = loaded.history[0]
    assert isinstance(first.event.body, Created)
    body = to_json(loaded.info.id, first.event.body, loaded.history[-1].after, loaded.tree)
    return _file(loaded, body, "json", "application/json")


def _file(loaded: Loaded, body: bytes, ending: str, media_type: str) -> Response:
    """A response that a browser saves as a file, named after the title (RFC 6266, RFC 8187)."""
    from backchat.portable import file_name

    name = f"{file_name(loaded.history[-1].after.title, loaded.info.id)}.{ending}"
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace("%", "_")
    headers = {
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
    }
    return Response(body, 200, headers, media_type=media_type)


def _when(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        # A file may say anything up to the year 33658.
        return f"{at:.0f} seconds after 1970"


def whole_number(query: QueryParams, name: str, least: int, most: int) -> int | None:
    """A query parameter that is a number; None where it is missing. Raises InvalidParams."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise InvalidParams(f"{name} must be a whole number from {least} to {most}.")
    return int(text)


def _title(text: str) -> str:
    check_text(text)
    return checked_title(text)


def _cursor(summary: Summary) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((summary.updated_at, summary.session_id))).decode()


def _place(cursor: str) -> Place:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[float, str])
    except ValueError as error:
        raise InvalidParams("after must be the `next` of an earlier page.") from error
