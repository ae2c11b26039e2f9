"""Slash lines: DESIGN section 4."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat import reports
from backchat.commands import MOST, TABLE, Argument, Command, Invocation, PlainMessage, describe, parse
from backchat.errors import BadArgument, InvalidParams, UnknownCommand


@pytest.mark.parametrize(
    ("line", "name", "values"),
    [
        ("/undo", "undo", {}),
        ("/UNDO", "undo", {}),
        ("  /undo \r\n", "undo", {}),
        ("/undo 3", "undo", {"turns": 3}),
        ("/undo\t 03 ", "undo", {"turns": 3}),
        ("/undo 99999999999999999999", "undo", {"turns": MOST}),
        ("/undo " + "9" * 5000, "undo", {"turns": MOST}),
        ("/status", "status", {}),
        ("/retry\n", "retry", {}),
    ],
)
def test_a_command_line(line: str, name: str, values: dict[str, int]) -> None:
    assert parse(line) == Invocation(TABLE[name], values)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("/", "/"),
        ("/ undo", "/ undo"),
        ("/etc/hosts is odd", "/etc/hosts is odd"),
        ("/undo,", "/undo,"),
        ("/2nd", "/2nd"),
        ("/und\u00f6", "/und\u00f6"),
        ("/undo\u00a0", "/undo\u00a0"),
        ("/undo\nand more", "/undo\nand more"),
        ("/status\r\nnow", "/status\r\nnow"),
        ("//undo", "/undo"),
        ("//undo 3 times", "/undo 3 times"),
        ("//nope", "/nope"),
        ("//etc/hosts", "//etc/hosts"),
        ("//undo\nand more", "//undo\nand more"),
        ("///undo", "///undo"),
        ("//", "//"),
        (" two  words\t", "two  words"),
        ("\u00a0 kept", "\u00a0 kept"),
    ],
)
def test_a_line_that_is_a_message(line: str, text: str) -> None:
    assert parse(line) == PlainMessage(text)


@pytest.mark.parametrize(
    "line",
    [
        "/undo x",
        "/undo -1",
        "/undo 0",
        "/undo 000",
        "/undo 1 2",
        "/undo +1",
        "/undo 1.0",
        "/undo ٣",
        "/status now",
        "/undo \nand more",
    ],
)
def test_an_argument_that_does_not_fit_is_answered_with_the_usage_line(line: str) -> None:
    with pytest.raises(BadArgument) as caught:
        parse(line)
    assert caught.value.data["usage"] in ("/undo [turns]", "/status")
    assert caught.value.data["usage"] in str(caught.value)


@pytest.mark.parametrize("line", ["/nope", "/NOPE", "/nope at all", "/nope\nis a secret", "/u"])
def test_a_name_that_is_not_in_the_table_never_becomes_a_message(line: str) -> None:
    with pytest.raises(UnknownCommand):
        parse(line)


def test_an_unknown_command_comes_with_the_nearest_names() -> None:
    with pytest.raises(UnknownCommand) as caught:
        parse("/unod")
    assert caught.value.data["nearest"][0] == "undo"


@pytest.mark.parametrize("line", ["", " ", "\t\r\n ", "a\0b", "/undo\0", "\ud800", "x\udfff"])
def test_a_line_that_is_no_text_is_refused(line: str) -> None:
    with pytest.raises(InvalidParams):
        parse(line)


@given(st.text(alphabet=st.sampled_from("/undoUNX 1-\n\t\u00e9\0")))
def test_any_line_is_a_command_a_message_or_refused_and_white_space_around_it_is_ignored(line: str) -> None:
    def meaning(line: str) -> object:
        try:
            return parse(line)
        except (BadArgument, UnknownCommand, InvalidParams) as error:
            return type(error)

    assert meaning(line) == meaning(f" \r\n{line}\t ")


def test_only_a_command_whose_last_argument_is_text_may_have_line_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Argument("text", "text", "what to say", required=True)
    monkeypatch.setitem(TABLE, "say", Command("say", "look", "Say it", "waits", reports.status, (said,)))
    assert parse("/say\n two\n lines ") == Invocation(TABLE["say"], {"text": "two\n lines"})
    assert parse("//say\nit") == PlainMessage("/say\nit")
    assert TABLE["say"].usage == "/say <text>"
    with pytest.raises(BadArgument):
        parse("/say")


def test_every_command_describes_itself() -> None:
    for info in describe():
        assert info.summary
        assert info.while_running
        assert info.usage.startswith(f"/{info.name}")
    assert set(TABLE) == {
        "retry", "undo", "redo", "edit", "prev", "next", "pick", "goto", "drop", "clear", "stop", "queue", "model",
        "personality", "system", "title", "new", "branch", "log", "status", "usage", "help",
    }  # fmt: skip


def test_commands_of_a_group_stand_together() -> None:
    groups = [group for group, _ in itertools.groupby(describe(), key=lambda info: info.group)]
    assert groups == ["take_back", "queue", "model", "session", "look"]
