"""What the page knows of the list of sessions (static/catalog.js), held against a server that lists them.

The list is read page by page, while sessions are made, changed, deleted and restored: between any two requests, and
with what is told of it arriving at once or only later.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.page import static_directory
from tests.support.client import Json
from tests.test_page_modules import NODE, called, needs_node

SIZE = 3
"""Sessions in a page."""

# A line is a list of steps, [name, ...values]; the first value of each function is the catalog that the steps before
# led to. All the catalogs are the answer.
FOLDED = """
import { createInterface } from "node:readline";
const catalog = await import(process.argv[1]);
const fold = (states, [name, ...values]) => [...states, catalog[name](states.at(-1), ...values)];
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(JSON.parse(line).reduce(fold, [catalog.emptyCatalog()]).slice(1)));
}
"""


class Folds:
    """Folds steps, in one program for many examples."""

    def __init__(self) -> None:
        assert NODE is not None
        module = f"data:text/javascript,{quote((static_directory() / 'catalog.js').read_text(encoding='utf-8'))}"
        command = [NODE, "--input-type=module", "--eval", FOLDED, "--", module]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *steps: Sequence[Any]) -> list[Json]:
        """The catalog after each step."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(steps) + "\n")
        self.process.stdin.flush()
        states: list[Json] = json.loads(self.process.stdout.readline())
        return states


@pytest.fixture(scope="module")
def folds() -> Iterator[Folds]:
    folds = Folds()
    with folds.process:
        yield folds
        folds.process.kill()


def place(summary: Json) -> tuple[float, str]:
    return summary["updated_at"], summary["session_id"]


class Listed:
    """The server's side: its sessions, and what it has not told yet."""

    def __init__(self) -> None:
        self.sessions: dict[str, Json] = {}
        self.gone: dict[str, Json] = {}
        self.untold: set[str] = set()
        self.now = 0

    def changes(self, number: int) -> None:
        """A session is made; or one that there is is changed, deleted, or restored as it was."""
        session_id = f"s{number % 5}"
        self.untold.add(session_id)
        if session_id in self.sessions and number >= 10:
            self.gone[session_id] = self.sessions.pop(session_id)
        elif session_id in self.gone:
            self.sessions[session_id] = self.gone.pop(session_id)
        else:
            # Two events may bear the same time.
            self.now += number % 2
            self.sessions[session_id] = {"session_id": session_id, "updated_at": self.now, "title": f"title {number}"}

    def tells(self) -> Json:
        """What has changed since this was asked last."""
        changed, self.untold = self.untold, set()
        return {
            "sessions": [self.sessions[one] for one in sorted(changed) if one in self.sessions],
            "deleted": [one for one in sorted(changed) if one not in self.sessions],
        }

    def all(self) -> list[Json]:
        """In the order of the list."""
        return sorted(self.sessions.values(), key=place, reverse=True)

    def page(self, after: list[Any] | None) -> Json:
        """The page of the list after a place."""
        rest = [one for one in self.all() if after is None or place(one) < (after[0], after[1])]
        return {"sessions": rest[:SIZE], "next": list(place(rest[SIZE - 1])) if len(rest) > SIZE else None}


@needs_node
@settings(deadline=None)
@given(data=st.data())
def test_the_page_knows_the_list_down_to_where_it_has_read_it_once_all_is_told(
    folds: Folds, data: st.DataObject
) -> None:
    server, steps, expected = Listed(), [], []
    cursor: list[Any] | None = None
    numbers = st.lists(st.integers(0, 14), max_size=4)

    def goes_on() -> list[Json]:
        """Something happens; some of it is told."""
        told = []
        for number in data.draw(numbers):
            server.changes(number)
            if data.draw(st.booleans()):
                told.append(server.tells())
        return told

    def knows(step: list[Any]) -> None:
        steps.append(step)
        known = [one for one in server.all() if cursor is None or place(one) >= (cursor[0], cursor[1])]
        expected.append(known if not server.untold else None)

    for _ in range(data.draw(st.integers(1, 6))):
        if not steps or data.draw(st.booleans()):
            pages: list[Json] = []
            changes = goes_on()
            while not pages or (pages[-1]["next"] and data.draw(st.booleans())):
                pages.append(server.page(pages[-1]["next"] if pages else None))
                changes += goes_on()
            cursor = pages[-1]["next"]
            knows(["readAnew", pages, [*changes, server.tells()]])
        elif cursor is not None:
            page = server.page(cursor)
            told, cursor = [*goes_on(), server.tells()], page["next"]
            steps.append(["readOn", page])
            expected.append(None)
            for change in told[:-1]:
                steps.append(["told", change])
                expected.append(None)
            knows(["told", told[-1]])
        for change in goes_on():
            steps.append(["told", change])
            expected.append(None)
        knows(["told", server.tells()])
    for state, known in zip(folds(*steps), expected, strict=True):
        if known is not None:
            assert state["sessions"] == known


def hit(session_id: str, **fields: Any) -> Json:
    return {"session_id": session_id, "updated_at": 1, "title": session_id, **fields}


@needs_node
def test_what_was_found_keeps_its_place_shows_new_titles_and_goes_when_it_is_deleted(folds: Folds) -> None:
    match = {"message_id": 2, "before": "", "match": "x", "after": ""}
    steps: list[Any] = [
        ["searched", "x"],
        ["searched", "x", [hit("a", match=match), hit("b", match=None), hit("c", match=None)]],
        ["told", {"sessions": [hit("c", title="new", updated_at=9), hit("d")], "deleted": ["b"]}],
        ["searched", "xy"],
        ["readAnew", [{"sessions": [hit("d")], "next": None}]],
        ["searched", ""],
    ]
    found = [state["found"] for state in folds(*steps)]
    assert found[0] == {"query": "x", "sessions": None}
    left = [hit("a", match=match), hit("c", title="new", updated_at=9, match=None)]
    assert found[2] == {"query": "x", "sessions": left}
    # What is shown stays until the answer to the new question is here.
    assert found[3] == found[4] == {"query": "xy", "sessions": left}
    assert found[5] is None


@needs_node
def test_the_open_session_is_listed_as_the_page_knows_it_wherever_it_belongs_or_apart() -> None:
    sessions = [hit("c", updated_at=3), hit("a", updated_at=1)]
    opened = {"session_id": "b", "updated_at": 2, "title": "open"}
    whole = {"sessions": sessions, "floor": None}
    partly = {"sessions": sessions, "floor": sessions[1]}
    older = {"session_id": "z", "updated_at": 0, "title": "old"}
    assert called(
        "catalog.js",
        ("withOpen", whole, opened),
        ("withOpen", whole, {"session_id": "a", "updated_at": 4}),
        ("withOpen", whole, False),
        ("withOpen", whole, older),
        ("withOpen", partly, older),
        ("withOpen", partly, opened),
    ) == [
        {"sessions": [sessions[0], opened, sessions[1]], "apart": None},
        {"sessions": [hit("a", updated_at=4), sessions[0]], "apart": None},
        {"sessions": sessions, "apart": None},
        {"sessions": [*sessions, older], "apart": None},
        {"sessions": sessions, "apart": older},
        {"sessions": [sessions[0], opened, sessions[1]], "apart": None},
    ]


@needs_node
def test_beside_a_session_stands_the_next_one_or_the_last() -> None:
    sessions = [hit("a"), hit("b")]
    assert called("catalog.js", *(("neighbour", sessions, one) for one in ("a", "b", "x"))) == ["b", "a", "a"]
    assert called("catalog.js", ("neighbour", [hit("a")], "a")) == [None]
