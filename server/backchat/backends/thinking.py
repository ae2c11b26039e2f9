"""Reasoning that a model writes into its answer, as `<think>…</think>` at the very beginning, told apart from it.

Endpoints that know of reasoning send it in a field of its own; others pass on what the model wrote.
"""

from collections.abc import Iterator
from typing import Final, Literal

from backchat.backends.base import Delta

OPEN: Final = "<think>"
CLOSE: Final = "</think>"
MOST_HELD: Final = 100
"""How many characters, white space mostly, are held back for a tag that may come."""


class Thinking:
    """Takes the text of one reply piece by piece, and gives it back in order. `rest` has what is held back at the
    end: what might have become a tag."""

    def __init__(self) -> None:
        self._place: Literal["before", "inside", "between", "answer"] = "before"
        self._held = ""

    def split(self, text: str) -> Iterator[Delta]:
        """What can be said of the next piece."""
        self._held += text
        if self._place == "before":
            begun = self._held.lstrip()
            if begun.startswith(OPEN):
                self._place, self._held = "inside", begun.removeprefix(OPEN)
            elif not OPEN.startswith(begun) or len(self._held) > MOST_HELD:
                self._place = "answer"
        if self._place == "inside":
            thought, closed, after = self._held.partition(CLOSE)
            if closed:
                self._place, self._held = "between", after
            else:
                kept = _beginning(thought)
                thought, self._held = thought[: len(thought) - kept], thought[len(thought) - kept :]
            if thought:
                yield Delta(thought, reasoning=True)
        if self._place == "between":
            # The line breaks that part the two belong to neither.
            self._held = self._held.lstrip()
            if self._held:
                self._place = "answer"
        if self._place == "answer" and self._held:
            text, self._held = self._held, ""
            yield Delta(text)

    def rest(self) -> Iterator[Delta]:
        """What was held back, once no more comes."""
        if self._held:
            text, self._held = self._held, ""
            yield Delta(text, reasoning=self._place == "inside")


def _beginning(text: str) -> int:
    """How many characters at the end of a text may be the beginning of CLOSE."""
    return next((size for size in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:size])), 0)
