"""The vectors that every client should agree with: tests/vectors/*.json.

A vector is a list of notifications (`steps`) and the `view` that they lead to: null where a client must notice that its
view is torn; `shows` is what is shown as being written. vectors/page.json says what the page also forgives; the others
hold for a client that forgives nothing too. Those in vectors/log.json begin with a `log`, its events as the store has
them with the messages that each added: the steps are what a client is told that attached at the revision of the first
step.

Python's client is tests/support/client.py. The page's (static/transcript.js) is held against the same files by Node's
own test runner, see vectors/transcript.test.mjs.
"""

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backchat.frames import bare_notification, notifications, session_fields
from backchat.page import static_directory
from backchat.transcript import (
    EVENT_TYPES,
    Added,
    Cause,
    Event,
    Message,
    Step,
    Tree,
    content_size,
    fold,
    shown,
)
from backchat.views import Offer
from tests.support.client import Json, View, client
from tests.support.server import Running

VECTORS = Path(__file__).parent / "vectors"
IN_NODE = VECTORS / "transcript.test.mjs"
FORGIVING = "page"
NODE = shutil.which("node")
SECONDS = 60
OFFER = Offer(replies=True)

needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node: no program `node` is on the PATH")


def files() -> dict[str, list[Json]]:
    """All vectors, by the name of their file."""
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(VECTORS.glob("*.json"))}
    assert {"log", FORGIVING} < set(found)
    return found


def parameters(*names: str) -> list[Any]:
    """The vectors of these files."""
    return [pytest.param(vector, id=f"{name}: {vector['does']}") for name in names for vector in files()[name]]


def of_view(view: View) -> Json:
    """A Python client's view in the vectors' words. That a run is live is in `run`; it says so a second time."""
    session = {name: value for name, value in view.session.items() if name != "agent_running"}
    return {**view.facts(), "log": view.log, "start": view.start, "session": session, "presence": view.presence}


# In Python.


def agrees(vector: Json) -> None:
    """Fails unless a client that forgives nothing ends up with the view."""
    view = View()
    for step in copy.deepcopy(vector["steps"]):
        view.apply(step["method"], step["params"])
    assert of_view(view) == vector["view"]


def follows(vector: Json) -> None:
    """Fails unless the steps, and the view, are what follows from the log."""
    tree, history = loaded(vector["log"])
    attached, *told = vector["steps"]
    assert attached["method"] == "attached"
    params = attached["params"]
    at = history[params["revision"] - 1].after
    head = tree[at.head]
    assert params["start"] == head.tail_start()
    assert params["messages"] == plain(shown(tree, head, at.last_message, params["start"]))
    fields = plain(session_fields("s", at, OFFER, tree, running=False))
    assert params["session"].items() <= fields.items()
    sent = [
        json.loads(bytes(bare_notification(notification)))
        for step in history[at.revision :]
        for notification in notifications(step.event, step.before, step.after, OFFER, tree)
    ]
    assert told == sent
    end = history[-1].after
    assert vector["view"]["messages"] == plain(shown(tree, tree[end.head], end.last_message))
    assert vector["view"]["session"].items() <= plain(session_fields("s", end, OFFER, tree, running=False)).items()


def loaded(log: list[Json]) -> tuple[Tree, list[Step]]:
    """A session as the store loads it."""
    tree = Tree()
    for row in log:
        for added in row.get("added", ()):
            message = msgspec.convert(added["message"], Message)
            tree.add(Added(message, added["parent"], content_size(message)))
    return tree, list(fold(map(event, log), tree))


def event(row: Json) -> Event:
    """An event as the store has it."""
    body = msgspec.convert(row["body"], EVENT_TYPES[row["type"], row["v"]])
    cause = Cause(row.get("op_id"), row.get("command"), row.get("connection"), row.get("name"))
    return Event(row["revision"], row["at"], row["head"], body, cause)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return json.loads(msgspec.json.encode(value))


@pytest.mark.parametrize("vector", parameters(*(name for name in files() if name != FORGIVING)))
def test_a_client_that_forgives_nothing_ends_up_where_the_vector_says(vector: Json) -> None:
    agrees(vector)


@pytest.mark.parametrize("vector", parameters("log"))
def test_what_clients_are_told_follows_from_the_log(vector: Json) -> None:
    follows(vector)


def test_the_logs_have_every_event_that_changes_the_transcript() -> None:
    types = {(row["type"], row["v"]) for vector in files()["log"] for row in vector["log"]}
    assert types >= set(EVENT_TYPES) - {("model_chosen", 1), ("queue_resumed", 1), ("opened", 1)}


# In Node.


def in_node(directory: Path, vectors: dict[str, list[Json]]) -> tuple[int, int, str]:
    """How many vectors hold for the page and how many do not, and what Node says of them."""
    assert NODE is not None
    beside = directory / "tests" / "vectors"
    beside.mkdir(parents=True)
    for name, found in vectors.items():
        (beside / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    shutil.copy(IN_NODE, beside)
    (directory / "static").mkdir()
    shutil.copy(static_directory() / "transcript.js", directory / "static")
    done = subprocess.run(
        [NODE, "--test", "--test-reporter", "tap", str(beside / IN_NODE.name)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=SECONDS,
    )
    counts = dict(re.findall(r"^# (pass|fail) (\d+)$", done.stdout, re.MULTILINE))
    assert counts, done.stdout + done.stderr
    assert (done.returncode == 0) == (counts["fail"] == "0")
    return int(counts["pass"]), int(counts["fail"]), done.stdout


@needs_node
def test_the_page_ends_up_where_every_vector_says(tmp_path: Path) -> None:
    held, failed, said = in_node(tmp_path, files())
    assert failed == 0, said
    assert held == sum(map(len, files().values()))


@needs_node
async def test_the_page_sees_a_real_session_as_it_is(server: Running, tmp_path: Path) -> None:
    lines = (
        "one 𝄞 two", "/undo", "/redo", "héllo 👩‍👩‍👧‍👦", "/retry", "/prev", "again",
        "/edit 3 hallo", "/drop 1", "and again", "/pick 3 1", "/undo 2",
    )  # fmt: skip
    async with client(server.ws()) as one:
        for line in lines:
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
            view = {**of_view(fresh.view), "session": fresh.view.session}
            assert view["messages"]
            # Each was told who is there when it came, and that was not at the same time.
            vectors: list[Json] = [
                {"does": does, "steps": steps, "view": {**view, "presence": one.attached["presence"]}}
                for does, steps, one in (
                    ("stays and comes back", seen + back.seen, back),
                    ("comes late", fresh.seen, fresh),
                )
            ]
            held, _, said = in_node(tmp_path, {"real": vectors})
            assert held == len(vectors), said


# The vectors can fail.


def spoiled(vector: Json) -> list[Json]:
    """The vector with something wrong about it, in several ways."""
    ways = []

    def way(**changed: Any) -> None:
        ways.append({**vector, **changed})

    view = vector["view"]
    if view is None:
        return [{**vector, "view": {"revision": 1}}]
    way(view={**view, "revision": view["revision"] + 1})
    way(view={**view, "session": {**view["session"], "title": "spoiled"}})
    way(view={**view, "messages": [*view["messages"], {"id": 99}]})
    if view["messages"]:
        way(view={**view, "messages": view["messages"][:-1]})
        way(view={**view, "messages": [*view["messages"][:-1], {**view["messages"][-1], "content": "spoiled"}]})
    return ways


def test_every_vector_that_is_spoiled_fails_in_python() -> None:
    for name, vectors in files().items():
        for vector in vectors if name != FORGIVING else []:
            agrees(vector)
            for wrong in spoiled(vector):
                with pytest.raises(AssertionError):
                    agrees(wrong)


@needs_node
def test_every_vector_that_is_spoiled_fails_in_node(tmp_path: Path) -> None:
    wrong = {name: [one for vector in vectors for one in spoiled(vector)] for name, vectors in files().items()}
    held, failed, said = in_node(tmp_path, wrong)
    assert (held, failed) == (0, sum(map(len, wrong.values()))), said


@pytest.mark.parametrize("vector", parameters("log"))
def test_a_log_that_is_spoiled_fails(vector: Json) -> None:
    *_, last = vector["log"]
    written = next(added for row in reversed(vector["log"]) for added in reversed(row.get("added", [])))
    ways: list[Json] = [
        {"log": vector["log"][:-1]},
        {"steps": vector["steps"][:-1]},
        {"log": [*vector["log"][:-1], {**last, "op_id": "spoiled"}]},
        {"log": [*vector["log"][:-1], {**last, "head": 0 if last["head"] else 1}]},
        {"log": json.loads(json.dumps(vector["log"]).replace(json.dumps(written["message"]["content"]), '"spoiled"'))},
    ]
    for changed in ways:
        with pytest.raises(AssertionError):
            follows({**vector, **changed})
