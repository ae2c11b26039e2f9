"""What a backend is."""

from collections.abc import AsyncGenerator
from typing import Protocol

from backchat.transcript import Message


class Backend(Protocol):
    """Generates replies. Nothing of a session is known to it but the transcript it is given."""

    def reply(self, transcript: list[Message]) -> AsyncGenerator[str, None]:
        """The reply to a transcript, piece by piece. Raises BackendFailed with a sentence for a person.

        It is cancelled when the run is stopped.
        """
