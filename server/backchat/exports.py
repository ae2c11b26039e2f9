"""What other programs' files of sessions have in common: what becomes of one session, and trees of nodes that name
their parents.

Pure: JSON in, messages out.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from backchat.errors import InvalidParams
from backchat.frames import check_value
from backchat.transcript import SESSION_ID, Added, Created, Message, content_size
from backchat.views import Decided

NAME_CHARACTERS: Final = 64
"""How much of a name out of a file a sentence about it repeats."""


MOST_MESSAGES: Final = 200_000
"""How many messages, or nodes of a tree, one session of a file may have: they are committed at once, and whatever else
is to be committed waits meanwhile."""


class Broken(Exception):
    """A session that cannot be read; the message says why. `place` says where it stands, in a file of several."""

    def __init__(self, reason: str, place: str | None = None) -> None:
        super().__init__(reason)
        self.place = place


class Imported(Struct, frozen=True, kw_only=True):
    """A session from elsewhere: `messages` are a tree, parents first, with ids from 1, and `head` is the last one on
    screen, 0 for none.

    `id` is None where it has none of its own; `updated_at` where it does not say. `further` is what came after the
    first event. `place` is as in `Broken`.
    """

    id: str | None
    created: Created
    messages: Sequence[Added]
    head: int
    updated_at: float | None
    further: tuple[Decided, ...] = ()
    place: str | None = None


class Doubled(dict[str, Any]):
    """A JSON object in which a name stands twice. It has the last value of each."""


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` that tells objects with a doubled name from the others."""
    value = dict(pairs)
    return value if len(value) == len(pairs) else Doubled(value)


def check_number(values: Collection[Any]) -> None:
    """Raises Broken where there are more messages than one session may have."""
    if len(values) > MOST_MESSAGES:
        raise Broken(f"it has {len(values):,} messages, and {MOST_MESSAGES:,} are the most that one session may have")


# Fields: what is meant here is taken, all else is kept as it is.


def taken(extra: dict[str, Any], name: str, fits: Callable[[Any], bool]) -> Any:
    """Takes a field out of `extra` if it is what is meant here, or gives None; then it stays there as it is."""
    value = extra.get(name)
    if fits(value):
        del extra[name]
        return value
    return None


def put(extra: dict[str, Any], name: str, value: Any) -> None:
    """Adds a field that the file did not have under this name; should it have one, the new name is longer."""
    while name in extra:
        name += "_"
    extra[name] = value


def is_text(value: Any) -> bool:
    """Whether this is a string."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Whether this can be a number of tokens, as the store has them."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_time(value: Any) -> bool:
    """Whether this can be a time in seconds since the epoch."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def named(name: str) -> str:
    """A name out of a file, as it can stand in a sentence on a terminal."""
    return repr(name[:NAME_CHARACTERS] + "…" if len(name) > NAME_CHARACTERS else name)


def own_id(value: dict[str, Any], names: Collection[str]) -> str:
    """The first of these fields that can be a session's id, else a hash of it all: the same each time."""
    for name in names:
        candidate = value.get(name)
        if isinstance(candidate, str) and SESSION_ID.fullmatch(candidate):
            return candidate
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


# Trees.


class Outline(Struct, frozen=True):
    """How the nodes of a file hang together: the parent of each (None: it has none), the children of each in order,
    and all of them in `order`, depth first, parents before their children."""

    parents: dict[str, str | None]
    children: dict[str | None, list[str]]
    order: list[str]


def nodes_of(value: Any, what: str) -> dict[str, dict[str, Any]]:
    """The nodes in a file's object of nodes, which a sentence calls `what`. Raises Broken."""
    if not isinstance(value, dict):
        raise Broken(f"{what} is no object")
    if not value:
        raise Broken(f"{what} is empty")
    check_number(value)
    if isinstance(value, Doubled):
        raise Broken(f"{what} has two nodes with one id")
    ids: dict[str, str] = {}
    for key, node in value.items():
        if not isinstance(node, dict):
            raise Broken(f"node {named(key)} is no object")
        try:
            check_value([key, node], nul=True)
        except InvalidParams as error:
            raise Broken(f"node {named(key)}: {error}") from error
        own = node.get("id")
        if isinstance(own, str) and ids.setdefault(own, key) != key:
            raise Broken(f"{what} has two nodes with the id {named(own)}")
    return value


def outline(
    nodes: Mapping[str, dict[str, Any]], parent: str, children: str, time: Callable[[dict[str, Any]], float]
) -> Outline:
    """The tree that the fields `parent` of these nodes make. Siblings come as the field `children` of their parent
    has them, then those that it leaves out, the oldest by `time` first. Raises Broken."""
    parents: dict[str, str | None] = {}
    below: dict[str | None, list[str]] = {None: []}
    for key, node in nodes.items():
        above = node.get(parent)
        if above is not None and not isinstance(above, str):
            raise Broken(f"the parent of node {named(key)} is no text")
        if above is not None and above not in nodes:
            raise Broken(f"the parent of node {named(key)}, {named(above)}, is not there")
        listed = node.get(children)
        if listed is not None and not isinstance(listed, list):
            raise Broken(f"the children of node {named(key)} are no list")
        parents[key] = above
        below.setdefault(above, []).append(key)
    for above, keys in below.items():
        listed = [] if above is None else nodes[above].get(children) or []
        ranks: dict[Any, tuple[int, float]] = {key: (len(listed), time(nodes[key])) for key in keys}
        ranks |= {name: (place, 0.0) for place, name in enumerate(listed) if isinstance(name, str)}
        keys.sort(key=ranks.__getitem__)
    order: list[str] = []
    ahead = below[None][::-1]
    while ahead:
        key = ahead.pop()
        order.append(key)
        ahead.extend(reversed(below.get(key, ())))
    if len(order) < len(nodes):
        raise Broken(f"node {named(_in_a_circle(parents, set(order)))} is its own ancestor")
    return Outline(parents, below, order)


def _in_a_circle(parents: Mapping[str, str | None], reached: Collection[str]) -> str:
    """A node of a circle: some are not reached from the roots."""
    key = next(key for key in parents if key not in reached)
    seen: set[str] = set()
    while key not in seen:
        seen.add(key)
        above = parents[key]
        assert above is not None, "a node without a parent is a root"
        key = above
    return key


def planted(outline: Outline, messages: Mapping[str, Message], current: Any) -> tuple[list[Added], int]:
    """The messages of an outline as a tree of their own, and its head.

    A node that has none is left out: what is below it hangs on the nearest message above. The head is the node
    `current`, or the nearest message above it; where there is no such node, the newest message without children.
    """
    added: list[Added] = []
    # For each node the id of its message, or of the nearest one above.
    ids: dict[str | None, int] = {None: 0}
    for key in outline.order:
        above = ids[outline.parents[key]]
        if (message := messages.get(key)) is None:
            ids[key] = above
            continue
        ids[key] = len(added) + 1
        message = msgspec.structs.replace(message, id=ids[key])
        added.append(Added(message, above, content_size(message)))
    if isinstance(current, str) and current in ids:
        return added, ids[current]
    inner = {one.parent for one in added}
    leaves = (one.message for one in added if one.message.id not in inner)
    newest = max(leaves, key=lambda message: (message.created_at, message.id), default=None)
    return added, 0 if newest is None else newest.id
