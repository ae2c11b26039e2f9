"""A backend that writes what the test dictates, so that a reply is exactly as far as the test says."""

import asyncio
from collections.abc import AsyncGenerator

from backchat.transcript import Message
from tests.support.server import Running


class Dictation:
    """Takes the place of a server's backend. Replies stay live until they are ended or stopped."""

    def __init__(self, server: Running) -> None:
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        assert server.backchat._runs is not None
        server.backchat._runs._backend = self

    def say(self, *pieces: str) -> None:
        """The reply goes on with these."""
        for piece in pieces:
            self._pieces.put_nowait(piece)

    def end(self) -> None:
        """The reply ends here."""
        self._pieces.put_nowait(None)

    async def reply(self, transcript: list[Message]) -> AsyncGenerator[str, None]:
        """See `Backend.reply`."""
        del transcript
        while (piece := await self._pieces.get()) is not None:
            yield piece
