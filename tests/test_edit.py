"""/edit: another text in place of a message of a person, beside it in the tree, and asked again."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backchat.commands import Invocation, parse
from backchat.errors import BadArgument, NoSuchMessage, NotEditable, NothingToEdit
from backchat.transcript import Edited, Replied
from tests.support.client import Refused, client
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.talk import Talk, talked

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def text(said: str) -> dict[str, str]:
    """A text part."""
    return {"type": "text", "text": said}


def test_edit_puts_another_text_in_place_of_the_last_message_and_asks_again() -> None:
    talk = talked("one", "two")
    outcome = talk.enter("/edit zwei")
    assert talk.texts == ["one", "ONE", "zwei"]
    assert outcome.data == {"message_id": 5, "edited": 3, "removed_count": 2}
    assert outcome.notice == "Edited message 3 (2 messages came off, which /redo brings back); asking again."
    assert outcome.start is not None
    assert outcome.start.parent == 5
    assert talk.tree[5].parent is talk.tree[3].parent
    talk.answer("ZWEI")
    assert talk.variants == ["", "", "2/2", ""]


def test_what_followed_the_old_message_stays_with_it() -> None:
    talk = talked("one", "two", "three")
    outcome = talk.enter("/edit 1 eins")
    assert outcome.data == {"message_id": 7, "edited": 1, "removed_count": 6}
    assert talk.texts == ["eins"]
    talk.answer("EINS")
    talk.enter("/pick 1")
    assert talk.ids == [1, 2, 3, 4, 5, 6]
    talk.enter("/pick 7")
    assert talk.texts == ["eins", "EINS"]


def test_a_message_that_is_off_screen_can_be_edited() -> None:
    talk = talked("one", "two")
    talk.enter("/undo")
    talk.say("other", "OTHER")
    outcome = talk.enter("/edit 3 zwei")
    assert outcome.data == {"message_id": 7, "edited": 3, "removed_count": 2}
    assert (talk.texts, talk.variants) == (["one", "ONE", "zwei"], ["", "", "3/3"])


def test_a_message_of_another_branch_can_be_edited() -> None:
    talk = talked("one", "two", "three")
    talk.enter("/edit 1 eins")
    talk.answer("EINS")
    outcome = talk.enter("/edit 5 drei")
    assert outcome.data == {"message_id": 9, "edited": 5, "removed_count": 2}
    assert talk.texts == ["one", "ONE", "two", "TWO", "drei"]


def test_a_message_that_nobody_answered_is_edited_too() -> None:
    talk = Talk("one")
    assert talk.enter("/edit eins").data == {"message_id": 2, "edited": 1, "removed_count": 1}


def test_without_a_backend_the_message_is_edited_and_nothing_is_asked() -> None:
    talk = talked("one", replies=False)
    outcome = talk.enter("/edit eins")
    assert (outcome.start, outcome.notice) == (None, "Edited message 1 (1 message came off, which /redo brings back).")
    assert talk.texts == ["eins"]


def test_an_edit_stops_the_reply_that_is_being_written_and_keeps_it_with_the_old_message() -> None:
    talk = talked("one")
    talk.say("two")
    talk.write("half")
    outcome = talk.enter("/edit zwei")
    assert [type(decided.body) for decided in outcome.events] == [Replied, Edited]
    assert outcome.stop is not None
    assert outcome.start is not None
    assert outcome.data == {"message_id": 5, "edited": 3, "removed_count": 2}
    talk.answer("ZWEI")
    talk.enter("/pick 3")
    assert talk.texts == ["one", "ONE", "two", "half"]


@pytest.mark.parametrize(
    ("content", "edited"),
    [
        ("plain", "new"),
        ([text("only")], "new"),
        ([text("one"), text("two")], "new"),
        ([IMAGE, text("what?")], [IMAGE, text("new")]),
        ([text("what?"), IMAGE], [text("new"), IMAGE]),
        ([IMAGE, text("a"), IMAGE, text("b")], [IMAGE, text("new"), IMAGE]),
        ([IMAGE], [IMAGE, text("new")]),
        ([IMAGE, {"type": "audio", "id": 7}], [IMAGE, {"type": "audio", "id": 7}, text("new")]),
        (["loose", text("a")], ["loose", text("new")]),
        ([], "new"),
        (None, "new"),
        ({"a": 1}, "new"),
    ],
)
def test_what_a_message_has_besides_its_text_stays(content: Any, edited: Any) -> None:
    talk = Talk(content)
    talk.enter("/edit new")
    assert talk.texts == [edited]
    assert talk.tree[1].message.content == content, "the old one is as it was"


def test_a_new_first_message_gives_a_new_title_unless_a_person_gave_one() -> None:
    talk = talked("one", "two")
    talk.enter("/edit 1 eins")
    assert talk.state.title == "eins"
    talk = talked("one")
    talk.enter("/title Mine")
    talk.enter("/edit eins")
    assert talk.state.title == "Mine"


def test_a_later_message_leaves_the_title_alone() -> None:
    talk = talked("one", "two")
    talk.enter("/edit zwei")
    assert talk.state.title == "one"


def test_there_must_be_a_message_of_a_person() -> None:
    for talk in (Talk(), Talk(("system", "s"), ("assistant", "a"))):
        with pytest.raises(NothingToEdit, match=r"^No message to edit\.$"):
            talk.enter("/edit text")
    with pytest.raises(NotEditable, match=r"^Message 2 is not a person's; only those can be edited\.$"):
        talked("one").enter("/edit 2 text")
    with pytest.raises(
        NoSuchMessage,
        match=r"^There is no message 1,234 in this session\. Put -- before a text that begins with a number\.$",
    ):
        talked("one").enter("/edit 1234 text")


# How a line is read.


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("/edit other words", {"text": "other words"}),
        ("/edit 3 rivers", {"message": 3, "text": "rivers"}),
        ("/edit #3 rivers", {"message": 3, "text": "rivers"}),
        ("/edit 003 rivers", {"message": 3, "text": "rivers"}),
        ("/edit -- 3 rivers", {"text": "3 rivers"}),
        ("/edit -- -- 3", {"text": "-- 3"}),
        ("/edit --3 rivers", {"text": "--3 rivers"}),
        ("/edit -- 42", {"text": "42"}),
        ("/edit   3   rivers  and  more ", {"message": 3, "text": "rivers  and  more"}),
        ("/edit 3\nrivers\nrun", {"message": 3, "text": "rivers\nrun"}),
        ("/edit\n3 rivers", {"message": 3, "text": "rivers"}),
        ("/edit 0 rivers", {"text": "0 rivers"}),
        ("/edit 3.5 rivers", {"text": "3.5 rivers"}),
        ("/edit -3 rivers", {"text": "-3 rivers"}),
        ("/edit ٣ rivers", {"text": "٣ rivers"}),
        ("/edit 3٣ rivers", {"text": "3٣ rivers"}),
        ("/edit # 3", {"text": "# 3"}),
        ("/edit ##3 x", {"text": "##3 x"}),
        ("/branch", {}),
        ("/branch 2026", {"message": 2026}),
        ("/branch #4", {"message": 4}),
        ("/branch 2026 plans", {"message": 2026, "title": "plans"}),
        ("/branch -- 2026 plans", {"title": "2026 plans"}),
        ("/branch -- 2026", {"title": "2026"}),
        ("/branch My plans", {"title": "My plans"}),
        ("/branch --", {}),
        ("/pick 4", {"message": 4}),
        ("/pick #4 2", {"message": 4, "variant": 2}),
    ],
)
def test_an_optional_message_before_a_text_is_the_first_word_if_that_is_a_number(line: str, values: Any) -> None:
    parsed = parse(line)
    assert isinstance(parsed, Invocation)
    assert parsed.values == values


TEXT = "/edit needs text. -- goes before a text that begins with a number. Usage: /edit [message] <text>"
PLACE = "place must be the number of a message, or @ and that of a revision. Usage: /goto <message|@revision>"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/edit", "/edit needs text. Usage: /edit [message] <text>"),
        ("/edit 42", TEXT),
        ("/edit #42", TEXT),
        ("/edit --", "/edit needs text. Usage: /edit [message] <text>"),
        ("/pick", "/pick needs message. Usage: /pick <message> [variant]"),
        ("/pick -- 1", "message must be the number of a message. Usage: /pick <message> [variant]"),
        ("/pick @1", "message must be the number of a message. Usage: /pick <message> [variant]"),
        ("/goto", "/goto needs place. Usage: /goto <message|@revision>"),
        ("/goto x", PLACE),
        ("/goto @0", PLACE),
        ("/goto @", PLACE),
        ("/goto 1 2", "/goto takes fewer arguments. Usage: /goto <message|@revision>"),
        ("/drop", "/drop needs turn. Usage: /drop <turn>"),
        ("/drop #1", "turn must be a whole number from 1. Usage: /drop <turn>"),
        ("/redo 0", "turns must be a whole number from 1. Usage: /redo [turns]"),
        ("/redo x", "turns must be a whole number from 1. Usage: /redo [turns]"),
        ("/log 0", "count must be a whole number from 1. Usage: /log [count]"),
        ("/next 1", "/next takes no argument. Usage: /next"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_says_what_it_takes(line: str, said: str) -> None:
    with pytest.raises(BadArgument) as caught:
        parse(line)
    assert str(caught.value) == said


def test_a_number_of_a_thousand_digits_is_no_message_and_no_fault() -> None:
    talk = talked("one")
    for line in ("/edit {} text", "/branch {}", "/goto #{}", "/pick {}"):
        with pytest.raises(NoSuchMessage):
            talk.enter(line.format("9" * 5000))


# Over real sockets.


async def test_an_edit_with_an_image_is_asked_with_the_image_and_shown_to_everyone(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Scripted(server)
        async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
            for _ in range(2):
                replies.say("an answer")
                replies.end()
            await one.request("submit", content=[text("What is this?"), IMAGE])
            await two.until(lambda: len(two.view.messages) == 2)
            await two.submit("/edit And this?", if_revision=two.view.revision, op_id="e")
            await one.until(lambda: len(one.named("run.ended")) == 2)
            expected = [text("And this?"), IMAGE]
            assert replies.prompts[-1].messages[-1].content == expected
            assert one.view.texts[0] == expected
            assert one.view.messages[0]["variant"] == {"index": 2, "count": 2}
            spliced = one.named("transcript.spliced")[-2]
            assert (spliced["keep"], spliced["cause"]["command"]) == (0, "edit")


async def test_an_edit_sent_twice_asks_once(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.say("one")
        first = await one.submit("/edit eins", op_id="e")
        await one.until(lambda: one.view.texts == ["eins", "eins"])
        assert await one.submit("/edit eins", op_id="e") == {**first, "replayed": True}
        with pytest.raises(Refused) as caught:
            await one.submit("/edit zwei", op_id="e")
        assert caught.value.code == "op_id_reused"
        assert (await one.submit("/status"))["revision"] == one.view.revision
        assert one.view.texts == ["eins", "eins"]


async def test_the_title_that_an_edit_gives_reaches_clients_and_the_list_of_sessions(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await one.say("one")
        await one.submit("/edit eins")
        await one.until(lambda: one.view.run is None)
        assert one.view.session["title"] == "eins"
        status = await one.submit("/status")
        assert status["data"]["title"] == "eins"
    db = sqlite3.connect(tmp_path / "backchat.db")
    assert db.execute("SELECT title FROM session").fetchall() == [("eins",)]
    db.close()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("/edit text", "nothing_to_edit"),
        ("/edit 7 text", "no_such_message"),
        ("/edit", "bad_argument"),
    ],
)
async def test_the_errors_of_an_edit_have_names(server: Running, line: str, code: str) -> None:
    async with client(server.ws()) as one:
        with pytest.raises(Refused) as caught:
            await one.submit(line)
        assert caught.value.code == code
        await one.say("one")
        with pytest.raises(Refused) as caught:
            await one.submit("/edit 2 text")
        assert caught.value.code == "not_editable"
