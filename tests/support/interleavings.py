"""One conversation that several clients and a model have at once: random small actions, and what must hold after them.

A schedule is a list of actions, `(who, what)`: a hand (a client) sends a line, the model says the next piece of its
reply, ends it or fails. Nobody waits for anybody, but where the schedule says so. Whatever came of it, once it is quiet
every client shows the same transcript as a fresh one and as the store, and the log accounts for all that anybody was
told.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from random import Random
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from backchat.store.base import Loaded
from backchat.store.sqlite import Database
from backchat.transcript import (
    Created,
    Event,
    Node,
    Queued,
    QueueDropped,
    QueueSent,
    Replied,
    Submitted,
    TakenBack,
    path,
    shown,
)
from tests.support.client import PATIENCE, Client, Json, View, client, eventually
from tests.support.model_server import Exchange, ModelServer
from tests.support.server import Running

Action = tuple[str, str]

EVERYONE: Final = "everyone"
MODEL: Final = "model"

LINES: Final = {
    "say": 8,
    "say long": 1,
    "say //undo": 1,
    "say parts": 1,
    "/stop": 3,
    "stop": 3,
    "/undo": 3,
    "/undo 2": 1,
    "/undo 3": 1,
    "/retry": 4,
    "/clear": 1,
    "/queue go": 2,
    "go": 2,
    "/queue drop": 1,
    "drop": 1,
    "/queue drop 2": 1,
    "/queue": 1,
    "/usage": 1,
    "leave": 2,
}
"""What a hand does, and how often: a line as it is, `say` a message, one of the BUTTONS, or `leave` until everyone
waits."""
BUTTONS: Final = {"stop": "/stop", "go": "/queue go", "drop": "/queue drop"}
"""What a page has buttons for, and the line that does the same."""
ANSWERS: Final = {
    "piece": 6,
    "pieces": 4,
    "think": 2,
    "finish": 7,
    "length": 1,
    "empty": 1,
    "overloaded": 1,
    "garbage": 1,
    "cut": 1,
    "reset": 1,
    "torn": 1,
    "busy": 2,
    "refuse": 1,
}
"""What the model does: `length` is an end at its limit, `empty` one without a word if there is none yet, `overloaded`
to `torn` are faults in the middle of the reply, `busy` may be asked again, `refuse` may not."""
WAITS: Final = {"answered": 3, "quiet": 2}
"""What everyone waits for: until each has been answered, or until nothing more can happen by itself."""

REFUSALS: Final = {"nothing_to_retry", "nothing_to_undo", "not_queued", "queue_full", "stale_revision"}
"""How a line may be refused when somebody else was quicker."""

TAG: Final = re.compile(r"([a-z][0-9]+\.[0-9]+)-")
"""The name of a session in a message."""

CHANGES: Final = ("undo", "retry", "clear")
"""Commands that a careful client sends with the revision that it has seen."""


def schedule(random: Random, hands: Sequence[str], tag: str, numbers: Iterable[int]) -> list[Action]:
    """A few actions; `numbers` makes messages different from each other, `tag` names the session in them (see TAG)."""
    number = iter(numbers)
    actions: list[Action] = []
    here = list(hands)
    for _ in range(random.randint(5, 12)):
        who = random.choices(("hand", MODEL, EVERYONE), (11, 9, 2))[0]
        if who == MODEL:
            actions.append((MODEL, _one_of(random, ANSWERS)))
        elif who == EVERYONE:
            here = list(hands)
            actions.append((EVERYONE, _one_of(random, WAITS)))
        else:
            who, what = random.choice(here), _one_of(random, LINES)
            if what.startswith("say"):
                what = what.replace("say", f"say {tag}-{next(number)}", 1)
            if what == "leave":
                who = here.pop() if len(here) > 1 else who
            actions.append((who, what))
    return actions


def _one_of(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]


def message(what: str) -> str | list[Json]:
    """What a hand types for an action that begins with `say`; a list for one that a person cannot type."""
    _, name, *kind = what.split(" ")
    match kind:
        case ["long"]:
            return f"{name} two\n\n  lines 👩‍👩‍👧‍👦 <b>and</b> more"
        case ["//undo"]:
            return f"//undo {name}, the knot"
        case ["parts"]:
            return [{"type": "text", "text": name}, {"type": "text", "text": "in parts"}]
        case _:
            return name


# What a client sees.


class Watcher(View):
    """A view that also minds the order of things: a reply stands in the transcript, word for word as it was streamed,
    before its run has ended, and nothing is written to a reply that stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Json]] = []
        """All notifications but for the pieces of replies, which are cut differently for each client."""

    def apply(self, method: str, params: Json) -> None:
        match method:
            case "run.delta" | "run.reasoning":
                assert not self._answered(params["run_id"]), "a piece of a reply that has been committed"
            case "run.ended":
                self._ended(params)
            case "run.started":
                assert not self._answered(params["run_id"]), "a run by the name of another"
            case _:
                pass
        if method in ("transcript.spliced", "session.updated"):
            assert params["revision"] <= self.revision + 1, "an event that nobody was told of"
        if method in ("transcript.spliced", "session.updated", "run.started", "run.ended"):
            self.heard.append((method, params))
        super().apply(method, params)
        if method == "attached" and self.run is not None:
            assert not self._answered(self.run["run_id"]), "a live run whose reply has been committed"

    def _answered(self, run_id: str) -> Json | None:
        return next((message for message in reversed(self.messages) if message.get("run_id") == run_id), None)

    def _ended(self, params: Json) -> None:
        assert self.run is not None, "a run that nobody started"
        reply, reason = self._answered(params["run_id"]), params["reason"]
        if reply is None:
            assert reason == "stopped", f"{reason} without a reply"
            assert not self.run["text"], "a reply that was lost"
            assert not self.run["reasoning"], "a reply that was lost"
            return
        assert reply is self.messages[-1]
        told = (reply["content"], reply.get("reasoning", ""), reply["finish"])
        assert told == (self.run["text"], self.run["reasoning"], reason)
        assert ("error" in params) == (reason == "failed")
        if reason == "failed":
            assert reply["note"] == params["error"]["message"]


def same(shown: Json, facts: Json, whose: str) -> None:
    """Fails unless a client shows what the first one shows, and says what differs."""
    differs = {name: (shown[name], facts[name]) for name in facts if shown[name] != facts[name]}
    if session := differs.get("session"):
        fields = {*session[0], *session[1]}
        differs |= {
            name: (session[0].get(name), session[1].get(name))
            for name in fields
            if session[0].get(name) != session[1].get(name)
        }
        del differs["session"]
    assert not differs, f"{whose} shows something else than the first client: {differs}"


class Line:
    """Something that a client sent, and the reply to it once there is one."""

    def __init__(self, op_id: str, text: str | None, content: list[Json] | None = None) -> None:
        self.op_id = op_id
        self.text = text
        self.content = content
        self.reply: Json | None = None

    @property
    def said(self) -> str | list[Json]:
        """The content of the message that it is, if it is one."""
        if self.text is None:
            assert self.content is not None
            return self.content
        text = self.text.strip()
        return text.removeprefix("/") if text.startswith("//") else text


class Hand(Protocol):
    """Somebody at a client. Nothing here waits for an answer to a line."""

    name: str
    lines: dict[str, Line]
    """All that was sent, by its op_id."""

    @property
    def waiting(self) -> list[str]:
        """What is on its way: no answer has come yet."""

    async def submit(self, line: str | list[Json]) -> None:
        """Sends what is typed, or parts of content."""

    async def press(self, button: str) -> None:
        """Presses a button, if it is there."""

    async def leave(self) -> None:
        """Loses the connection, or loads the page anew."""

    async def back(self) -> None:
        """Returns once it is connected again, if it was not. Whatever else it does comes after that."""

    async def shows(self, facts: Json) -> None:
        """Fails unless this client comes to show what the facts of a view say. Precondition: it is quiet."""


class Socket:
    """A hand at a raw socket. One that leaves sends again what was not answered, and resumes."""

    def __init__(self, name: str, server: Running) -> None:
        self.name = name
        self.lines: dict[str, Line] = {}
        self.view = Watcher()
        self.left = False
        self.away = False
        self._server = server
        self._session_id = ""
        self._stack = AsyncExitStack()
        self._numbers: dict[int, Line] = {}
        self._read = 0
        self._told = 0
        self.client: Client

    async def open(self, session_id: str = "") -> str:
        """Attaches to a session, a new one without an id, and returns its id."""
        query = f"after={self.view.revision}&log={self.view.log}" if self.view.log else ""
        opened = client(self._server.ws(session_id, query), self.view)
        self.client = await self._stack.enter_async_context(opened)
        self._session_id = self.view.session["session_id"]
        self._numbers, self._read, self._told = {}, 0, 0
        return self._session_id

    async def close(self) -> None:
        await self._stack.aclose()

    @property
    def _unanswered(self) -> list[Line]:
        seen = self.client.seen
        for frame in seen[self._read :]:
            if "method" in frame:
                self._told = max(self._told, frame["params"].get("revision", 0))
            elif frame["id"] in self._numbers:
                self._numbers.pop(frame["id"]).reply = frame
                assert frame.get("result", {}).get("revision", 0) <= self._told, "a reply before the events it tells of"
        self._read = len(seen)
        return [line for line in self.lines.values() if line.reply is None]

    @property
    def waiting(self) -> list[str]:
        return [] if self.away else [str(line.said) for line in self._unanswered]

    async def submit(self, line: str | list[Json]) -> None:
        await self.back()
        op_id = f"{self.name}-{len(self.lines)}"
        text, content = (line, None) if isinstance(line, str) else (None, line)
        self.lines[op_id] = Line(op_id, text, content)
        # As a careful client would, every other time.
        careful = text is not None and text.lstrip("/").startswith(CHANGES) and len(self.lines) % 2
        await self._send(self.lines[op_id], {"if_revision": self.view.revision} if careful else {})

    async def _send(self, line: Line, more: Json) -> None:
        what = {"content": line.content} if line.text is None else {"text": line.text}
        number = await self.client.send("submit", **what, op_id=line.op_id, **more)
        self._numbers[number] = line

    async def press(self, button: str) -> None:
        await self.back()
        # A raw socket has none; whoever is at it sees the same and types.
        session = self.view.session
        there = {"stop": self.view.run, "go": session["queue_paused"], "drop": session["queue"]}
        if there[button]:
            await self.submit(BUTTONS[button])

    async def leave(self) -> None:
        if not self.away:
            self.left = self.away = True
            self.client.socket.transport.abort()
            await self._stack.aclose()

    async def back(self) -> None:
        if self.away:
            self.away = False
            lost = self._unanswered
            await self.open(self._session_id)
            for line in lost:
                await self._send(line, {})

    async def shows(self, facts: Json) -> None:
        # The reply to a read comes after all that was published before.
        await self.client.submit("/status")
        assert self.view.start == 0
        same(self.view.facts(), facts, self.name)


# The model.


class Model:
    """What the model server says to one session. Every piece has the number of its exchange in it, so that each word
    of a reply can be accounted for."""

    def __init__(self, models: ModelServer, tag: str) -> None:
        self._models = models
        self._tag = tag
        self._looked = len(models.exchanges)
        self.exchanges: dict[int, Exchange] = {}
        self.said: dict[int, str] = {}
        self.thought: dict[int, str] = {}
        self.finished: set[int] = set()
        self.repeatable: set[int] = set()
        """Those that a client library may repeat by itself."""
        self._spoiled: set[int] = set()
        self._pieces = count()

    def look(self) -> None:
        """Takes new requests in."""
        every = self._models.exchanges
        for number in range(self._looked, len(every)):
            # Commands that came back into a composer may be a message together, without a tag.
            tags = TAG.findall(json.dumps(every[number].body["messages"]))
            if self._tag in (tags or [self._tag]):
                self.exchanges[number] = every[number]
                self.said[number] = self.thought[number] = ""
        self._looked = len(every)

    @property
    def living(self) -> list[int]:
        """The exchanges that neither side has ended."""
        self.look()
        return [number for number, one in self.exchanges.items() if not one.over.is_set() and not one.broken.is_set()]

    @property
    def open(self) -> int | None:
        """The last exchange in which more can be said."""
        return next((number for number in reversed(self.living) if number not in self._spoiled), None)

    @property
    def broken(self) -> int:
        """How many streams the client has broken off."""
        return sum(one.broken.is_set() for one in self.exchanges.values())

    async def do(self, what: str, number: int, seen: Callable[[], str]) -> None:
        """One action in an exchange. `seen` is the text that a client has seen of it."""
        exchange = self.exchanges[number]
        begun = bool(self.said[number] or self.thought[number])
        match what:
            case "piece":
                await self._say(number)
            case "pieces":
                for _ in range(3):
                    await self._say(number)
            case "think":
                piece = f"t{number}.{next(self._pieces)} "
                self.thought[number] += piece
                await exchange.think(piece)
            case "finish" | "length" | "empty":
                if not begun and what != "empty":
                    await self._say(number)
                self.finished.add(number)
                await exchange.finish("length" if what == "length" else "stop")
            case "busy" if not begun:
                self.repeatable.add(number)
                await exchange.status(429, {"error": {"message": "Slow down."}}, {"retry-after": "0.001"})
            case "refuse" if not begun:
                await exchange.status(400, {"error": {"message": "No."}}, {})
            case "overloaded" | "busy" | "refuse":
                self._spoiled.add(number)
                await exchange.event({"error": {"message": "Overloaded.", "type": "server_error"}})
            case "garbage":
                self._spoiled.add(number)
                await exchange.event("{oops")
            case "torn":
                await exchange.end() if begun else await exchange.finish(None)
            case "cut" | "reset":
                if not begun:
                    # A connection that breaks before the answer is another fault, after which the library takes its
                    # time.
                    await self._say(number)
                # What was written and not yet read is lost by a reset.
                await (exchange.reset() if what == "reset" and seen() else exchange.cut())
            case _:
                raise AssertionError(what)

    async def _say(self, number: int) -> None:
        piece = f"{number}.{next(self._pieces)}{'é👩‍👩‍👧‍👦' if number % 2 else ''} "
        self.said[number] += piece
        await self.exchanges[number].say(piece)


# All of them.


class Conversation:
    """A session, the hands at it (the first one is at a raw socket), and a model."""

    def __init__(self, server: Running, models: ModelServer, tag: str, session_id: str, hands: Sequence[Hand]) -> None:
        self._server = server
        self.model = Model(models, tag)
        self.session_id = session_id
        self.hands = {hand.name: hand for hand in hands}
        first = hands[0]
        assert isinstance(first, Socket)
        self.first = first
        self.done: list[Action] = []

    async def play(self, actions: Iterable[Action], random: Random) -> None:
        """Does it all, waits until it is quiet, and checks. What fails says what was done."""
        actions = list(actions)
        self.done += [*actions, (EVERYONE, "agree")]
        try:
            async with asyncio.timeout(2 * PATIENCE):
                for who, what in actions:
                    await self._act(who, what)
                    for _ in range(random.choice((0, 0, 1, 3, 9))):
                        await asyncio.sleep(0)
                await self._gather()
                await self.quiet()
                await self.agree()
        except Exception as error:
            error.add_note(f"session {self.session_id}, after: {self.done}")
            error.add_note(self._state)
            raise

    @property
    def _state(self) -> str:
        """Where things are, for whoever reads why a test failed."""
        unanswered = {name: hand.waiting for name, hand in self.hands.items()}
        return f"unanswered: {unanswered}; run: {self.first.view.run}; the model writes: {self.model.living}"

    async def _act(self, who: str, what: str) -> None:
        if who == MODEL:
            number = await self._open()
            if number is not None:
                await self.model.do(what, number, lambda: self._seen)
        elif who == EVERYONE:
            await self._gather()
            await (self.quiet() if what == "quiet" else eventually(lambda: not self._busy))
        elif what in BUTTONS:
            await self.hands[who].press(what)
        elif what == "leave":
            await self.hands[who].leave()
            # The first one is who the others are compared with.
            await self.first.back()
        else:
            await self.hands[who].submit(message(what) if what.startswith("say") else what)

    async def _gather(self) -> None:
        for hand in self.hands.values():
            await hand.back()

    @property
    def _busy(self) -> bool:
        return any(hand.waiting for hand in self.hands.values())

    @property
    def _seen(self) -> str:
        run = self.first.view.run
        return run["text"] if run else ""

    async def _open(self) -> int | None:
        """The exchange that the model goes on with, once it is there if one is to come."""
        await eventually(
            lambda: self.model.open is not None or not (self._busy or self.first.view.run or self.model.living)
        )
        return self.model.open

    async def quiet(self) -> None:
        """Returns once nothing more happens by itself: whoever is there has been answered, and the live reply, if there
        is one, is with every client as far as the model has said it."""
        while True:
            await eventually(self._is_quiet)
            running = (await self.first.client.submit("/status"))["data"]["agent_running"]
            if self._is_quiet() and running == (self.first.view.run is not None):
                return

    def _is_quiet(self) -> bool:
        if self._busy:
            return False
        run, living = self.first.view.run, self.model.living
        if run is None or living != [self.model.open]:
            return run is None and not living
        return (run["text"], run["reasoning"]) == (self.model.said[living[0]], self.model.thought[living[0]])

    async def agree(self) -> None:
        """Fails unless everyone shows the same, a fresh client and the store too, and the log accounts for it."""
        facts = json.loads(json.dumps(self.first.view.facts()))
        for hand in self.hands.values():
            await hand.shows(facts)
        async with client(self._server.ws(self.session_id)) as fresh:
            same(fresh.view.facts(), facts, "a fresh client")
        with Database(self._server.settings.data) as database:
            loaded = database.load(self.session_id)
        state = loaded.history[-1].after
        assert msgspec.to_builtins(shown(loaded.tree, loaded.tree[state.head], state.last_message)) == facts["messages"]
        assert state.revision == facts["revision"]
        assert [waiting.id for waiting in state.queue] == [waiting["id"] for waiting in facts["session"]["queue"]]
        assert state.queue_paused == facts["session"]["queue_paused"]
        live = facts["run"] and facts["run"]["run_id"]
        assert (loaded.checkpoint and loaded.checkpoint.run_id) == live, "a restart would find something else"
        if live is None:
            assert not state.queue or state.queue_paused, "a queue that waits for nothing"
        audit(loaded, self.model, self.lines)

    async def aclose(self) -> None:
        """Closes the raw sockets; a live reply goes on."""
        for hand in self.hands.values():
            if isinstance(hand, Socket):
                await hand.close()

    @property
    def lines(self) -> list[Line]:
        """All that anybody sent."""
        return [line for hand in self.hands.values() for line in hand.lines.values()]


# The log.


class _Started(Struct):
    """A run as the log tells of it: the message that it replies to, and the reply."""

    parent: int
    reply: int | None = None


def audit(loaded: Loaded, model: Model, lines: Iterable[Line]) -> None:
    """Fails unless the log accounts for every line that was answered, every reply and every request to the model."""
    model.look()
    _account_for_lines(loaded, {line.op_id: line for line in lines})
    _account_for_heads(loaded)
    runs = _runs(loaded)
    _account_for_replies(loaded, runs, model)
    _account_for_requests(loaded, runs, model)


def _account_for_lines(loaded: Loaded, lines: dict[str, Line]) -> None:
    """Each line that was acknowledged is in the log once, as what its reply says; no other is."""
    logged: dict[str, Event] = {}
    for number, step in enumerate(loaded.history, start=1):
        assert step.event.revision == number
        op_id = step.event.cause.op_id
        if op_id is not None:
            assert op_id not in logged
            assert op_id in lines, "nobody sent this"
            logged[op_id] = step.event
    for op_id, line in lines.items():
        event = logged.get(op_id)
        assert line.reply is not None
        if "error" in line.reply:
            # A page gives a refused line back into the composer, perhaps before another that is just being sent.
            merged = {"bad_argument"} if "\n" in (line.text or "") else set()
            assert line.reply["error"]["data"]["code"] in REFUSALS | merged, line.reply
            assert event is None, "refused, and done all the same"
            continue
        result = line.reply["result"]
        if event is not None:
            assert event.revision == result["revision"]
        match result:
            case {"queued_id": number}:
                assert event is not None
                assert event.body == Queued(number, line.said)
            case {"message_id": number}:
                assert event is not None
                assert isinstance(event.body, Submitted)
                assert event.body.message == number
                assert loaded.tree[number].message.content == line.said
            case {"command": "undo" | "retry", "data": {"removed_count": removed, **more}}:
                assert event is not None
                assert isinstance(event.body, TakenBack)
                before = loaded.tree[loaded.history[event.revision - 2].after.head]
                # A retry keeps the message that it sends again.
                assert before.depth - loaded.tree[event.head].depth + ("resent" in more) == removed
            case {"command": "clear", "data": {"removed_count": removed}}:
                assert (event is not None) == (removed > 0)
            case {"command": "stop", "data": {"stopped": stopped}}:
                assert (event is not None) == stopped
            case {"command": "queue", "data": {"queued_id": number}}:
                assert event is not None
                assert event.body == QueueDropped(number)
            case _:
                pass


def _account_for_heads(loaded: Loaded) -> None:
    """Each event moved the head where it should: nobody's words are lost, and what is taken back is what was meant."""
    for step in loaded.history:
        head, event = loaded.tree[step.before.head], step.event
        match event.body, event.cause.command:
            case ((Submitted(message=number) | QueueSent(message=number) | Replied(message=number)), _):
                assert event.head == number
                assert loaded.tree[number].parent is head
            case TakenBack(), "retry":
                assert head.turn is loaded.tree[event.head]
            case TakenBack(), "undo":
                # The head before a user message.
                taken = {message.id: message for message in path(head, loaded.tree[event.head].depth)}
                assert loaded.tree[min(taken)].parent.id == event.head
                assert taken[min(taken)].role == "user"
            case TakenBack(), "clear":
                assert event.head == 0
            case Created(), _:
                pass
            case _:
                assert event.head == head.id, "something that is no matter of the transcript changed it"


def _runs(loaded: Loaded) -> list[_Started]:
    """The runs that the log tells of, in order. Fails where one was started that nobody asked for, a reply belongs to
    none, or the queue does not add up."""
    runs: list[_Started] = []
    waiting: set[int] = set()
    before: Event | None = None
    for step in loaded.history:
        event = step.event
        match event.body:
            case Submitted():
                assert event.cause.connection is not None
                runs.append(_Started(event.head))
            case TakenBack() if event.cause.command == "retry":
                runs.append(_Started(event.head))
            case Queued(id=number):
                waiting.add(number)
            case QueueDropped(id=number):
                waiting.remove(number)
            case QueueSent(id=number):
                waiting.remove(number)
                runs.append(_Started(event.head))
                if event.cause.command != "queue":
                    assert before is not None
                    assert isinstance(before.body, Replied), "a waiting message was sent although no reply had ended"
                    finish = loaded.tree[before.body.message].message.finish
                    assert finish == "completed", f"a waiting message was sent after a reply that was {finish}"
                    assert not step.before.queue_paused
            case Replied(message=number):
                assert runs, "a reply to nothing"
                assert runs[-1].reply is None, "two replies of one run"
                assert loaded.tree[number].parent.id == runs[-1].parent, "a reply to another message"
                runs[-1].reply = number
            case _:
                pass
        before = event
    assert waiting == {one.id for one in loaded.history[-1].after.queue}
    return runs


def _account_for_replies(loaded: Loaded, runs: list[_Started], model: Model) -> None:
    """Each reply has the words of one exchange, from the first one on; all of them where it is complete."""
    ids = [node.message.run_id for node in loaded.tree.nodes.values() if node.message.run_id is not None]
    assert len(ids) == len(set(ids)) == sum(run.reply is not None for run in runs)
    exchanges = set()
    for run in runs:
        if run.reply is None:
            continue
        reply = loaded.tree[run.reply].message
        assert reply.role == "assistant"
        assert isinstance(reply.content, str)
        assert (reply.finish == "failed") <= (reply.note is not None)
        number = re.match(r"t?(\d+)\.", reply.content or reply.reasoning or "")
        if number is None:
            assert reply.finish in ("failed", "interrupted")
            assert (reply.content, reply.reasoning) == ("", None)
            continue
        exchange = int(number[1])
        assert exchange not in exchanges, "two replies of one exchange"
        exchanges.add(exchange)
        assert model.exchanges[exchange].body["messages"] == _prompt(loaded.tree[run.parent])
        assert model.said[exchange].startswith(reply.content)
        assert model.thought[exchange].startswith(reply.reasoning or "")
        if reply.finish == "completed":
            assert exchange in model.finished
            assert (reply.content, reply.reasoning or "") == (model.said[exchange], model.thought[exchange])


def _account_for_requests(loaded: Loaded, runs: list[_Started], model: Model) -> None:
    """Nothing was asked of the model that no run of the log asked for, and each reply was asked for."""

    def counted(prompts: Iterable[list[Json]]) -> Counter[str]:
        return Counter(json.dumps(prompt) for prompt in prompts)

    requests = counted(one.body["messages"] for one in model.exchanges.values())
    repeats = counted(model.exchanges[number].body["messages"] for number in model.repeatable)
    asked = counted(_prompt(loaded.tree[run.parent]) for run in runs)
    assert requests <= asked + repeats, f"nobody asked for this: {requests - asked - repeats}"
    # One that was stopped may not have got as far.
    ended = (run for run in runs if run.reply and loaded.tree[run.reply].message.finish in ("completed", "failed"))
    answered = counted(_prompt(loaded.tree[run.parent]) for run in ended)
    assert answered <= requests, f"nobody was asked for this: {answered - requests}"


def _prompt(node: Node) -> list[Json]:
    """What the model is asked at a message; replies that say nothing are left out."""
    every = path(node)
    return [{"role": one.role, "content": one.content} for one in every if one.content or one.role != "assistant"]
