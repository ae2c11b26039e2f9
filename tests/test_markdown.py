"""Markdown as HTML: what it looks like, what it takes, and that nothing else comes out."""

import contextlib
import re
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat import highlighting, markdown
from backchat.highlighting import CLASSES, LANGUAGES, MOST_CODE, MOST_LINE, MOST_SPACE, _lexer, highlighted
from backchat.markdown import TooMuch, rendered, settled, typed
from backchat.page import static_directory
from tests.support.hostile import TEXTS


class Parsed(HTMLParser):
    """HTML as a browser would read it: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.other: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in NO_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        self.other.append(data)


FOREVER = 1e9
HEX = re.compile(r"#([0-9a-f]{6}|[0-9a-f]{3})\b")

LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


def code(html: str, language: str = "") -> str:
    """A block of code."""
    return (
        f'<div class="code" dir="ltr"><div class="code-head"><span>{language}</span></div>'
        f'<pre><code class="hl">{html}</code></pre></div>'
    )


def link(url: str, text: str | None = None) -> str:
    """A link."""
    return f'<a href="{url}" {LINK}>{text or url}</a>'


def said(html: str) -> str:
    """A paragraph as it was typed."""
    return f'<p class="typed" dir="auto">{html}</p>'


# Looks.


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo", '<p dir="auto">one<br>\ntwo</p>\n'),
        ("*a* **b** ~~c~~ `d`", '<p dir="auto"><em>a</em> <strong>b</strong> <s>c</s> <code>d</code></p>\n'),
        ("# a", '<h3 dir="auto">a</h3>\n'),
        ("###### a", '<h6 dir="auto">a</h6>\n'),
        ("3. a\n   - b", '<ol start="3" dir="auto">\n<li>a\n<ul>\n<li>b</li>\n</ul>\n</li>\n</ol>\n'),
        ("> a", '<blockquote dir="auto">\n<p>a</p>\n</blockquote>\n'),
        (
            "- [ ] *a*\n- [X] b",
            '<ul dir="auto">\n<li class="task">☐ <em>a</em></li>\n<li class="task">☑ b</li>\n</ul>\n',
        ),
        ("- [y] a\n- [x]b\n- [ ]", '<ul dir="auto">\n<li>[y] a</li>\n<li>[x]b</li>\n<li>[ ]</li>\n</ul>\n'),
        ("[x] a", '<p dir="auto">[x] a</p>\n'),
        ("a\n\n---", '<p dir="auto">a</p>\n<hr>\n'),
        ("<b>a</b>", '<p dir="auto">&lt;b&gt;a&lt;/b&gt;</p>\n'),
        ("<!-- a -->", '<p dir="auto">&lt;!-- a --&gt;</p>\n'),
        ("", ""),
    ],
)
def test_markdown_looks_like_this(text: str, html: str) -> None:
    assert rendered(text) == html


def test_a_table_has_a_frame_and_its_columns_are_aligned_by_classes() -> None:
    html = rendered("|a|b|c|\n|-|:-:|-:|\n|1|2|3|")
    assert html.startswith('<div class="table"><table dir="auto">')
    assert '<td>1</td>\n<td class="center">2</td>\n<td class="right">3</td>' in html
    assert html.endswith("</table>\n</div>")


def test_code_is_coloured_where_its_language_is_known() -> None:
    assert rendered("```python x\nif 1: pass\n```") == code(
        '<span class="k">if</span> <span class="m">1</span>: <span class="k">pass</span>\n', "python"
    )
    assert rendered("~~~PY\npass\n~~~") == code('<span class="k">pass</span>\n', "PY")
    assert rendered("```brainfuck\n<->\n```") == code("&lt;-&gt;\n", "brainfuck")
    assert rendered("```\n\n<a>\n```") == code("\n&lt;a&gt;\n")
    assert rendered("    <a>") == code("&lt;a&gt;\n")


def test_code_that_is_long_is_not_coloured() -> None:
    line = "1" * MOST_LINE
    for code_, coloured in (
        (line, True),
        (line + "1", False),
        ("1\n" * (MOST_CODE // 2), True),
        ("1\n" * (MOST_CODE // 2) + "1", False),
        ("1" + "\n" * MOST_SPACE, True),
        # Lexers of C look from each empty line to the end of all.
        ("1" + "\n" * (MOST_SPACE + 1), False),
        ("1" + " \n\t\r" * (MOST_SPACE // 4) + " 1", False),
    ):
        html = highlighted(code_, "c", FOREVER)
        assert ("<span" in html, Parsed(html).text) == (coloured, code_)


def test_code_that_takes_long_is_not_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 1.0, 3.0))
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))
    assert highlighted("1 1", "python", 2) == "1 1"


def test_no_code_is_looked_at_once_the_time_for_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(language: str) -> None:
        raise AssertionError(language)

    monkeypatch.setattr(highlighting, "_lexer", used)
    for seconds in (0, -1):
        assert highlighted("1", "python", seconds) == "1"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_there_are_colours_for_every_language(language: str) -> None:
    assert _lexer(language) is not None


@settings(deadline=None, max_examples=60)
@given(st.text(), st.sampled_from(sorted(LANGUAGES)))
def test_colours_change_nothing_of_the_code(text: str, language: str) -> None:
    parser = Parsed(highlighted(text, language, FOREVER))
    assert parser.text == text
    assert {name for _, attributes in parser.tags for name in attributes["class"].split()} <= set(CLASSES.values())


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("[a](https://b.c)", link("https://b.c", "a")),
        ("<https://b.c>", link("https://b.c")),
        ("<a@b.c>", link("mailto:a@b.c", "a@b.c")),
        ("https://b.c/d_(e)_f", link("https://b.c/d_(e)_f")),
        ("(https://b.c/d).", f"({link('https://b.c/d')})."),
        ("**https://b.c**", f"<strong>{link('https://b.c')}</strong>"),
        ("看https://b.c/d。好", f"看{link('https://b.c/d')}。好"),
        ("https://b.c?d[]=1", link("https://b.c?d%5B%5D=1", "https://b.c?d[]=1")),
        ("HTTPS://b.c/é", link("HTTPS://b.c/%C3%A9", "HTTPS://b.c/é")),
        ("mailto:a@b.c.", f"{link('mailto:a@b.c')}."),
        ("[a https://b.c](https://d.e)", link("https://d.e", "a https://b.c")),
        ("`https://b.c`", "<code>https://b.c</code>"),
        ("README.md www.b.c a@b.c xhttps://b.c https:// b.c", "README.md www.b.c a@b.c xhttps://b.c https:// b.c"),
        ("[a](/b) [c](d) [e](#f) [g](//h.i)", "[a](/b) [c](d) [e](#f) [g](//h.i)"),
        ("![a](https://b.c/d.png)", link("https://b.c/d.png", "a")),
        ("![](https://b.c/d.png)", link("https://b.c/d.png")),
        ("[![a](https://b.c/d.png)](https://e.f)", link("https://e.f", "a")),
        ("[a][b]\n\n[b]: https://c.d", link("https://c.d", "a")),
    ],
)
def test_links_lead_to_the_web_and_to_mail_only_and_a_picture_is_a_link(text: str, html: str) -> None:
    assert rendered(text).split("\n")[0] == f'<p dir="auto">{html}</p>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("  *a*\n\n\n    b", said("  *a*\n\n\n    b")),
        ("# a\r\n> b", said("# a\n&gt; b")),
        ("`a` <b>", said("<code>a</code> &lt;b&gt;")),
        ("a `b\n\nc` d", said("a `b\n\nc` d")),
        ("a https://b.c.", said(f"a {link('https://b.c')}.")),
        ("[a](https://b.c)", said(f"[a]({link('https://b.c')})")),
        ("a\n```sh\n b\n```\n\n c", said("a") + code(" b\n", "sh") + said(" c")),
        ("```\na", code("a\n")),
        ("&amp; \\* a\\\nb  \nc", said("&amp;amp; \\* a\\\nb  \nc")),
        (" ", ""),
    ],
)
def test_what_a_person_typed_stays_as_it_is_but_for_code_and_links(text: str, html: str) -> None:
    assert typed(text) == html


# Nothing else comes out.

TAGS = {
    "a": {"href", "title", "target", "rel"},
    "blockquote": {"dir"},
    "br": set(),
    "code": {"class"},
    "div": {"class", "dir"},
    "em": set(),
    **{f"h{level}": {"dir"} for level in range(3, 7)},
    "hr": set(),
    "li": set(),
    "ol": {"start", "dir"},
    "p": {"class", "dir"},
    "pre": set(),
    "s": set(),
    "span": {"class"},
    "strong": set(),
    "table": {"dir"},
    "tbody": set(),
    "td": {"class"},
    "th": {"class"},
    "thead": set(),
    "tr": set(),
    "ul": {"dir"},
}
"""All that the page is given: tags and their attributes. Written down anew, not read from the code."""
FRAMES = {"code", "code-head", "hl", "table", "typed", "left", "center", "right"}
NO_END = {"br", "hr"}


def sound(html: str) -> None:
    """Fails unless HTML has known tags, attributes, classes and addresses only, and all that begins ends."""
    parsed = Parsed(html)
    assert parsed.other == []
    for tag, attributes in parsed.tags:
        assert set(attributes) <= TAGS[tag], (tag, attributes)
        assert set(attributes.get("class", "").split()) <= FRAMES | set(CLASSES.values())
        assert attributes.get("dir", "auto") in ("auto", "ltr")
        assert re.fullmatch("[0-9]+", attributes.get("start", "0"))
        if tag == "a":
            # A browser passes over white space and control characters; this looks at what is left.
            address = re.sub(r"[\x00-\x20\x7f]", "", attributes.get("href", "https:"))
            assert re.match(r"(?:https?:|mailto:)", address, re.IGNORECASE), address
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"
    assert parsed.open == []


def well(render: Callable[[str], str], text: str) -> str:
    """What becomes of a text, once it is sound."""
    html = render(text)
    sound(html)
    return html


WRAPS = [
    "{}",
    "> {}",
    "- {}\n- {}",
    "# {}",
    "|{}|b|\n|-|-|\n|{}|d|",
    "*{}*",
    "~~{}~~",
    "[{}](https://a.b)",
    "![{}](https://a.b)",
    "`{}`",
    "```{}\n{}\n```",
    "[a](https://b.c/{})",
    '[a](https://b.c "{}")',
    "<https://b.c/{}>",
    "https://b.c/{}",
    "[{}]: https://b.c\n\n[{}]",
    "\\{}",
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_hostile_texts_come_out_sound_wherever_they_stand(wrap: str) -> None:
    for text in (*HOSTILE, *TEXTS):
        for render in (rendered, typed):
            well(render, wrap.replace("{}", text))


def test_what_sanitises_would_do_alone() -> None:
    for text in (*HOSTILE, *TEXTS):
        well(markdown._cleaner.clean, text)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_hostile_code_comes_out_sound_in_every_language(language: str) -> None:
    text = "\n".join((*HOSTILE, *TEXTS)).replace("```", "").replace("\0", "\ufffd")
    html = well(rendered, f"```{language}\n{text}\n```")
    assert Parsed(html).text == f"{language}{text}\n"


HOSTILE = [
    "javascript:alert(1)",
    "\x01javascript:alert(1)",
    "java\nscript:alert(1)",
    "[a](\x0bjavascript:alert(1))",
    "[a](java&Tab;script:alert(1))",
    "[a](&#x6a&#x61&#x76&#x61script:alert(1))",
    "[a](http&colon;//b.c)",
    "[a](https:javascript:alert(1))",
    "[a](ftp://b.c)",
    "[a](file:///etc/passwd)",
    "[a](//b.c)",
    "[a](\\\\b.c)",
    "[a](https:\\b.c)",
    '[a](https://b.c/"onclick=alert(1))',
    '<https://b.c/"onclick=alert(1)>',
    '<mailto:a@b.c?subject=">',
    "https://b.c/'onclick='alert(1)",
    "https://b.c/<img>",
    "https://user:pass@b.c",
    "https://\u202egro.elpmaxe/",
    "https://\u0430pple.com",
    "https://xn--.com",
    "https://%00",
    "https://[",
    "mailto:a@b.c\u2028",
    "![a](data:image/png;base64,AAAA)",
    "![a](blob:https://b.c/1)",
    "<svg/onload=alert(1)>",
    "<a\x00b>",
    "</p></div></code></pre></article>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&#0;&#xD800;&#x110000;",
    "\u2028\u2029\ufeff\u0000",
    '" onmouseover="alert(1)',
    "hl k code typed",
]

risky = st.lists(
    st.sampled_from(
        [
            "<",
            ">",
            '"',
            "'",
            "&",
            "=",
            "/",
            "\\",
            "`",
            "```",
            "~~~",
            "[",
            "]",
            "(",
            ")",
            "](",
            "![",
            "|",
            "|-|",
            "\n",
            "\n\n",
            " ",
            "    ",
            "\t",
            "\r",
            "\0",
            "*",
            "_",
            "~~",
            "#",
            ">",
            "- ",
            "1. ",
            ":",
            "://",
            "https://a.b",
            "mailto:",
            "a@b.c",
            "javascript:",
            "data:",
            "&colon;",
            "&#106;",
            "&lt;",
            "<!--",
            "-->",
            "<script>",
            "</code>",
            "<img src=x onerror=a>",
            "onclick=a",
            "style=",
            "html",
            "js",
            "\u202e",
            "é",
            "{",
            "$",
        ]
    ),
    max_size=25,
).map("".join)


@settings(deadline=None)
@given(risky | st.text(max_size=40))
def test_any_text_comes_out_sound(text: str) -> None:
    for render in (rendered, typed):
        with contextlib.suppress(TooMuch):
            well(render, text)


@settings(deadline=None)
@given(risky)
def test_what_a_person_typed_is_all_there(text: str) -> None:
    """But for what marks code, and the blank lines around it."""
    shown = Parsed(typed(text)).text
    plain = re.sub(r"\r\n?", "\n", text).replace("\0", "\ufffd")
    assert re.sub(r"[`~\s]", "", shown) == re.sub(r"[`~\s]", "", plain)


# Bounds.

DENSE = [
    "[", "![", "]", "](", "[a](", "[`", "[[a](b)](c) ", "![a](https://b)", "![[]", "*a_", "**a*b", "*_", "*a **b ",
    "~~a ", "`a", "<a", "<https://a", "&#x", "\\", "https://a ", "https://a/(b", "https://a/[b", "https:",
    "mailto:a@", "|a", "|a|b|\n|-|-|\n", "- ", "1. ", "> ", ">", "- a\n", "> a\n", "a\n", "# a\n", "a\n===\n",
    "[a]: b\n", "[a]: b\n\n[a] ", "[a\n", "```\n", "    a\n", "\t", "\n", "<!--", "<![CDATA[", "\r", "\0", "é*ß_",
]  # fmt: skip


def calls(parse: Callable[[str], object], text: str) -> int:
    """How many calls of functions it takes to parse a text, or to find that it would take too many."""
    count = 0

    def called(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(called)
    try:
        with contextlib.suppress(TooMuch):
            parse(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("unit", DENSE)
def test_no_text_takes_long(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "MOST_STEPS", 2_000)
    text = unit * (8_000 // len(unit))
    assert max(calls(parse, text) for parse in (rendered, typed, settled)) < 500_000


@pytest.mark.parametrize("nested", ["> ", "- ", "1. "])
def test_what_is_nested_too_deeply_is_refused_rather_than_cut_off(nested: str) -> None:
    assert ">a" in rendered(nested * 20 + "a")
    for depth in range(20, 60):
        with contextlib.suppress(TooMuch):
            assert ">a" in rendered(nested * depth + "a")
    with pytest.raises(TooMuch):
        rendered(nested * 60 + "a")


def test_emphasis_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(TooMuch):
        rendered("*a _b " * 60 + "x" + "_ c*" * 60)


def test_a_table_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "MOST_TOKENS", 5_000)
    with pytest.raises(TooMuch):
        rendered("|a" * 50 + "|\n" + "|-" * 50 + "|\n" + "|\n" * 50)


# What can no longer change.

LINES = [
    "a", "b c", "# d", "---", "===", "- e", "- [x] e", "  f", "    g", "1. h", "> i",
    "```", "~~~py", "|j|k|", "|-|-|", "", "", " ", "\t", "*l*", "`m", "\\",
]  # fmt: skip
documents = st.lists(st.sampled_from(LINES), max_size=30).flatmap(
    lambda lines: st.builds(str.join, st.sampled_from(["\n", "\r\n", "\r"]), st.just(lines))
)


@settings(deadline=None)
@given(documents | st.text("ab \n\t-*#>`~|=123.", max_size=80), st.integers(1, 5))
def test_what_is_settled_stays_and_all_of_it_together_is_the_whole(text: str, step: int) -> None:
    """A reply that grows by so many characters at once: what was said to be settled is never taken back."""
    html, after = "", 0
    for end in [*range(0, len(text), step), len(text)]:
        until = after + settled(text[after:end])
        html += rendered(text[after:until])
        after = until
        assert html + rendered(text[after:end]) == rendered(text[:end])


def test_all_but_the_last_block_is_settled() -> None:
    assert settled("a") == 0
    assert settled("a\n\nb") == 0
    assert settled("a\n\nb\n") == 3
    assert settled("é\r\n\r\n- b\r\n- c\r\n\r\nd\r\n") == len("é\r\n\r\n- b\r\n- c\r\n\r\n")
    assert settled("# a\n```\nb\n\nc\n") == 4


# Colours.


def sheet(name: str) -> str:
    """A style sheet of the page."""
    return (static_directory() / name).read_text(encoding="utf-8")


def colours(value: str) -> list[str]:
    """The two colours of a `light-dark()`, as six digits each."""
    return [digits if len(digits) == 6 else "".join(digit * 2 for digit in digits) for digits in HEX.findall(value)]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2)."""

    def luminance(digits: str) -> float:
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_kind_of_word_has_a_colour_that_stands_out_by_day_and_by_night() -> None:
    rules = re.findall(r"^\.hl ([^{]+)\{(.*)\}$", sheet("transcript.css"), re.MULTILINE)
    named = [name for selector, _ in rules for name in re.findall(r"\.(\w+)", selector)]
    assert sorted(named) == sorted(CLASSES.values())
    papers = re.findall(r"--code-paper: (light-dark\(.*?\));", sheet("transcript.css"))
    papers += re.findall(r"--(?:paper|side|raised|mine): (light-dark\(.*?\));", sheet("style.css"))
    assert len(papers) == 5
    for _, style in rules:
        for ink in re.findall(r"color: (light-dark\(.*?\));", style):
            for paper in papers:
                for one, other in zip(colours(ink), colours(paper), strict=True):
                    assert contrast(one, other) >= 4.5
