"""Transcripts as other programs write them: lists of `{role, content, …}`, and the JSON session store (see
`session_of`).

Pure: bytes in, messages out.
"""

import json
from typing import Any

from msgspec import Struct

from backchat.errors import InvalidParams
from backchat.frames import check_value
from backchat.transcript import Created, Message


class NotASession(Exception):
    """JSON that is well-formed and something else."""


class Broken(Exception):
    """A session that cannot be read; the message says why."""


class Imported(Struct, frozen=True, kw_only=True):
    """A session from elsewhere. `id` is None where it has none of its own; `updated_at` where it does not say."""

    id: str | None
    created: Created
    messages: list[Message]
    updated_at: float | None


def messages_of(values: list[Any], at: float, *, nul: bool = False) -> list[Message]:
    """Objects with a role and content as messages, numbered from 1. `at` is the time of those that have no timestamp.

    Raises InvalidParams for what is no message; a NUL in it is allowed with `nul`.
    """
    return [_message(number, value, at, nul) for number, value in enumerate(values, start=1)]


def _message(number: int, value: Any, at: float, nul: bool) -> Message:
    if not isinstance(value, dict):
        raise InvalidParams(f"Message {number} is no object.")
    try:
        check_value(value, nul=nul)
    except InvalidParams as error:
        raise InvalidParams(f"Message {number}: {error}") from error
    rest = dict(value)
    role = rest.pop("role", None)
    if not isinstance(role, str) or not role:
        raise InvalidParams(f"Message {number} has no role.")
    created_at = at
    if _is_time(rest.get("timestamp")):
        created_at = float(rest.pop("timestamp"))
    content = rest.pop("content", None)
    return Message(id=number, role=role, content=content, created_at=created_at, extra=rest or None)


def session_of(data: bytes, now: float) -> Imported:
    """The session in a file: an object with `session_id` and `messages`, or a bare list of messages.

    Fields that mean nothing here go to `extra`, so that nothing is lost. Raises NotASession and Broken.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Broken(f"it is not UTF-8 (byte {error.start})") from error
    if not text.strip():
        raise Broken("it is empty")
    try:
        # The standard library's reader: the files come from it, and it keeps integers of any size.
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise Broken("it is nested too deeply") from error
    except ValueError as error:
        raise Broken(f"it is not JSON: {error}") from error
    try:
        if isinstance(value, list):
            return _bare(value, now)
        if isinstance(value, dict):
            return _stored(value, now)
    except InvalidParams as error:
        raise Broken(str(error)) from error
    raise NotASession("it is neither an object nor a list")


def _bare(values: list[Any], now: float) -> Imported:
    if not any(isinstance(value, dict) and "role" in value for value in values):
        raise NotASession("it is a list, but not of messages")
    return Imported(
        id=None, created=Created(created_at=now), messages=messages_of(values, now, nul=True), updated_at=None
    )


def _stored(value: dict[str, Any], now: float) -> Imported:
    if "session_id" not in value:
        raise NotASession("it has no session_id")
    session_id = value["session_id"]
    messages = value.get("messages")
    if not isinstance(session_id, str):
        raise Broken("its session_id is no text")
    if not isinstance(messages, list):
        raise Broken("its messages are no list")
    extra = {name: field for name, field in value.items() if name not in ("session_id", "messages")}
    check_value(extra, nul=True)
    created_at = _taken(extra, "created_at", _is_time)
    updated_at = _taken(extra, "updated_at", _is_time)
    cost = _taken(extra, "estimated_cost", _is_cost)
    first = now if created_at is None else float(created_at)
    created = Created(
        title=_taken(extra, "title", _is_text),
        model=_taken(extra, "model", _is_text),
        workspace=_taken(extra, "workspace", _is_text),
        personality=_taken(extra, "personality", _is_text),
        created_at=first,
        input_tokens=_taken(extra, "input_tokens", _is_count) or 0,
        output_tokens=_taken(extra, "output_tokens", _is_count) or 0,
        estimated_cost=None if cost is None else float(cost),
        # Something that a person wrote and that was never sent: kept beside the transcript, never in it.
        pending=_taken(extra, "pending_user_message", _is_text),
        # Last: what was taken is gone by now.
        extra=extra or None,
    )
    return Imported(
        id=session_id,
        created=created,
        messages=messages_of(messages, first, nul=True),
        updated_at=None if updated_at is None else float(updated_at),
    )


def _taken(extra: dict[str, Any], name: str, fits: Any) -> Any:
    """Takes a field out of `extra` if it is what is meant here; otherwise it stays there as it is."""
    value = extra.get(name)
    if fits(value):
        del extra[name]
        return value
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_cost(value: Any) -> bool:
    return _is_count(value) or (isinstance(value, float) and value >= 0)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
