"""Words as a search sees them: texts in the form that a full-text index takes, queries in the form that it is asked,
and what is shown of a text that was found.

What a word is, the index decides: runs of letters and digits, whatever their case and their diacritics. Scripts that
do without spaces are helped here: each of their characters is a word of its own.
"""

import re
from typing import Any, Final

from msgspec import Struct

from backchat.transcript import text_of

MOST_QUERY: Final = 500
"""The longest query, in characters."""
BEFORE: Final = 60
"""How many characters before what was found are shown."""
AFTER: Final = 100
"""How many characters after it are."""
PARTIAL: Final = 16
"""How many characters a word that a cut has gone through may have and be left out."""
BEGIN: Final = "\x02"
END: Final = "\x03"
"""What stands around each hit in a marked text."""

_APART: Final = "\x1f"
# Not a matter of taste once it is released: what is in the index must be spelled the same to be taken out again. Thai
# and Lao; Myanmar; Khmer; Tai scripts; kana, bopomofo and Chinese characters; Yi; Javanese; more of Myanmar and Tai;
# Hangul (whose words are written together with what follows them); compatibility forms and halfwidth kana; Tangut and
# more kana; the rest of the Chinese characters. `re` compiles it when first used: that takes longer than all else here.
_ALONE: Final = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u3005-\u3007\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\ua980-\ua9ff\uaa60-\uaadf\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f"
    "\U00017000-\U00018aff\U0001b000-\U0001b16f\U00020000-\U0003ffff]+"
)
_SPACE: Final = re.compile(r"\s+")
_UNMARKED: Final = str.maketrans({BEGIN: " ", END: " ", _APART: " ", "\0": " "})


class Excerpt(Struct, frozen=True):
    """A piece of a text on one line: what was found, and what stands around it, with an ellipsis where it is cut."""

    before: str
    match: str
    after: str


def searched(text: str) -> str:
    """A text as the index takes it."""
    if text.isascii():
        return text
    return re.sub(_ALONE, lambda run: _APART + _APART.join(run[0]) + _APART, text)


def searched_content(content: Any) -> str:
    """What is searched of a message's content, as the index takes it; empty where there is nothing."""
    return "" if content is None else searched(text_of(content))


def expression(query: str, *, every: bool = True) -> str | None:
    """A query as FTS5 is asked: every word (or, without `every`, any of them), the last one as the beginning of a
    word. None where there is no word at all.

    Each is quoted, so that nothing in it means anything to FTS5.
    """
    words = query.translate(_UNMARKED).split()
    if not words:
        return None
    phrases = [_quoted(word) for word in dict.fromkeys(words[:-1])]
    # Words without a letter or digit are no words to FTS5: it leaves them out where they stand side by side.
    return (" " if every else " OR ").join([*phrases, _quoted(words[-1]) + "*"])


def _quoted(word: str) -> str:
    return '"' + searched(word).replace('"', '""') + '"'


def markable(text: str) -> str:
    """A text that can be marked: as the index takes it, without what a mark could be mistaken for."""
    return searched(text.translate(_UNMARKED))


def excerpt(marked: str, *, begins: bool, ends: bool) -> Excerpt:
    """What is shown of a marked text around its first hit; its beginning where nothing is marked. `begins` and `ends`
    say whether the text that this is a piece of begins and ends here."""
    before, _, rest = marked.replace(_APART, "").partition(BEGIN)
    match, found, after = rest.partition(END)
    if not found:
        before, after = "", before
    match, after = _line(match), _line(after.replace(BEGIN, "").replace(END, ""))
    if len(match) > AFTER:
        match, after, ends = match[:AFTER], "", False
    # A word is cut backwards like forwards.
    return Excerpt(_cut(_line(before)[::-1], BEFORE, begins)[::-1], match, _cut(after, AFTER, ends))


def _line(text: str) -> str:
    return _SPACE.sub(" ", text)


def _cut(text: str, most: int, whole: bool) -> str:
    """The first characters of a line, without a word that is cut in two unless it is long."""
    if whole and len(text.rstrip()) <= most:
        return text.rstrip()
    kept = text[:most]
    words, space, partial = kept.rpartition(" ")
    return (words + space if space and len(partial) < PARTIAL else kept) + "…"
