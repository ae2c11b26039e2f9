"""One order, applied once, durable before it is told, and what a commit that fails leaves (G1 to G5)."""

import asyncio
import contextlib
import json
import shutil
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backchat.names import OWNER
from backchat.store.base import Checkpoint
from backchat.store.sqlite import Database
from backchat.transcript import TAIL_BYTES
from tests.support.client import PATIENCE, Client, Refused, View, client, eventually, stalled_client
from tests.support.faults import Gate, broken_for_good, failing_once, lying_once, replace_write
from tests.support.scripted import Scripted
from tests.support.server import Running, running


def events(data: Path, session_id: str) -> list[tuple[Any, ...]]:
    """The log of a session as the disk has it: revision, type, command, head, op_id."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        return db.execute(
            "SELECT revision, type, command, head, op_id FROM event WHERE session_id = ? ORDER BY revision",
            (session_id,),
        ).fetchall()
    finally:
        db.close()


async def seeded(one: Client, turns: int) -> None:
    """Says something `turns` times and waits for each echo."""
    for number in range(1, turns + 1):
        await one.say(f"question {number}")


# One order, applied once.


async def test_fifty_clients_undoing_at_once_take_off_fifty_different_turns(server: Running) -> None:
    async with client(server.ws()) as first:
        session_id = first.session_id
        await seeded(first, 60)
        async with asyncio.TaskGroup() as group:
            replies = [group.create_task(_one_undo(server, session_id)) for _ in range(50)]
        results = [task.result() for task in replies]
        assert all(result["data"]["removed_count"] == 2 for result in results)
        assert sorted(result["data"]["removed_preview"] for result in results) == sorted(
            f"question {number}" for number in range(11, 61)
        )
        await first.at(max(result["revision"] for result in results))
        assert len(first.view.messages) == 20
    log = events(server.settings.data, session_id)
    assert [revision for revision, *_ in log] == list(range(1, len(log) + 1))


async def _one_undo(server: Running, session_id: str) -> dict[str, Any]:
    async with client(server.ws(session_id)) as one:
        return await one.submit("/undo")


async def test_undo_and_retry_from_fifty_clients_at_once_never_tear_the_transcript(tmp_path: Path) -> None:
    # Slow enough an echo that retries find live runs.
    async with running(tmp_path, echo_delay=0.002) as server, client(server.ws()) as first:
        session_id = first.session_id
        await seeded(first, 30)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(_undo_or_retry(server, session_id, number))
        await first.until(lambda: first.view.run is None)
        status = await first.submit("/status")
        await first.at(status["revision"])
        roles = [message["role"] for message in first.view.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        for question, answer in zip(first.view.messages[::2], first.view.messages[1::2], strict=True):
            assert answer["content"] == question["content"] or answer["finish"] == "stopped"
        async with client(server.ws(session_id)) as fresh:
            assert fresh.view.facts() == first.view.facts()
    log = events(tmp_path, session_id)
    assert [revision for revision, *_ in log] == list(range(1, len(log) + 1))


async def _undo_or_retry(server: Running, session_id: str, number: int) -> None:
    async with client(server.ws(session_id)) as one:
        await _tolerant(one, "/undo" if number % 2 else "/retry")


async def test_every_client_sees_the_same_events_in_the_same_order(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        async with asyncio.TaskGroup() as group:
            for each in (one, two):
                for line in ("a", "/undo", "b", "/retry", "/undo 2"):
                    group.create_task(_tolerant(each, line))
        await one.until(lambda: one.view.run is None)
        last = (await one.submit("/status"))["revision"]
        await one.at(last)
        await two.at(last)
        await two.until(lambda: two.view.run is None)
        shown = [[frame for frame in each.seen[1:] if "method" in frame] for each in (one, two)]
        assert shown[0] == shown[1]
        assert one.view.facts() == two.view.facts()


async def _tolerant(one: Client, line: str) -> None:
    """Submits; that somebody else was quicker is no failure."""
    try:
        await one.submit(line)
    except Refused as refused:
        if refused.code not in ("run_active", "nothing_to_undo", "nothing_to_retry"):
            raise


async def test_a_retransmission_gets_the_stored_reply_and_nothing_happens_again(server: Running) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 3)
        first = await one.submit("/undo", op_id="a")
        again = await one.submit("/undo", op_id="a")
        assert again == {**first, "replayed": True}
        assert len(one.view.messages) == 4
        said = await one.say("more", op_id="b")
        assert await one.submit("more", op_id="b") == {**said, "replayed": True}
        assert one.view.texts[-2:] == ["more", "more"]
        session_id = one.session_id
    assert [op_id for *_, op_id in events(server.settings.data, session_id) if op_id] == ["a", "b"]


async def test_a_retransmission_is_answered_from_the_log_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await seeded(one, 2)
        session_id, first = one.session_id, await one.submit("/undo", op_id="a")
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert await one.submit("/undo", op_id="a") == {**first, "replayed": True}
        assert len(one.view.messages) == 2
        with pytest.raises(Refused, match="op_id"):
            await one.submit("/retry", op_id="a")


async def test_a_retransmission_while_the_first_is_on_its_way_waits_for_it(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await seeded(one, 3)
        gate = Gate(server)
        first = await one.send("submit", text="/undo", op_id="a")
        await gate.reached()
        second = await two.send("submit", text="/undo", op_id="a")
        third = await two.send("submit", text="/status")
        session = server.backchat.sessions._live[one.session_id]
        # The second has joined the first, and the read waits behind both.
        await eventually(lambda: [len(pending.answers) for pending in session._pending] == [2, 1])
        gate.open.set()
        result = await one.reply(first)
        assert await two.reply(second) == {**result, "replayed": True}
        assert (await two.reply(third))["data"]["message_count"] == 4


async def test_an_op_id_with_another_text_or_content_is_refused(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("hello", op_id="a")
        for params in ({"text": "other"}, {"content": [{"type": "text", "text": "hello"}]}):
            with pytest.raises(Refused) as caught:
                await one.request("submit", op_id="a", **params)
            assert caught.value.code == "op_id_reused"


async def test_an_error_is_not_stored_under_its_op_id(server: Running) -> None:
    async with client(server.ws()) as one:
        with pytest.raises(Refused) as caught:
            await one.submit("/undo", op_id="a")
        assert caught.value.code == "nothing_to_undo"
        await one.say("hello")
        assert (await one.submit("/undo", op_id="a"))["data"]["removed_count"] == 2


async def test_a_command_meant_for_another_transcript_changes_nothing(server: Running) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 2)
        seen = one.view.revision
        await one.submit("/undo", if_revision=seen)
        with pytest.raises(Refused) as caught:
            await one.submit("/undo", if_revision=seen)
        assert caught.value.code == "stale_revision"
        assert caught.value.error["data"]["revision"] == one.view.revision
        assert len(one.view.messages) == 2


async def test_an_op_id_is_looked_up_before_if_revision(server: Running) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 2)
        seen = one.view.revision
        first = await one.submit("/undo", op_id="a", if_revision=seen)
        assert await one.submit("/undo", op_id="a", if_revision=seen) == {**first, "replayed": True}


# Durable before it is told.


async def test_nothing_is_shown_or_answered_before_it_is_durable(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await seeded(one, 2)
        gate = Gate(server)
        undo = await one.send("submit", text="/undo")
        await gate.reached()
        status = await one.send("submit", text="/status")
        async with client(server.ws(one.session_id)) as late:
            assert len(late.view.messages) == 4, "attached shows the published state"
            assert len(one.view.messages) == len(two.view.messages) == 4
            assert not [frame for frame in one.seen if frame.get("id") in (undo, status)]
            gate.open.set()
            revision = (await one.reply(undo))["revision"]
            answered = await one.reply(status)
            assert (answered["revision"], answered["data"]["message_count"]) == (revision, 2)
            await late.at(revision)
            assert late.view.facts() == one.view.facts()


async def test_a_client_that_vanishes_in_mid_command_cancels_nothing(server: Running) -> None:
    async with client(server.ws()) as watcher:
        await seeded(watcher, 2)
        gate = Gate(server)
        async with client(server.ws(watcher.session_id)) as one:
            await one.send("submit", text="/undo", op_id="a")
            await gate.reached()
            one.socket.transport.abort()
        gate.open.set()
        await watcher.until(lambda: len(watcher.view.messages) == 2)
        assert (await watcher.submit("/undo", op_id="a"))["replayed"] is True


async def test_a_restart_finds_everything(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await seeded(one, 3)
        await one.submit("/undo")
        await one.say("héllo 👩‍👩‍👧‍👦\n\n  indented")
        session_id, facts = one.session_id, one.view.facts()
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert one.view.facts() == facts


async def test_a_run_that_died_with_its_server_is_kept_as_interrupted(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        await one.say("a long question")
        session_id = one.session_id
    with Database(tmp_path) as database:
        database.write([], [(session_id, Checkpoint("gone", "half an ans"))])
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        await one.until(lambda: len(one.view.messages) == 2)
        assert one.view.messages[1]["content"] == "half an ans"
        assert one.view.messages[1]["finish"] == "interrupted"
        await one.until(lambda: one.view.run is None)
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        await one.at((await one.submit("/status"))["revision"])
        assert len(one.view.messages) == 2, "once is enough"


# A commit that fails.


async def test_a_commit_that_fails_is_answered_and_every_client_starts_over_from_the_truth(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await seeded(one, 3)
        db = sqlite3.connect(server.settings.data / "backchat.db")
        db.execute("CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'broken'); END")
        requests = [await one.send("submit", text=text) for text in ("/undo", "/undo", "/status")]
        for request in requests:
            with pytest.raises(Refused) as caught:
                await one.reply(request)
            assert caught.value.code == "storage_failed"
        for each in (one, two):
            await each.again(2)
            assert each.named("attached")[1]["reset"] is True
            assert len(each.view.messages) == 6
        db.execute("DROP TRIGGER broken")
        db.close()
        assert (await one.submit("/undo"))["data"]["removed_preview"] == "question 3"
        await two.until(lambda: len(two.view.messages) == 4)
        assert one.view.facts() == two.view.facts()


async def test_a_stop_that_only_seemed_to_fail_leaves_no_reply_behind(server: Running) -> None:
    replies = Scripted(server)
    async with client(server.ws()) as one:
        await one.submit("hello")
        await eventually(lambda: replies.prompts)
        replace_write(server, lying_once)
        assert (await one.submit("/stop", op_id="a"))["data"] == {"stopped": True}
        await one.again(2)
        assert (one.view.texts, one.view.run) == (["hello"], None)
        assert (await one.submit("/stop", op_id="a"))["replayed"] is True


@pytest.mark.parametrize("op_id", ["a", None])
async def test_a_commit_that_seemed_to_fail_but_happened_is_answered_as_done(
    server: Running, op_id: str | None
) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 3)
        replace_write(server, lying_once)
        undo = await one.send("submit", text="/undo", **({"op_id": op_id} if op_id else {}))
        assert (await one.reply(undo))["data"]["removed_preview"] == "question 3"
        order = [frame.get("method", "reply") for frame in one.seen[-2:]]
        assert order == ["attached", "reply"], "what happened is shown before it is answered"
        assert len(one.view.messages) == 4


async def test_a_run_asked_for_by_a_commit_that_seemed_to_fail_is_started(server: Running) -> None:
    async with client(server.ws()) as one:
        replace_write(server, lying_once)
        await one.say("hello")
        await one.until(lambda: one.view.run is None and len(one.view.messages) == 2)
        assert one.view.texts == ["hello", "hello"]


async def test_what_a_run_had_shown_survives_a_failed_commit(tmp_path: Path) -> None:
    async with running(tmp_path, echo_delay=0.01) as server, client(server.ws()) as one:
        await one.submit("word " * 2000)
        await one.until(lambda: one.view.run and len(one.view.run["text"]) > 20)
        replace_write(server, failing_once)
        with pytest.raises(Refused) as caught:
            await one.submit("/stop")
        assert caught.value.code == "storage_failed"
        await one.until(lambda: one.view.run is None and len(one.view.messages) == 2)
        assert one.view.messages[1]["finish"] == "interrupted"
        assert one.view.messages[1]["content"].startswith("word word word word")
        assert (await one.submit("/status"))["data"]["agent_running"] is False
        # Nothing of the old run comes through into the next.
        await one.submit("/retry")
        await one.until(lambda: one.view.run and one.view.run["text"])
        await one.submit("/stop")
        assert one.view.messages[-1]["finish"] == "stopped"


async def test_a_disk_that_stays_broken_closes_the_clients_instead_of_trying_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path, echo_delay=0.01) as server:
        async with client(server.ws()) as one:
            session_id = one.session_id
            await one.submit("word " * 2000)
            await one.until(lambda: one.view.run and one.view.run["text"])
            db = await broken_for_good(tmp_path)
            stop = await one.send("submit", text="/stop")
            assert await one.closed() == 1011
            with pytest.raises(Refused) as caught:
                await one.reply(stop)
            assert caught.value.code == "storage_failed"
            assert len(one.named("attached")) == 2
        await eventually(lambda: not server.backchat.sessions._live)
        db.execute("DROP TRIGGER broken")
        db.close()
        async with client(server.ws(session_id)) as one:
            assert one.view.texts[0].startswith("word")
            await one.submit("/undo")


async def test_a_session_that_could_not_be_mended_does_not_stay_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        await one.say("a question")
        session_id = one.session_id
    with Database(tmp_path) as database:
        database.write([], [(session_id, Checkpoint("gone", "half"))])
    db = await broken_for_good(tmp_path)
    async with running(tmp_path) as server:
        async with server.backchat.sessions.use(OWNER, session_id):
            pass
        await eventually(lambda: not server.backchat.sessions._live)
    db.close()


async def test_a_log_that_cannot_be_read_after_a_failed_commit_leaves_nobody_waiting(server: Running) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 2)
        replace_write(server, failing_once)
        db = sqlite3.connect(server.settings.data / "backchat.db")
        db.execute("UPDATE event SET body = '[]'")
        db.commit()
        db.close()
        undo = await one.send("submit", text="/undo")
        assert await one.closed() == 1011
        with pytest.raises(Refused) as caught:
            await one.reply(undo)
        assert caught.value.code == "storage_failed"
    await eventually(lambda: not server.backchat.sessions._live)


# Resuming.


async def test_a_client_that_comes_back_gets_what_it_missed(server: Running) -> None:
    async with client(server.ws()) as stayed:
        session_id = stayed.session_id
        await seeded(stayed, 2)
        async with client(server.ws(session_id)) as left:
            view, log = left.view, left.view.log
        await stayed.submit("/undo")
        await stayed.say("and then?")
        async with client(server.ws(session_id, f"after={view.revision}&log={log}"), view) as back:
            assert "messages" not in back.attached
            assert [event["method"] for event in back.attached["events"]].count("transcript.spliced") == 3
            assert back.view.facts() == stayed.view.facts()
            missed = [frame for frame in stayed.seen if frame.get("method", "run").split(".")[0] != "run"]
            assert back.attached["events"] == [
                {"method": frame["method"], "params": frame["params"]} for frame in missed[-6:]
            ]


async def test_a_client_that_missed_nothing_gets_no_events(server: Running) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 1)
        position = f"after={one.view.revision}&log={one.view.log}"
        async with client(server.ws(one.session_id, position), one.view) as back:
            assert back.attached["events"] == []


@pytest.mark.parametrize("query", ["after=3&log=another", "after=3", "after=999&log={log}"])
async def test_a_resume_that_cannot_be_served_is_told_and_gets_a_snapshot(server: Running, query: str) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 2)
        async with client(server.ws(one.session_id, query.format(log=one.view.log))) as back:
            assert back.attached["reset"] is True
            assert back.view.facts() == one.view.facts()


async def test_what_was_meant_for_a_revision_that_is_still_to_come_is_stale(server: Running) -> None:
    # As after older data were put back: this log never had what the client saw.
    async with client(server.ws()) as one:
        await seeded(one, 1)
        with pytest.raises(Refused) as refused:
            await one.submit("/undo", if_revision=one.view.revision + 1)
        assert refused.value.code == "stale_revision"
        assert refused.value.error["data"]["revision"] == one.view.revision
        await one.submit("/undo", if_revision=one.view.revision)


async def test_a_client_too_far_behind_gets_a_snapshot(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        for number in range(300):
            await one.submit(f"line {number}")
        async with client(server.ws(one.session_id, f"after=1&log={one.view.log}")) as back:
            assert back.attached["reset"] is True
            assert len(back.view.messages) == 200
            assert back.view.start == 100
            assert back.view.messages == one.view.messages[-200:]


async def test_a_client_that_arrives_in_mid_run_misses_nothing(tmp_path: Path) -> None:
    said = "one two three four five six seven eight nine ten"
    async with running(tmp_path, echo_delay=0.02) as server, client(server.ws()) as one:
        run_id = (await one.submit(said))["run_id"]
        await one.until(lambda: one.view.run and "three" in one.view.run["text"])
        async with client(server.ws(one.session_id)) as late:
            assert late.attached["run"]["text"].startswith("one two")
            await late.ended(run_id)
            await one.ended(run_id)
            assert late.view.facts() == one.view.facts()
            assert late.view.texts == [said, said]


# Older pages.


async def test_older_pages_lead_back_to_the_first_message(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server:
        async with client(server.ws()) as one:
            for number in range(450):
                await one.submit(f"line {number}")
            session_id = one.session_id
        async with client(server.ws(session_id)) as one:
            texts, start = one.view.texts, one.view.start
            while start:
                page = await one.request("messages", before=start, limit=77)
                assert page["start"] == max(0, start - 77)
                texts = [message["content"] for message in page["messages"]] + texts
                start = page["start"]
            assert texts == [f"line {number}" for number in range(450)]
            assert await one.request("messages", before=0, limit=5) == {"messages": [], "start": 0}


async def test_an_undo_past_what_a_view_has_replaces_the_view(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server:
        async with client(server.ws()) as one:
            for number in range(450):
                await one.submit(f"line {number}")
            session_id = one.session_id
        async with client(server.ws(session_id)) as one:
            result = await one.submit("/undo 230")
            await one.at(result["revision"])
            assert one.named("transcript.spliced")[-1]["start"] == 20
            assert one.view.texts == [f"line {number}" for number in range(20, 220)]
            async with client(server.ws(session_id)) as fresh:
                assert fresh.view.facts() == one.view.facts()


async def test_a_page_waits_for_what_was_decided_before_it(server: Running) -> None:
    async with client(server.ws()) as one:
        await seeded(one, 2)
        gate = Gate(server)
        undo = await one.send("submit", text="/undo")
        await gate.reached()
        page = await one.send("messages", before=99)
        gate.open.set()
        assert len((await one.reply(page))["messages"]) == 2
        assert [frame["id"] for frame in one.seen if "method" not in frame][-2:] == [undo, page]


async def test_neither_a_page_nor_a_tail_nor_a_resume_is_larger_than_its_bound(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        for _ in range(6):
            await one.submit("x" * (TAIL_BYTES // 3))
        async with client(server.ws(one.session_id)) as late:
            assert late.view.start == 4
            assert (await late.request("messages", before=4))["start"] == 2
        async with client(server.ws(one.session_id, f"after=1&log={one.view.log}")) as back:
            assert back.attached["reset"] is True
        async with client(server.ws(one.session_id, f"after={late.view.revision}&log={late.view.log}")) as back:
            assert back.attached["events"] == []


# What is kept in memory, and for how long.


async def test_sessions_that_nobody_uses_leave_memory_and_come_back_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, idle_sessions=2) as server:
        facts = {}
        for number in range(5):
            async with client(server.ws()) as one:
                await one.say(f"session {number}")
                facts[one.session_id] = one.view.facts()
        live = server.backchat.sessions._live
        await eventually(lambda: len(live) == 2)
        for session_id, known in facts.items():
            async with client(server.ws(session_id)) as one:
                assert one.view.facts() == known
        await eventually(lambda: len(live) == 2)


async def test_a_session_stays_in_memory_while_a_client_is_attached(tmp_path: Path) -> None:
    async with running(tmp_path, idle_sessions=0) as server, client(server.ws()) as one:
        live = server.backchat.sessions._live[one.session_id]
        async with client(server.ws()), client(server.ws(one.session_id)):
            pass
        await one.say("still here")
        assert server.backchat.sessions._live[one.session_id] is live


async def test_a_bounded_number_of_requests_of_one_connection_wait_for_their_reply(tmp_path: Path) -> None:
    async with running(tmp_path, in_flight=5) as server, client(server.ws()) as one:
        await seeded(one, 1)
        gate = Gate(server)
        requests = [await one.send("submit", text="/status") for _ in range(3)]
        requests += [await one.send("submit", text="/undo")]
        await gate.reached()
        requests += [await one.send("submit", text="/status") for _ in range(30)]
        session = server.backchat.sessions._live[one.session_id]
        await eventually(lambda: len(session._pending) == 5)
        # A second client is decided on at once: its connection is another one.
        async with client(server.ws(one.session_id)) as two:
            await two.send("submit", text="/status")
            await eventually(lambda: len(session._pending) == 6)
            gate.open.set()
            for request in requests:
                await one.reply(request)


async def test_a_reply_is_saved_while_it_is_written_even_if_no_more_of_it_comes(tmp_path: Path) -> None:
    async with running(tmp_path / "one", echo_delay=0.01) as server, client(server.ws()) as one:
        await one.submit("word " * 5000)
        session_id = one.session_id

        def saved() -> list[tuple[str]]:
            db = sqlite3.connect(tmp_path / "one" / "backchat.db")
            try:
                return db.execute("SELECT text FROM checkpoint WHERE text != ''").fetchall()
            finally:
                db.close()

        await eventually(saved)
        # The disk as a crash would leave it.
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    async with running(tmp_path / "two") as server, client(server.ws(session_id)) as one:
        await one.until(lambda: len(one.view.messages) == 2)
        assert one.view.messages[1]["finish"] == "interrupted"
        assert one.view.messages[1]["content"].startswith("word word")


async def test_a_backend_that_sends_no_text_ends_its_run_and_the_session_goes_on(server: Running) -> None:
    replies = Scripted(server)
    replies.say("all is ", "\ud83d")
    async with client(server.ws()) as one:
        ended = await one.ended((await one.submit("hello"))["run_id"])
        assert ended["reason"] == "failed"
        assert ended["error"]["data"]["code"] == "backend_failed"
        assert (one.view.texts[1], one.view.messages[1]["finish"]) == ("all is ", "failed")
        assert (await one.submit("/undo"))["data"]["removed_count"] == 2


# Slow and silent clients.


async def test_a_client_that_stops_reading_is_dropped_and_costs_the_others_nothing(tmp_path: Path) -> None:
    # An outbox that never overflows: it is the time limit that ends this.
    limits = {"outbox_frames": 10**6, "outbox_characters": 10**9, "send_seconds": 0.3}
    async with running(tmp_path, **limits) as server, client(server.ws()) as healthy:
        stalled = stalled_client(server.port, healthy.session_id)
        try:
            subscribers = server.backchat.sessions._around.hub.subscribers(healthy.session_id)
            await eventually(lambda: len(subscribers) == 2)
            # The buffers on the way are the kernel's, and of no certain size. Left to unanswered pings it takes 40 s.
            async with asyncio.timeout(PATIENCE):
                while len(subscribers) > 1:
                    await healthy.say("long words " * 3000)
            await healthy.say("still here?")
            assert healthy.view.texts[-1] == "still here?"
        finally:
            stalled.close()


async def test_a_client_that_falls_too_far_behind_is_told_to_resume(tmp_path: Path) -> None:
    # A time limit that never strikes: it is the outbox that ends this.
    limits = {"outbox_frames": 20, "outbox_characters": 10**9, "send_seconds": 60}
    async with running(tmp_path, **limits) as server, client(server.ws()) as healthy:
        stalled = stalled_client(server.port, healthy.session_id)
        try:
            subscribers = server.backchat.sessions._around.hub.subscribers(healthy.session_id)
            await eventually(lambda: len(subscribers) == 2)
            outbox: Any = next(
                each for each in subscribers.values() if each is not subscribers[healthy.view.connection]
            )
            while outbox.closing is None:
                await healthy.say("long words " * 3000)
            rest = await asyncio.to_thread(_read_all, stalled)
            assert rest[rest.rindex(b"\x88") + 2 :].startswith((4008).to_bytes(2, "big"))
        finally:
            stalled.close()


def _read_all(stalled: socket.socket) -> bytes:
    stalled.settimeout(20)
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := stalled.recv(65536):
            received += chunk
            if received[-200:].rfind((4008).to_bytes(2, "big")) >= 0:
                break
    return bytes(received)


async def test_a_client_that_sends_without_waiting_gets_every_reply_in_order(server: Running) -> None:
    async with client(server.ws()) as one:
        for number in range(500):
            await one.socket.send(json.dumps({"id": f"n{number}", "method": "submit", "params": {"text": "/status"}}))
        await one.until(lambda: len(one.seen) == 501)
        assert [frame["id"] for frame in one.seen[1:]] == [f"n{number}" for number in range(500)]


async def test_a_view_of_an_earlier_connection_survives_a_server_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await seeded(one, 2)
        session_id, view = one.session_id, one.view
    async with running(tmp_path) as server:
        async with client(server.ws(session_id)) as other:
            await other.submit("/undo")
        async with client(server.ws(session_id, f"after={view.revision}&log={view.log}"), view) as back:
            assert "events" in back.attached
            async with client(server.ws(session_id), View()) as fresh:
                assert back.view.facts() == fresh.view.facts()
