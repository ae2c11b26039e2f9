"""A backend that writes what the test says, so that a reply is exactly as far as the test wants it."""

import asyncio
from collections.abc import AsyncGenerator

from backchat.backends.base import Delta, Piece, Prompt, Report
from backchat.errors import BackendFailed
from backchat.transcript import Usage
from tests.support.server import Running

_Step = Piece | BackendFailed | None


class Scripted:
    """Takes the place of a server's backend. A reply stays live until it is ended, failed or stopped.

    Steps are taken in order by whichever reply is live; what is left when one is stopped goes to the next, unless
    `forget` is called. `prompts` are what replies were asked for.
    """

    def __init__(self, server: Running) -> None:
        self.prompts: list[Prompt] = []
        self.model: str | None = None
        self._steps: asyncio.Queue[_Step] = asyncio.Queue()
        runs = server.backchat._runs
        assert runs is not None
        runs._backend = self

    def say(self, *pieces: str) -> None:
        """The reply goes on with these."""
        for piece in pieces:
            self._steps.put_nowait(Delta(piece))

    def reason(self, *pieces: str) -> None:
        """The model thinks this."""
        for piece in pieces:
            self._steps.put_nowait(Delta(piece, reasoning=True))

    def report(
        self,
        *,
        model: str | None = None,
        usage: Usage | None = None,
        note: str | None = None,
        whole: bool = False,
    ) -> None:
        """The provider says this of the reply."""
        self._steps.put_nowait(Report(model=model, usage=usage, note=note, whole=whole))

    def end(self) -> None:
        """The reply ends here."""
        self._steps.put_nowait(None)

    def fail(self, sentence: str) -> None:
        """The reply fails here."""
        self._steps.put_nowait(BackendFailed(sentence))

    def forget(self) -> None:
        """Drops the steps that no reply has taken yet."""
        self._steps = asyncio.Queue()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """See `Backend.reply`."""
        self.prompts.append(prompt)
        while (step := await self._steps.get()) is not None:
            if isinstance(step, BackendFailed):
                raise step
            yield step

    async def models(self) -> list[str]:
        """See `Backend.models`."""
        return []

    def price(self, model: str, usage: Usage) -> float | None:
        """See `Backend.price`."""
        del model, usage
        return None

    async def close(self) -> None:
        """See `Backend.close`."""
