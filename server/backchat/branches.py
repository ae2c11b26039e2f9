"""What moves to another path of the message tree: variants, any message, the head of an earlier revision; and what
begins a new session from a message.

Moves leave the redo line alone: they take nothing back, and each has its own way back (DESIGN section 2: nothing is
ever destroyed).
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from backchat.choices import MOST_TITLE, checked_title
from backchat.errors import NoSuchRevision, NoSuchVariant, NothingToBranch
from backchat.ops import found, stopped_at
from backchat.transcript import (
    Created,
    ModelChosen,
    Node,
    Opened,
    Origin,
    Picked,
    Variant,
    chained,
    common,
    path,
    text_of,
)
from backchat.views import Decided, Opening, Outcome, View, counted, line, preview

BRANCH: Final = " (branch)"
"""What a branch without a title of its own adds to that of its session."""


class Destination(Struct, frozen=True):
    """Where the head shall move: to a message, or to where it was at a revision."""

    message: int | None = None
    revision: int | None = None

    def __str__(self) -> str:
        return f"@{self.revision}" if self.message is None else str(self.message)


def pick(view: View, message: int, variant: int | None = None) -> Outcome:
    """Puts a message on screen, or one of its variants, with the path below it that was last on screen."""
    node = found(view, message)
    if variant is not None:
        siblings = view.tree.variants(node, view.state.last_message)
        if variant > len(siblings):
            raise NoSuchVariant(f"Message {message:,} has {counted(len(siblings), 'variant')}, no {variant:,}.")
        node = view.tree[siblings[variant - 1]]
    return _picked(view, node)


def previous(view: View) -> Outcome:
    """The variant before the one on screen, of the last message of the last turn that has one."""
    return _beside(view, -1)


def following(view: View) -> Outcome:
    """The variant after the one on screen, of the last message of the last turn that has one."""
    return _beside(view, 1)


def _beside(view: View, by: int) -> Outcome:
    node = view.head
    if by < 0 and node is node.turn:
        # Nothing answers the question, or what does has not been committed: the newest answer comes before it. What a
        # person said next is no answer.
        answers = (view.tree[child] for child in reversed(node.children))
        if (newest := next((answer for answer in answers if answer is not answer.turn), None)) is not None:
            return _picked(view, newest)
    while node.depth and node.turn is not None:
        siblings = view.tree.variants(node, view.state.last_message)
        at = siblings.index(node.id) + by
        if 0 <= at < len(siblings):
            return _picked(view, view.tree[siblings[at]])
        if node is node.turn:
            break
        node = node.parent
    raise NoSuchVariant(f"The last turn has no {'earlier' if by < 0 else 'later'} variant.")


def _picked(view: View, node: Node) -> Outcome:
    target = view.tree.last_shown(node)
    # What is on screen already stays, and so does a reply that is being written.
    outcome = Outcome() if target is view.head else _moved(view, target)
    variant = _variant(view, node, outcome)
    which = "" if variant is None else f" Variant {variant.index:,} of {variant.count:,}."
    text = line(text_of(node.message.content))
    notice = f"Message {node.id:,}.{which} {text}"
    return _told(outcome, {"message_id": node.id, "variant": variant}, notice)


def _variant(view: View, node: Node, outcome: Outcome) -> Variant | None:
    """Which variant a message is once an outcome has happened: a reply that it cuts short is one more."""
    variant = view.tree.variant(node, view.state.last_message) or Variant(1, 1)
    more = sum(added.parent == node.parent.id for decided in outcome.events for added in decided.added)
    count = variant.count + more
    return None if count == 1 else Variant(variant.index, count)


def goto(view: View, place: Destination) -> Outcome:
    """Moves the head to a message, or to where it was at a revision."""
    if place.revision is None:
        assert place.message is not None
        target = found(view, place.message)
    elif place.revision > len(view.heads):
        raise NoSuchRevision(place.revision, len(view.heads))
    else:
        target = view.tree[view.heads[place.revision - 1]]
    outcome = _moved(view, target)
    end = f"ends with message {target.id:,}" if target.depth else "is empty"
    back = view.state.revision + len(outcome.events) - 1
    way = f" /goto @{back} goes back." if outcome.events else ""
    return _told(outcome, {"message_id": target.id or None}, f"The transcript {end} now.{way}")


def _moved(view: View, target: Node) -> Outcome:
    stopped = stopped_at(view)
    if target is stopped.head and view.run is None:
        return Outcome()
    kept = common(stopped.head, target).depth
    return Outcome(
        data={"removed_count": stopped.head.depth - kept, "restored_count": target.depth - kept},
        events=(*stopped.events, Decided(Picked(), target.id)),
        stop=stopped.stop,
    )


def _told(outcome: Outcome, data: dict[str, Any], notice: str) -> Outcome:
    counts = outcome.data or {"removed_count": 0, "restored_count": 0}
    if outcome.stop is not None:
        counts = {**counts, "stopped": True}
        notice = f"The reply that was being written was stopped.\n{notice}"
    return msgspec.structs.replace(outcome, data={**data, **counts}, notice=notice)


def branch(view: View, message: int | None = None, title: str | None = None) -> Outcome:
    """Makes a new session of copies of the transcript up to a message, by default all of it, with the choices of this
    one."""
    state = view.state
    node = view.head if message is None else found(view, message, before_text=True)
    if not node.depth:
        raise NothingToBranch
    if title is not None:
        title = checked_title(title)
    elif state.title and not state.title.isspace():
        title = preview(state.title, MOST_TITLE - len(BRANCH) - 3) + BRANCH
    # What they took was paid for there, and no run of this session wrote them.
    added = chained(
        msgspec.structs.replace(
            message, id=number, run_id=None, usage=None, cost=None, original=Origin(message.id, view.session_id)
        )
        for number, message in enumerate(path(node), start=1)
    )
    created = Created(
        messages=len(added),
        title=title,
        model=state.model,
        workspace=state.workspace,
        personality=state.personality,
        system=state.system,
        branched_from=Origin(node.id, view.session_id),
    )
    events = [Decided(created, len(added), added)]
    if state.model is not None and state.model_chosen:
        events.append(Decided(ModelChosen(state.model), len(added)))
    return Outcome(
        data={"session_id": view.new_id, "title": title, "message_id": node.id},
        events=(Decided(Opened(view.new_id, node.id), state.head),),
        notice=f"A new session with {counted(len(added), 'message')}: connect to /ws/{view.new_id}",
        opens=Opening(view.new_id, tuple(events)),
    )
