"""What a server has done since it started, and what there is just now, in numbers."""

from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Final

from msgspec import Struct

WRITE_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""The upper bounds of the classes for the times that writes took, in seconds; one more class has the rest."""


class Counts:
    """Counters, to be read at any time. They only ever rise."""

    __slots__ = (
        "commits", "connections", "errors", "failed_commits", "frames", "requests", "runs", "slow", "watchers",
        "write_seconds", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.connections = 0
        self.watchers = 0
        self.frames = 0
        # By command, `message` for one, or by method; by code; by reason.
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.errors: defaultdict[str, int] = defaultdict(int)
        self.runs: defaultdict[str, int] = defaultdict(int)
        self.slow = 0
        self.commits = 0
        self.failed_commits = 0
        self.writes = [0] * (len(WRITE_SECONDS) + 1)
        self.write_seconds = 0.0

    def wrote(self, commits: int, failed: int, seconds: float) -> None:
        """A batch of commits was written, or not, in this time."""
        self.commits += commits - failed
        self.failed_commits += failed
        self.writes[bisect_left(WRITE_SECONDS, seconds)] += 1
        self.write_seconds += seconds


class Gauges(Struct, frozen=True, kw_only=True):
    """What there is just now."""

    connections: int
    watchers: int
    sessions: int
    idle_sessions: int
    runs: int
    users: int
    database: Path
    """The main file of the database; the others are beside it."""
