"""What an op sees and what it decides: the types that ops share, and words that they have in common."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct, field

from backchat.errors import BackchatError
from backchat.transcript import BYTES_PER_TOKEN, Added, Body, Cause, Event, Node, State, Tree, Usage


class LiveRun(Struct, frozen=True):
    """The reply being generated: a child of message `parent`, with `text` and `reasoning` so far.

    `model`, `usage` and `note` are what is known of it by now. A model of None is none at all: nothing to pay for.
    """

    run_id: str
    parent: int
    text: str
    reasoning: str = ""
    model: str | None = None
    usage: Usage | None = None
    note: str | None = None


class Offer(Struct, frozen=True, kw_only=True):
    """What the server offers to every session.

    `replies` says whether anything replies at all; `model` which one where a session chose none, None where the
    backend has no models; `models` those known to be on offer, if any are; `personalities` the prompts, by name;
    `price` a lookup of what tokens of a model cost, in US dollars, None where that is unknown; `most_queued` how many
    messages may wait in a session.
    """

    replies: bool
    model: str | None = None
    models: tuple[str, ...] = ()
    personalities: Mapping[str, str] = field(default_factory=dict)
    price: Callable[[str, Usage], float | None] = lambda model, usage: None
    most_queued: int = 20


class View(Struct, frozen=True, kw_only=True):
    """All that an op may look at.

    `at` is the time of deciding, in seconds since the epoch; `new_id` an id for a new session. `heads` are the heads
    after each revision so far, from revision 1 on; `events` looks the last so many events up, newest first, as far as
    they are at hand.
    """

    session_id: str
    state: State
    tree: Tree
    run: LiveRun | None
    at: float
    new_id: str
    offer: Offer
    heads: Sequence[int] = ()
    events: Callable[[int], list[Event]] = lambda count: []

    @property
    def head(self) -> Node:
        return self.tree[self.state.head]

    @property
    def model(self) -> str | None:
        """The model of the next reply; None where the backend has none."""
        return next_model(self.state, self.offer)

    @property
    def system(self) -> str | None:
        """What is sent before the transcript: the personality's prompt, then the session's own."""
        prompts = (self.offer.personalities.get(self.state.personality or ""), self.state.system)
        return "\n\n".join(prompt for prompt in prompts if prompt) or None


class Decided(Struct, frozen=True):
    """One event to be: its body, the head after it, and the messages that it adds, parents first. `by` is who caused
    it, where that is not whoever asked for the outcome."""

    body: Body
    head: int
    added: tuple[Added, ...] = ()
    by: Cause | None = None


class StartRun(Struct, frozen=True):
    """A run to start once the events are durable: a reply by `model` to the transcript that ends with message
    `parent`, with the prompt `system` before it."""

    run_id: str
    parent: int
    model: str | None
    system: str | None


class StopRun(Struct, frozen=True):
    """The live run ends with these events. `reason` and `error` are what `run.ended` says."""

    reason: str
    error: BackchatError | None = None


class Opening(Struct, frozen=True):
    """A new session, to be committed together with the outcome that asks for it."""

    session_id: str
    events: tuple[Decided, ...]


class Outcome(Struct, frozen=True, kw_only=True):
    """What an op decides: events, the reply, whether a run stops or starts, and a session to make."""

    data: dict[str, Any] = field(default_factory=dict)
    events: tuple[Decided, ...] = ()
    notice: str | None = None
    prefill: str | None = None
    stop: StopRun | None = None
    start: StartRun | None = None
    opens: Opening | None = None


def next_model(state: State, offer: Offer) -> str | None:
    """The model of a session's next reply; None where the backend has none. What an import names is not chosen: the
    endpoint it came from is not ours."""
    if offer.model is None:
        return None
    return state.model if state.model_chosen else offer.model


def context_tokens(view: View, node: Node) -> int:
    """About how many tokens a request with the messages up to `node` has."""
    if node.counted:
        # With the system prompt of that time.
        return node.context
    return node.context + len((view.system or "").encode()) // BYTES_PER_TOKEN


@lru_cache(maxsize=256)
def counted(number: int, noun: str) -> str:
    """A number of things, like `2 turns`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def preview(text: str, most: int) -> str:
    """The first `most` characters of a text, and `...` if it is longer."""
    return text[:most] + ("..." if len(text) > most else "")


def line(text: str, most: int = 60) -> str:
    """The first `most` characters of a text on one line, and `...` if there is more: what a notice shows of what
    somebody wrote, so that it cannot look like a line of the notice's own."""
    shown = " ".join(text[: 4 * most].split())
    return preview(shown, most) if len(text) <= 4 * most else shown[:most] + "..."
