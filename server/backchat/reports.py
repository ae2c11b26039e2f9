"""What a session is, what it used and what was done to it, for /status, /usage and /log and for the clients' own
display."""

from typing import Any, Final, assert_never

from backchat.transcript import (
    Created,
    Dropped,
    Edited,
    Event,
    ModelChosen,
    Opened,
    PersonalityChosen,
    Picked,
    Queued,
    QueueDropped,
    QueuePaused,
    QueueResumed,
    QueueSent,
    Redone,
    Replied,
    RunStopped,
    Spent,
    State,
    Submitted,
    SystemChosen,
    TakenBack,
    Titled,
    Tree,
    text_of,
)
from backchat.views import Offer, Outcome, View, context_tokens, counted, line, next_model, preview

QUEUE_PREVIEW: Final = 200
"""How many characters of a waiting message are shown."""
LOGGED: Final = 10
"""How many events /log shows unless told."""
IMPORT: Final = "import"
"""What stands for a command where a session was imported."""
MOST_LOGGED: Final = 200
"""How many events /log shows at the most."""


def shown_model(state: State, offer: Offer) -> str | None:
    """The model of a session, as clients are told of it: the server's own where the session never had another."""
    return state.model or offer.model


def shown_personality(view: View) -> str:
    """The personality's name, and whether there is a prompt of that name."""
    name = view.state.personality
    if name is None or name in view.offer.personalities:
        return name or "none"
    return f"{name} (this server has no prompt of that name, so none is sent)"


def status_fields(session_id: str, state: State, offer: Offer, message_count: int, running: bool) -> dict[str, Any]:
    """The fields of /status, as they also appear in `attached` and in the HTTP API."""
    return {
        "session_id": session_id,
        "title": state.title,
        "model": shown_model(state, offer),
        "workspace": state.workspace,
        "personality": state.personality,
        "system": state.system,
        "message_count": message_count,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "agent_running": running,
        "queue": queue_fields(state),
        "queue_paused": state.queue_paused,
        "redo_steps": redo_steps(state),
        "branched_from": state.branched_from,
    }


def choice_fields(state: State, offer: Offer) -> dict[str, Any]:
    """Which model replies next, and whether a person chose it; None where the backend has none."""
    return {"next_model": next_model(state, offer), "model_chosen": state.model_chosen}


def redo_steps(state: State) -> int:
    """How many steps /redo could bring back, a reply that is being written aside. The first of the line do not count
    where the transcript is there already, by another way."""
    step = state.redo
    while step is not None and step.head == state.head:
        step = step.rest
    return 0 if step is None else step.steps


def spent_fields(spent: Spent) -> dict[str, Any]:
    """What replies took, as clients are told of it. A cost of None is an unknown one."""
    return {
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "total_tokens": spent.input_tokens + spent.output_tokens,
        "cached_tokens": spent.cached_tokens,
        "reasoning_tokens": spent.reasoning_tokens,
        "estimated_cost": spent.cost,
        "unpriced": spent.unpriced,
        "estimated": spent.estimated,
    }


def status(view: View) -> Outcome:
    """Says what the session is."""
    state = view.state
    data = status_fields(view.session_id, state, view.offer, view.head.depth, view.run is not None)
    lines = [
        f"{state.title or 'Untitled session'}: {counted(view.head.depth, 'message')}",
        f"Model: {data['model'] or 'none'}",
    ]
    if view.model not in (None, data["model"]) and state.spent == state.imported:
        # What an import names, and nothing has replied here yet.
        lines.append(f"The next reply comes from {view.model}.")
    if state.workspace:
        lines.append(f"Workspace: {state.workspace}")
    if state.personality:
        lines.append(f"Personality: {shown_personality(view)}")
    if state.system:
        lines.append(f"System prompt: {line(state.system)}")
    lines.append("A reply is being written." if view.run else "Nothing is running.")
    if state.branched_from is not None:
        lines.append(f"Branched from message {state.branched_from.message_id:,} of {state.branched_from.session_id}.")
    if steps := redo_steps(state):
        lines.append(f"/redo can bring {counted(steps, 'step')} back.")
    if state.queue:
        lines.append(f"{counted(len(state.queue), 'message')} in the queue{', paused' if state.queue_paused else ''}.")
    return Outcome(data=data, notice="\n".join(lines))


def usage(view: View) -> Outcome:
    """Says what the session has used, what of that is on screen, and what the next turn would send."""
    state = view.state
    on_screen = state.imported + view.head.spent
    context = context_tokens(view, view.head)
    data = {
        **spent_fields(state.spent),
        "model": shown_model(state, view.offer),
        "on_screen": spent_fields(on_screen),
        "context_tokens": context,
    }
    return Outcome(
        data=data,
        notice=f"In all: {_spent(state.spent)}\nOn screen: {_spent(on_screen)}\n"
        f"The next turn would send about {context:,} tokens and what you write.\nModel: {data['model'] or 'none'}",
    )


def _spent(spent: Spent) -> str:
    cost = "cost unknown" if spent.cost is None else f"cost about ${spent.cost:.5f}"
    if spent.cost is not None and spent.unpriced:
        cost += ", and more whose price is unknown"
    of_input = f" ({spent.cached_tokens:,} cached)" if spent.cached_tokens else ""
    of_output = f" ({spent.reasoning_tokens:,} reasoning)" if spent.reasoning_tokens else ""
    return (
        f"{'about ' if spent.estimated else ''}{spent.input_tokens:,} tokens in{of_input}, "
        f"{spent.output_tokens:,} out{of_output}, {spent.input_tokens + spent.output_tokens:,} together; {cost}"
    )


def queue_fields(state: State) -> list[dict[str, Any]]:
    """What waits, as clients are told of it."""
    return [{"id": waiting.id, "preview": preview(text_of(waiting.content), QUEUE_PREVIEW)} for waiting in state.queue]


def log(view: View, count: int = LOGGED) -> Outcome:
    """Says what was done to the session, newest first: by whom, and how long ago."""
    events = view.events(min(count, MOST_LOGGED))
    entries = []
    lines = []
    for event in events:
        did, cause = _did(event, view.tree), event.cause
        command = None if cause.command in (None, IMPORT) else f"/{cause.command}"
        who = cause.name or (cause.connection and f"connection {cause.connection}")
        entries.append(
            {
                "revision": event.revision,
                "at": event.at,
                "command": cause.command,
                "did": did,
                "head": event.head or None,
                "cause": cause,
            }
        )
        by = "".join(f", {word}" for word in (who, command) if word)
        lines.append(f"@{event.revision} ({_ago(view.at - event.at)}{by}): {did}")
    if events and events[-1].revision > 1 and len(events) < min(count, view.state.revision):
        lines.append("What came before is kept, but is not shown here.")
    return Outcome(data={"events": entries}, notice="\n".join(lines))


_STOPPED: Final = "stopped the reply before its first word"


def _did(event: Event, tree: Tree) -> str:
    """What an event did, in a few words."""

    def message(number: int) -> str:
        return f"message {number:,}: {line(text_of(tree[number].message.content))}"

    end = f"the transcript ends with message {event.head:,}" if event.head else "the transcript is empty"
    match event.body:
        case Created(messages=messages, branched_from=origin):
            began = "was imported" if event.cause.command == IMPORT else "began"
            began += f" with {counted(messages, 'message')}" if messages else ""
            if origin is not None:
                began += f", branched from message {origin.message_id:,} of {origin.session_id}"
            return began
        case Submitted(message=number) | QueueSent(message=number):
            return f"sent {message(number)}"
        case Replied(message=number):
            finish = tree[number].message.finish
            return f"reply, {message(number)}" if finish == "completed" else f"reply ({finish}), {message(number)}"
        case RunStopped():
            return _STOPPED
        case TakenBack():
            # An early log has a stop before the first word as this.
            return _STOPPED if event.cause.command == "stop" else f"took back: {end}"
        case Redone(steps=steps):
            return f"brought {counted(steps, 'step')} back: {end}"
        case Edited(message=number):
            return f"edited, {message(number)}"
        case Picked():
            return f"chose: {end}"
        case Dropped(turn=number):
            return f"took out the turn of {message(number)}"
        case Titled(title=title):
            return "took the title away" if title is None else f"title: {line(title)}"
        case ModelChosen(model=model):
            return f"model: {model or 'the server’s own'}"
        case PersonalityChosen(personality=personality):
            return f"personality: {personality or 'none'}"
        case SystemChosen(system=system):
            return f"system prompt: {line(system or 'none')}"
        case Queued(content=content):
            return f"put in the queue: {line(text_of(content))}"
        case QueueDropped(id=number):
            return f"took {number:,} out of the queue"
        case QueuePaused():
            return "the queue was paused"
        case QueueResumed():
            return "the queue went on"
        case Opened(session_id=session_id, message=None):
            return f"began the session {session_id}"
        case Opened(session_id=session_id, message=number):
            return f"branched from message {number:,} into the session {session_id}"
        case _:
            assert_never(event.body)


def _ago(seconds: float) -> str:
    """How long ago something was, in its largest unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "just now"
