"""A hub within one process."""

from typing import Protocol

from backchat.frames import AnyDelta


class Subscriber(Protocol):
    """Where a connection takes what it is sent. Neither method blocks."""

    def push(self, frame: str) -> None:
        """Takes an encoded frame."""

    def push_delta(self, delta: AnyDelta, frame: str) -> None:
        """Takes a delta, and the frame that it makes if it is sent alone."""

    def close(self, code: int, reason: str) -> None:
        """Takes no more; what it has is sent, then the connection is closed."""


class LocalHub:
    """Who is attached to which session."""

    def __init__(self) -> None:
        self._attached: dict[str, dict[str, Subscriber]] = {}

    def subscribe(self, session_id: str, connection: str, subscriber: Subscriber) -> None:
        """From now on `subscriber` gets what is published for the session."""
        self._attached.setdefault(session_id, {})[connection] = subscriber

    def unsubscribe(self, session_id: str, connection: str) -> None:
        """The opposite of `subscribe`; harmless when it was not."""
        attached = self._attached.get(session_id)
        if attached is not None:
            attached.pop(connection, None)
            if not attached:
                del self._attached[session_id]

    def publish(self, session_id: str, frame: str) -> None:
        """Gives an encoded frame to all that are attached."""
        for subscriber in self.subscribers(session_id).values():
            subscriber.push(frame)

    def publish_delta(self, session_id: str, delta: AnyDelta, frame: str) -> None:
        """Gives a delta to all that are attached; where deltas wait, they may merge."""
        for subscriber in self.subscribers(session_id).values():
            subscriber.push_delta(delta, frame)

    def subscribers(self, session_id: str) -> dict[str, Subscriber]:
        """All that are attached, by connection."""
        return self._attached.get(session_id, {})
