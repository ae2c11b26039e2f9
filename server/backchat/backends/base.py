"""What a backend is, and what passes between it and a run."""

from collections.abc import AsyncGenerator
from typing import Protocol

from msgspec import Struct

from backchat.transcript import Message, Usage


class Prompt(Struct, frozen=True, kw_only=True):
    """What a reply is asked for: the transcript, and what is sent with it.

    `model` is None where the backend has no models; `system` is the system prompt, sent before the messages.
    """

    model: str | None
    system: str | None
    messages: list[Message]


class Delta(Struct, frozen=True):
    """A piece of the reply; of the reasoning that comes before the answer where `reasoning` is set. `text` is as it
    came: a backend does not check that it can be stored."""

    text: str
    reasoning: bool = False


class Report(Struct, frozen=True, kw_only=True):
    """What the provider says about the reply. It may come more than once; a field that is None says nothing.

    `model` is the model that answered, `note` a sentence for a person about how the reply ended. After `whole` there
    is no more of the reply, only reports.
    """

    model: str | None = None
    usage: Usage | None = None
    note: str | None = None
    whole: bool = False


Piece = Delta | Report


class Backend(Protocol):
    """Generates replies. Nothing of a session is known to it but the prompt it is given."""

    model: str | None
    """The model that replies where a session chose none; None for a backend that has no models."""

    def reply(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """The reply, piece by piece. Raises BackendFailed with a sentence for a person.

        It is cancelled or closed when the run is stopped. Time limits are not its business.
        """

    async def models(self) -> list[str]:
        """The models that can be chosen. Raises BackendFailed."""

    def price(self, model: str, usage: Usage) -> float | None:
        """What a reply cost, in US dollars; None when that is unknown."""

    async def close(self) -> None:
        """Lets go of connections. No reply is asked for afterwards."""
