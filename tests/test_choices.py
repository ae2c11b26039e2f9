"""What a person chooses: title, model, personality, system prompt, a new session, a clear transcript, help."""

import contextlib
import copy
import json
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from backchat import ops
from backchat.choices import MOST_MODEL, MOST_SYSTEM, MOST_TITLE
from backchat.commands import TABLE, Invocation, parse
from backchat.errors import InvalidParams, NoSuchPersonality, SettingError, TooLarge, UnknownCommand
from backchat.importer import import_files
from backchat.prompts import personalities
from backchat.store.sqlite import Database
from backchat.transcript import (
    Created,
    ModelChosen,
    Opened,
    PersonalityChosen,
    Replied,
    Submitted,
    SystemChosen,
    TakenBack,
    Titled,
    Usage,
)
from backchat.views import LiveRun, Offer, Opening, Outcome, StopRun, View
from tests.support.client import PATIENCE, Client, Refused, client, eventually
from tests.support.histories import Action, actions, lived
from tests.support.offering import Offering
from tests.support.server import Running, running
from tests.support.views import advanced, view

Json = dict[str, Any]

PICTURE: Json = {"type": "image_url", "text": "not said", "image_url": {"url": "data:"}}

OFFER = Offer(
    replies=True,
    model="one",
    models=("one", "two"),
    personalities={"Pirate": "You are a pirate.", "tutor": "You teach."},
)


def decided(before: View, line: str) -> Outcome:
    """What a typed line does."""
    match parse(line):
        case Invocation() as invocation:
            return invocation.decide(before)
        case said:
            return ops.submit(before, said.text)


def after(before: View, *lines: str) -> View:
    """The view once these lines have been typed; a reply that they ask for has not begun."""
    before = replace(before, tree=copy.deepcopy(before.tree))
    for line in lines:
        state, _ = advanced(before.state, before.tree, decided(before, line))
        before = replace(before, state=state)
    return before


def kinds(outcome: Outcome) -> list[type]:
    """The types of an outcome's events."""
    return [type(one.body) for one in outcome.events]


# Titles.


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("hello", "hello"),
        ("  two \t words\r\n and\u2028more\u00a0of them ", "two words and more of them"),
        ("x" * 60, "x" * 60),
        ("x" * 200, "x" * 60 + "…"),
        (f"{'x' * 30} {'y' * 29}", f"{'x' * 30} {'y' * 29}"),
        (f"{'x' * 30} {'y' * 30}", f"{'x' * 30}…"),
        (f"{'x' * 60} y", f"{'x' * 60}…"),
        ("👩‍👩‍👧‍👦 " * 3, "👩‍👩‍👧‍👦 👩‍👩‍👧‍👦 👩‍👩‍👧‍👦"),
        ([{"type": "text", "text": "look:"}, PICTURE, {"type": "text", "text": "a cat"}], "look: a cat"),
        ([PICTURE], None),
        ("\u00a0\u3000", None),
    ],
)
def test_a_session_is_named_after_its_first_message(content: Any, title: str | None) -> None:
    before = view()
    state, _ = advanced(before.state, before.tree, ops.submit(before, content))
    assert (state.title, state.title_given) == (title, False)


@given(st.text(max_size=300) | st.lists(st.text("ab", max_size=70) | st.text(max_size=3), max_size=20).map(" ".join))
@example("x" * 61)
@example("\u00a0" * 237 + "hello")
@example("hi" + " " * 300 + "there")
def test_an_automatic_title_is_one_line_of_whole_words_as_many_as_fit(text: str) -> None:
    state, _ = advanced((before := view()).state, before.tree, ops.submit(before, text))
    words = " ".join(text.split())
    if len(words) <= ops.AUTOMATIC_TITLE:
        assert state.title == (words or None)
        return
    assert state.title is not None
    assert state.title.endswith("…")
    title = state.title[:-1]
    assert 0 < len(title) <= ops.AUTOMATIC_TITLE
    assert words.startswith(title)
    assert words[len(title)] == " " or " " not in title, "only a word that is too long by itself is torn"


def test_only_the_first_message_gives_a_title() -> None:
    before = after(view(), "one", "two")
    assert before.state.title == "one"
    assert kinds(decided(before, "three")) == [Submitted]


def test_once_everything_is_taken_back_the_next_message_is_the_first_and_gives_a_new_title() -> None:
    for line in ("/undo 9", "/clear"):
        assert after(view(), "one", "two", line, "three").state.title == "three"
    assert after(view(), "one", "two", "/undo", "three").state.title == "one"
    assert kinds(decided(after(view(), "one", "/undo"), "one")) == [Submitted], "it has that title already"


@pytest.mark.parametrize("created", [Created(), Created(title="from elsewhere")])
def test_a_title_that_a_person_or_an_import_gave_is_never_replaced_by_an_automatic_one(created: Created) -> None:
    before = view(created=created)
    if created.title is None:
        before = after(before, "/title given")
    title = before.state.title
    assert after(before, "one", "/undo", "two", "/clear", "three").state.title == title
    assert after(before, "one", "/title another", "/undo", "two").state.title == "another"


def test_a_title_that_says_nothing_is_none() -> None:
    assert after(view(created=Created(title="")), "one").state.title == "one"


def test_the_first_message_gives_a_title_even_if_it_waited_in_the_queue() -> None:
    before = view(created=Created(pending="one"))
    assert after(before, "/queue go").state.title == "one"


def test_a_title_is_shown_or_set_on_one_line() -> None:
    before = view(created=Created(title="old"))
    shown = decided(before, "/title")
    assert (shown.data, shown.events) == ({"title": "old"}, ())
    assert decided(view(), "/title  ").notice == "Title: none yet"
    outcome = decided(before, "/title  a \t new\r\n one ")
    assert outcome.data == {"title": "a new one"}
    assert [one.body for one in outcome.events] == [Titled("a new one")]


def test_a_title_has_a_bound() -> None:
    longest = "x" * MOST_TITLE
    assert decided(view(), f"/title {longest}").data == {"title": longest}
    with pytest.raises(InvalidParams, match=f"{MOST_TITLE}"):
        decided(view(), f"/title {longest}x")
    with pytest.raises(InvalidParams, match="empty"):
        decided(view(), "/title \u00a0\u3000")


# Models.


def test_a_model_is_shown_or_chosen() -> None:
    before = view(offer=OFFER)
    shown = decided(before, "/model")
    assert shown.data == {"model": "one", "models": ["one", "two"]}
    assert shown.notice == "Model: one\nThere are: one, two"
    assert shown.events == ()
    outcome = decided(before, "/model two")
    assert [one.body for one in outcome.events] == [ModelChosen("two")]
    now = after(before, "/model two")
    assert (now.model, decided(now, "/model").data["model"]) == ("two", "two")
    assert decided(now, "/status").data["model"] == "two"


def test_a_model_that_the_endpoint_does_not_list_can_be_chosen_but_it_is_said() -> None:
    assert "not among those" in (decided(view(offer=OFFER), "/model three").notice or "")
    assert "not among those" not in (decided(view(offer=OFFER), "/model two").notice or "")
    # Nothing is known of what there is.
    assert "not among those" not in (decided(view(offer=replace(OFFER, models=())), "/model x").notice or "")


def test_a_long_list_of_models_is_cut_in_what_a_person_reads() -> None:
    names = tuple(f"m{number}" for number in range(1021))
    outcome = decided(view(offer=replace(OFFER, models=names)), "/model")
    assert (outcome.notice or "").endswith("m18, m19, and 1,001 more")
    assert outcome.data["models"] == list(names)


def test_the_model_of_an_import_is_shown_but_what_replies_is_ours_until_a_person_chooses() -> None:
    before = view("one", offer=OFFER, created=Created(model="elsewhere"))
    assert before.model == "one"
    status = decided(before, "/status")
    assert status.data["model"] == "elsewhere"
    assert "The next reply comes from one." in (status.notice or "")
    now = after(before, "/model two")
    assert now.model == "two"
    assert "The next reply" not in (decided(now, "/status").notice or "")
    back = after(now, "/model none")
    assert back.model == "one"


def test_a_model_that_was_chosen_can_be_left_to_the_server_again() -> None:
    now = after(view(offer=OFFER), "/model two")
    outcome = decided(now, "/model NONE")
    assert [one.body for one in outcome.events] == [ModelChosen(None)]
    assert outcome.data == {"model": None}
    assert outcome.notice == "Model: one, from the next reply on."
    back = after(now, "/model none")
    assert (back.model, decided(back, "/status").data["model"]) == ("one", "one")
    opened = decided(back, "/new").opens
    assert opened is not None
    assert [one.body for one in opened.events] == [Created()]


def test_a_model_that_was_chosen_stays_when_another_one_answers() -> None:
    before = after(view("one", run=LiveRun("live", 1, "half", model="one"), offer=OFFER), "/model two")
    state, _ = advanced(before.state, before.tree, ops.finish(before, "completed"))
    assert state.model == "two"


def test_where_there_are_no_models_that_is_said() -> None:
    before = view()
    assert "no models" in (decided(before, "/model").notice or "")
    chosen = decided(before, "/model two")
    assert chosen.events == (), "nothing would know what to do with it"
    assert "no models" in (chosen.notice or "")


# Personalities and system prompts.


def test_a_personality_is_shown_or_chosen_in_any_case() -> None:
    before = view(offer=OFFER)
    shown = decided(before, "/personality")
    assert shown.data == {"personality": None, "personalities": ["Pirate", "tutor"]}
    assert shown.notice == "Personality: none\nThere are: Pirate, tutor"
    outcome = decided(before, "/personality pIRATE")
    assert [one.body for one in outcome.events] == [PersonalityChosen("Pirate")]
    assert outcome.data == {"personality": "Pirate"}
    now = after(before, "/personality TUTOR")
    assert (now.system, decided(now, "/status").data["personality"]) == ("You teach.", "tutor")


def test_of_two_personalities_that_differ_in_case_the_one_that_was_named_is_chosen() -> None:
    both = replace(OFFER, personalities={"Pirate": "Arr!", "pirate": "arr"})
    for name in ("Pirate", "pirate"):
        assert decided(view(offer=both), f"/personality {name}").data == {"personality": name}


def test_no_personality_is_one_too() -> None:
    now = after(view(offer=OFFER), "/personality pirate", "/personality NONE")
    assert (now.state.personality, now.system) == (None, None)


def test_a_personality_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(NoSuchPersonality, match=r"no personality cook\. There are: Pirate, tutor\.") as caught:
        decided(view(offer=OFFER), "/personality cook")
    assert caught.value.data == {"code": "no_such_personality", "names": ["Pirate", "tutor"]}
    with pytest.raises(NoSuchPersonality, match="--prompts"):
        decided(view(), "/personality cook")


def test_a_personality_that_only_an_import_knows_is_kept_and_not_sent_and_that_is_said() -> None:
    before = view("one", offer=OFFER, created=Created(personality="cook"))
    assert before.system is None
    status = decided(before, "/status")
    assert status.data["personality"] == "cook"
    assert "Personality: cook (this server has no prompt of that name, so none is sent)" in (status.notice or "")
    assert "Personality: cook (this server has no prompt" in (decided(before, "/personality").notice or "")
    known = replace(before, offer=replace(OFFER, personalities={"cook": "You cook."}))
    assert known.system == "You cook."


def test_a_system_prompt_is_shown_or_written_or_taken_away() -> None:
    before = view(offer=OFFER)
    assert (decided(before, "/system").data, decided(before, "/system").notice) == (
        {"system": None},
        "System prompt: none",
    )
    outcome = decided(before, "/system\n Be brief.\n\n  Be kind. ")
    assert [one.body for one in outcome.events] == [SystemChosen("Be brief.\n\n  Be kind.")]
    now = after(before, "/system Be brief.", "/personality pirate")
    assert now.system == "You are a pirate.\n\nBe brief."
    assert decided(now, "/status").data["system"] == "Be brief."
    gone = after(now, "/system None")
    assert (gone.state.system, gone.system) == (None, "You are a pirate.")


def test_a_system_prompt_has_a_bound() -> None:
    assert after(view(), f"/system {'x' * MOST_SYSTEM}").state.system == "x" * MOST_SYSTEM
    with pytest.raises(TooLarge, match="32,000"):
        decided(view(), f"/system {'x' * (MOST_SYSTEM + 1)}")


def test_the_name_of_a_model_has_a_bound() -> None:
    # It goes to every client with every session, and with every snapshot.
    longest = "x" * MOST_MODEL
    assert decided(view(offer=OFFER), f"/model {longest}").data == {"model": longest}
    with pytest.raises(InvalidParams, match=f"{MOST_MODEL}"):
        decided(view(offer=OFFER), f"/model {longest}x")


@given(
    actions, st.sampled_from(["/title t", "/model two", "/personality none", "/system s", "/new", "/status", "/usage"])
)
def test_a_choice_changes_neither_the_transcript_nor_the_queue_nor_the_live_run(
    chosen: list[Action], line: str
) -> None:
    history = lived(chosen, "first")
    before = history._view(replies=True)
    outcome = decided(before, line)
    assert (outcome.start, outcome.stop) == (None, None)
    state, _ = advanced(before.state, before.tree, outcome)
    for name in ("head", "transcript_revision", "last_message", "queue", "queue_paused", "spent"):
        assert getattr(state, name) == getattr(before.state, name)


# A new session, a clear transcript, help.


def test_a_new_session_has_the_model_and_the_personality_that_were_chosen_here() -> None:
    before = after(view("one", offer=OFFER), "/model two", "/personality pirate", "/system Be brief.", "/title old")
    outcome = decided(before, "/new  A new\n title ")
    assert outcome.data == {"session_id": "fresh", "title": "A new title"}
    assert [one.body for one in outcome.events] == [Opened("fresh")]
    assert isinstance(outcome.opens, Opening)
    assert outcome.opens.session_id == "fresh"
    assert [one.body for one in outcome.opens.events] == [
        Created(title="A new title", model="two", personality="Pirate"),
        ModelChosen("two"),
    ]


def test_a_new_session_has_no_title_or_model_that_nobody_chose() -> None:
    outcome = decided(view("one", offer=OFFER, created=Created(title="old", model="elsewhere")), "/new")
    assert outcome.data == {"session_id": "fresh", "title": None}
    assert outcome.opens is not None
    assert [one.body for one in outcome.opens.events] == [Created()]
    with pytest.raises(InvalidParams):
        decided(view(), f"/new {'x' * (MOST_TITLE + 1)}")


def test_clear_takes_everything_off_and_destroys_nothing() -> None:
    before = view(("system", "s"), ("user", "one"), ("assistant", "1"), run="half")
    outcome = decided(before, "/clear")
    assert outcome.data == {"removed_count": 4}
    assert kinds(outcome) == [Replied, TakenBack]
    assert outcome.stop == StopRun("stopped")
    now = after(before, "/clear")
    assert now.head.depth == 0
    assert [node.message.content for node in now.tree.nodes.values()][1:] == ["s", "one", "1", "half"]
    empty = decided(now, "/status")
    assert empty.data["message_count"] == 0


def test_clear_where_nothing_is_on_screen_does_nothing() -> None:
    outcome = decided(view(), "/clear")
    assert (outcome.data, outcome.events) == ({"removed_count": 0}, ())
    assert outcome.notice == "There is nothing on screen to clear."


def test_help_has_a_line_for_every_command() -> None:
    outcome = decided(view(), "/help")
    assert [info.name for info in outcome.data["commands"]] == list(TABLE)
    for command in TABLE.values():
        assert f"{command.usage}: {command.summary}" in (outcome.notice or "").splitlines()


@pytest.mark.parametrize("name", TABLE)
def test_help_explains_one_command(name: str) -> None:
    command = TABLE[name]
    for line in (f"/help {name}", f"/HELP /{name.upper()}"):
        outcome = decided(view(), line)
        assert [info.name for info in outcome.data["commands"]] == [name]
        assert command.usage in (outcome.notice or "")
        assert command.while_running in (outcome.notice or "")
        for argument in command.arguments:
            assert argument.name in (outcome.notice or "")
            assert argument.summary in (outcome.notice or "")


def test_help_on_what_is_no_command_names_those_that_look_like_it() -> None:
    with pytest.raises(UnknownCommand) as caught:
        decided(view(), "/help unod")
    assert caught.value.data["nearest"][0] == "undo"


# Personalities from files.


def prompt_file(directory: Path, name: str, content: bytes | str) -> Path:
    """A file in a directory of prompts."""
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_each_markdown_file_with_text_is_a_personality(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "pirate.md": "You are a pirate.\n",
        "Old Tutor.MD": b"\xef\xbb\xbf\r\n # Tutor\r\n\r\nTeach.\r\n",
        "v1.5.md": "Version\u00a0",
        "empty.md": "",
        "blank.md": " \n\t",
        "notes.txt": b"\xff",
        "README": b"\xff",
        ".md": "hidden",
        ".hidden.md": b"\xff",
    }
    (tmp_path / "folder.md").mkdir()
    for name, content in files.items():
        prompt_file(tmp_path, name, content)
    assert personalities(tmp_path) == {
        "pirate": "You are a pirate.",
        "Old Tutor": "# Tutor\n\nTeach.",
        "v1.5": "Version\u00a0",
    }


def test_a_directory_without_files_has_no_personalities(tmp_path: Path) -> None:
    assert personalities(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.md", b"caf\xe9", "utf-8"),
        ("a.md", "You\0are", "NUL"),
        ("a.md", "x" * (MOST_SYSTEM + 1), "32,000"),
        ("none.md", "x", "no personality can have this name"),
        ("None.md", "x", "no personality can have this name"),
        ("two  spaces.md", "x", "no personality can have this name"),
        ("tail .md", "x", "no personality can have this name"),
        ("a\nb.md", "x", "no personality can have this name"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_named_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | str, why: str
) -> None:
    file = prompt_file(tmp_path, name, content)
    with pytest.raises(SettingError, match=why) as caught:
        personalities(tmp_path)
    assert str(file) in str(caught.value)


def test_a_prompt_of_the_longest_size_is_taken(tmp_path: Path) -> None:
    prompt_file(tmp_path, "a.md", "x" * MOST_SYSTEM + "\n")
    assert personalities(tmp_path) == {"a": "x" * MOST_SYSTEM}


@pytest.mark.skipif(sys.platform != "linux", reason="where a file's name may be any bytes")
def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "n\udcff.md").write_text("x")
    with pytest.raises(SettingError):
        personalities(tmp_path)


def test_what_is_no_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no such file"):
        personalities(tmp_path / "gone")
    with pytest.raises(SettingError, match="not a directory"):
        personalities(prompt_file(tmp_path, "notes.txt", "x"))


# Over real sockets.


@contextlib.asynccontextmanager
async def offering(data: Path, **options: Any) -> AsyncIterator[tuple[Running, Offering]]:
    """A server whose backend offers the models `one` and `two`, with the personality `Pirate`."""
    prompt_file(data.with_name("prompts"), "Pirate.md", "You are a pirate.")
    async with running(data, prompts=data.with_name("prompts"), **options) as server:
        yield server, Offering(server, "one", "two")


async def answered(one: Client, replies: Offering, line: str, text: str = "answer") -> None:
    """Says something and gets this answer."""
    replies.say(text)
    replies.end()
    await one.say(line)


async def listed(server: Running) -> list[Json]:
    """The list of sessions."""
    async with httpx.AsyncClient(trust_env=False) as http:
        sessions: list[Json] = (await http.get(f"{server.http}/api/sessions")).json()["sessions"]
        return sessions


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


async def test_every_client_hears_of_every_choice(tmp_path: Path) -> None:
    async with (
        offering(tmp_path / "data") as (server, _),
        client(server.ws()) as one,
        client(server.ws(one.session_id)) as two,
    ):
        for line, field, value in (
            ("/title A title", "title", "A title"),
            ("/model two", "model", "two"),
            ("/personality pirate", "personality", "Pirate"),
            ("/system Be brief.", "system", "Be brief."),
            ("/system none", "system", None),
            ("/personality none", "personality", None),
        ):
            result = await one.submit(line, op_id=line)
            await two.at(result["revision"])
            for each in (one, two):
                update = each.named("session.updated")[-1]
                chosen = {"model_chosen", "next_model"} if field == "model" else set()
                assert update["session"].keys() == {field, "updated_at", *chosen}
                assert update["session"][field] == value
                assert update["cause"] == {
                    "op_id": line,
                    "command": line.split()[0][1:],
                    "connection": one.view.connection,
                    "name": one.view.name,
                }
                assert each.view.session[field] == value
        assert one.named("transcript.spliced") == []
        assert one.view.facts() == two.view.facts()
        async with client(server.ws(one.session_id)) as fresh:
            assert fresh.view.facts() == one.view.facts()


async def test_the_first_message_names_the_session_for_every_client_and_in_the_list(tmp_path: Path) -> None:
    async with (
        offering(tmp_path / "data") as (server, replies),
        client(server.ws()) as one,
        client(server.ws(one.session_id)) as two,
    ):
        await answered(one, replies, "How do locks work?")
        await two.at(one.view.revision)
        assert [each.view.session["title"] for each in (one, two)] == ["How do locks work?"] * 2
        assert [session["title"] for session in await listed(server)] == ["How do locks work?"]
        await one.submit("/title Locks")
        await one.submit("/undo")
        await answered(one, replies, "Something else")
        assert one.view.session["title"] == "Locks"
        assert [session["title"] for session in await listed(server)] == ["Locks"]


async def test_every_client_knows_which_model_is_next_and_whether_somebody_chose_it(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, _), client(server.ws()) as one:
        for line, chosen, following in (
            (None, False, "one"),
            ("/model two", True, "two"),
            ("/model none", False, "one"),
        ):
            if line:
                await one.at((await one.submit(line))["revision"])
            async with client(server.ws(one.session_id)) as two:
                for view in (one.view, two.view):
                    assert (view.session["model_chosen"], view.session["next_model"]) == (chosen, following)


async def test_a_choice_does_not_touch_the_live_reply_but_the_next(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        replies.say("half")
        await one.submit("hello")
        await one.until(lambda: one.view.run and one.view.run["text"])
        run = one.view.run
        for line in ("/model two", "/personality pirate", "/system Be brief.", "/title T", "/new", "/help", "/usage"):
            await one.submit(line)
        assert one.view.run == run
        assert one.view.texts == ["hello"]
        replies.end()
        await one.until(lambda: one.view.run is None)
        assert one.view.messages[1]["model"] == "one"
        assert one.view.session["model"] == "two", "the model that was chosen, not the one that answered"
        await answered(one, replies, "and now?")
        assert [(prompt.model, prompt.system) for prompt in replies.prompts] == [
            ("one", None),
            ("two", "You are a pirate.\n\nBe brief."),
        ]
        await one.submit("/system none")
        await one.submit("/personality none")
        replies.say("again")
        replies.end()
        await one.submit("/retry")
        await one.until(lambda: one.view.run is None)
        assert (replies.prompts[2].model, replies.prompts[2].system) == ("two", None)


async def test_what_is_chosen_after_a_message_is_not_for_its_reply_even_if_that_has_not_begun(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        store: Any = server.backchat._store
        write, gate = store._writer.write, threading.Event()

        def wait(*batch: Any) -> Any:
            assert gate.wait(PATIENCE)
            return write(*batch)

        store._writer.write = wait
        requests = [await one.send("submit", text=line) for line in ("hello", "/model two", "/system Be brief.")]
        session = server.backchat.sessions._live[one.session_id]
        await eventually(lambda: len(session._pending) == len(requests))
        gate.set()
        for request in requests:
            await one.reply(request)
        await eventually(lambda: replies.prompts)
        assert (replies.prompts[0].model, replies.prompts[0].system) == ("one", None)


async def test_every_choice_survives_a_restart_and_counts_after_it(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        await answered(one, replies, "hello")
        for line in ("/title A title", "/model two", "/personality pirate", "/system Be\nbrief."):
            await one.submit(line)
        session_id, facts = one.session_id, one.view.facts()
    async with offering(tmp_path / "data") as (server, replies):
        (summary,) = await listed(server)
        assert [summary[name] for name in ("title", "model", "personality")] == ["A title", "two", "Pirate"]
        assert not server.backchat.sessions._live, "a list loads nothing"
        async with client(server.ws(session_id)) as one:
            assert one.view.facts() == facts
            await answered(one, replies, "and now?")
            assert replies.prompts[0].model == "two"
            assert replies.prompts[0].system == "You are a pirate.\n\nBe\nbrief."
            await one.submit("/undo 2")
            await answered(one, replies, "Something else")
            assert one.view.session["title"] == "A title"


async def test_the_list_shows_the_model_that_last_replied_until_one_is_chosen(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        replies.report(model="one-2026")
        await answered(one, replies, "hello")
        assert one.view.session["model"] == "one-2026"
        assert [session["model"] for session in await listed(server)] == ["one-2026"]
        assert (await one.submit("/model"))["data"]["model"] == "one", "what will reply next"
        await one.submit("/model two")
        assert [session["model"] for session in await listed(server)] == ["two"]


async def test_a_choice_makes_no_command_stale(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        await answered(one, replies, "hello")
        seen = one.view.revision
        for line in ("/title T", "/model two", "/new"):
            await one.submit(line)
        assert (await one.submit("/undo", if_revision=seen))["data"]["removed_count"] == 2


async def test_what_is_wrong_with_a_choice_is_told_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, _), client(server.ws()) as one:
        revision = one.view.revision
        for line, code in (
            ("/personality cook", "no_such_personality"),
            (f"/system {'x' * (MOST_SYSTEM + 1)}", "too_large"),
            (f"/title {'x' * (MOST_TITLE + 1)}", "invalid_params"),
            (f"/new {'x' * (MOST_TITLE + 1)}", "invalid_params"),
            (f"/model {'x' * (MOST_MODEL + 1)}", "invalid_params"),
            ("/model one\ntwo", "invalid_params"),
            ("/help me please", "bad_argument"),
        ):
            with pytest.raises(Refused) as caught:
                await one.submit(line, op_id="x")
            assert caught.value.code == code
        assert (await one.submit("/status"))["revision"] == revision
        assert len(await listed(server)) == 1


async def test_the_personality_of_an_import_is_kept_and_sent_once_there_is_a_prompt_for_it(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"session_id": "old", "messages": [], "personality": "cook", "title": "Old"}))
    with Database(tmp_path / "data") as database:
        assert [result.outcome for result in import_files(database, [file])] == ["imported"]
    for prompt in (None, "You cook."):
        if prompt is not None:
            prompt_file(tmp_path / "prompts", "cook.md", prompt)
        async with offering(tmp_path / "data") as (server, replies), client(server.ws("old")) as one:
            await answered(one, replies, "hello")
            assert replies.prompts[0].system == prompt
            assert one.view.session["personality"] == "cook"
            assert one.view.session["title"] == "Old"
            notice = (await one.submit("/status"))["notice"]
            assert ("has no prompt of that name" in notice) == (prompt is None)


async def test_prompts_are_found_in_the_data_directory_unless_told_otherwise(tmp_path: Path) -> None:
    prompt_file(tmp_path / "prompts", "usual.md", "x")
    prompt_file(tmp_path / "others", "other.md", "x")
    for options, names in (({}, ["usual"]), ({"prompts": tmp_path / "others"}, ["other"])):
        async with running(tmp_path, **options) as server, client(server.ws()) as one:
            assert (await one.submit("/personality"))["data"]["personalities"] == names


# A new session.


async def test_a_new_session_is_there_with_what_was_chosen_and_has_its_own_transcript(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        await answered(one, replies, "hello")
        for line in ("/model two", "/personality pirate"):
            await one.submit(line)
        result = await one.submit("/new  Another   one")
        assert result["data"]["title"] == "Another one"
        assert result["notice"] == f"A new session: connect to /ws/{result['data']['session_id']}"
        await one.at(result["revision"])
        assert one.view.texts == ["hello", "answer"]
        async with client(server.ws(result["data"]["session_id"])) as new:
            session = new.view.session
            assert [session[name] for name in ("title", "model", "personality", "system")] == [
                "Another one", "two", "Pirate", None,
            ]  # fmt: skip
            assert new.view.messages == []
            await answered(new, replies, "hello from here")
            assert (replies.prompts[-1].model, replies.prompts[-1].system) == ("two", "You are a pirate.")
            assert new.view.session["title"] == "Another one"
        untitled = (await one.submit("/new"))["data"]
        assert untitled["title"] is None
        async with client(server.ws(untitled["session_id"])) as new:
            await answered(new, replies, "named after this")
            assert new.view.session["title"] == "named after this"
        assert {session["title"] for session in await listed(server)} == {"hello", "Another one", "named after this"}


async def test_a_new_session_is_made_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, _), client(server.ws()) as one:
        first = await one.submit("/new T", op_id="n")
        again = {**first, "replayed": True}
        assert await one.submit("/new T", op_id="n") == again
        session_id = one.session_id
        async with client(server.ws(session_id)) as two:
            assert await two.submit("/new T", op_id="n") == again
    async with offering(tmp_path / "data") as (server, _), client(server.ws(session_id)) as one:
        assert await one.submit("/new T", op_id="n") == again
        assert {session["session_id"] for session in await listed(server)} == {
            session_id,
            first["data"]["session_id"],
        }
        async with client(server.ws(first["data"]["session_id"])) as new:
            assert new.view.session["title"] == "T"


@pytest.mark.parametrize("part", ["opened", "created"])
async def test_a_new_session_and_the_record_of_it_are_stored_together_or_not_at_all(tmp_path: Path, part: str) -> None:
    async with offering(tmp_path / "data") as (server, _), client(server.ws()) as one:
        revision = one.view.revision
        db = sqlite3.connect(tmp_path / "data" / "backchat.db")
        db.execute(
            f"CREATE TRIGGER broken BEFORE INSERT ON event WHEN NEW.type = '{part}'"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
        with pytest.raises(Refused) as caught:
            await one.submit("/new T", op_id="n")
        assert caught.value.code == "storage_failed"
        await one.again(2)
        assert one.view.revision == revision
        assert rows(tmp_path / "data", "SELECT count(*), count(DISTINCT session_id) FROM event") == [(1, 1)]
        assert rows(tmp_path / "data", "SELECT count(*) FROM session") == [(1,)]
        db.execute("DROP TRIGGER broken")
        db.close()
        made = await one.submit("/new T", op_id="n")
        assert "replayed" not in made
        async with client(server.ws(made["data"]["session_id"])) as new:
            assert new.view.session["title"] == "T"


async def test_a_new_session_leaves_the_live_reply_alone(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        replies.say("half")
        run_id = (await one.submit("hello"))["run_id"]
        made = await one.submit("/new")
        async with client(server.ws(made["data"]["session_id"])) as new:
            assert new.attached["run"] is None
            replies.say(" and half")
            replies.end()
            assert (await one.ended(run_id))["reason"] == "completed"
            assert one.view.texts == ["hello", "half and half"]
            assert len(new.seen) == 1, "nothing of it comes here"


# A clear transcript.


async def test_clear_empties_the_transcript_of_every_client_and_keeps_every_message(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        async with client(server.ws(one.session_id)) as two:
            await answered(one, replies, "hello", "one answer")
            replies.say("half")
            await one.submit("more")
            await two.until(lambda: two.view.run and two.view.run["text"])
            stale = two.view
        result = await one.submit("/clear", op_id="c")
        assert result["data"] == {"removed_count": 4}
        assert await one.submit("/clear", op_id="c") == {**result, "replayed": True}
        assert (one.view.messages, one.view.run, one.view.session["message_count"]) == ([], None, 0)
        query = f"after={stale.revision}&log={stale.log}"
        async with client(server.ws(one.session_id, query), stale) as back, client(server.ws(one.session_id)) as fresh:
            assert back.view.facts() == fresh.view.facts() == one.view.facts()
        contents = rows(tmp_path / "data", "SELECT content, finish FROM message ORDER BY id")
        assert contents == [
            ('"hello"', None), ('"one answer"', "completed"), ('"more"', None), ('"half"', "stopped"),
        ]  # fmt: skip
        await answered(one, replies, "a new beginning")
        assert [message.content for message in replies.prompts[-1].messages] == ["a new beginning"]
        assert one.view.session["title"] == "a new beginning"


async def test_after_every_choice_a_client_shows_what_a_fresh_one_does(tmp_path: Path) -> None:
    async with offering(tmp_path / "data") as (server, replies), client(server.ws()) as one:
        await answered(one, replies, "hello")
        for line in ("/model two", "/model none", "/title T", "/personality pirate", "/personality none", "/system s"):
            await one.at((await one.submit(line))["revision"])
            async with client(server.ws(one.session_id)) as fresh:
                assert one.view.facts() == fresh.view.facts(), line


async def test_a_price_that_cannot_be_looked_up_costs_a_figure_and_not_the_session(tmp_path: Path) -> None:
    def broken(model: str, usage: Usage) -> float | None:
        raise RuntimeError("no such list")

    async with running(tmp_path / "data") as server, client(server.ws()) as one:
        backend = server.backchat._backend
        assert backend is not None
        backend.price = broken  # type: ignore[method-assign]
        server.backchat._offer = replace(server.backchat._offer, model="m")
        await one.say("hello")
        assert (one.view.texts, one.view.messages[1].get("cost")) == (["hello", "hello"], None)
        assert one.view.messages[1]["usage"]["estimated"] is True
