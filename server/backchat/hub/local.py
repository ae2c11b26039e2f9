"""A hub within one process."""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct, field

from backchat import frames
from backchat.frames import AnyDelta, Presence, Who
from backchat.outbox import Burst

PRESENCE_SECONDS: Final = 0.2
"""How long those who are attached wait to be told of others who come and go, so that many cost no more than one."""
MOST_PRESENT: Final = 50
"""How many of those who are attached are listed, at the most."""


class Subscriber(Protocol):
    """Where a connection takes what it is sent. Neither method blocks."""

    def push(self, *frames: str) -> None:
        """Takes encoded frames."""

    def push_delta(self, delta: AnyDelta, frame: str) -> None:
        """Takes a delta, and the frame that it makes if it is sent alone."""

    def follow(self, burst: Burst) -> None:
        """Takes what is added to the burst from now on: before whatever it is given later, and when it is told to
        leave."""

    def leave(self) -> None:
        """Takes the rest of the burst that it follows."""

    def close(self, code: int, reason: str) -> None:
        """Takes no more; what it has is sent, then the connection is closed."""


class _Audience(Struct):
    """Those who are attached to one session, by connection, oldest first: where each takes what it is sent, who it is,
    and the presence that it knows of. The timer is there while somebody has to be told of another. The burst is what
    was published in this round of the loop, which all of them follow."""

    subscribers: dict[str, Subscriber] = field(default_factory=dict)
    who: dict[str, Who] = field(default_factory=dict)
    known: dict[str, Presence] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    burst: Burst | None = None


class LocalHub:
    """Who is attached to which session."""

    def __init__(self) -> None:
        self._audiences: dict[str, _Audience] = {}
        self._quiet = False

    @property
    def attached_connections(self) -> int:
        """How many connections are attached to any session."""
        return sum(len(audience.subscribers) for audience in self._audiences.values())

    def subscribe(self, session_id: str, who: Who, subscriber: Subscriber) -> None:
        """From now on `subscriber` gets what is published for the session. The others are told before long;
        precondition: it has been told who is there, itself included (`presence`)."""
        audience = self._audiences.setdefault(session_id, _Audience())
        audience.subscribers[who.connection] = subscriber
        audience.who[who.connection] = who
        audience.known[who.connection] = _presence(audience)
        if audience.burst is not None:
            subscriber.follow(audience.burst)
        if len(audience.subscribers) > 1:
            self._changed(session_id, audience)

    def unsubscribe(self, session_id: str, connection: str) -> None:
        """The opposite of `subscribe`; harmless when it was not."""
        audience = self._audiences.get(session_id)
        subscriber = None if audience is None else audience.subscribers.pop(connection, None)
        if audience is None or subscriber is None:
            return
        subscriber.leave()
        del audience.who[connection], audience.known[connection]
        if audience.subscribers:
            self._changed(session_id, audience)
            return
        del self._audiences[session_id]
        if audience.timer is not None:
            audience.timer.cancel()

    def publish(self, session_id: str, *frames: str) -> None:
        """Gives encoded frames to all that are attached. What is published in one round of the loop, as the commits
        that shared a sync are, goes to many of them as one: each takes it when the round is over, or before anything
        that it is given itself."""
        audience = self._audiences.get(session_id)
        if audience is None:
            return
        if audience.burst is not None:
            audience.burst.add(*frames)
        elif len(audience.subscribers) == 1:
            for subscriber in audience.subscribers.values():
                subscriber.push(*frames)
        else:
            burst = audience.burst = Burst()
            for subscriber in audience.subscribers.values():
                subscriber.follow(burst)
            burst.add(*frames)
            asyncio.get_running_loop().call_soon(_end, audience, burst)

    def publish_delta(self, session_id: str, delta: AnyDelta, frame: str) -> None:
        """Gives a delta to all that are attached; where deltas wait, they may merge."""
        for subscriber in self.subscribers(session_id).values():
            subscriber.push_delta(delta, frame)

    def subscribers(self, session_id: str) -> dict[str, Subscriber]:
        """All that are attached, by connection."""
        audience = self._audiences.get(session_id)
        return {} if audience is None else audience.subscribers

    def attached(self, session_id: str) -> Iterable[tuple[Who, Subscriber]]:
        """All that are attached, oldest first."""
        audience = self._audiences.get(session_id)
        return () if audience is None else zip(audience.who.values(), audience.subscribers.values(), strict=True)

    def presence(self, session_id: str, who: Who) -> Presence:
        """Who is attached, as one is told who is, or is about to be: always among those listed."""
        return _presence(self._audiences.get(session_id) or _Audience(), who)

    def close(self) -> None:
        """Tells nobody any more who comes and goes: the server goes down."""
        self._quiet = True
        for audience in self._audiences.values():
            if audience.timer is not None:
                audience.timer.cancel()

    def _changed(self, session_id: str, audience: _Audience) -> None:
        if audience.timer is None and not self._quiet:
            later = asyncio.get_running_loop().call_later
            audience.timer = later(PRESENCE_SECONDS, self._tell, session_id)

    def _tell(self, session_id: str) -> None:
        audience = self._audiences[session_id]
        audience.timer = None
        now = _presence(audience)
        frame = None
        for connection, subscriber in audience.subscribers.items():
            if audience.known[connection] != now:
                frame = frame or frames.notification(now)
                audience.known[connection] = now
                subscriber.push(frame)


def _end(audience: _Audience, burst: Burst) -> None:
    """The round is over."""
    audience.burst = None
    for subscriber in list(audience.subscribers.values()):
        subscriber.leave()
    burst.end()


def _presence(audience: _Audience, who: Who | None = None) -> Presence:
    present = list(islice(audience.who.values(), MOST_PRESENT))
    count = len(audience.who)
    if who is None or who in present:
        return Presence(count, present)
    if who.connection not in audience.who:
        count += 1
    return Presence(count, [*present[: MOST_PRESENT - 1], who])
