"""Views for ops, made without a session."""

from typing import Any

from msgspec.structs import replace

from backchat import ops
from backchat.transcript import Cause, Created, Event, Message, State, Tree, apply, chained
from backchat.views import LiveRun, Offer, Outcome, View

AT = 1_800_000_000.0
NOBODY = Cause()


def messages(*contents: Any) -> list[Message]:
    """Messages that begin with a user's and alternate; a pair `(role, content)` is taken as it is."""
    made = []
    for number, content in enumerate(contents, start=1):
        role, said = content if isinstance(content, tuple) else (("assistant", "user")[number % 2], content)
        made.append(Message(id=number, role=role, content=said, created_at=AT))
    return made


def begun(created: Created, *contents: Any) -> Outcome:
    """The first event of a session with these messages."""
    return ops.create(created, chained(messages(*contents)), len(contents))


def advanced(
    state: State, tree: Tree, outcome: Outcome, at: float = AT, cause: Cause = NOBODY
) -> tuple[State, list[Event]]:
    """The state after an outcome, whose messages go into `tree`; `cause` is that of its last event."""
    events = []
    for decided in outcome.events:
        for added in decided.added:
            tree.add(added)
        by = decided.by or (cause if decided is outcome.events[-1] else replace(cause, op_id=None))
        event = Event(state.revision + 1, at, decided.head, decided.body, by)
        state = apply(state, event, tree)
        tree.show(event.head)
        events.append(event)
    return state, events


def view(
    *contents: Any,
    run: str | LiveRun | None = None,
    replies: bool = True,
    created: Created | None = None,
    offer: Offer | None = None,
) -> View:
    """A session with these messages; `run` is the live run, or its text so far."""
    tree = Tree()
    state, _ = advanced(State(), tree, begun(created or Created(), *contents))
    return View(
        session_id="s",
        state=state,
        tree=tree,
        run=LiveRun("live", state.head, run) if isinstance(run, str) else run,
        at=AT,
        new_id="fresh",
        offer=offer or Offer(replies=replies),
    )
