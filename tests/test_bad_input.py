"""What a client can get wrong on the socket: it is told, its connection stays open, and nothing is lost or changed
(issue 2, "Bad input"; G10)."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from backchat.names import OWNER
from backchat.transcript import Created, Message
from tests.support.client import PATIENCE, Json, client
from tests.support.server import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAME = 64 * 1024
"""The frame limit of the servers here."""

CODES = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "unknown_method": -32601,
    "invalid_params": -32602,
}
"""The numbers that JSON-RPC 2.0 fixes."""
NAMES = {
    *CODES,
    "unknown_command",
    "bad_argument",
    "nothing_to_retry",
    "nothing_to_undo",
    "nothing_to_redo",
    "run_active",
    "stale_revision",
    "op_id_reused",
    "too_large",
    "rate_limited",
    "storage_failed",
    "backend_failed",
}
"""DESIGN section 4."""

SAID = ["first", "reply", "second", "reply two"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server that all tests share: whatever one sends must not hurt another."""
    async with running(tmp_path_factory.mktemp("data"), backend="none", max_frame=FRAME) as one:
        yield one


async def talked(server: Running) -> str:
    """The id of a new session in which something was said: see SAID."""
    messages = [
        Message(id=number, role="user" if number % 2 else "assistant", content=text, created_at=1.0)
        for number, text in enumerate(SAID, start=1)
    ]
    async with server.backchat.sessions.create(OWNER, Created(), messages) as session:
        return session.id


@contextlib.asynccontextmanager
async def attached(server: Running, session_id: str) -> AsyncIterator[ClientConnection]:
    """A raw socket that has been attached to a session."""
    async with connect(server.ws(session_id), max_size=None, compression=None) as socket:
        assert (await received(socket))["method"] == "attached"
        yield socket


async def received(socket: ClientConnection) -> Json:
    """The next frame, whoever comes and goes meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while True:
            frame: Json = json.loads(await socket.recv())
            if frame.get("method") != "presence":
                return frame


async def snapshot(server: Running, session_id: str) -> Json:
    """All that a client that comes now is told of a session."""
    async with connect(server.ws(session_id), max_size=None) as socket:
        params: Json = (await received(socket))["params"]
    return {name: params[name] for name in ("log", "session", "revision", "run", "start", "messages")}


def request(method: str = "submit", /, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})


def submit(params: str) -> str:
    """A request whose params are spelt out, for what `json.dumps` would not write."""
    return '{"jsonrpc": "2.0", "id": 7, "method": "submit", "params": ' + params + "}"


def content(part: Any) -> str:
    return request(content=[{"type": "text", "text": "x"}, part])


def nested(levels: int, inner: str = "1") -> str:
    return "[" * levels + inner + "]" * levels


# Of each bad frame: the frame, the error that it gets, and the id that is repeated with it.

UNDO = '"method": "submit", "params": {"text": "/undo"}'

BAD_FRAMES: dict[str, tuple[str, str, Any]] = {
    # Not JSON.
    "half an object": ('{"method": "submit"', "parse_error", None),
    "a brace": ("{", "parse_error", None),
    "a brace and a word": ("{hello} is odd", "parse_error", None),
    "single quotes": ("{'method': 'submit'}", "parse_error", None),
    "more after the object": (request(text="/status") + " x", "parse_error", None),
    "two objects": (request(text="/status") * 2, "parse_error", None),
    "NaN": (submit('{"text": "x", "if_revision": NaN}'), "parse_error", None),
    "a comma too many": ('{"method": "submit",}', "parse_error", None),
    "a control character": ('{"method": "sub\x01mit"}', "parse_error", None),
    "nesting without end": ('{"a":' * 8_000, "parse_error", None),
    "deep nesting": ('{"a":' * 8_000 + "1" + "}" * 8_000, "parse_error", None),
    "deep params": (submit(nested(20_000)), "parse_error", None),
    # JSON, but no request.
    "an empty object": ("{}", "invalid_request", None),
    "no method": ('{"id": 7, "params": {"text": "/undo"}}', "invalid_request", 7),
    "a method that is null": ('{"id": 7, "method": null, "params": {"text": "/undo"}}', "invalid_request", 7),
    "a method that is a number": ('{"id": 7, "method": 5, "params": {"text": "/undo"}}', "invalid_request", 7),
    "a response": ('{"jsonrpc": "2.0", "id": 7, "result": {}}', "invalid_request", 7),
    "an error": ('{"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "x"}}', "invalid_request", 7),
    "JSON-RPC 1.0": ('{"jsonrpc": "1.0", "id": 7, ' + UNDO + '}', "invalid_request", 7),
    "JSON-RPC as a number": ('{"jsonrpc": 2.0, "id": 7, ' + UNDO + '}', "invalid_request", 7),
    "JSON-RPC null": ('{"jsonrpc": null, "id": 7, ' + UNDO + '}', "invalid_request", 7),
    "an unknown field": ('{"id": 7, ' + UNDO + ', "auth": 1}', "invalid_request", 7),
    "an id that is true": ('{"id": true, ' + UNDO + '}', "invalid_request", None),
    "an id that is a list": ('{"id": [7], ' + UNDO + '}', "invalid_request", None),
    "an id that is an object": ('{"id": {}, ' + UNDO + '}', "invalid_request", None),
    "an id with a surrogate": ('{"id": "\\ud800", ' + UNDO + '}', "invalid_request", None),
    # Requests for nothing that there is.
    "an unknown method": (request("shout", text="/undo"), "unknown_method", 7),
    "a method in capitals": (request("Submit", text="/undo"), "unknown_method", 7),
    "an empty method": (request("", text="/undo"), "unknown_method", 7),
    "a notification's name": (request("transcript.spliced", keep=0, messages=[]), "unknown_method", 7),
    "a long method": (request("x" * 10_000), "unknown_method", 7),
    "a method with a surrogate": ('{"id": 7, "method": "sub\\ud800"}', "unknown_method", 7),
    # Params.
    "no params": ('{"id": 7, "method": "submit"}', "invalid_params", 7),
    "params that are null": ('{"id": 7, "method": "submit", "params": null}', "invalid_params", 7),
    "params by position": ('{"id": 7, "method": "submit", "params": ["/undo"]}', "invalid_params", 7),
    "params that are text": ('{"id": 7, "method": "submit", "params": "/undo"}', "invalid_params", 7),
    "neither text nor content": (request(), "invalid_params", 7),
    "both text and content": (request(text="/undo", content=[{"type": "text", "text": "x"}]), "invalid_params", 7),
    "an unknown param": (request(text="/undo", force=True), "invalid_params", 7),
    "a param in capitals": (request(Text="/undo"), "invalid_params", 7),
    "a number for text": (request(text=5), "invalid_params", 7),
    "a list for text": (request(text=["/undo"]), "invalid_params", 7),
    "null for text": (request(text=None), "invalid_params", 7),
    "empty text": (request(text=""), "invalid_params", 7),
    "text of spaces": (request(text="   "), "invalid_params", 7),
    "text of white space": (request(text=" \t\r\n \n"), "invalid_params", 7),
    "text with a NUL": (request(text="a\0b"), "invalid_params", 7),
    "a command with a NUL": (request(text="/undo\0"), "invalid_params", 7),
    "half of a surrogate pair": (submit('{"text": "a\\ud800b"}'), "invalid_params", 7),
    "the other half": (submit('{"text": "\\udc00"}'), "invalid_params", 7),
    "a command with a surrogate": (submit('{"text": "/undo \\ud83d"}'), "invalid_params", 7),
    "an op_id that is a number": (request(text="/undo", op_id=5), "invalid_params", 7),
    "an empty op_id": (request(text="/undo", op_id=""), "invalid_params", 7),
    "an op_id of 65 characters": (request(text="/undo", op_id="x" * 65), "invalid_params", 7),
    "an op_id with a NUL": (request(text="/undo", op_id="a\0"), "invalid_params", 7),
    "an op_id with a surrogate": (submit('{"text": "/undo", "op_id": "\\udfff"}'), "invalid_params", 7),
    "a revision that is text": (request(text="/undo", if_revision="1"), "invalid_params", 7),
    "a revision that is true": (request(text="/undo", if_revision=True), "invalid_params", 7),
    "a revision below nothing": (request(text="/undo", if_revision=-1), "invalid_params", 7),
    "a revision and a half": (request(text="/undo", if_revision=1.5), "invalid_params", 7),
    # Content.
    "content that is text": (request(content="hello"), "invalid_params", 7),
    "content that is an object": (request(content={"type": "text", "text": "x"}), "invalid_params", 7),
    "content without parts": (request(content=[]), "invalid_params", 7),
    "a part that is text": (content("hello"), "invalid_params", 7),
    "a part without a type": (content({"text": "x"}), "invalid_params", 7),
    "a part whose type is a number": (content({"type": 5}), "invalid_params", 7),
    "a part with a NUL": (content({"type": "text", "text": "a\0"}), "invalid_params", 7),
    "a part with a NUL in a name": (content({"type": "text", "a\0": 1}), "invalid_params", 7),
    "a part with a surrogate": (submit('{"content": [{"type": "text", "text": "\\ud800"}]}'), "invalid_params", 7),
    "a part that is nested too deeply": (
        submit('{"content": [{"type": "x", "x": ' + nested(200) + "}]}"),
        "invalid_params",
        7,
    ),
    "a number beyond any float": (submit('{"content": [{"type": "x", "x": 1e999}]}'), "invalid_params", 7),
    # Pages.
    "a page before nothing": (request("messages"), "invalid_params", 7),
    "a page before text": (request("messages", before="2"), "invalid_params", 7),
    "a page below nothing": (request("messages", before=-1), "invalid_params", 7),
    "a page of nothing": (request("messages", before=2, limit=0), "invalid_params", 7),
    "a page of too much": (request("messages", before=2, limit=201), "invalid_params", 7),
    "a page of true": (request("messages", before=2, limit=True), "invalid_params", 7),
    "a page with more params": (request("messages", before=2, after=1), "invalid_params", 7),
    # What a person types.
    "nothing": ("", "invalid_params", None),
    "spaces": ("   ", "invalid_params", None),
    "line breaks": ("\r\n\n", "invalid_params", None),
    "a NUL": ("\0", "invalid_params", None),
    "a NUL in a text": ("hello\0world", "invalid_params", None),
    "/undo x": ("/undo x", "bad_argument", None),
    "/undo -1": ("/undo -1", "bad_argument", None),
    "/undo +1": ("/undo +1", "bad_argument", None),
    "/undo 0": ("/undo 0", "bad_argument", None),
    "/undo 000": ("/undo 000", "bad_argument", None),
    "/undo 1 2": ("/undo 1 2", "bad_argument", None),
    "/undo 1.0": ("/undo 1.0", "bad_argument", None),
    "/undo 1e3": ("/undo 1e3", "bad_argument", None),
    "/undo 0x1": ("/undo 0x1", "bad_argument", None),
    "/undo 1_0": ("/undo 1_0", "bad_argument", None),
    "/undo in Arabic": ("/undo \u0663", "bad_argument", None),
    "/undo in superscript": ("/undo \u00b2", "bad_argument", None),
    "/undo and a million letters": ("/undo " + "x" * 50_000, "bad_argument", None),
    "/UNDO x": ("/UNDO x", "bad_argument", None),
    "/status now": ("/status now", "bad_argument", None),
    "/retry 1": ("/retry 1", "bad_argument", None),
    "/usage all": ("/usage all", "bad_argument", None),
    "/nope": ("/nope", "unknown_command", None),
    "/nope with arguments": ("/nope 1 2 3", "unknown_command", None),
    "/und": ("/und", "unknown_command", None),
    "/undo2": ("/undo2", "unknown_command", None),
    "/undo-all": ("/undo-all", "unknown_command", None),
    "a long name": ("/" + "x" * 50_000, "unknown_command", None),
    "/nope in JSON": (request(text="/nope"), "unknown_command", 7),
    "/undo x in JSON": (request(text="/undo x"), "bad_argument", 7),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_is_answered_and_changes_nothing(server: Running, name: str) -> None:
    frame, code, request_id = BAD_FRAMES[name]
    session_id = await talked(server)
    before = await snapshot(server, session_id)
    async with attached(server, session_id) as other, attached(server, session_id) as socket:
        await socket.send(frame)
        answer = await received(socket)
        assert answer["jsonrpc"] == "2.0"
        assert (answer["id"], answer["error"]["data"]["code"]) == (request_id, code)
        assert answer["error"]["code"] == CODES.get(code, answer["error"]["code"])
        assert answer["error"]["message"].strip()
        # The connection is as good as before, and so is the other one, which was told nothing.
        for one in (socket, other):
            await one.send("/status")
            status = (await received(one))["result"]
            assert (status["revision"], status["data"]["message_count"]) == (1, len(SAID))
    assert await snapshot(server, session_id) == before


async def test_an_unknown_command_comes_with_the_nearest_names(server: Running) -> None:
    async with attached(server, await talked(server)) as socket:
        for typed, nearest in (("/udno", "undo"), ("/UNDOO", "undo"), ("/stat", "status"), ("/retyr", "retry")):
            await socket.send(typed)
            assert (await received(socket))["error"]["data"]["nearest"][0] == nearest
        await socket.send("/qqqqqq")
        assert (await received(socket))["error"]["data"]["nearest"] == []


async def test_a_bad_argument_comes_with_the_usage_line(server: Running) -> None:
    async with attached(server, await talked(server)) as socket:
        for typed, usage in (("/undo x", "/undo [turns]"), ("/STATUS now", "/status"), ("/retry 1", "/retry")):
            await socket.send(typed)
            error = (await received(socket))["error"]
            assert error["data"]["usage"] == usage
            assert usage in error["message"]


# What looks wrong and is right.


@pytest.mark.parametrize(
    "typed",
    [
        "/",
        "//",
        "/ undo",
        "/1",
        "/-undo",
        "/etc/hosts is odd",
        "/undo/",
        "/undo.",
        "/\u00fcndo",
        "/undo\u00a0",
        "/undo\x0b",
        "\u00a0/undo",
        "undo",
        "\u00a0",
        "\ufeff{}",
        "[]",
        '[{"jsonrpc": "2.0", "id": 1, "method": "submit", "params": {"text": "/undo"}}]',
        '"/undo"',
        "null",
        "42",
        "//etc/hosts",
        "/undo\n2",
        "/status\r\nnow",
        "\U0001f46a" * 100,
    ],
)
async def test_a_line_that_is_no_command_is_a_message(server: Running, typed: str) -> None:
    session_id = await talked(server)
    async with client(server.ws(session_id)) as one:
        await one.socket.send(typed)
        reply = await one.reply(None)
        assert reply["message_id"] == len(SAID) + 1
        assert one.view.texts == [*SAID, typed]


@pytest.mark.parametrize(
    ("typed", "message"), [("//undo", "/undo"), ("//UNDO 5", "/UNDO 5"), ("  //status now ", "/status now")]
)
async def test_two_slashes_send_what_looks_like_a_command(server: Running, typed: str, message: str) -> None:
    async with client(server.ws(await talked(server))) as one:
        await one.submit(typed)
        assert one.view.texts == [*SAID, message]


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("/undo", 2),
        ("/UNDO", 2),
        ("/Undo", 2),
        (" \t\r\n/undo\r\n ", 2),
        ("/undo 1", 2),
        ("/undo\t1", 2),
        ("/undo   0001", 2),
        ("/undo 2", 0),
        ("/undo 3", 0),
        ("/undo 99999999999999999999", 0),
        ("/undo " + "9" * 5000, 0),
        ("/undo " + "0" * 5000 + "1", 2),
    ],
)
async def test_an_odd_spelling_of_undo_is_still_undo(server: Running, typed: str, left: int) -> None:
    async with client(server.ws(await talked(server))) as one:
        await one.submit(typed)
        assert one.view.texts == SAID[:left]


@pytest.mark.parametrize(
    ("sent", "repeated"),
    [
        ('"a"', "a"),
        ('""', ""),
        ('"\\u0000\U0001f46a"', "\0\U0001f46a"),
        ("0", 0),
        ("-1", -1),
        ("1.5", 1.5),
        ("9007199254740993", 2**53 + 1),
        ("18446744073709551615", 2**64 - 1),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("null", None),
    ],
)
@pytest.mark.parametrize(("method", "params"), [("submit", '{"text": "/status"}'), ("submit", "{}"), ("shout", "{}")])
async def test_an_id_is_repeated_as_it_came(
    server: Running, sent: str, repeated: Any, method: str, params: str
) -> None:
    async with attached(server, await talked(server)) as socket:
        await socket.send(f'{{"id": {sent}, "method": "{method}", "params": {params}}}')
        answer = await received(socket)
        assert (answer["id"], type(answer["id"])) == (repeated, type(repeated))
        assert ("result" in answer) == (params != "{}")


async def test_the_version_of_json_rpc_may_be_left_out(server: Running) -> None:
    async with attached(server, await talked(server)) as socket:
        for version in ("", '"jsonrpc": "2.0", '):
            await socket.send("{" + version + '"id": 1, "method": "submit", "params": {"text": "/usage"}}')
            assert (await received(socket))["result"]["command"] == "usage"


async def test_content_is_never_a_command_and_comes_back_as_it_was(server: Running) -> None:
    parts = [
        {"type": "text", "text": "/undo"},
        {"type": "odd", "n": [1, 1.5, -0.0, None, True, {"": []}], "big": 2**64 - 1, "bigger": 10**30},
    ]
    session_id = await talked(server)
    async with client(server.ws(session_id)) as one:
        await one.request("submit", content=parts)
        assert json.dumps(one.view.texts[-1]) == json.dumps(parts)
    assert json.dumps((await snapshot(server, session_id))["messages"][-1]["content"]) == json.dumps(parts)


# Frames that are no text, too large or torn.


async def test_a_binary_frame_is_answered_and_changes_nothing(server: Running) -> None:
    session_id = await talked(server)
    before = await snapshot(server, session_id)
    async with attached(server, session_id) as socket:
        for data in (b"", b"/undo", request(text="/undo").encode(), b"\x00\xff" * 100):
            await socket.send(data)
            answer = await received(socket)
            assert (answer["id"], answer["error"]["data"]["code"]) == (None, "invalid_request")
        await socket.send("/status")
        assert (await received(socket))["result"]["revision"] == 1
    assert await snapshot(server, session_id) == before


async def ending(socket: ClientConnection) -> int | None:
    """The close code, once the server has closed."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


def pieces(size: int) -> Iterator[str]:
    for start in range(0, size, 1000):
        yield "x" * min(1000, size - start)


@pytest.mark.parametrize("kind", ["text", "binary", "pieces", "many bytes for each character", "a command", "huge"])
async def test_a_frame_over_the_limit_closes_its_own_connection_with_1009(server: Running, kind: str) -> None:
    frames: dict[str, Any] = {
        "text": "x" * (FRAME + 1),
        "binary": b"x" * (FRAME + 1),
        "pieces": pieces(FRAME + 1),
        "many bytes for each character": "\U0001f46a" * (FRAME // 4) + "x",
        "a command": "/undo" + " " * FRAME,
        "huge": "x" * (FRAME * 4),
    }
    session_id = await talked(server)
    before = await snapshot(server, session_id)
    async with attached(server, session_id) as other, attached(server, session_id) as socket:
        with contextlib.suppress(ConnectionClosed):
            await socket.send(frames[kind])
        assert await ending(socket) == 1009
        await other.send("/status")
        assert (await received(other))["result"]["revision"] == 1
    assert await snapshot(server, session_id) == before


async def test_a_frame_of_the_size_of_the_limit_is_taken(server: Running) -> None:
    async with client(server.ws(await talked(server))) as one:
        await one.submit("x")
        await one.socket.send("y" * FRAME)
        assert (await one.reply(None))["revision"] == 3
        assert one.view.texts[-1] == "y" * FRAME
        await one.socket.send(pieces(FRAME))
        await one.at(4)
        assert one.view.texts[-1] == "x" * FRAME


async def test_text_that_is_no_utf8_closes_its_own_connection_and_fills_no_log(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = await talked(server)
    before = await snapshot(server, session_id)
    async with attached(server, session_id) as other, attached(server, session_id) as socket:
        await socket.send(b"/undo \xff\xfe", text=True)
        assert await ending(socket) == 1007
        await other.send("/status")
        assert (await received(other))["result"]["revision"] == 1
    assert await snapshot(server, session_id) == before
    assert not caplog.records


async def test_a_frame_that_breaks_websocket_closes_its_own_connection(server: Running) -> None:
    session_id = await talked(server)
    before = await snapshot(server, session_id)
    async with attached(server, session_id) as other, attached(server, session_id) as socket:
        # An opcode that there is not, behind the library's back.
        socket.transport.write(b"\x83\x80\x00\x00\x00\x00")
        assert await ending(socket) == 1002
        await other.send("/status")
        assert (await received(other))["result"]["revision"] == 1
    assert await snapshot(server, session_id) == before


# Addresses.

IDS = ["nope", "NOPE", "a" * 65, "a%20b", "a.b", "%00", "%C3%A4", "a%0A", "%", "..", "'", "a%22", "{}", "*"]


@pytest.mark.parametrize("session_id", IDS)
async def test_an_id_that_no_session_has_closes_with_4404(server: Running, session_id: str) -> None:
    for query in ("", "after=0", "after=1&log=x"):
        async with connect(server.ws(session_id, query)) as socket:
            assert await ending(socket) == 4404


@pytest.mark.parametrize(
    "query",
    ["after=", "after=x", "after=-1", "after=1.0", "after=1e1", "after=%D9%A3", "after=0x1", "after=+1", "after=true",
     "after=" + "9" * 30, "after=" + "9" * 5000, "before=1", "after=1&token=x", "after=1&x", "Log=x", "log=x&after="],
)  # fmt: skip
async def test_a_query_that_is_none_closes_with_4400(server: Running, query: str) -> None:
    session_id = await talked(server)
    async with connect(server.ws(session_id, query)) as socket:
        assert await ending(socket) == 4400


@pytest.mark.parametrize("query", ["after=0", "after=1", "log=x", "after=0&log=x", "x=1"])
async def test_a_new_session_has_nothing_to_resume(server: Running, query: str) -> None:
    before = [summary.session_id for summary in await server.backchat.sessions.list(OWNER, None, 1)]
    async with connect(server.ws("", query)) as socket:
        assert await ending(socket) == 4400
    assert [summary.session_id for summary in await server.backchat.sessions.list(OWNER, None, 1)] == before


@pytest.mark.parametrize(
    "query", ["after=2", "after=99", "after=9007199254740992", "after=1&log=other", "after=1&log="]
)
async def test_a_resume_that_cannot_be_served_gets_a_snapshot_and_is_told(server: Running, query: str) -> None:
    session_id = await talked(server)
    async with connect(server.ws(session_id, query)) as socket:
        params = (await received(socket))["params"]
    assert params["reset"] is True
    assert [message["content"] for message in params["messages"]] == SAID
    assert (params["revision"], params["start"]) == (1, 0)
    assert "events" not in params


# Anything at all.

words = st.sampled_from(
    [
        "/undo",
        "/retry",
        "/status",
        "/usage",
        "/help",
        "/stop",
        "//undo",
        "/",
        "{",
        "}",
        "[",
        '"',
        " ",
        "\n",
        "\0",
        "1",
        "x",
    ]
)
scalars = st.characters(exclude_categories=["Cs"])
typed_lines = st.text(scalars, max_size=40) | st.lists(words | st.text(scalars, max_size=3), max_size=6).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | words, inner, max_size=3),
    max_leaves=6,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | values,
        "id": st.integers() | st.text(max_size=9) | values,
        "method": st.sampled_from(["submit", "messages", "complete"]) | values,
        "params": values
        | st.fixed_dictionaries(
            {},
            optional={
                "text": words | st.text(max_size=20) | values,
                "content": st.lists(
                    st.fixed_dictionaries({"type": st.just("text") | values}, optional={"text": values})
                )
                | values,
                "op_id": st.text(max_size=3) | values,
                "if_revision": st.integers(-1, 5) | values,
                "before": st.integers(-1, 300) | values,
                "limit": st.integers(-1, 300) | values,
            },
        ),
    },
).map(json.dumps)

fuzz = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
checks = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module", params=["none", "echo"])
async def fuzzed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ClientConnection]:
    """A socket on a server of its own."""
    folder = tmp_path_factory.mktemp("fuzzed")
    async with (
        running(folder, backend=request.param, max_frame=FRAME) as server,
        connect(server.ws(), max_size=None) as socket,
    ):
        yield socket


async def answer_of(socket: ClientConnection, frame: str) -> Json:
    """The one answer to a frame; a request behind it shows that there is no second one and that all is well."""
    sentinel = f"sentinel {next(checks)}"
    await socket.send(frame)
    await socket.send(json.dumps({"id": sentinel, "method": "submit", "params": {"text": "/status"}}))
    answers: list[Json] = []
    while not answers or answers[-1]["id"] != sentinel:
        message = await received(socket)
        if "method" not in message:
            answers.append(message)
    first, last = answers
    assert last["result"]["command"] == "status"
    return first


def is_an_answer(answer: Json) -> None:
    """Asserts that this is a result, or an error of the documented form."""
    assert answer["jsonrpc"] == "2.0"
    assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    if "error" in answer:
        name = answer["error"]["data"]["code"]
        assert name in NAMES - {"storage_failed", "backend_failed"}
        assert answer["error"]["code"] == CODES.get(name, answer["error"]["code"])


@fuzz
@given(typed_lines)
async def test_whatever_is_typed_is_answered_once(fuzzed: ClientConnection, line: str) -> None:
    answer = await answer_of(fuzzed, line)
    is_an_answer(answer)
    assert answer["id"] is None or line.startswith("{")


@fuzz
@given(requests)
async def test_whatever_is_requested_is_answered_once_under_its_id(fuzzed: ClientConnection, frame: str) -> None:
    answer = await answer_of(fuzzed, frame)
    is_an_answer(answer)
    request_id = json.loads(frame).get("id")
    repeatable = isinstance(request_id, str | int | float) and not isinstance(request_id, bool)
    if repeatable and "parse_error" not in str(answer) and answer["id"] is not None:
        assert answer["id"] == request_id
    if isinstance(request_id, int) and not isinstance(request_id, bool) and "NaN" not in frame and "Inf" not in frame:
        assert answer["id"] == request_id


@fuzz
@given(st.binary(max_size=60), st.booleans())
async def test_bytes_hurt_only_who_sent_them(fuzzed: ClientConnection, data: bytes, as_text: bool) -> None:
    host, port = fuzzed.remote_address[:2]
    async with connect(f"ws://{host}:{port}/ws") as socket:
        await received(socket)
        with contextlib.suppress(ConnectionClosed):
            await socket.send(data, text=as_text)
            await received(socket)
    is_an_answer(await answer_of(fuzzed, "/status"))
