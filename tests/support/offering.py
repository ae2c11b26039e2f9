"""A scripted backend that has models, and a price for one of them."""

import asyncio

from msgspec.structs import replace

from backchat.errors import BackendFailed
from backchat.transcript import Usage
from tests.support.scripted import Scripted
from tests.support.server import Running


class Offering(Scripted):
    """Offers these models. The first one replies where a session chose none, and is the only one with a known price.

    `asked` counts how often the models were asked for; the answer waits for `lists`, and is `fault` where that is set.
    """

    def __init__(self, server: Running, *names: str) -> None:
        super().__init__(server)
        self.names = list(names)
        self.model = names[0]
        self.asked = 0
        self.lists = asyncio.Event()
        self.lists.set()
        self.fault: str | None = None
        backchat = server.backchat
        backchat._offer = replace(backchat._offer, model=self.model, price=self.price)
        assert backchat._models is not None
        backchat._models._backend = self

    async def models(self) -> list[str]:
        """See `Backend.models`."""
        self.asked += 1
        await self.lists.wait()
        if self.fault is not None:
            raise BackendFailed(self.fault)
        return self.names

    def price(self, model: str, usage: Usage) -> float | None:
        """See `Backend.price`. In steps that floats can hold."""
        return (usage.input_tokens + 2 * usage.output_tokens) / 1024 if model == self.names[0] else None
