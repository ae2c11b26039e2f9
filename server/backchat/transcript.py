"""Messages, the tree they form, a session's state, its events, and `apply`, the one thing that changes a state.

A transcript is a path in a tree (DESIGN section 2): each message knows its parent, and the head is the last message
of the transcript on screen. Taking back moves the head; nothing is ever removed from the tree. Messages with one
parent are variants of each other: at most one of them is on screen.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final, assert_never

import msgspec
from msgspec import Struct

SESSION_ID: Final = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
"""What a session's id matches (DESIGN section 1)."""

TAIL_MESSAGES: Final = 200
"""How many messages a view is given at once, at the most."""

TAIL_BYTES: Final = 512 * 1024
"""How many bytes of content a view is given at once, but for one message, which always comes whole.

Together with TAIL_MESSAGES this keeps a snapshot under the frame size that most client libraries accept (1 MiB)."""


BYTES_PER_TOKEN: Final = 4
"""What estimates of tokens go by: about right for English, within a factor of two for most languages."""

PART_TOKENS: Final = 1000
"""What estimates take an image, or another part that is no text, for."""


class _Value(Struct, frozen=True, gc=False):
    """What a session holds many of. It never changes, so it cannot come to hold what holds it, and the garbage
    collector need not look for that."""


class Usage(_Value, frozen=True, omit_defaults=True):
    """Tokens that one reply took, as its provider reported them, or `estimated` where it did not.

    `cached_tokens` are part of the input, `reasoning_tokens` part of the output.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class Variant(Struct, frozen=True):
    """Which of the messages with the same parent one is, from 1 in the order they came, and how many there are."""

    index: int
    count: int


class Origin(Struct, frozen=True, omit_defaults=True):
    """The message that another was copied from, or a session begun from; `session_id` where that is another
    session's."""

    message_id: int
    session_id: str | None = None


class Message(_Value, frozen=True, omit_defaults=True, kw_only=True):
    """One role and its content, as it goes over the wire (DESIGN section 4).

    `id` is the message's ordinal in its session, from 1; `created_at` is in seconds since the epoch. `content` is a
    string, a list of `{type, …}` parts, or whatever else an import brought. `extra` holds the fields that came with
    an import and mean nothing here.

    The rest is said of replies: `finish` is how one ended, `note` a sentence for a person about that, `reasoning`
    what the model thought before it answered, `cost` in US dollars (None: unknown).

    `original` is what this is a copy of. `variant` is said where there are others; it depends on the revision, so it
    is no part of the message and never stored (see `shown`).
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
    original: Origin | None = None
    variant: Variant | None = None


class Spent(_Value, frozen=True):
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
    here, `size` the bytes of their content, `turns` how many user messages are among them, `spent` what the replies up
    to here took, `context` about how many tokens a request with the messages up to here has, and `counted` whether a
    provider has counted most of that. `children` are the ids of the messages below this one, in order; they alone grow.
    """

    __slots__ = (
        "_tail_start", "_turn", "children", "context", "counted", "depth", "jump", "message", "parent", "size",
        "spent", "turns",
    )  # fmt: skip

    def __init__(self, message: Message, parent: "Node | None", size: int) -> None:
        self.message = message
        self.children: list[int] = []
        self._tail_start = -1
        if parent is None:
            self.parent: Node = self
            self.jump: Node = self
            self.depth = 0
            self.size = 0
            self._turn: Node | None = None
            self.turns = 0
            self.spent = NOTHING_SPENT
            self.context = 0
            self.counted = False
            return
        self.parent = parent
        self.depth = parent.depth + 1
        self.size = parent.size + size
        said = message.role == "user"
        self._turn = None if said else parent.turn
        self.turns = parent.turns + said
        usage, took = message.usage, Spent.of(message)
        self.spent = parent.spent if took is None else parent.spent + took
        if usage is not None and usage.input_tokens and message.original is None:
            # The provider has counted all of it (before a copy it counted what has been taken out since). What a
            # model thinks is not sent again.
            self.context = usage.input_tokens + max(0, usage.output_tokens - usage.reasoning_tokens)
            self.counted = True
        else:
            self.context = parent.context + tokens_of(message.content, size)
            self.counted = parent.counted
        jump = parent.jump
        far = jump.jump
        self.jump = far if parent.depth - jump.depth == jump.depth - far.depth else parent

    @property
    def id(self) -> int:
        """The message's id; 0 for the root, which is no message."""
        return self.message.id

    @property
    def turn(self) -> "Node | None":
        """The nearest user message at or above here."""
        # Not in a slot: a message that held itself, and with it its tree, would stay until the garbage collector comes.
        return self if self.message.role == "user" else self._turn

    def ancestor(self, depth: int) -> "Node":
        """The node at `depth` on the path from the root to here. 0 <= depth <= self.depth."""
        node = self
        while node.depth > depth:
            jump = node.jump
            node = jump if jump.depth >= depth else node.parent
        return node

    def ancestor_of_turn(self, number: int) -> "Node":
        """The user message that begins turn `number` of the path to here. 1 <= number <= self.turns."""
        node = self
        while node.parent.turns >= number:
            node = node.jump if node.jump.turns >= number else node.parent
        return node

    def tail_start(self) -> int:
        """The index of the first message that a view of this transcript is given, see TAIL_MESSAGES and TAIL_BYTES."""
        if self._tail_start < 0:
            self._tail_start = self._find_tail_start()
        return self._tail_start

    def _find_tail_start(self) -> int:
        if self.depth <= TAIL_MESSAGES and self.size <= TAIL_BYTES:
            return 0
        fewest = max(0, self.depth - TAIL_MESSAGES)
        if self.size - self.ancestor(fewest).size <= TAIL_BYTES:
            # As nearly always: messages are short.
            return fewest

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


class Added(_Value, frozen=True):
    """A message to add to a tree, below message `parent` (0: the root). `size` is its `content_size`."""

    message: Message
    parent: int
    size: int


class Tree:
    """All messages of a session, by id, and where each branch of them was left. It only grows.

    What was on screen last time is kept as paths from top to bottom: each message that is off screen, and whose
    parent was last on screen with another below it or with none, is the top of one, and `_left` has its bottom. A
    path that comes back on screen cuts those that it runs along. (The preferred paths of Sleator and Tarjan, "A data
    structure for dynamic trees", 1983: each move of the head takes a logarithmic number of cuts, averaged over all of
    them.)
    """

    __slots__ = ("_head", "_left", "nodes")

    def __init__(self) -> None:
        root = Node(Message(id=0, role="", content="", created_at=0.0), None, 0)
        self.nodes: dict[int, Node] = {0: root}
        self._head = root
        self._left: dict[int, Node] = {}

    def __getitem__(self, message_id: int) -> Node:
        return self.nodes[message_id]

    def get(self, message_id: int) -> Node | None:
        """The message with this id; None where there is none. The root is no message."""
        return self.nodes.get(message_id) if message_id else None

    def add(self, added: Added) -> None:
        """Puts a message in its place. Its parent is there already, and no message has a higher id."""
        parent = self.nodes[added.parent]
        parent.children.append(added.message.id)
        self.nodes[added.message.id] = Node(added.message, parent, added.size)

    def show(self, head: int) -> None:
        """The transcript on screen becomes the path to `head`. To be called for each event, in order."""
        old, new = self._head, self.nodes[head]
        fork = common(old, new)
        self._leave(fork, old)
        self._head = new
        while fork is not new:
            bottom = self._left.pop(new.ancestor(fork.depth + 1).id, None)
            if bottom is None:
                # Never on screen before, nor is anything below it.
                return
            fork = common(bottom, new)
            self._leave(fork, bottom)

    def _leave(self, fork: Node, bottom: Node) -> None:
        if fork is not bottom:
            top = bottom if bottom.parent is fork else bottom.ancestor(fork.depth + 1)
            self._left[top.message.id] = bottom

    def last_shown(self, node: Node) -> Node:
        """The head when `node` was last on screen. For one that never was (an import has such), the newest message
        below it."""
        bottom: Node | None = self._head
        while bottom is not None:
            fork = common(bottom, node)
            if fork is node:
                return bottom
            bottom = self._left.get(node.ancestor(fork.depth + 1).id)
        while node.children:
            node = self.nodes[node.children[-1]]
        return node

    def variants(self, node: Node, last_message: int) -> list[int]:
        """The ids of all messages with the parent of `node`, itself included, up to the id `last_message`."""
        siblings = node.parent.children
        return siblings[: bisect_right(siblings, last_message)]

    def variant(self, node: Node, last_message: int) -> Variant | None:
        """Which variant a message is among those up to the id `last_message`; None where it has no siblings."""
        siblings = node.parent.children
        if len(siblings) < 2 or siblings[1] > last_message:
            return None
        return Variant(bisect_left(siblings, node.id) + 1, bisect_right(siblings, last_message))


def chained(messages: Iterable[Message], parent: int = 0) -> tuple[Added, ...]:
    """Messages to add one below the other, the first below `parent`."""
    chain = []
    for message in messages:
        chain.append(Added(message, parent, content_size(message)))
        parent = message.id
    return tuple(chain)


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


def shown(tree: Tree, head: Node, last_message: int, start: int = 0, stop: int | None = None) -> list[Message]:
    """The messages of `path` as clients are shown them in a state with `last_message`: with their variants."""
    node = head if stop is None else head.ancestor(stop)
    messages = []
    while node.depth > start:
        variant = tree.variant(node, last_message)
        messages.append(node.message if variant is None else msgspec.structs.replace(node.message, variant=variant))
        node = node.parent
    messages.reverse()
    return messages


def common(a: Node, b: Node) -> Node:
    """The last node that the paths to `a` and to `b` share. Logarithmic, like `ancestor`."""
    if a.parent is b:
        return b
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

    Token counts and the cost are what the session had used before it came here, beside what its messages say; `extra`
    holds what an import brought and means nothing here; `pending` is a message that was written but never sent: it
    waits in the queue. `branched_from` is the message of another session that this one was begun from.
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
    system: str | None = None
    branched_from: Origin | None = None


class Submitted(_Value, frozen=True, omit_defaults=True):
    """A person's message was added to the transcript, and gave the session a `title` if it had none of its own."""

    message: int
    title: str | None = None


class Replied(_Value, frozen=True):
    """A reply, whole or cut short (its `finish` says which), was added to the transcript."""

    message: int


class RunStopped(Struct, frozen=True):
    """A person ended a run before its first word."""


class TakenBack(_Value, frozen=True):
    """The end of the transcript came off, and /redo can bring it back. Where a retry only asks again, nothing did."""


class Redone(Struct, frozen=True):
    """What `steps` steps had taken off came back."""

    steps: int


class Edited(Struct, frozen=True, omit_defaults=True):
    """A person's message took the place of an earlier one, whose sibling it is. The `title` is as in `Submitted`."""

    message: int
    title: str | None = None


class Picked(Struct, frozen=True):
    """A person chose another path of the tree."""


class Dropped(Struct, frozen=True):
    """The turn that began with the user message `turn` was taken out; `copies` messages that followed it were added
    anew."""

    turn: int
    copies: int


class Titled(Struct, frozen=True):
    """A person gave the session a title, or took it away."""

    title: str | None


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


class Opened(Struct, frozen=True, omit_defaults=True):
    """A new session was begun from this one; with a `message`, from the transcript up to there."""

    session_id: str
    message: int | None = None


Body = (
    Created
    | Submitted
    | Replied
    | RunStopped
    | TakenBack
    | Redone
    | Edited
    | Picked
    | Dropped
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
    ("created", 1): Created,  # had no system and no branched_from
    ("created", 2): Created,
    ("submitted", 1): Submitted,  # had no title
    ("submitted", 2): Submitted,
    ("replied", 1): Replied,
    ("run_stopped", 1): RunStopped,
    ("head_moved", 1): TakenBack,  # was also what a stop before the first word was: there the head stays
    ("taken_back", 1): TakenBack,
    ("redone", 1): Redone,
    ("edited", 1): Edited,
    ("picked", 1): Picked,
    ("dropped", 1): Dropped,
    ("titled", 1): Titled,  # could not take it away
    ("titled", 2): Titled,
    ("model_chosen", 1): ModelChosen,
    ("personality_chosen", 1): PersonalityChosen,
    ("system_chosen", 1): SystemChosen,
    ("queued", 1): Queued,
    ("queue_sent", 1): QueueSent,
    ("queue_dropped", 1): QueueDropped,
    ("queue_paused", 1): QueuePaused,
    ("queue_resumed", 1): QueueResumed,
    ("opened", 1): Opened,  # had no message
    ("opened", 2): Opened,
}
"""The bodies that a log can hold, by type and version. A body that changes gets a new version here, and the old one
an upcast: none is needed where all that is new has a default."""

EVENT_NAMES: Final = {body: name for name, body in EVENT_TYPES.items()}
"""The type and version that a new event is written with: the last one above."""


class Cause(_Value, frozen=True):
    """Why something changed: the client's op_id, the command's name, the connection it came from, and the name of
    whoever that was."""

    op_id: str | None = None
    command: str | None = None
    connection: str | None = None
    name: str | None = None


class Event(_Value, frozen=True):
    """A committed (or, until then, staged) fact: `revision` counts from 1 without gaps; `head` is the head after
    it."""

    revision: int
    at: float
    head: int
    body: Body
    cause: Cause


class Waiting(Struct, frozen=True):
    """A message in the queue; `by` is who put it there."""

    id: int
    content: Any
    by: Cause = Cause()


class RedoLine:  # noqa: PLW1641 - states have no hash either
    """What has been taken off and can be had again, last step first: `head` is the head before that step, `turns` how
    many turns it took off (at least 1), `rest` the line before it, `steps` how many there are in all.

    A linked list, so that a step costs the same however many there are. Immutable.
    """

    __slots__ = ("head", "rest", "steps", "turns")

    def __init__(self, head: int, turns: int, rest: "RedoLine | None") -> None:
        self.head = head
        self.turns = turns
        self.rest = rest
        self.steps: int = 1 if rest is None else rest.steps + 1

    def __iter__(self) -> Iterator["RedoLine"]:
        """The line after no step, after one step, …: as long as there is one to take."""
        line: RedoLine | None = self
        while line is not None:
            yield line
            line = line.rest

    def __eq__(self, other: object) -> bool:
        # Not by recursion: a line may be longer than the stack is deep.
        if not isinstance(other, RedoLine) or self.steps != other.steps:
            return False
        return all(a is b or (a.head, a.turns) == (b.head, b.turns) for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"RedoLine({[(line.head, line.turns) for line in self]})"


class State(_Value, frozen=True, kw_only=True):
    """What a session is at one revision: the fold of its events so far. `head` is the last message's id, 0 for none.

    `transcript_revision` is the last revision that changed the transcript; `last_message` the highest message id
    given out. `horizon` is the highest `start` that a client's view can have at this revision, whenever it attached
    and whatever it was sent since: a splice that keeps no more than that must bring the tail itself. `keep` and
    `start` are those of the splice that led here from the revision before (see `Splice`): where the transcript is the
    same, its length and None.

    `model` is the one that a person chose (then `model_chosen`), else the one that last replied, else the one that
    came with an import. `spent` is what all replies took, undone ones included, and `imported` what of it came with
    an import. A queue that is not paused has a live run before it. `redo` is the redo line, None where nothing can be
    redone.
    """

    revision: int = 0
    transcript_revision: int = 0
    head: int = 0
    last_message: int = 0
    horizon: int = 0
    keep: int = 0
    start: int | None = None
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
    redo: RedoLine | None = None
    branched_from: Origin | None = None


class Splice(Struct, frozen=True):
    """How one transcript becomes another: keep the first `keep` messages, append `messages`.

    With a `start`, `messages` begin at that index and replace whatever a client has.
    """

    keep: int
    messages: list[Message]
    start: int | None = None


def splice(before: State, after: State, tree: Tree) -> Splice | None:
    """The step from one transcript to that of the next revision; None where it stays the same. Depends on nothing but
    the log, so a client that comes back is sent the same as one that stayed."""
    if before.head == after.head:
        return None
    keep, start = after.keep, after.start
    messages = shown(tree, tree.nodes[after.head], after.last_message, keep if start is None else start)
    return Splice(keep, messages, start)


def apply(state: State, event: Event, tree: Tree) -> State:
    """The state after `event`. `tree` holds (at least) every message up to this event.

    Precondition: `event.revision == state.revision + 1`.
    """
    if event.revision != state.revision + 1:
        raise ValueError(f"revision {event.revision} cannot follow {state.revision}")
    old, new = tree.nodes[state.head], tree.nodes[event.head]
    kept = new if old is new else common(old, new)
    keep, horizon, tail = kept.depth, state.horizon, new.tail_start()
    start = None
    if old is not new and (tail > keep or 0 < horizon >= keep):
        # More than a tail would have to be sent, or what is left ends at or before the first message that some client
        # has.
        start = horizon = tail
    elif tail > horizon:
        horizon = tail
    changed: dict[str, Any]
    match event.body:
        case TakenBack():
            changed = {"redo": _taken_off(state, old, new, kept)}
        case Submitted(message=message, title=title):
            changed = {"last_message": message, "redo": None, **_titled(title)}
        case Replied(message=message):
            reply = tree[message].message
            changed = {"last_message": message}
            if (took := Spent.of(reply)) is not None:
                changed["spent"] = state.spent + took
            if reply.model is not None and not state.model_chosen:
                changed["model"] = reply.model
        case RunStopped() | Picked() | Opened():
            changed = {}
        case Redone(steps=steps):
            changed = {"redo": _after(state.redo, steps)}
        case Edited(message=message, title=title):
            changed = {"last_message": message, "redo": _taken_off(state, old, new, kept), **_titled(title)}
        case Dropped(copies=copies):
            changed = {"last_message": state.last_message + copies, "redo": RedoLine(state.head, 1, state.redo)}
        case Titled(title=title):
            changed = {"title": title, "title_given": title is not None}
        case ModelChosen(model=model):
            changed = {"model": model, "model_chosen": model is not None}
        case PersonalityChosen(personality=personality):
            changed = {"personality": personality}
        case SystemChosen(system=system):
            changed = {"system": system}
        case Queued(id=number, content=content):
            by = Cause(connection=event.cause.connection, name=event.cause.name)
            changed = {"queue": (*state.queue, Waiting(number, content, by)), "last_queued": number}
        case QueueSent(id=number, message=message, title=title):
            changed = {"last_message": message, "redo": None, **_titled(title), **_without(state, number)}
        case QueueDropped(id=number):
            changed = _without(state, number)
        case QueuePaused():
            changed = {"queue_paused": True}
        case QueueResumed():
            changed = {"queue_paused": False}
        case Created() as created:
            return _created(created, event, start, tree)
        case _:
            assert_never(event.body)
    return msgspec.structs.replace(
        state,
        revision=event.revision,
        transcript_revision=state.transcript_revision if old is new else event.revision,
        head=event.head,
        horizon=horizon,
        keep=keep,
        start=start,
        updated_at=event.at,
        **changed,
    )


def _created(created: Created, event: Event, start: int | None, tree: Tree) -> State:
    imported = NOTHING_SPENT
    if created.input_tokens or created.output_tokens or created.estimated_cost is not None:
        cost = created.estimated_cost
        imported = Spent(created.input_tokens, created.output_tokens, cost=cost, unpriced=int(cost is None))
    spent = imported
    for message_id in range(1, created.messages + 1):
        message = tree[message_id].message
        # A copy took nothing: its original did.
        if message.original is None and (took := Spent.of(message)) is not None:
            spent += took
    queue = (Waiting(1, created.pending),) if created.pending and not created.pending.isspace() else ()
    return State(
        revision=event.revision,
        transcript_revision=event.revision,
        head=event.head,
        last_message=created.messages,
        horizon=start or 0,
        start=start,
        title=created.title,
        title_given=bool(created.title and not created.title.isspace()),
        model=created.model,
        workspace=created.workspace,
        personality=created.personality,
        system=created.system,
        created_at=event.at if created.created_at is None else created.created_at,
        updated_at=event.at,
        spent=spent,
        imported=imported,
        queue=queue,
        queue_paused=bool(queue),
        last_queued=len(queue),
        branched_from=created.branched_from,
    )


def _taken_off(state: State, old: Node, new: Node, kept: Node) -> RedoLine | None:
    """The redo line once the path to `old`, the transcript of `state`, has given way to that to `new`, and they share
    that to `kept`."""
    return state.redo if old is new else RedoLine(state.head, max(1, old.turns - kept.turns), state.redo)


def _after(line: RedoLine | None, steps: int) -> RedoLine | None:
    for _ in range(steps):
        if line is None:
            raise ValueError("more steps were redone than there were")
        line = line.rest
    return line


def _titled(title: str | None) -> dict[str, Any]:
    return {} if title is None else {"title": title, "title_given": False}


def _without(state: State, number: int) -> dict[str, Any]:
    """The queue without one message. An empty one is not paused: the next to wait begins anew."""
    queue = tuple(waiting for waiting in state.queue if waiting.id != number)
    return {"queue": queue, "queue_paused": state.queue_paused and bool(queue)}


class Step(_Value, frozen=True):
    """An event with the states around it."""

    event: Event
    before: State
    after: State


def fold(events: Iterable[Event], tree: Tree) -> Iterator[Step]:
    """The steps that a log takes from nothing. `tree` has all its messages, and has shown none yet. Raises KeyError
    and ValueError where the log does not fit its messages."""
    state = State()
    for event in events:
        before, state = state, apply(state, event, tree)
        tree.show(event.head)
        yield Step(event, before, state)
