"""The page's modules that need no page, but for its idea of a session: tests/test_vectors.py has that.

How it reads a typed line (static/slash.js) is held against the server's own parser. How it puts figures
(static/figures.js) is only said here.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest

from backchat.commands import TABLE, WHITE_SPACE, Invocation, PlainMessage, describe, parse
from backchat.completion import typing
from backchat.errors import BadArgument, InvalidParams, UnknownCommand
from backchat.page import static_directory
from backchat.transcript import text_of
from tests.support.client import Json, client
from tests.support.server import Running

NODE = shutil.which("node")
SECONDS = 60

needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node: no program `node` is on the PATH")

# The module is imported from its text, so that it can import nothing and finds no page.
CALLS = """
import { readFileSync } from "node:fs";
const { module, calls } = JSON.parse(readFileSync(0, "utf8"));
const functions = await import("data:text/javascript," + encodeURIComponent(module));
console.log(JSON.stringify(calls.map(([name, ...values]) => functions[name](...values) ?? null)));
"""


def called(module: str, *calls: tuple[Any, ...]) -> list[Any]:
    """What a module's functions return for `(name, *values)`."""
    found: list[Any] = node(CALLS, module, calls=calls)
    return found


def node(script: str, module: str, **given: Any) -> Any:
    """What a script prints, as JSON, when it is given the text of one of the page's modules, and more."""
    assert NODE is not None
    given["module"] = (static_directory() / module).read_text(encoding="utf-8")
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", script],
        input=json.dumps(given),
        env={**os.environ, "LC_ALL": "en_US.UTF-8"},  # figures are put as people put them there
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Lines.

STARTS = ("", " ", "\n", "/", "x", "\u00a0")
NAMES = ("/undo", "/UNDO", "/title", "/queue", "/stop", "/nobody", "/", "/ſtop", "/stop!", "/2", "undo")
GAPS = ("", " ", "\n", "\t\n ", "\u00a0", "\f")
RESTS = ("", "3", "drop", "drop ", "drop 1", "drop 1 ", "one\ntwo", "𝄞 é", "\n")
LINES = sorted({"".join(parts) for parts in itertools.product(STARTS, NAMES, GAPS, RESTS)})
COMMANDS = msgspec.to_builtins(describe())


def command_of(line: str) -> str | None:
    """The name of the command that the server takes a line for, known or not."""
    try:
        parsed = parse(line)
    except (UnknownCommand, BadArgument):
        return line.split()[0].removeprefix("/").lower()
    except InvalidParams:
        return None
    return None if isinstance(parsed, PlainMessage) else parsed.command.name


@needs_node
def test_the_page_takes_a_line_for_the_command_that_the_server_takes_it_for() -> None:
    found = called("slash.js", *(("commandName", line, COMMANDS) for line in LINES))
    assert dict(zip(LINES, found, strict=True)) == {line: command_of(line) for line in LINES}


@needs_node
def test_a_line_means_the_transcript_on_screen_where_its_command_changes_that_and_as_long_as_that_is_unknown() -> None:
    means = called("slash.js", *(("changesTranscript", line, COMMANDS) for line in LINES))
    names = [command_of(line) for line in LINES]
    assert means == [name in TABLE and TABLE[name].changes_transcript for name in names]
    unknown = called("slash.js", *(("changesTranscript", line, []) for line in LINES))
    assert all(early or name is None for early, name in zip(unknown, names, strict=True))
    others = ("hello", "/etc/hosts", "//undo")
    assert called("slash.js", *(("changesTranscript", line, []) for line in others)) == [False] * len(others)


@needs_node
def test_a_line_sent_as_a_message_is_one_to_the_server_with_every_character_of_it() -> None:
    lines = [line for line in LINES if line.strip(WHITE_SPACE) and not line.strip(WHITE_SPACE).startswith("//")]
    sent = called("slash.js", *(("asMessage", line, COMMANDS) for line in lines))
    for line, message in zip(lines, sent, strict=True):
        parsed = parse(message)
        assert isinstance(parsed, PlainMessage)
        assert parsed.text == line.strip(WHITE_SPACE)


@needs_node
def test_the_page_asks_for_values_wherever_the_server_has_some_and_never_for_a_message() -> None:
    found = called("slash.js", *(("argumentTyped", line, COMMANDS) for line in LINES))
    asked = {line for line, typed in zip(LINES, found, strict=True) if typed and typed["argument"]["completes"]}
    assert asked >= {line for line in LINES if has_values(line)}
    assert all(command_of(line) is not None for line in asked)


def has_values(line: str) -> bool:
    """Whether the server has values to choose from for an argument at the end of a line that goes on as a command."""
    typed = typing(line)
    if typed is None or typed.argument is None or command_of(f"{line}x") is None:
        return False
    return bool(typed.argument.values or typed.argument.source or typed.argument.also)


@needs_node
def test_the_page_knows_which_argument_is_being_typed() -> None:
    expected = {
        "/undo": None,
        "/undo ": ["undo", "turns"],
        "/undo 3": ["undo", "turns"],
        "/undo 3 ": None,
        " /Queue ": ["queue", "action"],
        "/queue drop": ["queue", "action"],
        "/queue drop ": ["queue", "number"],
        "/queue drop 1": ["queue", "number"],
        "/title one two ": ["title", "text"],
        "/title\none": ["title", "text"],
        "/stop ": None,
        "/nobody ": None,
        "//undo 3": None,
        "undo 3": None,
    }
    found = called("slash.js", *(("argumentTyped", line, COMMANDS) for line in expected))
    said = [typed and [typed["command"]["name"], typed["argument"]["name"]] for typed in found]
    assert dict(zip(expected, said, strict=True)) == expected


@needs_node
def test_the_page_knows_how_much_of_a_name_is_typed() -> None:
    expected = {"/": "", " /U": "u", "/undo": "undo", "/undo ": None, "//": None, "x/": None, "/é": None, "": None}
    found = called("slash.js", *(("nameTyped", line) for line in expected))
    assert dict(zip(expected, found, strict=True)) == expected


# The list of commands.


def found(typed: str, *recent: str) -> dict[str, list[str]]:
    """The names that are listed for what is typed of one, by group."""
    [groups] = called("fitting.js", ("listed", COMMANDS, typed, recent))
    return {group["group"]: [command["name"] for command in group["commands"]] for group in groups}


@needs_node
def test_with_nothing_typed_every_command_is_listed_once_what_was_used_lately_first() -> None:
    groups = found("", "usage", "retry", "nobody", "title", "new", "undo")
    assert groups.pop("recent") == ["usage", "retry", "title", "new"]
    named = [(group, name) for group, names in groups.items() for name in names]
    recent = ("usage", "retry", "title", "new")
    assert sorted(named) == sorted((one.group, one.name) for one in describe() if one.name not in recent)
    order = [one.name for one in describe()]
    assert all(names == sorted(names, key=order.index) for names in groups.values())


@needs_node
@pytest.mark.parametrize(
    ("typed", "groups"),
    [
        ("u", {"recent": ["usage"], "names": ["undo"]}),
        ("re", {"names": ["retry", "redo", "prev"]}),
        ("do", {"names": ["undo", "redo"]}),
        ("token", {"mentioned": ["usage"]}),
        ("back", {"mentioned": ["retry", "undo", "redo"]}),
        ("title", {"names": ["title"]}),
        ("nobody", {}),
    ],
)
def test_names_that_begin_with_what_is_typed_come_before_those_that_have_it_inside_and_what_only_mentions_it(
    typed: str, groups: dict[str, list[str]]
) -> None:
    assert found(typed, "usage") == groups


@needs_node
def test_a_name_that_is_whole_comes_first() -> None:
    table = [{"name": name, "summary": ""} for name in ("goto", "retitle", "go", "got")]
    [groups] = called("fitting.js", ("listed", table, "go"))
    assert [command["name"] for command in groups[0]["commands"]] == ["go", "goto", "got"]


@needs_node
def test_the_names_used_lately_are_few_and_each_is_there_once() -> None:
    names = [f"c{number}" for number in range(20)]
    [again, many] = called("fitting.js", ("used", ["a", "b"], "b"), ("used", names, "new"))
    assert again == ["b", "a"]
    assert many == ["new", *names[:7]]


# Editing a message.


TEXTS = ("zwei", "3 rivers", "-- 3", "#4 x", "/undo", "//undo", "--", "a\nb", "1", "𝄞")


@needs_node
def test_the_line_of_an_edit_says_to_the_server_what_the_page_means() -> None:
    lines = called("editing.js", *(("editLine", {"id": 12, "text": text}) for text in TEXTS))
    for text, line in zip(TEXTS, lines, strict=True):
        parsed = parse(line)
        assert isinstance(parsed, Invocation)
        assert (parsed.command.name, parsed.values) == ("edit", {"message": 12, "text": text})
    read = called("editing.js", *(("editOf", line) for line in lines))
    assert read == [{"id": 12, "text": text} for text in TEXTS]
    others = ("/edit 12", "/edit 12 ", "/edit -- x", "/edit x", "/edits 1 x", "x /edit 1 x", "/undo 1")
    assert called("editing.js", *(("editOf", line) for line in others)) == [None] * len(others)


@needs_node
def test_what_is_edited_of_a_message_is_its_text_and_the_rest_of_it_stays() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "what?"}
    contents: tuple[Any, ...] = ("plain", [image, text, text], [text], [image], ["loose", {"type": "text"}], {"a": 1})
    messages = [{"id": 7, "content": content} for content in contents]
    edited = called("editing.js", *(("editable", message) for message in messages))
    assert [(one["text"], one["parts"]) for one in edited] == [
        ("plain", 0), ("what? what?", 1), ("what?", 0), ("", 1), ("", 1), ("", 0)
    ]  # fmt: skip
    # As the server reads a text, but for what is none.
    assert [one["text"] for one in edited[:5]] == [text_of(content) for content in contents[:5]]


# Figures.


WORDS = {"input": "in", "output": "out", "cached": "cached", "reasoning": "reasoning", "about": "about"}


@needs_node
@pytest.mark.parametrize(
    ("dollars", "said"),
    [
        (0, "$0.00"),
        (0.0012, "$0.0012"),
        (0.00126, "$0.0013"),
        (0.5, "$0.50"),
        (0.055, "$0.055"),
        (0.0000034, "$0.0000034"),
        (1, "$1.00"),
        (1234.567, "$1,234.57"),
    ],
)
def test_a_sum_of_money_shows_the_figures_that_matter(dollars: float, said: str) -> None:
    assert called("figures.js", ("cost", {"cost": dollars}, WORDS)) == [said]


@needs_node
@pytest.mark.parametrize(
    ("usage", "said"),
    [
        ({"input_tokens": 1204, "output_tokens": 310}, "1,204 in, 310 out"),
        ({"input_tokens": 1204, "cached_tokens": 1024, "output_tokens": 310, "reasoning_tokens": 96},
         "1,204 in (1,024 cached), 310 out (96 reasoning)"),
        ({"output_tokens": 310, "estimated": True}, "about 310 out"),
        ({"input_tokens": 5}, "5 in"),
        ({"input_tokens": 0, "output_tokens": 0}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_tokens_are_said_as_far_as_they_were_counted(usage: Json, said: str | None) -> None:
    assert called("figures.js", ("tokens", usage, WORDS)) == [said]


@needs_node
def test_a_cost_is_about_right_where_tokens_are_and_unsaid_where_it_is_unknown() -> None:
    messages: tuple[Json, ...] = ({"cost": 0.01, "usage": {"estimated": True}}, {"cost": None}, {})
    assert called("figures.js", *(("cost", message, WORDS) for message in messages)) == ["about $0.01", None, None]
    assert called("figures.js", ("tokens", None, WORDS)) == [None]


# HTML.

PARSES: Final = re.compile(
    r"innerHTML|outerHTML\s*=|insertAdjacentHTML|DOMParser|parseFromString|createContextualFragment|setHTML"
    r"|document\.write|srcdoc|createPolicy|\beval\b|new Function"
)
"""What makes more than text of a string."""


def test_only_one_module_of_the_page_makes_nodes_of_html() -> None:
    found = {path.name for path in static_directory().glob("*.js") if PARSES.search(path.read_text(encoding="utf-8"))}
    assert found == {"html.js"}


# What came off.

FOLDED = """
import { readFileSync } from "node:fs";
const { module, frames } = JSON.parse(readFileSync(0, "utf8"));
const { nothingTaken, taken } = await import("data:text/javascript," + encodeURIComponent(module));
let [state, count] = [nothingTaken(), 0];
const lines = [];
for (const frame of frames) {
  const { method, params } = frame;
  if (method) state = taken(state, count, frame);
  else lines.push(state.line);
  if (method === "attached") count = params.start + params.messages.length;
  else if (method === "transcript.spliced") count = (params.start ?? params.keep) + params.messages.length;
}
console.log(JSON.stringify(lines));
"""
"""Prints what the page knows to have come off at each reply among the frames that a client got."""


@needs_node
async def test_the_page_knows_what_each_command_took_off_and_what_comes_back_next(server: Running) -> None:
    lines = (
        "one", "two", "three", "four", "/undo", "/undo 2", "/redo", "/drop 1", "/retry", "/edit again", "/clear",
        "/redo", "/redo 9", "/undo 99", "a new beginning", "/undo", "/title Another", "/goto @3", "/status",
    )  # fmt: skip
    async with client(server.ws()) as one:
        for line in lines:
            await one.submit(line)
            await one.until(lambda: one.view.run is None)
        frames, session_id, steps = one.seen, one.session_id, one.view.session["redo_steps"]
    replies = [frame["result"] for frame in frames if "method" not in frame]
    expected: list[Json | None] = []
    for reply, known in zip(replies, node(FOLDED, "taken.js", frames=frames), strict=True):
        command = reply.get("command")
        if command in ("undo", "drop", "retry", "edit", "clear"):
            # The page leaves the question that is asked again where it is.
            expected.append({"command": command, "count": reply["data"]["removed_count"] - (command == "retry")})
        assert known == expected[: len(known)]
        expected = known
    assert len(expected) == steps > 0
    # Who comes later was not there, but is told how many steps there are.
    async with client(server.ws(session_id)) as late:
        await late.submit("/status")
        assert node(FOLDED, "taken.js", frames=late.seen) == [[None] * steps]


# What is asked for to be rendered.

ASKED = """
import { readFileSync } from "node:fs";
const { module, size, most } = JSON.parse(readFileSync(0, "utf8"));
const { Renderings } = await import("data:text/javascript," + encodeURIComponent(module));
const asked = [];
let settled = 0;
// A server that has no time for more than a few at once, and never knows 13.
const ask = async ({ messages }) => {
  asked.push(messages);
  if (messages[0] === 13) throw new Error("no_such_message");
  return { messages: messages.slice(0, most).map((id) => ({ id, html: [String(id).padEnd(size), null] })) };
};
const renderings = new Renderings(ask, () => settled++);
const until = async (count) => { while (settled < count) await new Promise((go) => setTimeout(go)); };
renderings.about("L");
renderings.want([5, 6, 7]);
renderings.want([8, 5, 9]); // 8 and 9 matter now; 5 is on its way
await until(3);
const first = asked.splice(0);
renderings.want([13]);
await until(4);
renderings.want([13, 5]);
renderings.open();
renderings.want([13]);
await until(5);
const second = asked.splice(0);
renderings.about("M");
const other = renderings.of(5) ?? null;
renderings.about("L");
console.log(JSON.stringify({ first, second, other, kept: [5, 6, 7, 8, 9].filter((id) => renderings.of(id)) }));
"""


@needs_node
def test_what_is_rendered_is_asked_for_once_and_kept_by_the_log_it_belongs_to_as_long_as_there_is_room() -> None:
    said = node(ASKED, "rendered.js", size=10, most=2)
    assert said == {
        # The rest of an answer that was cut short matters as much as what came first.
        "first": [[5, 6, 7], [7, 8, 9], [9]],
        # What could not be had is not asked for again before there is a new connection.
        "second": [[13], [13]],
        "other": None,
        "kept": [5, 6, 7, 8, 9],
    }
    assert node(ASKED, "rendered.js", size=3_000_000, most=2)["kept"] == [8, 9]


# The days of the list.

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 30, 0, 30, tzinfo=BERLIN)  # the night before was an hour shorter


@needs_node
@pytest.mark.parametrize(
    ("at", "group"),
    [
        (datetime(2027, 1, 1, tzinfo=BERLIN), "today"),
        (datetime(2026, 3, 30, 0, 0, tzinfo=BERLIN), "today"),
        (datetime(2026, 3, 29, 23, 59, tzinfo=BERLIN), "yesterday"),
        (datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN), "yesterday"),
        (datetime(2026, 3, 28, 23, 59, tzinfo=BERLIN), "week"),
        (datetime(2026, 3, 23, 0, 0, tzinfo=BERLIN), "week"),
        (datetime(2026, 3, 22, 23, 59, tzinfo=BERLIN), "month"),
        (datetime(2026, 2, 28, 0, 0, tzinfo=BERLIN), "month"),
        (datetime(2026, 2, 27, 23, 59, tzinfo=BERLIN), "2026-02"),
        (datetime(2025, 12, 31, 23, 59, tzinfo=BERLIN), "2025-12"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value:%m-%d %H:%M}",
)
def test_a_session_stands_under_the_day_of_its_last_change_by_the_readers_own_clock(
    monkeypatch: pytest.MonkeyPatch, at: datetime, group: str
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    (groups,) = called("days.js", ("byDay", [{"updated_at": at.timestamp()}], NOW.timestamp() * 1000))
    assert [one["key"] for one in groups] == [group]


# What was searched for.


@needs_node
@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("From Brest to Falmouth", "brest fal", ["Brest", "Falmouth"]),
        ("From Brest to Falmouth", "fal brest", ["Brest"]),  # only the last word may be unfinished
        ("Élan and elan, ELANS", "élan", ["Élan", "elan", "ELANS"]),
        ("un e\u0301lan", "elan", ["e\u0301lan"]),
        ("a.b (c) *", "b*", ["b"]),
        ("什么 на Привет", "приве", ["Привет"]),
        ("anything", "", []),
        ("anything", '"*"', []),
        ("", "x", []),
    ],
)
def test_the_words_that_were_searched_for_are_marked(text: str, query: str, marked: list[str]) -> None:
    (pieces,) = called("marking.js", ("marked", text, query))
    assert [piece["text"] for piece in pieces if piece["hit"]] == marked
    assert "".join(piece["text"] for piece in pieces) == text


# What was not sent.

HOUR = 3_600_000


@needs_node
def test_what_was_written_long_ago_is_asked_about_before_it_is_sent() -> None:
    line = {"text": "x", "typed": True, "sent": False}
    fresh, old = {**line, "op_id": "f", "at": HOUR}, {**line, "op_id": "o", "at": 0}
    button = {**old, "op_id": "b", "typed": False}
    unknown = {"op_id": "u", "text": "x", "typed": True}
    ((now),) = called("unsent.js", ("connected", [old, button, fresh, unknown], 2 * HOUR - 1))
    assert now["send"] == [{**fresh, "sent": True}]
    assert now["pending"] == [{**old, "held": True}, {**fresh, "sent": True}, {**unknown, "held": True}]
    # It stays asked about until somebody answers.
    (later,) = called("unsent.js", ("connected", now["pending"], 0))
    assert [one["op_id"] for one in later["send"]] == ["f"]
    (released,) = called("unsent.js", ("released", now["pending"], "o", 2 * HOUR, False))
    (again,) = called("unsent.js", ("connected", released, 2 * HOUR - 1))
    assert [one["op_id"] for one in again["send"]] == ["o", "f"]


@needs_node
def test_only_what_never_left_or_is_asked_about_can_be_taken_back() -> None:
    lines = ({"sent": False}, {"sent": True}, {"sent": True, "held": True}, {"sent": True, "held": False})
    assert called("unsent.js", *(("canTakeBack", line) for line in lines)) == [True, False, True, False]
