"""What waits to be sent on one connection: bounded, in order, with waiting deltas merged (DESIGN section 2)."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import msgspec

from backchat import frames
from backchat.frames import AnyDelta

MOST_TOGETHER: Final = 64 * 1024
"""Frames are written together up to about this many characters, so that what waits behind them still counts."""

TOO_SLOW: Final = 4008
"""The close code of a connection that has not taken what waited for it (DESIGN section 4)."""


class Burst:
    """Frames that go to many connections, one behind the other. It grows until nobody follows it any more."""

    __slots__ = ("_bytes", "_ends", "_last", "_places", "_texts")

    def __init__(self) -> None:
        self._texts: list[str] = []
        # After how many characters each frame ends, and after how many bytes.
        self._ends: list[int] = [0]
        self._places: list[int] = [0]
        self._bytes = b""
        self._last: Cut | None = None

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, *frames: str) -> None:
        """Adds encoded frames."""
        for frame in frames:
            self._texts.append(frame)
            self._ends.append(self._ends[-1] + len(frame))

    def since(self, start: int) -> "Cut":
        """The frames from `start` on: the same cut for all that ask together, as those do who only listen."""
        last, stop = self._last, len(self._texts)
        if last is None or last.start != start or last.stop != stop:
            self._last = last = Cut(self, start, stop)
        return last

    def end(self) -> None:
        """Nobody follows it any more. Lets go of what would hold it, and with it all frames, until the garbage
        collector comes by."""
        self._last = None

    def texts(self, start: int, stop: int) -> list[str]:
        """The frames `start` to `stop` (exclusive)."""
        return self._texts[start:stop]

    def size(self, start: int, stop: int) -> int:
        """How many characters they have."""
        return self._ends[stop] - self._ends[start]

    def place(self, start: int, characters: int) -> int:
        """Where those end that begin with `start` and have so many characters, or a few more; one at the least."""
        return min(max(bisect_left(self._ends, self._ends[start] + characters), start + 1), len(self))

    def framed(self, start: int, stop: int, frame: Callable[[str], bytes]) -> bytes:
        """The bytes of the frames `start` to `stop`, made once however many ask. `frame`, always the same, makes those
        of one."""
        made = len(self._places) - 1
        if made < stop:
            pieces = [frame(text) for text in self._texts[made:]]
            for piece in pieces:
                self._places.append(self._places[-1] + len(piece))
            self._bytes += b"".join(pieces)
        return self._bytes[self._places[start] : self._places[stop]]


class Cut:
    """The frames `start` to `stop` (exclusive) of a burst, as they wait in outboxes. `size` is how many characters they
    have."""

    __slots__ = ("_burst", "_made", "size", "start", "stop")

    def __init__(self, burst: Burst, start: int, stop: int) -> None:
        self._burst = burst
        self._made: bytes | None = None
        self.start = start
        self.stop = stop
        self.size = burst.size(start, stop)

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def texts(self) -> list[str]:
        """The frames."""
        return self._burst.texts(self.start, self.stop)

    def framed(self, frame: Callable[[str], bytes]) -> bytes:
        """Their bytes, see `Burst.framed`."""
        if self._made is None:
            self._made = self._burst.framed(self.start, self.stop, frame)
        return self._made

    def split(self, characters: int) -> "tuple[Cut, Cut | None]":
        """The first ones, up to about so many characters, and the others."""
        place = self._burst.place(self.start, characters)
        if place >= self.stop:
            return self, None
        return Cut(self._burst, self.start, place), Cut(self._burst, place, self.stop)


class Deltas:
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

    @property
    def texts(self) -> list[str]:
        """The one frame that they make."""
        if len(self._texts) == 1:
            return [self._frame]
        return [frames.notification(msgspec.structs.replace(self.first, text="".join(self._texts)))]

    def framed(self, frame: Callable[[str], bytes]) -> bytes:
        """Its bytes; `frame` makes them."""
        return frame(*self.texts)


Sent = str | Cut | Deltas
"""What is sent: an encoded frame, several at once, or deltas that make one."""


def texts(together: Iterable[Sent]) -> Iterator[str]:
    """The frames, one by one."""
    for sent in together:
        if isinstance(sent, str):
            yield sent
        else:
            yield from sent.texts


class Writer(Protocol):
    """What sends the frames of an outbox."""

    @property
    def send_now(self) -> Callable[[list[Sent]], bool]:
        """Sends without waiting, or says no because the peer takes no more for now."""

    def start(self) -> None:
        """Begins to send what `Outbox.get` gives, until it gives nothing; then, if the outbox is closing, closes."""


class Outbox:
    """Takes frames without blocking, and sends them at the end of the round of the loop in which they came.

    `most_frames` and `most_characters` bound what waits behind the frames being written. Past either the outbox
    drops what it holds and takes no more, since the client can resume from the last revision it got.
    """

    def __init__(self, most_frames: int, most_characters: int) -> None:
        self._most_frames = most_frames
        self._most_characters = most_characters
        # A list, since most of the time it is empty, and an empty deque takes ten times as much memory.
        self._waiting: list[Sent] = []
        self._frames = 0
        self._characters = 0
        self._burst: Burst | None = None
        self._taken = 0
        # Asked for once: to find it takes a system call.
        self._loop = asyncio.get_running_loop()
        self._writer: Writer | None = None
        # Whether there is a writer, and nobody is about to take what waits.
        self._asleep = False
        self._refused: list[Sent] = []
        self.closing: tuple[int, str] | None = None
        """The close code and reason, once there is one. What is held then is still sent, unless it was too much."""

    def send_to(self, writer: Writer | None) -> None:
        """From now on what is held, and what comes, is sent; or no more. To be called once with a writer, and once, at
        the end, without."""
        self._writer = writer
        self._asleep = False
        self._flush()

    def push(self, *frames: str) -> None:
        """Takes encoded frames."""
        if self._burst is not None:
            self._catch_up()
        if self.closing is None:
            self._waiting += frames
            self._added(len(frames), sum(map(len, frames)))

    def push_delta(self, delta: AnyDelta, frame: str) -> None:
        """Takes a delta and the frame that it makes alone; merges it with deltas of the same text that wait at the
        end."""
        if self._burst is not None:
            self._catch_up()
        if self.closing is not None:
            return
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Deltas) and last.takes(delta):
            last.add(delta)
            self._added(0, len(delta.text))
        else:
            self._waiting.append(Deltas(delta, frame))
            self._added(1, len(frame))

    def follow(self, burst: Burst) -> None:
        """Takes what is added to the burst from now on: before whatever is pushed later, and at the latest when it is
        told to leave it."""
        self.leave()
        self._burst = burst
        self._taken = len(burst)

    def leave(self) -> None:
        """Takes the rest of the burst."""
        if self._burst is not None:
            self._catch_up()
            self._burst = None

    def close(self, code: int, reason: str) -> None:
        """Takes no more. What is held is still sent, then the connection closes with `code`."""
        self.leave()
        if self.closing is None:
            self.closing = (code, reason)
            if self._asleep:
                self._awake()

    def _catch_up(self) -> None:
        burst = self._burst
        if burst is None or self.closing is not None:
            return
        cut = burst.since(self._taken)
        if count := cut.stop - cut.start:
            self._taken = cut.stop
            self._waiting.append(cut)
            self._added(count, cut.size)

    def _added(self, frames: int, characters: int) -> None:
        self._frames += frames
        self._characters += characters
        # The newest frame may be of any size: an idle client can be sent it at once.
        if self._frames > 1 and (self._frames - 1 > self._most_frames or self._characters > self._most_characters):
            self._waiting.clear()
            self._frames = self._characters = 0
            self.close(TOO_SLOW, "too slow; resume")
        if self._asleep:
            self._awake()

    def _awake(self) -> None:
        self._asleep = False
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._writer is None:
            return
        while self._waiting:
            together = self._take()
            try:
                sent = self._writer.send_now(together)
            except Exception:  # noqa: BLE001
                # A defect, which the writer will meet again and end the connection for. Lost here, these would be
                # missed by nobody but the client.
                sent = False
            if not sent:
                self._refused = together
                break
        if self._refused or self.closing is not None:
            self._writer.start()
        else:
            self._asleep = True

    def get(self) -> list[Sent]:
        """The next frames to send, as many as go together; none once there is nothing. For the writer alone."""
        together, self._refused = self._refused or self._take(), []
        # What comes while it sends these, it takes itself.
        self._asleep = not (together or self.closing)
        return together

    def _take(self) -> list[Sent]:
        if self._characters <= MOST_TOGETHER:
            everything, self._waiting = self._waiting, []
            self._frames = self._characters = 0
            return everything
        together: list[Sent] = []
        size = taken = 0
        rest: list[Sent] = []
        for item in self._waiting:
            taken += 1
            if isinstance(item, Cut):
                first, others = item.split(MOST_TOGETHER - size)
                rest = [] if others is None else [others]
                self._frames -= len(first)
                together.append(first)
                size += first.size
            else:
                self._frames -= 1
                together.append(item)
                size += len(item) if isinstance(item, str) else item.size
            if size >= MOST_TOGETHER:
                break
        self._waiting[:taken] = rest
        self._characters -= size
        return together
