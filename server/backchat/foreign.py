"""Sessions as files have them: lists of `{role, content, …}`, the JSON session store, and exports of ChatGPT, of Open
WebUI and of our own (see `sessions_of`).

Pure: bytes in, messages out.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from backchat import chatgpt, openwebui, portable
from backchat.errors import InvalidParams
from backchat.exports import Broken, Imported, check_number, is_count, is_text, is_time, named, object_of, taken
from backchat.frames import check_value
from backchat.transcript import Created, Message, chained

Reader = Callable[[dict[str, Any], float], Imported]
"""Reads one session out of JSON. `now` is the time of one that has none. Raises Broken and InvalidParams."""


class NotASession(Exception):
    """JSON that is well-formed and something else."""


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
    if is_time(rest.get("timestamp")):
        created_at = float(rest.pop("timestamp"))
    content = rest.pop("content", None)
    return Message(id=number, role=role, content=content, created_at=created_at, extra=rest or None)


def sessions_of(data: bytes, now: float) -> Iterator[Imported | Broken]:
    """The sessions in a file, each as it is read, or what is wrong with it.

    A file holds one of the JSON session store (an object with `session_id` and `messages`), a bare list of messages,
    a conversation of ChatGPT, a chat of Open WebUI or a session of ours, or a list of these three. Fields that mean
    nothing here go to `extra`, so that nothing is lost. Raises NotASession.
    """
    try:
        value = _json(data)
        if isinstance(value, list):
            if any(isinstance(one, dict) and "role" in one for one in value):
                return iter((_bare(value, now),))
            if any(isinstance(one, dict) and _exported(one) for one in value):
                return _listed(value, now)
            raise NotASession("it is a list, but not of messages or conversations")
        if isinstance(value, dict):
            reader = _exported(value) or (_stored if "session_id" in value else None)
            if reader is None:
                raise NotASession("it has no session_id, and is no conversation")
            return iter((reader(value, now),))
    except Broken as reason:
        return iter((reason,))
    except InvalidParams as error:
        return iter((Broken(str(error)),))
    raise NotASession("it is neither an object nor a list")


def _json(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Broken(f"it is not UTF-8 (byte {error.start})") from error
    if not text.strip():
        raise Broken("it is empty")
    try:
        # The standard library's reader: the files come from it, and it keeps integers of any size.
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=object_of)
    except RecursionError as error:
        raise Broken("it is nested too deeply") from error
    except ValueError as error:
        raise Broken(f"it is not JSON: {error}") from error


def _exported(value: dict[str, Any]) -> Reader | None:
    """What reads an object out of an export; None for what is none."""
    if portable.is_document(value):
        return portable.session
    if chatgpt.is_conversation(value):
        return chatgpt.conversation
    return openwebui.chat if openwebui.is_chat(value) else None


def _listed(values: list[Any], now: float) -> Iterator[Imported | Broken]:
    for number, value in enumerate(values, start=1):
        place = f"conversation {number}"
        if not isinstance(value, dict):
            yield Broken("it is no object", place)
            continue
        if isinstance(title := value.get("title"), str) and title:
            place += f" ({named(title)})"
        reader = _exported(value)
        if reader is None:
            yield Broken("it has neither a mapping nor a chat", place)
            continue
        try:
            yield msgspec.structs.replace(reader(value, now), place=place)
        except (Broken, InvalidParams) as reason:
            yield Broken(str(reason), place)


def _bare(values: list[Any], now: float) -> Imported:
    check_number(values)
    messages = chained(messages_of(values, now, nul=True))
    return Imported(id=None, created=Created(created_at=now), messages=messages, head=len(messages), updated_at=None)


def _stored(value: dict[str, Any], now: float) -> Imported:
    session_id = value["session_id"]
    messages = value.get("messages")
    if not isinstance(session_id, str):
        raise Broken("its session_id is no text")
    if not isinstance(messages, list):
        raise Broken("its messages are no list")
    check_number(messages)
    extra = {name: field for name, field in value.items() if name not in ("session_id", "messages")}
    check_value(extra, nul=True)
    created_at = taken(extra, "created_at", is_time)
    updated_at = taken(extra, "updated_at", is_time)
    cost = taken(extra, "estimated_cost", _is_cost)
    first = now if created_at is None else float(created_at)
    created = Created(
        title=taken(extra, "title", is_text),
        model=taken(extra, "model", is_text),
        workspace=taken(extra, "workspace", is_text),
        personality=taken(extra, "personality", is_text),
        created_at=first,
        input_tokens=taken(extra, "input_tokens", is_count) or 0,
        output_tokens=taken(extra, "output_tokens", is_count) or 0,
        estimated_cost=None if cost is None else float(cost),
        # Something that a person wrote and that was never sent: kept beside the transcript, never in it.
        pending=taken(extra, "pending_user_message", is_text),
        # Last: what was taken is gone by now.
        extra=extra or None,
    )
    return Imported(
        id=session_id,
        created=created,
        messages=chained(messages_of(messages, first, nul=True)),
        head=len(messages),
        updated_at=None if updated_at is None else float(updated_at),
    )


def _is_cost(value: Any) -> bool:
    return is_count(value) or (isinstance(value, float) and value >= 0)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
