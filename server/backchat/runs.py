"""One streaming reply: start, deltas, finish, stop."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from backchat.backends.base import Backend, Delta, Piece, Prompt, Report
from backchat.commands import check_text
from backchat.errors import BackendFailed, InvalidParams
from backchat.logs import tell
from backchat.sessions import Run, Session

CHECKPOINT_SECONDS: Final = 1.0
"""How much of a reply a crash can cost, at the most."""

REPORT_SECONDS: Final = 5.0
"""How long to wait, once a reply is whole, for what its provider says about it."""

_log = logging.getLogger("backchat.runs")


class Bounds(Struct, frozen=True, kw_only=True):
    """What a run may take: seconds for the first delta from when its turn comes, and from one piece to the next after
    that, and characters of text and reasoning together."""

    first_delta_seconds: float
    delta_seconds: float
    characters: int


class Runs:
    """Writes replies with one backend, each in a task of its own, `most` at a time: the others are live, and wait for
    their turn in the order in which they were started."""

    def __init__(self, backend: Backend, bounds: Bounds, most: int) -> None:
        self._backend = backend
        self._bounds = bounds
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(most)

    def start(self, session: Session, run: Run) -> None:
        """Begins to generate. The run is stopped by detaching it, which nobody waits for."""
        task = asyncio.get_running_loop().create_task(self._generate(session, run), name=f"run-{run.run_id}")
        run.cancel = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _generate(self, session: Session, run: Run) -> None:
        reason: str = "completed"
        error: BackendFailed | None = None
        saver: asyncio.TimerHandle | None = None

        def save() -> None:
            nonlocal saver
            saver = None
            session.checkpoint(run)

        try:
            async with self._turns, aclosing(self._pieces(session.prompt(run))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Report):
                        session.report(run, piece)
                        continue
                    session.delta(run, piece)
                    if saver is None:
                        saver = asyncio.get_running_loop().call_later(CHECKPOINT_SECONDS, save)
            if not str(run.text).strip():
                # The provider may have said why.
                raise BackendFailed(_EMPTY if run.note is None else f"{run.note} There was no answer: {_ADVICE}")
        except BackendFailed as failure:
            reason, error = "failed", failure
            if run.live:
                # Not what it says: that may be in a provider's words, which may be in a person's.
                cause = failure.__cause__
                kind = None if cause is None else type(cause).__name__
                status = getattr(cause, "status_code", None)
                tell(
                    _log, logging.WARNING, "reply failed", session=session.id, run=run.run_id, cause=kind, status=status
                )
        except Exception:  # noqa: BLE001
            # A defect in a backend must end its run, or the session would wait for ever.
            _log.exception("the backend failed")
            reason = "failed"
            error = BackendFailed("The backend failed in a way that nobody expected. The server's log says more.")
        finally:
            if saver is not None:
                saver.cancel()
        # Detached by now, perhaps: then this does nothing.
        await session.finish(run, reason, error)

    async def _pieces(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """The reply as it can be kept and sent. Raises BackendFailed where it cannot, or takes too long."""
        loop = asyncio.get_running_loop()
        first = loop.time() + self._bounds.first_delta_seconds
        begun = False
        over: float | None = None
        left = self._bounds.characters
        async with aclosing(self._backend.reply(prompt)) as pieces:
            while True:
                limit = asyncio.timeout_at(over or (loop.time() + self._bounds.delta_seconds if begun else first))
                try:
                    async with limit:
                        piece = await anext(pieces, None)
                except TimeoutError as error:
                    if not limit.expired():
                        raise
                    if over is not None:
                        return
                    raise BackendFailed(self._stalled(begun)) from error
                if piece is None:
                    return
                if isinstance(piece, Delta):
                    _check(piece.text)
                    begun = begun or bool(piece.text)
                    if len(piece.text) > left:
                        yield Delta(piece.text[:left], piece.reasoning)
                        raise BackendFailed(
                            f"The reply was longer than {self._bounds.characters:,} characters and is cut off here."
                            " --reply-characters sets the limit."
                        )
                    left -= len(piece.text)
                elif piece.whole and over is None:
                    over = loop.time() + REPORT_SECONDS
                yield piece

    def _stalled(self, begun: bool) -> str:
        if begun:
            return (
                f"The model wrote nothing more for {_seconds(self._bounds.delta_seconds)}. /retry asks again; a slow"
                " model needs a higher --delta-seconds."
            )
        return (
            f"The model wrote nothing for {_seconds(self._bounds.first_delta_seconds)}. /retry asks again; a model"
            " that takes long to load needs a higher --first-delta-seconds."
        )

    @property
    def number(self) -> int:
        """How many are being written, or end just now."""
        return len(self._tasks)

    async def close(self) -> None:
        """Cancels what is left, and waits for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_ADVICE: Final = "/retry asks again, /model chooses another model."
_EMPTY: Final = f"The model sent an empty reply. {_ADVICE}"


def _seconds(seconds: float) -> str:
    return "1 second" if seconds == 1 else f"{seconds:g} seconds"


def _check(text: str) -> None:
    """Raises BackendFailed for a piece that could be neither kept nor sent."""
    try:
        check_text(text, nul=True)
    except InvalidParams as error:
        raise BackendFailed(
            "The backend sent half of a surrogate pair, which is no text. /retry asks again."
        ) from error
