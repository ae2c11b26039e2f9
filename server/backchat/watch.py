"""Those who watch the list of sessions: told what changed in it, some time after, and as one."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from starlette.websockets import WebSocket

from backchat import frames
from backchat.errors import BackchatError, InvalidRequest
from backchat.frames import BadFrame, RequestId, SessionsChanged, Watching
from backchat.outbox import Outbox
from backchat.writing import writing

FLUSH_SECONDS: Final = 0.25
"""How long what changed waits for more."""
MOST_CHANGED: Final = 50
"""How many sessions one frame tells of, at the most."""

Summaries = Callable[[list[str]], Awaitable[list[dict[str, Any]]]]
"""Those of these sessions that are not deleted, as a list has them. Raises BackchatError."""


class Watchers:
    """All that watch the sessions of one owner. Whatever changes costs next to nothing while nobody does."""

    def __init__(self, summaries: Summaries) -> None:
        self._summaries = summaries
        self._outboxes: set[Outbox] = set()
        # In the order of their first change.
        self._changed: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None
        self._quiet = False

    @property
    def number(self) -> int:
        """How many watch."""
        return len(self._outboxes)

    def changed(self, session_id: str) -> None:
        """Something has become durable that a list may show, or a run has begun or ended."""
        if self._outboxes:
            self._changed[session_id] = None
            self._later()

    def add(self, outbox: Outbox) -> None:
        """From now on the outbox gets what changes."""
        outbox.push(frames.notification(Watching()))
        self._outboxes.add(outbox)

    def remove(self, outbox: Outbox) -> None:
        """The opposite of `add`."""
        self._outboxes.discard(outbox)
        if not self._outboxes:
            self._changed.clear()

    def close(self) -> None:
        """Tells nobody anything any more: the server goes down."""
        self._quiet = True
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None:
            self._telling.cancel()

    def _later(self) -> None:
        if self._timer is None and self._telling is None and not self._quiet:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        ids = list(self._changed)[:MOST_CHANGED]
        if not ids:
            # Those who watched left before the time was up.
            self._telling = None
            return
        for session_id in ids:
            # What changes from here on is told next time.
            del self._changed[session_id]
        told = frozenset(self._outboxes)
        try:
            summaries = await self._summaries(ids)
        except BackchatError as error:
            # Whoever watches reads the list anew when they come back.
            for outbox in self._outboxes:
                outbox.close(error.close, str(error))
        else:
            there = {summary["session_id"] for summary in summaries}
            frame = frames.notification(SessionsChanged(summaries, [one for one in ids if one not in there]))
            for outbox in told & self._outboxes:
                outbox.push(frame)
        finally:
            self._telling = None
        if self._changed:
            self._later()


class Everyone:
    """All that watch, by whose sessions they watch. `summaries` takes the owner first."""

    def __init__(self, summaries: Callable[[str, list[str]], Awaitable[list[dict[str, Any]]]]) -> None:
        self._summaries = summaries
        self._watchers: dict[str, Watchers] = {}

    def of(self, owner: str) -> Watchers:
        """Those who watch somebody's sessions."""
        if owner not in self._watchers:
            self._watchers[owner] = Watchers(partial(self._summaries, owner))
        return self._watchers[owner]

    @property
    def number(self) -> int:
        """How many watch."""
        return sum(watchers.number for watchers in self._watchers.values())

    def changed(self, owner: str, session_id: str) -> None:
        """See `Watchers.changed`."""
        if (watchers := self._watchers.get(owner)) is not None:
            watchers.changed(session_id)

    def close(self) -> None:
        """See `Watchers.close`."""
        for watchers in self._watchers.values():
            watchers.close()


async def watch(websocket: WebSocket, watchers: Watchers, outbox: Outbox, seconds: float) -> None:
    """Serves one accepted WebSocket, which has nothing to say, until either side closes it. `seconds` is how long
    frames that are sent together may take to leave."""
    watchers.add(outbox)
    try:
        async with writing(websocket, outbox, seconds):
            while (message := await websocket.receive())["type"] != "websocket.disconnect":
                error = InvalidRequest("This connection only listens; /ws/ID is where a session takes requests.")
                outbox.push(frames.error_reply(_request_id(message.get("text")), error))
    finally:
        watchers.remove(outbox)


def _request_id(text: str | None) -> RequestId:
    if text is None:
        return None
    try:
        return frames.decode(text).id
    except BadFrame as bad:
        return bad.id
