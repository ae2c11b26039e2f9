"""Code as HTML with a class for each kind of word.

Heavy: it brings pygments. Import it late, and not on the event loop.
"""

import re
import time
from functools import cache
from html import escape
from itertools import groupby
from typing import Any, Final

from pygments.lexers import find_lexer_class, get_all_lexers  # type: ignore[import-untyped]
from pygments.token import Token  # type: ignore[import-untyped]

MOST_CODE: Final = 20_000
"""Code of more characters than this is shown without colours: a lexer takes long over it."""
MOST_LINE: Final = 1000
"""Code with a line of more characters than this is shown without colours, too: a single regular expression of a lexer
can take seconds over it, with the interpreter's lock held."""
MOST_SPACE: Final = 200
"""The same for more characters of white space than this in a row, line breaks included."""

LANGUAGES: Final = {
    "bash", "bat", "c", "c++", "c#", "clojure", "cmake", "css", "dart", "diff", "docker", "elixir",
    "erlang", "fish", "fortran", "fsharp", "go", "graphql", "groovy", "haskell", "hcl", "html", "http", "ini",
    "java", "javascript", "json", "jsx", "julia", "kotlin", "less", "lua", "make", "matlab", "nasm", "nginx",
    "nim", "nix", "objective-c", "ocaml", "pascal", "perl", "php", "powershell", "protobuf", "python",
    "r", "ruby", "rust", "scala", "scheme", "scss", "sh", "sql", "swift", "tcl", "terraform", "tex", "toml",
    "tsx", "typescript", "vb.net", "vim", "xml", "yaml", "zig",
}  # fmt: skip
"""Whatever else a fence names is shown without colours. Lexers are made of regular expressions, some of which take very
long over some texts, with the interpreter's lock held. Not all of these were tried with all hostile code: what bounds
them is MOST_CODE, MOST_LINE and MOST_SPACE and, between two words only, the seconds that `highlighted` is given."""

CLASSES: Final = {
    Token.Comment: "c",
    Token.Comment.Preproc: "cp",
    Token.Keyword: "k",
    Token.Keyword.Constant: "kc",
    Token.Keyword.Type: "kt",
    Token.Literal.Number: "m",
    Token.Literal.String: "s",
    Token.Literal.String.Escape: "se",
    Token.Literal.String.Interpol: "si",
    Token.Name.Attribute: "na",
    Token.Name.Builtin: "nb",
    Token.Name.Class: "nc",
    Token.Name.Constant: "no",
    Token.Name.Decorator: "nd",
    Token.Name.Exception: "ne",
    Token.Name.Function: "nf",
    Token.Name.Tag: "nt",
    Token.Name.Variable: "nv",
    Token.Operator.Word: "ow",
    Token.Generic.Deleted: "gd",
    Token.Generic.Heading: "gh",
    Token.Generic.Inserted: "gi",
    Token.Generic.Output: "go",
    Token.Generic.Prompt: "gp",
    Token.Generic.Subheading: "gu",
}
"""What has a class, with all that pygments counts among it; the same as pygments' own. static/transcript.css has the
colours."""

_SPACE: Final = re.compile(r"\s+")


def highlighted(code: str, language: str, seconds: float) -> str:
    """Code as HTML: escaped, and coloured where the language is known, the code is of a kind that takes no lexer long,
    and that takes this thread no more than so many seconds of computing."""
    lexer = _lexer(language.lower()) if seconds > 0 and _is_bounded(code) else None
    if lexer is None:
        return escape(code)
    until = time.thread_time() + seconds
    words: list[tuple[Any, str]] = []
    for word in lexer.get_tokens(code):
        words.append(word)
        if time.thread_time() > until:
            return escape(code)
    if "".join(text for _, text in words) != code:
        # What a lexer makes nothing of, some drop.
        return escape(code)
    pieces: list[str] = []
    for name, group in groupby(words, key=lambda word: _class_of(word[0])):
        text = escape("".join(text for _, text in group))
        pieces.append(f'<span class="{name}">{text}</span>' if name else text)
    return "".join(pieces)


def _is_bounded(code: str) -> bool:
    if len(code) > MOST_CODE or max(map(len, code.split("\n"))) > MOST_LINE:
        return False
    return max(map(len, _SPACE.findall(code)), default=0) <= MOST_SPACE


@cache
def _class_of(kind: Any) -> str:
    while kind not in CLASSES:
        if kind.parent is None:
            return ""
        kind = kind.parent
    return CLASSES[kind]


@cache
def _names() -> dict[str, str]:
    """The name of the lexer for each alias of a language."""
    names: dict[str, str] = {}
    for name, aliases, _, _ in get_all_lexers(plugins=False):
        if not LANGUAGES.isdisjoint(aliases):
            names |= dict.fromkeys(aliases, name)
    return names


def _lexer(language: str) -> Any:
    name = _names().get(language)
    return None if name is None else _made(name)


@cache
def _made(name: str) -> Any:
    # What stands there is shown, blank lines too.
    return find_lexer_class(name)(stripnl=False, ensurenl=False)
