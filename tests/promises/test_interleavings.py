"""Two clients and a model at once, on raw sockets: whatever they do, all end with the same transcript.

The same with a browser is in browser/test_interleavings.py.
"""

import shutil
from contextlib import aclosing
from itertools import count
from pathlib import Path
from random import Random

import pytest

from backchat import runs
from backchat.store.sqlite import Database
from tests.support.client import View, client
from tests.support.interleavings import Conversation, Socket, audit, schedule
from tests.support.model_server import model_server
from tests.support.server import running

SEEDS = range(4)
SESSIONS = 4
"""How many sessions each seed plays."""
SCHEDULES = 10
"""How many schedules each session goes through, one after the other."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_clients_and_a_model_at_once_end_with_one_transcript(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that what a run wrote is put down in the middle of everything else, too.
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.002)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = {"backend": "openai", "model": "one", "retries": 1, "queue_messages": 3}
    random = Random(seed)
    talks: list[Conversation] = []
    async with model_server() as models:
        models.hold_all()
        async with running(tmp_path / "data", base_url=models.url, **settings) as server:
            for number in range(SESSIONS):
                tag = f"s{seed}.{number}"
                one, two = Socket("one", server), Socket("two", server)
                session_id = await one.open()
                await two.open(session_id)
                talks.append(talk := Conversation(server, models, tag, session_id, [one, two]))
                messages = count(1)
                async with aclosing(talk):
                    for _ in range(SCHEDULES):
                        await talk.play(schedule(random, ["one", "two"], tag, messages), random)
                if not (one.left or two.left):
                    assert one.view.heard == two.view.heard
            # As a crash would leave it: nothing is being written now, but replies are.
            shutil.copytree(tmp_path / "data", tmp_path / "crashed")
        requests = len(models.exchanges)
        assert sum(talk.model.broken for talk in talks) > 0, "no stream was broken off"

        # After a restart all is as it was, and nothing is asked for again.
        for data in (tmp_path / "data", tmp_path / "crashed"):
            async with running(data, base_url=models.url, **settings) as server:
                for talk in talks:
                    async with client(server.ws(talk.session_id)) as fresh:
                        await fresh.submit("/status")
                        check_restarted(talk.first.view, fresh.view)
                    with Database(data) as database:
                        audit(database.load(talk.session_id), talk.model, talk.lines)
        assert len(models.exchanges) == requests


def check_restarted(before: View, after: View) -> None:
    """What was there is there, and what a live run had written is marked as interrupted."""
    assert after.run is None
    kept = len(before.messages)
    assert after.messages[:kept] == before.messages
    partials = after.messages[kept:]
    assert len(partials) == (before.run is not None)
    for partial in partials:
        assert before.run is not None
        assert (partial["finish"], partial["run_id"]) == ("interrupted", before.run["run_id"])
        # A crash may have come before the last checkpoint.
        assert before.run["text"].startswith(partial["content"])
        assert before.run["reasoning"].startswith(partial.get("reasoning", ""))
    assert after.session["queue"] == before.session["queue"]
    assert after.session["queue_paused"] == bool(after.session["queue"])
