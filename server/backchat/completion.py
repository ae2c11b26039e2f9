"""Completion: what could stand where a line is being typed."""

import re
from collections.abc import Iterable
from typing import Final, assert_never

from msgspec import Struct

from backchat.commands import MESSAGE, NAME, TABLE, WHITE_SPACE, WORD, Argument, looks_like_command
from backchat.transcript import Node, State, Tree, text_of
from backchat.views import Offer, preview

MOST_CANDIDATES: Final = 50
"""How many candidates a completion has at the most."""
SUMMARY: Final = 80
"""How many characters of a message a candidate shows."""


class Candidate(Struct, frozen=True):
    """A value for the word being typed, and what it is."""

    value: str
    summary: str


class Typing(Struct, frozen=True):
    """The word that is being typed at the end of a line: it begins at index `start`, and is `prefix` so far.

    `argument` is what it is for; None for the name of a command. `before` is the word before it.
    """

    start: int
    prefix: str
    argument: Argument | None
    before: str = ""


def typing(line: str) -> Typing | None:
    """What is being typed at the end of a line; None where it is nothing that has values to choose from."""
    begin = len(line) - len(line.lstrip(WHITE_SPACE))
    if not looks_like_command(line[begin:]) and line[begin:] != "/":
        return None
    match = re.match(r"/([a-z][a-z0-9_-]*)?\Z", line[begin:], re.IGNORECASE | re.ASCII)
    if match is not None:
        return Typing(begin, line[begin:].lower(), None)
    match = NAME.match(line, begin)
    command = TABLE.get(match[1].lower()) if match else None
    if command is None:
        return None
    assert match is not None
    words = WORD.finditer(line, match.end())
    before = ""
    for argument in command.arguments:
        if argument.after is not None and argument.after != before:
            return None
        word = next(words, None)
        start = len(line) if word is None else word.start()
        if word is None or word.end() == len(line) or argument.type == "text":
            return Typing(start, line[start:].lower(), argument, before)
        before = word[0].lower()
    return None


def complete(typed: Typing, found: Iterable[Candidate]) -> list[Candidate]:
    """The candidates for what is being typed, out of those that its source holds: what begins with it, then what has
    it somewhere."""
    if typed.argument is None:
        table = [Candidate(f"/{command.name}", command.summary) for command in TABLE.values()]
        return [candidate for candidate in table if candidate.value.startswith(typed.prefix)]
    # A message may be written as #12; a candidate has the number alone.
    prefix = typed.prefix.removeprefix("#") if typed.argument.type in ("message", "place") else typed.prefix
    words = [Candidate(word, "") for word in (*typed.argument.values, *typed.argument.also)]
    every = [*found, *words]
    begins = [one for one in every if one.value.lower().startswith(prefix)]
    has = [one for one in every if one.value.lower().find(prefix) > 0]
    return (begins + has)[:MOST_CANDIDATES]


def candidates(typed: Typing, state: State, tree: Tree, offer: Offer) -> list[Candidate]:
    """What the source of the argument holds in this state."""
    head = tree[state.head]
    match None if typed.argument is None else typed.argument.source:
        case "models":
            return [Candidate(name, "") for name in offer.models]
        case "personalities":
            return [Candidate(name, "") for name in sorted(offer.personalities, key=str.lower)]
        case "queued":
            return [Candidate(str(one.id), preview(text_of(one.content), SUMMARY)) for one in state.queue]
        case "title":
            return [Candidate(state.title, "the title now")] if state.title else []
        case "commands":
            return [Candidate(one.name, one.summary) for one in TABLE.values()]
        case "messages":
            return [_message(node) for node in _last(head)]
        case "said":
            return [_message(node) for node in _last(head) if node is node.turn]
        case "turns":
            return [Candidate(str(node.turns), _text(node)) for node in _last(head) if node is node.turn]
        case "with_variants":
            return [_message(node) for node in _last(head) if tree.variant(node, state.last_message) is not None]
        case "variants":
            return _variants(typed.before, state, tree)
        case None:
            return []
        case _ as never:
            assert_never(never)


def _last(head: Node) -> list[Node]:
    """The last messages of a transcript, newest first: as many as a client is given at once."""
    nodes = []
    start, node = head.tail_start(), head
    while node.depth > start:
        nodes.append(node)
        node = node.parent
    return nodes


def _variants(message: str, state: State, tree: Tree) -> list[Candidate]:
    number = MESSAGE.fullmatch(message)
    # No session has a message whose number takes more digits, and int() refuses thousands of them.
    node = tree.get(int(number[1])) if number is not None and len(number[1]) < 20 else None
    if node is None or node.id > state.last_message:
        return []
    siblings = tree.variants(node, state.last_message)
    return [Candidate(str(at), _text(tree[sibling])) for at, sibling in enumerate(siblings, start=1)]


def _message(node: Node) -> Candidate:
    return Candidate(str(node.id), _text(node))


def _text(node: Node) -> str:
    return preview(text_of(node.message.content), SUMMARY)
