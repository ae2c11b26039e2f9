"""Export and import over HTTP: a file out of one server goes into another, and nobody waits for it."""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.types import Message
from websockets.asyncio.client import connect

from backchat import api
from backchat.errors import TimedOut
from backchat.importer import import_files
from backchat.store.sqlite import Database
from tests.support.client import PATIENCE, Json, client, eventually
from tests.support.faults import Gate, failing_once, replace_write
from tests.support.server import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


def http_of(server: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=PATIENCE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server that the tests of this module share: each makes sessions of its own."""
    async with running(tmp_path_factory.mktemp("shared")) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with http_of(server) as one:
        yield one


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["data"]["code"]


async def bring_in(http: httpx.AsyncClient, value: Any, name: str | None = "file.json") -> Json:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    response = await http.post("/api/import", params={} if name is None else {"name": name}, content=data)
    assert response.status_code == 200, response.text
    told: Json = response.json()
    assert set(told) == {"imported", "skipped", "failed"}
    return told


def session(session_id: str, *texts: str, **fields: Any) -> Json:
    rows = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]
    return {"session_id": session_id, "messages": rows, **fields}


def conversation(session_id: str, title: str, *texts: str) -> Json:
    """A conversation of a ChatGPT export."""
    nodes: Json = {
        f"n{number}": {"id": f"n{number}", "parent": f"n{number - 1}" if number else None, "children": [],
                       "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [text]}}}
        for number, text in enumerate(texts)
    }  # fmt: skip
    return {"id": session_id, "title": title, "mapping": nodes, "current_node": f"n{len(texts) - 1}"}


async def listed(http: httpx.AsyncClient) -> set[str]:
    sessions = (await http.get("/api/sessions", params={"limit": 200})).json()["sessions"]
    return {one["session_id"] for one in sessions}


# Out of one server, into another.


async def test_an_exported_session_goes_on_in_another_server(tmp_path: Path) -> None:
    async with running(tmp_path / "a") as a, http_of(a) as http, client(a.ws()) as one:
        await one.say("where do otters sleep?")
        await one.say("and when?")
        await one.submit("/retry")
        await one.until(lambda: one.view.run is None and len(one.view.messages) == 4)
        await one.submit("/undo")
        await one.submit("/title Night quarters")
        await one.submit("/system be brief")
        session_id, screen = one.session_id, one.view.messages
        path = f"/api/sessions/{session_id}"
        export = await http.get(f"{path}/export", params={"format": "json"})
        assert export.status_code == 200
        assert export.headers["content-type"] == "application/json"
        assert export.headers["cache-control"] == "no-store"
        before = (await http.get(path)).json()
        assert await bring_in(http, export.content) == {
            "imported": [],
            "skipped": [{"name": "file.json", "reason": f"session {session_id} is there already, or was deleted"}],
            "failed": [],
        }
        await http.delete(path)
        assert len((await bring_in(http, export.content))["skipped"]) == 1
    async with running(tmp_path / "b") as b, http_of(b) as http:
        assert await bring_in(http, export.content) == {
            "imported": [{"session_id": session_id, "title": "Night quarters"}], "skipped": [], "failed": [],
        }  # fmt: skip
        after = (await http.get(path)).json()
        assert after == {**before, "redo_steps": 0}
        async with client(b.ws(session_id)) as one:
            bare = [{name: part for name, part in message.items() if name != "run_id"} for message in screen]
            assert one.view.messages == bare
            await one.submit("/goto 5")
            assert one.view.texts[-2:] == ["and when?", "and when?"]
            assert one.view.messages[-1]["variant"] == {"index": 2, "count": 2}
            await one.say("further")
        assert (await http.get("/api/sessions", params={"q": "otters"})).json()["sessions"][0][
            "session_id"
        ] == session_id
    # And by hand.
    (tmp_path / "file.json").write_bytes(export.content)
    with Database(tmp_path / "c") as database:
        assert [one.outcome for one in import_files(database, [tmp_path / "file.json"])] == ["imported"]


async def test_a_transcript_is_exported_as_markdown(server: Running, http: httpx.AsyncClient) -> None:
    async with client(server.ws()) as one:
        await one.say("otters")
        await one.say("gone")
        await one.submit("/undo")
        await one.submit('/title Où? "50%" / 多')
        response = await http.get(f"/api/sessions/{one.session_id}/export", params={"format": "markdown"})
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"] == (
        "attachment; filename=\"O__ 50_ _.md\"; filename*=UTF-8''O%C3%B9%20%2050%25%20%20%E5%A4%9A.md"
    ).replace("%20%20", "%20").replace("O__", "O_")
    head, *messages = response.text.split("\n## ")
    assert head == '# Où? "50%" / 多\n'
    assert [message.partition(",")[0] for message in messages] == ["User", "Assistant"]
    assert all(message.endswith(" UTC\n\n> otters\n") for message in messages)


async def test_an_export_tells_what_is_durable_and_nothing_of_a_live_reply(tmp_path: Path) -> None:
    async with running(tmp_path, echo_delay=0.05) as server, http_of(server) as http, client(server.ws()) as one:
        await one.submit("word " * 1000)
        await one.until(lambda: one.view.run and one.view.run["text"])
        path = f"/api/sessions/{one.session_id}/export"
        document = (await http.get(path, params={"format": "json"})).json()
        assert [message["role"] for message in document["messages"]] == ["user"]
        assert one.view.run is not None
        await one.submit("/stop")
        document = (await http.get(path, params={"format": "json"})).json()
        assert document["messages"][1]["finish"] == "stopped"


async def test_a_time_that_no_calendar_has_is_told_as_it_is(http: httpx.AsyncClient) -> None:
    await bring_in(http, {"session_id": "late", "messages": [{"role": "user", "content": "x", "timestamp": 9e11}]})
    text = (await http.get("/api/sessions/late/export", params={"format": "markdown"})).text
    assert "## User, 900000000000 seconds after 1970\n" in text


async def test_what_cannot_be_exported_is_refused(server: Running, http: httpx.AsyncClient) -> None:
    async with client(server.ws()) as one:
        path = f"/api/sessions/{one.session_id}/export"
        for query in ({}, {"format": "pdf"}, {"format": "json", "as": "x"}):
            assert code(await http.get(path, params=query)) == (400, "invalid_params")
        await http.delete(f"/api/sessions/{one.session_id}")
        assert code(await http.get(path, params={"format": "json"})) == (410, "session_deleted")
    assert code(await http.get("/api/sessions/nope/export?format=json")) == (404, "no_such_session")


# Import.


async def test_each_session_of_a_file_is_told_of_by_itself(http: httpx.AsyncClient) -> None:
    file = [
        conversation("c1", "One", "a"),
        {"title": "Two"},
        conversation("c3", "Three", "b"),
        conversation("c1", "", "c"),
    ]
    assert await bring_in(http, file, "conversations.json") == {
        "imported": [{"session_id": "c1", "title": "One"}, {"session_id": "c3", "title": "Three"}],
        "skipped": [{"name": "conversations.json",
                     "reason": "conversation 4: session c1 is there already, or was deleted"}],
        "failed": [{"name": "conversations.json",
                    "reason": "conversation 2 ('Two'): it has neither a mapping nor a chat"}],
    }  # fmt: skip
    assert {"c1", "c3"} <= await listed(http)


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"", "failed"),
        (b"{", "failed"),
        (b"\xff", "failed"),
        (b"[" * 100_000, "failed"),
        (b'{"session_id": "../x", "messages": []}', "failed"),
        (b"{}", "skipped"),
        (b"5", "skipped"),
        (b"[1, 2]", "skipped"),
    ],
)
async def test_a_file_of_no_session_is_told_of_with_the_reason(
    http: httpx.AsyncClient, data: bytes, outcome: str
) -> None:
    before = await listed(http)
    told = await bring_in(http, data, "odd.json")
    assert [len(told[name]) for name in ("imported", "skipped", "failed")] == [
        0,
        outcome == "skipped",
        outcome == "failed",
    ]
    (one,) = told[outcome]
    assert one["name"] == "odd.json"
    assert one["reason"]
    assert await listed(http) == before


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Trip to Lisbon.json", "Trip to Lisbon"),
        ("C:\\fakepath\\a.json", "a"),
        ("a/b/ c  d .json", "c d"),
        ("notes.txt", "notes.txt"),
        ("", None),
        (None, None),
    ],
)
async def test_a_bare_list_is_named_after_its_file(
    http: httpx.AsyncClient, name: str | None, title: str | None
) -> None:
    rows = [{"role": "user", "content": f"in {name!r}"}]
    (one,) = (await bring_in(http, rows, name))["imported"]
    assert one["title"] == title
    assert len((await bring_in(http, rows, name))["skipped"]) == 1


async def test_an_import_is_bounded(tmp_path: Path) -> None:
    def body(size: int) -> bytes:
        bare = json.dumps(session(f"s{size}", "")).encode()
        return bare.replace(b'""', b'"' + b"x" * (size - len(bare)) + b'"')

    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 512):
            yield data[start : start + 512]

    async with running(tmp_path, import_bytes=4096, max_frame=1000) as server, http_of(server) as http:
        assert code(await http.post("/api/import", content=body(4097))) == (413, "too_large")
        assert code(await http.post("/api/import", content=chunks(body(4097)))) == (413, "too_large")
        assert (await http.post("/api/import", content=body(4096))).status_code == 200
        assert (await http.post("/api/import", content=chunks(body(4095)))).status_code == 200
        assert await listed(http) == {"s4095", "s4096"}
        # Other bodies keep their own bound.
        assert code(await http.post("/api/sessions", content=body(1001))) == (413, "too_large")
        for query in ({"name": "x" * 256}, {"name": "a\0b"}, {"file": "x"}):
            assert code(await http.post("/api/import", params=query, content=b"{}")) == (400, "invalid_params")


@pytest.mark.parametrize("begun", [b"", b"["])
@pytest.mark.parametrize("bound", ["BODY_SECONDS", "STALL_SECONDS"])
async def test_a_body_that_does_not_arrive_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, begun: bytes
) -> None:
    monkeypatch.setattr(api, bound, 0.05)

    async with running(tmp_path, import_bytes=1024) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /api/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n" + begun)
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).split()[1] == b"408"
        writer.close()


async def test_a_body_that_goes_on_arriving_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, import_bytes=10 * api.BYTES_PER_SECOND) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        arriving = server.backchat._api._arriving
        writer.write(b"POST /api/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n[")
        await eventually(lambda: arriving)
        (limit,) = arriving
        until = [limit.when() or 0.0]
        for stall in (31.0, 32.0, 1e6):
            monkeypatch.setattr(api, "STALL_SECONDS", stall)
            writer.write(b" ")
            await eventually(lambda: limit.when() != until[-1])
            until.append(limit.when() or 0.0)
        assert until == sorted(until)
        assert until[-1] <= until[0] + 10
        writer.write(b"]")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).split()[1] == b"200"
        writer.close()


async def test_a_body_that_goes_on_arriving_is_given_up_once_the_server_goes_down(server: Running) -> None:
    parts = (server.backchat.sessions, server.backchat._access, server.backchat._commands)
    ours = api.Api(*parts, backend="echo", most_bytes=9, import_bytes=9)

    async def receive() -> Message:
        if ours._draining:
            await asyncio.Event().wait()
        ours.drain()
        return {"type": "http.request", "body": b"[", "more_body": True}

    with pytest.raises(TimedOut):
        async with asyncio.timeout(PATIENCE):
            await ours._read(Request({"type": "http"}, receive), 9)


async def test_an_upload_that_breaks_off_is_no_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        # uvicorn passes nothing on to the root logger.
        log = logging.getLogger("uvicorn.error")
        log.addHandler(caplog.handler)
        try:
            ours = server.backchat._api
            for path in ("/api/import", "/api/sessions"):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[".encode())
                await eventually(lambda: ours._arriving)
                writer.close()
                await eventually(lambda: not ours._arriving)
            await eventually(lambda: server.connections == [])
            assert (await http.get("/healthz")).status_code == 200
        finally:
            log.removeHandler(caplog.handler)
    assert caplog.text == ""


async def test_others_go_on_while_a_file_is_imported(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http, client(server.ws()) as one:
        await one.say("hello")
        gate = Gate(server)
        imports = asyncio.create_task(bring_in(http, [conversation(f"c{n}", "", "x" * 1000) for n in range(50)]))
        await gate.reached()
        gate.open.set()
        done = 0
        while not imports.done():
            await one.submit(f"/title {done}")
            done += 1
        assert len((await imports)["imported"]) == 50
        # A commit for each, and others between them.
        assert done > 5


async def test_those_who_watch_the_list_are_told_of_what_is_imported(server: Running, http: httpx.AsyncClient) -> None:
    async with connect(f"ws://127.0.0.1:{server.port}/watch") as watcher, asyncio.timeout(PATIENCE):
        await watcher.recv()
        await bring_in(http, session("watched", "hello", title="Seen"))
        told = json.loads(await watcher.recv())["params"]["sessions"]
        assert [(one["session_id"], one["title"], one["message_count"]) for one in told] == [("watched", "Seen", 1)]


async def test_two_imports_of_one_file_at_once_bring_each_session_in_once(http: httpx.AsyncClient) -> None:
    file = [conversation(f"twice-{number}", "", "x") for number in range(10)]
    told = await asyncio.gather(*(bring_in(http, file) for _ in range(3)))
    assert sum(len(one["imported"]) for one in told) == 10
    assert sum(len(one["skipped"]) for one in told) == 20


async def test_a_session_that_could_not_be_stored_is_told_of_and_the_others_are_imported(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        replace_write(server, failing_once)
        told = await bring_in(http, [conversation("a", "", "x"), conversation("b", "", "x")])
        assert told["failed"] == [{"name": "file.json", "reason": "conversation 1: it could not be stored"}]
        assert [one["session_id"] for one in told["imported"]] == ["b"]
        assert await listed(http) == {"b"}


async def test_the_rest_of_a_file_is_left_after_many_failures(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        told = await bring_in(http, [conversation("a", "", "x"), *[5] * 200, conversation("b", "", "x")])
        assert await listed(http) == {"a"}
    assert len(told["failed"]) == api.MOST_FAILED + 1
    assert told["failed"][-1] == {
        "name": "file.json",
        "reason": "after 100 failures the rest of the file was not imported",
    }


async def test_an_import_that_waits_for_others_is_refused_once_the_server_goes_down(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        ours = server.backchat._api
        async with ours._importing, ours._importing:
            waiting = asyncio.create_task(http.post("/api/import", json=session("a", "x")))
            await eventually(lambda: ours._importing._waiters)
            ours.drain()
        assert code(await waiting) == (408, "timed_out")
        assert await listed(http) == set()


async def test_a_server_that_goes_down_ends_an_import_after_a_whole_session(tmp_path: Path) -> None:
    async with running(tmp_path) as server, http_of(server) as http:
        gate = Gate(server)
        file = [conversation(f"c{number}", "", "x") for number in range(20)]
        imports = asyncio.create_task(bring_in(http, file))
        await gate.reached()
        stopping = asyncio.create_task(server.stop())
        await eventually(lambda: server.backchat._api._draining)
        gate.open.set()
        told = await imports
        await stopping
        assert told["failed"] == [{"name": "file.json", "reason": "the server went down before the end of the file"}]
        imported = {one["session_id"] for one in told["imported"]}
        assert 0 < len(imported) < 20
    with contextlib.closing(sqlite3.connect(tmp_path / "backchat.db")) as db:
        assert {session_id for (session_id,) in db.execute("SELECT id FROM session")} == imported
