"""Completion: what could stand where something is being typed, and where the names of models come from."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat import completion, models
from backchat.backends.echo import Echo
from backchat.choices import checked_title
from backchat.commands import (
    MESSAGE,
    TABLE,
    WHITE_SPACE,
    Command,
    Invocation,
    PlainMessage,
    Type,
    check_text,
    describe,
    parse,
)
from backchat.completion import MOST_CANDIDATES, Candidate, Typing, complete, typing
from backchat.errors import BackchatError, BackendFailed, BadArgument
from backchat.models import Models
from tests.support.client import PATIENCE, Client, Refused, client, eventually
from tests.support.offering import Offering
from tests.support.server import Running, running
from tests.support.talk import Talk, talked

# The command table.


@pytest.mark.parametrize("command", TABLE.values(), ids=lambda command: command.name)
def test_every_argument_of_a_command_means_something_to_its_op(command: Command) -> None:
    view, *keywords = inspect.signature(command.op).parameters.values()
    assert view.name == "view"
    assert [keyword.name for keyword in keywords] == [argument.name for argument in command.arguments]
    for keyword, argument in zip(keywords, command.arguments, strict=True):
        assert (keyword.default is inspect.Parameter.empty) == argument.required
        assert argument.type in get_args(Type)
        assert argument.summary
    assert all(argument.type != "text" for argument in command.arguments[:-1]), "text takes all the rest"


def test_a_client_is_told_which_arguments_have_values_to_choose_from() -> None:
    told = {info.name: [(one.name, one.type, one.completes) for one in info.arguments] for info in describe()}
    assert {name: arguments for name, arguments in told.items() if arguments} == {
        "undo": [("turns", "count", False)],
        "redo": [("turns", "count", False)],
        "edit": [("message", "message", True), ("text", "text", False)],
        "pick": [("message", "message", True), ("variant", "count", True)],
        "goto": [("place", "place", True)],
        "drop": [("turn", "count", True)],
        "queue": [("action", "word", True), ("number", "count", True)],
        "model": [("name", "text", True)],
        "personality": [("name", "text", True)],
        "system": [("text", "text", True)],
        "title": [("text", "text", True)],
        "new": [("title", "text", False)],
        "branch": [("message", "message", True), ("title", "text", False)],
        "log": [("count", "count", False)],
        "help": [("command", "word", True)],
    }


# What is being typed.

MODELS = ["gpt-5", "GPT-5-mini", "llama3:8b", "org/qwen-3", "Mini"]
NAMES = ["Pirate", "Old Tutor", "tutor"]


def candidates(line: str, *values: str) -> tuple[int, list[str]]:
    """Where candidates would stand, and their values, where the source of the argument holds these."""
    typed = typing(line)
    if typed is None:
        return len(line), []
    return typed.start, [one.value for one in complete(typed, [Candidate(value, "") for value in values])]


@pytest.mark.parametrize(
    ("line", "start", "found"),
    [
        ("/mod", 0, ["/model"]),
        ("/MOD", 0, ["/model"]),
        (" \t/s", 2, ["/stop", "/system", "/status"]),
        ("/undo", 0, ["/undo"]),
        ("/nope", 0, []),
        ("/", 0, [f"/{name}" for name in TABLE]),
    ],
)
def test_the_name_of_a_command_is_completed_with_its_slash(line: str, start: int, found: list[str]) -> None:
    assert candidates(line) == (start, found)


def test_a_candidate_for_a_command_says_what_it_does() -> None:
    typed = typing("/und")
    assert typed is not None
    assert complete(typed, []) == [Candidate("/undo", TABLE["undo"].summary)]


@pytest.mark.parametrize(
    "line",
    ["", " ", "hello", "hello /mod", "//mod", "/ mod", "/etc/hosts", "/nope x", "/status ", "/status x", "/help a b",
     "/help a ", "/queue drop 1 2", "/und\u00f6", "\u00a0/mod"],
)  # fmt: skip
def test_where_nothing_can_be_chosen_nothing_is_offered(line: str) -> None:
    assert typing(line) is None


def test_an_argument_without_values_of_its_own_is_being_typed_but_has_no_candidates() -> None:
    assert candidates("/undo ") == (6, [])
    assert candidates("/undo 3") == (6, [])
    assert candidates("/new a ti") == (5, [])


@pytest.mark.parametrize(
    ("line", "start", "found"),
    [
        ("/model ", 7, [*MODELS, "none"]),
        ("/model gp", 7, ["gpt-5", "GPT-5-mini"]),
        ("/MODEL  \t GP", 10, ["gpt-5", "GPT-5-mini"]),
        ("/model mini", 7, ["Mini", "GPT-5-mini"]),
        ("/model qwen", 7, ["org/qwen-3"]),
        ("/model zz", 7, []),
    ],
)
def test_what_begins_with_what_is_typed_comes_before_what_has_it_somewhere(
    line: str, start: int, found: list[str]
) -> None:
    assert candidates(line, *MODELS) == (start, found)


@pytest.mark.parametrize(
    ("line", "start", "found"),
    [
        ("/personality ", 13, [*NAMES, "none"]),
        ("/personality\npi", 13, ["Pirate"]),
        ("/personality old t", 13, ["Old Tutor"]),
        ("/personality tutor", 13, ["tutor", "Old Tutor"]),
        ("/personality n", 13, ["none"]),
    ],
)
def test_a_value_of_several_words_is_completed_as_one(line: str, start: int, found: list[str]) -> None:
    assert candidates(line, *NAMES) == (start, found)


def test_the_values_that_the_table_lists_are_offered_for_their_own_argument() -> None:
    assert candidates("/queue ") == (7, ["drop", "go"])
    assert candidates("/queue D") == (7, ["drop"])
    assert candidates("/queue drop ", "1", "2", "12") == (12, ["1", "2", "12"])
    assert candidates("/queue drop 2", "1", "2", "12") == (12, ["2", "12"])
    assert candidates("/system no") == (8, ["none"])
    assert candidates("/help st", "status", "stop", "system", "undo") == (6, ["status", "stop", "system"])


def test_no_number_is_offered_where_none_is_taken() -> None:
    assert candidates("/queue go ", "1", "2")[1] == []


def test_a_line_that_would_be_sent_as_a_message_is_not_completed_as_a_command() -> None:
    for line in ("/undo\n3", "/queue\r\ndr", "/help\nst"):
        assert parse(line) == PlainMessage(line)
        assert typing(line) is None


def test_a_name_with_white_space_is_taken_or_not_offered() -> None:
    # Some endpoints name a model after its file.
    start, found = candidates("/model gguf", "/models/My model.gguf", "my.gguf")
    assert "my.gguf" in found
    for name in found:
        assert parse("/model gguf"[:start] + name) == Invocation(TABLE["model"], {"name": name})


def test_no_more_candidates_are_sent_than_a_person_reads() -> None:
    start, found = candidates("/model x", *(f"x{number}" for number in range(1000)))
    assert (start, found) == (7, [f"x{number}" for number in range(MOST_CANDIDATES)])


# Messages, turns and variants.


def found_in(talk: Talk, line: str) -> list[tuple[str, str]]:
    """What completion has for a line in a session."""
    typed = typing(line)
    assert typed is not None
    found = complete(typed, completion.candidates(typed, talk.state, talk.tree, talk.offer))
    return [(one.value, one.summary) for one in found]


def retried() -> Talk:
    """A session of two turns, with two answers to the second."""
    talk = talked("one", "x" * 81)
    talk.enter("/retry")
    talk.answer("other")
    return talk


def test_a_message_to_edit_is_one_that_a_person_wrote_the_last_one_first() -> None:
    expected = [("3", "x" * 80 + "..."), ("1", "one")]
    assert found_in(retried(), "/edit ") == expected
    assert found_in(retried(), "/edit 3") == expected[:1]
    assert found_in(retried(), "/edit 3 ") == [], "a text is coming"


@pytest.mark.parametrize("line", ["/goto ", "/branch "])
def test_a_message_to_go_to_or_to_branch_from_is_any_on_screen(line: str) -> None:
    assert [value for value, _ in found_in(retried(), line)] == ["5", "3", "2", "1"]


def test_a_turn_to_drop_is_counted_from_the_first() -> None:
    assert found_in(retried(), "/drop ") == [("2", "x" * 80 + "..."), ("1", "one")]


def test_a_message_to_pick_is_one_that_has_variants_and_then_come_those() -> None:
    talk = retried()
    assert found_in(talk, "/pick ") == [("5", "other")]
    for message in ("5", "4", "#4", "005"):
        assert found_in(talk, f"/pick {message} ") == [("1", "X" * 80 + "..."), ("2", "other")]
    assert found_in(talk, "/pick 5 2") == [("2", "other")]
    assert found_in(talk, "/pick 1 ") == [("1", "one")]


@pytest.mark.parametrize("message", ["99", "0", "x", "9" * 5000, "-1", "@1"])
def test_what_is_no_message_has_no_variants_to_offer(message: str) -> None:
    assert found_in(retried(), f"/pick {message} ") == []


# Laws.


def fits(check: Callable[[str], Any]) -> Callable[[str], bool]:
    """Whether a check lets a text through, as a filter."""

    def passes(text: str) -> bool:
        try:
            check(text)
            check_text(text)
        except BackchatError:
            return False
        return True

    return passes


words = st.text(min_size=1, max_size=8).filter(lambda word: not set(word) & set(WHITE_SPACE)).filter(fits(str))
lines = st.text(max_size=12).map(lambda text: " ".join(text.split())).filter(bool).filter(fits(checked_title))
values: dict[str, st.SearchStrategy[str]] = {
    "models": words | st.sampled_from(MODELS),
    "personalities": lines | st.sampled_from(NAMES),
    "queued": st.integers(1, 10**6).map(str),
    "title": lines,
    "commands": st.sampled_from(sorted(TABLE)),
    **dict.fromkeys(["messages", "said", "turns", "variants", "with_variants"], st.integers(1, 10**6).map(str)),
}


def held(typed: Typing) -> st.SearchStrategy[list[Candidate]]:
    """What the source of the argument that is being typed may hold."""
    if typed.argument is None or typed.argument.source is None:
        return st.just([])
    if typed.argument.source == "variants" and not MESSAGE.fullmatch(typed.before):
        # Nothing that is no message has any.
        return st.just([])
    each = values[typed.argument.source]
    return st.lists(each.map(lambda value: Candidate(value, "")), max_size=4, unique_by=lambda one: one.value)


@st.composite
def typed_lines(draw: st.DrawFn) -> str:
    """Lines as they look while a command is being typed."""
    space = st.text(WHITE_SPACE, max_size=2)
    name = draw(st.sampled_from(sorted(TABLE)))
    typed = [draw(space), "/", draw(st.sampled_from([name, name.upper(), name[: draw(st.integers(0, len(name)))]]))]
    for _ in range(draw(st.integers(0, 3))):
        typed += [draw(st.text(WHITE_SPACE, min_size=1, max_size=2)), draw(words | st.sampled_from(["drop", "go", ""]))]
    return "".join([*typed, draw(space)])


@given(typed_lines() | st.text(max_size=20) | st.text("/modelqueu drop go1\n", max_size=20), st.data())
def test_a_line_with_a_candidate_in_it_means_that_candidate(line: str, data: st.DataObject) -> None:
    typed = typing(line)
    if typed is None:
        return
    assert 0 <= typed.start <= len(line)
    for candidate in complete(typed, data.draw(held(typed))):
        if typed.argument is None:
            command = TABLE[candidate.value[1:]]
            if not any(argument.required for argument in command.arguments):
                assert parse(line[: typed.start] + candidate.value) == Invocation(command, {})
            continue
        # A message is only one where the text that must follow it does.
        more = " x" if typed.argument.type == "message" else ""
        try:
            invocation = parse(line[: typed.start] + candidate.value + more)
        except BadArgument:
            assert typed.argument.type == "message"
            invocation = parse(line[: typed.start] + candidate.value)
        assert isinstance(invocation, Invocation)
        assert typed.argument in invocation.command.arguments
        assert str(invocation.values[typed.argument.name]) == candidate.value


@given(typed_lines(), st.data())
def test_what_is_typed_in_full_is_among_the_candidates(line: str, data: st.DataObject) -> None:
    typed = typing(line)
    if typed is None or typed.argument is None:
        return
    found = data.draw(held(typed))
    for value in (*(one.value for one in found), *typed.argument.values, *typed.argument.also):
        for part in (value, value[: len(value) // 2]):
            again = typing(line[: typed.start] + part)
            if again is not None and again.argument is typed.argument:
                assert value in [candidate.value for candidate in complete(again, found)]


anything = st.text(st.characters(codec=None), max_size=30)


@given(
    anything | anything.map(lambda text: f"/queue {text}") | anything.map(lambda text: f"/{text}"), st.lists(anything)
)
def test_any_text_can_be_asked_about(line: str, there: list[str]) -> None:
    typed = typing(line)
    if typed is not None:
        assert line[typed.start :].lower() == typed.prefix
        complete(typed, [Candidate(value, "") for value in there])


# The names of models.


class Listing(Echo):
    """A backend of one model that lists these, once it is let (`lists`), or fails (`fault`)."""

    def __init__(self, *names: str) -> None:
        super().__init__(0)
        self.model = "one"
        self.names = names
        self.asked = 0
        self.fault: Exception | None = None
        self.lists = asyncio.Event()
        self.lists.set()

    async def models(self) -> list[str]:
        """See `Backend.models`."""
        self.asked += 1
        await self.lists.wait()
        if self.fault is not None:
            raise self.fault
        return list(self.names)


def watched(backend: Listing) -> tuple[Models, list[tuple[str, ...]]]:
    """What keeps the models of a backend, and all that it said it knows."""
    known: list[tuple[str, ...]] = []
    return Models(backend, known.append), known


async def refreshed(names: Models) -> None:
    """Asks if there is need to, and returns once that is done."""
    names.refresh()
    await eventually(lambda: names._asking is None)


async def test_the_models_are_asked_for_in_the_background_and_remembered() -> None:
    backend = Listing("one", "two")
    names, known = watched(backend)
    assert backend.asked == 0, "not before somebody wants to know"
    names.refresh()
    assert known == [], "nobody waits for it"
    await eventually(lambda: known)
    await refreshed(names)
    assert (backend.asked, known) == (1, [("one", "two")])


async def test_what_was_remembered_for_long_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH_SECONDS", 0.0)
    backend = Listing("one")
    names, known = watched(backend)
    await refreshed(names)
    backend.names = ("one", "two")
    await refreshed(names)
    assert known == [("one",), ("one", "two")]


async def test_many_who_ask_at_once_cause_one_request() -> None:
    backend = Listing("one")
    backend.lists.clear()
    names, known = watched(backend)
    for _ in range(20):
        names.refresh()
    await eventually(lambda: backend.asked)
    for _ in range(20):
        names.refresh()
    backend.lists.set()
    await refreshed(names)
    assert (backend.asked, known) == (1, [("one",)])


@pytest.mark.parametrize("fault", [BackendFailed("The endpoint is gone."), ValueError("a defect")], ids=repr)
async def test_an_endpoint_that_fails_is_asked_again_later_and_what_was_known_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    backend = Listing("one")
    backend.fault = fault
    names, known = watched(backend)
    with caplog.at_level(logging.WARNING, "backchat.models"):
        await refreshed(names)
    if isinstance(fault, BackendFailed):
        assert caplog.messages == ["The endpoint is gone."]
    await refreshed(names)
    assert (backend.asked, known) == (1, []), "not at once"
    monkeypatch.setattr(models, "AGAIN_SECONDS", 0.0)
    names, known = watched(backend)
    await refreshed(names)
    backend.fault = None
    await refreshed(names)
    assert (backend.asked, known) == (3, [("one",)])
    monkeypatch.setattr(models, "FRESH_SECONDS", 0.0)
    names, known = watched(backend)
    await refreshed(names)
    backend.fault = fault
    await refreshed(names)
    assert (backend.asked, known) == (5, [("one",)])


async def test_a_backend_without_models_is_never_asked() -> None:
    backend = Listing("one")
    backend.model = None
    names, known = watched(backend)
    await refreshed(names)
    assert (backend.asked, known) == (0, [])


async def test_a_server_that_ends_does_not_wait_for_an_endpoint() -> None:
    backend = Listing("one")
    backend.lists.clear()
    names, known = watched(backend)
    await names.close()
    names.refresh()
    await eventually(lambda: backend.asked)
    await asyncio.wait_for(names.close(), PATIENCE)
    assert known == []


# Over real sockets.


async def offered(one: Client, text: str) -> tuple[int, list[str]]:
    """What a client is offered for a text: where, and the values."""
    result = await one.request("complete", text=text)
    assert result.keys() == {"start", "candidates"}
    return result["start"], [candidate["value"] for candidate in result["candidates"]]


async def answered(server: Running) -> None:
    """Returns once the endpoint has answered what it was asked."""
    known = server.backchat._models
    assert known is not None
    await eventually(lambda: known._asking is None)


async def test_every_source_of_values_is_that_of_the_session(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for name in ("Pirate", "old tutor"):
        (prompts / f"{name}.md").write_text("x")
    async with running(tmp_path / "data", prompts=prompts) as server:
        replies = Offering(server, "one", "two", "one-mini")
        async with client(server.ws()) as one:
            assert await offered(one, "/mo") == (0, ["/model"])
            await one.request("complete", text="/model ")
            await eventually(lambda: server.backchat._offer.models)
            assert await offered(one, "/model o") == (7, ["one", "one-mini", "two", "none"])
            assert await offered(one, "/personality ") == (13, ["old tutor", "Pirate", "none"])
            assert await offered(one, "/title ") == (7, [])
            assert await offered(one, "/queue drop ") == (12, [])
            assert await offered(one, "/help u") == (6, ["undo", "usage", "queue", "status"])
            assert await offered(one, "hello") == (5, [])
            replies.say("half")
            await one.submit("A question 👩‍👩‍👧‍👦")
            for text in ("wait", "x" * 100):
                await one.submit(text)
            assert await offered(one, "/title ") == (7, ["A question 👩‍👩‍👧‍👦"])
            result = await one.request("complete", text="/queue drop ")
            assert result["candidates"] == [
                {"value": "1", "summary": "wait"},
                {"value": "2", "summary": "x" * 80 + "..."},
            ]
            result = await one.request("complete", text="/help und")
            assert result["candidates"] == [{"value": "undo", "summary": TABLE["undo"].summary}]
            revision = one.view.revision
            assert (await one.submit("/status"))["revision"] == revision, "nothing has changed by it"


async def test_where_a_candidate_stands_is_counted_in_code_points(server: Running) -> None:
    async with client(server.ws()) as one:
        await one.submit("/title 👩‍👩‍👧‍👦 family")
        assert await offered(one, "/title 👩‍👩") == (7, ["👩‍👩‍👧‍👦 family"])
        assert await offered(one, "👩‍👩‍👧‍👦") == (7, [])
        # Whatever stands before it.
        assert await offered(one, "/queue 👩‍👩‍👧‍👦 ") == (15, [])


async def test_a_request_to_complete_that_is_wrong_is_told(server: Running) -> None:
    wrong: list[dict[str, Any]] = [{}, {"text": 1}, {"text": "/", "cursor": 1}]
    async with client(server.ws()) as one:
        for params in wrong:
            with pytest.raises(Refused) as caught:
                await one.request("complete", **params)
            assert caught.value.code == "invalid_params"


async def test_where_there_are_no_models_none_are_offered(server: Running, tmp_path: Path) -> None:
    async with client(server.ws()) as one:
        assert await offered(one, "/model ") == (7, ["none"])
    async with running(tmp_path / "none", backend="none") as other, client(other.ws()) as one:
        assert await offered(one, "/model ") == (7, ["none"])


async def test_many_clients_that_complete_a_model_cause_one_request_and_wait_for_nothing(server: Running) -> None:
    replies = Offering(server, "one", "two")
    replies.lists.clear()
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two, client(server.ws()) as other:
        for each in (one, two, other):
            for _ in range(3):
                assert await offered(each, "/model t") == (7, [])
        await eventually(lambda: replies.asked)
        replies.lists.set()
        await eventually(lambda: server.backchat._offer.models)
        for each in (one, two, other):
            assert await offered(each, "/model t") == (7, ["two"])
            assert (await each.submit("/model"))["data"]["models"] == ["one", "two"]
        assert replies.asked == 1


@pytest.mark.parametrize("line", ["/model", "/model two"])
async def test_the_model_command_asks_for_them_too(server: Running, line: str) -> None:
    replies = Offering(server, "one", "two")
    async with client(server.ws()) as one:
        await one.submit(line)
        await eventually(lambda: server.backchat._offer.models)
        assert (await one.submit("/model"))["data"]["models"] == ["one", "two"]
        assert replies.asked == 1


async def test_a_client_that_leaves_before_the_models_are_known_is_missed_by_nobody(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    replies = Offering(server, "one", "two")
    replies.lists.clear()
    async with client(server.ws()) as one:
        async with client(server.ws(one.session_id)) as two:
            await two.send("complete", text="/model ")
            await eventually(lambda: replies.asked)
            two.socket.transport.abort()
        hub = server.backchat.sessions._around.hub
        await eventually(lambda: len(hub.subscribers(one.session_id)) == 1)
        replies.lists.set()
        await eventually(lambda: server.backchat._offer.models)
        assert await offered(one, "/model t") == (7, ["two"])
        assert replies.asked == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_endpoint_that_fails_to_list_its_models_costs_a_client_nothing_else(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRESH_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(models, name, 0.0)
    replies = Offering(server, "one", "two")
    async with client(server.ws()) as one:
        expected: list[tuple[str | None, list[str]]] = [
            ("Gone.", []),
            (None, ["one", "two"]),
            ("Gone.", ["one", "two"]),
        ]
        for number, (fault, names) in enumerate(expected, start=1):
            replies.fault = fault
            await one.request("complete", text="/model ")
            await answered(server)
            assert list(server.backchat._offer.models) == names
            assert replies.asked == number
        assert await offered(one, "/model ") == (7, ["one", "two", "none"])
        assert (await one.submit("/model three"))["data"] == {"model": "three"}


async def test_a_server_that_stops_does_not_wait_for_the_models(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        replies = Offering(server, "one")
        replies.lists.clear()
        async with client(server.ws()) as one:
            await one.send("complete", text="/model ")
            await eventually(lambda: replies.asked)
            await server.stop()
            assert await one.closed() == 1012


@pytest.mark.parametrize("line", ["/pick #1", "/goto #1", "/edit #1", "/branch 1"])
def test_a_number_is_completed_with_and_without_its_sign(line: str) -> None:
    assert candidates(line, "1", "12", "21") == (line.index(" ") + 1, ["1", "12", "21"])
