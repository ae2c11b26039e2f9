"""Who is attached, who is told of it and how often, and who did what."""

import contextlib
import json
import random
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backchat.errors import InvalidParams
from backchat.frames import Who
from backchat.hub import local
from backchat.hub.local import MOST_PRESENT, LocalHub
from backchat.names import MOST_NAME, OWNER, checked_name, made_up_name
from backchat.outbox import Burst
from backchat.store.sqlite import MIGRATIONS, Database
from tests.support.client import Client, Json, client, eventually
from tests.support.scripted import Scripted
from tests.support.server import Running, running

NEVER = 3600.0


def named(name: str) -> str:
    """The query that gives a name."""
    return f"name={quote(name)}"


def me(one: Client) -> Json:
    """A client, as others are told of it."""
    return {"connection": one.attached["connection"], "name": one.attached["name"]}


async def knows(one: Client, *present: Client) -> None:
    """Waits until a client knows that these are attached, and nobody else."""
    told = {"count": len(present), "present": [me(each) for each in present]}
    await one.until(lambda: one.view.presence == told)


# Names.


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Jo", "Jo"),
        ("  Jo \t\n of   Here ", "Jo of Here"),
        ("x" * 40, "x" * 40),
        ("x  " * 20, " ".join("x" * 20)),
        ("Zoë Ångström", "Zoë Ångström"),
        ("山田 太郎", "山田 太郎"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("a\u00a0b", "a b"),
    ],
)
async def test_a_name_that_is_given_is_shown_with_its_white_space_collapsed(
    server: Running, given: str, shown: str
) -> None:
    async with client(server.ws("", named(given))) as one:
        assert one.attached["name"] == shown
        assert one.attached["presence"] == {"count": 1, "present": [me(one)]}


@pytest.mark.parametrize(
    "query",
    ["name=", "name=%20%09", named("x" * 41), named("y" * 4000), "name=a%00b", "name=%ED%A0%80", "name=%FF",
     named("a\x07"), named("\u202egnihton"), named("\u200b"), named("\u200d\u200c"), named("a\ufeffb"), named("\ue000"),
     named("a\ufffd"), named("\u3164"), named("\u2800 \u115f"), named("\ufe0f\u034f"), "Name=x", "name=Jo&nickname=J"],
)  # fmt: skip
async def test_a_name_that_is_none_closes_with_4400(server: Running, query: str) -> None:
    async with client(server.ws()) as one:
        for path in ("", one.session_id):
            async with connect(server.ws(path, query)) as socket:
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 4400
        assert one.view.presence == {"count": 1, "present": [me(one)]}


@given(st.text(max_size=60) | st.text(st.characters(codec=None, categories=["Cs", "Cc", "Cf", "L"]), max_size=60))
def test_whatever_a_name_is_it_is_refused_or_can_be_seen_sent_and_given_again(name: str) -> None:
    try:
        checked = checked_name(name)
    except InvalidParams:
        return
    assert 0 < len(checked) <= MOST_NAME
    assert checked.encode().decode() == checked
    assert checked.strip() == checked
    assert checked_name(checked) == checked
    assert any(char.isprintable() and not char.isspace() for char in checked)


def test_made_up_names_are_names_and_mostly_differ() -> None:
    choose = random.Random(4).choice
    made = [made_up_name(choose) for _ in range(200)]
    assert all(checked_name(name) == name for name in made)
    assert len(set(made)) > 190


async def test_a_name_is_made_up_for_whoever_gives_none_and_is_not_that_of_others(server: Running) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(server.ws())) for _ in range(20)]
        names = [one.attached["name"] for one in clients]
    assert all(checked_name(name) == name and " " in name for name in names)
    assert len(set(names)) > 15


async def test_a_name_is_that_of_a_connection_so_two_may_have_the_same(server: Running) -> None:
    async with (
        client(server.ws("", named("Jo"))) as one,
        client(server.ws(one.session_id, named("Jo"))) as two,
        client(server.ws(one.session_id)) as three,
    ):
        assert one.attached["connection"] != two.attached["connection"]
        for each in (one, two, three):
            await knows(each, one, two, three)


# Who is told.


async def test_those_who_are_attached_are_told_who_comes_and_goes_and_a_newcomer_knows(server: Running) -> None:
    async with client(server.ws("", named("Jo"))) as one:
        async with client(server.ws(one.session_id, named("a script"))) as two:
            assert two.attached["presence"] == {"count": 2, "present": [me(one), me(two)]}
            await knows(one, one, two)
            # Nothing that a client could resume from has happened.
            assert (one.view.revision, one.named("session.updated")) == (1, [])
        await knows(one, one)
        assert one.told == [
            {"jsonrpc": "2.0", "method": "presence", "params": {"count": count, "present": present}}
            for count, present in ((2, [me(one), me(two)]), (1, [me(one)]))
        ]
        assert two.told == []


async def test_a_session_is_told_nothing_of_another(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws()) as other, client(server.ws(one.session_id)) as two:
        await knows(one, one, two)
        assert other.view.presence == {"count": 1, "present": [me(other)]}
        assert other.told == []


async def test_a_client_that_comes_back_is_told_anew_and_is_somebody_else(server: Running) -> None:
    async with client(server.ws("", named("Jo"))) as one:
        async with client(server.ws(one.session_id)) as two:
            pass
        async with client(server.ws(one.session_id, f"after=1&log={two.view.log}&name=two"), two.view) as back:
            assert back.attached["events"] == []
            await eventually(lambda: len(server.backchat._hub.subscribers(one.session_id)) == 2)
            assert back.attached["presence"]["present"][-1] == {**me(back), "name": "two"}
            assert back.attached["presence"]["present"][0] == me(one)
            await knows(one, one, back)


async def test_who_is_there_is_told_anew_after_a_commit_that_failed(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await one.say("something")
        db = sqlite3.connect(server.settings.data / "backchat.db")
        db.execute("CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'broken'); END")
        db.close()
        await one.send("submit", text="/undo")
        for each in (one, two):
            await each.again(2)
            again = each.named("attached")[1]
            assert (again["connection"], again["name"]) == (each.attached["connection"], each.attached["name"])
            assert again["presence"] == {"count": 2, "present": [me(one), me(two)]}


async def test_of_many_some_are_listed_and_each_costs_the_others_little(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Told when this test says so.
    monkeypatch.setattr(local, "PRESENCE_SECONDS", NEVER)
    hub = server.backchat._hub
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(server.ws()))]
        session_id = clients[0].session_id
        clients += [await stack.enter_async_context(client(server.ws(session_id))) for _ in range(59)]
        for number, one in enumerate(clients, start=1):
            present = [me(each) for each in clients[:number]]
            listed = present if number <= MOST_PRESENT else [*present[: MOST_PRESENT - 1], me(one)]
            assert one.attached["presence"] == {"count": number, "present": listed}
        hub._tell(session_id)
        everyone = {"count": 60, "present": [me(one) for one in clients[:MOST_PRESENT]]}
        for one in clients[:-1]:
            await one.until(partial(len, one.told))
        # In order with the presence that it would have been sent.
        await clients[-1].submit("/status")
        assert [[frame["params"] for frame in one.told] for one in clients] == [[everyone]] * 59 + [[]]
        # Nobody whose news would be old is told, and there is nothing to tell.
        hub._changed(session_id, hub._audiences[session_id])
        hub._tell(session_id)
        for one in clients:
            await one.submit("/status")
        assert [len(one.told) for one in clients] == [1] * 59 + [0]


# The hub, by itself.


class Heard:
    """A subscriber that keeps what it is sent."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    def push(self, *frames: str) -> None:
        self.frames.extend(frames)

    def push_delta(self, delta: Any, frame: str) -> None:
        raise AssertionError("nothing is being written here")

    def follow(self, burst: Burst) -> None:
        raise AssertionError("nothing is published here")

    def leave(self) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        raise AssertionError((code, reason))


def subscribed(hub: LocalHub, *numbers: int) -> list[Heard]:
    heard = [Heard() for _ in numbers]
    for number, one in zip(numbers, heard, strict=True):
        hub.subscribe("s", Who(f"c{number}", f"name {number}"), one)
    return heard


async def test_a_thousand_that_come_at_once_are_told_once_in_the_very_same_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "PRESENCE_SECONDS", 0)
    hub = LocalHub()
    heard = subscribed(hub, *range(1000))
    await eventually(lambda: heard[0].frames)
    assert [len(one.frames) for one in heard] == [1] * 999 + [0]
    assert len({id(one.frames[0]) for one in heard[:-1]}) == 1
    assert json.loads(heard[0].frames[0])["params"]["count"] == 1000
    for number in range(500):
        hub.unsubscribe("s", f"c{number}")
    await eventually(lambda: heard[-1].frames)
    assert [len(one.frames) for one in heard[500:]] == [2] * 499 + [1]
    assert [len(one.frames) for one in heard[:500]] == [1] * 500


async def test_who_comes_and_goes_before_anybody_is_told_was_never_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PRESENCE_SECONDS", NEVER)
    hub = LocalHub()
    (first, second) = subscribed(hub, 1, 2)
    hub._tell("s")
    assert (len(first.frames), len(second.frames)) == (1, 0)
    subscribed(hub, 3)
    hub.unsubscribe("s", "c3")
    hub._tell("s")
    assert (len(first.frames), len(second.frames)) == (1, 0)
    hub.unsubscribe("s", "c2")
    (third,) = subscribed(hub, 4)
    hub._tell("s")
    assert (len(first.frames), len(third.frames)) == (2, 0)
    hub.unsubscribe("s", "c4")
    hub.unsubscribe("s", "c1")


async def test_nobody_waits_for_what_nobody_would_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PRESENCE_SECONDS", NEVER)
    hub = LocalHub()
    subscribed(hub, 1)
    assert hub._audiences["s"].timer is None, "one alone has nobody to be told of it"
    subscribed(hub, 2)
    timer = hub._audiences["s"].timer
    assert timer is not None
    subscribed(hub, 3)
    assert hub._audiences["s"].timer is timer, "one timer, however many come"
    for number in (1, 2, 3, 3, 9):
        hub.unsubscribe("s", f"c{number}")
    assert timer.cancelled()
    assert hub._audiences == {}
    hub.unsubscribe("s", "c1")


@pytest.mark.parametrize("end", ["everybody leaves", "it is deleted", "the server stops"])
async def test_no_timer_outlives_a_session_or_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(local, "PRESENCE_SECONDS", NEVER)
    async with running(tmp_path) as server:
        hub = server.backchat._hub
        async with contextlib.AsyncExitStack() as stack:
            one = await stack.enter_async_context(client(server.ws()))
            two = await stack.enter_async_context(client(server.ws(one.session_id)))
            timer = hub._audiences[one.session_id].timer
            assert timer is not None
            if end == "it is deleted":
                async with server.backchat.sessions.use(OWNER, one.session_id) as session:
                    await session.delete()
                assert await two.closed() == 4410
            if end == "the server stops":
                await server.backchat.drain()
                assert timer.cancelled()
                # Nor does one begin while the connections end.
                hub._audiences[one.session_id].timer = None
                await two.socket.close()
                await eventually(lambda: len(hub.subscribers(one.session_id)) == 1)
                assert hub._audiences[one.session_id].timer is None
        await eventually(lambda: not hub._audiences)
        assert timer.cancelled()


# Who did it.


async def test_what_others_change_says_who_it_was(server: Running) -> None:
    async with client(server.ws("", named("Jo"))) as one, client(server.ws(one.session_id, "name=a+script")) as two:
        await one.say("hello", op_id="x")
        await two.submit("/title of two")
        await two.until(lambda: len(two.view.messages) == 2)
        first, reply = [splice["cause"] for splice in two.named("transcript.spliced")]
        assert first == {"op_id": "x", "command": None, **me(one)}
        assert reply == {"op_id": None, "command": None, "connection": None, "name": None}, "nobody wrote it"
        await one.until(lambda: one.view.session["title"] == "of two")
        (titled,) = [u["cause"] for u in one.named("session.updated") if u["session"].get("title") == "of two"]
        assert titled == {"op_id": None, "command": "title", **me(two)}


async def test_what_a_command_does_in_many_steps_has_the_same_name_on_each(server: Running) -> None:
    replies = Scripted(server)
    async with client(server.ws("", named("Jo"))) as one, client(server.ws(one.session_id, named("Al"))) as two:
        await one.submit("hello")
        replies.say("half")
        await two.until(lambda: two.view.run and two.view.run["text"])
        result = await two.submit("/undo", op_id="u")
        await one.at(result["revision"])
        stopped, undone = [splice["cause"] for splice in one.named("transcript.spliced")][1:]
        assert stopped == {"op_id": None, "command": "undo", **me(two)}
        assert undone == {"op_id": "u", "command": "undo", **me(two)}


async def test_the_log_says_who_it_was_after_a_restart_too_and_of_what_was_before_that_nobody_knows(
    tmp_path: Path,
) -> None:
    db = sqlite3.connect(tmp_path / "backchat.db")
    db.executescript("".join(MIGRATIONS[:2]))
    db.execute("PRAGMA user_version = 2")
    db.execute("INSERT INTO session VALUES ('s', 'local', 'l', 50.0, NULL, NULL, NULL, NULL, NULL)")
    db.execute("INSERT INTO event VALUES ('s', 1, 'created', 1, 50.0, 'c1', NULL, 0, '{}', NULL, NULL, NULL)")
    db.commit()
    db.close()
    async with running(tmp_path) as server, client(server.ws("s", named("Jo"))) as one:
        await one.say("hello")
        new = await one.submit("/new there", op_id="n")
        told = [frame["params"] for frame in one.seen[1:] if frame.get("method", "").startswith(("tran", "sess"))]
        who, log = me(one), one.view.log
    async with running(tmp_path) as server, client(server.ws("s", f"after=1&log={log}")) as back:
        assert [event["params"] for event in back.attached["events"]] == told
    with Database(tmp_path) as database:
        causes = [step.event.cause for step in database.load("s").history]
        assert [(cause.connection, cause.name) for cause in causes] == [
            ("c1", None),
            (who["connection"], "Jo"),
            (None, None),
            (who["connection"], "Jo"),
        ]
        there = database.load(new["data"]["session_id"]).history
        assert {(step.event.cause.name, step.event.cause.op_id) for step in there} == {("Jo", None)}


async def test_an_http_request_has_no_name(server: Running) -> None:
    async with client(server.ws("", named("Jo"))) as one:
        session_id = one.session_id
        async with server.backchat.sessions.use(OWNER, session_id) as session:
            await session.delete()
        await one.closed()
    db = sqlite3.connect(server.settings.data / "backchat.db")
    assert db.execute("SELECT DISTINCT actor, name FROM event").fetchall() == [(None, None)]
    db.close()


async def test_a_message_that_waited_is_its_senders_whoever_asked_for_the_reply_before_it(server: Running) -> None:
    replies = Scripted(server)
    async with (
        client(server.ws("", named("the kitchen"))) as one,
        client(server.ws(one.session_id, named("the garden"))) as two,
    ):
        await one.submit("What shall we eat?")
        await two.submit("And when?", op_id="when")
        replies.say("Soup.")
        replies.end()
        await one.until(lambda: one.view.texts[2:] == ["And when?"])
        (cause,) = [
            spliced["cause"]
            for spliced in one.named("transcript.spliced")
            if [message["content"] for message in spliced["messages"]] == ["And when?"]
        ]
        assert cause == {"op_id": None, "command": None, **me(two)}
        # What somebody sends on is that one's doing.
        await two.submit("Anything else?")
        await one.submit("/stop")
        await one.submit("/queue go")
        await two.until(lambda: two.view.texts[-1] == "Anything else?")
        assert two.named("transcript.spliced")[-1]["cause"] == {"op_id": None, "command": "queue", **me(one)}
