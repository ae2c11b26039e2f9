"""A session that is lived through in memory by what is typed: the real parser and ops, no server and no clock."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from backchat import ops
from backchat.commands import Invocation, parse
from backchat.transcript import (
    Added,
    Created,
    Event,
    Message,
    Node,
    State,
    Step,
    Tree,
    Usage,
    Variant,
    fold,
    path,
    shown,
)
from backchat.views import LiveRun, Offer, Opening, Outcome, View
from tests.support.views import AT, NOBODY, advanced, messages

MOST_CHECKED = 100
"""Up to how many messages a talk is loaded anew after each outcome."""


class Talk:
    """One session. It begins with `contents` (see `messages`), or with a tree of `added` that ends at `head`. `cause`
    is what is behind all that is done."""

    def __init__(
        self,
        *contents: Any,
        added: Sequence[Added] = (),
        head: int | None = None,
        created: Created | None = None,
        offer: Offer | None = None,
        replies: bool = True,
        session_id: str = "s",
    ) -> None:
        self.session_id = session_id
        self.tree = Tree()
        self.state = State()
        self.run: LiveRun | None = None
        self.cause = NOBODY
        self.log: list[Event] = []
        self.opened: list[Opening] = []
        self.offer = offer or Offer(replies=replies)
        added = added or chain(*contents)
        self._take(ops.create(created or Created(), added, len(added) if head is None else head))

    def enter(self, line: str) -> Outcome:
        """What a person types. Raises what the server would answer."""
        parsed = parse(line)
        before = self.view
        outcome = parsed.decide(before) if isinstance(parsed, Invocation) else ops.submit(before, parsed.text)
        self._take(outcome)
        return outcome

    def say(self, content: Any, answer: str | None = None) -> None:
        """Sends a message, whatever its content is, and has it answered if there is an answer."""
        self._take(ops.submit(self.view, content))
        if answer is not None:
            self.answer(answer)

    def write(self, text: str) -> None:
        """The live run writes this."""
        assert self.run is not None
        self.run = replace(self.run, text=self.run.text + text)

    def answer(self, text: str, usage: Usage | None = None) -> None:
        """The live run writes this, and completes."""
        self.write(text)
        assert self.run is not None
        self.run = replace(self.run, usage=usage)
        self._take(ops.finish(self.view, "completed"))

    def restart(self) -> None:
        """The server was killed: what the live run had written by then is all there is of it."""
        self._take(ops.pause(self.view) if self.run is None else ops.finish(self.view, "interrupted"))

    def _take(self, outcome: Outcome) -> None:
        self.state, events = advanced(self.state, self.tree, outcome, self.at, self.cause)
        self.log += events
        if outcome.stop is not None:
            self.run = None
        if outcome.start is not None:
            self.run = LiveRun(outcome.start.run_id, outcome.start.parent, "", model=outcome.start.model)
        if outcome.opens is not None:
            self.opened.append(outcome.opens)
        if len(self.tree.nodes) <= MOST_CHECKED:
            self._check()

    def _check(self) -> None:
        """Fails unless a server that loads this session now goes on with the same."""
        tree, steps = self.loaded()
        assert steps[-1].after == self.state
        assert redo_line(steps[-1].after) == redo_line(self.state)
        for number, node in self.tree.nodes.items():
            assert tree.last_shown(tree[number]).id == self.tree.last_shown(node).id

    def loaded(self) -> tuple[Tree, list[Step]]:
        """The session as a load finds it."""
        tree = Tree()
        for node in self.tree.nodes.values():
            if node.id:
                tree.add(Added(node.message, node.parent.id, node.size - node.parent.size))
        return tree, list(fold(self.log, tree))

    @property
    def at(self) -> float:
        """The time: a second goes by with each event."""
        return AT + len(self.log)

    @property
    def view(self) -> View:
        """What the next op sees."""
        return View(
            session_id=self.session_id,
            state=self.state,
            tree=self.tree,
            run=self.run,
            at=self.at,
            new_id=f"new-{len(self.opened) + 1}",
            offer=self.offer,
            heads=[event.head for event in self.log],
            events=lambda count: self.log[::-1][:count],
        )

    @property
    def head(self) -> Node:
        """The last message of the transcript."""
        return self.tree[self.state.head]

    @property
    def ids(self) -> list[int]:
        """The ids of the transcript."""
        return [message.id for message in path(self.head)]

    @property
    def texts(self) -> list[Any]:
        """The contents of the transcript."""
        return [message.content for message in path(self.head)]

    @property
    def shown(self) -> list[Message]:
        """The transcript as clients are shown it."""
        return shown(self.tree, self.head, self.state.last_message)

    @property
    def variants(self) -> list[str]:
        """Which variant each message of the transcript is, as in `2/3`; empty where there is no other."""
        return [written(message.variant) for message in self.shown]

    @property
    def bodies(self) -> list[type]:
        """The types of all events so far."""
        return [type(event.body) for event in self.log]

    @property
    def redo(self) -> list[tuple[int, int]]:
        """The redo line: the heads, and how many turns came off with each."""
        return redo_line(self.state)


def chain(*contents: Any) -> list[Added]:
    """Messages one below the other."""
    return [Added(message, message.id - 1, 10) for message in messages(*contents)]


def redo_line(state: State) -> list[tuple[int, int]]:
    """What a redo line holds, last step first."""
    return [(line.head, line.turns) for line in state.redo or ()]


def written(variant: Variant | None) -> str:
    """A variant as a person would write it."""
    return "" if variant is None else f"{variant.index}/{variant.count}"


def talked(*turns: str, **options: Any) -> Talk:
    """A session in which each of these was said, and answered with itself in capitals."""
    talk = Talk(**options)
    for turn in turns:
        talk.say(turn, turn.upper() if talk.offer.replies else None)
    return talk
