"""Twenty clients of one session at once on real sockets: one order, nothing twice, nothing lost (G1 to G4).

Each checker is itself checked: with a bug planted in the server it fails.
"""

import json
import secrets
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backchat import frames
from backchat.errors import BackchatError
from backchat.frames import Reply, Result, SubmitParams
from backchat.hub.local import LocalHub
from backchat.sessions import Answer, Session
from backchat.store import sqlite
from backchat.store.base import Checkpoint, Commit, OpRecord
from backchat.store.sqlite import Database
from backchat.transcript import Added, path
from tests.support.checkers import Broken, History, exactly_once, gapless, read_log, real_time, replays
from tests.support.client import Json
from tests.support.crowd import Crowd
from tests.support.figures import Figure

SEEDS = 3
FEW = 6
"""How many clients it takes to find a planted bug."""
AT = 20
"""A planted bug strikes at a revision, or whenever so many have passed: a client that resumes in time is told all the
same."""


def transcript(data: Path, session_id: str) -> list[Json]:
    """What the log of a session folds to, as clients are sent it."""
    with Database(data) as database:
        loaded = database.load(session_id)
    parents = {node.id: node.parent.id for node in loaded.tree.nodes.values() if node.depth}
    messages: list[Json] = msgspec.to_builtins(path(loaded.tree[loaded.history[-1].after.head]))
    for message in messages:
        variants = [one for one, parent in sorted(parents.items()) if parent == parents[message["id"]]]
        if len(variants) > 1:
            message["variant"] = {"index": variants.index(message["id"]) + 1, "count": len(variants)}
    return messages


async def test_a_crowd_of_twenty_clients_sees_one_history_in_which_everything_happened_once(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    until = time.monotonic() + soak
    seeds = deque(range(SEEDS))
    seen: Counter[str] = Counter()
    while seeds:
        seed = seeds.popleft()
        crowd = Crowd(tmp_path / str(seed), seed)
        try:
            histories = await crowd.live(restart=True)
            log = read_log(crowd.data, crowd.session_id)
            gapless(histories, log)
            real_time(histories)
            exactly_once(histories, log)
            replays(histories, transcript(crowd.data, crowd.session_id))
        except Exception as error:
            error.add_note(f"the seed was {seed}")
            raise
        seen.update(of_note(histories))
        figure("G3", "histories checked", len(histories))
        figure("G2", "requests repeated", sum(asked.times - 1 for history in histories for asked in history.asked))
        figure("G4", "connections resumed", Counter(of_note(histories))["resumed"])
        if not seeds and time.monotonic() < until:
            seeds.append(secrets.randbits(32))
    # Else nothing was put to the test.
    assert seen.keys() >= {"resumed", "attached anew", "replayed", "stale_revision", "nothing_to_undo"}, seen


def of_note(histories: Sequence[History]) -> list[str]:
    """What was seen in these histories, a word for each time."""
    words = []
    for history in histories:
        words += [refusal["data"]["code"] for asked in history.asked for refusal in asked.refusals]
        words += ["replayed" for asked in history.asked for answer in asked.answers if "replayed" in answer.result]
        words += ["resumed" if "events" in visit.frames[0]["params"] else "attached anew" for visit in history.visits]
    return words


# Planted bugs. Each is what a defect would do, somewhere between a command and its client.


async def lived(data: Path) -> tuple[list[History], Crowd]:
    """A few clients, with whatever has been planted."""
    crowd = Crowd(data, 1, clients=FEW)
    return await crowd.live(), crowd


def revision_of(frame: str) -> int | None:
    """The revision that a notification tells of."""
    revision: int | None = json.loads(frame)["params"].get("revision")
    return revision


async def test_an_event_that_nobody_is_told_of_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = LocalHub.publish

    def forgetful(self: LocalHub, session_id: str, *frames: str) -> None:
        publish(self, session_id, *(frame for frame in frames if (revision_of(frame) or 1) % AT))

    monkeypatch.setattr(LocalHub, "publish", forgetful)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match=r"was told \d+ after \d+"):
        gapless(histories, read_log(tmp_path, crowd.session_id))


async def test_an_event_that_all_but_one_are_told_of_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: LocalHub, session_id: str, *frames: str) -> None:
        told = [frame for frame in frames if (revision_of(frame) or 1) % AT]
        for number, subscriber in enumerate(self.subscribers(session_id).values()):
            subscriber.push(*(frames if number else told))

    monkeypatch.setattr(LocalHub, "publish", forgetful)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match=r"was told \d+ after \d+"):
        gapless(histories, read_log(tmp_path, crowd.session_id))


async def test_events_of_two_commands_in_the_wrong_order_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = LocalHub.publish
    held: list[str] = []
    late = 1

    def hasty(self: LocalHub, session_id: str, *frames: str) -> None:
        nonlocal late
        for frame in frames:
            params = json.loads(frame)["params"]
            revision = params.get("revision", 0)
            if revision >= late + AT and params["cause"]["op_id"] is not None:
                # The last of its command: what comes next is another's.
                late = revision
            if revision == late:
                held.append(frame)
                continue
            if revision > late + 1:
                publish(self, session_id, *held)
                held.clear()
            publish(self, session_id, frame)

    monkeypatch.setattr(LocalHub, "publish", hasty)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match=r"was told \d+ after \d+"):
        gapless(histories, read_log(tmp_path, crowd.session_id))


async def test_different_words_for_different_clients_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def biased(self: LocalHub, session_id: str, *frames: str) -> None:
        for number, subscriber in enumerate(self.subscribers(session_id).values()):
            subscriber.push(*(frame if number else frame.replace("word", "sword") for frame in frames))

    monkeypatch.setattr(LocalHub, "publish", biased)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match=r"sword.* and c\d+ "):
        gapless(histories, read_log(tmp_path, crowd.session_id))


async def test_a_resume_that_leaves_an_event_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missed = Session._missed

    def forgetful(self: Session, *args: Any) -> list[msgspec.Raw] | None:
        events = missed(self, *args)
        return events and events[1:]

    monkeypatch.setattr(Session, "_missed", forgetful)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match="was told"):
        gapless(histories, read_log(tmp_path, crowd.session_id))


async def test_a_read_that_lags_behind_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = frames.reply
    seen = deque([1] * 10, maxlen=10)

    def cached(request_id: frames.RequestId, result: Result) -> str:
        if isinstance(result, Reply):
            seen.append(result.revision)
            if result.command == "status":
                result = msgspec.structs.replace(result, revision=seen[0])
        return reply(request_id, result)

    monkeypatch.setattr(frames, "reply", cached)
    histories, _ = await lived(tmp_path)
    with pytest.raises(Broken, match=r"/status.* was sent after"):
        real_time(histories)


async def test_a_command_that_slips_in_before_an_answered_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = frames.reply

    def backdated(request_id: frames.RequestId, result: Result) -> str:
        if isinstance(result, Reply) and result.message_id is not None:
            result = msgspec.structs.replace(result, revision=max(1, result.revision - AT))
        return reply(request_id, result)

    monkeypatch.setattr(frames, "reply", backdated)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match="was sent after"):
        real_time(histories)
    with pytest.raises(Broken, match=r"was acknowledged with \d+, and is in the log as"):
        exactly_once(histories, read_log(tmp_path, crowd.session_id))


async def test_a_retransmission_that_is_applied_again_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "_known", lambda *_: None)
    # SQLite would not have it: the index is the second line of defence.
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "DROP INDEX event_op"))
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match=r"is in the log \d+ times"):
        exactly_once(histories, read_log(tmp_path, crowd.session_id))


async def test_a_command_that_is_acknowledged_and_lost_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, reply = Database.write, Database.reply
    lost: list[OpRecord] = []

    def losing(
        self: Database, commits: Sequence[Commit], checkpoints: Sequence[tuple[str, Checkpoint]] = ()
    ) -> list[Exception | None]:
        kept = []
        for commit in commits:
            if not lost and commit.record is not None and commit.events[-1].revision >= AT:
                lost.append(commit.record)
            else:
                kept.append(commit)
        write(self, kept, checkpoints)
        return [None] * len(commits)

    def remembering(self: Database, session_id: str, op_id: str) -> bytes | None:
        return lost[0].reply if lost and lost[0].op_id == op_id else reply(self, session_id, op_id)

    monkeypatch.setattr(Database, "write", losing)
    monkeypatch.setattr(Database, "reply", remembering)
    histories, crowd = await lived(tmp_path)
    log = read_log(tmp_path, crowd.session_id)
    with pytest.raises(Broken, match=rf"\({lost[0].op_id}\) was acknowledged with \d+, and is not in the log"):
        exactly_once(histories, log)
    with pytest.raises(Broken, match="the log has gaps"):
        gapless(histories, log)


async def test_a_refusal_of_something_that_was_done_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Session._submit

    def rude(self: Session, params: SubmitParams, connection: Any, answer: Answer) -> None:
        def refusing(result: Result | BackchatError) -> None:
            done = isinstance(result, Reply) and result.command == "undo"
            answer(BackchatError.__subclasses__()[0]("No.") if done else result)

        submit(self, params, connection, refusing)

    monkeypatch.setattr(Session, "_submit", rude)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match="was refused, and is in the log"):
        exactly_once(histories, read_log(tmp_path, crowd.session_id))


async def test_a_log_that_tells_another_story_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = sqlite._message_row

    def garbled(session_id: str, added: Added) -> tuple[Any, ...]:
        return row(session_id, msgspec.structs.replace(added, message=_garbled(added)))

    monkeypatch.setattr(sqlite, "_message_row", garbled)
    histories, crowd = await lived(tmp_path)
    with pytest.raises(Broken, match="and the log says"):
        replays(histories, transcript(tmp_path, crowd.session_id))


def _garbled(added: Added) -> Any:
    return msgspec.structs.replace(added.message, content="something else")
