"""Chats as Open WebUI exports them: `chat.history`, a tree of messages by id, beside what is known of the chat."""

from collections.abc import Iterable
from typing import Any, Final

from backchat.errors import InvalidParams
from backchat.exports import (
    Broken,
    Imported,
    Outline,
    is_text,
    named,
    nodes_of,
    outline,
    own_id,
    planted,
    put,
    taken,
)
from backchat.frames import check_value
from backchat.transcript import Created, Message, Usage

MILLISECONDS: Final = 1e11
"""Times from here on are in milliseconds: in seconds it is the year 5138, in milliseconds 1973."""

MOST_TOKENS: Final = 2**40
"""Counts of tokens from here on are not believed: a session adds them up, in 64 bits."""


def is_chat(value: dict[str, Any]) -> bool:
    """Whether this looks like a chat, be it a broken one; in older exports it is the `chat` alone."""
    if "chat" in value:
        chat = value["chat"]
        return isinstance(chat, dict) and ("history" in chat or "messages" in chat)
    history = value.get("history")
    return isinstance(history, dict) and "messages" in history


def chat(value: dict[str, Any], now: float) -> Imported:
    """A chat as a session. `now` is the time of one that has none. Raises Broken."""
    if "chat" not in value:
        value = {"chat": value}
    extra = dict(value)
    inner = dict(extra.pop("chat"))
    history = inner.pop("history", None)
    if not isinstance(history, dict):
        raise Broken("its chat has no history")
    history = dict(history)
    nodes = nodes_of(history.pop("messages", None), "its history")
    try:
        check_value([extra, inner, history], nul=True)
    except InvalidParams as error:
        raise Broken(str(error)) from error
    session_id = own_id({"id": inner.get("id"), **value}, ("id",))
    for fields in (extra, inner):
        taken(fields, "id", lambda own: own == session_id)
    if _is_shown_again(inner.get("messages"), nodes):
        del inner["messages"]
    created_at, updated_at = _moment(extra, "created_at"), _moment(extra, "updated_at")
    if created_at is None:
        created_at = _seconds(inner.get("timestamp"))
    first = now if created_at is None else created_at
    rest = {key: nodes[key] for key in _strays(nodes)}
    nodes = {key: node for key, node in nodes.items() if key not in rest}
    shape = outline(nodes, "parentId", "childrenIds", lambda node: _seconds(node.get("timestamp")) or 0.0)
    messages = {key: _message(key, nodes[key], first, shape) for key in shape.order}
    added, head = planted(shape, messages, history.get("currentId"))
    taken(history, "currentId", lambda current: isinstance(current, str) and current in messages)
    if rest:
        history["messages"] = rest
    if history:
        inner["history"] = history
    title, model, system = _title(extra, inner), _model(inner), _system(inner)
    if inner:
        extra["chat"] = inner
    created = Created(
        title=title,
        model=model,
        system=system,
        created_at=first,
        extra=extra or None,
    )
    return Imported(id=session_id, created=created, messages=added, head=head, updated_at=updated_at)


def _title(extra: dict[str, Any], inner: dict[str, Any]) -> str | None:
    title: str | None = taken(extra, "title", is_text)
    if title is None:
        title = taken(inner, "title", is_text)
    else:
        taken(inner, "title", lambda again: again == title)
    return title


def _model(inner: dict[str, Any]) -> str | None:
    """The first of the models that were asked side by side. The field stays: there may be more."""
    models = inner.get("models")
    first = models[0] if isinstance(models, list) and models else None
    return first if isinstance(first, str) and first else None


def _system(inner: dict[str, Any]) -> str | None:
    if not isinstance(inner.get("params"), dict):
        return None
    inner["params"] = params = dict(inner["params"])
    system: str | None = taken(params, "system", lambda text: isinstance(text, str) and bool(text.strip()))
    return system


def _is_shown_again(messages: Any, nodes: dict[str, dict[str, Any]]) -> bool:
    """Whether this is the visible path again, and says nothing that the tree does not."""
    if not isinstance(messages, list):
        return False
    for message in messages:
        key = message.get("id") if isinstance(message, dict) else None
        if not isinstance(key, str) or key not in nodes or message.get("content") != nodes[key].get("content"):
            return False
    return True


def _strays(nodes: dict[str, dict[str, Any]]) -> Iterable[str]:
    """Nodes that never became messages: Open WebUI is known to leave such behind when a reply is cut off early, with
    neither a role nor a place in the tree (open-webui issues 15189 and 26257)."""
    parents = {node["parentId"] for node in nodes.values() if isinstance(node.get("parentId"), str)}
    for key, node in nodes.items():
        if node.keys().isdisjoint({"role", "parentId", "childrenIds"}) and key not in parents:
            yield key


def _message(key: str, node: dict[str, Any], first: float, shape: Outline) -> Message:
    extra = dict(node)
    role = extra.pop("role", None)
    if not isinstance(role, str) or not role:
        raise Broken(f"the message {named(key)} has no role")
    content = extra.pop("content", None)
    extra.pop("parentId", None)
    taken(extra, "childrenIds", lambda listed: listed == shape.children.get(key, []))
    if node.get("id") != key:
        put(extra, "key", key)
    created_at = _moment(extra, "timestamp")
    finish, note = _end(role, content, extra)
    return Message(
        id=0,
        role=role,
        content=content,
        created_at=first if created_at is None else created_at,
        finish=finish,
        model=taken(extra, "model", is_text),
        usage=_usage(extra),
        note=note,
        extra=extra or None,
    )


def _end(role: str, content: Any, extra: dict[str, Any]) -> tuple[str | None, str | None]:
    """How a reply ended, where it did not end well, and a sentence about that."""
    error = extra.get("error")
    if error:
        # `{content}`, the text alone, or, in old exports, true.
        said = error.get("content") if isinstance(error, dict) else error
        return "failed", said if isinstance(said, str) and said.strip() else None
    if role == "assistant" and content and extra.get("done") is False:
        return "interrupted", None
    return None, None


def _moment(fields: dict[str, Any], name: str) -> float | None:
    """The time in a field, in seconds; the field is taken where it is in seconds, too."""
    at = _seconds(fields.get(name))
    taken(fields, name, lambda value: at is not None and value == at)
    return at


def _seconds(value: Any) -> float | None:
    """A time in seconds, from one in seconds or milliseconds; None for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MILLISECONDS * 1000:
        return None
    return value / 1000 if value >= MILLISECONDS else float(value)


def _usage(extra: dict[str, Any]) -> Usage | None:
    """What a reply took. The field stays: it says more than is meant here."""
    info = extra.get("info")
    # Old exports have it as `info`, or in it.
    for found in (extra.get("usage"), info.get("usage") if isinstance(info, dict) else None, info):
        if not isinstance(found, dict):
            continue
        read = _count(found, "input_tokens", "prompt_tokens", "prompt_eval_count")
        written = _count(found, "output_tokens", "completion_tokens", "eval_count")
        if read is None and written is None:
            continue
        cached = _count(_details(found, "input_tokens_details", "prompt_tokens_details"), "cached_tokens")
        thought = _count(_details(found, "output_tokens_details", "completion_tokens_details"), "reasoning_tokens")
        return Usage(
            input_tokens=read or 0,
            output_tokens=written or 0,
            # Part of the others, by definition.
            cached_tokens=min(cached or 0, read or 0),
            reasoning_tokens=min(thought or 0, written or 0),
        )
    return None


def _count(fields: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS:
            return value
    return None


def _details(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((value for name in names if isinstance(value := fields.get(name), dict)), {})
