"""What must be true of what many clients went through at once, and of the log that it left.

A checker is a pure function over the clients' histories, the log or the transcript that the log folds to. It returns
nothing, or raises `Broken` with what is wrong.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from tests.support.client import Json, View


class Broken(Exception):
    """A promise that was not kept."""


class Answer(Struct, frozen=True):
    """A result, and a reading of the clock from after it came."""

    at: int
    result: Json

    @property
    def acknowledges(self) -> bool:
        """Whether it says that something was done: not that somebody looked, or that there was nothing to do."""
        match self.result:
            case {"command": "status" | "usage" | "help" | "log"}:
                return False
            case {"command": "queue", "data": data}:
                # `go` may find that the queue goes on by itself.
                return "sent" in data or "queued_id" in data
            case {"command": "stop", "data": {"stopped": stopped}}:
                return bool(stopped)
            case {"command": "clear", "data": {"removed_count": removed}}:
                return bool(removed)
            case {"command": "prev" | "next" | "pick" | "goto", "data": {"removed_count": 0, "restored_count": 0}}:
                # It was on screen already, but perhaps a reply that had no word yet was stopped.
                return False
            case _:
                return True


class Asked(Struct, kw_only=True):
    """Something that a client wants done, sent so many `times`, always under the same `op_id`. `sent` is a reading of
    the clock from before it was sent first."""

    op_id: str
    text: str
    if_revision: int | None = None
    sent: int
    times: int = 0
    answers: list[Answer] = field(default_factory=list)
    refusals: list[Json] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.text!r} ({self.op_id})"


class Visit(Struct, kw_only=True):
    """One connection: the notifications that came over it. `after` is the revision that it resumed from, None for a
    client that wanted to be told all. `sent` and `attached` are readings of the clock, as in `Asked`. `code` is the
    close code, None as long as it lasts; `left` says that the client broke it off."""

    after: int | None
    sent: int
    attached: int | None = None
    frames: list[Json] = field(default_factory=list)
    code: int | None = None
    left: bool = False


class History(Struct, kw_only=True):
    """All that one client did and was told, in its order."""

    name: str
    asked: list[Asked] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)


class Entry(Struct, frozen=True):
    """A line of the log."""

    revision: int
    op_id: str | None


def read_log(data: Path, session_id: str) -> list[Entry]:
    """The log of a session as the disk has it: no code of the server's is asked."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        rows = db.execute("SELECT revision, op_id FROM event WHERE session_id = ? ORDER BY revision", (session_id,))
        return [Entry(*row) for row in rows]
    finally:
        db.close()


# Nothing is missing.


def gapless(histories: Sequence[History], log: Sequence[Entry]) -> None:
    """The log's revisions are 1 to n. Each client was told every one from where it attached, in order, to the last; and
    whoever was told of a revision was told the same."""
    if [entry.revision for entry in log] != list(range(1, len(log) + 1)):
        raise Broken(f"the log has gaps: {[entry.revision for entry in log]}")
    told: dict[int, tuple[str, list[Json]]] = {}
    for history in histories:
        last = 0
        for visit in history.visits:
            last = _covered(history.name, visit, last, told)
        if last != len(log):
            raise Broken(f"{history.name} was told everything up to {last}, and the log goes on to {len(log)}")


def _covered(name: str, visit: Visit, last: int, told: dict[int, tuple[str, list[Json]]]) -> int:
    """The last revision that a visit told of."""
    first, *later = visit.frames
    attached = first["params"]
    if "events" in attached:
        if visit.after is None:
            raise Broken(f"{name} was told only what it had missed, and had not asked for that")
        at = _in_order(name, attached["events"], visit.after, told, whole=True)
        if at != attached["revision"]:
            raise Broken(
                f"{name} was told {at} as the last that it had missed, and that it was at {attached['revision']}"
            )
    elif attached["revision"] < last:
        raise Broken(f"{name} knew of {last} and was attached at {attached['revision']}")
    return _in_order(name, later, attached["revision"], told, whole=False)


def _in_order(
    name: str, frames: Iterable[Json], last: int, told: dict[int, tuple[str, list[Json]]], *, whole: bool
) -> int:
    groups: dict[int, list[Json]] = {}
    for frame in frames:
        revision = frame["params"].get("revision")
        if revision is None:
            continue
        if revision not in (last, last + 1) or (revision == last and last not in groups):
            raise Broken(f"{name} was told {revision} after {last}")
        last = revision
        groups.setdefault(revision, []).append({"method": frame["method"], "params": frame["params"]})
    for revision, group in groups.items():
        who, known = told.setdefault(revision, (name, group))
        # A connection may end between two frames of the same event.
        both = min(len(known), len(group))
        cut = not whole and revision == last
        if known[:both] != group[:both] or (len(group) < len(known) and not cut):
            raise Broken(f"{name} was told {group} of {revision}, and {who} {known}")
        if len(group) > len(known):
            told[revision] = (name, group)
    return last


# One order.


class _Point(Struct, frozen=True):
    """Somebody was at a revision, some time between two readings of the clock. A change made that revision."""

    what: str
    sent: int
    done: int
    revision: int
    change: bool


def real_time(histories: Sequence[History]) -> None:
    """What was answered before something else was sent comes before it: a change has a higher revision than all that
    was answered by then, and nobody is told of an older state."""
    points = [point for history in histories for point in _points(history)]
    done = sorted(points, key=lambda point: point.done)
    latest: _Point | None = None
    seen = 0
    for point in sorted(points, key=lambda point: point.sent):
        while done[seen].done < point.sent:
            if latest is None or done[seen].revision > latest.revision:
                latest = done[seen]
            seen += 1
        if latest is not None and point.revision < latest.revision + point.change:
            raise Broken(
                f"{point.what} is at {point.revision}, and was sent after {latest.what} was answered with"
                f" {latest.revision}"
            )


def _points(history: History) -> Iterable[_Point]:
    for asked in history.asked:
        for answer in asked.answers:
            yield _Point(str(asked), asked.sent, answer.at, answer.result["revision"], answer.acknowledges)
    for visit in history.visits:
        if visit.attached is not None:
            revision = visit.frames[0]["params"]["revision"]
            yield _Point(f"{history.name}'s attach", visit.sent, visit.attached, revision, False)


# Once.


def exactly_once(histories: Sequence[History], log: Sequence[Entry]) -> None:
    """What was acknowledged is in the log once, under its op_id and with the revision that it was acknowledged with;
    what was not acknowledged at most once; what was refused each time, or only looked at something, not at all. And
    every acknowledgement of the same says the same."""
    logged: dict[str, list[int]] = {}
    for entry in log:
        if entry.op_id is not None:
            logged.setdefault(entry.op_id, []).append(entry.revision)
    for history in histories:
        for asked in history.asked:
            revisions = logged.pop(asked.op_id, [])
            if len(revisions) > 1:
                raise Broken(f"{asked} is in the log {len(revisions)} times: {revisions}")
            _acknowledged_as(asked, revisions)
    if logged:
        raise Broken(f"in the log, and nobody sent it: {logged}")


def _acknowledged_as(asked: Asked, revisions: list[int]) -> None:
    said = [_bare(answer.result) for answer in asked.answers if answer.acknowledges]
    if any(result != said[0] for result in said):
        raise Broken(f"{asked} was acknowledged in different ways: {said}")
    if said and not revisions:
        raise Broken(f"{asked} was acknowledged with {said[0]['revision']}, and is not in the log")
    if said and said[0]["revision"] != revisions[0]:
        raise Broken(f"{asked} was acknowledged with {said[0]['revision']}, and is in the log as {revisions[0]}")
    if revisions and asked.times == len(asked.refusals):
        raise Broken(f"{asked} was refused, and is in the log as {revisions[0]}")


def _bare(result: Json) -> Json:
    return {key: value for key, value in result.items() if key != "replayed"}


# The state.


def replays(histories: Sequence[History], transcript: list[Json]) -> None:
    """Every client shows, in the end, what the log folds to."""
    for history in histories:
        view = View()
        for visit in history.visits:
            for frame in visit.frames:
                view.apply(frame["method"], frame["params"])
        if view.messages != transcript[view.start :]:
            raise Broken(f"{history.name} shows {view.messages}, and the log says {transcript[view.start :]}")


# Replies.


class Kept(Struct, frozen=True):
    """A message that the disk has."""

    id: int
    parent: int
    role: str
    content: Any
    run_id: str | None
    finish: str | None


def read_messages(data: Path, session_id: str) -> dict[int, Kept]:
    """All messages of a session as the disk has them, on screen or not."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        rows = db.execute(
            "SELECT id, parent, role, content, run_id, finish FROM message WHERE session_id = ?", (session_id,)
        )
        return {
            number: Kept(number, parent, role, json.loads(content), run_id, finish)
            for number, parent, role, content, run_id, finish in rows
        }
    finally:
        db.close()


def untorn(histories: Sequence[History], messages: Mapping[int, Kept]) -> None:
    """Every reply of an echo has all the words that it should, or the first of them and a mark; and what anybody was
    told a word of is there."""
    replies: dict[str, Kept] = {}
    for reply in messages.values():
        if reply.role != "assistant":
            continue
        said = messages[reply.parent].content
        whole = reply.content == said
        if not whole and reply.finish not in ("stopped", "interrupted"):
            raise Broken(f"a reply to {said!r} is {reply.content!r}, and marked as {reply.finish}")
        if not said.startswith(reply.content):
            raise Broken(f"a reply to {said!r} is {reply.content!r}")
        if reply.run_id is None:
            # A copy, as where a turn before it was taken out.
            continue
        if reply.run_id in replies:
            raise Broken(f"two replies of one run: {replies[reply.run_id]} and {reply}")
        replies[reply.run_id] = reply
    for history in histories:
        for run_id, reason in _told(history).items():
            found = replies.get(run_id)
            if found is None:
                raise Broken(f"{history.name} was told a reply, {run_id}, that is not there")
            if reason not in (None, found.finish):
                raise Broken(f"{history.name} was told that a reply was {reason}, and it is {found.finish}")


def drained(histories: Sequence[History], messages: Mapping[int, Kept]) -> None:
    """Whoever did not go by itself was told 1012, and of the end of every reply before that. Each reply that anybody
    was told a word of has at least the words that they were told."""
    kept = {reply.run_id: reply for reply in messages.values() if reply.run_id is not None}
    for history in histories:
        for visit in history.visits:
            if visit.left or visit.code is None:
                continue
            if visit.code != 1012:
                raise Broken(f"{history.name} was closed with {visit.code}")
            if live := _live(visit):
                raise Broken(f"{history.name} was sent away, and not told what became of the reply {live}")
        for visit in history.visits:
            for run_id, text in _read_of(visit).items():
                if text and (run_id not in kept or not kept[run_id].content.startswith(text)):
                    raise Broken(f"{history.name} was told {text!r} of a reply, and there is {kept.get(run_id)}")


def _live(visit: Visit) -> str | None:
    """The reply that goes on, as far as a client was told by the end of a visit."""
    live: str | None = None
    for frame in visit.frames:
        match frame:
            case {"method": "attached", "params": {"run": run}}:
                live = run and run["run_id"]
            case {"method": "run.started", "params": {"run_id": run_id}}:
                live = run_id
            case {"method": "run.ended"}:
                live = None
            case _:
                pass
    return live


def _read_of(visit: Visit) -> dict[str, str]:
    """What a client was told of each reply."""
    texts: dict[str, str] = {}
    for frame in visit.frames:
        match frame:
            case {"method": "attached", "params": {"run": {"run_id": run_id, "text": text}}}:
                texts[run_id] = text
            case {"method": "run.delta", "params": {"run_id": run_id, "text": text}}:
                texts[run_id] = texts.get(run_id, "") + text
            case _:
                pass
    return texts


def _told(history: History) -> dict[str, str | None]:
    """The runs that a client was told a word of, and how they ended, as far as it knows."""
    told: dict[str, str | None] = {}
    for visit in history.visits:
        for frame in visit.frames:
            match frame:
                case {"method": "run.delta", "params": {"run_id": run_id}}:
                    told[run_id] = None
                case {"method": "attached", "params": {"run": {"run_id": run_id, "text": text}}} if text:
                    told[run_id] = None
                case {"method": "run.ended", "params": {"run_id": run_id, "reason": reason}} if run_id in told:
                    told[run_id] = reason
                case _:
                    pass
    return told
