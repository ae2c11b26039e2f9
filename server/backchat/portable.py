"""Sessions as files: all of one as JSON, which an import takes back, and its transcript as Markdown.

The JSON is an object with the fields of `Document`, and no others; a format that has more gets another version.

Pure: a session in, text out, and back.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from backchat.commands import WHITE_SPACE
from backchat.errors import InvalidParams
from backchat.exports import Broken, Imported, check_number, is_count, is_time
from backchat.frames import DEEPEST, check_value
from backchat.transcript import (
    Added,
    Created,
    Message,
    ModelChosen,
    Origin,
    Queued,
    QueuePaused,
    State,
    Tree,
    Usage,
    content_size,
    path,
    text_of,
)
from backchat.views import Decided

FORMAT: Final = "backchat"
VERSION: Final = 1
MOST_NAME: Final = 80
"""How many characters the name of a file has, before its ending."""
MOST_NAME_BYTES: Final = 240
"""How many bytes: file systems end at 255."""
WRAPPED: Final = 5
"""How many levels deeper than in another program's file its fields may stand in one of ours."""
MOST_WAITING: Final = 1000
"""How many messages may wait in a file: each takes time in proportion to those before it."""


class Exported(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """A message in a file: the fields of `transcript.Message` that mean something elsewhere, and the id of the message
    above it, 0 for none. The ids count from 1, and a message comes after its parent."""

    id: int
    parent: int
    role: str
    content: Any
    created_at: float
    finish: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    reasoning: str | None = None
    note: str | None = None
    extra: dict[str, Any] | None = None
    original: Origin | None = None


class Document(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A session in a file.

    `head` is the id of the last message on screen, 0 for none; `model` the one that replies, if a person chose it, else
    the one that last did; `queue` the content of what waits to be sent. The token counts and the cost are what the
    session had used before it came here; each message says what it took itself. `extra` is what another program's file
    said of it.
    """

    format: Literal["backchat"]
    version: Literal[1]
    session_id: str
    title: str | None
    model: str | None
    model_chosen: bool
    workspace: str | None
    personality: str | None
    system: str | None
    created_at: float
    updated_at: float
    input_tokens: int
    output_tokens: int
    estimated_cost: float | None
    branched_from: Origin | None
    extra: dict[str, Any] | None
    queue: list[Any]
    head: int
    messages: list[Exported]


def to_json(session_id: str, created: Created, state: State, tree: Tree) -> bytes:
    """A session with all its branches. `created` is its first event."""
    document = Document(
        format="backchat",
        version=1,
        session_id=session_id,
        title=state.title,
        model=state.model,
        model_chosen=state.model_chosen,
        workspace=state.workspace,
        personality=state.personality,
        system=state.system,
        created_at=state.created_at,
        updated_at=state.updated_at,
        input_tokens=state.imported.input_tokens,
        output_tokens=state.imported.output_tokens,
        estimated_cost=state.imported.cost,
        branched_from=state.branched_from,
        extra=created.extra,
        queue=[waiting.content for waiting in state.queue],
        head=state.head,
        messages=[_exported(tree, message_id) for message_id in range(1, state.last_message + 1)],
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _exported(tree: Tree, message_id: int) -> Exported:
    node = tree[message_id]
    message = node.message
    return Exported(
        id=message.id,
        parent=node.parent.id,
        role=message.role,
        content=message.content,
        created_at=message.created_at,
        finish=message.finish,
        model=message.model,
        usage=message.usage,
        cost=message.cost,
        reasoning=message.reasoning,
        note=message.note,
        extra=message.extra,
        original=message.original,
    )


def is_document(value: dict[str, Any]) -> bool:
    """Whether this looks like a session of ours, be it a broken one or of another version."""
    return value.get("format") == FORMAT and "version" in value


def session(value: dict[str, Any], now: float) -> Imported:
    """A session out of JSON. Raises Broken."""
    del now
    if value["version"] != VERSION:
        raise Broken(f"its version is {value['version']!r:.40}, and only {VERSION} is known here")
    try:
        _check(value)
        document = msgspec.convert(value, Document)
    except (InvalidParams, msgspec.ValidationError) as error:
        raise Broken(str(error)) from error
    if not (is_time(document.created_at) and is_time(document.updated_at)):
        raise Broken("its times are no times")
    if not (is_count(document.input_tokens) and is_count(document.output_tokens) and _is_cost(document.estimated_cost)):
        raise Broken("its token counts or its cost are out of range")
    if len(document.queue) > MOST_WAITING:
        raise Broken(f"its queue has more than {MOST_WAITING} messages")
    if not all(map(_can_wait, document.queue)):
        raise Broken("its queue has something that is no message")
    messages = [_message(number, exported) for number, exported in enumerate(document.messages, start=1)]
    if not 0 <= document.head <= len(messages):
        raise Broken(f"its head is message {document.head}, which is not there")
    created = Created(
        title=document.title,
        model=document.model,
        workspace=document.workspace,
        personality=document.personality,
        created_at=document.created_at,
        input_tokens=document.input_tokens,
        output_tokens=document.output_tokens,
        estimated_cost=document.estimated_cost,
        extra=document.extra,
        system=document.system,
        branched_from=document.branched_from,
    )
    return Imported(
        id=document.session_id,
        created=created,
        messages=messages,
        head=document.head,
        updated_at=document.updated_at,
        further=tuple(Decided(body, document.head) for body in _further(document)),
    )


def _check(value: dict[str, Any]) -> None:
    # Each content by itself may be as deep as one that a client sends.
    messages = value.get("messages")
    queue = value.get("queue")
    if isinstance(messages, list):
        check_number(messages)
    for one in messages if isinstance(messages, list) else ():
        for part in one.values() if isinstance(one, dict) else (one,):
            check_value(part, nul=True)
    for one in queue if isinstance(queue, list) else (queue,):
        check_value(one, nul=True)
    rest = {name: part for name, part in value.items() if name not in ("messages", "queue")}
    check_value(rest, nul=True, deepest=DEEPEST + WRAPPED)


def _message(number: int, exported: Exported) -> Added:
    if exported.id != number or not 0 <= exported.parent < number:
        raise Broken(f"message {number} is out of order: its id is {exported.id}, its parent {exported.parent}")
    if not exported.role:
        raise Broken(f"message {number} has no role")
    usage = exported.usage or Usage()
    counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
    if not (is_time(exported.created_at) and all(map(is_count, counts)) and _is_cost(exported.cost)):
        raise Broken(f"the time, the usage or the cost of message {number} is out of range")
    message = Message(
        id=number,
        role=exported.role,
        content=exported.content,
        created_at=exported.created_at,
        finish=exported.finish,
        model=exported.model,
        usage=exported.usage,
        cost=exported.cost,
        reasoning=exported.reasoning,
        note=exported.note,
        extra=exported.extra,
        original=exported.original,
    )
    return Added(message, exported.parent, content_size(message))


def _can_wait(content: Any) -> bool:
    """Whether this is what a client could have sent: text, or content parts."""
    if isinstance(content, list):
        return bool(content) and all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content)
    return isinstance(content, str) and bool(content.strip(WHITE_SPACE))


def _is_cost(value: float | None) -> bool:
    return value is None or value >= 0


def _further(document: Document) -> list[ModelChosen | Queued | QueuePaused]:
    """What the first event of the session cannot say."""
    further: list[ModelChosen | Queued | QueuePaused] = []
    if document.model_chosen and document.model is not None:
        further.append(ModelChosen(document.model))
    if document.queue:
        further += [Queued(number, content) for number, content in enumerate(document.queue, start=1)]
        # Nothing is sent by itself after an import.
        further.append(QueuePaused())
    return further


# Markdown.

_HTML: Final = re.compile(r"<(?=[a-zA-Z/!?])")
_TICKS: Final = re.compile(r"`+")
_FENCE: Final = re.compile(r"(`{3,})[^`]*|(~{3,}).*")
_UNSAFE: Final = re.compile('[\\x00-\\x1f\\x7f"*/:<>?\\\\|\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+')
"""What a name of a file cannot have everywhere, or what would make it look like another."""


def to_markdown(state: State, tree: Tree, when: Callable[[float], str]) -> str:
    """The transcript on screen, for people to read. `when` writes a time.

    What somebody wrote stands in a quotation, with its HTML taken apart, so nothing in it can look like a message or
    the end of one to a program that shows Markdown.
    """
    pieces = [f"# {_named(state.title or 'Untitled session')}"]
    if state.system:
        pieces.append(_folded("System prompt", _quoted(state.system)))
    for message in path(tree[state.head]):
        pieces += _message_pieces(message, when)
    return "\n\n".join(pieces) + "\n"


def _message_pieces(message: Message, when: Callable[[float], str]) -> list[str]:
    by = f" ({_named(message.model)})" if message.model else ""
    pieces = [f"## {_named(message.role.capitalize())}{by}, {when(message.created_at)}"]
    if message.reasoning:
        pieces.append(_folded("Reasoning", _quoted(message.reasoning)))
    pieces += [_quoted(text) for text in _texts(message.content)]
    calls = (message.extra or {}).get("tool_calls")
    if calls:
        pieces.append(_folded("Tool calls", _fenced(calls)))
    if message.finish not in (None, "completed"):
        said = f": {_named(message.note)}" if message.note else ""
        pieces.append(f"*{_named(str(message.finish)).capitalize()}{said}*")
    return pieces


def _texts(content: Any) -> list[str]:
    if content is None or isinstance(content, str):
        return [content] if content else []
    if not isinstance(content, list):
        return [_fenced(content)]
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        texts.append(text_of([part]) if kind == "text" else f"*{_named(str(kind or 'something else'))}, not shown*")
    return [text for text in texts if text]


def _named(name: str) -> str:
    """A name on one line."""
    return _HTML.sub("&lt;", " ".join(name.split()))


def _folded(summary: str, text: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def _fenced(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in _TICKS.findall(text)), 0)
    return f"{fence}json\n{text}\n{fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in _without_html(text.splitlines()))


def _without_html(lines: Iterable[str]) -> Iterator[str]:
    """Lines without the angle brackets that could begin HTML, but for those in what is certain to be code: between
    fences at the start of a line, and between ticks in one line. In other code their entity is seen instead."""
    closes: re.Pattern[str] | None = None
    certain = whole = True
    for line in lines:
        if closes is not None:
            yield line
            if closes.fullmatch(line):
                closes = None
            continue
        fence = _FENCE.fullmatch(line) if certain else None
        if fence is not None:
            ticks = fence[1] or fence[2]
            closes = re.compile(f" {{0,3}}{ticks[0]}{{{len(ticks)},}}[ \\t]*")
            whole = True
            yield line
            continue
        # Perhaps a fence within a list or the like, whose end only a parser could tell.
        certain = certain and "```" not in line and "~~~" not in line
        if not line.strip():
            whole = True
        line, whole = _without_tags(line, whole)
        yield line


def _without_tags(line: str, whole: bool) -> tuple[str, bool]:
    """The same for one line, with whether ticks mean there what they mean in it: `whole` says so of it and those above
    it, up to an empty line."""
    # A bar may end a table's cell, and what is between ticks with it.
    if "`" in line and (not whole or "|" in line or "\\`" in line):
        return _HTML.sub("&lt;", line), False
    pieces = []
    start = 0
    while opening := _TICKS.search(line, start):
        closing = next((one for one in _TICKS.finditer(line, opening.end()) if one[0] == opening[0]), None)
        if closing is None:
            whole = False
            break
        pieces += [_HTML.sub("&lt;", line[start : opening.start()]), line[opening.start() : closing.end()]]
        start = closing.end()
    return "".join([*pieces, _HTML.sub("&lt;", line[start:])]), whole


def file_name(title: str | None, otherwise: str) -> str:
    """The name of a file for a session with this title, without its ending."""
    name = " ".join(_UNSAFE.sub(" ", title or "").split()).strip(". ")
    return name[:MOST_NAME].encode()[:MOST_NAME_BYTES].decode(errors="ignore").rstrip(". ") or otherwise
