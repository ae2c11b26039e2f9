"""What each command does: `op(view, arguments) -> Outcome`, decided and nothing else (DESIGN section 2).

It does no I/O, reads no clock and takes no lock. Here is what takes back, brings back and asks again, and the queue;
branches.py has what moves to another path of the tree, choices.py what a person can choose, reports.py what only
looks.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from backchat.errors import (
    BackchatError,
    NoSuchMessage,
    NoSuchTurn,
    NotEditable,
    NothingToEdit,
    NothingToRedo,
    NothingToRetry,
    NothingToUndo,
    NotQueued,
    QueueFull,
)
from backchat.reports import queue_fields
from backchat.transcript import (
    BYTES_PER_TOKEN,
    Added,
    Created,
    Dropped,
    Edited,
    Message,
    Node,
    Origin,
    Queued,
    QueueDropped,
    QueuePaused,
    QueueResumed,
    QueueSent,
    Redone,
    Replied,
    RunStopped,
    Submitted,
    TakenBack,
    Usage,
    Waiting,
    chained,
    common,
    content_size,
    path,
    text_of,
)
from backchat.views import (
    Decided,
    LiveRun,
    Outcome,
    StartRun,
    StopRun,
    View,
    context_tokens,
    counted,
    line,
    preview,
)

PREVIEW: Final = 40
"""How many characters of an undone message its reply shows (DESIGN section 5)."""
AUTOMATIC_TITLE: Final = 60
"""The longest title made from a message, in characters, the ellipsis not counted."""


class Stopped(Struct, frozen=True):
    """The view once the live run, if there is one, has been cut short: what it had written is a message of the
    transcript."""

    head: Node
    events: tuple[Decided, ...] = ()
    stop: StopRun | None = None


def stopped_at(view: View) -> Stopped:
    """Ends the live run, if there is one: what a command that changes the transcript begins with."""
    if view.run is None:
        return Stopped(view.head)
    added = _reply(view, view.run, "stopped")
    if added is None:
        return Stopped(view.head, _paused(view, view.state.head), StopRun("stopped"))
    # A node that no tree holds yet: the session adds the message when it stages the outcome.
    head = Node(added.message, view.tree[added.parent], added.size)
    return Stopped(head, (_replied(added), *_paused(view, head.id)), StopRun("stopped"))


def _paused(view: View, head: int) -> tuple[Decided, ...]:
    """What waits is not sent by itself any more: the run that it waited for did not complete."""
    return (Decided(QueuePaused(), head),) if view.state.queue and not view.state.queue_paused else ()


def _reply(view: View, run: LiveRun, finish: str, note: str | None = None) -> Added | None:
    # A reply that was stopped before its first word is no message: absent, not torn (G6). Any other says why.
    if not (run.text or run.reasoning or note) and finish != "completed":
        return None
    usage = run.usage
    if usage is None and run.model is not None and (run.text or run.reasoning):
        # Nobody told: the reply was cut short, or the provider does not count.
        written = len(run.text.encode()) + len(run.reasoning.encode())
        usage = Usage(
            input_tokens=context_tokens(view, view.tree[run.parent]),
            output_tokens=-(-written // BYTES_PER_TOKEN),
            reasoning_tokens=len(run.reasoning.encode()) // BYTES_PER_TOKEN,
            estimated=True,
        )
    message = Message(
        id=view.state.last_message + 1,
        role="assistant",
        content=run.text,
        created_at=view.at,
        run_id=run.run_id,
        finish=finish,
        model=run.model,
        usage=usage,
        cost=None if usage is None or run.model is None else view.offer.price(run.model, usage),
        reasoning=run.reasoning or None,
        note=note or run.note,
    )
    return Added(message, run.parent, content_size(message))


def _replied(added: Added) -> Decided:
    return Decided(Replied(added.message.id), added.message.id, (added,))


def _start(view: View, parent: int, events: tuple[Decided, ...]) -> StartRun | None:
    """A run after these events; None where nothing replies."""
    if not view.offer.replies:
        return None
    # Named after the revision that starts it: no other run of the session has that one.
    return StartRun(f"r{view.state.revision + len(events)}", parent, view.model, view.system)


def _said(view: View, content: Any, message_id: int, parent: int) -> Added:
    message = Message(id=message_id, role="user", content=content, created_at=view.at)
    return Added(message, parent, content_size(message))


# What is not a command, but decided the same way.


def create(created: Created, added: Sequence[Added], head: int) -> Outcome:
    """The first event of a session, with the messages that it begins with: ids from 1, in order, parents first."""
    body = msgspec.structs.replace(created, messages=len(added))
    return Outcome(events=(Decided(body, head, tuple(added)),))


def submit(view: View, content: Any) -> Outcome:
    """Adds a user message and, with a backend, asks for a reply. While one is being written the message waits;
    QueueFull where no more can."""
    state = view.state
    if view.run is not None:
        if len(state.queue) >= view.offer.most_queued:
            raise QueueFull(view.offer.most_queued)
        number = state.last_queued + 1
        return Outcome(data={"queued_id": number}, events=(Decided(Queued(number, content), state.head),))
    added = _said(view, content, state.last_message + 1, state.head)
    message_id = added.message.id
    events = (Decided(Submitted(message_id, _automatic_title(view, content, view.head)), message_id, (added,)),)
    start = _start(view, message_id, events)
    data: dict[str, Any] = {"message_id": message_id}
    if start is not None:
        data["run_id"] = start.run_id
    return Outcome(data=data, events=events, start=start)


def _automatic_title(view: View, content: Any, parent: Node) -> str | None:
    """A title from the first message, unless the session has one that a person gave, or one from a message that is
    still the first. `content` is that of the message to come below `parent`."""
    state = view.state
    if state.title_given or (parent.turns and state.title and not state.title.isspace()):
        return None
    text = text_of(parent.ancestor_of_turn(1).message.content if parent.turns else content)
    # No more words of a long message than can matter.
    title = " ".join(text.split(None, AUTOMATIC_TITLE + 1)[: AUTOMATIC_TITLE + 1])
    if len(title) <= AUTOMATIC_TITLE:
        return title or None
    whole = title[: AUTOMATIC_TITLE + 1].rpartition(" ")[0]
    return (whole or title[:AUTOMATIC_TITLE]) + "…"


_INTERRUPTED: Final = "It was interrupted before anything of the answer was kept. /retry asks again."


def finish(view: View, reason: str, error: BackchatError | None = None) -> Outcome:
    """The live run has ended by itself, or must: its text becomes a message. If it completed, what waits longest is
    sent and the next run starts, in the same step. Precondition: there is a live run."""
    assert view.run is not None
    note = _INTERRUPTED if reason == "interrupted" and not view.run.text else None
    added = _reply(view, view.run, reason, note if error is None else str(error))
    events = () if added is None else (_replied(added),)
    head = view.state.head if added is None else added.message.id
    stop = StopRun(reason, error)
    if reason != "completed" or not view.state.queue or view.state.queue_paused:
        return Outcome(events=(*events, *_paused(view, head)) if reason != "completed" else events, stop=stop)
    return _sent(view, view.state.queue[:1], events, view.state.last_message + len(events), head, stop)


def _sent(
    view: View, messages: tuple[Waiting, ...], before: tuple[Decided, ...], last: int, head: int, stop: StopRun | None
) -> Outcome:
    """Adds waiting messages to the transcript after the events `before`, which end with `head` and message id `last`,
    and asks for a reply."""
    sent: list[Decided] = []
    title = _automatic_title(view, messages[0].content, view.head)
    for number, waiting in enumerate(messages, start=1):
        added = _said(view, waiting.content, last + number, head)
        head = added.message.id
        # Nobody asks for what follows a reply by itself; it is the doing of whoever wrote it.
        sent.append(Decided(QueueSent(waiting.id, head, title), head, (added,), None if stop is None else waiting.by))
        title = None
    events = (*before, *sent)
    return Outcome(events=events, stop=stop, start=_start(view, head, events))


def pause(view: View) -> Outcome:
    """A restart: nothing that waits is sent by itself any more."""
    return Outcome(events=_paused(view, view.state.head))


# The commands that change the transcript (DESIGN section 5).


def retry(view: View) -> Outcome:
    """Takes the last user message and all after it off and sends the same content again."""
    stopped = stopped_at(view)
    last_user = stopped.head.turn
    if last_user is None:
        raise NothingToRetry
    removed = stopped.head.depth - last_user.depth + 1
    text = text_of(last_user.message.content)
    resend = view.offer.replies
    # An event even where the head is there already: a retry must be found by its op_id, or it would ask twice.
    head = last_user.id if resend else last_user.parent.id
    events = (*stopped.events, Decided(TakenBack(), head))
    return Outcome(
        data={"last_user_text": text, "removed_count": removed, "resent": resend},
        events=events,
        notice="Asking again." if resend else "Your last message is back in the composer.",
        prefill=None if resend else text,
        stop=stopped.stop,
        start=_start(view, last_user.id, events),
    )


def undo(view: View, turns: int = 1) -> Outcome:
    """Takes the last turn off, or the last `turns` (>= 1); more than there are means all."""
    stopped = stopped_at(view)
    there = stopped.head.turns
    if not there:
        raise NothingToUndo
    taken = min(turns, there)
    oldest = stopped.head.ancestor_of_turn(there - taken + 1)
    removed = stopped.head.depth - oldest.depth + 1
    text = text_of(oldest.message.content)
    return Outcome(
        data={"removed_count": removed, "removed_preview": preview(text, PREVIEW), "turns": taken},
        events=(*stopped.events, Decided(TakenBack(), oldest.parent.id)),
        notice=f"Took back {counted(taken, 'turn')} ({counted(removed, 'message')}).",
        prefill=text,
        stop=stopped.stop,
    )


def clear(view: View) -> Outcome:
    """Takes everything off; nothing is destroyed."""
    stopped = stopped_at(view)
    removed = stopped.head.depth
    if removed == 0:
        return Outcome(data={"removed_count": 0}, notice="There is nothing on screen to clear.")
    return Outcome(
        data={"removed_count": removed},
        events=(*stopped.events, Decided(TakenBack(), 0)),
        notice=f"Cleared the transcript ({counted(removed, 'message')}).",
        stop=stopped.stop,
    )


def redo(view: View, turns: int | None = None) -> Outcome:
    """Brings back what the last step took off: an /undo of any length is one, and so are a /retry, a /clear, an /edit
    and a /drop. With `turns`, as many steps as it takes to have so many turns back; more than there are means all."""
    stopped = stopped_at(view)
    old = target = stopped.head
    taken = steps = brought = 0
    there = old.id
    for number, step in enumerate(view.state.redo or (), start=1):
        if step.head == there:
            # Its transcript is there again already, by another way.
            continue
        there = step.head
        taken += step.turns
        if there != old.id:
            steps, brought, target = number, taken, view.tree[there]
        if turns is None or taken >= turns:
            break
    if target is old:
        raise NothingToRedo
    kept = common(old, target)
    removed = old.depth - kept.depth
    instead = f" in place of {counted(removed, 'message')}" if removed else ""
    return Outcome(
        data={"turns": brought, "restored_count": target.depth - kept.depth, "removed_count": removed},
        events=(*stopped.events, Decided(Redone(steps), target.id)),
        notice=f"Brought back {counted(brought, 'turn')}{instead}.",
        stop=stopped.stop,
    )


def found(view: View, message: int, *, before_text: bool = False) -> Node:
    """The message with this id. Raises NoSuchMessage."""
    node = view.tree.get(message)
    if node is None:
        raise NoSuchMessage(message, before_text=before_text)
    return node


def edit(view: View, message: int | None = None, *, text: str) -> Outcome:
    """Puts a message with this text beside a user message, the last of the transcript by default, and asks for a
    reply to it. What follows the old one stays with the old one."""
    stopped = stopped_at(view)
    if message is None:
        old = stopped.head.turn
        if old is None:
            raise NothingToEdit
    else:
        old = found(view, message, before_text=True)
        if old.message.role != "user":
            raise NotEditable(message)
    content = _with_text(old.message.content, text)
    added = _said(view, content, view.state.last_message + len(_added(stopped)) + 1, old.parent.id)
    title = _automatic_title(view, content, old.parent)
    events = (*stopped.events, Decided(Edited(added.message.id, title), added.message.id, (added,)))
    start = _start(view, added.message.id, events)
    removed = stopped.head.depth - common(stopped.head, old.parent).depth
    off = f" ({counted(removed, 'message')} came off, which /redo brings back)" if removed else ""
    return Outcome(
        data={"message_id": added.message.id, "edited": old.id, "removed_count": removed},
        events=events,
        notice=f"Edited message {old.id:,}{off}{'; asking again.' if start is not None else '.'}",
        stop=stopped.stop,
        start=start,
    )


def _added(stopped: Stopped) -> list[Added]:
    return [added for decided in stopped.events for added in decided.added]


def _with_text(content: Any, text: str) -> Any:
    """Content with another text: what else it has (images) stays."""
    if not isinstance(content, list):
        return text
    texts = [isinstance(part, dict) and part.get("type") == "text" for part in content]
    if all(texts):
        return text
    place = texts.index(True) if any(texts) else len(texts)
    parts = [part for part, is_text in zip(content, texts, strict=True) if not is_text]
    parts.insert(place, {"type": "text", "text": text})
    return parts


def drop(view: View, turn: int) -> Outcome:
    """Takes one turn out, the first of the transcript being 1; what follows it is copied (DESIGN section 2).
    NoSuchTurn where there are not as many."""
    stopped = stopped_at(view)
    head = stopped.head
    if turn > head.turns:
        raise NoSuchTurn(turn, head.turns)
    first = head.ancestor_of_turn(turn)
    end = head.depth if turn == head.turns else head.ancestor_of_turn(turn + 1).depth - 1
    added = chained(_copies(path(head, end), view.state.last_message + len(_added(stopped)) + 1), first.parent.id)
    removed = end - first.depth + 1
    text = text_of(first.message.content)
    return Outcome(
        data={"turn": turn, "removed_count": removed, "removed_preview": preview(text, PREVIEW)},
        events=(
            *stopped.events,
            Decided(Dropped(first.id, len(added)), added[-1].message.id if added else first.parent.id, added),
        ),
        notice=f"Took turn {turn:,} out ({counted(removed, 'message')}). /redo brings it back.",
        stop=stopped.stop,
    )


def _copies(messages: Sequence[Message], first: int) -> list[Message]:
    """Copies of messages of the same session, numbered from `first`, that name the very first original of each."""
    return [
        # No run of this place in the tree wrote it.
        msgspec.structs.replace(message, id=number, run_id=None, original=_own(message.original) or Origin(message.id))
        for number, message in enumerate(messages, start=first)
    ]


def _own(original: Origin | None) -> Origin | None:
    return None if original is None or original.session_id is not None else original


def stop(view: View) -> Outcome:
    """Ends the live run and keeps what it had written."""
    if view.run is None:
        return Outcome(data={"stopped": False}, notice="No reply is being written.")
    stopped = stopped_at(view)
    # An event even where nothing was written: a stop must be found by its op_id, or it would stop the next run too.
    events = stopped.events or (Decided(RunStopped(), view.state.head),)
    waiting = len(view.state.queue)
    notice = "Stopped."
    if waiting:
        notice += f" {counted(waiting, 'message')} {'waits' if waiting == 1 else 'wait'}; /queue go sends on."
    return Outcome(data={"stopped": True}, events=events, notice=notice, stop=stopped.stop)


# The queue.


def queue(view: View) -> Outcome:
    """Lists what waits."""
    state = view.state
    lines = [f"{waiting.id}: {line(text_of(waiting.content))}" for waiting in state.queue]
    if not lines:
        lines = ["No message is waiting."]
    elif state.queue_paused:
        lines.append("Paused: /queue go sends on, /queue drop takes one out.")
    else:
        lines.append("The next is sent when the reply is done.")
    return Outcome(data={"queue": queue_fields(state), "paused": state.queue_paused}, notice="\n".join(lines))


def queue_drop(view: View, number: int | None) -> Outcome:
    """Takes a waiting message out, the last one by default, and gives its text back. NotQueued where there is none."""
    waiting = next((one for one in reversed(view.state.queue) if number in (None, one.id)), None)
    if waiting is None:
        raise NotQueued(number)
    text = text_of(waiting.content)
    return Outcome(
        data={"queued_id": waiting.id},
        events=(Decided(QueueDropped(waiting.id), view.state.head),),
        notice="Taken out of the queue.",
        prefill=text,
    )


def queue_go(view: View) -> Outcome:
    """Sends on what waits: at once where nothing runs, else after the live run. NotQueued where nothing waits."""
    state = view.state
    if not state.queue:
        raise NotQueued
    resumed = (Decided(QueueResumed(), state.head),) if state.queue_paused else ()
    if view.run is not None:
        return Outcome(events=resumed, notice="The next is sent when the reply is done.")
    # Where nothing replies, nothing ends that the rest could wait for.
    messages = state.queue[:1] if view.offer.replies else state.queue
    outcome = _sent(view, messages, resumed, state.last_message, state.head, None)
    data = {"sent": [waiting.id for waiting in messages]}
    return msgspec.structs.replace(outcome, data=data, notice=f"Sent {counted(len(messages), 'waiting message')}.")
