"""Variants: messages with one parent, how clients are told of them, and how one chooses between them."""

import asyncio
import copy
import threading
from pathlib import Path
from typing import Any

import pytest

from backchat.errors import BadArgument, NoSuchMessage, NoSuchVariant
from backchat.transcript import (
    TAIL_MESSAGES,
    Added,
    Message,
    Picked,
    Replied,
    RunStopped,
    Variant,
)
from tests.support.client import PATIENCE, Client, Json, Refused, client
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.stored import put
from tests.support.talk import Talk, chain, talked
from tests.support.views import AT

# What makes variants.


def test_a_message_without_siblings_says_nothing_of_variants() -> None:
    assert talked("one", "two").variants == ["", "", "", ""]


def test_a_retry_makes_the_new_reply_a_variant_of_the_old_one() -> None:
    talk = talked("one")
    for answer, variant in (("2", "2/2"), ("3", "3/3")):
        talk.enter("/retry")
        assert talk.variants == [""]
        talk.answer(answer)
        assert talk.variants == ["", variant]


def test_a_new_message_after_an_undo_is_a_variant_of_the_old_one() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/undo 2")
    talk.say("zwei", "ZWEI")
    assert talk.variants == ["", "", "2/2", ""]


def test_an_edit_makes_a_variant_of_the_message_it_replaces() -> None:
    talk = talked("one")
    talk.enter("/edit eins")
    talk.answer("EINS")
    talk.enter("/edit uno")
    assert talk.variants == ["3/3"]


def test_the_first_messages_of_a_session_can_be_variants_too() -> None:
    talk = talked("one")
    talk.enter("/clear")
    talk.say("uno", "UNO")
    assert talk.variants == ["2/2", ""]
    talk.enter("/prev")
    assert talk.texts == ["one", "ONE"]


def test_variants_are_numbered_in_the_order_they_came_whichever_is_on_screen() -> None:
    talk = talked("one")
    for answer in "23":
        talk.enter("/retry")
        talk.answer(answer)
    for line, variant, text in (("/pick 2", "1/3", "ONE"), ("/pick 3", "2/3", "2"), ("/pick 4", "3/3", "3")):
        talk.enter(line)
        assert (talk.variants[-1], talk.texts[-1]) == (variant, text)


# The last turn: /prev and /next.


def three_answers() -> Talk:
    """A session with three answers to its last message, the third on screen."""
    talk = talked("zero", "one")
    for answer in "23":
        talk.enter("/retry")
        talk.answer(answer)
    return talk


def test_prev_and_next_go_through_the_answers_to_the_last_message() -> None:
    talk = three_answers()
    seen = []
    for line in ("/prev", "/prev", "/next", "/next"):
        outcome = talk.enter(line)
        seen.append((talk.texts[-1], outcome.data["variant"], outcome.data["message_id"]))
        assert outcome.data["removed_count"] == outcome.data["restored_count"] == 1
    assert seen == [
        ("2", Variant(2, 3), 5), ("ONE", Variant(1, 3), 4), ("2", Variant(2, 3), 5), ("3", Variant(3, 3), 6),
    ]  # fmt: skip
    assert talk.bodies[-4:] == [Picked] * 4


def test_what_was_chosen_is_said() -> None:
    assert three_answers().enter("/prev").notice == "Message 5. Variant 2 of 3. 2"
    talk = talked("x" * 61)
    assert talk.enter("/pick 1").notice == "Message 1. " + "x" * 60 + "..."


@pytest.mark.parametrize(("lines", "word"), [(["/next"], "later"), (["/prev", "/prev", "/prev"], "earlier")])
def test_there_is_nothing_before_the_first_variant_nor_after_the_last(lines: list[str], word: str) -> None:
    talk = three_answers()
    for line in lines[:-1]:
        talk.enter(line)
    before = talk.state
    with pytest.raises(NoSuchVariant, match=rf"^The last turn has no {word} variant\.$"):
        talk.enter(lines[-1])
    assert talk.state is before


@pytest.mark.parametrize("talk", [Talk(), talked("one"), Talk(("system", "s")), Talk("one")])
@pytest.mark.parametrize("line", ["/prev", "/next"])
def test_where_the_last_turn_has_no_variants_there_are_none_to_go_to(talk: Talk, line: str) -> None:
    with pytest.raises(NoSuchVariant):
        talk.enter(line)


def test_prev_and_next_go_through_the_questions_where_the_answers_go_no_further() -> None:
    talk = talked("zero", "one")
    talk.enter("/edit uno")
    talk.answer("UNO")
    talk.enter("/retry")
    talk.answer("UNO!")
    seen = []
    for line in ("/prev", "/prev", "/next"):
        talk.enter(line)
        seen.append(talk.texts[2:])
    assert seen == [["uno", "UNO"], ["one", "ONE"], ["uno", "UNO"]]
    talk.enter("/next")
    assert talk.texts[2:] == ["uno", "UNO!"]


def test_prev_and_next_never_leave_the_last_turn() -> None:
    talk = talked("one")
    talk.enter("/retry")
    talk.answer("2")
    talk.say("more", "MORE")
    for line in ("/prev", "/next"):
        with pytest.raises(NoSuchVariant):
            talk.enter(line)


def test_prev_and_next_find_variants_among_tool_messages_in_the_middle_of_the_last_turn() -> None:
    # user 1, assistant 2 (a call), tool 3, assistant 4; and assistant 5 instead of 2.
    said = [("user", "q"), ("assistant", "call"), ("tool", "result"), ("assistant", "end")]
    added = [*chain(*said), Added(Message(id=5, role="assistant", content="other", created_at=AT), 1, 9)]
    talk = Talk(added=added, head=4)
    talk.enter("/next")
    assert talk.texts == ["q", "other"]
    talk.enter("/prev")
    assert talk.texts == ["q", "call", "result", "end"]


def test_while_a_reply_has_no_word_yet_the_newest_answer_is_the_one_before_it() -> None:
    talk = three_answers()
    talk.enter("/prev")
    talk.enter("/retry")
    outcome = talk.enter("/prev")
    assert (talk.texts[-1], talk.variants[-1]) == ("3", "3/3")
    assert [type(decided.body) for decided in outcome.events] == [Picked]
    assert outcome.stop is not None
    assert talk.run is None


def test_while_a_reply_is_being_written_it_is_kept_and_the_newest_answer_is_the_one_before_it() -> None:
    talk = three_answers()
    talk.enter("/retry")
    talk.write("half")
    outcome = talk.enter("/prev")
    assert [type(decided.body) for decided in outcome.events] == [Replied, Picked]
    assert (talk.texts[-1], talk.variants[-1]) == ("3", "3/4")
    assert outcome.data["variant"] == Variant(3, 4), "what it was then is not what it is now"
    assert outcome.notice == "The reply that was being written was stopped.\nMessage 6. Variant 3 of 4. 3"
    talk.enter("/next")
    assert (talk.texts[-1], talk.head.message.finish) == ("half", "stopped")


def test_after_the_reply_that_is_being_written_there_is_none_and_it_goes_on() -> None:
    talk = three_answers()
    talk.enter("/retry")
    with pytest.raises(NoSuchVariant):
        talk.enter("/next")
    assert talk.run is not None


def test_the_first_reply_to_an_edited_message_goes_back_to_the_message_before_the_edit() -> None:
    talk = talked("one")
    talk.enter("/edit uno")
    talk.enter("/prev")
    assert (talk.texts, talk.run) == (["one", "ONE"], None)


def test_a_message_that_nothing_answers_any_more_goes_back_to_its_newest_answer() -> None:
    talk = three_answers()
    talk.enter("/goto 3")
    talk.enter("/prev")
    assert talk.texts[-1] == "3"


# /pick.


def test_pick_takes_a_message_or_one_of_its_variants() -> None:
    talk = three_answers()
    outcome = talk.enter("/pick 4")
    assert outcome.data == {
        "message_id": 4, "variant": Variant(1, 3), "removed_count": 1, "restored_count": 1,
    }  # fmt: skip
    assert talk.texts[-1] == "ONE"
    outcome = talk.enter("/pick #4 2")
    assert (outcome.data["message_id"], talk.texts[-1]) == (5, "2")
    talk.enter("/pick 5 1")
    assert talk.texts[-1] == "ONE"


def test_choosing_a_variant_brings_back_the_path_below_it_that_was_last_on_screen() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/edit 3 zwei")
    talk.answer("ZWEI")
    talk.say("drei", "DREI")
    talk.enter("/edit dodici")
    talk.answer("DODICI")
    talk.enter("/prev")
    assert talk.texts[2:] == ["zwei", "ZWEI", "drei", "DREI"]
    talk.enter("/pick 3")
    assert talk.texts[2:] == ["two", "TWO", "three", "THREE"]
    talk.enter("/undo")
    talk.enter("/pick 3 2")
    assert talk.texts[2:] == ["zwei", "ZWEI", "drei", "DREI"], "not the newest: the one that was last on screen"
    talk.enter("/pick 3 1")
    assert talk.texts[2:] == ["two", "TWO"], "as it was when it was left, after the undo"


def test_picking_a_message_on_screen_brings_its_own_transcript_and_so_changes_nothing() -> None:
    talk = three_answers()
    outcome = talk.enter("/pick 1")
    assert outcome.events == ()
    assert outcome.data == {"message_id": 1, "variant": None, "removed_count": 0, "restored_count": 0}


def test_picking_what_is_on_screen_leaves_the_reply_alone_that_is_being_written() -> None:
    talk = three_answers()
    talk.enter("/retry")
    for line in ("/pick 1", "/pick 3"):
        assert talk.enter(line).events == ()
    assert talk.run is not None


def test_picking_a_message_off_screen_stops_the_reply_and_keeps_it() -> None:
    talk = three_answers()
    talk.say("two")
    talk.write("half")
    outcome = talk.enter("/pick 4")
    assert [type(decided.body) for decided in outcome.events] == [Replied, Picked]
    assert outcome.data["removed_count"] == 3, "the old answer, the question and what there was of the new one"
    assert outcome.data["variant"] == Variant(1, 3)
    talk.enter("/pick 6")
    assert talk.texts[-1] == "half"


def test_picking_a_message_deep_in_another_branch_shows_that_branch_to_the_end_that_it_had() -> None:
    talk = talked("one", "two", "three", "four")
    talk.enter("/edit 1 eins")
    talk.answer("EINS")
    talk.enter("/pick 4")
    assert talk.texts == ["one", "ONE", "two", "TWO", "three", "THREE", "four", "FOUR"]


def test_picking_a_message_in_the_middle_of_a_branch_shows_that_branch_as_it_was_left_not_its_newest_end() -> None:
    talk = talked("one", "two", "three", "four")
    talk.enter("/undo")
    talk.enter("/edit 1 eins")
    talk.answer("EINS")
    talk.enter("/pick 4")
    assert talk.ids == [1, 2, 3, 4, 5, 6]


def test_what_came_with_an_import_and_was_never_on_screen_shows_its_newest_end() -> None:
    # 1 - 2, and beside 2: 3 - 4 and 3 - 5 - 6.
    said = [(1, 0, "user"), (2, 1, "assistant"), (3, 1, "assistant"), (4, 3, "user"), (5, 3, "user"), (6, 5, "user")]
    added = [Added(Message(id=n, role=role, content=str(n), created_at=AT), parent, 9) for n, parent, role in said]
    talk = Talk(added=added, head=2)
    assert talk.variants == ["", "1/2"]
    talk.enter("/pick 3")
    assert talk.ids == [1, 3, 5, 6]
    assert talk.variants == ["", "2/2", "2/2", ""]


def test_a_path_that_another_one_has_cut_in_two_is_below_the_cut_as_it_was_left() -> None:
    # 1 - 2 - 3 - 4 on screen, 5 beside 4, and 6 beside 3.
    said = [
        (1, 0, "user"),
        (2, 1, "assistant"),
        (3, 2, "user"),
        (4, 3, "assistant"),
        (5, 3, "assistant"),
        (6, 2, "user"),
    ]
    added = [Added(Message(id=n, role=role, content=str(n), created_at=AT), parent, 9) for n, parent, role in said]
    talk = Talk(added=added, head=4)
    talk.enter("/clear")
    talk.enter("/goto 6")
    talk.enter("/pick 3")
    assert talk.ids == [1, 2, 3, 4]


def test_a_choice_is_a_fact_of_the_log() -> None:
    talk = three_answers()
    revision = talk.state.revision
    talk.enter("/prev")
    assert (talk.state.revision, talk.bodies[-1]) == (revision + 1, Picked)
    assert talk.state.transcript_revision == revision + 1
    _, steps = talk.loaded()
    assert steps[-1].after.head == 5


@pytest.mark.parametrize("line", ["/pick 99", "/pick #99 1", "/goto 99", "/pick 1000000000000000000000"])
def test_a_message_that_is_not_there_cannot_be_picked(line: str) -> None:
    with pytest.raises(NoSuchMessage, match=r"^There is no message [\d,]+ in this session\.$"):
        talked("one").enter(line)


def test_the_root_is_no_message() -> None:
    with pytest.raises(BadArgument):
        talked("one").enter("/pick 0")
    with pytest.raises(BadArgument):
        talked("one").enter("/goto #0")


@pytest.mark.parametrize(
    ("line", "said"),
    [("/pick 4 4", "Message 4 has 3 variants, no 4."), ("/pick 1 2", "Message 1 has 1 variant, no 2.")],
)
def test_a_variant_that_is_not_there_cannot_be_picked(line: str, said: str) -> None:
    with pytest.raises(NoSuchVariant) as caught:
        three_answers().enter(line)
    assert str(caught.value) == said


# What clients are told, over real sockets.


def variants(messages: list[Json]) -> list[tuple[Any, Any]]:
    """Each message's content and its variant."""
    return [
        (message["content"], tuple(message["variant"].values()) if "variant" in message else None)
        for message in messages
    ]


async def answered(replies: Scripted, one: Client, line: str, *answer: str) -> None:
    """Sends a line and has the reply that it starts say this."""
    replies.say(*answer)
    replies.end()
    result = await one.submit(line)
    assert result["revision"]
    await one.until(lambda: one.view.run is None and one.view.texts and one.view.texts[-1] == "".join(answer))


async def test_snapshots_splices_and_pages_say_which_variant_each_message_is(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            await answered(replies, one, "one", "first")
            assert variants(one.view.messages) == [("one", None), ("first", None)]
            await answered(replies, one, "/retry", "second")
            (said,) = one.named("transcript.spliced")[-1]["messages"]
            assert said["variant"] == {"index": 2, "count": 2}
            result = await one.submit("/prev")
            assert result["data"]["variant"] == {"index": 1, "count": 2}
            (said,) = one.named("transcript.spliced")[-1]["messages"]
            assert (said["content"], said["variant"]) == ("first", {"index": 1, "count": 2})
            expected = [("one", None), ("first", (1, 2))]
            async with client(server.ws(one.session_id)) as late:
                assert variants(late.attached["messages"]) == expected
                page = await late.request("messages", before=2, limit=2)
                assert variants(page["messages"]) == expected
                page = await late.request("messages", before=1)
                assert variants(page["messages"]) == expected[:1]
            session_id = one.session_id
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert variants(one.attached["messages"]) == expected
        assert (await one.submit("/next"))["data"]["variant"] == {"index": 2, "count": 2}
        assert variants(one.view.messages) == [("one", None), ("second", (2, 2))]


async def test_a_resume_tells_variants_as_they_were_at_each_revision(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one:
            await answered(replies, one, "one", "1")
            revision, log, session_id = one.view.revision, one.view.log, one.session_id
            old = copy.deepcopy(one.view)
            for answer in "234":
                await answered(replies, one, "/retry", answer)
            await one.submit("/pick 2")
            live = one.named("transcript.spliced")
            query = f"after={revision}&log={log}"
            async with client(server.ws(session_id, query), old) as resumed:
                missed = [event["params"] for event in resumed.attached["events"] if "keep" in event["params"]]
                assert missed == [spliced for spliced in live if spliced["revision"] > revision]
                told = [variants(spliced["messages"]) for spliced in missed if spliced["messages"]]
                assert told == [[("2", (2, 2))], [("3", (3, 3))], [("4", (4, 4))], [("1", (1, 4))]]
                assert resumed.view.facts() == one.view.facts()


async def test_what_is_staged_and_not_yet_durable_is_no_variant_for_anybody(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await one.say("one")
        await one.submit("/undo")
        store: Any = server.backchat._store
        write, gate, waits = store._writer.write, threading.Event(), threading.Event()

        def held(*batch: Any) -> Any:
            waits.set()
            assert gate.wait(PATIENCE)
            return write(*batch)

        await one.submit("/redo")
        store._writer.write = held
        try:
            number = await one.send("submit", text="/edit uno")
            assert await asyncio.to_thread(waits.wait, PATIENCE)
            async with client(server.ws(one.session_id)) as late:
                assert variants(late.attached["messages"]) == [("one", None), ("one", None)]
                found = await late.request("complete", text="/pick 1 ")
                assert [candidate["value"] for candidate in found["candidates"]] == ["1"]
                gate.set()
                await one.reply(number)
                await late.until(lambda: late.view.texts[:1] == ["uno"])
                assert late.view.messages[0]["variant"] == {"index": 2, "count": 2}
        finally:
            gate.set()
            store._writer.write = write


async def test_a_page_knows_no_variant_that_came_after_it_was_asked_for(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        store: Any = server.backchat._store
        write, gate = store._writer.write, threading.Event()

        def held(*batch: Any) -> Any:
            assert gate.wait(PATIENCE)
            return write(*batch)

        store._writer.write = held
        try:
            await one.send("submit", text="/title T")
            page = await one.send("messages", before=2)
            edited = await one.send("submit", text="/edit uno")
            # A later frame is answered once the earlier ones have been decided.
            await one.request("complete", text="/")
        finally:
            gate.set()
            store._writer.write = write
        assert variants((await one.reply(page))["messages"]) == [("one", None), ("one", None)]
        await one.reply(edited)


async def test_a_choice_reaches_every_client_and_lasts(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            await answered(replies, one, "one", "1")
            await answered(replies, one, "/retry", "2")
            await answered(replies, one, "more", "m")
            await two.submit("/pick 2", op_id="choice")
            await one.until(lambda: one.view.texts == ["one", "1"])
            assert one.named("transcript.spliced")[-1]["cause"] == {
                "op_id": "choice", "command": "pick", "connection": two.view.connection, "name": two.attached["name"],
            }  # fmt: skip
            assert one.view.facts() == two.view.facts()
            session_id = one.session_id
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        assert one.view.texts == ["one", "1"]
        await one.submit("/next")
        assert one.view.texts == ["one", "2", "more", "m"]


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_was_last_on_screen_is_known_while_a_session_is_in_memory_and_once_it_is_loaded(
    tmp_path: Path, restarts: bool
) -> None:
    async with running(tmp_path, backend="none") as server, client(server.ws()) as one:
        for line in ("one", "two", "three", "/undo", "/edit 1 eins"):
            await one.submit(line)
        session_id = one.session_id
        if not restarts:
            await one.submit("/pick 1")
            assert one.view.texts == ["one", "two"], "as it was left, not its newest end"
    if restarts:
        async with running(tmp_path, backend="none") as server, client(server.ws(session_id)) as one:
            await one.submit("/pick 1")
            assert one.view.texts == ["one", "two"]


async def test_prev_before_the_first_word_ends_the_run_for_everybody(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            await answered(replies, one, "one", "1")
            run_id = (await one.submit("/retry"))["revision"]
            await two.until(lambda: two.view.run)
            await two.submit("/prev")
            await one.until(lambda: one.view.run is None)
            assert (one.view.texts, run_id) == (["one", "1"], two.view.revision - 1)
            assert one.named("run.ended")[-1]["reason"] == "stopped"
            assert one.view.messages[-1].get("variant") is None


async def test_a_page_of_a_long_transcript_says_variants_too(server: Running) -> None:
    half = TAIL_MESSAGES
    added = [
        Added(Message(id=n, role=("assistant", "user")[n % 2], content=str(n), created_at=AT), n - 1, 9)
        for n in range(1, 2 * half + 1)
    ]
    added.append(Added(Message(id=2 * half + 1, role="user", content="other", created_at=AT), 2, 9))
    put(server.settings.data, "long", added, 2 * half)
    async with client(server.ws("long")) as one:
        assert one.view.start == half
        page = await one.request("messages", before=half)
        assert [message["id"] for message in page["messages"] if "variant" in message] == [3]
        assert page["messages"][2]["variant"] == {"index": 1, "count": 2}
        await one.submit("/pick 3 2")
        assert variants(one.view.messages)[-1] == ("other", (2, 2))


async def test_errors_have_names_that_a_program_can_go_by(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        for line, code in (
            ("/next", "no_such_variant"),
            ("/prev", "no_such_variant"),
            ("/pick 1 2", "no_such_variant"),
            ("/pick 3", "no_such_message"),
            ("/pick", "bad_argument"),
            ("/pick one", "bad_argument"),
            ("/pick 1 0", "bad_argument"),
            ("/pick 1 1 1", "bad_argument"),
            ("/prev 1", "bad_argument"),
        ):
            with pytest.raises(Refused) as caught:
                await one.submit(line)
            assert (line, caught.value.code) == (line, code)
        assert (await one.submit("/status"))["revision"] == one.view.revision


def test_a_stop_before_the_first_word_leaves_no_variant() -> None:
    talk = talked("one")
    talk.enter("/retry")
    talk.enter("/stop")
    assert talk.bodies[-1] is RunStopped
    assert talk.variants == [""]
    talk.enter("/pick 2")
    assert talk.variants == ["", ""]


def test_what_a_person_said_next_is_no_answer_that_prev_could_show() -> None:
    talk = talked("one", "two", replies=False)
    talk.enter("/undo")
    with pytest.raises(NoSuchVariant):
        talk.enter("/prev")
