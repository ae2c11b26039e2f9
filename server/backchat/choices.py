"""What a person can choose for a session: its title, model, personality and system prompt; and a new session."""

from typing import Final

from backchat.errors import InvalidParams, NoSuchPersonality, TooLarge
from backchat.reports import shown_model, shown_personality
from backchat.transcript import Created, ModelChosen, Opened, PersonalityChosen, SystemChosen, Titled
from backchat.views import Decided, Offer, Opening, Outcome, View

MOST_TITLE: Final = 400
"""The longest title, in characters."""
MOST_SYSTEM: Final = 32_000
"""The longest system prompt that a person can set, in characters."""
MOST_MODEL: Final = 200
"""The longest name of a model, in characters."""
MOST_LISTED: Final = 20
"""How many names a notice lists."""
NONE: Final = "none"
"""What takes a choice back."""


def checked_title(text: str) -> str:
    """A title on one line. Raises InvalidParams where nothing is left, or too much."""
    title = " ".join(text.split())
    if not title:
        raise InvalidParams("The title is empty.")
    if len(title) > MOST_TITLE:
        raise InvalidParams(f"A title takes at most {MOST_TITLE} characters.")
    return title


def title(view: View, text: str | None = None) -> Outcome:
    """Shows the title, or sets it."""
    if text is None:
        return Outcome(data={"title": view.state.title}, notice=f"Title: {view.state.title or 'none yet'}")
    text = checked_title(text)
    return Outcome(data={"title": text}, events=retitle(view, text).events, notice=f"Title: {text}")


def retitle(view: View, title: str | None) -> Outcome:
    """Sets a title as `checked_title` gives it, or takes it away; then the next message may give one."""
    return Outcome(events=(Decided(Titled(title), view.state.head),))


def model(view: View, name: str | None = None) -> Outcome:
    """Shows which model replies, chooses one, or leaves it to the server. InvalidParams beyond MOST_MODEL."""
    offer = view.offer
    if name is None or offer.model is None:
        lines = [f"Model: {view.model or shown_model(view.state, offer) or 'none'}"]
        if offer.models:
            more = len(offer.models) - MOST_LISTED
            names = [*offer.models[:MOST_LISTED], *([f"and {more:,} more"] if more > 0 else [])]
            lines.append(f"There are: {', '.join(names)}")
        elif offer.model is not None:
            lines.append("The endpoint has not told yet which models it has; ask again in a moment.")
        else:
            lines.append("What replies here has no models to choose from.")
        return Outcome(data={"model": view.model, "models": list(offer.models)}, notice="\n".join(lines))
    check_model(name)
    chosen = None if name.lower() == NONE else name
    notice = f"Model: {chosen or offer.model}, from the next reply on."
    if chosen is not None and offer.models and not offers(offer, chosen):
        notice += " It is not among those that the endpoint lists."
    return Outcome(data={"model": chosen}, events=(Decided(ModelChosen(chosen), view.state.head),), notice=notice)


def check_model(name: str) -> None:
    """Raises InvalidParams for what can be no name of a model."""
    if not name.strip() or len(name) > MOST_MODEL or not name.isprintable():
        raise InvalidParams(f"The name of a model is one line of at most {MOST_MODEL} characters.")


def offers(offer: Offer, model: str) -> bool:
    """Whether a model is among those that the endpoint lists. Ollama's `llama3.2` is its `llama3.2:latest`."""
    return model in offer.models or f"{model}:latest" in offer.models


def personality(view: View, name: str | None = None) -> Outcome:
    """Shows the personality, chooses one, or none. NoSuchPersonality for one that the server has no prompt for."""
    names = sorted(view.offer.personalities, key=str.lower)
    if name is None:
        lines = [f"Personality: {shown_personality(view)}"]
        lines.append(f"There are: {', '.join(names)}" if names else "The server has no prompts to choose from.")
        return Outcome(data={"personality": view.state.personality, "personalities": names}, notice="\n".join(lines))
    chosen = name if name in names else next((one for one in names if one.lower() == name.lower()), None)
    if chosen is None and name.lower() != NONE:
        raise NoSuchPersonality(name, names)
    return Outcome(
        data={"personality": chosen},
        events=(Decided(PersonalityChosen(chosen), view.state.head),),
        notice=f"Personality: {chosen or NONE}, from the next reply on.",
    )


def system(view: View, text: str | None = None) -> Outcome:
    """Shows the session's own system prompt, sets it, or takes it away. TooLarge beyond MOST_SYSTEM."""
    if text is None:
        return Outcome(data={"system": view.state.system}, notice=f"System prompt: {view.state.system or NONE}")
    if len(text) > MOST_SYSTEM:
        raise TooLarge(f"A system prompt takes at most {MOST_SYSTEM:,} characters.")
    chosen = None if text.lower() == NONE else text
    return Outcome(
        data={"system": chosen},
        events=(Decided(SystemChosen(chosen), view.state.head),),
        notice="The system prompt is gone." if chosen is None else "The system prompt counts from the next reply on.",
    )


def new(view: View, title: str | None = None) -> Outcome:
    """Makes a new session, with the model and the personality of this one."""
    state = view.state
    title = None if title is None else checked_title(title)
    chosen = state.model if state.model_chosen else None
    events = [Decided(Created(title=title, model=chosen, personality=state.personality), 0)]
    if chosen is not None:
        events.append(Decided(ModelChosen(chosen), 0))
    return Outcome(
        data={"session_id": view.new_id, "title": title},
        # An event here too, so that a retransmission finds the session and makes no second one.
        events=(Decided(Opened(view.new_id), state.head),),
        notice=f"A new session: connect to /ws/{view.new_id}",
        opens=Opening(view.new_id, tuple(events)),
    )
