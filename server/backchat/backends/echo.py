"""A backend that says back what was said, word by word: enough to try everything without a model."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

from backchat.backends.base import Delta, Piece, Prompt
from backchat.transcript import Usage, text_of

WORD: Final = re.compile(r"\s*\S+\s*?(?=\s|\Z)|\s+")


class Echo:
    """Streams the last user message. `delay` is the time between words, in seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self.model: str | None = None

    async def reply(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """See `Backend.reply`."""
        said = next((text_of(message.content) for message in reversed(prompt.messages) if message.role == "user"), "")
        if not said.strip():
            said = "(There was no text to say back.)"
        for word in WORD.findall(said):
            if self._delay:
                await asyncio.sleep(self._delay)
            yield Delta(word)

    async def models(self) -> list[str]:
        """See `Backend.models`."""
        return []

    def price(self, model: str, usage: Usage) -> float | None:
        """See `Backend.price`."""
        return None

    async def close(self) -> None:
        """See `Backend.close`."""
