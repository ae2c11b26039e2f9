"""What waits to be sent on one connection: bounded, in order, with waiting deltas merged (DESIGN section 2)."""

import asyncio
from collections import deque
from typing import Final

import msgspec

from backchat import frames
from backchat.frames import AnyDelta

MOST_TOGETHER: Final = 64 * 1024
"""Frames are written together up to about this many characters, so that what waits behind them still counts."""


class _Deltas:
    """Adjacent deltas of one text of one run that wait together."""

    __slots__ = ("_frame", "_texts", "first", "size")

    def __init__(self, delta: AnyDelta, frame: str) -> None:
        self.first = delta
        self._frame = frame
        self._texts = [delta.text]
        self.size = len(frame)

    def takes(self, delta: AnyDelta) -> bool:
        return self.first.run_id == delta.run_id and type(self.first) is type(delta)

    def add(self, delta: AnyDelta) -> None:
        self._texts.append(delta.text)
        self.size += len(delta.text)

    def encoded(self) -> str:
        if len(self._texts) == 1:
            return self._frame
        return frames.notification(msgspec.structs.replace(self.first, text="".join(self._texts)))


class Outbox:
    """Takes frames without blocking, gives them to the one task that writes.

    `most_frames` and `most_characters` bound what waits behind the frame being written. Past either the outbox is
    `overflowed`: it drops what it holds and takes no more, since the client can resume from the last revision it got.
    """

    def __init__(self, most_frames: int, most_characters: int) -> None:
        self._most_frames = most_frames
        self._most_characters = most_characters
        self._waiting: deque[str | _Deltas] = deque()
        self._characters = 0
        self._wake: asyncio.Future[None] | None = None
        self.closing: tuple[int, str] | None = None
        """The close code and reason, once there is one. What is held then is still sent, unless it was too much."""

    def push(self, frame: str) -> None:
        """Takes an encoded frame."""
        if self.closing is None:
            self._waiting.append(frame)
            self._added(len(frame))

    def push_delta(self, delta: AnyDelta, frame: str) -> None:
        """Takes a delta and the frame that it makes alone; merges it with deltas of the same text that wait at the
        end."""
        if self.closing is not None:
            return
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, _Deltas) and last.takes(delta):
            last.add(delta)
            self._added(len(delta.text))
        else:
            self._waiting.append(_Deltas(delta, frame))
            self._added(len(frame))

    def close(self, code: int, reason: str) -> None:
        """Takes no more. What is held is still sent, then the connection closes with `code`."""
        if self.closing is None:
            self.closing = (code, reason)
            self._awake()

    def _added(self, characters: int) -> None:
        self._characters += characters
        # The newest frame may be of any size: an idle client can be sent it at once.
        behind = len(self._waiting) - 1
        if behind > self._most_frames or (behind > 0 and self._characters > self._most_characters):
            self._waiting.clear()
            self._characters = 0
            self.close(4008, "too slow; resume")
        self._awake()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def get(self) -> list[str]:
        """The next frames to send, as many as go together; none once the outbox is closed and empty. One caller at a
        time."""
        while not self._waiting:
            if self.closing is not None:
                return []
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        together: list[str] = []
        size = 0
        while self._waiting and size < MOST_TOGETHER:
            item = self._waiting.popleft()
            if isinstance(item, str):
                size += len(item)
                together.append(item)
            else:
                size += item.size
                together.append(item.encoded())
        self._characters -= size
        return together
