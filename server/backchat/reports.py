"""What a session is and what it used, for /status and /usage and for the clients' own display."""

from typing import Any, Final

from backchat.transcript import Spent, State, text_of
from backchat.views import Offer, Outcome, View, context_tokens, counted, preview

QUEUE_PREVIEW: Final = 200
"""How many characters of a waiting message are shown."""
PROMPT_PREVIEW: Final = 40
"""How many characters of a system prompt a notice shows."""


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
    }


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
        lines.append(f"System prompt: {preview(state.system, PROMPT_PREVIEW)}")
    lines.append("A reply is being written." if view.run else "Nothing is running.")
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
