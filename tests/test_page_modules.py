"""The page's own idea of a session (static/transcript.js), against vectors that every client should agree with.

A vector is a list of notifications and the view that they lead to: `view` null where a client must notice that its view
is torn, `shows` what is shown as being written. vectors/page.json says what the page also forgives; the others hold for
a client that forgives nothing too.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

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
    if (/^(run|session)[.]/.test(method) && next.messages !== view.messages) throw new Error("messages were copied");
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


def in_node(*vectors: list[Json]) -> list[Json]:
    """Where the page's reducer ends up after each list of steps: `{view, shows}`, or `{error}`."""
    assert NODE is not None
    given = {"module": (static_directory() / "transcript.js").read_text(encoding="utf-8"), "vectors": vectors}
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found: list[Json] = json.loads(done.stdout)
    return found


def of_view(view: View) -> Json:
    """A Python client's view in the vectors' words. That a run is live is in `run`; it says so a second time."""
    session = {name: value for name, value in view.session.items() if name != "agent_running"}
    return {**view.facts(), "start": view.start, "session": session}


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
            assert of_page(stayed) == of_page(started) == of_view(fresh.view)


def of_page(found: Json) -> Json:
    """The page's view as `of_view` has it."""
    view: Json = found["view"]
    view["session"].pop("agent_running", None)
    return view
