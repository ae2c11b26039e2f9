"""Links that see the replies of a model."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from tests.bench.links import TEXT, Link, Target, failing

_DELTA: Final = b'{"jsonrpc":"2.0","method":"run.delta",'
_ENDED: Final = b'{"jsonrpc":"2.0","method":"run.ended",'


class Watcher(Link):
    """A connection that sees runs: `seen` is called at each delta (on an echo: any frame), and `ended` with the frame
    that says how a run ended. `last` is the last delta's frame."""

    def __init__(self, target: Target, path: str) -> None:
        super().__init__(target, path)
        self.seen: Callable[[], object] = nothing
        self.ended: Callable[[bytes], object] = nothing
        self.last = b""

    def _skim(self, data: bytes) -> bool:
        # Most often it is one delta: with a thousand clients each look at it counts.
        if len(data) > 4 and data[1] == 126:
            body, size = 4, data[2] << 8 | data[3]
        else:
            body, size = 2, data[1] if len(data) > 2 else 0
        whole = data[0] == TEXT and len(data) == body + size
        if not whole or not (self.target.echoes or data.startswith(_DELTA, body)):
            return False
        self.last = data[body:]
        self.seen()
        return True

    def _frame(self, data: bytes, opcode: int, at: int, length: int) -> None:
        if opcode == TEXT and (self.target.echoes or data.startswith(_DELTA, at)):
            self.last = data[at : at + length]
            self.seen()
        elif data.startswith(_ENDED, at):
            self.ended(data[at : at + length])
        else:
            super()._frame(data, opcode, at, length)


def nothing(*_: object) -> None:
    """Does nothing."""


def completed(frame: bytes) -> bool:
    """Whether a run ended by itself, from the frame that says that it ended."""
    return b'"reason":"completed"' in frame


def run_over(link: Watcher) -> asyncio.Future[None]:
    """Done when a run has ended on a link; fails where it did not complete."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    link.ended, link.failed = partial(_over, link, over), failing(over)
    return over


def _over(link: Watcher, over: asyncio.Future[None], frame: bytes) -> None:
    if completed(frame):
        over.set_result(None)
    else:
        link.failed(RuntimeError(frame.decode()))
