"""What a backend is."""

from collections.abc import AsyncIterator
from typing import Protocol

from backchat.transcript import Message


class Backend(Protocol):
    """Generates replies. Nothing of a session is known to it but the transcript it is given."""

    def reply(self, transcript: list[Message]) -> AsyncIterator[str]:
        """The reply to a transcript, piece by piece. Raises BackendFailed with a sentence for a person.

        The iteration is cancelled when the run is stopped.
        """
