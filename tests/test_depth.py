"""What commands cost on a transcript of ten thousand messages (DESIGN section 2: no operation costs more because the
transcript is longer), and that none of them runs out of stack."""

import pytest

from backchat import transcript
from backchat.transcript import TAIL_MESSAGES, Added, Message, Node
from tests.support.client import client
from tests.support.server import Running
from tests.support.stored import put
from tests.support.talk import Talk, chain
from tests.support.views import AT

MANY = 10_000
VISITS = 50 * 14
"""A move takes a few walks by jumps, each of a few steps for every power of two in MANY."""


class Walked(Node):
    """A node that counts how often somebody steps from it to the one above it."""

    __slots__ = ("_jump", "_parent")
    visits = 0

    @property
    def parent(self) -> Node:
        Walked.visits += 1
        return self._parent

    @parent.setter
    def parent(self, node: Node) -> None:
        self._parent = node

    @property
    def jump(self) -> Node:
        Walked.visits += 1
        return self._jump

    @jump.setter
    def jump(self, node: Node) -> None:
        self._jump = node


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> type[Walked]:
    """Trees of nodes that count."""
    monkeypatch.setattr(transcript, "Node", Walked)
    monkeypatch.setattr("backchat.ops.Node", Walked)
    return Walked


def long(count: int = MANY) -> Talk:
    """A session of so many messages."""
    return Talk(*(str(number) for number in range(count)))


def visits(walked: type[Walked], talk: Talk, line: str) -> int:
    """How many steps a line takes; its reply, if it asks for one, comes after that."""
    walked.visits = 0
    talk.enter(line)
    took = walked.visits
    if talk.run is not None:
        talk.answer("!")
    return took


LINES = ["/undo", "/redo", "/undo 4000", "/redo", "/retry", "/prev", "/next", "/redo", "/goto 8", "/pick 9", "/pick 8",
         "/edit 9 neun", "/redo", "/pick 9 2", "/pick 9 1", "/goto 10", "/goto @1", "/clear", "/redo", "/goto @2",
         "a message", "/prev", "/drop 5000"]  # fmt: skip


def test_nothing_that_moves_the_head_walks_the_transcript(walked: type[Walked]) -> None:
    talk = long()
    assert (talk.head.depth, VISITS < MANY / 10) == (MANY, True)
    for line in LINES:
        assert visits(walked, talk, line) < VISITS, line


def test_moving_to_and_fro_costs_the_same_each_time(walked: type[Walked]) -> None:
    talk = long()
    talk.enter("/edit 9 neun")
    talk.answer("NEUN")
    for number in range(200):
        assert visits(walked, talk, f"/pick 9 {number % 2 + 1}") < VISITS


def test_a_message_with_thousands_of_variants_is_found_among_them(walked: type[Walked]) -> None:
    added = chain("q", "1")
    added += [Added(Message(id=n, role="assistant", content=str(n), created_at=AT), 1, 9) for n in range(3, 2000)]
    talk = Talk(added=added, head=2)
    for line in ("/next", "/pick 2 1500", "/prev", "/undo", "/redo"):
        assert visits(walked, talk, line) < VISITS, line
    assert talk.variants == ["", "1499/1998"]


def test_ten_thousand_steps_are_redone_at_once() -> None:
    talk = long()
    for _ in range(MANY // 2):
        talk.enter("/undo")
    assert talk.ids == []
    assert talk.state.redo is not None
    assert talk.state.redo.steps == MANY // 2
    (before, steps) = talk.loaded()
    assert steps[-1].after == talk.state
    outcome = talk.enter("/redo 999999")
    assert (talk.head.depth, outcome.data["turns"], talk.redo) == (MANY, MANY // 2, [])
    assert before.last_shown(before[1]).id == 2


def test_thousands_of_variants_can_be_chosen_one_after_another(walked: type[Walked]) -> None:
    # A comb: every second message has another one beside it, in which the transcript was left at some time.
    talk = long(1000)
    for number in range(1, 1000, 2):
        talk.enter(f"/edit {number} other")
        talk.answer("!")
    for number in range(1, 1000, 2):
        assert visits(walked, talk, f"/pick {number} 2") < VISITS
        assert talk.texts[-2:] == ["other", "!"]
    visits(walked, talk, "/pick 999 1")
    assert talk.head.depth == 1000


@pytest.mark.parametrize("line", ["/drop 1", "/branch", "/undo 99999", "/edit 1 eins", "/log", "/usage", "/status"])
def test_no_command_runs_out_of_stack(line: str) -> None:
    talk = long()
    talk.enter(line)
    if line == "/drop 1":
        assert (talk.head.depth, talk.texts[:2]) == (MANY - 2, ["2", "3"])
        assert len(talk.tree.nodes) == 2 * MANY - 1
    if talk.opened:
        assert len(talk.opened[0].events[0].added) == MANY
    tree, steps = talk.loaded()
    assert (steps[-1].after, tree[talk.state.head].depth) == (talk.state, talk.head.depth)


async def test_a_long_session_is_taken_back_and_brought_back_over_real_sockets(server: Running) -> None:
    put(server.settings.data, "long", chain(*map(str, range(MANY))), MANY)
    async with client(server.ws("long")) as one, client(server.ws("long")) as two:
        for line in ("/clear", "/redo", "/drop 1", "/redo", "/goto 5", "/pick 9", "/goto @1"):
            result = await two.submit(line)
            await one.at(result["revision"])
            assert one.view.facts() == two.view.facts()
        assert one.view.start == MANY - TAIL_MESSAGES
        assert one.view.texts == [str(number) for number in range(MANY - TAIL_MESSAGES, MANY)]
        new_id = (await two.submit("/branch 9999"))["data"]["session_id"]
        async with client(server.ws(new_id)) as new:
            assert new.view.session["message_count"] == MANY - 1


def test_a_message_in_an_untitled_session_does_not_walk_its_turns(walked: type[Walked]) -> None:
    # A first message without a text gives no title, so each message looks for one again.
    talk = Talk(*([{"type": "image"}] if number == 0 else str(number) for number in range(MANY)))
    assert visits(walked, talk, "a message") < VISITS
    assert talk.state.title is None
