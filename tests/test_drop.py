"""/drop: one turn taken out, and what followed it kept as copies."""

from pathlib import Path

import pytest

from backchat.errors import NoSuchTurn
from backchat.transcript import Created, Dropped, Message, Origin, Replied, Spent, Usage
from tests.support.client import Refused, client
from tests.support.scripted import Scripted
from tests.support.server import running
from tests.support.talk import Talk, talked


def originals(talk: Talk) -> list[int | None]:
    """What each message of the transcript is a copy of."""
    found = [message.original for message in talk.shown]
    assert all(original is None or original.session_id is None for original in found)
    return [None if original is None else original.message_id for original in found]


@pytest.mark.parametrize(
    ("turn", "texts", "copied", "ids"),
    [
        (1, ["two", "TWO", "three", "THREE"], [3, 4, 5, 6], [7, 8, 9, 10]),
        (2, ["one", "ONE", "three", "THREE"], [None, None, 5, 6], [1, 2, 7, 8]),
        (3, ["one", "ONE", "two", "TWO"], [None, None, None, None], [1, 2, 3, 4]),
    ],
)
def test_one_turn_is_taken_out_and_what_follows_it_is_copied(
    turn: int, texts: list[str], copied: list[int | None], ids: list[int]
) -> None:
    talk = talked("one", "two", "three")
    outcome = talk.enter(f"/drop {turn}")
    assert (talk.texts, originals(talk), talk.ids) == (texts, copied, ids)
    word = ("one", "two", "three")[turn - 1]
    assert outcome.data == {"turn": turn, "removed_count": 2, "removed_preview": word}
    assert outcome.notice == f"Took turn {turn} out (2 messages). /redo brings it back."
    assert outcome.start is None
    body = talk.log[-1].body
    assert body == Dropped(2 * turn - 1, 6 - 2 * turn)
    assert talk.state.last_message == len(talk.tree.nodes) - 1


def test_what_stood_before_is_still_there_and_comes_back() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/drop 2")
    assert talk.variants == ["", "", "2/2", ""]
    talk.enter("/redo")
    assert (talk.ids, talk.variants) == ([1, 2, 3, 4, 5, 6], ["", "", "1/2", "", "", ""])
    talk.enter("/pick 3 2")
    assert talk.texts == ["one", "ONE", "three", "THREE"]


def test_messages_before_the_first_turn_stay_as_they_are() -> None:
    talk = Talk(("system", "be brief"), ("user", "a"), ("assistant", "A"), ("user", "b"))
    talk.enter("/drop 1")
    assert (talk.texts, talk.ids, originals(talk)) == (["be brief", "b"], [1, 5], [None, 4])


def test_a_turn_is_taken_out_with_its_tool_messages_and_all_else_up_to_the_next_one() -> None:
    talk = Talk(
        ("user", "a"), ("assistant", "call"), ("tool", "result"), ("assistant", "A"), ("system", "s"), ("user", "b")
    )
    assert talk.enter("/drop 1").data["removed_count"] == 5
    assert talk.texts == ["b"]


def test_two_questions_in_a_row_are_two_turns() -> None:
    talk = Talk(("user", "a"), ("user", "b"), ("assistant", "B"))
    assert talk.enter("/drop 1").data["removed_count"] == 1
    assert talk.texts == ["b", "B"]


def test_the_only_turn_of_a_session_can_be_taken_out() -> None:
    talk = talked("one")
    talk.enter("/drop 1")
    assert talk.ids == []
    talk.enter("/redo")
    assert talk.ids == [1, 2]


def test_a_copy_of_a_copy_names_the_very_first_original() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/drop 1")
    talk.enter("/drop 1")
    assert (talk.texts, talk.ids, originals(talk)) == (["three", "THREE"], [11, 12], [5, 6])
    assert talk.tree[7].message.original == Origin(3)


def test_a_copy_of_what_a_branch_has_copied_names_the_message_of_its_own_session() -> None:
    branch = talked("one", "two").enter("/branch").opens
    assert branch is not None
    body = branch.events[0].body
    assert isinstance(body, Created)
    talk = Talk(added=branch.events[0].added, created=body)
    assert talk.tree[3].message.original == Origin(3, "s")
    talk.enter("/drop 1")
    assert originals(talk) == [3, 4]


def test_a_copy_has_everything_but_the_run_that_wrote_its_original() -> None:
    talk = talked("one")
    talk.say("two")
    talk.answer("TWO", Usage(input_tokens=9, output_tokens=4))
    before = talk.tree[4].message
    assert before.run_id is not None
    talk.enter("/drop 1")
    assert talk.head.message == Message(
        id=6, role="assistant", content="TWO", created_at=before.created_at, finish=before.finish,
        model=before.model, usage=before.usage, cost=before.cost, original=Origin(4),
    )  # fmt: skip


def test_the_preview_is_that_of_the_turn() -> None:
    talk = Talk("x" * 41, "1", "two")
    assert talk.enter("/drop 1").data["removed_preview"] == "x" * 40 + "..."


def test_a_drop_stops_the_reply_that_is_being_written_and_what_it_had_written_stays_at_the_end() -> None:
    talk = talked("one")
    talk.say("two")
    talk.write("half")
    outcome = talk.enter("/drop 1")
    assert [type(decided.body) for decided in outcome.events] == [Replied, Dropped]
    assert outcome.stop is not None
    assert (talk.texts, talk.ids, originals(talk)) == (["two", "half"], [5, 6], [3, 4])
    assert talk.head.message.finish == "stopped"
    talk.enter("/redo")
    assert talk.texts == ["one", "ONE", "two", "half"]


def test_the_turn_that_is_being_answered_can_be_taken_out_with_what_was_written() -> None:
    talk = talked("one")
    talk.say("two")
    talk.write("half")
    assert talk.enter("/drop 2").data["removed_count"] == 2
    assert (talk.texts, talk.run) == (["one", "ONE"], None)


@pytest.mark.parametrize(
    ("talk", "turn", "said"),
    [
        (Talk(), 1, "The transcript has no turn 1; there are none."),
        (talked("one"), 2, "The transcript has no turn 2; there is 1."),
        (talked("one", "two"), 99999, "The transcript has no turn 99,999; there are 2."),
        (Talk(("system", "s")), 1, "The transcript has no turn 1; there are none."),
    ],
)
def test_a_turn_that_is_not_there_cannot_be_taken_out(talk: Talk, turn: int, said: str) -> None:
    with pytest.raises(NoSuchTurn) as caught:
        talk.enter(f"/drop {turn}")
    assert str(caught.value) == said
    assert caught.value.data["turns"] == talk.head.turns


# What it costs.


def counted() -> Talk:
    """Three turns, each of whose replies a provider has counted: the requests had 100, 200 and 300 tokens."""
    talk = Talk()
    for number in (1, 2, 3):
        talk.say("q" * 40)
        talk.answer("a" * 40, Usage(input_tokens=100 * number, output_tokens=10 * number))
    return talk


def test_what_was_taken_out_stays_billed_and_nothing_is_billed_twice() -> None:
    talk = counted()
    spent = talk.state.spent
    assert spent == Spent(600, 60, unpriced=3)
    talk.enter("/drop 1")
    assert talk.state.spent == spent
    talk.enter("/drop 1")
    assert talk.state.spent == spent


def test_what_is_on_screen_is_what_its_replies_took() -> None:
    talk = counted()
    talk.enter("/drop 2")
    on_screen = talk.enter("/usage").data["on_screen"]
    assert (on_screen["input_tokens"], on_screen["output_tokens"]) == (400, 40)


def test_the_next_request_is_estimated_without_what_was_taken_out() -> None:
    talk = counted()
    assert talk.enter("/usage").data["context_tokens"] == 330
    talk.enter("/drop 2")
    # 110 up to the first reply, which was counted; then two messages of 40 letters and a few bytes of JSON.
    context = talk.enter("/usage").data["context_tokens"]
    assert 110 + 20 <= context <= 110 + 30
    talk.enter("/drop 1")
    assert 20 <= talk.enter("/usage").data["context_tokens"] <= 30, "nothing of the old count is in it"
    talk.say("more")
    talk.answer("x", Usage(input_tokens=77, output_tokens=3))
    assert talk.enter("/usage").data["context_tokens"] == 80, "counted anew"


def test_the_system_prompt_counts_where_nothing_but_copies_is_on_screen() -> None:
    talk = counted()
    talk.enter("/drop 1")
    without = talk.enter("/usage").data["context_tokens"]
    talk.enter(f"/system {'s' * 400}")
    assert talk.enter("/usage").data["context_tokens"] == without + 100


# Over real sockets.


async def test_a_drop_reaches_every_client_and_lasts(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        for text in ("one", "two", "three"):
            await one.say(text)
        first = await one.submit("/drop 2", op_id="d", if_revision=one.view.revision)
        assert await two.submit("/drop 2", op_id="d") == {**first, "replayed": True}
        await two.at(first["revision"])
        assert two.view.texts == ["one", "one", "three", "three"]
        assert [message.get("original") for message in two.view.messages] == [
            None, None, {"message_id": 5}, {"message_id": 6},
        ]  # fmt: skip
        spliced = two.named("transcript.spliced")[-1]
        assert (spliced["keep"], len(spliced["messages"])) == (2, 2)
        assert one.view.facts() == two.view.facts()
        assert two.view.session["redo_steps"] == 1
        session_id, facts = one.session_id, one.view.facts()
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert one.view.facts() == facts
        await one.submit("/redo")
        assert one.view.texts == ["one", "one", "two", "two", "three", "three"]


async def test_a_reply_after_a_drop_is_asked_without_what_was_taken_out(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            for text in ("one", "two"):
                replies.say(text.upper())
                replies.end()
                await one.say(text)
            await one.submit("/drop 1")
            await one.submit("/retry")
            replies.say("other")
            replies.end()
            await one.until(lambda: one.view.texts == ["two", "other"])
            assert [message.content for message in replies.prompts[-1].messages] == ["two"]
            assert one.view.messages[-1]["variant"] == {"index": 2, "count": 2}
            assert one.view.session["title"] == "one"
            with pytest.raises(Refused) as caught:
                await one.submit("/drop 2")
            assert (caught.value.code, caught.value.error["data"]["turns"]) == ("no_such_turn", 1)
