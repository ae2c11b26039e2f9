"""The page's modules that need no page.

Its idea of a session (static/transcript.js) is held against vectors that every client should agree with. A vector is a
list of notifications and the view that they lead to: `view` null where a client must notice that its view is torn,
`shows` what is shown as being written. vectors/page.json says what the page also forgives; the others hold for a client
that forgives nothing too.

How it reads a typed line (static/slash.js) is held against the server's own parser. How it puts figures
(static/figures.js) is only said here.
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backchat.commands import PlainMessage, describe, parse
from backchat.completion import typing
from backchat.errors import BadArgument, InvalidParams, UnknownCommand
from backchat.page import static_directory
from tests.support.client import Json, View, client
from tests.support.server import Running

VECTORS = Path(__file__).parent / "vectors"
FORGIVING = "page"
NODE = shutil.which("node")
SECONDS = 60

needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node: no program `node` is on the PATH")

# The module is imported from its text, so that it can import nothing and finds no page. Every view is frozen before it
# is handed on: a reducer that changed what it was given would throw.
SCRIPT = """
import { readFileSync } from "node:fs";
const { module, vectors } = JSON.parse(readFileSync(0, "utf8"));
const { emptyView, apply, prepend, liveRun } = await import("data:text/javascript," + encodeURIComponent(module));
const frozen = (value) => {
  if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(frozen);
  return value;
};
const run = (steps) => {
  let view = frozen(emptyView());
  for (const { method, params, page } of steps) {
    const next = frozen(page ? prepend(view, page) : apply(view, method, frozen(params)));
    const meant = page || /^(transcript[.]|attached$)/.test(method);
    if (!meant && next.messages !== view.messages) throw new Error("messages were copied");
    view = next;
  }
  return { view, shows: liveRun(view) };
};
console.log(JSON.stringify(vectors.map((steps) => {
  try { return run(steps); } catch (error) { return { error: String(error) }; }
})));
"""


def vectors(*names: str) -> list[Any]:
    """The vectors of these files, or of all."""
    files = sorted(VECTORS.glob("*.json"))
    assert len(files) > 1
    return [
        pytest.param(vector, id=f"{file.stem}: {vector['does']}")
        for file in files
        if not names or file.stem in names
        for vector in json.loads(file.read_text(encoding="utf-8"))
    ]


CALLS = """
import { readFileSync } from "node:fs";
const { module, calls } = JSON.parse(readFileSync(0, "utf8"));
const functions = await import("data:text/javascript," + encodeURIComponent(module));
console.log(JSON.stringify(calls.map(([name, ...values]) => functions[name](...values) ?? null)));
"""


def in_node(*vectors: list[Json]) -> list[Json]:
    """Where the page's reducer ends up after each list of steps: `{view, shows}`, or `{error}`."""
    found: list[Json] = node(SCRIPT, "transcript.js", vectors=vectors)
    return found


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


def of_view(view: View) -> Json:
    """A Python client's view in the vectors' words. That a run is live is in `run`; it says so a second time."""
    session = {name: value for name, value in view.session.items() if name != "agent_running"}
    run = view.run and {
        "run_id": view.run["run_id"],
        "text": view.run["text"],
        "reasoning": view.run.get("reasoning", ""),
    }
    return {
        **view.facts(),
        "log": view.log,
        "presence": view.presence,
        "start": view.start,
        "session": session,
        "run": run,
    }


@pytest.fixture(scope="module")
def in_page() -> dict[str, Json]:
    """What the page makes of every vector, by what the vector does. All in one process: starting it is what takes
    time."""
    given = [param.values[0] for param in vectors()]
    return dict(zip((vector["does"] for vector in given), in_node(*(v["steps"] for v in given)), strict=True))


@needs_node
@pytest.mark.parametrize("vector", vectors())
def test_the_page_ends_up_where_the_vector_says(vector: Json, in_page: dict[str, Json]) -> None:
    found = in_page[vector["does"]]
    if vector["view"] is None:
        assert "error" in found
        return
    assert found.get("error") is None
    assert found["view"] == vector["view"]
    if "shows" in vector:
        assert found["shows"] == vector["shows"]


@pytest.mark.parametrize("vector", [v for v in vectors() if not str(v.id).startswith(FORGIVING)])
def test_a_client_that_forgives_nothing_ends_up_there_too(vector: Json) -> None:
    view = View()
    for step in vector["steps"]:
        view.apply(step["method"], step["params"])
    assert of_view(view) == vector["view"]


@needs_node
async def test_the_page_sees_a_real_session_as_it_is(server: Running) -> None:
    async with client(server.ws()) as one:
        for line in ("one 𝄞 two", "/undo", "héllo 👩‍👩‍👧‍👦", "/retry", "again", "and again", "/undo 2"):
            await one.submit(line)
            await one.until(lambda: one.view.run is None)
        seen = [frame for frame in one.seen if "method" in frame]
        revision, log, session_id = one.view.revision, one.view.log, one.session_id
    async with client(server.ws(session_id)) as other:
        await other.say("meanwhile")
        await other.submit("/retry")
        await other.until(lambda: other.view.run is None)
    async with client(server.ws(session_id, f"after={revision}&log={log}"), one.view) as back:
        assert "events" in back.attached
        async with client(server.ws(session_id)) as fresh:
            (stayed, started) = in_node(seen + back.seen, fresh.seen)
            assert stayed["view"]["messages"] == fresh.view.messages
            # Each was told who is there when it came, and that was not at the same time.
            told = [attached["presence"] for attached in (back.attached, fresh.attached)]
            assert [found["view"].pop("presence") for found in (stayed, started)] == told
            shown = of_view(fresh.view)
            del shown["presence"]
            assert of_page(stayed) == of_page(started) == shown


def of_page(found: Json) -> Json:
    """The page's view as `of_view` has it."""
    view: Json = found["view"]
    view["session"].pop("agent_running", None)
    return view


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


# Figures.


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
    assert called("figures.js", ("cost", {"cost": dollars})) == [said]


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
    assert called("figures.js", ("tokens", usage)) == [said]


@needs_node
def test_a_cost_is_about_right_where_tokens_are_and_unsaid_where_it_is_unknown() -> None:
    messages: tuple[Json, ...] = ({"cost": 0.01, "usage": {"estimated": True}}, {"cost": None}, {})
    assert called("figures.js", *(("cost", message) for message in messages)) == ["about $0.01", None, None]
    assert called("figures.js", ("tokens",)) == [None]
