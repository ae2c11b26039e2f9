"""What `/status`, `/usage`, `/undo` and `/retry` say of imported sessions, over a raw socket, for both backends.

The expected values come from each file itself, by a few lines here that follow DESIGN section 5 to the letter.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from backchat.importer import import_files
from backchat.store.sqlite import Database
from tests.support.client import PATIENCE, Json
from tests.support.server import SAMPLES, Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORTY = "x" * 40


def user(content: Any) -> Json:
    return {"role": "user", "content": content, "timestamp": 1776600000.5}


def other(role: str, content: Any, **fields: Any) -> Json:
    return {"role": role, "content": content, "timestamp": 1776600001.5, **fields}


def session(title: str, *messages: Json, **fields: Any) -> Json:
    times = {"created_at": 1795333157.25, "updated_at": 1795333158.75}
    return {"session_id": "any", "title": title, "messages": list(messages), **times, **fields}


OURS = [
    session("empty"),
    session("only a reply", other("assistant", "Good morning!")),
    session("only a system message", other("system", "Be brief."), input_tokens=3),
    session("one question", user("hello"), model="m", workspace="/w", personality="p", estimated_cost=0),
    session("one answer", user("hello"), other("assistant", "hi"), input_tokens=1834, output_tokens=412),
    session("a cost", user("hello"), other("assistant", "hi"), estimated_cost=0.00231, model="some/model"),
    session("system first", other("system", "s"), user("a"), other("assistant", "b"), user("c")),
    session("two questions in a row", user("a"), other("assistant", "b"), user("c"), user("d")),
    session("tools", user("a"), other("assistant", "", tool_calls=[1]), other("tool", "t"), other("narrator", "n")),
    session("forty characters", user(FORTY)),
    session("more than forty characters", user(FORTY + "y"), other("assistant", "b")),
    session("forty of several code points", user("\U0001f469\u200d\U0001f469" * 20), other("assistant", "b")),
    session("many lines", user(" a\nb \r\n\tc "), other("assistant", "b")),
    session("parts", user([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}])),
    session("text that is none", user([{"type": "text", "text": 5}, {"type": "text"}, {"type": "text", "text": "z"}])),
    session("no text at all", user([{"type": "image_url", "image_url": {"url": "x"}}]), other("assistant", "b")),
    session("no parts", user([]), other("assistant", "b")),
    session("empty text", user(""), other("assistant", "b")),
    session("an object", user({"text": "a"}), other("assistant", "b")),
    session("a number", user(42), other("assistant", "b")),
    session("nothing", user(None), other("assistant", "b")),
    session("looks like a command", user("/undo"), other("assistant", "b"), user("//retry"), other("assistant", "c")),
    session("left over", user("a"), active_stream_id="x", pending_user_message="and this?"),
    session("long", *(user(f"{n}") if n % 2 == 0 else other("assistant", f"{n}") for n in range(450))),
]  # fmt: skip


def cases() -> list[Any]:
    """Every session, ours and the samples: a name, and what its file holds."""
    found = [pytest.param(value, id=value["title"]) for value in OURS]
    if not SAMPLES.is_dir():
        return [*found, pytest.param({}, id="samples", marks=pytest.mark.skip(f"the samples are not at {SAMPLES}"))]
    for file in sorted(itertools.chain(SAMPLES.glob("webui-*/sessions/*.json"), SAMPLES.glob("plain/*.json"))):
        value = json.loads(file.read_text(encoding="utf-8"))
        if file.name != "_index.json":
            found.append(pytest.param(value, id=f"{file.relative_to(SAMPLES)}"))
    return found


SESSIONS = pytest.mark.parametrize("value", cases())


# The oracle: DESIGN section 5.


def rows_of(value: Any) -> list[Json]:
    rows: list[Json] = value if isinstance(value, list) else value["messages"]
    return rows


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        return " ".join(text if isinstance(text, str) else "" for text in texts)
    return str(content)


def turns_of(rows: list[Json]) -> list[int]:
    """Where each turn begins."""
    return [index for index, row in enumerate(rows) if row["role"] == "user"]


def undone(rows: list[Json], turns: int) -> tuple[list[Json], Json, str]:
    """What an undo leaves, the `data` it answers with, and its `prefill`."""
    taken = turns_of(rows)[-turns:]
    text = text_of(rows[taken[0]]["content"])
    preview = text if len(text) <= 40 else text[:40] + "..."
    data = {"removed_count": len(rows) - taken[0], "removed_preview": preview, "turns": len(taken)}
    return rows[: taken[0]], data, text


# The server and the socket.


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["echo", "none"])
async def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server that all tests of one backend share: each imports a session for itself while it runs."""
    async with running(tmp_path_factory.mktemp("data"), backend=request.param) as one:
        yield one


numbers = itertools.count(1)


def imported(server: Running, value: Any, folder: Path) -> str:
    """Imports a session under an id of its own, which is returned."""
    session_id = f"copy-{next(numbers)}"
    file = folder / f"{session_id}.json"
    fields = value if isinstance(value, dict) else {"messages": value}
    file.write_text(json.dumps({**fields, "session_id": session_id}), encoding="utf-8")
    with Database(server.settings.data) as database:
        (result,) = import_files(database, [file])
    assert result.outcome == "imported", result.detail
    return session_id


async def typed(socket: ClientConnection, line: str) -> Json:
    """What the server says to a line: the reply to it, past the notifications."""
    await socket.send(line)
    async with asyncio.timeout(PATIENCE):
        while True:
            frame: Json = json.loads(await socket.recv())
            if "method" not in frame:
                assert frame["id"] is None
                return frame


async def end_of_run(socket: ClientConnection) -> Json:
    async with asyncio.timeout(PATIENCE):
        while True:
            frame: Json = json.loads(await socket.recv())
            if frame.get("method") == "run.ended":
                params: Json = frame["params"]
                return params


async def refused(socket: ClientConnection, line: str, code: str, message: str) -> None:
    error = (await typed(socket, line))["error"]
    assert (error["data"]["code"], error["message"]) == (code, message)


async def transcript(server: Running, session_id: str) -> list[tuple[str, Any]]:
    """The whole transcript, as a client that comes now is given it: roles and contents."""
    async with connect(server.ws(session_id), max_size=None) as socket, asyncio.timeout(PATIENCE):
        attached = json.loads(await socket.recv())["params"]
        messages, start = attached["messages"], attached["start"]
        while start:
            params = {"before": start, "limit": 200}
            await socket.send(json.dumps({"id": 1, "method": "messages", "params": params}))
            while "method" in (frame := json.loads(await socket.recv())):
                pass
            page = frame["result"]
            messages, start = page["messages"] + messages, page["start"]
    return [(message["role"], message["content"]) for message in messages]


def spoken(rows: list[Json]) -> list[tuple[str, Any]]:
    return [(row["role"], row["content"]) for row in rows]


# The answers.


@SESSIONS
async def test_status_and_usage_say_what_the_file_says(server: Running, value: Any, tmp_path: Path) -> None:
    session_id = imported(server, value, tmp_path)
    fields = value if isinstance(value, dict) else {}
    async with connect(server.ws(session_id), max_size=None) as socket:
        status = (await typed(socket, "/status"))["result"]
        usage = (await typed(socket, "/usage"))["result"]
    expected = {
        "session_id": session_id,
        "title": fields.get("title"),
        "model": fields.get("model"),
        "workspace": fields.get("workspace"),
        "personality": fields.get("personality"),
        "system": None,
        "message_count": len(rows_of(value)),
        "created_at": fields.get("created_at", status["data"]["created_at"]),
        "updated_at": fields.get("updated_at", status["data"]["updated_at"]),
        "agent_running": False,
        "queue": [{"id": 1, "preview": pending}] if (pending := fields.get("pending_user_message")) else [],
        "queue_paused": bool(pending),
        "redo_steps": 0,
        "branched_from": None,
    }
    assert (status["command"], status["data"]) == ("status", expected)
    spent = {
        "input_tokens": fields.get("input_tokens", 0),
        "output_tokens": fields.get("output_tokens", 0),
        "total_tokens": fields.get("input_tokens", 0) + fields.get("output_tokens", 0),
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "estimated_cost": fields.get("estimated_cost"),
        "unpriced": 1 if fields.get("input_tokens") and fields.get("estimated_cost") is None else 0,
        "estimated": False,
    }
    context = usage["data"].pop("context_tokens")
    assert (usage["command"], usage["data"]) == (
        "usage",
        {**spent, "on_screen": spent, "model": fields.get("model")},
    )
    assert context > 0 or not rows_of(value)
    assert status["revision"] == usage["revision"] == 1
    assert await transcript(server, session_id) == spoken(rows_of(value))


@SESSIONS
async def test_undo_takes_the_last_turn_off_again_and_again(server: Running, value: Any, tmp_path: Path) -> None:
    rows = rows_of(value)
    session_id = imported(server, value, tmp_path)
    usage = None
    async with connect(server.ws(session_id), max_size=None) as socket:
        for _ in turns_of(rows)[-5:]:
            rows, data, text = undone(rows, 1)
            result = (await typed(socket, "/undo"))["result"]
            assert (result["command"], result["data"], result["prefill"]) == ("undo", data, text)
            assert await transcript(server, session_id) == spoken(rows)
            assert (await typed(socket, "/status"))["result"]["data"]["message_count"] == len(rows)
            said = (await typed(socket, "/usage"))["result"]["data"]
            context = said.pop("context_tokens")
            assert usage is None or (said == usage[0] and context < usage[1])
            usage = said, context
        if not turns_of(rows):
            await refused(socket, "/undo", "nothing_to_undo", "Nothing to undo.")
            await refused(socket, "/undo 3", "nothing_to_undo", "Nothing to undo.")
    assert await transcript(server, session_id) == spoken(rows)


@SESSIONS
async def test_undo_takes_as_many_turns_as_it_is_told_or_all(server: Running, value: Any, tmp_path: Path) -> None:
    rows = rows_of(value)
    session_id = imported(server, value, tmp_path)
    async with connect(server.ws(session_id), max_size=None) as socket:
        for turns in (3, 10**30):
            if not turns_of(rows):
                await refused(socket, f"/undo {turns}", "nothing_to_undo", "Nothing to undo.")
                continue
            rows, data, text = undone(rows, turns)
            result = (await typed(socket, f"/undo {turns}"))["result"]
            assert (result["data"], result["prefill"]) == (data, text)
            assert await transcript(server, session_id) == spoken(rows)


@SESSIONS
async def test_retry_sends_the_last_user_message_again(server: Running, value: Any, tmp_path: Path) -> None:
    rows = rows_of(value)
    session_id = imported(server, value, tmp_path)
    replies = server.settings.backend == "echo"
    async with connect(server.ws(session_id), max_size=None) as socket:
        if not turns_of(rows):
            await refused(socket, "/retry", "nothing_to_retry", "No previous message to retry.")
            assert await transcript(server, session_id) == spoken(rows)
            return
        last = turns_of(rows)[-1]
        text = text_of(rows[last]["content"])
        result = (await typed(socket, "/retry"))["result"]
        assert result["command"] == "retry"
        assert result["data"] == {"last_user_text": text, "removed_count": len(rows) - last, "resent": replies}
        if not replies:
            assert result["prefill"] == text
            assert await transcript(server, session_id) == spoken(rows[:last])
            return
        assert "prefill" not in result
        assert (await end_of_run(socket))["reason"] == "completed"
    *kept, (role, reply) = await transcript(server, session_id)
    assert kept == spoken(rows[: last + 1])
    assert role == "assistant"
    assert reply == text or not text.strip()


@SESSIONS
async def test_the_next_message_follows_what_an_undo_left(server: Running, value: Any, tmp_path: Path) -> None:
    rows = rows_of(value)
    session_id = imported(server, value, tmp_path)
    async with connect(server.ws(session_id), max_size=None) as socket:
        if turns_of(rows):
            rows, _, _ = undone(rows, 1)
            await typed(socket, "/undo")
        sent = (await typed(socket, "something else"))["result"]
        assert sent["message_id"] == len(rows_of(value)) + 1
        if "run_id" in sent:
            await end_of_run(socket)
    said = await transcript(server, session_id)
    assert said[: len(rows) + 1] == [*spoken(rows), ("user", "something else")]
    assert len(said) == len(rows) + (2 if server.settings.backend == "echo" else 1)
