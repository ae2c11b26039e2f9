"""Markdown as HTML that may be shown: parsed without raw HTML, then sanitised (DESIGN section 7).

Heavy: it brings markdown-it, nh3 and pygments. Import it late, and not on the event loop. One thread at a time.
"""

import re
import time
from collections.abc import Sequence
from html import escape
from typing import Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from backchat.highlighting import CLASSES, highlighted

DEEPEST: Final = 50
"""How deeply a message may be nested: a quotation counts one, a list two, emphasis one."""
MOST_STEPS: Final = 30_000
"""How much work a text may make: how often a parser looks at what comes next. Prose takes a step for 20 characters, the
densest text one for each; with nesting one line can take hundreds."""
MOST_TOKENS: Final = 50_000
"""How many tokens the blocks of a text may have: a table makes cells of nothing."""
MOST_SECONDS: Final = 0.25
"""How much computing colours may take in one text. Lexers have nothing that could be counted."""
MOST_LABEL: Final = 40
"""How many characters of a fence's language are shown."""
SCHEMES: Final = ("http", "https", "mailto")
LONGEST_SCHEME: Final = max(map(len, SCHEMES))
TAGS: Final = {
    "a", "blockquote", "br", "code", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}}
VALUES: Final = {
    **{tag: {"dir": {"auto"}} for tag in ("blockquote", "h3", "h4", "h5", "h6", "ol", "p", "table", "ul")},
    "div": {"dir": {"ltr"}},
}
ALLOWED_CLASSES: Final = {
    "code": {"hl"},
    "div": {"code", "code-head", "table"},
    "li": {"task"},
    "p": {"typed"},
    "span": set(CLASSES.values()),
    "td": {"center", "left", "right"},
    "th": {"center", "left", "right"},
}
REL: Final = "noopener noreferrer nofollow"

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_BLANK: Final = re.compile(r"(\n[ \t]*(?:\n[ \t]*)+)")
_SCHEME: Final = re.compile(rf"(?<![a-z0-9+.-])({'|'.join(SCHEMES)})$", re.IGNORECASE)
# Up to white space, what quotes an address, or the punctuation of scripts that do without spaces. Bounded, and brackets
# in pairs only, so that it takes no time.
_IN_ADDRESS: Final = r"""[^\s<>"`\[\]\\^{|}\u00ab\u00bb\u201c-\u201e\u3000-\u303f\uff00-\uff65]"""
_REST: Final = re.compile(rf"://(?=\w)(?:{_IN_ADDRESS}|\[{_IN_ADDRESS}{{0,100}}\]){{1,2000}}")
_MAIL: Final = re.compile(rf":[\w.+-]{{1,64}}@\w{_IN_ADDRESS}{{1,500}}")
_TASK: Final = re.compile(r"\[([ xX])\] ")
_LINK: Final = re.compile(rf"(?:{'|'.join(SCHEMES)}):", re.IGNORECASE)


class TooMuch(Exception):
    """A text is nested too deeply, or would take too long. Decided without a clock: the same each time."""


class Work:
    """What may still be done for a text, or for several together."""

    def __init__(self) -> None:
        self.steps = MOST_STEPS
        self.seconds = MOST_SECONDS


def rendered(text: str, left: Work | None = None) -> str:
    """The HTML of a message in Markdown. Raises TooMuch."""
    return _cleaner.clean(_markdown.render(text, _work(left)))


def typed(text: str, left: Work | None = None) -> str:
    """The HTML of a message as it was typed: white space is kept, and only fenced code, inline code and links are
    more than text. Raises TooMuch."""
    lines = _LINE_END.sub("\n", text).split("\n")
    pieces: list[str] = []
    done = 0
    work = _work(left)
    for token in _typed.parse("\n".join(lines), work):
        if token.type == "fence" and token.map is not None:
            start, end = token.map
            pieces += [_paragraph(lines[done:start], work), _code(token.content, token.info, token.info.strip(), work)]
            done = end
    pieces.append(_paragraph(lines[done:], work))
    return _cleaner.clean("".join(pieces))


def settled(text: str) -> int:
    """How much of a text that still grows is sure to be rendered as it is now, in code points: the blocks before the
    last one of the lines that are complete. What follows may still turn out otherwise; each part can be rendered alone
    (but for references to links that are defined in the other). Raises TooMuch."""
    complete = text[: text.rfind("\n") + 1]
    starts = [token.map[0] for token in _blocks.parse(complete, _work()) if token.level == 0 and token.map is not None]
    if len(starts) < 2:
        return 0
    ends = _LINE_END.finditer(complete)
    at = 0
    for _ in range(starts[-1]):
        at = next(ends).end()
    return at


def _paragraph(lines: list[str], work: EnvType) -> str:
    text = "\n".join(lines).strip("\n")
    if not text.strip():
        return ""
    # Code does not reach from one paragraph into the next.
    pieces = _BLANK.split(text)
    inline = [piece if number % 2 else _typed.renderInline(piece, work) for number, piece in enumerate(pieces)]
    return f'<p class="typed" dir="auto">{"".join(inline)}</p>'


def _code(code: str, info: str, label: str, work: EnvType) -> str:
    language = _language(info)
    if not code.endswith("\n"):
        # The end of a text that is still written; some lexers take nothing for a line before.
        code += "\n"
    begun = time.thread_time()
    html = highlighted(code, language, work["left"].seconds)
    work["left"].seconds -= time.thread_time() - begun
    return (
        f'<div class="code" dir="ltr"><div class="code-head"><span>{escape(label)}</span></div>'
        f'<pre><code class="hl">{html}</code></pre></div>'
    )


def _language(info: str) -> str:
    return info.split(maxsplit=1)[0] if info.strip() else ""


def _may_link(url: str) -> bool:
    return _LINK.match(url) is not None


class _Renderer(RendererHTML):
    """The page's own headings stand above a message's; code and tables have a frame; a picture is a link to it, since
    fetching it would tell its owner that the message was read."""

    def render(self, tokens: Sequence[Token], options: OptionsDict, env: EnvType) -> str:
        for token in tokens:
            self._prepare(token)
            if token.children:
                self._prepare_inline(token.children)
        return super().render(tokens, options, env)

    def _prepare(self, token: Token) -> None:
        if token.level >= DEEPEST - 1 and token.nesting == 1:
            # The parser leaves out what is nested deeper.
            raise TooMuch
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + 2, 6)}"
        if token.level == 0 and token.nesting == 1:
            token.attrSet("dir", "auto")
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)) is not None:
            token.attrSet("class", str(style).removeprefix("text-align:"))

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        return _code(token.content, token.info, _language(token.info)[:MOST_LABEL], env)

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _code(tokens[idx].content, "", "", env)

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<div class="table">' + self.renderToken(tokens, idx, options, env)

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return self.renderToken(tokens, idx, options, env) + "</div>"

    def _prepare_inline(self, tokens: Sequence[Token]) -> None:
        links = depth = 0
        for token in tokens:
            links += token.nesting * (token.tag == "a")
            depth += token.nesting
            if depth > DEEPEST:
                raise TooMuch
            if token.type == "image":
                token.meta["linked"] = links > 0

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        url = str(token.attrs["src"])
        name = escape(self.renderInlineAsText(token.children or [], options, env) or url)
        return name if token.meta["linked"] else f'<a href="{escape(url)}">{name}</a>'


def _work(left: Work | None = None) -> EnvType:
    # A parser puts into it what it finds in a text, so each has its own.
    return {"left": left or Work()}


def _step(state: StateBlock | StateInline, *_: object) -> bool:
    """A rule that never applies, before all others: counts how often they are tried."""
    left: Work = state.env["left"]
    left.steps -= 1
    if left.steps < 0:
        raise TooMuch
    return False


class _Inline(ParserInline):
    """Counts looking ahead too, which tries no rules where it has looked before."""

    def skipToken(self, state: StateInline) -> None:  # noqa: N802
        _step(state)
        super().skipToken(state)


def _count(state: StateCore) -> None:
    if len(state.tokens) > MOST_TOKENS:
        raise TooMuch


def _tasks(state: StateCore) -> None:
    """Items of a list that begin with [ ] or [x] begin with a box: a character, which anything can read and copy."""
    for token, following, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if token.type != "list_item_open" or following.type != "paragraph_open" or not inline.children:
            continue
        first = inline.children[0]
        if first.type == "text" and (box := _TASK.match(first.content)):
            first.content = ("☐ " if box[1] == " " else "☑ ") + first.content[box.end() :]
            token.attrSet("class", "task")


def _address(state: StateInline, silent: bool) -> bool:
    """An address that stands in the text as it is. With its scheme: without one, every file is a site, and README.md is
    in Moldova."""
    at = state.pos
    if state.src[at] != ":" or state.linkLevel:
        return False
    found = _SCHEME.search(state.src[max(0, at - LONGEST_SCHEME - 1) : at])
    if found is None:
        return False
    scheme = found[1]
    rest = (_MAIL if scheme.lower() == "mailto" else _REST).match(state.src, at, state.posMax)
    if rest is None or not (silent or state.pending.endswith(scheme)):
        return False
    url = scheme + _without_end(rest[0])
    target = state.md.normalizeLink(url)
    if not silent:
        state.pending = state.pending[: -len(scheme)]
        state.push("link_open", "a", 1).attrs = {"href": target}
        state.push("text", "", 0).content = url
        state.push("link_close", "a", -1)
    state.pos += len(url) - len(scheme)
    return True


def _without_end(url: str) -> str:
    """An address without the punctuation of the sentence around it."""
    surplus = url.count(")") - url.count("(")
    while url[-1] in "?!.,:;*_~'" or (url[-1] == ")" and surplus > 0):
        surplus -= url[-1] == ")"
        url = url[:-1]
    return url


def _parser(preset: str, rules: Sequence[str] = ()) -> MarkdownIt:
    markdown = MarkdownIt(renderer_cls=_Renderer)
    markdown.inline = _Inline()
    markdown.configure(preset, {"html": False, "breaks": True, "xhtmlOut": False, "maxNesting": DEEPEST})
    markdown.enable(list(rules))
    markdown.validateLink = _may_link  # type: ignore[method-assign]
    markdown.inline.ruler.before("text", "address", _address)
    markdown.inline.ruler.before("address", "step", _step)
    markdown.block.ruler.before("table", "step", _step, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    markdown.core.ruler.after("block", "count", _count)
    return markdown


_markdown: Final = _parser("commonmark", ["table", "strikethrough"])
_markdown.core.ruler.after("inline", "tasks", _tasks)
_typed: Final = _parser("zero", ["fence", "backticks"])
_blocks: Final = _parser("commonmark", ["table"])
_blocks.core.ruler.enableOnly(["normalize", "block"])
_cleaner: Final = nh3.Cleaner(
    tags=TAGS,
    clean_content_tags=set(),
    attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
    tag_attribute_values=VALUES,
    set_tag_attribute_values={"a": {"target": "_blank"}},
    allowed_classes=ALLOWED_CLASSES,
    url_schemes=set(SCHEMES),
    url_relative="deny",
    link_rel=REL,
)
