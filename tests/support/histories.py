"""Generated histories of one session: what people and runs might do, decided by the real ops, without a server."""

from typing import Any

from hypothesis import strategies as st

from backchat import ops
from backchat.errors import BackchatError
from backchat.ops import LiveRun, Outcome, View
from backchat.transcript import Created, Event, State, Tree
from tests.support.views import AT, advanced, messages

Action = tuple[str, Any]

contents = st.one_of(
    st.text(max_size=8),
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=4)}), max_size=2),
    st.none(),
)
actions: st.SearchStrategy[list[Action]] = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), contents),
        st.tuples(st.just("write"), st.text(max_size=6)),
        st.tuples(st.just("finish"), st.sampled_from(["completed", "failed", "interrupted"])),
        st.tuples(st.just("undo"), st.integers(1, 4)),
        st.tuples(st.just("retry"), st.booleans()),
        st.tuples(st.just("stop"), st.none()),
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
        self._take(ops.create(Created(title="seed"), messages(*seed)))

    def _take(self, outcome: Outcome) -> None:
        for decided in outcome.events:
            self.state, events = advanced(self.state, self.tree, Outcome(events=(decided,)), AT + len(self.states))
            self.states.append(self.state)
            self.outcomes.append((Outcome(events=(decided,)), events))
        if outcome.stop is not None:
            self.run = None
        if outcome.start is not None:
            self.run = LiveRun(outcome.start.run_id, outcome.start.parent, "")

    def _view(self, replies: bool) -> View:
        return View(
            session_id="s",
            state=self.state,
            tree=self.tree,
            run=self.run,
            at=AT + len(self.states),
            replies=replies,
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
                        self.run = LiveRun(self.run.run_id, self.run.parent, self.run.text + value)
                case "finish":
                    if self.run is not None:
                        self._take(ops.finish(self._view(True), value, None))
                case "undo":
                    self._take(ops.undo(self._view(True), value))
                case "retry":
                    self._take(ops.retry(self._view(value)))
                case "stop":
                    self._take(ops.stop(self._view(True)))
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
