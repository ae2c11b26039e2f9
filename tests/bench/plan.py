"""How much is measured."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """How much is measured. `mode` is what the figures are recorded under. A measurement takes `seconds`, or ends
    sooner when a session has no turn left."""

    mode: str
    rounds: int
    seconds: float
    crowds: tuple[int, int, int] = (1, 50, 500)
    """Connections in the rows of round trips."""
    turns_a_second: int = 20_000
    """How many turns a server is believed to take back, at the most: so many are seeded."""
    lengths: tuple[int, ...] = (10, 1000, 10_000)
    """Messages in the sessions that are attached to, and undone on."""
    stored: tuple[int, ...] = (10, 1000, 10_000)
    """Sessions in the data directories that are compared."""
    grown: tuple[int, int] = (10_000, 2000)
    """Messages in a long session, and how many sessions it is among."""
    times: int
    """How often a single thing (an undo, an attachment, a row) is timed, for each round."""
    fan_seconds: float
    """How long a measurement with a run's deltas takes."""
    fans: tuple[int, int, int] = (1, 100, 1000)
    """To how many clients a run's deltas go."""
    starts: int
    """Rounds of what begins with a new process: starts and imports."""
    fills: int
    """Rounds of servers that are filled with clients, for their memory."""
    clients: int
    """Connections whose memory is measured."""
    imported: int
    """Files that are imported."""

    def measurements(self, seconds: float | None = None) -> Iterator[tuple[int, float]]:
        """The rounds: their numbers, and how long (default: `seconds`) a measurement takes. Number 0 is not counted: it
        warms up caches, the allocator and the processor."""
        seconds = self.seconds if seconds is None else seconds
        yield 0, seconds / 4
        for number in range(1, self.rounds + 1):
            yield number, seconds


FULL: Final = Plan(
    mode="full", rounds=7, seconds=1.0, times=120, fan_seconds=0.7, starts=5, fills=3, clients=500, imported=600
)
QUICK: Final = Plan(
    mode="quick",
    rounds=3,
    seconds=0.15,
    turns_a_second=14_000,
    stored=(10, 1000),
    times=30,
    fan_seconds=0.15,
    starts=2,
    fills=1,
    clients=200,
    imported=200,
)
