"""Every HTTP route, on a real server (issue 2, item 7)."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from backchat.app import create_app
from backchat.config import Settings
from backchat.importer import import_files
from backchat.store.sqlite import Database
from tests.support.client import PATIENCE, Json, View, client
from tests.support.server import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATUS_FIELDS = {
    "session_id",
    "title",
    "model",
    "workspace",
    "personality",
    "message_count",
    "created_at",
    "updated_at",
    "agent_running",
}
"""DESIGN section 5, `/status`; what a list has of a session."""
MORE_FIELDS = {"system", "queue", "queue_paused", "redo_steps", "branched_from"}
"""What only the session itself tells."""

SLOW = {"echo_delay": 0.05}
LONG_TEXT = "word " * 2000
"""With SLOW: a reply that goes on for as long as any test."""


def summary(fields: Json) -> Json:
    """A session as a list has it."""
    return {name: fields[name] for name in STATUS_FIELDS}


def client_of(server: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, trust_env=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server that the tests of this module share: each makes sessions of its own."""
    async with running(tmp_path_factory.mktemp("shared")) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared server."""
    async with client_of(server) as one:
        yield one


def rows(*texts: str) -> list[Json]:
    """A user message, the reply, a user message …"""
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


async def created(http: httpx.AsyncClient, **body: Any) -> Json:
    response = await http.post("/api/sessions", json=body)
    assert response.status_code == 201, response.text
    fields: Json = response.json()
    return fields


async def listed(http: httpx.AsyncClient, **query: Any) -> Json:
    response = await http.get("/api/sessions", params=query)
    assert response.status_code == 200, response.text
    page: Json = response.json()
    assert set(page) == {"sessions", "next"}
    return page


async def all_pages(http: httpx.AsyncClient, limit: int) -> list[list[str]]:
    """The ids of every page, found by following `next`."""
    pages = []
    query: Json = {"limit": limit}
    while True:
        page = await listed(http, **query)
        pages.append([session["session_id"] for session in page["sessions"]])
        if page["next"] is None:
            return pages
        assert isinstance(page["next"], str)
        query = {"limit": limit, "after": page["next"]}


def refusal(response: httpx.Response, status: int, code: str) -> None:
    """Asserts that a response is an error of the documented shape."""
    assert (response.status_code, response.json()["error"]["data"]["code"]) == (status, code), response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "data"}
    assert isinstance(error["code"], int)
    assert error["message"].strip()


async def close_code(url: str) -> int | None:
    """The code that a server closes a socket with at once."""
    async with connect(url) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    return socket.close_code


async def remaining(socket: ClientConnection) -> list[Json]:
    """The frames that still come until the server closes."""
    frames = []
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionClosed):
            while True:
                frames.append(json.loads(await socket.recv()))
    return frames


def take(view: View, text: str | bytes) -> None:
    frame = json.loads(text)
    if "method" in frame:
        view.apply(frame["method"], frame["params"])


async def raw_status(server: Running, target: str) -> int:
    """The status of a GET whose target no client library has tidied up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"import" not in answer.partition(b"\r\n\r\n")[2]
    return int(answer.split(b" ", 2)[1])


# Creating.


async def test_a_new_session_is_answered_with_its_status_fields(http: httpx.AsyncClient) -> None:
    fields = await created(http)
    assert set(fields) == STATUS_FIELDS | MORE_FIELDS
    assert re.fullmatch(r"[a-z0-9_-]{22,64}", fields["session_id"])
    assert isinstance(fields["created_at"], float)
    assert fields | {"session_id": "", "created_at": 0, "updated_at": 0} == {
        "session_id": "",
        "title": None,
        "model": None,
        "workspace": None,
        "personality": None,
        "system": None,
        "message_count": 0,
        "created_at": 0,
        "updated_at": 0,
        "agent_running": False,
        "queue": [],
        "queue_paused": False,
        "redo_steps": 0,
        "branched_from": None,
    }


async def test_an_empty_body_makes_a_session_like_an_empty_object(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/sessions")
    assert (response.status_code, response.json()["message_count"]) == (201, 0)


async def test_a_session_begins_with_the_title_and_the_messages_it_was_given(
    http: httpx.AsyncClient, server: Running
) -> None:
    given_rows: list[Json] = [
        {"role": "system", "content": "Be brief.", "timestamp": 1776600000.5},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "tool", "content": None, "tool_call_id": "c1", "more": [1, {"deep": True}]},
    ]
    fields = await created(http, title="Über <b>alles</b> \u202e", messages=given_rows)
    assert (fields["title"], fields["message_count"]) == ("Über <b>alles</b> \u202e", 3)
    async with client(server.ws(fields["session_id"])) as one:
        assert [(m["role"], m["content"], m.get("extra")) for m in one.view.messages] == [
            ("system", "Be brief.", None),
            ("user", given_rows[1]["content"], None),
            ("tool", None, {"tool_call_id": "c1", "more": [1, {"deep": True}]}),
        ]
        assert [m["id"] for m in one.view.messages] == [1, 2, 3]
        assert one.view.messages[0]["created_at"] == 1776600000.5
        assert one.view.session["title"] == fields["title"]


async def test_a_created_session_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client_of(server) as http:
        fields = await created(http, title="kept", messages=rows("a", "b"))
    async with running(tmp_path) as server, client_of(server) as http:
        assert (await listed(http))["sessions"] == [summary(fields)]


async def test_no_two_sessions_share_an_id(http: httpx.AsyncClient) -> None:
    made = await asyncio.gather(*(created(http) for _ in range(20)))
    assert len({fields["session_id"] for fields in made}) == 20


DEEP = 20_000
BAD_BODIES = {
    "no JSON": (b"{", "parse_error"),
    "text after the JSON": (b"{} x", "parse_error"),
    "no UTF-8": (b'{"title": "\xff"}', "parse_error"),
    "nested without end": (b'{"messages":' + b"[" * DEEP + b"]" * DEEP + b"}", "parse_error"),
    "a list": (b"[]", "invalid_params"),
    "null": (b"null", "invalid_params"),
    "text": (b'"title"', "invalid_params"),
    "a number for a title": (b'{"title": 5}', "invalid_params"),
    "a title with a NUL": (b'{"title": "a\\u0000b"}', "invalid_params"),
    "a title without end": (b'{"title": "' + b"x" * 10_000 + b'"}', "invalid_params"),
    "an unknown field": (b'{"title": "x", "owner": "root"}', "invalid_params"),
    "an id of one's own": (b'{"session_id": "mine"}', "invalid_params"),
    "messages that are an object": (b'{"messages": {"role": "user"}}', "invalid_params"),
    "messages that are null": (b'{"messages": null}', "invalid_params"),
    "a message that is text": (b'{"messages": ["hello"]}', "invalid_params"),
    "a message without a role": (b'{"messages": [{"content": "x"}]}', "invalid_params"),
    "a message with an empty role": (b'{"messages": [{"role": "", "content": "x"}]}', "invalid_params"),
    "a role that is a number": (b'{"messages": [{"role": 1, "content": "x"}]}', "invalid_params"),
    "content nested too deeply": (
        b'{"messages": [{"role": "user", "content": ' + b"[" * 100 + b"]" * 100 + b"}]}",
        "invalid_params",
    ),
    "a number beyond any float": (b'{"messages": [{"role": "user", "content": 1e999}]}', "invalid_params"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_makes_no_session_and_says_why(http: httpx.AsyncClient, name: str) -> None:
    body, code = BAD_BODIES[name]
    before = await listed(http, limit=1)
    refusal(await http.post("/api/sessions", content=body), 400, code)
    assert (await listed(http, limit=1))["sessions"] == before["sessions"]


async def test_half_of_a_surrogate_pair_is_refused(http: httpx.AsyncClient) -> None:
    before = await listed(http, limit=1)
    for body in (b'{"title": "\\ud800"}', b'{"messages": [{"role": "user", "content": "\\udfff"}]}'):
        response = await http.post("/api/sessions", content=body)
        assert response.status_code == 400
        assert response.json()["error"]["data"]["code"] in ("invalid_params", "parse_error")
    assert (await listed(http, limit=1))["sessions"] == before["sessions"]


async def test_a_body_is_bounded_with_and_without_a_length(tmp_path: Path) -> None:
    def body(size: int) -> bytes:
        empty = b'{"messages":[{"role":"user","content":""}]}'
        return empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"')

    async def chunks(size: int) -> AsyncIterator[bytes]:
        whole = body(size)
        for start in range(0, len(whole), 512):
            yield whole[start : start + 512]

    async with running(tmp_path, max_frame=4096) as server, client_of(server) as http:
        refusal(await http.post("/api/sessions", content=body(4097)), 413, "too_large")
        refusal(await http.post("/api/sessions", content=chunks(4097)), 413, "too_large")
        assert (await listed(http))["sessions"] == []
        assert (await http.post("/api/sessions", content=body(4096))).status_code == 201
        assert (await http.post("/api/sessions", content=chunks(4096))).status_code == 201


# One session.


async def test_a_session_is_told_as_status_tells_it(http: httpx.AsyncClient, server: Running) -> None:
    fields = await created(http, title="one", messages=rows("a", "b", "c"))
    async with client(server.ws(fields["session_id"])) as one:
        await one.submit("/undo")
        status = (await one.submit("/status"))["data"]
    response = await http.get(f"/api/sessions/{fields['session_id']}")
    assert response.status_code == 200
    assert {name: response.json()[name] for name in STATUS_FIELDS | MORE_FIELDS} == status
    assert status["message_count"] == 2
    assert (await listed(http, limit=1))["sessions"] == [summary(status)]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("session_id", ["nope", "NOPE", "a" * 65, "%00", "%C3%A4", "a%0A", "..%2f..", "a'b", "%"])
async def test_an_id_that_no_session_has_is_not_found(http: httpx.AsyncClient, method: str, session_id: str) -> None:
    response = await http.request(method, f"/api/sessions/{session_id}")
    assert response.status_code == 404
    if "%2f" not in session_id:
        refusal(response, 404, "no_such_session")


async def test_a_session_is_shown_as_running_while_a_reply_is_written(tmp_path: Path) -> None:
    async with running(tmp_path, **SLOW) as server, client_of(server) as http, client(server.ws()) as one:
        await one.submit(LONG_TEXT)
        assert (await http.get(f"/api/sessions/{one.session_id}")).json()["agent_running"] is True
        assert (await listed(http))["sessions"][0]["agent_running"] is True
        await one.submit("/stop")
        assert (await http.get(f"/api/sessions/{one.session_id}")).json()["agent_running"] is False
        assert (await listed(http))["sessions"][0]["agent_running"] is False


# The list.


async def test_the_list_has_the_status_fields_newest_first(http: httpx.AsyncClient) -> None:
    made = [await created(http, title=f"session {number}") for number in range(3)]
    assert (await listed(http, limit=3))["sessions"] == [summary(fields) for fields in reversed(made)]


async def test_a_session_that_changes_comes_first(http: httpx.AsyncClient, server: Running) -> None:
    made = [await created(http, messages=rows("a", "b")) for _ in range(3)]
    async with client(server.ws(made[0]["session_id"])) as one:
        await one.submit("/undo")
    ids = [session["session_id"] for session in (await listed(http, limit=3))["sessions"]]
    assert ids == [made[0]["session_id"], made[2]["session_id"], made[1]["session_id"]]


async def test_pages_follow_each_other_to_the_end(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client_of(server) as http:
        assert await listed(http) == {"sessions": [], "next": None}
        made = [(await created(http))["session_id"] for _ in range(6)]
        for limit, sizes in ((1, [1] * 6), (2, [2, 2, 2]), (4, [4, 2]), (6, [6]), (200, [6])):
            pages = await all_pages(http, limit)
            assert [len(page) for page in pages] == sizes
            assert list(itertools.chain(*pages)) == made[::-1]


async def test_sessions_of_the_same_moment_are_each_listed_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    files = []
    for name in ("b", "a", "d", "c", "e"):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({"session_id": name, "messages": [], "created_at": 1.5, "updated_at": 2.5}))
    with Database(data) as database:
        assert [result.outcome for result in import_files(database, files)] == ["imported"] * 5
    async with running(data) as server, client_of(server) as http:
        for limit in (1, 2, 3, 5):
            assert sorted(itertools.chain(*await all_pages(http, limit))) == ["a", "b", "c", "d", "e"]


async def test_a_page_goes_on_where_the_last_one_ended_whatever_came_meanwhile(http: httpx.AsyncClient) -> None:
    made = [(await created(http))["session_id"] for _ in range(4)]
    first = await listed(http, limit=2)
    await created(http)
    assert (await http.delete(f"/api/sessions/{made[3]}")).status_code == 200
    second = await listed(http, limit=2, after=first["next"])
    assert [session["session_id"] for session in second["sessions"]] == [made[1], made[0]]


@pytest.mark.parametrize("limit", ["0", "-1", "201", "x", "", "1.5", "1e1", "٣", " 1", "9" * 30, "+1"])
async def test_a_limit_out_of_range_is_refused(http: httpx.AsyncClient, limit: str) -> None:
    refusal(await http.get("/api/sessions", params={"limit": limit}), 400, "invalid_params")


def cursor(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "after",
    ["", "nope", "ä", "!!!!", "=", cursor([]), cursor(["x", 1.0]), cursor({}), cursor([1.0]), cursor([1.0, None])],
)
async def test_a_cursor_that_no_page_gave_is_refused(http: httpx.AsyncClient, after: str) -> None:
    refusal(await http.get("/api/sessions", params={"after": after}), 400, "invalid_params")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    after=st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())
    | st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4).map(cursor),
    limit=st.integers().map(str) | st.text(st.characters(exclude_categories=["Cs"])),
)
async def test_no_query_is_more_than_the_list_can_take(http: httpx.AsyncClient, after: str, limit: str) -> None:
    response = await http.get("/api/sessions", params={"after": after, "limit": limit})
    assert response.status_code in (200, 400)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary()
    | st.fixed_dictionaries(
        {},
        optional={
            "title": st.none() | st.text() | st.integers(),
            "messages": st.lists(
                st.fixed_dictionaries(
                    {"role": st.text() | st.integers()}, optional={"content": st.text() | st.floats()}
                )
            ),
        },
    ).map(lambda body: json.dumps(body).encode())
)
async def test_no_body_is_more_than_creating_can_take(http: httpx.AsyncClient, body: bytes) -> None:
    response = await http.post("/api/sessions", content=body)
    assert response.status_code in (201, 400)
    assert (await http.get("/healthz")).status_code == 200


# Deleting.


async def test_a_deleted_session_closes_its_sockets_with_4410(http: httpx.AsyncClient, server: Running) -> None:
    session_id = (await created(http, messages=rows("a", "b")))["session_id"]
    url = server.ws(session_id)
    async with connect(url) as one, connect(url) as two, client(server.ws()) as other:
        assert (await http.delete(f"/api/sessions/{session_id}")).status_code == 200
        for socket in (one, two):
            assert {frame["method"] for frame in await remaining(socket)} <= {"attached", "presence"}
            assert socket.close_code == 4410
        assert (await other.submit("/status"))["data"]["session_id"] == other.session_id


async def test_a_deleted_session_is_gone_from_every_route_and_stays_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client_of(server) as http:
        kept = await created(http)
        session_id = (await created(http))["session_id"]
        response = await http.delete(f"/api/sessions/{session_id}")
        assert response.status_code == 200
        assert (await listed(http))["sessions"] == [summary(kept)]
        refusal(await http.get(f"/api/sessions/{session_id}"), 410, "session_deleted")
        refusal(await http.delete(f"/api/sessions/{session_id}"), 410, "session_deleted")
        assert await close_code(server.ws(session_id)) == 4410
    async with running(tmp_path) as server, client_of(server) as http:
        assert (await listed(http))["sessions"] == [summary(kept)]
        refusal(await http.get(f"/api/sessions/{session_id}"), 410, "session_deleted")
        refusal(await http.delete(f"/api/sessions/{session_id}"), 410, "session_deleted")
        assert await close_code(server.ws(session_id)) == 4410
        assert await close_code(server.ws(session_id, "after=1")) == 4410


async def test_of_two_deletions_at_once_one_deletes(http: httpx.AsyncClient) -> None:
    session_id = (await created(http))["session_id"]
    answers = await asyncio.gather(*(http.delete(f"/api/sessions/{session_id}") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410, 410]


async def test_deleting_stops_the_run_and_keeps_what_it_had_written(tmp_path: Path) -> None:
    view = View()
    async with running(tmp_path, **SLOW) as server, client_of(server) as http, connect(server.ws()) as socket:
        await socket.send(LONG_TEXT)
        async with asyncio.timeout(PATIENCE):
            while view.run is None or not view.run["text"]:
                take(view, await socket.recv())
        session_id = view.session["session_id"]
        assert (await http.delete(f"/api/sessions/{session_id}")).status_code == 200
        rest = await remaining(socket)
        assert socket.close_code == 4410
        assert [f["params"]["reason"] for f in rest if f.get("method") == "run.ended"] == ["stopped"]
        for frame in rest:
            view.apply(frame["method"], frame["params"])
        last = view.messages[-1]
        assert (last["role"], last["finish"]) == ("assistant", "stopped")
        assert last["content"]
        assert LONG_TEXT.startswith(last["content"])
        refusal(await http.delete(f"/api/sessions/{session_id}"), 410, "session_deleted")
    with contextlib.closing(sqlite3.connect(tmp_path / "backchat.db")) as database:
        stored = database.execute(
            "SELECT role, content, finish FROM message WHERE session_id = ? ORDER BY id", (session_id,)
        ).fetchall()
        assert [(role, finish) for role, _, finish in stored] == [("user", None), ("assistant", "stopped")]
        assert json.loads(stored[1][1]) == last["content"]
        assert database.execute("SELECT count(*) FROM checkpoint").fetchone() == (0,)
        assert database.execute("SELECT deleted_at > 0 FROM session WHERE id = ?", (session_id,)).fetchone() == (1,)


async def test_what_is_typed_around_a_deletion_is_done_whole_or_not_at_all(
    http: httpx.AsyncClient, server: Running
) -> None:
    session_id = (await created(http, messages=rows("a", "b")))["session_id"]
    async with connect(server.ws(session_id)) as socket:
        deletion = asyncio.create_task(http.delete(f"/api/sessions/{session_id}"))
        for _ in range(5):
            await socket.send("/undo")
        assert (await deletion).status_code == 200
        frames = await remaining(socket)
        assert socket.close_code == 4410
    undone = sum("result" in frame for frame in frames)
    assert undone == sum(frame.get("method") == "transcript.spliced" for frame in frames)
    with contextlib.closing(sqlite3.connect(server.settings.data / "backchat.db")) as database:
        stored = database.execute("SELECT count(*) FROM event WHERE session_id = ?", (session_id,)).fetchone()
    assert stored == (1 + undone,)


# The rest.


async def test_the_commands_are_the_ones_that_sockets_are_told_of(http: httpx.AsyncClient, server: Running) -> None:
    response = await http.get("/api/commands")
    commands = response.json()["commands"]
    async with client(server.ws()) as one:
        assert commands == one.attached["commands"] == (await one.submit("/help"))["data"]["commands"]
    assert {"retry", "undo", "status", "usage", "help", "stop"} <= {command["name"] for command in commands}
    assert all(command["usage"].startswith(f"/{command['name']}") and command["summary"] for command in commands)


async def test_the_server_says_that_it_is_well(http: httpx.AsyncClient) -> None:
    response = await http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/api/sessions", "/api/commands", "/healthz", "/api/sessions/nope"])
async def test_answers_of_the_api_are_json_and_never_kept(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.headers["content-type"].startswith("application/json")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/s/abc", "/s/0123456789abcdef0123456789abcdef"])
async def test_the_page_is_served_under_a_strict_policy(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = dict(
        directive.strip().partition(" ")[::2] for directive in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["form-action"] in ("'none'", "'self'")
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "backchat"
    assert "unsafe" not in str(policy)
    assert "*" not in str(policy)
    assert "http" not in str(policy)


async def test_the_page_has_nothing_that_its_policy_would_block(http: httpx.AsyncClient) -> None:
    page = (await http.get("/")).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
    assert re.findall(r"(?:src|href)=[\"'](?!/)", page) == []


async def test_everything_that_the_page_loads_is_there(http: httpx.AsyncClient) -> None:
    waiting = re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", (await http.get("/")).text)
    assert waiting
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        response = await http.get(path)
        assert response.status_code == 200, path
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in response.headers
        if path.endswith(".js"):
            assert response.headers["content-type"].startswith("text/javascript")
            for name in re.findall(r"\b(?:from|import)\s*[\"'](\.[^\"']+)[\"']", response.text):
                waiting.append(str(httpx.URL(f"http://page{path}").join(name).path))
    assert any(path.endswith(".css") for path in seen)
    assert len([path for path in seen if path.endswith(".js")]) > 1


@pytest.mark.parametrize(
    "target",
    [
        "/static/../server/backchat/app.py",
        "/static/%2e%2e/server/backchat/app.py",
        "/static/..%2fserver%2fbackchat%2fapp.py",
        "/static/%2e%2e%2fpyproject.toml",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..\\server",
        "/static/%00",
        "/static/app.js%00",
        "/static/nope.js",
        "/static/",
        "/static/index.html",
        "/static/nope/app.js",
        "/static/%2e%2e/app.js",
        f"/static/{16 * '0'}/nope.js",
        f"/static/{16 * '0'}/../../pyproject.toml",
        f"/static/{16 * '0'}/..%2fapp.js",
    ],
)
async def test_no_file_outside_the_page_is_served(server: Running, target: str) -> None:
    assert await raw_status(server, target) == 404


@pytest.mark.parametrize("path", ["/nope", "/api", "/api/nope", "/api/sessions/a/b", "/s/a/b", "/ws", "/index.html"])
async def test_there_is_nothing_at_other_paths(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/sessions"),
        ("DELETE", "/api/sessions"),
        ("POST", "/api/sessions/abc"),
        ("PATCH", "/api/sessions"),
        ("GET", "/api/sessions/abc/restore"),
        ("POST", "/api/complete"),
        ("POST", "/api/commands"),
        ("GET", "/api/login"),
        ("POST", "/"),
        ("DELETE", "/static/app.js"),
    ],
)
async def test_a_method_that_a_route_has_not_is_refused(http: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await http.request(method, path)).status_code == 405


async def test_the_page_answers_a_head_request_without_a_body(http: httpx.AsyncClient) -> None:
    response = await http.head("/")
    assert (response.status_code, response.content) == (200, b"")


async def test_the_application_runs_under_any_asgi_server(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            made = await http.post("/api/sessions", json={"title": "Embedded"})
            assert made.status_code == 201
    # The directory is free again.
    async with running(tmp_path) as server, client(server.ws(made.json()["session_id"])) as one:
        assert one.view.session["title"] == "Embedded"
