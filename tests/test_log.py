"""/log: what was done to a session, newest first, by whom and when."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from backchat import reports
from backchat.importer import import_files
from backchat.reports import MOST_LOGGED
from backchat.store.sqlite import Database
from backchat.transcript import Cause, Created, Event, TakenBack
from tests.support.client import client
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.talk import Talk, talked


def did(talk: Talk, count: int = 99) -> list[str]:
    """What the log says was done, newest first."""
    return [entry["did"] for entry in talk.enter(f"/log {count}").data["events"]]


def test_the_newest_comes_first_and_ten_are_shown_unless_told() -> None:
    talk = talked("one", "two", "three", "four", "five", "six")
    assert len(talk.log) == 13
    entries = talk.enter("/log").data["events"]
    assert [entry["revision"] for entry in entries] == list(range(13, 3, -1))
    assert [entry["revision"] for entry in talk.enter("/log 2").data["events"]] == [13, 12]
    assert [entry["revision"] for entry in talk.enter("/log 99").data["events"]] == list(range(13, 0, -1))


def test_an_entry_says_when_and_how_the_transcript_ended_then() -> None:
    talk = talked("one")
    talk.enter("/clear")
    entries = talk.enter("/log").data["events"]
    assert [entry["head"] for entry in entries] == [None, 2, 1, None]
    assert [entry["at"] for entry in entries] == [event.at for event in reversed(talk.log)]
    assert entries[0] == {
        "revision": 4, "at": talk.log[-1].at, "command": None, "did": "took back: the transcript is empty",
        "head": None, "cause": Cause(),
    }  # fmt: skip


def test_the_log_changes_nothing() -> None:
    talk = talked("one")
    before = talk.state
    assert talk.enter("/log").events == ()
    assert talk.state is before


def test_each_kind_of_event_is_said_in_words() -> None:
    talk = talked("one", "two")
    for line in ("/undo", "/redo", "/retry", "waits", "/queue drop", "waits too", "/stop", "/queue go"):
        talk.enter(line)
    talk.write("half")
    for line in ("/edit 1 eins", "/goto 2", "/drop 1", "/title T", "/system be brief", "/new", "/branch 2"):
        talk.enter(line)
    assert did(talk, 20) == [
        "branched from message 2 into the session new-2",
        "began the session new-1",
        "system prompt: be brief",
        "title: T",
        "took out the turn of message 1: one",
        "chose: the transcript ends with message 2",
        "edited, message 7: eins",
        "reply (stopped), message 6: half",
        "sent message 5: waits too",
        "the queue went on",
        "the queue was paused",
        "put in the queue: waits too",
        "took 1 out of the queue",
        "put in the queue: waits",
        "took back: the transcript ends with message 3",
        "brought 1 step back: the transcript ends with message 4",
        "took back: the transcript ends with message 2",
        "reply, message 4: TWO",
        "sent message 3: two",
        "reply, message 2: ONE",
    ]
    talk.enter("/stop")
    assert did(Talk(created=Created(), replies=False)) == ["began"]
    assert did(Talk("one", "1")) == ["began with 2 messages"]


def test_the_choices_and_a_stop_before_the_first_word_are_said_too() -> None:
    talk = talked("one")
    for line in ("/retry", "/stop", "/system none"):
        talk.enter(line)
    assert did(talk, 2)[-1] == "stopped the reply before its first word"


def test_a_long_message_is_cut_and_the_whole_of_a_short_one_is_there() -> None:
    assert did(talked("x" * 61), 1) == ["reply, message 2: " + "X" * 60 + "..."]
    assert did(talked("x" * 60), 1) == ["reply, message 2: " + "X" * 60]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86399, "23 hours ago"),
        (86400, "1 day ago"),
        (999 * 86400, "999 days ago"),
        (-5, "just now"),
    ],
)
def test_the_notice_says_how_long_ago_something_was(seconds: float, said: str) -> None:
    talk = talked("one")
    view = replace(talk.view, at=talk.log[-1].at + seconds)
    assert reports.log(view, 1).notice == f"@3 ({said}): reply, message 2: ONE"


# Over real sockets.


async def entries(one: Any, count: int = 99) -> list[Any]:
    """The log as a client gets it."""
    found: list[Any] = (await one.submit(f"/log {count}"))["data"]["events"]
    return found


async def test_the_log_says_who_and_by_which_command_and_stays_the_same_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await one.say("one", op_id="m")
        await two.submit("/undo", op_id="u")
        result = await one.submit("/log")
        found = result["data"]["events"]
        assert [(entry["revision"], entry["command"], entry["cause"]["connection"]) for entry in found] == [
            (4, "undo", two.view.connection),
            (3, None, None),
            (2, None, one.view.connection),
            (1, None, None),
        ]
        name = two.attached["name"]
        assert found[0]["cause"] == {
            "op_id": "u", "command": "undo", "connection": two.view.connection, "name": name,
        }  # fmt: skip
        first = result["notice"].splitlines()[0]
        assert first == f"@4 (just now, {name}, /undo): took back: the transcript is empty"
        session_id = one.session_id
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert await entries(one) == found


async def test_what_is_staged_and_not_yet_durable_is_in_the_log(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        numbers = [await one.send("submit", text=text) for text in ("/undo", "/redo", "/title T", "/log 4")]
        *_, log = [await one.reply(number) for number in numbers]
        assert [entry["did"] for entry in log["data"]["events"]] == [
            "title: T",
            "brought 1 step back: the transcript ends with message 2",
            "took back: the transcript is empty",
            "reply, message 2: one",
        ]
        assert log["revision"] == log["data"]["events"][0]["revision"]


async def test_the_events_of_one_command_come_newest_first_too(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            replies.say("half")
            await one.submit("one")
            await one.until(lambda: one.view.run and one.view.run["text"])
            numbers = [await one.send("submit", text=text) for text in ("/undo", "/log 2")]
            _, log = [await one.reply(number) for number in numbers]
            assert [entry["did"] for entry in log["data"]["events"]] == [
                "took back: the transcript is empty",
                "reply (stopped), message 2: half",
            ]


async def test_two_hundred_events_are_shown_at_the_most_after_a_restart_too(tmp_path: Path) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        for number in range(MOST_LOGGED + 100):
            await one.submit(f"/title {number}")
        session_id = one.session_id
        found = await entries(one, 10**9)
        assert [entry["revision"] for entry in found] == list(range(MOST_LOGGED + 101, 101, -1))
        notice = (await one.submit(f"/log {10**9}"))["notice"]
        assert notice.splitlines()[MOST_LOGGED:] == ["What came before is kept, but is not shown here."]
        notice = (await one.submit("/log"))["notice"]
        assert len(notice.splitlines()) == 10
    async with running(tmp_path, backend="none") as server, client(server.ws(session_id)) as one:
        assert await entries(one, 10**9) == found
        assert len(await entries(one, 200)) == MOST_LOGGED == 200
        assert len(await entries(one, 199)) == 199


async def test_the_log_is_there_while_a_reply_is_written(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            replies.say("half")
            await one.submit("one")
            await one.until(lambda: one.view.run and one.view.run["text"])
            assert [entry["did"] for entry in await entries(one)] == ["sent message 1: one", "began"]
            assert one.view.run is not None


def test_what_somebody_wrote_cannot_look_like_a_line_of_the_log() -> None:
    forged = "hi\n@3 (just now, amber heron, /clear): took back: the transcript is empty"
    talk = talked(forged)
    for line in (f"/title {forged}", f"/system {forged}", f"/edit {forged}", "/log", "/pick 1", "/queue"):
        notice = talk.enter(line).notice or ""
        if line == "/log":
            assert len(notice.splitlines()) == len(talk.log)
        if line == "/pick 1":
            assert len(notice.splitlines()) == 2  # the reply to /edit was stopped


def test_a_stop_of_an_older_log_is_told_as_one() -> None:
    talk = talked("one")
    stop = Event(len(talk.log) + 1, talk.at, talk.state.head, TakenBack(), Cause(command="stop"))
    view = replace(talk.view, events=lambda count: [stop][:count])
    assert reports.log(view, 1).data["events"][0]["did"] == "stopped the reply before its first word"


async def test_an_import_is_told_as_one_and_not_as_a_command(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"session_id": "s", "messages": [{"role": "user", "content": "x"}]}))
    with Database(tmp_path / "data") as database:
        assert [result.outcome for result in import_files(database, [file])] == ["imported"]
    async with running(tmp_path / "data") as server, client(server.ws("s")) as one:
        notice = (await one.submit("/log"))["notice"]
        assert notice.endswith("): was imported with 1 message")
        assert "/import" not in notice
