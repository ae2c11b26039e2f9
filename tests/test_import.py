"""`backchat import`: nothing that a file holds is lost, and whatever cannot be read is named (issue 2, item 3)."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backchat.importer import Result, files_in, import_files
from backchat.store.sqlite import Database
from backchat.transcript import Created, path
from tests.support.client import PATIENCE, Json, client
from tests.support.server import SAMPLES, Running, running

KNOWN = {
    "session_id",
    "title",
    "model",
    "workspace",
    "personality",
    "created_at",
    "updated_at",
    "input_tokens",
    "output_tokens",
    "estimated_cost",
    "pending_user_message",
    "messages",
}
"""The fields that mean something here; every other one of a file is kept as it is."""


def session(session_id: str, *messages: Json, **fields: Any) -> Json:
    """A session as a JSON session store holds it, little as it may be."""
    return {"session_id": session_id, "messages": list(messages), **fields}


WHOLE: Json = {
    "session_id": "0123456789ab",
    "title": "A title, <b>bold</b> 多语言 \u202e",
    "workspace": "/home/me",
    "model": "some/model-1",
    "messages": [
        {"role": "system", "content": "Be brief.", "timestamp": 1776600000.0},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
            "timestamp": 1776600074,
        },
        {"role": "tool", "content": {"an": ["object"]}, "tool_call_id": "c1", "name": "f"},
        {
            "role": "narrator",
            "content": None,
            "id": 99,
            "created_at": "yesterday",
            "run_id": "r",
            "finish": 1,
            "model": "other",
            "usage": {"input_tokens": 5},
            "cost": 3,
            "extra": {"deep": [1, {"deeper": None}]},
            "parent": -1,
            "depth": True,
        },
        {"role": "user", "content": "nul \u0000 \U0001f46a", "timestamp": "not a time"},
    ],
    "created_at": 1795333157.9140985,
    "updated_at": 1795333158,
    "pinned": True,
    "archived": False,
    "project_id": None,
    "input_tokens": 1834,
    "output_tokens": 412,
    "estimated_cost": 0.00231,
    "personality": "concise",
    "active_stream_id": "deadbeef",
    "pending_user_message": "and tabs?",
    "pending_attachments": [{"name": "a.png"}],
    "extra": {"kept": "too"},
    "log": "not ours",
    "deleted_at": 1.0,
    "huge": 123456789012345678901234567890,
    "nested": {"a": [[[{}]]], "": ""},
}
EMPTY = session("empty_", title=None, created_at=5.25, updated_at=6.5, input_tokens=0, estimated_cost=None)


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def bring_in(data: Path, *paths: Path) -> list[Result]:
    with Database(data) as database:
        return list(import_files(database, files_in(list(paths))))


def outcomes(results: list[Result]) -> list[str]:
    return [result.outcome for result in results]


async def run_import(data: Path, *paths: Path | str) -> tuple[int, str, str]:
    """The status, the output and the errors of the command as a process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backchat", "import", "--data", data, *paths),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode(errors="surrogateescape")


def query(data: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(data / "backchat.db")) as database:
        return database.execute(sql, values).fetchall()


def canonical(value: Any) -> str:
    """JSON in one spelling: unlike ==, it tells 1 from 1.0 and from true."""
    return json.dumps(value, sort_keys=True)


def kept_row(row: Json, stored: tuple[Any, ...], default_time: float) -> None:
    """Asserts that a stored message holds all of a row of a file, each field as it was."""
    role, content, extra, created_at = stored
    rest = dict(row)
    assert role == rest.pop("role")
    assert canonical(json.loads(content)) == canonical(rest.pop("content", None))
    if isinstance(rest.get("timestamp"), int | float) and not isinstance(rest["timestamp"], bool):
        assert created_at == rest.pop("timestamp")
    else:
        assert created_at == default_time
    assert canonical({} if extra is None else json.loads(extra)) == canonical(rest)


def kept(data: Path, value: Json) -> None:
    """Asserts that the rows of a session hold all of its file, field by field."""
    session_id = value["session_id"]
    ((created_at, deleted_at),) = query(data, "SELECT created_at, deleted_at FROM session WHERE id = ?", session_id)
    assert deleted_at is None
    stored = query(
        data, "SELECT role, content, extra, created_at FROM message WHERE session_id = ? ORDER BY id", session_id
    )
    assert len(stored) == len(value["messages"])
    for row, columns in zip(value["messages"], stored, strict=True):
        kept_row(row, columns, created_at)
    ((at, head, text),) = query(data, "SELECT at, head, body FROM event WHERE session_id = ?", session_id)
    body = json.loads(text)
    assert head == len(value["messages"])
    for name in ("title", "model", "workspace", "personality", "estimated_cost"):
        assert body.get(name) == value.get(name), name
    for name in ("input_tokens", "output_tokens"):
        assert body.get(name, 0) == value.get(name, 0)
    assert body.get("pending") == value.get("pending_user_message")
    if "created_at" in value:
        assert created_at == body["created_at"] == value["created_at"]
    if "updated_at" in value:
        assert at == value["updated_at"]
    unknown = {name: field for name, field in value.items() if name not in KNOWN}
    extra = {name: field for name, field in body.get("extra", {}).items() if name in unknown or field is not None}
    assert canonical(extra) == canonical(unknown)


async def on_the_wire(server: Running, value: Json) -> None:
    """Asserts that a client is given a session as its file has it."""
    async with client(server.ws(value["session_id"])) as one:
        await one.submit("/status")
        messages = list(one.view.messages)
        start = one.view.start
        while start:
            page = await one.request("messages", before=start, limit=200)
            messages, start = page["messages"] + messages, page["start"]
        assert len(messages) == len(value["messages"])
        for row, message in zip(value["messages"], messages, strict=True):
            rest = {name: field for name, field in row.items() if name not in ("role", "content")}
            if isinstance(rest.get("timestamp"), int | float):
                assert message["created_at"] == rest.pop("timestamp")
            assert (message["role"], canonical(message["content"])) == (row["role"], canonical(row.get("content")))
            assert canonical(message.get("extra", {})) == canonical(rest)
        for name in ("title", "model", "workspace", "personality", "created_at", "updated_at", "estimated_cost"):
            assert one.view.session[name] == value.get(name, one.view.session[name] if name.endswith("_at") else None)
        assert one.view.session["input_tokens"] == value.get("input_tokens", 0)
        assert one.view.session["message_count"] == len(value["messages"])
        assert one.attached["run"] is None


# What is kept.


@pytest.mark.parametrize("value", [WHOLE, EMPTY, session("least")], ids=["everything", "nothing", "least"])
def test_every_field_of_a_session_is_stored(tmp_path: Path, value: Json) -> None:
    results = bring_in(tmp_path / "data", write(tmp_path / "one.json", value))
    assert [(result.outcome, result.detail) for result in results] == [("imported", value["session_id"])]
    kept(tmp_path / "data", value)


async def test_clients_are_given_what_was_imported(tmp_path: Path) -> None:
    bring_in(tmp_path / "data", write(tmp_path / "in" / "a.json", WHOLE), write(tmp_path / "in" / "b.json", EMPTY))
    async with running(tmp_path / "data") as server:
        await on_the_wire(server, WHOLE)
        await on_the_wire(server, EMPTY)


async def test_a_pending_message_and_a_stream_that_died_start_nothing(tmp_path: Path) -> None:
    bring_in(tmp_path / "data", write(tmp_path / "one.json", WHOLE))
    async with running(tmp_path / "data") as server, client(server.ws(WHOLE["session_id"])) as one:
        assert "and tabs?" not in one.view.texts
        assert one.attached["run"] is None
        assert (await one.submit("/status"))["data"]["agent_running"] is False
        assert len(one.view.messages) == (await one.submit("/status"))["data"]["message_count"] == 6
    ((body,),) = query(tmp_path / "data", "SELECT body FROM event")
    assert "and tabs?" in body


def test_a_bare_list_is_a_session_with_an_id_of_its_own(tmp_path: Path) -> None:
    rows: list[Json] = [{"role": "user", "content": "ping", "x": 1}, {"role": "assistant", "content": "pong"}]
    (result,) = bring_in(tmp_path / "data", write(tmp_path / "Trip to Lisbon.json", rows))
    assert result.outcome == "imported"
    ((title, created_at),) = query(
        tmp_path / "data", "SELECT title, created_at FROM session WHERE id = ?", result.detail
    )
    assert title == "Trip to Lisbon"
    stored = query(tmp_path / "data", "SELECT role, content, extra, created_at FROM message ORDER BY id")
    for row, columns in zip(rows, stored, strict=True):
        kept_row(row, columns, created_at)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(names, json_values, max_size=4),
    rows=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), json_values,
                  st.dictionaries(names, json_values, max_size=3)),
        max_size=3,
    ),
)  # fmt: skip
def test_any_field_of_any_name_and_value_survives(
    tmp_path: Path, fields: Json, rows: list[tuple[str, Any, Json]]
) -> None:
    data = tmp_path / "data"
    number = len(query(data, "SELECT id FROM session")) if data.exists() else 0
    value = session(
        f"s{number}",
        *({**extra, "role": role, "content": content, "timestamp": 1.5} for role, content, extra in rows),
        **{name: field for name, field in fields.items() if name not in KNOWN},
    )
    (result,) = bring_in(data, write(tmp_path / "one.json", value))
    assert result.outcome == "imported", result.detail
    kept(data, value)
    with Database(data) as database:
        loaded = database.load(value["session_id"])
    stored = path(loaded.tree[len(rows)])
    for row, message in zip(value["messages"], stored, strict=True):
        rest = {name: field for name, field in row.items() if name not in ("role", "content", "timestamp")}
        assert canonical(message.content) == canonical(row["content"])
        assert canonical(message.extra or {}) == canonical(rest)


# Again, and beside a server.


async def test_a_second_import_skips_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(tmp_path / "in" / "a.json", WHOLE)
    write(tmp_path / "in" / "plain.json", [{"role": "user", "content": "ping"}])
    assert (await run_import(data, tmp_path / "in"))[0] == 0
    before = query(data, "SELECT * FROM event") + query(data, "SELECT * FROM message")
    write(tmp_path / "in" / "a.json", WHOLE | {"title": "Changed", "messages": []})
    status, out, err = await run_import(data, tmp_path / "in")
    assert status == 0
    assert "2 skipped" in out
    assert "a.json" in err
    assert "plain.json" in err
    assert WHOLE["session_id"] in err
    assert query(data, "SELECT * FROM event") + query(data, "SELECT * FROM message") == before


async def test_a_deleted_session_does_not_come_back_with_its_file(tmp_path: Path) -> None:
    data, file = tmp_path / "data", write(tmp_path / "a.json", WHOLE)
    bring_in(data, file)
    async with running(data) as server:
        url = f"{server.http}/api/sessions/{WHOLE['session_id']}"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.delete(url)).status_code == 200
            assert outcomes(bring_in(data, file)) == ["skipped"]
            assert (await http.get(url)).status_code == 410
    status, _, err = await run_import(data, file)
    assert status == 0
    assert str(file) in err
    assert query(data, "SELECT deleted_at IS NULL FROM session") == [(0,)]


async def test_a_session_that_was_made_here_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, client(server.ws()) as one:
        await one.say("mine")
        assert outcomes(bring_in(tmp_path / "data", write(tmp_path / "a.json", session(one.session_id)))) == ["skipped"]
        await one.say("still")
        assert one.view.texts == ["mine", "mine", "still", "still"]


async def test_a_running_server_has_an_imported_session_at_once(tmp_path: Path) -> None:
    data, file = tmp_path / "data", write(tmp_path / "a.json", WHOLE)
    async with running(data) as server, client(server.ws()) as one:
        with pytest.raises(ConnectionClosed) as missing:
            async with connect(server.ws(WHOLE["session_id"])) as early:
                await early.recv()
        assert missing.value.rcvd is not None
        assert missing.value.rcvd.code == 4404
        _, (status, out, err) = await asyncio.gather(one.say("meanwhile"), run_import(data, file))
        assert (status, err) == (0, "")
        assert "1 imported" in out
        await on_the_wire(server, WHOLE)
        async with client(server.ws(WHOLE["session_id"])) as two:
            assert (await two.submit("/undo"))["data"]["removed_count"] == 1
        async with httpx.AsyncClient(trust_env=False) as http:
            listed = (await http.get(f"{server.http}/api/sessions")).json()["sessions"]
        assert {session["session_id"] for session in listed} == {one.session_id, WHOLE["session_id"]}
        assert one.view.texts == ["meanwhile", "meanwhile"]


async def test_many_imports_at_once_bring_each_session_in_once(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / "in" / f"{number}.json", session(f"s{number}", {"role": "user", "content": "x"}))
    ends = await asyncio.gather(*(run_import(tmp_path / "data", tmp_path / "in") for _ in range(3)))
    assert [status for status, _, _ in ends] == [0, 0, 0]
    assert len(query(tmp_path / "data", "SELECT id FROM session")) == 8
    assert sum(int(out.split()[0]) for _, out, _ in ends) == 8


# Where files are looked for.


def test_directories_are_searched_to_the_bottom(tmp_path: Path) -> None:
    for depth, place in enumerate(("", "a", "a/b", "a/b/c/d/e", ".hidden")):
        write(tmp_path / "in" / place / f"{depth}.json", session(f"s{depth}"))
    (tmp_path / "in" / "notes.txt").write_text("no JSON")
    (tmp_path / "in" / "folder.json").mkdir()
    results = bring_in(tmp_path / "data", tmp_path / "in")
    assert {result.detail for result in results if result.outcome == "imported"} == {"s0", "s1", "s2", "s3", "s4"}
    assert len(results) == 5


def test_a_file_that_is_named_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    file = write(tmp_path / "export.backup", session("one"))
    assert outcomes(bring_in(tmp_path / "data", file, file)) == ["imported", "skipped"]


async def test_a_directory_without_json_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    status, out, err = await run_import(tmp_path / "data", tmp_path / "in")
    assert (status, err) == (0, "")
    assert "0 imported" in out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows wants a privilege for links and has no named pipes")
async def test_links_in_circles_and_pipes_do_not_hold_an_import_up(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.json", session("one"))
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "self.json").symlink_to("self.json")
    (tmp_path / "in" / "there.json").symlink_to("back.json")
    (tmp_path / "in" / "back.json").symlink_to("there.json")
    (tmp_path / "in" / "nowhere.json").symlink_to("gone")
    os.mkfifo(tmp_path / "in" / "pipe.json")
    status, out, err = await run_import(tmp_path / "data", tmp_path / "in")
    assert "Traceback" not in err
    assert "1 imported" in out
    assert status in (0, 1)
    status, _, err = await run_import(tmp_path / "data", tmp_path / "in" / "self.json")
    assert status != 0
    assert err.count("\n") == 1


# What cannot be read.

DEEP = 100_000
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "broken"),
    "spaces": (b" \n", "broken"),
    "cut off": (b'{"session_id": "a", "messages": [{"role": "user", "content": "hel', "broken"),
    "not utf-8": (b'{"session_id": "a", "title": "\xff\xfe", "messages": []}', "broken"),
    "utf-16": ('{"session_id": "a", "messages": []}'.encode("utf-16"), "broken"),
    "NaN": (b'{"session_id": "a", "messages": [], "x": NaN}', "broken"),
    "Infinity": (b'{"session_id": "a", "messages": [], "estimated_cost": Infinity}', "broken"),
    "a number beyond any float": (b'{"session_id": "a", "messages": [], "x": 1e999}', "broken"),
    "deep nesting": (b'{"session_id": "a", "messages": [], "x": ' + b"[" * DEEP + b"]" * DEEP + b"}", "broken"),
    "deep nesting in a message": (
        b'{"session_id": "a", "messages": [{"role": "user", "content": ' + b'[{"a":' * DEEP + b"1" + b"}]" * DEEP
        + b"}]}",
        "broken",
    ),
    "a lone surrogate": (b'{"session_id": "a", "messages": [{"role": "user", "content": "\\ud800"}]}', "broken"),
    "a lone surrogate in a title": (b'{"session_id": "a", "messages": [], "title": "\\udfff"}', "broken"),
    "a lone surrogate in a name": (b'{"session_id": "a", "messages": [], "\\ud800": 1}', "broken"),
    "an id with a path": (b'{"session_id": "../../etc/passwd", "messages": []}', "broken"),
    "an id in capitals": (b'{"session_id": "ABC", "messages": []}', "broken"),
    "an empty id": (b'{"session_id": "", "messages": []}', "broken"),
    "a long id": (json.dumps(session("a" * 65)).encode(), "broken"),
    "an id with a line break": (b'{"session_id": "a\\n", "messages": []}', "broken"),
    "an id with a surrogate": (b'{"session_id": "a\\ud800", "messages": []}', "broken"),
    "an id that is a number": (b'{"session_id": 5, "messages": []}', "broken"),
    "no messages": (b'{"session_id": "a"}', "broken"),
    "messages that are an object": (b'{"session_id": "a", "messages": {"role": "user"}}', "broken"),
    "messages that are text": (b'{"session_id": "a", "messages": "hello"}', "broken"),
    "a row that is text": (b'{"session_id": "a", "messages": [{"role": "user", "content": "hi"}, "what"]}', "broken"),
    "a row without a role": (b'{"session_id": "a", "messages": [{"content": "hi"}]}', "broken"),
    "a role that is a number": (b'{"session_id": "a", "messages": [{"role": 7, "content": "hi"}]}', "broken"),
    "a bare list with a row that is none": (b'[{"role": "user", "content": "hi"}, 5]', "broken"),
    "another object": (b'{"hello": "world"}', "skipped"),
    "a list of summaries": (b'[{"session_id": "a", "title": "x", "message_count": 5}]', "skipped"),
    "an empty list": (b"[]", "skipped"),
    "a number": (b"5", "skipped"),
    "text": (b'"hello"', "skipped"),
    "null": (b"null", "skipped"),
}  # fmt: skip


@pytest.fixture(scope="module")
def without_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory for files of which none is a session."""
    return tmp_path_factory.mktemp("without")


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_session_is_told_and_changes_nothing(
    tmp_path: Path, without_sessions: Path, name: str
) -> None:
    content, outcome = BAD_FILES[name]
    file = tmp_path / "one.json"
    file.write_bytes(content)
    (result,) = bring_in(without_sessions, file)
    assert (result.path, result.outcome) == (file, outcome)
    assert result.detail.strip()
    assert query(without_sessions, "SELECT id FROM session UNION SELECT session_id FROM message") == []


async def test_the_rest_is_imported_and_each_broken_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "0 first.json", session("first"))
    write(folder / "zz last.json", session("last"))
    for name, (content, _) in BAD_FILES.items():
        (folder / f"{name}.json").write_bytes(content)
    status, out, err = await run_import(tmp_path / "data", folder)
    assert status == 1
    assert "Traceback" not in err
    lines = err.splitlines()
    for name, (_, outcome) in BAD_FILES.items():
        (line,) = [line for line in lines if f"{folder / name}.json" in line]
        assert outcome in line
        assert len(line) > len(f"{outcome}: {folder / name}.json: ")
    assert len(lines) == len(BAD_FILES)
    assert query(tmp_path / "data", "SELECT id FROM session ORDER BY id") == [("first",), ("last",)]
    assert "2 imported" in out


async def test_a_path_that_is_not_there_is_named_and_the_rest_imported(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.json", session("one")), write(tmp_path / "2.json", session("two"))
    status, out, err = await run_import(tmp_path / "data", one, tmp_path / "gone", two)
    assert status == 1
    assert "2 imported" in out
    assert err.count("\n") == 1
    assert str(tmp_path / "gone") in err


async def test_skipping_alone_is_no_failure(tmp_path: Path) -> None:
    for name, (content, outcome) in BAD_FILES.items():
        if outcome == "skipped":
            (tmp_path / f"{name}.json").write_bytes(content)
    status, _, err = await run_import(tmp_path / "data", tmp_path)
    assert status == 0
    assert err


ODD: dict[str, tuple[bytes, Json]] = {
    "a byte order mark": (b'\xef\xbb\xbf{"session_id": "a", "messages": []}', {}),
    "true for a count": (b'{"session_id": "a", "messages": [], "input_tokens": true}', {"input_tokens": True}),
    "half a token": (b'{"session_id":"a","messages":[],"output_tokens":0.5}', {"output_tokens": 0.5}),
    "a count below nothing": (b'{"session_id": "a", "messages": [], "input_tokens": -1}', {"input_tokens": -1}),
    "a count beyond any": (
        b'{"session_id": "a", "messages": [], "input_tokens": 1' + b"0" * 30 + b"}",
        {"input_tokens": 10**30},
    ),
    "a cost beyond any": (
        b'{"session_id": "a", "messages": [], "estimated_cost": 1' + b"0" * 400 + b"}",
        {"estimated_cost": 10**400},
    ),
    "a cost that is true": (b'{"session_id": "a", "messages": [], "estimated_cost": true}', {"estimated_cost": True}),
    "a cost below nothing": (b'{"session_id":"a","messages":[],"estimated_cost":-0.5}', {"estimated_cost": -0.5}),
    "times that are none": (
        b'{"session_id": "a", "messages": [], "created_at": "now", "updated_at": true}',
        {"created_at": "now", "updated_at": True},
    ),
    "a time beyond any": (
        b'{"session_id": "a", "messages": [], "created_at": 1' + b"0" * 400 + b', "updated_at": 1e300}',
        {"created_at": 10**400, "updated_at": 1e300},
    ),
    "texts that are none": (
        b'{"session_id":"a","messages":[],"title":5,"model":[],"workspace":{},"personality":1.5,"pending_user_message":7}',
        {"title": 5, "model": [], "workspace": {}, "personality": 1.5, "pending_user_message": 7},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
async def test_a_field_of_the_wrong_type_is_kept_but_not_believed(tmp_path: Path, name: str) -> None:
    content, wrong = ODD[name]
    (tmp_path / "one.json").write_bytes(content)
    assert outcomes(bring_in(tmp_path / "data", tmp_path / "one.json")) == ["imported"]
    ((body,),) = query(tmp_path / "data", "SELECT body FROM event")
    extra = json.loads(body).get("extra", {})
    assert canonical({field: extra.get(field) for field in wrong}) == canonical(wrong)
    with Database(tmp_path / "data") as database:
        created = database.load("a").history[0].event.body
    assert isinstance(created, Created)
    facts = {name: getattr(created, name) for name in ("title", "model", "workspace", "personality", "estimated_cost")}
    assert facts == dict.fromkeys(facts)
    assert (getattr(created, "input_tokens", None), getattr(created, "output_tokens", None)) == (0, 0)


MORE_FIELDS = {"system", "queue", "queue_paused", "redo_steps", "branched_from"}
"""What /status says that the list of sessions does not."""


async def test_the_beginning_of_time_is_a_time(tmp_path: Path) -> None:
    value = session("a", {"role": "user", "content": "x", "timestamp": 0}, created_at=0, updated_at=0)
    bring_in(tmp_path / "data", write(tmp_path / "one.json", value))
    async with running(tmp_path / "data") as server, client(server.ws("a")) as one:
        status = (await one.submit("/status"))["data"]
        assert (status["created_at"], status["updated_at"]) == (0, 0)
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{server.http}/api/sessions")).json()["sessions"] == [
                {name: field for name, field in status.items() if name not in MORE_FIELDS}
            ]


async def test_the_biggest_counts_add_up(tmp_path: Path) -> None:
    most = 2**63 - 1
    value = session("a", input_tokens=most, output_tokens=most, estimated_cost=1e300)
    bring_in(tmp_path / "data", write(tmp_path / "one.json", value))
    async with running(tmp_path / "data") as server, client(server.ws("a")) as one:
        usage = (await one.submit("/usage"))["data"]
        assert (usage["input_tokens"], usage["total_tokens"], usage["estimated_cost"]) == (most, 2 * most, 1e300)


@pytest.mark.skipif(sys.platform != "linux", reason="where a file's name may be any bytes")
async def test_a_name_that_is_no_text_does_not_stop_an_import(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "0.json", session("first"))
    write(folder / "z.json", session("last"))
    write(folder / os.fsdecode(b"n\xff.json"), [{"role": "user", "content": "ping"}])
    status, _, err = await run_import(tmp_path / "data", folder)
    assert "Traceback" not in err
    assert status in (0, 1)
    assert len(query(tmp_path / "data", "SELECT id FROM session WHERE id IN ('first', 'last')")) == 2


def test_a_session_of_many_messages_comes_whole(tmp_path: Path) -> None:
    rows = [{"role": ("user", "assistant")[n % 2], "content": f"message {n}", "n": n} for n in range(3000)]
    value = session("long", *rows, created_at=1.5)
    bring_in(tmp_path / "data", write(tmp_path / "one.json", value))
    kept(tmp_path / "data", value)


# The real thing.


@pytest.fixture
def samples() -> Path:
    """Real files, where they are beside this repository."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the samples are not at {SAMPLES}")
    return SAMPLES


async def test_every_sample_imports_with_every_field(samples: Path, tmp_path: Path) -> None:
    paths = [samples / "webui-2026-04", samples / "webui-2026-08", samples / "plain"]
    data = tmp_path / "data"
    status, out, err = await run_import(data, *paths)
    assert status == 0
    assert [Path(line.split(": ")[1]).name for line in err.splitlines()] == ["_index.json", "_index.json"]
    files = [file for path in paths for file in sorted(path.rglob("*.json")) if file.name != "_index.json"]
    assert len(files) > 10
    assert f"{len(files)} imported, 2 skipped, 0 broken" in out
    values = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    sessions = [value for value in values if isinstance(value, dict)]
    for value in sessions:
        assert any(file.stem == value["session_id"] for file in files)
        kept(data, value)
    (plain,) = [value for value in values if isinstance(value, list)]
    stored = query(
        data,
        "SELECT m.role, m.content, m.extra, m.created_at, s.created_at FROM message m JOIN session s"
        " ON s.id = m.session_id WHERE s.title = 'ping' ORDER BY m.id",
    )
    for row, columns in zip(plain, stored, strict=True):
        kept_row(row, columns[:4], columns[4])
    async with running(data) as server:
        for value in sessions:
            await on_the_wire(server, value)


async def test_every_broken_sample_is_named(samples: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    status, out, err = await run_import(data, samples / "broken", samples / "plain")
    assert status == 1
    assert "Traceback" not in err
    files = sorted((samples / "broken").iterdir())
    assert len(files) == len(err.splitlines())
    for file in files:
        (line,) = [line for line in err.splitlines() if str(file) in line]
        assert line.split(": ")[0] == ("skipped" if file.name == "no-session.json" else "broken")
    assert "1 imported" in out
    assert len(query(data, "SELECT id FROM session")) == 1
