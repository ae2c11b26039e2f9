"""A backend that says back what was said, word by word: enough to try everything without a model."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

from backchat.transcript import Message, text_of

WORD: Final = re.compile(r"\s*\S+\s*?(?=\s|\Z)|\s+")


class Echo:
    """Streams the last user message. `delay` is the time between words, in seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay

    async def reply(self, transcript: list[Message]) -> AsyncGenerator[str, None]:
        """See `Backend.reply`."""
        said = next((text_of(message.content) for message in reversed(transcript) if message.role == "user"), "")
        if not said.strip():
            said = "(There was no text to say back.)"
        for word in WORD.findall(said):
            if self._delay:
                await asyncio.sleep(self._delay)
            yield word
