"""The wire (DESIGN section 4): what a client may send, as a closed union decoded once, and what it is sent.

JSON-RPC 2.0, with `jsonrpc` optional on the way in. Frames are encoded here and nowhere else.
"""

import json
import math
import re
from operator import attrgetter
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from backchat.commands import CommandInfo, check_text
from backchat.completion import Candidate
from backchat.errors import BackchatError, InvalidParams, InvalidRequest, ParseError, UnknownMethod
from backchat.reports import choice_fields, queue_fields, redo_steps, shown_model, spent_fields, status_fields
from backchat.transcript import Cause, Event, Message, State, Tree, splice
from backchat.views import Offer

PROTOCOL: Final = 1
MOST_OP_ID: Final = 64
MOST_MESSAGES: Final = 200
"""The most messages in a page."""
MOST_RENDERED: Final = 50
"""The most messages that are rendered at once."""
DEEPEST: Final = 64
"""How deeply content may be nested, so that every JSON library in the way can read it."""

DEEPEST_FRAME: Final = 256
"""How deeply a frame may be nested to be looked into at all."""

# Strings are matched to be passed over: their brackets do not count. Possessive, so that a long one costs no memory.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)

RequestId = str | int | float | None


# Client to server.


class SubmitParams(Struct, forbid_unknown_fields=True, frozen=True):
    """What a person typed (`text`), or content parts, which are never a command."""

    text: str | None = None
    content: list[dict[str, Any]] | None = None
    op_id: str | None = None
    if_revision: int | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.content is None):
            raise ValueError("Give either text or content.")
        if self.op_id is not None and not 0 < len(self.op_id) <= MOST_OP_ID:
            raise ValueError(f"op_id takes 1 to {MOST_OP_ID} characters.")
        if self.if_revision is not None and self.if_revision < 0:
            raise ValueError("if_revision cannot be negative.")


class MessagesParams(Struct, forbid_unknown_fields=True, frozen=True):
    """A page of the transcript: up to `limit` messages that end before index `before`."""

    before: int
    limit: int = MOST_MESSAGES

    def __post_init__(self) -> None:
        if self.before < 0:
            raise ValueError("before cannot be negative.")
        if not 1 <= self.limit <= MOST_MESSAGES:
            raise ValueError(f"limit goes from 1 to {MOST_MESSAGES}.")


class CompleteParams(Struct, forbid_unknown_fields=True, frozen=True):
    """What has been typed so far."""

    text: str


class RenderParams(Struct, forbid_unknown_fields=True, frozen=True):
    """Messages to render, by id, and the live run, from code point `after` of its text on."""

    messages: list[int] = []
    run_id: str | None = None
    after: int = 0

    def __post_init__(self) -> None:
        if len(self.messages) > MOST_RENDERED:
            raise ValueError(f"messages takes at most {MOST_RENDERED} ids.")
        if self.after < 0:
            raise ValueError("after cannot be negative.")


class _Request(Struct, tag_field="method", forbid_unknown_fields=True, frozen=True, kw_only=True):
    jsonrpc: Literal["2.0"] = "2.0"
    id: RequestId = None


class Submit(_Request, tag="submit", frozen=True, kw_only=True):
    params: SubmitParams


class Messages(_Request, tag="messages", frozen=True, kw_only=True):
    params: MessagesParams


class Complete(_Request, tag="complete", frozen=True, kw_only=True):
    params: CompleteParams


class Render(_Request, tag="render", frozen=True, kw_only=True):
    params: RenderParams


Request = Submit | Messages | Complete | Render

_METHODS: Final = {
    "submit": SubmitParams,
    "messages": MessagesParams,
    "complete": CompleteParams,
    "render": RenderParams,
}
_decoder: Final = msgspec.json.Decoder(Request)


class BadFrame(Exception):
    """A frame that is no request. `error` says why, `id` is the request's id as far as it could be read."""

    def __init__(self, error: BackchatError, request_id: RequestId = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.id = request_id


def decode(text: str) -> Request:
    """The request in one text frame: JSON-RPC if it begins with `{`, else what a person typed. Raises BadFrame."""
    if not text.startswith("{"):
        return Submit(params=SubmitParams(text=text))
    try:
        request: Request = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _diagnose(text, error) from error
    if isinstance(request, Submit):
        try:
            _check_submit(request.params)
        except BackchatError as error:
            raise BadFrame(error, request.id) from error
    return request


def _check_submit(params: SubmitParams) -> None:
    if params.content is not None:
        check_content(params.content)
    if params.op_id is not None:
        check_text(params.op_id)


def check_content(content: list[dict[str, Any]]) -> None:
    """Raises InvalidParams unless this is a list of content parts that can be kept and given back unchanged."""
    if not content:
        raise InvalidParams("content has no parts.")
    for part in content:
        if not isinstance(part.get("type"), str):
            raise InvalidParams("Each part of content needs a type, which is text.")
    check_value(content)


def check_value(value: Any, *, nul: bool = False, deepest: int = DEEPEST) -> None:
    """Raises InvalidParams where JSON is nested deeper than `deepest`, holds a number beyond any float, a lone
    surrogate or (unless `nul`) a NUL."""
    layer, depth = [value], 0
    while layer:
        if depth > deepest:
            raise InvalidParams(f"This is nested more than {deepest} levels deep.")
        below: list[Any] = []
        for item in layer:
            if isinstance(item, str):
                check_text(item, nul=nul)
            elif isinstance(item, float):
                if not math.isfinite(item):
                    raise InvalidParams("A number is out of range.")
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
        layer, depth = below, depth + 1


def _diagnose(text: str, error: Exception) -> BadFrame:
    # The slow path, for errors alone. The standard library reads what msgspec will not (lone surrogates), so what is
    # wrong can be told apart from what is not JSON.
    if _depth(text) > DEEPEST_FRAME:
        return BadFrame(ParseError("This is nested too deeply."))
    try:
        frame = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return BadFrame(ParseError("This is not JSON."))
    request_id = frame.get("id")
    if isinstance(request_id, str):
        try:
            check_text(request_id, nul=True)
        except InvalidParams:
            return BadFrame(InvalidRequest("The id of the request cannot be repeated."))
    if isinstance(request_id, bool) or not isinstance(request_id, RequestId):
        return BadFrame(InvalidRequest("The id of a request is a string or a number."))
    method = frame.get("method")
    if not isinstance(method, str):
        return BadFrame(InvalidRequest("A request needs a method, which is text."), request_id)
    if unknown := sorted(set(frame) - {"jsonrpc", "id", "method", "params"}):
        return BadFrame(InvalidRequest(f"A request has no {_shown(unknown[0])}."), request_id)
    if frame.get("jsonrpc", "2.0") != "2.0":
        return BadFrame(InvalidRequest("This server speaks JSON-RPC 2.0."), request_id)
    if method not in _METHODS:
        return BadFrame(UnknownMethod(f"There is no method {_shown(method)}."), request_id)
    if not isinstance(error, msgspec.ValidationError):
        # JSON that only msgspec refuses.
        return BadFrame(InvalidParams("The text has half of a surrogate pair in it."), request_id)
    return BadFrame(InvalidParams(f"The parameters of {method} are wrong: {_shown(str(error), 300)}"), request_id)


def _depth(text: str) -> int:
    """How deeply JSON is nested. What a parser can bear depends on the version of Python; this does not."""
    depth = deepest = 0
    for found in _BRACKETS.finditer(text):
        bracket = text[found.start()]
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def _shown(text: str, most: int = 60) -> str:
    # Safe to encode and to read, whatever a client made up.
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= most else text[:most] + "…"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Server to client.


class RunInfo(Struct, frozen=True, omit_defaults=True):
    """The live run, in `attached`: its text and its reasoning so far. `offset` counts the code points of the text."""

    run_id: str
    text: str
    offset: int
    reasoning: str = ""


class Who(Struct, frozen=True):
    """Somebody who is attached: the connection, and the name that was given or made up for it."""

    connection: str
    name: str


class Presence(Struct, frozen=True):
    """Who is attached to the session: how many, and the oldest of them. Neither stored nor part of any revision."""

    count: int
    present: list[Who]


class Attached(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The first notification of a connection: where the session is, and what the client needs to show it."""

    protocol: int
    log: str
    session: dict[str, Any]
    revision: int
    connection: str
    name: str
    presence: Presence
    backend: str
    run: RunInfo | None
    commands: list[CommandInfo]
    start: int | None = None
    messages: list[Message] | None = None
    reset: bool = False
    events: list[Raw] | None = None


class TranscriptSpliced(Struct, frozen=True, omit_defaults=True, kw_only=True):
    revision: int
    keep: int
    messages: list[Message]
    cause: Cause
    start: int | None = None


class SessionUpdated(Struct, frozen=True, kw_only=True):
    revision: int
    session: dict[str, Any]
    cause: Cause


class RunStarted(Struct, frozen=True):
    run_id: str


class RunDelta(Struct, frozen=True):
    """`offset` counts Unicode code points of the run's text before this piece."""

    run_id: str
    offset: int
    text: str


class RunReasoning(Struct, frozen=True):
    """What the model thinks before it answers; a text of its own, which `offset` counts like that of `run.delta`."""

    run_id: str
    offset: int
    text: str


class ErrorBody(Struct, frozen=True):
    """An error as clients are told of it (JSON-RPC 2.0, section 5.1); `data.code` is its stable name."""

    code: int
    message: str
    data: dict[str, Any]


class RunEnded(Struct, frozen=True, omit_defaults=True):
    run_id: str
    reason: str
    error: ErrorBody | None = None


class Watching(Struct, frozen=True):
    """The first notification of a connection that watches the list: from now on it is told what changes."""


class SessionsChanged(Struct, frozen=True):
    """Sessions that are new in the list or shown otherwise, and the ids of those that are deleted."""

    sessions: list[dict[str, Any]]
    deleted: list[str]


AnyDelta = RunDelta | RunReasoning
Notification = (
    Attached
    | TranscriptSpliced
    | SessionUpdated
    | RunStarted
    | AnyDelta
    | RunEnded
    | Presence
    | Watching
    | SessionsChanged
)

_NAMES: Final[dict[type, str]] = {
    Attached: "attached",
    TranscriptSpliced: "transcript.spliced",
    SessionUpdated: "session.updated",
    RunStarted: "run.started",
    RunDelta: "run.delta",
    RunReasoning: "run.reasoning",
    RunEnded: "run.ended",
    Presence: "presence",
    Watching: "watching",
    SessionsChanged: "sessions.changed",
}


class _Sent(Struct, frozen=True):
    jsonrpc: str
    method: str
    params: Any


class _Bare(Struct, frozen=True):
    method: str
    params: Any


class _Replied(Struct, frozen=True):
    jsonrpc: str
    id: RequestId
    result: Any


class _Failed(Struct, frozen=True):
    jsonrpc: str
    id: RequestId
    error: ErrorBody


class Reply(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The result of a command (`command`, `data`, …) or of a message (`message_id`, `run_id`, or
    `queued_id` where it waits)."""

    command: str | None = None
    data: dict[str, Any] | None = None
    notice: str | None = None
    prefill: str | None = None
    message_id: int | None = None
    queued_id: int | None = None
    run_id: str | None = None
    revision: int
    replayed: bool = False


class Page(Struct, frozen=True):
    """The result of `messages`: a page that begins at index `start` of the transcript."""

    messages: list[Message]
    start: int


class Completion(Struct, frozen=True):
    """The result of `complete`: what could stand from index `start` of the text on, in code points."""

    start: int
    candidates: list[Candidate]


class RenderedMessage(Struct, frozen=True):
    """The HTML of each text block of a message's content, in order; null where one is not rendered."""

    id: int
    html: list[str | None]


class RenderedRun(Struct, frozen=True):
    """A live run's text from `after` to `end`, as HTML, in code points: `html` reaches up to `until` and stays as it is
    whatever is still written, `tail` is the rest; null, and `html` empty, where that is not rendered."""

    run_id: str
    after: int
    until: int
    end: int
    html: str
    tail: str | None


class Rendered(Struct, frozen=True):
    """The result of `render`: the first of the messages, one at the least, and the run, null where it is not live."""

    messages: list[RenderedMessage]
    run: RenderedRun | None


Result = Reply | Page | Completion | Rendered

_encode = msgspec.json.Encoder().encode


def notification(params: Notification) -> str:
    """A notification as a text frame."""
    return _encode(_Sent("2.0", _NAMES[type(params)], params)).decode()


def bare_notification(params: Notification) -> Raw:
    """A notification as `{method, params}`, for the `events` of `attached`."""
    return Raw(_encode(_Bare(_NAMES[type(params)], params)))


def reply(request_id: RequestId, result: Result) -> str:
    """The reply to a request as a text frame."""
    return _encode(_Replied("2.0", request_id, result)).decode()


def error_body(error: BackchatError) -> ErrorBody:
    """An error as clients are told of it, on the socket and over HTTP."""
    return ErrorBody(error.number, str(error), error.data)


def error_reply(request_id: RequestId, error: BackchatError) -> str:
    """An error in reply to a request as a text frame."""
    return _encode(_Failed("2.0", request_id, error_body(error))).decode()


# What clients are told of an event.

_FIELDS: Final = (
    "title",
    "workspace",
    "personality",
    "system",
    "created_at",
    "queue_paused",
)
_fields_of: Final = attrgetter(*_FIELDS)
_seldom: Final = attrgetter(*_FIELDS, "model", "model_chosen", "queue", "spent")
"""What few events change."""


def session_fields(session_id: str, state: State, offer: Offer, tree: Tree, running: bool) -> dict[str, Any]:
    """The fields of /status, what was spent and which model is next: the `session` of `attached`."""
    status = status_fields(session_id, state, offer, tree[state.head].depth, running)
    return {**status, **spent_fields(state.spent), **choice_fields(state, offer)}


def notifications(event: Event, before: State, after: State, offer: Offer, tree: Tree) -> list[Notification]:
    """What a connected client is sent for one event, in order: the splice first, so that a client which lost the rest
    is healed by the `session` of its next `attached`."""
    sent: list[Notification] = []
    spliced = splice(before, after, tree)
    if spliced is not None:
        sent.append(
            TranscriptSpliced(
                revision=event.revision,
                keep=spliced.keep,
                messages=spliced.messages,
                cause=event.cause,
                start=spliced.start,
            ),
        )
    changed = _changed_seldom(before, after, offer) if _seldom(after) != _seldom(before) else {}
    if after.updated_at != before.updated_at:
        changed["updated_at"] = after.updated_at
    if spliced is not None and (count := tree.nodes[after.head].depth) != tree.nodes[before.head].depth:
        changed["message_count"] = count
    if (steps := redo_steps(after)) != redo_steps(before):
        changed["redo_steps"] = steps
    if changed or not sent:
        # Even where nothing shows: a client's revision is that of the last notification it got.
        sent.append(SessionUpdated(revision=event.revision, session=changed, cause=event.cause))
    return sent


def _changed_seldom(before: State, after: State, offer: Offer) -> dict[str, Any]:
    now, was = _fields_of(after), _fields_of(before)
    changed = {name: new for name, new, old in zip(_FIELDS, now, was, strict=True) if new != old}
    if (model := shown_model(after, offer)) != shown_model(before, offer):
        changed["model"] = model
    if (choice := choice_fields(after, offer)) != choice_fields(before, offer):
        changed |= choice
    if after.queue != before.queue:
        changed["queue"] = queue_fields(after)
    if after.spent != before.spent:
        changed |= spent_fields(after.spent)
    return changed
