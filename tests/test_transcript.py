"""The tree, the fold, and splices: laws over generated histories."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat import transcript
from backchat.frames import Attached, Notification, SessionUpdated, TranscriptSpliced, notifications, session_fields
from backchat.transcript import (
    Added,
    Created,
    Dropped,
    Edited,
    Message,
    Node,
    QueueSent,
    Redone,
    Replied,
    State,
    Submitted,
    TakenBack,
    Tree,
    Usage,
    common,
    fold,
    path,
    shown,
    splice,
)
from backchat.views import Decided, Outcome
from tests.support.histories import OFFER, Action, History, actions, lived
from tests.support.views import advanced, begun


@pytest.fixture(autouse=True)
def short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail short enough for generated histories to outgrow it."""
    monkeypatch.setattr(transcript, "TAIL_MESSAGES", 4)
    monkeypatch.setattr(transcript, "TAIL_BYTES", 60)


parents = st.lists(st.integers(0, 10**6), max_size=60)


def grown(choices: list[int]) -> Tree:
    """A tree in which each message hangs below some earlier one."""
    tree = Tree()
    for number, choice in enumerate(choices, start=1):
        # Mostly chains, with branches.
        parent = number - 1 if choice % 4 else choice % number
        role = "user" if choice % 3 == 0 else "assistant"
        tree.add(Added(Message(id=number, role=role, content="", created_at=0.0), parent, choice % 30))
    return tree


def plain_path(node: Node) -> list[Node]:
    nodes = []
    while node.depth:
        nodes.append(node)
        node = node.parent
    return nodes[::-1]


@given(parents, st.data())
def test_an_ancestor_found_by_jumps_is_the_one_found_by_steps(choices: list[int], data: st.DataObject) -> None:
    tree = grown(choices)
    node = tree[data.draw(st.integers(0, len(choices)))]
    walked = [tree[0], *plain_path(node)]
    for depth in range(node.depth + 1):
        assert node.ancestor(depth) is walked[depth]
    assert node.turn is next((n for n in reversed(walked) if n.message.role == "user"), None)
    assert path(node) == [n.message for n in walked[1:]]


@given(parents, st.data())
def test_the_common_ancestor_is_the_last_shared_node(choices: list[int], data: st.DataObject) -> None:
    tree = grown(choices)
    a, b = (tree[data.draw(st.integers(0, len(choices)))] for _ in range(2))
    shared = [x for x, y in zip([tree[0], *plain_path(a)], [tree[0], *plain_path(b)], strict=False) if x is y]
    assert common(a, b) is shared[-1]


@given(parents, st.data())
def test_a_tail_is_as_long_as_its_bounds_allow_but_never_empty(choices: list[int], data: st.DataObject) -> None:
    tree = grown(choices)
    node = tree[data.draw(st.integers(0, len(choices)))]
    walked = [tree[0], *plain_path(node)]
    fits = [
        start
        for start in range(node.depth)
        if node.depth - start <= transcript.TAIL_MESSAGES and node.size - walked[start].size <= transcript.TAIL_BYTES
    ]
    assert node.tail_start() == min(fits, default=max(0, node.depth - 1))


seeds = st.lists(st.text(max_size=5), max_size=12)


@given(actions, seeds)
def test_the_fold_of_the_log_equals_the_state_that_was_lived_through(chosen: list[Action], seed: list[str]) -> None:
    history = lived(chosen, *seed)
    assert [step.after for step in fold(history.events, history.tree)] == history.states[1:]
    assert [event.revision for event in history.events] == list(range(1, len(history.events) + 1))


@given(actions, seeds)
def test_nothing_that_was_written_ever_leaves_the_tree(chosen: list[Action], seed: list[str]) -> None:
    history = History(*seed)
    for action in chosen:
        before = dict(history.tree.nodes)
        history.do(action)
        assert before.items() <= history.tree.nodes.items()


def test_the_usage_of_every_reply_is_added_to_what_came_with_an_import() -> None:
    tree = Tree()
    state, _ = advanced(State(), tree, begun(Created(input_tokens=10, output_tokens=1, estimated_cost=0.5)))
    for number in (1, 2):
        usage = Usage(input_tokens=7, output_tokens=3)
        reply = Message(id=number, role="assistant", content="", created_at=0.0, usage=usage, cost=0.25)
        decided = Decided(Replied(number), number, (Added(reply, number - 1, 0),))
        state, _ = advanced(state, tree, Outcome(events=(decided,)))
    assert (state.spent.input_tokens, state.spent.output_tokens, state.spent.cost) == (24, 7, 1.0)


class OldView:
    """What a client has that attached at some revision: the messages from `start` on, and the session's fields."""

    def __init__(self, history: History, revision: int) -> None:
        state = history.states[revision]
        head = history.tree[state.head]
        self.start = head.tail_start()
        self.messages = shown(history.tree, head, state.last_message, self.start)
        self.session = session_fields("s", state, OFFER, history.tree, running=False)

    def take(self, notification: Notification) -> None:
        match notification:
            case TranscriptSpliced(start=None):
                kept = notification.keep - self.start
                assert 0 <= kept <= len(self.messages), "a splice that this view cannot follow"
                # A view that begins later than the root must not be left without messages to show.
                assert self.start == 0 or kept > 0
                self.messages = self.messages[:kept] + notification.messages
            case TranscriptSpliced(start=int(start)):
                self.start, self.messages = start, notification.messages
            case SessionUpdated():
                self.session |= notification.session
            case Attached() | _:
                raise AssertionError("not for an event")


@settings(max_examples=300)
@given(actions, seeds, st.data())
def test_any_stale_view_plus_what_it_was_sent_equals_a_fresh_one(
    chosen: list[Action], seed: list[str], data: st.DataObject
) -> None:
    history = lived(chosen, *seed)
    is_told_all(history, data.draw(st.integers(0, len(history.events))))


def test_a_view_of_the_end_of_what_grew_message_by_message_is_replaced_once_less_is_left() -> None:
    history = lived([*[("submit", "x"), ("stop", None)] * 8, ("undo", 6)])
    for revision in range(len(history.events) + 1):
        is_told_all(history, revision)


def is_told_all(history: History, attached_at: int) -> None:
    """A client that attached at this revision has, with what it was sent since, what a new one has."""
    view = OldView(history, attached_at)
    for event in history.events[attached_at:]:
        before, after = history.states[event.revision - 1 : event.revision + 1]
        told = notifications(event, before, after, OFFER, history.tree)
        assert told, "a client knows a revision by what it is told"
        for notification in told:
            view.take(notification)
    fresh = shown(history.tree, history.tree[history.state.head], history.state.last_message)
    assert view.messages == fresh[view.start :]
    assert view.session == session_fields("s", history.state, OFFER, history.tree, running=False)


@given(actions, seeds)
def test_no_splice_carries_more_than_a_tail(chosen: list[Action], seed: list[str]) -> None:
    history = lived(chosen, *seed)
    for before, after in zip(history.states, history.states[1:], strict=False):
        sent: Any = splice(before, after, history.tree)
        assert sent is None or len(sent.messages) <= transcript.TAIL_MESSAGES


@given(parents, st.lists(st.integers(0, 10**6), max_size=40), st.integers(0, 10**6))
def test_a_message_was_last_on_screen_with_the_last_head_at_or_below_it(
    choices: list[int], moves: list[int], asked: int
) -> None:
    tree = grown(choices)
    heads = [move % (len(choices) + 1) for move in moves]
    for head in heads:
        tree.show(head)
    node = tree[asked % (len(choices) + 1)]
    shown_with = [head for head in (0, *heads) if node is tree[0] or node in plain_path(tree[head])]
    if shown_with:
        assert tree.last_shown(node).id == shown_with[-1]
        return
    newest = node
    while newest.children:
        newest = tree[newest.children[-1]]
    assert tree.last_shown(node) is newest


@given(actions, seeds)
def test_messages_know_how_many_have_the_same_parent_at_each_revision(chosen: list[Action], seed: list[str]) -> None:
    history = lived(chosen, *seed)
    for state in history.states:
        there = [node for node in history.tree.nodes.values() if 0 < node.id <= state.last_message]
        for message in shown(history.tree, history.tree[state.head], state.last_message):
            node = history.tree[message.id]
            siblings = sorted(other.id for other in there if other.parent is node.parent)
            variant = message.variant or transcript.Variant(1, 1)
            assert (variant.index, variant.count) == (siblings.index(message.id) + 1, len(siblings))


@given(actions, seeds)
def test_redoing_everything_brings_each_transcript_back_that_was_taken_off(
    chosen: list[Action], seed: list[str]
) -> None:
    # What was on screen when something was taken off, as far back as the last message that somebody sent.
    history = lived(chosen, *seed)
    taken: list[int] = []
    for event, before in zip(history.events, history.states, strict=False):
        match event.body:
            case Submitted() | QueueSent():
                taken = []
            case TakenBack() | Edited() | Dropped() if before.head != event.head:
                taken.append(before.head)
            case Redone(steps=steps):
                assert taken[-steps] == event.head
                del taken[-steps:]
            case _:
                pass
    while history.state.redo is not None:
        history.do(("redo", None))
        if not taken:
            break
        # A transcript that is on screen again already is no step.
        wanted = next((head for head in reversed(taken) if head != history.states[-2].head), None)
        if wanted is None:
            break
        assert history.state.head == wanted
        del taken[len(taken) - taken[::-1].index(wanted) - 1 :]
    assert not [head for head in taken if head != history.state.head]
