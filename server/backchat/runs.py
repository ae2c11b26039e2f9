"""One streaming reply: start, deltas, finish, stop."""

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from backchat.backends.base import Backend
from backchat.commands import check_text
from backchat.errors import BackendFailed, InvalidParams
from backchat.sessions import Run, Session

CHECKPOINT_SECONDS: Final = 1.0
"""How much of a reply a crash can cost, at the most."""

_log = logging.getLogger("backchat.runs")


class Runs:
    """Writes replies with one backend, each in a task of its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
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
            async with aclosing(self._backend.reply(session.transcript(run))) as pieces:
                async for piece in pieces:
                    session.delta(run, _checked(piece))
                    if saver is None:
                        saver = asyncio.get_running_loop().call_later(CHECKPOINT_SECONDS, save)
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

    async def close(self) -> None:
        """Cancels what is left, and waits for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _checked(piece: str) -> str:
    """Raises BackendFailed for a piece that could be neither kept nor sent."""
    try:
        check_text(piece, nul=True)
    except InvalidParams as error:
        raise BackendFailed("The backend sent half of a surrogate pair, which is no text.") from error
    return piece
