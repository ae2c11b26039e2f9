"""Messages, the tree they form, a session's state, its events, and `apply`, the one thing that changes a state.

A transcript is a path in a tree (DESIGN section 2): each message knows its parent, and the head is the last message
of the transcript on screen. Taking back moves the head; nothing is ever removed from the tree.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, assert_never

import msgspec
from msgspec import Struct

TAIL_MESSAGES: Final = 200
"""How many messages a view is given at once, at the most."""

TAIL_BYTES: Final = 512 * 1024
"""How many bytes of content a view is given at once, but for one message, which always comes whole.

Together with TAIL_MESSAGES this keeps a snapshot under the frame size that most client libraries accept (1 MiB)."""


BYTES_PER_TOKEN: Final = 4
"""What estimates of tokens go by: about right for English, within a factor of two for most languages."""

PART_TOKENS: Final = 1000
"""What estimates take an image, or another part that is no text, for."""


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens that one reply took, as its provider reported them, or `estimated` where it did not.

    `cached_tokens` are part of the input, `reasoning_tokens` part of the output.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class Message(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One role and its content, as it goes over the wire (DESIGN section 4).

    `id` is the message's ordinal in its session, from 1; `created_at` is in seconds since the epoch. `content` is a
    string, a list of `{type, …}` parts, or whatever else an import brought. `extra` holds the fields that came with
    an import and mean nothing here.

    The rest is said of replies: `finish` is how one ended, `note` a sentence for a person about that, `reasoning`
    what the model thought before it answered, `cost` in US dollars (None: unknown).
    """

    id: int
    role: str
    content: Any
    created_at: float
    run_id: str | None = None
    finish: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    reasoning: str | None = None
    note: str | None = None
    extra: dict[str, Any] | None = None


class Spent(Struct, frozen=True):
    """What replies took together. `cost` is in US dollars and counts those whose price is known, None where it is
    known of none; `unpriced` counts the others (an import is one); `estimated` says that some of the tokens are an
    estimate."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    unpriced: int = 0
    estimated: bool = False

    @classmethod
    def of(cls, message: Message) -> "Spent | None":
        """What one reply took; None where nobody counted."""
        if message.usage is None and message.cost is None:
            return None
        usage, cost = message.usage or Usage(), message.cost
        return cls(
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            cost,
            int(cost is None),
            usage.estimated,
        )

    def __add__(self, other: "Spent") -> "Spent":
        if self.cost is None or other.cost is None:
            cost = other.cost if self.cost is None else self.cost
        else:
            cost = self.cost + other.cost
        return Spent(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            cost,
            self.unpriced + other.unpriced,
            self.estimated or other.estimated,
        )


NOTHING_SPENT: Final = Spent()


class Node:
    """A message's place in the tree. Immutable once made; `Tree` makes them.

    `jump` points to some ancestor further up, so that an ancestor at any depth is found in a logarithmic number of
    steps (Myers, "An applicative random-access stack", 1983). `depth` is also the number of messages from the root to
    here, `size` the bytes of their content, `turn` the nearest user message at or above here, `spent` what the
    replies up to here took, `context` about how many tokens a request with the messages up to here has.
    """

    __slots__ = ("_tail_start", "context", "depth", "jump", "message", "parent", "size", "spent", "turn")

    def __init__(self, message: Message, parent: "Node | None", size: int) -> None:
        self.message = message
        self._tail_start = -1
        if parent is None:
            self.parent: Node = self
            self.jump: Node = self
            self.depth = 0
            self.size = 0
            self.turn: Node | None = None
            self.spent = NOTHING_SPENT
            self.context = 0
            return
        self.parent = parent
        self.depth = parent.depth + 1
        self.size = parent.size + size
        self.turn = self if message.role == "user" else parent.turn
        usage, took = message.usage, Spent.of(message)
        self.spent = parent.spent if took is None else parent.spent + took
        if usage is not None and usage.input_tokens:
            # The provider has counted all of it. What a model thinks is not sent again.
            self.context = usage.input_tokens + max(0, usage.output_tokens - usage.reasoning_tokens)
        else:
            self.context = parent.context + tokens_of(message.content, size)
        jump = parent.jump
        far = jump.jump
        self.jump = far if parent.depth - jump.depth == jump.depth - far.depth else parent

    @property
    def id(self) -> int:
        """The message's id; 0 for the root, which is no message."""
        return self.message.id

    def ancestor(self, depth: int) -> "Node":
        """The node at `depth` on the path from the root to here. 0 <= depth <= self.depth."""
        node = self
        while node.depth > depth:
            node = node.jump if node.jump.depth >= depth else node.parent
        return node

    def tail_start(self) -> int:
        """The index of the first message that a view of this transcript is given, see TAIL_MESSAGES and TAIL_BYTES."""
        if self._tail_start < 0:
            self._tail_start = self._find_tail_start()
        return self._tail_start

    def _find_tail_start(self) -> int:
        if self.depth <= TAIL_MESSAGES and self.size <= TAIL_BYTES:
            return 0
        fewest = self.depth - TAIL_MESSAGES

        def fits(node: Node) -> bool:
            # May the messages below `node` be sent without it?
            return node.depth >= fewest and self.size - node.size <= TAIL_BYTES

        node = self.parent
        while node.depth > 0:
            if fits(node.jump):
                node = node.jump
            elif fits(node.parent):
                node = node.parent
            else:
                break
        return node.depth


class Added(Struct, frozen=True):
    """A message to add to a tree, below message `parent` (0: the root). `size` is its `content_size`."""

    message: Message
    parent: int
    size: int


class Tree:
    """All messages of a session, by id. It only grows."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {0: Node(Message(id=0, role="", content="", created_at=0.0), None, 0)}

    def __getitem__(self, message_id: int) -> Node:
        return self.nodes[message_id]

    def add(self, added: Added) -> None:
        """Puts a message in its place. Its parent is there already."""
        self.nodes[added.message.id] = Node(added.message, self.nodes[added.parent], added.size)


def content_size(message: Message) -> int:
    """How many bytes the parts of a message that can be long take as JSON."""
    size = len(msgspec.json.encode((message.content, message.extra)))
    return size if message.reasoning is None else size + len(msgspec.json.encode(message.reasoning))


def tokens_of(content: Any, size: int) -> int:
    """About how many tokens content of `size` bytes is."""
    if not isinstance(content, list):
        return size // BYTES_PER_TOKEN
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return sum(map(len, texts)) // BYTES_PER_TOKEN + PART_TOKENS * (len(content) - len(texts))


def path(head: Node, start: int = 0, stop: int | None = None) -> list[Message]:
    """The messages `start` to `stop` (exclusive; default: the head included) of the transcript that ends at
    `head`."""
    node = head if stop is None else head.ancestor(stop)
    messages = []
    while node.depth > start:
        messages.append(node.message)
        node = node.parent
    messages.reverse()
    return messages


def common(a: Node, b: Node) -> Node:
    """The last node that the paths to `a` and to `b` share. Logarithmic, like `ancestor`."""
    if a.depth > b.depth:
        a = a.ancestor(b.depth)
    else:
        b = b.ancestor(a.depth)
    while a is not b:
        # Nodes of one depth have jumps of one depth.
        if a.jump is not b.jump:
            a, b = a.jump, b.jump
        else:
            a, b = a.parent, b.parent
    return a


def text_of(content: Any) -> str:
    """The text of a message's content (DESIGN section 5): a string as it is, the text parts of a list joined with a
    space."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return " ".join(text if isinstance(text, str) else "" for text in texts)
    return str(content)


# Events: committed facts.


class Created(Struct, frozen=True, omit_defaults=True):
    """The session began, with messages 1 to `messages` where it was imported or given some.

    Token counts and the cost are what the session had used before it came here; `extra` holds what an import brought
    and means nothing here; `pending` is a message that was written but never sent: it waits in the queue.
    """

    messages: int = 0
    title: str | None = None
    model: str | None = None
    workspace: str | None = None
    personality: str | None = None
    created_at: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_cost: float | None = None
    pending: str | None = None
    extra: dict[str, Any] | None = None


class Submitted(Struct, frozen=True, omit_defaults=True):
    """A person's message was added to the transcript, and gave the session a `title` if it had none of its own."""

    message: int
    title: str | None = None


class Replied(Struct, frozen=True):
    """A reply, whole or cut short (its `finish` says which), was added to the transcript."""

    message: int


class HeadMoved(Struct, frozen=True):
    """The transcript became the path to another message (or stayed, where a retry only asks again, or a stop found
    nothing written)."""


class Titled(Struct, frozen=True):
    """A person gave the session a title."""

    title: str


class ModelChosen(Struct, frozen=True):
    """A person chose the model that replies, or left it to the server again."""

    model: str | None


class PersonalityChosen(Struct, frozen=True):
    """A person chose a named prompt, or none."""

    personality: str | None


class SystemChosen(Struct, frozen=True):
    """A person wrote a system prompt, or took it away."""

    system: str | None


class Queued(Struct, frozen=True):
    """A message was written while a reply was, and waits. `id` is its ordinal among those that ever did."""

    id: int
    content: Any


class QueueSent(Struct, frozen=True, omit_defaults=True):
    """The waiting message `id` was added to the transcript, as `message`; the `title` is as in `Submitted`."""

    id: int
    message: int
    title: str | None = None


class QueueDropped(Struct, frozen=True):
    """The waiting message `id` was taken out."""

    id: int


class QueuePaused(Struct, frozen=True):
    """A reply did not end well, so what waits is not sent before a person says so."""


class QueueResumed(Struct, frozen=True):
    """A person said so."""


class Opened(Struct, frozen=True):
    """A new session was begun from this one."""

    session_id: str


Body = (
    Created
    | Submitted
    | Replied
    | HeadMoved
    | Titled
    | ModelChosen
    | PersonalityChosen
    | SystemChosen
    | Queued
    | QueueSent
    | QueueDropped
    | QueuePaused
    | QueueResumed
    | Opened
)

EVENT_TYPES: Final[dict[tuple[str, int], type[Body]]] = {
    ("created", 1): Created,
    ("submitted", 1): Submitted,  # had no title
    ("submitted", 2): Submitted,
    ("replied", 1): Replied,
    ("head_moved", 1): HeadMoved,
    ("titled", 1): Titled,
    ("model_chosen", 1): ModelChosen,
    ("personality_chosen", 1): PersonalityChosen,
    ("system_chosen", 1): SystemChosen,
    ("queued", 1): Queued,
    ("queue_sent", 1): QueueSent,
    ("queue_dropped", 1): QueueDropped,
    ("queue_paused", 1): QueuePaused,
    ("queue_resumed", 1): QueueResumed,
    ("opened", 1): Opened,
}
"""The bodies that a log can hold, by type and version. A body that changes gets a new version here, and the old one an
upcast: none is needed where all that is new has a default."""

EVENT_NAMES: Final = {body: name for name, body in EVENT_TYPES.items()}
"""The type and version that a new event is written with: the last one above."""


class Cause(Struct, frozen=True):
    """Why something changed: the client's op_id, the command's name, the connection it came from."""

    op_id: str | None = None
    command: str | None = None
    connection: str | None = None


class Event(Struct, frozen=True):
    """A committed (or, until then, staged) fact: `revision` counts from 1 without gaps; `head` is the head after
    it."""

    revision: int
    at: float
    head: int
    body: Body
    cause: Cause


class Waiting(Struct, frozen=True):
    """A message in the queue."""

    id: int
    content: Any


class State(Struct, frozen=True, kw_only=True):
    """What a session is at one revision: the fold of its events so far. `head` is the last message's id, 0 for none.

    `transcript_revision` is the last revision that changed the transcript; `last_message` the highest message id
    given out. `horizon` is the highest `start` that a client's view can have at this revision, whenever it attached
    and whatever it was sent since: a splice that keeps no more than that must bring the tail itself (see `splice`).

    `model` is the one that a person chose (then `model_chosen`), else the one that last replied, else the one that
    came with an import. `spent` is what all replies took, undone ones included, and `imported` what of it came with
    an import. A queue that is not paused has a live run before it.
    """

    revision: int = 0
    transcript_revision: int = 0
    head: int = 0
    last_message: int = 0
    horizon: int = 0
    title: str | None = None
    title_given: bool = False
    model: str | None = None
    model_chosen: bool = False
    workspace: str | None = None
    personality: str | None = None
    system: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    spent: Spent = NOTHING_SPENT
    imported: Spent = NOTHING_SPENT
    queue: tuple[Waiting, ...] = ()
    queue_paused: bool = False
    last_queued: int = 0


class Splice(Struct, frozen=True):
    """How one transcript becomes another: keep the first `keep` messages, append `messages`.

    With a `start`, `messages` begin at that index and replace whatever a client has.
    """

    keep: int
    messages: list[Message]
    start: int | None = None


def splice(before: State, after: State, tree: Tree) -> Splice | None:
    """The step from one transcript to the next one; None where it stays the same. Depends on nothing but the log, so
    a client that comes back is sent the same as one that stayed."""
    if before.head == after.head:
        return None
    old, new = tree[before.head], tree[after.head]
    keep = common(old, new).depth
    start = new.tail_start()
    if _replaces(before, keep, start):
        return Splice(keep, path(new, start), start)
    return Splice(keep, path(new, keep))


def _replaces(before: State, keep: int, start: int) -> bool:
    # More than a tail would have to be sent, or what is left ends at or before the first message that some client
    # has.
    return start > keep or 0 < before.horizon >= keep


def apply(state: State, event: Event, tree: Tree) -> State:
    """The state after `event`. `tree` holds (at least) every message up to this event.

    Precondition: `event.revision == state.revision + 1`.
    """
    if event.revision != state.revision + 1:
        raise ValueError(f"revision {event.revision} cannot follow {state.revision}")
    new = tree[event.head]
    moved = event.head != state.head
    start = new.tail_start()
    if moved and _replaces(state, common(tree[state.head], new).depth, start):
        horizon = start
    else:
        horizon = max(state.horizon, start)
    changed: dict[str, Any]
    match event.body:
        case Created() as created:
            return _created(created, event, start)
        case Submitted(message=message, title=title):
            changed = {"last_message": message, **_titled(title)}
        case Replied(message=message):
            reply = tree[message].message
            changed = {"last_message": message}
            if (took := Spent.of(reply)) is not None:
                changed["spent"] = state.spent + took
            if reply.model is not None and not state.model_chosen:
                changed["model"] = reply.model
        case HeadMoved() | Opened():
            changed = {}
        case Titled(title=title):
            changed = {"title": title, "title_given": True}
        case ModelChosen(model=model):
            changed = {"model": model, "model_chosen": model is not None}
        case PersonalityChosen(personality=personality):
            changed = {"personality": personality}
        case SystemChosen(system=system):
            changed = {"system": system}
        case Queued(id=number, content=content):
            changed = {"queue": (*state.queue, Waiting(number, content)), "last_queued": number}
        case QueueSent(id=number, message=message, title=title):
            changed = {"last_message": message, **_titled(title), **_without(state, number)}
        case QueueDropped(id=number):
            changed = _without(state, number)
        case QueuePaused():
            changed = {"queue_paused": True}
        case QueueResumed():
            changed = {"queue_paused": False}
        case _:
            assert_never(event.body)
    return msgspec.structs.replace(
        state,
        revision=event.revision,
        transcript_revision=event.revision if moved else state.transcript_revision,
        head=event.head,
        horizon=horizon,
        updated_at=event.at,
        **changed,
    )


def _created(created: Created, event: Event, start: int) -> State:
    spent = NOTHING_SPENT
    if created.input_tokens or created.output_tokens or created.estimated_cost is not None:
        cost = created.estimated_cost
        spent = Spent(created.input_tokens, created.output_tokens, cost=cost, unpriced=int(cost is None))
    queue = (Waiting(1, created.pending),) if created.pending and not created.pending.isspace() else ()
    return State(
        revision=event.revision,
        transcript_revision=event.revision,
        head=event.head,
        last_message=created.messages,
        horizon=start,
        title=created.title,
        title_given=bool(created.title and not created.title.isspace()),
        model=created.model,
        workspace=created.workspace,
        personality=created.personality,
        created_at=event.at if created.created_at is None else created.created_at,
        updated_at=event.at,
        spent=spent,
        imported=spent,
        queue=queue,
        queue_paused=bool(queue),
        last_queued=len(queue),
    )


def _titled(title: str | None) -> dict[str, Any]:
    return {} if title is None else {"title": title, "title_given": False}


def _without(state: State, number: int) -> dict[str, Any]:
    """The queue without one message. An empty one is not paused: the next to wait begins anew."""
    queue = tuple(waiting for waiting in state.queue if waiting.id != number)
    return {"queue": queue, "queue_paused": state.queue_paused and bool(queue)}


class Step(Struct, frozen=True):
    """An event with the states around it."""

    event: Event
    before: State
    after: State


def fold(events: Iterable[Event], tree: Tree) -> Iterator[Step]:
    """The steps that a log takes from nothing. Raises KeyError and ValueError where it does not fit its messages."""
    state = State()
    for event in events:
        before, state = state, apply(state, event, tree)
        yield Step(event, before, state)
