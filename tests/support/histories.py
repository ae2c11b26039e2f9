"""Generated histories of one session: what people and runs might do, decided by the real ops, without a server."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from backchat import branches, choices, ops
from backchat.branches import Destination
from backchat.errors import BackchatError
from backchat.transcript import Created, Event, State, Tree, Usage
from backchat.views import LiveRun, Offer, Outcome, View
from tests.support.views import AT, advanced, begun

Action = tuple[str, Any]

OFFER = Offer(
    replies=True,
    model="one",
    personalities={"pirate": "You are a pirate."},
    price=lambda model, usage: usage.output_tokens / 1000 if model == "one" else None,
    most_queued=3,
)

numbers = st.integers(1, 25)
contents = st.one_of(
    st.text(max_size=8),
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=4)}), max_size=2),
    st.none(),
)
actions: st.SearchStrategy[list[Action]] = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), contents),
        st.tuples(st.just("write"), st.text(max_size=6)),
        st.tuples(st.just("reason"), st.text(max_size=6)),
        st.tuples(
            st.just("report"), st.builds(Usage, input_tokens=st.integers(0, 99), output_tokens=st.integers(0, 99))
        ),
        st.tuples(st.just("finish"), st.sampled_from(["completed", "failed", "interrupted"])),
        st.tuples(st.just("undo"), st.integers(1, 4)),
        st.tuples(st.just("retry"), st.booleans()),
        st.tuples(st.just("stop"), st.none()),
        st.tuples(st.just("clear"), st.none()),
        st.tuples(st.just("drop"), st.one_of(st.none(), st.integers(1, 4))),
        st.tuples(st.just("go"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("redo"), st.one_of(st.none(), st.integers(1, 4))),
        st.tuples(st.just("edit"), st.tuples(st.one_of(st.none(), numbers), st.text(max_size=4))),
        st.tuples(st.sampled_from(["prev", "next"]), st.none()),
        st.tuples(st.just("pick"), st.tuples(numbers, st.one_of(st.none(), st.integers(1, 3)))),
        st.tuples(st.just("goto"), st.builds(Destination, message=numbers)),
        st.tuples(st.just("goto"), st.builds(Destination, revision=numbers)),
        st.tuples(st.just("take_out"), st.integers(1, 4)),
        st.tuples(st.just("branch"), st.one_of(st.none(), numbers)),
        st.tuples(st.just("title"), st.text(max_size=6)),
        st.tuples(st.just("model"), st.sampled_from(["one", "other"])),
        st.tuples(st.just("personality"), st.sampled_from(["pirate", "none"])),
        st.tuples(st.just("system"), st.sampled_from(["be brief", "none"])),
        st.tuples(st.just("new"), st.none()),
    ),
    max_size=40,
)


class History:
    """A session that is lived through in memory: `steps` are its outcomes' events with the states around them."""

    def __init__(self, *seed: Any) -> None:
        self.tree = Tree()
        self.state = State()
        self.run: LiveRun | None = None
        self.outcomes: list[tuple[Outcome, list[Event]]] = []
        self.states = [self.state]
        self._take(begun(Created(title="seed"), *seed))

    def _take(self, outcome: Outcome) -> None:
        for decided in outcome.events:
            self.state, events = advanced(self.state, self.tree, Outcome(events=(decided,)), AT + len(self.states))
            self.states.append(self.state)
            self.outcomes.append((Outcome(events=(decided,)), events))
        if outcome.stop is not None:
            self.run = None
        if outcome.start is not None:
            self.run = LiveRun(outcome.start.run_id, outcome.start.parent, "", model=outcome.start.model)

    def _view(self, replies: bool) -> View:
        return View(
            session_id="s",
            state=self.state,
            tree=self.tree,
            run=self.run,
            at=AT + len(self.states),
            new_id=f"new-{len(self.states)}",
            offer=OFFER if replies else Offer(replies=False),
            heads=[state.head for state in self.states[1:]],
        )

    def do(self, action: Action) -> None:
        """Does one thing; one that is refused changes nothing."""
        name, value = action
        try:
            match name:
                case "submit":
                    self._take(ops.submit(self._view(True), value))
                case "write":
                    if self.run is not None:
                        self.run = replace(self.run, text=self.run.text + value)
                case "reason":
                    if self.run is not None:
                        self.run = replace(self.run, reasoning=self.run.reasoning + value)
                case "report":
                    if self.run is not None:
                        self.run = replace(self.run, usage=value)
                case "restart":
                    # What was being written is gone; the session comes back without it.
                    self.run = None
                    self._take(ops.pause(self._view(True)))
                case "finish":
                    if self.run is not None:
                        self._take(ops.finish(self._view(True), value, None))
                case "undo":
                    self._take(ops.undo(self._view(True), value))
                case "retry":
                    self._take(ops.retry(self._view(value)))
                case "stop":
                    self._take(ops.stop(self._view(True)))
                case "clear":
                    self._take(ops.clear(self._view(True)))
                case "drop":
                    self._take(ops.queue_drop(self._view(True), value))
                case "go":
                    self._take(ops.queue_go(self._view(True)))
                case "redo":
                    self._take(ops.redo(self._view(True), value))
                case "edit":
                    self._take(ops.edit(self._view(True), value[0], text=value[1]))
                case "prev":
                    self._take(branches.previous(self._view(True)))
                case "next":
                    self._take(branches.following(self._view(True)))
                case "pick":
                    self._take(branches.pick(self._view(True), *value))
                case "goto":
                    self._take(branches.goto(self._view(True), value))
                case "take_out":
                    self._take(ops.drop(self._view(True), value))
                case "branch":
                    self._take(branches.branch(self._view(True), value))
                case "title":
                    self._take(choices.title(self._view(True), value))
                case "model":
                    self._take(choices.model(self._view(True), value))
                case "personality":
                    self._take(choices.personality(self._view(True), value))
                case "system":
                    self._take(choices.system(self._view(True), value))
                case "new":
                    self._take(choices.new(self._view(True)))
                case _:
                    raise AssertionError(name)
        except BackchatError:
            pass

    @property
    def events(self) -> list[Event]:
        """The whole log."""
        return [event for _, events in self.outcomes for event in events]


def lived(chosen: list[Action], *seed: Any) -> History:
    """A history of these actions."""
    history = History(*seed)
    for action in chosen:
        history.do(action)
    return history
