"""The command table, and the parser of what a person typed (DESIGN section 4, "Slash lines").

The one place where commands are listed: the parser, /help, the palette in the browser and the published protocol read
`TABLE`.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal, assert_never

from msgspec import Struct

from backchat import branches, choices, ops, reports
from backchat.branches import Destination
from backchat.errors import BadArgument, InvalidParams, UnknownCommand
from backchat.views import Outcome, View

WHITE_SPACE: Final = " \t\r\n"
"""What may stand around a line and between its arguments."""

SHORT: Final = 64
"""Up to how many characters of a command's line are remembered with what it means."""

MOST: Final = 10**9
"""Counts above this are this: no session has as many turns."""

NAME: Final = re.compile(r"/([a-z][a-z0-9_-]*)(?=([ \t\r\n])|\Z)", re.IGNORECASE | re.ASCII)
WORD: Final = re.compile(f"[^{WHITE_SPACE}]+")
_COUNT: Final = re.compile(r"[0-9]+", re.ASCII)
MESSAGE: Final = re.compile(r"#?(0*[1-9][0-9]*)", re.ASCII)
_REVISION: Final = re.compile(r"@(0*[1-9][0-9]*)", re.ASCII)
LEFT_OUT: Final = "--"
"""What stands for a message that is left out, before a text that begins with a number."""


Source = Literal[
    "commands", "messages", "models", "personalities", "queued", "said", "title", "turns", "variants", "with_variants"
]
"""Where the values that an argument may take are found, besides those that the table lists."""

Type = Literal["count", "word", "text", "message", "place"]

Group = Literal["take_back", "session", "model", "queue", "look"]
"""What a command is about, for lists that put like by like: what was said; the session as a whole; who replies, and
how; what is being written or waits; what only shows something."""


class Argument(Struct, frozen=True):
    """One argument: `count` is a whole number from 1, `word` has no white space, `text` is all the rest of the line,
    `message` the number of a message, `place` that or a revision like `@12`.

    A message that may be left out stands before a text only: it is there if the first word is a number.

    `values` are the words that it takes and no others; `source` and `also` are where completion finds values; `after`
    is the one value of the argument before it that it may follow.
    """

    name: str
    type: Type
    summary: str
    required: bool = False
    values: tuple[str, ...] = ()
    source: Source | None = None
    also: tuple[str, ...] = ()
    after: str | None = None

    @property
    def usage(self) -> str:
        """The argument in a usage line: `<name>` or, where it may be left out, `[name]`."""
        shown = "|".join(self.values) or ("message|@revision" if self.type == "place" else self.name)
        return f"<{shown}>" if self.required else f"[{shown}]"


class Command(Struct, frozen=True):
    """An entry of the table. `while_running` says what it does while a reply is being generated; `changes_transcript`
    that a client should send its revision along (`if_revision`)."""

    name: str
    group: Group
    summary: str
    while_running: str
    op: Callable[..., Outcome]
    arguments: tuple[Argument, ...] = ()
    changes_transcript: bool = False

    @property
    def usage(self) -> str:
        """The usage line, like `/undo [turns]`."""
        return " ".join([f"/{self.name}", *(argument.usage for argument in self.arguments)])

    @property
    def takes_text(self) -> bool:
        """Whether the last argument is free text, so that it may have line breaks."""
        return bool(self.arguments) and self.arguments[-1].type == "text"


class ArgumentInfo(Struct, frozen=True):
    """An argument as clients are told of it; `completes` says that `complete` has values for it."""

    name: str
    type: str
    summary: str
    required: bool
    completes: bool


class CommandInfo(Struct, frozen=True):
    """A command as clients are told of it."""

    name: str
    group: Group
    usage: str
    summary: str
    while_running: str
    changes_transcript: bool
    arguments: tuple[ArgumentInfo, ...]


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


_TYPES: Final[dict[Type, str]] = {
    "count": "a whole number from 1",
    "word": "one word",
    "text": "the rest of the line",
    "message": "the number of a message",
    "place": "the number of a message, or @ and that of a revision",
}


def _help(view: View, command: str | None = None) -> Outcome:
    if command is None:
        lines = [f"{one.usage}: {one.summary}" for one in TABLE.values()]
        lines.append("Anything else is a message. // at the start sends a message that looks like a command.")
        return Outcome(data={"commands": describe()}, notice="\n".join(lines))
    found = _find(command.removeprefix("/").lower())
    lines = [f"{found.usage}: {found.summary}"]
    lines += [f"{one.name} ({_TYPES[one.type]}): {one.summary}" for one in found.arguments]
    lines.append(f"While a reply is being written it {found.while_running}.")
    return Outcome(data={"commands": [_info(found)]}, notice="\n".join(lines))


def _queue(view: View, action: str | None = None, number: int | None = None) -> Outcome:
    match action:
        case "drop":
            return ops.queue_drop(view, number)
        case "go":
            return ops.queue_go(view)
        case _:
            return ops.queue(view)


_COMMANDS: Final = (
    Command(
        "retry",
        "take_back",
        "Take the last reply back and ask the same again",
        "stops the reply first, then asks again",
        ops.retry,
        changes_transcript=True,
    ),
    Command(
        "undo",
        "take_back",
        "Take the last turn back, or the last few",
        "stops the reply first; what it had written is taken back too",
        ops.undo,
        (Argument("turns", "count", "how many turns, 1 if left out"),),
        changes_transcript=True,
    ),
    Command(
        "redo",
        "take_back",
        "Bring back what was last taken off",
        "stops the reply first; what it had written is kept as a variant",
        ops.redo,
        (Argument("turns", "count", "how many turns at least, those of the last step if left out"),),
        changes_transcript=True,
    ),
    Command(
        "edit",
        "take_back",
        "Put another text in place of a message of yours, and ask again",
        "stops the reply first, then asks again",
        ops.edit,
        (
            Argument("message", "message", "which message, your last if left out", source="said"),
            Argument("text", "text", "what it shall say", required=True),
        ),
        changes_transcript=True,
    ),
    Command(
        "prev",
        "take_back",
        "Show the variant before this one, of the last turn",
        "stops the reply first; what it had written is kept as a variant",
        branches.previous,
        changes_transcript=True,
    ),
    Command(
        "next",
        "take_back",
        "Show the variant after this one, of the last turn",
        "stops the reply first; what it had written is kept as a variant",
        branches.following,
        changes_transcript=True,
    ),
    Command(
        "pick",
        "take_back",
        "Show a message, or a variant of it, and what followed it when it was last on screen",
        "stops the reply first, unless the message is on screen",
        branches.pick,
        (
            Argument("message", "message", "which message", required=True, source="with_variants"),
            Argument("variant", "count", "which of its variants, itself if left out", source="variants"),
        ),
        changes_transcript=True,
    ),
    Command(
        "goto",
        "take_back",
        "End the transcript with a message, or as it was at a revision",
        "stops the reply first; what it had written is kept as a variant",
        branches.goto,
        (Argument("place", "place", "a message, or a revision like @12", required=True, source="messages"),),
        changes_transcript=True,
    ),
    Command(
        "drop",
        "take_back",
        "Take one earlier turn out, and keep what follows",
        "stops the reply first; what it had written stays at the end",
        ops.drop,
        (Argument("turn", "count", "which turn, from 1", required=True, source="turns"),),
        changes_transcript=True,
    ),
    Command(
        "clear",
        "take_back",
        "Take everything off the transcript",
        "stops the reply first; what it had written is taken off too",
        ops.clear,
        changes_transcript=True,
    ),
    Command("stop", "queue", "End the reply that is being written, and keep its text", "ends the reply", ops.stop),
    Command(
        "queue",
        "queue",
        "Show the messages that wait for a reply to end, send them on, or take one out",
        "answers at once; go lets the next one follow the reply",
        _queue,
        (
            Argument("action", "word", "drop takes one out, go sends them on", values=("drop", "go")),
            Argument("number", "count", "which one to drop, the last if left out", source="queued", after="drop"),
        ),
    ),
    Command(
        "model",
        "model",
        "Show or choose the model that replies",
        "answers at once, and counts from the next reply on",
        choices.model,
        (
            Argument(
                "name",
                "text",
                "one of the models that the server offers, or none for its own",
                source="models",
                also=(choices.NONE,),
            ),
        ),
    ),
    Command(
        "personality",
        "model",
        "Show or choose one of the server's prompts",
        "answers at once, and counts from the next reply on",
        choices.personality,
        (Argument("name", "text", "the name of a prompt, or none", source="personalities", also=(choices.NONE,)),),
    ),
    Command(
        "system",
        "model",
        "Show or write this session's own system prompt",
        "answers at once, and counts from the next reply on",
        choices.system,
        (Argument("text", "text", "what to send before the transcript, or none", also=(choices.NONE,)),),
    ),
    Command(
        "title",
        "session",
        "Show or set the title",
        "answers at once",
        choices.title,
        (Argument("text", "text", "the new title", source="title"),),
    ),
    Command(
        "new",
        "session",
        "Begin a new session",
        "answers at once, and leaves the reply alone",
        choices.new,
        (Argument("title", "text", "its title; its first message gives one if left out"),),
    ),
    Command(
        "branch",
        "session",
        "Begin a new session with the transcript up to a message",
        "answers at once, and leaves the reply alone",
        branches.branch,
        (
            Argument("message", "message", "the last message to take along, all if left out", source="messages"),
            Argument("title", "text", "its title"),
        ),
    ),
    Command(
        "log",
        "look",
        "Show what was done to this session, newest first",
        "answers at once",
        reports.log,
        (Argument("count", "count", f"how many, {reports.LOGGED} if left out, {reports.MOST_LOGGED} at the most"),),
    ),
    Command("status", "look", "Show what this session is", "answers at once", reports.status),
    Command("usage", "look", "Show the tokens and the cost so far", "answers at once", reports.usage),
    Command(
        "help",
        "look",
        "List the commands, or explain one",
        "answers at once",
        _help,
        (Argument("command", "word", "the name of a command", source="commands"),),
    ),
)

TABLE: Final = {command.name: command for command in _COMMANDS}


def describe() -> list[CommandInfo]:
    """The table, as clients are told of it."""
    return [_info(command) for command in TABLE.values()]


def _info(command: Command) -> CommandInfo:
    arguments = tuple(
        ArgumentInfo(one.name, one.type, one.summary, one.required, bool(one.values or one.source or one.also))
        for one in command.arguments
    )
    return CommandInfo(
        command.name,
        command.group,
        command.usage,
        command.summary,
        command.while_running,
        command.changes_transcript,
        arguments,
    )


def _find(name: str) -> Command:
    """Raises UnknownCommand."""
    command = TABLE.get(name)
    if command is None:
        # Late: a server starts without it.
        import difflib

        raise UnknownCommand(name, difflib.get_close_matches(name, TABLE, n=3, cutoff=0.5))
    return command


def parse(line: str) -> Invocation | PlainMessage:
    """What a typed line means.

    Raises InvalidParams for a line that is no text, UnknownCommand, and BadArgument.
    """
    if line.startswith("/") and len(line) <= SHORT:
        return _parse_short(line)
    return _parse(line)


def _parse(line: str) -> Invocation | PlainMessage:
    check_text(line)
    line = line.strip(WHITE_SPACE)
    if not line:
        raise InvalidParams("There is nothing to send: the text is empty.")
    if line.startswith("//") and looks_like_command(line[1:]):
        return PlainMessage(line[1:])
    if not looks_like_command(line):
        return PlainMessage(line)
    match = NAME.match(line)
    assert match is not None
    command = _find(match[1].lower())
    return Invocation(command, _values(command, line[match.end() :].strip(WHITE_SPACE)))


# Most commands are typed the same way every time. An invocation is not changed by whoever decides it.
_parse_short: Final = lru_cache(maxsize=256)(_parse)


def check_text(text: str, *, nul: bool = False) -> None:
    """Raises InvalidParams where a text has a lone surrogate, which no UTF-8 can hold, or (unless `nul`) a NUL."""
    if "\0" in text and not nul:
        raise InvalidParams("The text has a NUL character in it.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidParams("The text has half of a surrogate pair in it.") from error


def looks_like_command(line: str) -> bool:
    match = NAME.match(line)
    if match is None:
        return False
    command = TABLE.get(match[1].lower())
    # A line break right after the name belongs to free text. A name that is not in the table must never reach a
    # model, so such a line is taken for a command whatever follows.
    return command is None or command.takes_text or match[2] not in ("\r", "\n")


def _values(command: Command, rest: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    word = ""
    for argument in command.arguments:
        if argument.after is not None and argument.after != word.lower():
            break
        if not rest:
            if argument.required:
                hint = " -- goes before a text that begins with a number." if "message" in values else ""
                raise BadArgument(f"/{command.name} needs {argument.name}.{hint}", command.usage)
            continue
        if argument.type == "text":
            values[argument.name], rest = rest, ""
            break
        word, *others = re.split(f"[{WHITE_SPACE}]+", rest, maxsplit=1)
        after = others[0] if others else ""
        if argument.type == "message" and not argument.required:
            if word == LEFT_OUT:
                rest = after
                continue
            if not MESSAGE.fullmatch(word):
                continue
        rest = after
        values[argument.name] = _value(command, argument, word)
    if rest:
        problem = "takes no argument" if not command.arguments else "takes fewer arguments"
        raise BadArgument(f"/{command.name} {problem}.", command.usage)
    return values


def _value(command: Command, argument: Argument, word: str) -> Any:
    match argument.type:
        case "count":
            return _number(command, argument, word)
        case "message":
            found = MESSAGE.fullmatch(word)
            if found is None:
                raise BadArgument(f"{argument.name} must be the number of a message.", command.usage)
            return _number(command, argument, found[1])
        case "place":
            if found := MESSAGE.fullmatch(word):
                return Destination(message=_number(command, argument, found[1]))
            if found := _REVISION.fullmatch(word):
                return Destination(revision=_number(command, argument, found[1]))
            raise BadArgument(
                f"{argument.name} must be the number of a message, or @ and that of a revision.", command.usage
            )
        case "word" | "text":
            if not argument.values:
                return word
            if word.lower() not in argument.values:
                raise BadArgument(f"{argument.name} must be {' or '.join(argument.values)}.", command.usage)
            return word.lower()
        case _:
            assert_never(argument.type)


def _number(command: Command, argument: Argument, word: str) -> int:
    digits = word.lstrip("0")
    if not _COUNT.fullmatch(word) or not digits:
        raise BadArgument(f"{argument.name} must be a whole number from 1.", command.usage)
    # int() refuses thousands of digits, and nobody means them.
    return min(int(digits), MOST) if len(digits) < 20 else MOST
