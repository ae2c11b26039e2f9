"""What is done to sessions from the list: bringing back a deleted one, and renaming; and completion without one."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backchat.store.sqlite import Database
from tests.support.client import Json, client, eventually
from tests.support.faults import Gate, failing_once, lying_once, replace_write
from tests.support.scripted import Scripted
from tests.support.server import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server that the tests of this module share: each makes sessions of its own."""
    async with running(tmp_path_factory.mktemp("shared")) as one:
        yield one


def http_of(server: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, trust_env=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with http_of(server) as one:
        yield one


async def code(answer: Any) -> int:
    """The status of a response."""
    status: int = (await answer).status_code
    return status


async def refused(server: Running, session_id: str) -> int | None:
    """The code that a socket is closed with at once."""
    async with connect(server.ws(session_id)) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    return socket.close_code


async def listed(http: httpx.AsyncClient) -> list[str]:
    sessions = (await http.get("/api/sessions", params={"limit": 200})).json()["sessions"]
    return [session["session_id"] for session in sessions]


async def fields(http: httpx.AsyncClient, session_id: str) -> Json:
    body: Json = (await http.get(f"/api/sessions/{session_id}")).json()
    return body


# Bringing back.


async def test_a_deleted_session_comes_back_as_it_was(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http, client(server.ws()) as one:
        await one.say("first")
        await one.say("second")
        await one.submit("/undo")
        session_id, view = one.session_id, one.view
        path = f"/api/sessions/{session_id}"
        before = await fields(http, session_id), (await http.get("/api/sessions")).json()
        await http.delete(path)
        await one.closed()
        assert await listed(http) == []
        response = await http.post(f"{path}/restore")
        assert (response.status_code, response.json()) == (200, {"session_id": session_id})
        assert (await fields(http, session_id), (await http.get("/api/sessions")).json()) == before
        # And a client that was there resumes.
        query = f"after={view.revision}&log={view.log}"
        async with client(server.ws(session_id, query), view) as again:
            assert "events" in again.attached
            assert (await again.submit("/redo"))["data"]["turns"] == 1
            assert again.view.texts == ["first", "first", "second", "second"]


async def test_it_stays_back_after_a_restart_and_one_that_was_deleted_before_a_restart_comes_back(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as server, http_of(server) as http, client(server.ws()) as one:
        await one.say("kept")
        session_id = one.session_id
        await http.delete(f"/api/sessions/{session_id}")
    async with running(tmp_path) as server, http_of(server) as http:
        gate = Gate(server)
        restoration = asyncio.create_task(http.post(f"/api/sessions/{session_id}/restore"))
        await gate.reached()
        assert await refused(server, session_id) == 4410, "not before it is durable"
        gate.open.set()
        assert (await restoration).status_code == 200
        assert await listed(http) == [session_id]
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert one.view.texts == ["kept", "kept"]


async def test_what_is_not_deleted_stays_as_it_is_and_what_never_was_is_not_found(
    server: Running, http: httpx.AsyncClient
) -> None:
    async with client(server.ws()) as one:
        await one.say("here")
        assert await code(http.post(f"/api/sessions/{one.session_id}/restore")) == 200
        assert (await one.submit("/status"))["data"]["message_count"] == 2
        assert len(one.named("attached")) == 1
    for session_id in ("nope", "NOPE", "%00", "a" * 65):
        response = await http.post(f"/api/sessions/{session_id}/restore")
        assert (response.status_code, response.json()["error"]["data"]["code"]) == (404, "no_such_session")


async def test_a_reply_that_the_deletion_stopped_is_not_taken_up_again(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            replies.say("half")
            await one.submit("a question")
            await one.submit("waiting")
            await one.until(lambda: one.view.run and one.view.run["text"])
            session_id = one.session_id
            await http.delete(f"/api/sessions/{session_id}")
            await one.closed()
        await http.post(f"/api/sessions/{session_id}/restore")
        async with client(server.ws(session_id)) as one:
            assert one.view.run is None
            assert [message.get("finish") for message in one.view.messages] == [None, "stopped"]
            assert one.view.session["queue_paused"] is True


async def test_all_who_restore_at_once_get_it_back_and_it_is_written_once(
    server: Running, http: httpx.AsyncClient
) -> None:
    async with client(server.ws()) as one:
        session_id = one.session_id
    path = f"/api/sessions/{session_id}"
    await http.delete(path)
    assert await asyncio.gather(*(code(http.post(f"{path}/restore")) for _ in range(5))) == [200] * 5
    assert await code(http.get(path)) == 200
    assert await code(http.delete(path)) == 200
    assert await code(http.get(path)) == 410


async def test_a_restoration_on_the_heels_of_a_deletion_wins_and_the_clients_are_told_of_both(
    server: Running, http: httpx.AsyncClient
) -> None:
    async with client(server.ws()) as one:
        await one.say("hello")
        session_id = one.session_id
        path = f"/api/sessions/{session_id}"
        gate = Gate(server)
        deletion = asyncio.create_task(http.delete(path))
        await gate.reached()
        restorations = [asyncio.create_task(http.post(f"{path}/restore")) for _ in range(2)]
        session = server.backchat.sessions._live[session_id]
        await eventually(lambda: [len(pending.answers) for pending in session._pending] == [1, 2])
        # Not back before it is durable, so nobody attaches only to be thrown out by the deletion.
        assert await refused(server, session_id) == 4410
        assert await code(http.delete(path)) == 410
        gate.open.set()
        assert (await deletion).status_code == 200
        assert [(await one).status_code for one in restorations] == [200, 200]
        assert await one.closed() == 4410
        async with client(server.ws(session_id)) as again:
            assert again.view.texts == ["hello", "hello"]
            await again.submit("/undo")
    with Database(server.settings.data) as database:
        assert database.load(session_id).history[-1].after.head == 0


@pytest.mark.parametrize("fault", [failing_once, lying_once])
async def test_a_restoration_whose_commit_failed_is_told_as_it_is(tmp_path: Path, fault: Any) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        async with client(server.ws()) as one:
            session_id = one.session_id
        path = f"/api/sessions/{session_id}"
        await http.delete(path)
        replace_write(server, fault)
        first = await code(http.post(f"{path}/restore"))
        assert (first, await code(http.get(path))) == ((200, 200) if fault is lying_once else (503, 410))
        assert await code(http.post(f"{path}/restore")) == 200
        async with client(server.ws(session_id)) as one:
            await one.say("goes on")
        assert await listed(http) == [session_id]


@pytest.mark.parametrize("fault", [failing_once, lying_once])
async def test_a_restoration_behind_a_deletion_whose_commit_failed_leaves_the_session_there(
    tmp_path: Path, fault: Any
) -> None:
    async with running(tmp_path) as server, http_of(server) as http, client(server.ws()) as one:
        await one.say("hello")
        path = f"/api/sessions/{one.session_id}"
        replace_write(server, fault)
        answers = await asyncio.gather(code(http.delete(path)), code(http.post(f"{path}/restore")))
        assert answers[0] in (200, 503)
        if answers[1] != 200:
            assert await code(http.post(f"{path}/restore")) == 200
        async with client(server.ws(one.session_id)) as again:
            assert again.view.texts == ["hello", "hello"]
    with sqlite3.connect(tmp_path / "backchat.db") as db:
        assert db.execute("SELECT deleted_at FROM session").fetchall() == [(None,)]
    db.close()


# Renaming.


async def test_a_title_that_is_given_is_shown_to_everyone_who_is_attached(
    server: Running, http: httpx.AsyncClient
) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await one.say("what the title is made of")
        path = f"/api/sessions/{one.session_id}"
        response = await http.patch(path, json={"title": "  mine\n own "})
        assert response.status_code == 200
        assert response.json() == (await one.submit("/status"))["data"]
        assert response.json()["title"] == "mine own"
        await two.until(lambda: two.view.session["title"] == "mine own")
        for each in (one, two):
            update = each.named("session.updated")[-1]
            assert (update["cause"]["command"], update["cause"]["connection"]) == ("title", None)
        assert (await one.submit("/log 1"))["data"]["events"][0]["did"] == "title: mine own"
        # Taken away again, it comes from the messages once more.
        assert (await http.patch(path, json={"title": None})).json()["title"] is None
        await two.until(lambda: two.view.session["title"] is None)
        assert (await one.submit("/log 1"))["data"]["events"][0]["did"] == "took the title away"
        await one.say("more")
        assert (await fields(http, one.session_id))["title"] == "what the title is made of"


async def test_a_title_that_was_taken_away_stays_away_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http, client(server.ws()) as one:
        await one.submit("/title given")
        await http.patch(f"/api/sessions/{one.session_id}", json={"title": None})
        session_id = one.session_id
    async with running(tmp_path) as server, http_of(server) as http:
        assert (await fields(http, session_id))["title"] is None
        assert (await http.get("/api/sessions")).json()["sessions"][0]["title"] is None


@pytest.mark.parametrize(
    "body", [{}, {"title": ""}, {"title": " \n"}, {"title": "x" * 401}, {"title": "a\0b"}, {"title": 5},
             {"title": "x", "model": "y"}, []],
)  # fmt: skip
async def test_a_bad_title_changes_nothing(server: Running, http: httpx.AsyncClient, body: Any) -> None:
    async with client(server.ws()) as one:
        response = await http.patch(f"/api/sessions/{one.session_id}", json=body)
        assert (response.status_code, response.json()["error"]["data"]["code"]) == (400, "invalid_params")
        assert (await one.submit("/status"))["revision"] == 1


async def test_what_is_not_there_cannot_be_renamed(server: Running, http: httpx.AsyncClient) -> None:
    assert await code(http.patch("/api/sessions/nope", json={"title": "x"})) == 404
    async with client(server.ws()) as one:
        await http.delete(f"/api/sessions/{one.session_id}")
        assert await code(http.patch(f"/api/sessions/{one.session_id}", json={"title": "x"})) == 410


# Completion without a session.


@pytest.mark.parametrize(
    "text", ["", "/", "/ti", "/personality ", "/personality p", "/undo 1", "hello", "/model\n", "/x\0"]
)
async def test_what_is_typed_before_there_is_a_session_is_completed_as_in_a_new_one(
    server: Running, http: httpx.AsyncClient, text: str
) -> None:
    async with client(server.ws()) as one:
        expected = await one.request("complete", text=text)
    response = await http.get("/api/complete", params={"text": text})
    assert (response.status_code, response.json()) == (200, expected)


async def test_completion_takes_nothing_but_a_text(http: httpx.AsyncClient) -> None:
    assert await code(http.get("/api/complete", params={"text": "/", "line": "/"})) == 400
    assert (await http.get("/api/complete")).json() == {"start": 0, "candidates": []}
