"""What each command does: `op(view, arguments) -> Outcome`, decided and nothing else (DESIGN section 2).

An op sees the staged state, the tree and the live run, and what only the session can know: the time, and whether
anything replies. It does no I/O, reads no clock and takes no lock.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct, field

from backchat.errors import BackchatError, NothingToRetry, NothingToUndo, RunActive
from backchat.transcript import (
    Added,
    Body,
    Created,
    HeadMoved,
    Message,
    Node,
    Replied,
    State,
    Submitted,
    Tree,
    content_size,
    text_of,
)

PREVIEW: Final = 40
"""How many characters of an undone message its reply shows (DESIGN section 5)."""


class LiveRun(Struct, frozen=True):
    """The reply being generated: a child of message `parent`, with `text` so far."""

    run_id: str
    parent: int
    text: str


class View(Struct, frozen=True, kw_only=True):
    """All that an op may look at.

    `at` is the time of deciding, in seconds since the epoch; `replies` says whether there is a backend to reply at
    all.
    """

    session_id: str
    state: State
    tree: Tree
    run: LiveRun | None
    at: float
    replies: bool

    @property
    def head(self) -> Node:
        return self.tree[self.state.head]


class Decided(Struct, frozen=True):
    """One event to be: its body, the head after it, and the messages that it adds, parents first."""

    body: Body
    head: int
    added: tuple[Added, ...] = ()


class StartRun(Struct, frozen=True):
    """A run to start once the events are durable: a reply to the transcript that ends with message `parent`."""

    run_id: str
    parent: int


class StopRun(Struct, frozen=True):
    """The live run ends with these events. `reason` and `error` are what `run.ended` says."""

    reason: str
    error: BackchatError | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What an op decides: events, the reply, and whether a run stops or starts."""

    data: dict[str, Any] = field(default_factory=dict)
    events: tuple[Decided, ...] = ()
    notice: str | None = None
    prefill: str | None = None
    stop: StopRun | None = None
    start: StartRun | None = None


class Stopped(Struct, frozen=True):
    """The view once the live run, if there is one, has been cut short: what it had written is a message of the
    transcript."""

    head: Node
    events: tuple[Decided, ...] = ()
    stop: StopRun | None = None


def _stopped(view: View) -> Stopped:
    if view.run is None:
        return Stopped(view.head)
    added = _reply(view, view.run, "stopped")
    if added is None:
        return Stopped(view.head, (), StopRun("stopped"))
    # A node that no tree holds yet: the session adds the message when it stages the outcome.
    head = Node(added.message, view.tree[added.parent], added.size)
    return Stopped(head, (_replied(added),), StopRun("stopped"))


def _reply(view: View, run: LiveRun, finish: str) -> Added | None:
    # A reply that was cut short before its first word is no message: absent, not torn (G6).
    if not run.text and finish != "completed":
        return None
    message = Message(
        id=view.state.last_message + 1,
        role="assistant",
        content=run.text,
        created_at=view.at,
        run_id=run.run_id,
        finish=finish,
    )
    return Added(message, run.parent, content_size(message))


def _replied(added: Added) -> Decided:
    return Decided(Replied(added.message.id), added.message.id, (added,))


def _start(view: View, parent: int, events: tuple[Decided, ...]) -> StartRun:
    # Named after the revision that starts it: no other run of the session has that one.
    return StartRun(f"r{view.state.revision + len(events)}", parent)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# What is not a command, but decided the same way.


def create(created: Created, messages: list[Message]) -> Outcome:
    """The first event of a session, with the messages that it begins with: ids from 1, in order."""
    body = msgspec.structs.replace(created, messages=len(messages))
    added = tuple(Added(message, message.id - 1, content_size(message)) for message in messages)
    return Outcome(events=(Decided(body, len(messages), added),))


def submit(view: View, content: Any) -> Outcome:
    """Adds a user message and, with a backend, asks for a reply. RunActive while one is being written."""
    if view.run is not None:
        raise RunActive
    message = Message(id=view.state.last_message + 1, role="user", content=content, created_at=view.at)
    added = Added(message, view.state.head, content_size(message))
    events = (Decided(Submitted(message.id), message.id, (added,)),)
    start = _start(view, message.id, events) if view.replies else None
    data: dict[str, Any] = {"message_id": message.id}
    if start is not None:
        data["run_id"] = start.run_id
    return Outcome(data=data, events=events, start=start)


def finish(view: View, reason: str, error: BackchatError | None = None) -> Outcome:
    """The live run has ended by itself, or must: its text becomes a message. Precondition: there is a live run."""
    assert view.run is not None
    added = _reply(view, view.run, reason)
    return Outcome(events=() if added is None else (_replied(added),), stop=StopRun(reason, error))


# The commands (DESIGN section 5).


def retry(view: View) -> Outcome:
    """Takes the last user message and all after it off and sends the same content again."""
    stopped = _stopped(view)
    last_user = stopped.head.turn
    if last_user is None:
        raise NothingToRetry
    removed = stopped.head.depth - last_user.depth + 1
    text = text_of(last_user.message.content)
    resend = view.replies
    # An event even where the head is there already: a retry must be found by its op_id, or it would ask twice.
    head = last_user.id if resend else last_user.parent.id
    events = (*stopped.events, Decided(HeadMoved(), head))
    return Outcome(
        data={"last_user_text": text, "removed_count": removed, "resent": resend},
        events=events,
        notice="Asking again." if resend else "Your last message is back in the composer.",
        prefill=None if resend else text,
        stop=stopped.stop,
        start=_start(view, last_user.id, events) if resend else None,
    )


def undo(view: View, turns: int = 1) -> Outcome:
    """Takes the last turn off, or the last `turns` (>= 1); more than there are means all."""
    stopped = _stopped(view)
    oldest = stopped.head.turn
    if oldest is None:
        raise NothingToUndo
    taken = 1
    while taken < turns and (previous := oldest.parent.turn) is not None:
        oldest = previous
        taken += 1
    removed = stopped.head.depth - oldest.depth + 1
    text = text_of(oldest.message.content)
    return Outcome(
        data={
            "removed_count": removed,
            "removed_preview": text[:PREVIEW] + ("..." if len(text) > PREVIEW else ""),
            "turns": taken,
        },
        events=(*stopped.events, Decided(HeadMoved(), oldest.parent.id)),
        notice=f"Took back {_count(taken, 'turn')} ({_count(removed, 'message')}).",
        prefill=text,
        stop=stopped.stop,
    )


def stop(view: View) -> Outcome:
    """Ends the live run and keeps what it had written."""
    if view.run is None:
        return Outcome(data={"stopped": False}, notice="No reply is being written.")
    stopped = _stopped(view)
    return Outcome(data={"stopped": True}, events=stopped.events, notice="Stopped.", stop=stopped.stop)


def status_fields(session_id: str, state: State, message_count: int, running: bool) -> dict[str, Any]:
    """The fields of /status, as they also appear in `attached` and in the HTTP API."""
    return {
        "session_id": session_id,
        "title": state.title,
        "model": state.model,
        "workspace": state.workspace,
        "personality": state.personality,
        "message_count": message_count,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "agent_running": running,
    }


def usage_fields(state: State) -> dict[str, Any]:
    """The fields of /usage. A cost of None is an unknown one."""
    return {
        "input_tokens": state.input_tokens,
        "output_tokens": state.output_tokens,
        "total_tokens": state.input_tokens + state.output_tokens,
        "estimated_cost": state.estimated_cost,
        "model": state.model,
    }


def status(view: View) -> Outcome:
    """Says what the session is."""
    data = status_fields(view.session_id, view.state, view.head.depth, view.run is not None)
    lines = [
        f"{view.state.title or 'Untitled session'}: {_count(view.head.depth, 'message')}",
        f"Model: {view.state.model or 'none'}",
    ]
    if view.state.workspace:
        lines.append(f"Workspace: {view.state.workspace}")
    if view.state.personality:
        lines.append(f"Personality: {view.state.personality}")
    lines.append("A reply is being written." if view.run else "Nothing is running.")
    return Outcome(data=data, notice="\n".join(lines))


def usage(view: View) -> Outcome:
    """Says what the session has used."""
    data = usage_fields(view.state)
    cost = "unknown" if view.state.estimated_cost is None else f"${view.state.estimated_cost:.5f}"
    return Outcome(
        data=data,
        notice=f"{data['input_tokens']:,} tokens in, {data['output_tokens']:,} out, {data['total_tokens']:,} in all\n"
        f"Estimated cost: {cost}\nModel: {view.state.model or 'none'}",
    )
