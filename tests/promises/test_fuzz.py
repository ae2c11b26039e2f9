"""Whatever somebody makes up: frames, lines, Host and Origin, files. It is taken, or refused in a way that is written
down; nothing else is raised, and nobody else has to wait (G10).

What the socket says to bad frames is in test_bad_input.py, what single files and headers come to in test_import.py,
test_exports.py and test_access.py; here is what nobody would think of.
"""

import asyncio
import copy
import importlib.util
import itertools
import json
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from backchat import exports, frames
from backchat.access import Access
from backchat.commands import Invocation, PlainMessage, parse
from backchat.config import Settings
from backchat.errors import BackchatError, Forbidden
from backchat.frames import BadFrame, Request
from backchat.importer import Left, Ready, sessions_in
from backchat.portable import to_json
from backchat.store.sqlite import Database
from backchat.transcript import Created
from tests.support.client import PATIENCE, client
from tests.support.figures import Figure
from tests.support.server import SAMPLES, running
from tests.test_cli import unix

NOW = 1_800_000_000.0
ROUND = 100
"""How many inputs are made up at a time."""
REQUESTS = get_args(Request)

seeds = itertools.count(1)
T = TypeVar("T")


def made_up(make: st.SearchStrategy[T], check: Callable[[T], object], soak: float) -> int:
    """Checks inputs of a kind for that many seconds, and a few at the least; returns how many."""
    until = time.monotonic() + soak
    tried = 0

    def counted(value: T) -> None:
        nonlocal tried
        tried += 1
        check(value)

    while True:
        law = given(make)(counted)
        if soak:
            law = seed(time.time_ns() + next(seeds))(law)
        settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))(law)()
        if time.monotonic() >= until:
            return tried


# Frames and lines.

ODD = [
    "0", "-0", "-0.0", "1e999", "1e-999", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 30, "-" + "9" * 30, "01",
    "+1", ".5", "1.", "0x1", "1_0", "18446744073709551616", "9007199254740993.0", "null", "true", "false", "nul",
    "'x'", "", '""', '"x"', '"/undo"', '"/edit 1 x"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"',
    '"\\u0000"', '"\x01"', '"\\x"', '"' + "y" * 300 + '"', "[" * 70 + "]" * 70, "[" * 300 + "]" * 300,
    '{"a":' * 90 + "1" + "}" * 90, '{"type":"text","text":"x"}', '[{"type":"text","text":"x"}]',
    '[{"type":"text"},{"type":5}]', "[1,2]", "{}", "[]",
]  # fmt: skip
"""JSON, or nearly, that readers do not agree on."""
NAMES = [
    "jsonrpc", "id", "method", "params", "text", "content", "op_id", "if_revision", "before", "limit", "messages",
    "run_id", "after", "type", "", "\\u0069d", "\\ud800",
]  # fmt: skip
GOOD = {
    "submit": [
        '"text":"hello"',
        '"text":"/undo 2"',
        '"content":[{"type":"text","text":"x"}]',
        '"op_id":"a"',
        '"if_revision":3',
    ],
    "messages": ['"before":5', '"limit":10'],
    "complete": ['"text":"/mo"'],
    "render": ['"messages":[1,2]', '"run_id":"r1"', '"after":0'],
}
"""Params of each method as they should be."""

scalars = st.characters(exclude_categories=["Cs"])
pieces = st.recursive(
    st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: "[" + ",".join(some) + "]")
        # A name may stand twice.
        | st.lists(st.tuples(st.sampled_from(NAMES), inner), max_size=3).map(
            lambda some: "{" + ",".join(f'"{name}":{value}' for name, value in some) + "}"
        )
    ),
    max_leaves=5,
)
fields = st.tuples(st.sampled_from(NAMES), pieces).map(lambda pair: f'"{pair[0]}":{pair[1]}')


@st.composite
def requests(draw: st.DrawFn) -> str:
    """A request: as it should be, or with something in it that should not be, or cut."""
    method = draw(st.sampled_from(sorted(GOOD)))
    params = draw(st.lists(st.sampled_from(GOOD[method]), max_size=3, unique=True)) + draw(st.lists(fields, max_size=1))
    parts = [f'"method":"{method}"', '"params":{' + ",".join(params) + "}", *draw(st.lists(fields, max_size=2))]
    text = "{" + ",".join(draw(st.permutations(parts))) + "}"
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(1, len(text)))
        text = (
            text[:place]
            + draw(st.sampled_from(["", "\0", '"', "\\", "}", "{", "[", ",", "\ufeff"]))
            + text[place + 1 :]
        )
    return text


raw = st.binary().map(lambda data: data.decode("utf-8", "replace"))
texts = requests() | st.text(scalars).map("{".__add__) | st.text(scalars) | raw


def check_frame(text: str) -> None:
    """A frame is a request, or refused with an error that can be sent."""
    try:
        request = frames.decode(text)
    except BadFrame as bad:
        told = json.loads(frames.error_reply(bad.id, bad.error))
        assert told["error"]["data"]["code"] in ("parse_error", "invalid_request", "unknown_method", "invalid_params")
        assert told["error"]["message"].strip()
        return
    assert isinstance(request, REQUESTS)
    if text.startswith("{"):
        # Said in the plainest way, it is the same.
        assert frames.decode(msgspec.json.encode(request).decode()) == request
        assert json.loads(text)["method"] == type(request).__struct_config__.tag
    if isinstance(request, frames.Submit) and request.params.text is not None:
        check_line(request.params.text)


def check_line(text: str) -> None:
    """A line is a command or a message, or refused."""
    try:
        parsed = parse(text)
    except BackchatError as error:
        told = json.loads(frames.error_reply(None, error))
        assert told["error"]["message"].strip()
        return
    assert isinstance(parsed, Invocation | PlainMessage)
    if isinstance(parsed, PlainMessage):
        assert parsed.text.strip(" \t\r\n") == parsed.text != ""
        # What was sent can be sent again as it is, or behind another slash.
        said = parse("/" + parsed.text) if isinstance(_meaning(parsed.text), Invocation | type) else parse(parsed.text)
        assert said == parsed


def _meaning(text: str) -> object:
    try:
        return parse(text)
    except BackchatError as error:
        return type(error)


def test_any_frame_is_a_request_or_refused(soak: float, figure: Figure) -> None:
    figure("G10", "made-up inputs tried", made_up(texts, check_frame, soak / 2))


lines = st.lists(
    st.sampled_from(
        [
            "/",
            "//",
            "undo",
            "EDIT",
            "goto",
            "drop",
            "pick",
            "queue",
            "go",
            "title",
            "branch",
            "@",
            "#",
            "--",
            "1",
            "99999999999999999999",
            "\u0663",
            " ",
            "\t",
            "\n",
            "\r\n",
            "\0",
            "\ud800",
            "\u00a0",
            "\x0b",
            "x",
            "-",
        ]
    )
    | st.text(max_size=3),
    max_size=8,
).map("".join)


def test_any_line_is_a_command_or_a_message_or_refused(soak: float, figure: Figure) -> None:
    figure("G10", "made-up inputs tried", made_up(lines, check_line, soak / 4))


FAMILIES = [
    ("{", '"a":{', ""), ("{", "[", ""), ('{"', "\\", ""), ('{"', '\\"', ""), ("{", '"', ""), ('{"a":"', "x", ""),
    ("{", " ", "x"), ('{"a":', "9", "}"), ('{"a":', "[],", "}"), ("{", '"a":1,', '"b":2}'),
    ("{", '"method":"submit",', '"id":1}'), ('{"id":"', "\\ud800", '"}'),
    ('{"method":"submit","params":{"text":"', "\\u0000", '"}}'),
    ('{"method":"submit","params":{"content":[', '{"type":"x"},', '{"type":"x"}]}}'),
    ('{"method":"submit","params":{"content":[{"type":"x","y":[', "1,", "1]}]}}"),
    ('{"method":"render","params":{"messages":[', "1,", "1]}}"), ('{"method":"', "x", '"}'), ("", "/", ""),
    ("", "/ ", ""), ("/", "a-", ""), ("/undo", " ", "x"), ("/undo ", "9", ""), ("/undo ", "0", "1"),
    ("/edit ", "#", ""), ("/edit ", "-- ", "x"), ("/goto @", "9", ""), ("", " \n", "/undo"), ("//", "x ", ""),
    ("/queue ", "go ", ""), ("/title ", "\t", ""), ("/", "\ud83d\ude00", ""),
]  # fmt: skip
"""What a frame begins with, what it goes on with again and again, and how it ends."""


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_large_frame_takes_time_and_memory_in_proportion(family: tuple[str, str, str], figure: Figure) -> None:
    begin, again, end = family
    # With a step for each pair of characters this would take an hour.
    text = begin + again * (200_000 // len(again)) + end
    text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    tracemalloc.start()
    try:
        check_frame(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150 * len(text)
    figure("G10", "made-up inputs tried", 1)


GUIDED = Path(__file__).parent.parent / "support" / "guided.py"


def test_what_reaches_new_code_is_taken_or_refused_too(tmp_path: Path, soak: float, figure: Figure) -> None:
    if not soak:
        pytest.skip("only in the long form")
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (pip install -e '.[fuzz]')")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, text in enumerate(
        [*ODD, *("{" + f'"method":"{m}","params":{{{p}}}' + "}" for m in GOOD for p in GOOD[m])]
    ):
        (corpus / str(number)).write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [
            sys.executable,
            GUIDED,
            corpus,
            f"-max_total_time={int(soak / 2) + 1}",
            f"-artifact_prefix={tmp_path}/",
            "-max_len=4096",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    found = [path.read_bytes() for path in tmp_path.glob("crash-*")]
    assert ran.returncode == 0, (found, ran.stderr[-3000:])
    figure("G10", "made-up inputs tried", int(re.findall(r"Done (\d+) runs", ran.stderr)[-1]))


# Host and Origin.

HOSTS = ("chat.example.com", "kitchen")
ORIGINS = ("https://chat.example.com", "http://localhost:5173")
OURS = Settings(allowed_hosts=HOSTS, allowed_origins=ORIGINS)
ACCESS = Access(OURS, users=cast("Any", None))

WORDS = [
    "localhost", "LocalHost", "127.0.0.1", "127.0.0.2", "127.1", "0.0.0.0", "[::1]", "::1", "[::1%evil.example]", "[",
    "]", "chat.example.com", "kitchen", "evil.example", ".", ":", ":80", ":443", ":8765", ":\u00b2", "@", "user:pass@",
    "%00", "\0", "\t", " ", ",", "/", "#", "?", "xn--kitchen-9za", "k\u00eetchen", "2130706433", "0x7f000001", "null",
    "*", "",
]  # fmt: skip
"""What a Host or an Origin may be put together of. Two of them are tried in every way, more at random."""
BEGINNINGS = ["http://", "https://", "ws://", "HTTP://", "http:", "//", "file://", "http:///", ""]
NAMED = ["localhost", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST:80", "chat.example.com", "kitchen:443"]
"""Hosts that are this server's own."""

host_parts = st.lists(
    st.sampled_from(WORDS) | st.text(st.characters(max_codepoint=255), max_size=2), min_size=3, max_size=5
).map("".join)
origin_parts = st.tuples(st.sampled_from(BEGINNINGS), st.sampled_from([*NAMED, ""]), host_parts).map("".join)


def _is_ours(host: str) -> bool:
    """Whether a Host names this server: a name of its own, or a loopback address, in full."""
    found = re.fullmatch(r"(?i:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(:[0-9]+)?", host)
    if found is None:
        return False
    if found[2] is not None:
        groups = found[2].lower()
        return bool(re.fullmatch(r"(0{1,4}:){7}0{0,3}1|::0{0,3}1", groups))
    octets = found[1].split(".")
    if len(octets) == 4 and all(re.fullmatch(r"0|[1-9][0-9]{0,2}", octet) and int(octet) < 256 for octet in octets):
        return octets[0] == "127"
    return found[1].lower() in {"localhost", *HOSTS}


def _place(origin: str) -> tuple[str, str, str] | None:
    """The scheme, the host and the port of an origin."""
    found = re.fullmatch(r"(?i:(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\]))(?::([0-9]+))?", origin)
    if found is None:
        return None
    scheme = found[1].lower()
    return scheme, found[2].lower(), found[3] or {"http": "80", "https": "443"}[scheme]


def _lets_in(check: Callable[[], None]) -> bool:
    said = None
    try:
        check()
    except Forbidden as error:
        said = str(error)
    assert said is None or said.isprintable()
    return said is None


def check_host(host: str) -> None:
    assert _lets_in(lambda: ACCESS.check_host(host)) == _is_ours(host), host


def check_origin(pair: tuple[str, str]) -> None:
    host, origin = pair
    if not _is_ours(host):
        return
    own = {_place(f"http://{host}"), *map(_place, ORIGINS)}
    if host.partition(":")[0].lower() in HOSTS:
        own.add(_place(f"https://{host}"))
    if _lets_in(lambda: ACCESS.check_origin("ws", host, origin)):
        assert _place(origin) in own, (host, origin)
    # As a browser says it.
    scheme, name, port = _place(f"http://{host}") or ("", "", "")
    ACCESS.check_origin("ws", host, f"{scheme}://{name}" + ("" if port == "80" else f":{port}"))


def test_only_what_names_this_server_is_a_host(soak: float, figure: Figure) -> None:
    for pair in itertools.product(WORDS, repeat=2):
        check_host("".join(pair))
    figure("G10", "made-up inputs tried", len(WORDS) ** 2 + made_up(host_parts, check_host, soak / 8))


def test_only_its_own_pages_and_those_that_are_allowed_come_in(soak: float, figure: Figure) -> None:
    every = list(itertools.product(NAMED, BEGINNINGS, [*NAMED, *WORDS], ["", *WORDS]))
    for host, *parts in every:
        check_origin((host, "".join(parts)))
    pairs = st.tuples(st.sampled_from(NAMED), origin_parts)
    figure("G10", "made-up inputs tried", len(every) + made_up(pairs, check_origin, soak / 8))


async def test_the_socket_lets_in_whom_the_rules_let_in_and_nobody_who_says_it_twice(
    tmp_path: Path, figure: Figure
) -> None:
    async with running(tmp_path, allowed_hosts=HOSTS, allowed_origins=ORIGINS) as server:
        samples: list[tuple[str, ...]] = []
        find = settings(max_examples=30, database=None, derandomize=True)

        @find
        @given(host_parts.filter(lambda host: host.isprintable() and host == host.strip()))
        def sample(host: str) -> None:
            samples.append((f"Host: {host}",))

        sample()
        own = f"Host: 127.0.0.1:{server.port}"
        page = f"Origin: http://127.0.0.1:{server.port}"
        for headers in samples:
            status = await asked(server.port, *headers)
            assert (status == 101) == _is_ours(headers[0].removeprefix("Host: ")), (headers, status)
            assert status in (101, 400, 403)
        assert await asked(server.port, own, page) == 101
        for headers in [
            (own, own),
            (own, "Host: evil.example"),
            ("Host: evil.example", own),
            (own, page, page),
            (own, page, "Origin: http://evil.example"),
            (own, "Origin: http://evil.example", page),
            (own, "Origin:", page),
            (own, f"{page}, http://evil.example"),
            (own, "Origin: null"),
        ]:
            assert await asked(server.port, *headers) in (400, 403), headers
        figure("G10", "made-up inputs tried", len(samples) + 10)


async def asked(port: int, *headers: str) -> int:
    """The status of a handshake with these headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rest = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    writer.write("\r\n".join(["GET /ws HTTP/1.1", *headers, *rest, "", ""]).encode("latin-1"))
    async with asyncio.timeout(PATIENCE):
        status = await reader.readline()
    writer.transport.abort()
    return int(status.split()[1])


# Files.


def node(key: str, parent: str | None, **more: Any) -> Any:
    message = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [key]}}
    return {"id": key, "message": message, "parent": parent, **more}


def gpt(nodes: dict[str, Any], current: Any = None) -> Any:
    return {"id": "gpt", "title": "t", "create_time": 1.0, "mapping": nodes, "current_node": current}


def webui(parents: dict[str, str | None]) -> Any:
    nodes: dict[str, Any] = {
        key: {"id": key, "role": "user", "content": key, "parentId": above, "childrenIds": []}
        for key, above in parents.items()
    }
    return {"id": "webui", "title": "t", "chat": {"history": {"messages": nodes, "currentId": None}}}


def own(number: int, parent: Callable[[int], int]) -> Any:
    messages = [
        {"id": one, "parent": parent(one), "role": "user", "content": "x", "created_at": 1.0}
        for one in range(1, number + 1)
    ]
    return {
        "format": "backchat",
        "version": 1,
        "session_id": "own",
        "title": None,
        "model": None,
        "model_chosen": False,
        "workspace": None,
        "personality": None,
        "system": None,
        "created_at": 1.0,
        "updated_at": 1.0,
        "input_tokens": 0,
        "output_tokens": 0,
        "estimated_cost": None,
        "branched_from": None,
        "extra": None,
        "queue": ["x"],
        "head": number,
        "messages": messages,
    }


def tree_of(parents: dict[str, str | None]) -> list[Any]:
    """The same tree as two programs would export it."""
    return [gpt({key: node(key, above) for key, above in parents.items()}), webui(parents)]


MANY = 2_000
TREES: dict[str, tuple[Callable[[int], list[Any]], str]] = {
    "its own parent": (lambda _: tree_of({"a": "a"}), "broken"),
    "its own parent beside others": (lambda _: tree_of({"r": None, "a": "a", "b": "r"}), "broken"),
    "each other's parent": (lambda _: tree_of({"r": None, "a": "b", "b": "a"}), "broken"),
    "a long ring": (lambda many: tree_of({str(n): str((n + 1) % many) for n in range(many)}), "broken"),
    "a ring with a tail": (lambda _: tree_of({"0": "9", **{str(n): str(n - 1) for n in range(1, 30)}}), "broken"),
    "a parent that is not there": (lambda _: tree_of({"a": "nobody"}), "broken"),
    "many with one parent": (lambda many: tree_of({"r": None, **{str(n): "r" for n in range(many)}}), "imported"),
    "many without a parent": (lambda many: tree_of({str(n): None for n in range(many)}), "imported"),
    "one below the other": (lambda many: [*tree_of(chain(many)), own(many, lambda one: one - 1)], "imported"),
    "the same, last first": (lambda many: tree_of(dict(reversed(chain(many).items()))), "imported"),
    "children that are no children": (
        lambda _: [
            gpt({"a": node("a", None, children=["a", "b", 5, None]), "b": node("b", None, children=["a"])}, "b")
        ],
        "imported",
    ),
    "a parent that comes later": (lambda _: [own(5, lambda one: 6 - one)], "broken"),
    "its own parent, in our own format": (lambda _: [own(5, lambda one: one)], "broken"),
    "a parent below nothing": (lambda _: [own(5, lambda _: -1)], "broken"),
}
"""Files, made with about so many messages, and what becomes of them."""


def chain(many: int) -> dict[str, str | None]:
    return {str(n): str(n - 1) if n else None for n in range(many)}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_of_any_shape_is_imported_or_named_as_broken(
    tmp_path: Path, name: str, soak: float, figure: Figure
) -> None:
    make, outcome = TREES[name]
    for number, value in enumerate(make(100_000 if soak else MANY)):
        with Database(tmp_path / str(number)) as database:
            assert [one.outcome for one in brought_in(database, json.dumps(value).encode())] == [outcome]
        figure("G10", "hostile files imported or refused", 1)


def test_a_session_of_more_messages_than_can_be_committed_at_once_is_broken(
    monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    monkeypatch.setattr(exports, "MOST_MESSAGES", 1000)
    for many, outcome in ((1000, "imported"), (1001, "broken")):
        rows = [{"role": "user"}] * many
        files = [*tree_of(chain(many)), own(many, lambda one: one - 1), {"session_id": "s", "messages": rows}, rows]
        for value in files:
            assert [one.outcome for one in sessions_in(json.dumps(value).encode(), None, NOW)] == [outcome]
            figure("G10", "hostile files imported or refused", 1)


def brought_in(database: Database, data: bytes) -> list[Ready | Left]:
    """What becomes of a file. What is imported is stored, loads again, and is exported as it was."""
    found = list(sessions_in(data, "a name", NOW))
    for one in found:
        if isinstance(one, Left):
            assert one.reason.strip()
            assert one.reason.isprintable()
            continue
        assert len(one.commit.added) <= exports.MOST_MESSAGES
        if database.owner(one.commit.session_id) is not None:
            continue
        assert database.write([one.commit]) == [None]
        loaded = database.load(one.commit.session_id)
        first = loaded.history[0].event.body
        assert isinstance(first, Created)
        exported = to_json(loaded.info.id, first, loaded.history[-1].after, loaded.tree)
        (again,) = sessions_in(exported, None, NOW)
        assert isinstance(again, Ready), again
        assert again.commit.added == one.commit.added
    return found


DOCUMENTS: list[Any] = [
    gpt({"r": node("r", None, children=["a"]), "a": node("a", "r"), "b": node("b", "r")}, "b"),
    webui({"r": None, "a": "r", "b": "r"}),
    own(3, lambda one: one - 1),
    {
        "session_id": "s",
        "title": "t",
        "messages": [{"role": "user", "content": "x", "timestamp": 1.0}],
        "input_tokens": 3,
    },
    [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
]
if SAMPLES.is_dir():
    found = sorted(SAMPLES.glob("*/*.json")) + sorted(SAMPLES.glob("webui-*/sessions/*.json"))[:6]
    small = [file for file in found if file.parent.name != "broken" and file.stat().st_size < 60_000]
    DOCUMENTS += [json.loads(file.read_bytes()) for file in small]
INSTEAD: list[Any] = [
    None, True, 0, -1, 2**63, 2**64, 10**400, -0.0, 1e308, 0.5, "", "x", "\0", "\ud800", "a" * 5000, [], {}, [[]],
    [None], {"": {}}, {"role": "user"}, {"id": "a"}, ["a", 5],
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, below in inner for path in [(name,), *((name, *rest) for rest in places(below))]]


def at(value: Any, where: tuple[Any, ...]) -> Any:
    for name in where:
        value = value[name]
    return value


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A file with a few things deleted, doubled, exchanged or replaced; perhaps cut."""
    value = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 4))):
        if not (all_of_it := places(value)):
            break
        *where, last = draw(st.sampled_from(all_of_it))
        inner = at(value, tuple(where))
        match draw(st.sampled_from(["delete", "replace", "exchange", "double", "nest"])):
            case "delete":
                del inner[last]
            case "replace":
                inner[last] = copy.deepcopy(draw(st.sampled_from(INSTEAD)))
            case "exchange":
                inner[last] = copy.deepcopy(at(value, draw(st.sampled_from(all_of_it))))
            case "double" if isinstance(inner, list):
                inner.insert(last, copy.deepcopy(inner[last]))
            case "double":
                inner[str(last) + "_"] = copy.deepcopy(inner[last])
            case _:
                for _ in range(draw(st.sampled_from([1, 63, 64, 65, 300]))):
                    inner[last] = [inner[last]]
    data = json.dumps(value).encode()
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.sampled_from([b"", b"\xff", b"\0", b"NaN", b'"', b"}"])) + data[place + 1 :]
    return data


def test_a_mutilated_file_of_any_kind_is_imported_skipped_or_named_as_broken(
    tmp_path: Path, soak: float, figure: Figure
) -> None:
    with Database(tmp_path) as database:
        database._db.execute("PRAGMA synchronous = OFF")

        def check(data: bytes) -> None:
            try:
                brought_in(database, data)
            finally:
                for table in ("session", "message", "event", "searched"):
                    database._db.execute(f"DELETE FROM {table}")

        figure("G10", "hostile files imported or refused", made_up(mutilated(), check, soak))


BOMB = 1024 * 1024
BOMBS = {
    "lists": ("[", "[],", "[]]"),
    "objects": ("[", "{},", "{}]"),
    "fields": ('{"session_id":"a","messages":[],"x":[', '{"a":1},', "1]}"),
    "names": ('{"session_id":"a","messages":[],"x":{', '"%d":[],', '"":1}}'),
    "messages": ("[", '{"role":"u"},', '{"role":"u"}]'),
    "conversations": ("[", '{"mapping":{},"current_node":1},', "1]"),
    "depth": ("", "[", ""),
    "objects in objects": ("", '{"a":', ""),
    "digits": ('[{"role":"user","content":', "9", "}]"),
    "escapes": ('[{"role":"user","content":"', "\\u0000", '"}]'),
}
MOST_TIMES = 60
"""How many times its size a file may take while it is read. The worst are 30: Python's own lists and objects, each for
two or three characters."""
MEASURED = """
import resource, sys
from backchat.importer import sessions_in
data = sys.stdin.buffer.read()
list(sessions_in(b"[{}]", None, 1.0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for one in sessions_in(data, None, 1.0):
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(data))
"""


def bomb(kind: str, size: int = BOMB) -> bytes:
    begin, again, end = BOMBS[kind]
    many = again * (size // len(again)) if "%" not in again else "".join(again % number for number in range(size // 12))
    return (begin + many + end).encode()


@unix
@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_takes_memory_in_proportion_to_its_size(kind: str, figure: Figure) -> None:
    ran = subprocess.run([sys.executable, "-c", MEASURED], input=bomb(kind), capture_output=True, check=True)
    assert float(ran.stdout) < MOST_TIMES, ran.stdout
    figure("G10", "hostile files imported or refused", 1)


async def test_others_are_answered_while_hostile_files_are_read(tmp_path: Path, figure: Figure) -> None:
    async with (
        running(tmp_path) as server,
        httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=PATIENCE * 3) as http,
        client(server.ws()) as one,
    ):
        wide = tree_of({"r": None, **{str(n): "r" for n in range(MANY)}})
        files = [bomb("lists"), bomb("messages", 150_000), *(json.dumps(value).encode() for value in wide)]
        importing = asyncio.gather(*(http.post("/api/import", content=data) for data in files))
        done = 0
        while not importing.done():
            await one.submit(f"/title {done}")
            done += 1
        for answer in await importing:
            assert answer.status_code == 200
        # Else they would have waited for all of it.
        assert done > 2
        figure("G10", "hostile files imported or refused", len(files))
