"""Whatever anybody does to a session, every client shows the same as one that comes anew, and that is what a naive
model of the session says; the log folds to it (G2 to G4).

What fails is printed as a program that does it again.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct

from backchat import ops, sessions, transcript
from backchat.frames import SubmitParams, Who
from backchat.transcript import Event, State, Submitted, Tree, apply
from tests.support.client import Json
from tests.support.figures import Figure
from tests.support.machine import SESSION, Reader, World, plain_message, plain_session
from tests.support.plain import Plain, Refusal

RESUMABLE = 12
TAIL = 8
"""The server's bounds, so low that they are met."""
EXAMPLES = 60
STEPS = 50

Line = tuple[str, int, int, int, str]
"""A line as it is drawn: its kind, two numbers, who sends it, and which `if_revision` goes with it."""

SAY = ("say", "say parts", "say //")
TAKE = ("/undo", "/redo", "/retry", "/clear", "/edit", "/drop")
CHOOSE = ("/prev", "/next", "/pick", "/goto", "/goto @")
WAIT = ("/stop", "/queue", "/queue drop", "/queue go")
OTHER = ("/branch", "/new", "/log", "/title", "/model", "/system", "/status", "again", "other body")


class Request(Struct):
    """A line or the parts of a message, and what they mean."""

    said: str | list[Json]
    do: Callable[[Plain], Json]
    op_id: str | None = None
    if_revision: int | None = None

    @property
    def params(self) -> SubmitParams:
        line = self.said if isinstance(self.said, str) else None
        parts = None if isinstance(self.said, str) else self.said
        return SubmitParams(text=line, content=parts, op_id=self.op_id, if_revision=self.if_revision)

    def expected(self, plain: Plain) -> Json:
        """What the reply must have. Does it to the model."""
        try:
            return {"result": plain.request(json.dumps(self.said), self.do, self.op_id, self.if_revision)}
        except Refusal as refusal:
            return {"error": {"data": {"code": refusal.code}}}


def meant(kind: str, plain: Plain, a: int, b: int, text: str) -> Request:
    """A request of a kind. `a` and `b` are its numbers: they go round, so that most of what they name is there; 0
    leaves out what can be left out."""
    message = a % (len(plain.messages) + 2)
    match kind:
        case "say":
            return Request(text, lambda one: one.say(text))
        case "say //":
            return Request("//undo", lambda one: one.say("/undo"))
        case "say parts":
            parts: list[Json] = [{"type": "text", "text": text}, {"type": "image", "url": "x"}][: 1 + b % 2]
            return Request(parts, lambda one: one.say(parts))
        case "/undo":
            return Request(f"/undo {b or ''}", lambda one: one.undo(b or 1))
        case "/redo":
            return Request(f"/redo {b or ''}", lambda one: one.redone(b or None))
        case "/retry":
            return Request("/retry", Plain.retry)
        case "/clear":
            return Request("/clear", Plain.clear)
        case "/edit":
            return Request(
                f"/edit {('', message, f'#{message}')[b % 3] if message else '--'} {text}",
                lambda one: one.edit(text, message if message and b % 3 else None),
            )
        case "/prev" | "/next":
            return Request(kind, lambda one: one.beside(-1 if kind == "/prev" else 1))
        case "/pick":
            return Request(f"/pick {message or 1} {b or ''}", lambda one: one.pick(message or 1, b or None))
        case "/goto":
            return Request(f"/goto {message or 1}", lambda one: one.goto(message or 1))
        case "/goto @":
            revision = 1 + (a * 4 + b) % (plain.revision + 1)
            return Request(f"/goto @{revision}", lambda one: one.goto_revision(revision))
        case "/drop":
            return Request(f"/drop {b or 1}", lambda one: one.drop(b or 1))
        case "/branch":
            return Request(f"/branch {message or ''}", lambda one: one.branch(message or None))
        case "/stop":
            return Request("/stop", Plain.stop)
        case "/queue drop":
            return Request(f"/queue drop {b or ''}", lambda one: one.queue_drop(b or None))
        case "/queue go":
            return Request("/queue go", Plain.queue_go)
        case "/title" | "/model" | "/system":
            return Request(f"{kind} {text}", Plain.note)
        case "/new":
            return Request("/new", Plain.note)
        case "/queue":
            return Request("/queue", Plain.look)
        case "/log":
            return Request(f"/log {b or ''}", Plain.look)
        case _:
            return Request("/status", Plain.look)


clients = st.integers(0, 2)


def lines(*kinds: str) -> st.SearchStrategy[Line]:
    """Lines of these kinds."""
    careful = st.sampled_from(["any", "any", "any", "now", "old"])
    return st.tuples(st.sampled_from(kinds), st.integers(0, 40), st.integers(0, 3), clients, careful)


class Machine(RuleBasedStateMachine):
    """Three clients, a run that is written by hand, and a server that goes down at times."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="backchat-")
        self.runner = asyncio.Runner()
        self.world = self.wait(self._opened())
        self.readers = [Reader(name) for name in ("one", "two", "three")]
        self.plain = Plain([], [])
        self.sent: list[Request] = []
        self.texts = 0
        self.restarted = 0
        """The revision at which the server began anew."""

    async def _opened(self) -> World:
        return World(Path(self.directory.name))

    @property
    def present(self) -> list[Reader]:
        """Who is connected."""
        return [reader for reader in self.readers if reader.who is not None]

    @property
    def absent(self) -> list[Reader]:
        return [reader for reader in self.readers if reader.who is None]

    def wait(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(what)

    def teardown(self) -> None:
        try:
            self.wait(self._closed())
        finally:
            self.runner.close()
            self.directory.cleanup()

    async def _closed(self) -> None:
        for reader in self.present:
            await reader.leave()
        await self.world.close()

    @initialize(
        tree=st.lists(
            st.tuples(st.sampled_from(["user", "assistant", "user", "system"]), st.sampled_from([0, 0, 0, 1, 2])),
            max_size=12,
        ),
        off=st.integers(0, 3),
    )
    def begin(self, tree: list[tuple[str, int]], off: int) -> None:
        """A session with a tree as an import brings it. The head is `off` places before the last message."""
        messages = [
            {"id": number, "parent": max(0, number - 1 - back), "role": role, "content": f"i{number}"}
            for number, (role, back) in enumerate(tree, start=1)
        ]
        self.plain = Plain(messages, [])
        self.plain.screens = [self.plain.path(max(0, len(messages) - off))]
        self.wait(self.world.begin(messages, self.plain.screen))
        self.wait(self.readers[0].attach(self.world.sessions, None))

    # What people do.

    @rule(line=lines(*SAY), answer=st.sampled_from(["", "yes", "yes"]))
    def say(self, line: Line, answer: str) -> None:
        """A message, and perhaps the reply to it, or to an earlier one."""
        self._send([line])
        if answer and self.plain.run:
            self.write(answer, False, False)
            self.end(False)

    @rule(line=lines(*TAKE))
    def take(self, line: Line) -> None:
        self._send([line])

    @rule(line=lines(*CHOOSE))
    def choose(self, line: Line) -> None:
        self._send([line])

    @rule(line=lines(*WAIT, *OTHER))
    def do_something_else(self, line: Line) -> None:
        self._send([line])

    @rule(
        lines=st.lists(lines(*SAY, *TAKE, *TAKE, *CHOOSE, *WAIT, *OTHER), min_size=2, max_size=4),
        leaves=st.sets(clients),
    )
    def send_together(self, lines: list[Line], leaves: set[int]) -> None:
        """Some lines, one right after the other. Some clients lose the connection before they are answered."""
        self._send(lines, leaves)

    def _send(self, lines: list[Line], leaves: Iterable[int] = ()) -> None:
        requests: list[tuple[SubmitParams, Who]] = []
        expected: list[tuple[str | list[Json], Json]] = []
        for kind, a, b, who, careful in lines:
            reader = self.readers[who]
            request = self._request(kind, a, b, reader, careful)
            requests.append((request.params, reader.sender))
            expected.append((request.said, request.expected(self.plain)))
        leaving = [self.readers[who] for who in leaves if self.readers[who] in self.present]
        replies = self.wait(self.world.submit(requests, leaving))
        for reply, (said, must) in zip(replies, expected, strict=True):
            assert has(reply, must), f"{said!r} was answered with {reply}, not with {must}"
        for reply in replies:
            self.wait(self._looked(reply))

    def _request(self, kind: str, a: int, b: int, reader: Reader, careful: str) -> Request:
        if kind in ("again", "other body") and self.sent:
            request = self.sent[-1 - a % len(self.sent[-5:])]
            if kind == "other body":
                request = Request("other", lambda one: one.say("other"), request.op_id)
            return request
        self.texts += 1
        request = meant(kind, self.plain, a, b, f"t{self.texts}")
        if careful != "any" and reader.who is not None:
            request.if_revision = max(0, reader.view.revision - (b if careful == "old" else 0))
        if a % 3:
            request.op_id = f"o{self.texts}"
            self.sent.append(request)
        return request

    async def _looked(self, reply: Json) -> None:
        """What is not of this session, or not of the model."""
        result = reply.get("result", {})
        match result.get("command"), result.get("data"):
            case "log", {"events": events}:
                revisions = [event["revision"] for event in events]
                assert revisions == list(range(revisions[0], revisions[0] - len(events), -1))
                for event in events:
                    assert [event["head"] or 0] == (self.plain.screens[event["revision"] - 1] or [0])[-1:]
            case "branch", {"session_id": str(session_id), "message_id": int(message_id)}:
                await self._visit(session_id, self.plain.branched(SESSION, message_id))
            case "new", {"session_id": str(session_id)}:
                await self._visit(session_id, [])
            case _:
                pass

    async def _visit(self, session_id: str, expected: list[Json]) -> None:
        """Fails unless another session has this transcript."""
        visitor = Reader("visitor")
        await visitor.attach(self.world.sessions, None, session_id)
        await visitor.read()
        same(list(map(plain_message, visitor.view.messages)), expected[visitor.view.start :])
        await visitor.leave()

    @precondition(lambda self: self.present)
    @rule(who=clients, most=st.integers(0, 9))
    def leave(self, who: int, most: int) -> None:
        """A client loses its connection, and some of what is on its way to it."""
        reader = self.present[who % len(self.present)]
        self.wait(reader.read(most))
        self.wait(reader.leave())

    @precondition(lambda self: self.absent)
    @rule(who=clients, anew=st.sampled_from([False, False, True]))
    def come(self, who: int, anew: bool) -> None:
        """A client comes, or comes back. It is told what it missed, unless that is too much."""
        reader = self.absent[who % len(self.absent)]
        after = reader.view.revision if reader.view.log and not anew else None
        self.wait(reader.attach(self.world.sessions, after))
        self.wait(reader.read())
        missed = after is not None and self.plain.revision - after <= RESUMABLE
        assert ("events" in reader.attached) == missed
        assert reader.attached.get("reset", False) == (after is not None and not missed)

    @precondition(lambda self: self.present)
    @rule(who=clients)
    def fall_behind(self, who: int) -> None:
        """A client stops reading, or reads again."""
        reader = self.present[who % len(self.present)]
        reader.reads = not reader.reads

    # What the run does, and the server.

    @precondition(lambda self: self.plain.run)
    @rule(text=st.sampled_from(["a", "bc ", "\N{GRINNING FACE}"]), reasoning=st.booleans(), saves=st.booleans())
    def write(self, text: str, reasoning: bool, saves: bool) -> None:
        self.plain.wrote(text, reasoning=reasoning)
        self.world.write(text, reasoning=reasoning)
        if saves:
            self.plain.saved()
            self.wait(self.world.save())

    @precondition(lambda self: self.plain.run)
    @rule(fails=st.booleans())
    def end(self, fails: bool) -> None:
        if fails:
            self.plain.failed()
        else:
            self.plain.completed()
        self.wait(self.world.end(fault="It fell over." if fails else None))

    @precondition(lambda self: len(self.world.runs) > bool(self.plain.run))
    @rule(number=st.integers(0, 9))
    def end_late(self, number: int) -> None:
        """A run that was stopped does not know it yet."""
        over = len(self.world.runs) - bool(self.plain.run)
        self.world.write("late", number=number % over)
        self.wait(self.world.end(number % over))

    @precondition(lambda self: self.plain.revision - self.restarted > 3)
    @rule(crash=st.booleans(), first=clients)
    def restart(self, crash: bool, first: int) -> None:
        """The server ends and begins anew, and one who was there comes back before anything else happens."""
        was_there = self.readers[first].who
        for reader in self.present:
            self.wait(reader.leave())
        self.plain.restarted(crash=crash)
        self.wait(self.world.restart(crash=crash))
        if was_there:
            self.wait(self.readers[first].attach(self.world.sessions, self.readers[first].view.revision))
        self.restarted = self.plain.revision

    @rule(line=lines(*SAY, *TAKE, *CHOOSE, *WAIT, "/title", "/branch"), happens=st.booleans())
    def fail(self, line: Line, happens: bool) -> None:
        """The disk says that it could not commit a line. The session is read again, to know what is true."""
        kind, a, b, who, careful = line
        before, run = deepcopy(self.plain), self.plain.run
        request = self._request(kind, a, b, self.readers[who], careful)
        must = request.expected(self.plain)
        if self.plain.revision > before.revision:
            if not happens:
                self.plain, must = before, {"error": {"data": {"code": "storage_failed"}}}
            if run and self.plain.run and run["run_id"] == self.plain.run["run_id"]:
                # Nobody knows whether what it writes could be kept.
                self.plain.restarted(crash=False)
        with self.world.failing(happens=happens):
            (reply,) = self.wait(self.world.submit([(request.params, self.readers[who].sender)]))
        assert has(reply, must), f"{request.said!r} was answered with {reply}, not with {must}"

    # What must be true.

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        self.wait(self._check())

    async def _check(self) -> None:
        fresh = Reader("fresh")
        try:
            # After a restart, what it cut short is committed only when somebody comes.
            await self.world.settle()
            await fresh.attach(self.world.sessions, None)
            await fresh.read()
            await self._check_against(fresh)
        finally:
            await fresh.leave()

    async def _check_against(self, fresh: Reader) -> None:
        world, plain = self.world, self.plain
        assert fresh.view.start == max(0, len(plain.screen) - TAIL)
        shown = plain.shown()
        same(list(map(plain_message, fresh.view.messages)), shown[fresh.view.start :])
        if fresh.view.start:
            same(list(map(plain_message, await world.pages())), shown)
        same(plain_session(fresh.view.session), plain.session())
        assert fresh.view.revision == plain.revision
        run = plain.run and {key: plain.run[key] for key in ("run_id", "text", "reasoning")}
        assert fresh.view.run == run
        for reader in self.present:
            if reader.reads:
                await reader.read()
                same(list(map(plain_message, reader.view.messages)), shown[reader.view.start :])
                start = max(reader.view.start, fresh.view.start)
                tails = [view.messages[start - view.start :] for view in (reader.view, fresh.view)]
                same(*tails)
                same({**reader.view.facts(), "messages": []}, {**fresh.view.facts(), "messages": []})
        assert fresh.view.presence is not None
        there = {reader.who for reader in (*self.present, fresh)}
        same({Who(**one) for one in fresh.view.presence["present"]}, there)
        loaded = world.load()
        same([step.event.head for step in loaded.history], [(screen or [0])[-1] for screen in plain.screens])
        same(loaded.history[-1].after, await world.state())


def same(shown: Any, expected: Any) -> None:
    """Fails unless they are equal, and says how they differ: a failure is found outside of pytest's assertions."""
    if shown != expected:
        raise AssertionError(f"\n    {shown}\nis not\n    {expected}")


def has(reply: Any, must: Any) -> bool:
    """Whether a reply has all that it must have."""
    if isinstance(must, dict):
        return isinstance(reply, dict) and all(key in reply and has(reply[key], must[key]) for key in must)
    return bool(reply == must)


@pytest.fixture(autouse=True)
def low_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RESUMABLE", RESUMABLE)
    monkeypatch.setattr(transcript, "TAIL_MESSAGES", TAIL)


def look(examples: int = EXAMPLES, **more: Any) -> None:
    """Raises what is wrong, if anything is found."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=False,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_a_machine_that_does_everything_finds_nothing(soak: float, figure: Figure) -> None:
    until = time.monotonic() + soak
    look()
    figure("G3", "made-up lives of a session", EXAMPLES)
    while time.monotonic() < until:
        look()
        figure("G3", "made-up lives of a session", EXAMPLES)


# Planted bugs. It stops at the first that it finds, however long it may look.


def finds_something() -> None:
    """Fails unless the machine does. What it did need not be made short."""
    with pytest.raises(AssertionError):
        look(100 * EXAMPLES, phases=[Phase.generate])


def test_the_machine_finds_a_pick_that_forgets_the_path_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "last_shown", lambda tree, node: node)
    finds_something()


def test_the_machine_finds_a_message_that_leaves_the_redo_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def keeping(before: State, event: Event, tree: Tree) -> State:
        after = apply(before, event, tree)
        return msgspec.structs.replace(after, redo=before.redo) if isinstance(event.body, Submitted) else after

    monkeypatch.setattr(transcript, "apply", keeping)
    monkeypatch.setattr(sessions, "apply", keeping)
    finds_something()


def test_the_machine_finds_a_drop_that_loses_the_last_message(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = ops._copies
    monkeypatch.setattr(ops, "_copies", lambda messages, first: copies(messages[:-1], first))
    finds_something()
