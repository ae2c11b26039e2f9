"""Conversations as a ChatGPT data export has them: `mapping`, a tree of nodes, each with a message or without.

The format is not documented by those who make it; this goes by exports. Newer ones leave out `children`, and
`metadata` of many messages.
"""

from typing import Any

from backchat.errors import InvalidParams
from backchat.exports import (
    Broken,
    Imported,
    Outline,
    is_text,
    is_time,
    named,
    nodes_of,
    outline,
    own_id,
    planted,
    put,
    taken,
)
from backchat.frames import check_value
from backchat.transcript import Created, Message


def is_conversation(value: dict[str, Any]) -> bool:
    """Whether this looks like a conversation, be it a broken one."""
    mapping = value.get("mapping")
    if isinstance(mapping, dict) and any(isinstance(node, dict) and "message" in node for node in mapping.values()):
        return True
    return "mapping" in value and "current_node" in value


def conversation(value: dict[str, Any], now: float) -> Imported:
    """A conversation as a session. `now` is the time of one that has none.

    Nodes that show nothing are no messages: they stay in `extra`, as the rest of `mapping`. Raises Broken.
    """
    extra = dict(value)
    nodes = nodes_of(extra.pop("mapping"), "its mapping")
    try:
        check_value(extra, nul=True)
    except InvalidParams as error:
        raise Broken(str(error)) from error
    session_id = own_id(value, ("id", "conversation_id"))
    for name in ("id", "conversation_id"):
        taken(extra, name, lambda own: own == session_id)
    created_at = taken(extra, "create_time", is_time)
    updated_at = taken(extra, "update_time", is_time)
    first = now if created_at is None else float(created_at)
    shape = outline(nodes, "parent", "children", _time)
    shown = {key for key, node in nodes.items() if _is_shown(key, node)}
    messages = {key: _message(key, nodes[key], first, shape, shown) for key in shape.order if key in shown}
    added, head = planted(shape, messages, extra.get("current_node"))
    taken(extra, "current_node", lambda current: isinstance(current, str) and current in shown)
    if rest := {key: node for key, node in nodes.items() if key not in shown}:
        extra["mapping"] = rest
    created = Created(
        title=taken(extra, "title", is_text),
        model=taken(extra, "default_model_slug", is_text),
        created_at=first,
        # Last: what was taken is gone by now.
        extra=extra or None,
    )
    return Imported(
        id=session_id,
        created=created,
        messages=added,
        head=head,
        updated_at=None if updated_at is None else float(updated_at),
    )


def _time(node: dict[str, Any]) -> float:
    message = node.get("message")
    at = message.get("create_time") if isinstance(message, dict) else None
    return float(at) if isinstance(at, int | float) and is_time(at) else 0.0


def _is_shown(key: str, node: dict[str, Any]) -> bool:
    message = node.get("message")
    if message is None:
        return False
    if not isinstance(message, dict):
        raise Broken(f"the message of node {named(key)} is no object")
    metadata = message.get("metadata")
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation") is True
    weight = message.get("weight")
    return not hidden and (isinstance(weight, bool) or weight != 0)


def _message(key: str, node: dict[str, Any], first: float, shape: Outline, shown: set[str]) -> Message:
    extra = dict(node["message"])
    author = extra.pop("author", None)
    role = author.get("role") if isinstance(author, dict) else None
    if not isinstance(role, str) or not role:
        raise Broken(f"the message of node {named(key)} has no author with a role")
    about = {name: field for name, field in author.items() if name != "role"}
    if isinstance(about.get("name"), str) and "name" not in extra:
        extra["name"] = about.pop("name")
    if about:
        extra["author"] = about
    try:
        content, rest = _content(extra.pop("content", None))
    except Broken as error:
        raise Broken(f"the message of node {named(key)} {error}") from error
    if rest:
        extra["content"] = rest
    model = None
    if isinstance(extra.get("metadata"), dict):
        extra["metadata"] = metadata = dict(extra["metadata"])
        model = taken(metadata, "model_slug", is_text)
    created_at = taken(extra, "create_time", is_time)
    if beside := _beside(key, node, shape, shown):
        put(extra, "node", beside)
    return Message(
        id=0,
        role=role,
        content=content,
        created_at=first if created_at is None else float(created_at),
        model=model,
        extra=extra or None,
    )


def _beside(key: str, node: dict[str, Any], shape: Outline, shown: set[str]) -> dict[str, Any]:
    """What a node says that neither its message nor the tree does."""
    rest = {name: field for name, field in node.items() if name != "message"}
    if node.get("id") == key:
        del rest["id"]
    above = shape.parents[key]
    if above is None or above in shown:
        rest.pop("parent", None)
    below = shape.children.get(key, [])
    if node.get("children") == below and shown.issuperset(below):
        del rest["children"]
    if node["message"].get("id") != key:
        put(rest, "key", key)
    return rest


def _content(content: Any) -> tuple[Any, dict[str, Any]]:
    """A message's content as it is here, and what that leaves out. Raises Broken."""
    if content is None:
        return None, {}
    if not isinstance(content, dict):
        raise Broken("has content that is no object")
    rest = dict(content)
    kind = rest.pop("content_type", None)
    if not isinstance(kind, str):
        raise Broken("has content without a content_type")
    parts, text = rest.get("parts"), rest.get("text")
    if kind in ("text", "multimodal_text") and isinstance(parts, list):
        del rest["parts"]
        if kind == "text" and len(parts) == 1 and isinstance(parts[0], str):
            return parts[0], {"content_type": kind, **rest} if rest else {}
        plain = all(isinstance(part, str) or _is_plain(part) for part in parts)
        if not plain:
            rest = {"parts": parts, **rest}
        return [_part(part) for part in parts], {"content_type": kind, **rest} if rest or kind != "text" else {}
    if kind in ("code", "execution_output") and isinstance(text, str):
        del rest["text"]
        return text, {"content_type": kind, **rest}
    # Thoughts, quotes, recaps, whatever comes next; and the above in another shape, which only the whole tells apart.
    odd = kind in ("text", "multimodal_text", "code", "execution_output") or "type" in rest
    return [{**rest, "type": kind}], content if odd else {}


def _is_plain(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("content_type"), str) and "type" not in part


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if _is_plain(part):
        return {"type": part["content_type"], **{name: field for name, field in part.items() if name != "content_type"}}
    # None that an export is known to have. `type` is what every part must have here.
    return {"type": "unknown", "value": part}
