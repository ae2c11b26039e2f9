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
from backchat.sessions import Run, Session

CHECKPOINT_SECONDS: Final = 1.0
"""How much of a reply a crash can cost, at the most."""

_log = logging.getLogger("backchat.runs")


class Patience(Struct, frozen=True, kw_only=True):
    """How long a run waits, in seconds: for the first delta from its start, and from one piece to the next after
    that."""

    first_delta: float
    delta: float


class Runs:
    """Writes replies with one backend, each in a task of its own."""

    def __init__(self, backend: Backend, patience: Patience) -> None:
        self._backend = backend
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()

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
            async with aclosing(self._pieces(session.prompt(run))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Report):
                        session.report(run, piece)
                        continue
                    session.delta(run, piece)
                    if saver is None:
                        saver = asyncio.get_running_loop().call_later(CHECKPOINT_SECONDS, save)
            if not str(run.text).strip():
                raise BackendFailed(_EMPTY)
        except BackendFailed as failure:
            reason, error = "failed", failure
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
        first = loop.time() + self._patience.first_delta
        begun = False
        async with aclosing(self._backend.reply(prompt)) as pieces:
            while True:
                limit = asyncio.timeout_at(loop.time() + self._patience.delta if begun else first)
                try:
                    async with limit:
                        piece = await anext(pieces, None)
                except TimeoutError as error:
                    if not limit.expired():
                        raise
                    raise BackendFailed(self._stalled(begun)) from error
                if piece is None:
                    return
                if isinstance(piece, Delta):
                    _check(piece.text)
                    begun = begun or bool(piece.text)
                yield piece

    def _stalled(self, begun: bool) -> str:
        if begun:
            return (
                f"The model wrote nothing more for {self._patience.delta:g} seconds. /retry asks again; a slow model"
                " needs a higher --delta-seconds."
            )
        return (
            f"The model wrote nothing for {self._patience.first_delta:g} seconds. /retry asks again; a model that"
            " takes long to load needs a higher --first-delta-seconds."
        )

    async def close(self) -> None:
        """Cancels what is left, and waits for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_EMPTY: Final = "The model sent an empty reply. /retry asks again."


def _check(text: str) -> None:
    """Raises BackendFailed for a piece that could be neither kept nor sent."""
    try:
        check_text(text, nul=True)
    except InvalidParams as error:
        raise BackendFailed(
            "The backend sent half of a surrogate pair, which is no text. /retry asks again."
        ) from error
