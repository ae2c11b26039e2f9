"""The command table, and the parser of what a person typed (DESIGN section 4, "Slash lines").

The one place where commands are listed: the parser, /help, the palette in the browser and the published protocol read
`TABLE`.
"""

import difflib
import re
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import Struct

from backchat import ops
from backchat.errors import BadArgument, InvalidParams, UnknownCommand
from backchat.ops import Outcome, View

WHITE_SPACE: Final = " \t\r\n"
"""What may stand around a line and between its arguments."""

MOST: Final = 10**9
"""Counts above this are this: no session has as many turns."""

_NAME: Final = re.compile(r"/([a-z][a-z0-9_-]*)(?=([ \t\r\n])|\Z)", re.IGNORECASE | re.ASCII)
_COUNT: Final = re.compile(r"[0-9]+", re.ASCII)


class Argument(Struct, frozen=True):
    """One argument: `count` is a whole number from 1, `text` is all the rest of the line."""

    name: str
    type: Literal["count", "text"]
    summary: str
    required: bool = False


class Command(Struct, frozen=True):
    """An entry of the table. `while_running` says what it does while a reply is being generated; `changes_transcript`
    that a client should send its revision along (`if_revision`)."""

    name: str
    summary: str
    while_running: str
    op: Callable[..., Outcome]
    arguments: tuple[Argument, ...] = ()
    changes_transcript: bool = False

    @property
    def usage(self) -> str:
        """The usage line, like `/undo [turns]`."""
        return " ".join(
            [f"/{self.name}", *(f"<{a.name}>" if a.required else f"[{a.name}]" for a in self.arguments)],
        )

    @property
    def takes_text(self) -> bool:
        """Whether the last argument is free text, so that it may have line breaks."""
        return bool(self.arguments) and self.arguments[-1].type == "text"


class CommandInfo(Struct, frozen=True):
    """A command as clients are told of it."""

    name: str
    usage: str
    summary: str
    while_running: str
    changes_transcript: bool
    arguments: tuple[Argument, ...]


class Invocation(Struct, frozen=True):
    """A parsed line: a command and its argument values, by name."""

    command: Command
    values: dict[str, Any]

    def decide(self, view: View) -> Outcome:
        """What the command does to this view. Raises what its op raises."""
        return self.command.op(view, **self.values)


class PlainMessage(Struct, frozen=True):
    """A line that is no command: the text of a message."""

    text: str


def _help(view: View) -> Outcome:
    lines = [f"{command.usage}: {command.summary}" for command in TABLE.values()]
    lines.append("Anything else is a message. // at the start sends a message that looks like a command.")
    return Outcome(data={"commands": describe()}, notice="\n".join(lines))


_COMMANDS: Final = (
    Command(
        "retry",
        "Take the last reply back and ask the same again",
        "stops the reply first, then asks again",
        ops.retry,
        changes_transcript=True,
    ),
    Command(
        "undo",
        "Take the last turn back, or the last few",
        "stops the reply first; what it had written is taken back too",
        ops.undo,
        (Argument("turns", "count", "how many turns, 1 if left out"),),
        changes_transcript=True,
    ),
    Command("stop", "End the reply that is being written, and keep its text", "ends the reply", ops.stop),
    Command("status", "Show what this session is", "answers at once", ops.status),
    Command("usage", "Show the tokens and the cost so far", "answers at once", ops.usage),
    Command("help", "List the commands", "answers at once", _help),
)

TABLE: Final = {command.name: command for command in _COMMANDS}


def describe() -> list[CommandInfo]:
    """The table, as clients are told of it."""
    return [
        CommandInfo(c.name, c.usage, c.summary, c.while_running, c.changes_transcript, c.arguments)
        for c in TABLE.values()
    ]


def parse(line: str) -> Invocation | PlainMessage:
    """What a typed line means.

    Raises InvalidParams for a line that is no text, UnknownCommand, and BadArgument.
    """
    check_text(line)
    line = line.strip(WHITE_SPACE)
    if not line:
        raise InvalidParams("There is nothing to send: the text is empty.")
    if line.startswith("//") and _looks_like_command(line[1:]):
        return PlainMessage(line[1:])
    if not _looks_like_command(line):
        return PlainMessage(line)
    match = _NAME.match(line)
    assert match is not None
    name = match[1].lower()
    command = TABLE.get(name)
    if command is None:
        raise UnknownCommand(name, difflib.get_close_matches(name, TABLE, n=3, cutoff=0.5))
    return Invocation(command, _values(command, line[match.end() :].strip(WHITE_SPACE)))


def check_text(text: str, *, nul: bool = False) -> None:
    """Raises InvalidParams where a text has a lone surrogate, which no UTF-8 can hold, or (unless `nul`) a NUL."""
    if "\0" in text and not nul:
        raise InvalidParams("The text has a NUL character in it.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidParams("The text has half of a surrogate pair in it.") from error


def _looks_like_command(line: str) -> bool:
    match = _NAME.match(line)
    if match is None:
        return False
    command = TABLE.get(match[1].lower())
    # A line break right after the name belongs to free text. A name that is not in the table must never reach a
    # model, so such a line is taken for a command whatever follows.
    return command is None or command.takes_text or match[2] not in ("\r", "\n")


def _values(command: Command, rest: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for argument in command.arguments:
        if not rest:
            if argument.required:
                raise BadArgument(f"/{command.name} needs {argument.name}.", command.usage)
            break
        if argument.type == "text":
            values[argument.name], rest = rest, ""
            break
        word, *others = re.split(f"[{WHITE_SPACE}]+", rest, maxsplit=1)
        rest = others[0] if others else ""
        values[argument.name] = _number(command, argument, word)
    if rest:
        problem = "takes no argument" if not command.arguments else "takes fewer arguments"
        raise BadArgument(f"/{command.name} {problem}.", command.usage)
    return values


def _number(command: Command, argument: Argument, word: str) -> int:
    digits = word.lstrip("0")
    if not _COUNT.fullmatch(word) or not digits:
        raise BadArgument(f"{argument.name} must be a whole number from 1.", command.usage)
    # int() refuses thousands of digits, and nobody means them.
    return min(int(digits), MOST) if len(digits) < 20 else MOST
