"""Sessions as files: what is exported comes back as it was, and nothing in Markdown looks like what it is not."""

import contextlib
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from backchat.commands import WHITE_SPACE
from backchat.importer import Left, Ready, sessions_in
from backchat.portable import file_name, to_json, to_markdown
from backchat.store.base import Commit, Loaded, SessionInfo, first_commit
from backchat.store.sqlite import Database
from backchat.transcript import Body, Cause, Created, Message, ModelChosen, Origin, Queued, QueuePaused, Usage, chained
from backchat.views import Decided
from tests.support.histories import Action, actions, lived
from tests.support.views import AT, begun, view
from tests.test_store import commits

Json = dict[str, Any]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database(tmp_path_factory.mktemp("shared")) as database:
        database._db.execute("PRAGMA synchronous = OFF")
        yield database


@contextlib.contextmanager
def emptied(database: Database) -> Iterator[None]:
    """The database has no session afterwards."""
    try:
        yield
    finally:
        for table in ("session", "message", "event", "searched"):
            database._db.execute(f"DELETE FROM {table}")


def stored(database: Database, *together: Commit) -> Loaded:
    """The session that these make, as a store has it."""
    with emptied(database):
        for commit in together:
            assert database.write([commit]) == [None]
        return database.load(together[0].session_id)


def exported(loaded: Loaded) -> bytes:
    first = loaded.history[0].event.body
    assert isinstance(first, Created)
    return to_json(loaded.info.id, first, loaded.history[-1].after, loaded.tree)


def brought_in(database: Database, data: bytes) -> Loaded:
    (one,) = sessions_in(data, "a name", AT + 999)
    assert isinstance(one, Ready), one
    return stored(database, one.commit)


def facts(loaded: Loaded) -> Json:
    """All of a session that a file keeps."""
    first, state = loaded.history[0].event.body, loaded.history[-1].after
    assert isinstance(first, Created)
    return {
        "id": loaded.info.id,
        "extra": first.extra,
        "tree": {
            number: (replace(node.message, run_id=None), node.parent.id, node.children, node.size)
            for number, node in loaded.tree.nodes.items()
        },
        "queue": [waiting.content for waiting in state.queue],
        **{
            name: getattr(state, name)
            for name in (
                "head", "last_message", "title", "model", "model_chosen", "workspace", "personality", "system",
                "created_at", "updated_at", "spent", "imported", "branched_from",
            )
        },
    }  # fmt: skip


# There and back.


def could_be_sent(content: Any) -> bool:
    return bool(content.strip(WHITE_SPACE) if isinstance(content, str) else content)


@settings(max_examples=80, deadline=None)
@given(actions)
@example([("submit", "x"), ("finish", "completed"), ("submit", "y"), ("report", Usage(5, 7)), ("write", "z"),
          ("finish", "completed"), ("take_out", 1)])  # fmt: skip
def test_what_is_exported_comes_back_as_it_was(shared: Database, chosen: list[Action]) -> None:
    sent = [(name, value) for name, value in chosen if name != "submit" or could_be_sent(value)]
    once = stored(shared, *commits(lived(sent, "first", "reply")))
    data = exported(once)
    again = brought_in(shared, data)
    assert facts(again) == facts(once)
    assert exported(again) == data
    assert again.history[-1].after.queue_paused == bool(again.history[-1].after.queue)


WHOLE = [
    Message(id=1, role="system", content="Be brief.", created_at=1.5),
    Message(id=2, role="user", content=[{"type": "text", "text": "a"}, {"type": "image", "url": "x"}], created_at=2),
    Message(
        id=3, role="assistant", content="b", created_at=3.25, run_id="r1", finish="stopped", model="m", cost=0.1,
        usage=Usage(10, 20, 3, 4, estimated=True), reasoning="hm", note="cut",
        extra={"huge": 10**30, "tool_calls": [1]},
    ),
    Message(id=4, role="tool", content={"deep": [[None, 1.0, 1]]}, created_at=4.5, original=Origin(2), usage=Usage(9)),
    Message(id=5, role="narrator", content=None, created_at=5.5, original=Origin(7, "other")),
]  # fmt: skip


def whole() -> Commit:
    """A session that has everything there is."""
    created = Created(
        messages=5, title="T", model="m", workspace="/w", personality="p", created_at=0.5, input_tokens=7,
        output_tokens=8, estimated_cost=0.25, extra={"pinned": True}, system="s", branched_from=Origin(3, "other"),
    )  # fmt: skip
    info = SessionInfo(id="whole", owner="local", log="l", created_at=0.5)
    later: list[Body] = [
        ModelChosen("m2"),
        Queued(1, "\xa0"),
        Queued(2, [{"type": "text", "text": "too"}]),
        QueuePaused(),
    ]
    events = [Decided(created, 3, chained(WHOLE)), *(Decided(body, 3) for body in later)]
    return first_commit(info, events, 9.5, Cause())


def test_everything_that_a_session_can_have_comes_back(shared: Database) -> None:
    once = stored(shared, whole())
    again = brought_in(shared, exported(once))
    assert facts(again) == facts(once)
    assert again.info.created_at == once.info.created_at == 0.5
    assert facts(again)["queue"] == ["\xa0", [{"type": "text", "text": "too"}]]
    assert (facts(again)["model"], facts(again)["model_chosen"], facts(again)["head"]) == ("m2", True, 3)
    # What the copy took was the original's to pay.
    assert once.history[-1].after.spent.input_tokens == 17


def test_the_format_is_written_down(shared: Database) -> None:
    document = json.loads(exported(stored(shared, whole())))
    messages = document.pop("messages")
    assert document == {
        "format": "backchat", "version": 1, "session_id": "whole", "title": "T", "model": "m2", "model_chosen": True,
        "workspace": "/w", "personality": "p", "system": "s", "created_at": 0.5, "updated_at": 9.5, "input_tokens": 7,
        "output_tokens": 8, "estimated_cost": 0.25, "branched_from": {"message_id": 3, "session_id": "other"},
        "extra": {"pinned": True}, "queue": ["\xa0", [{"type": "text", "text": "too"}]], "head": 3,
    }  # fmt: skip
    assert messages[2] == {
        "id": 3, "parent": 2, "role": "assistant", "content": "b", "created_at": 3.25, "finish": "stopped",
        "model": "m", "usage": {"input_tokens": 10, "output_tokens": 20, "cached_tokens": 3, "reasoning_tokens": 4,
                                "estimated": True},
        "cost": 0.1, "reasoning": "hm", "note": "cut", "extra": {"huge": 10**30, "tool_calls": [1]},
    }  # fmt: skip
    assert messages[0] == {"id": 1, "parent": 0, "role": "system", "content": "Be brief.", "created_at": 1.5}


def test_a_list_of_exports_is_a_file_of_several(shared: Database) -> None:
    one = json.loads(exported(stored(shared, whole())))
    found = list(sessions_in(json.dumps([one, {**one, "session_id": "b", "head": 77}]).encode(), None, AT))
    assert isinstance(found[0], Ready)
    assert (found[0].commit.session_id, found[0].place) == ("whole", "conversation 1 ('T')")
    assert found[1] == Left("broken", "conversation 2 ('T'): its head is message 77, which is not there")


def changed(*path: Any, to: Any) -> Any:
    def change(document: Json) -> Json:
        document = deepcopy(document)
        inner: Any = document
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to
        return document

    return change


BROKEN = {
    "another version": (changed("version", to=2), "version"),
    "a version that is true": (changed("version", to=True), "version"),
    "a field that nobody knows": (changed("owner", to="root"), "owner"),
    "a message with one": (changed("messages", 0, "variant", to={}), "variant"),
    "a missing field": (lambda document: {key: part for key, part in document.items() if key != "head"}, "head"),
    "a title that is a number": (changed("title", to=5), "title"),
    "an id with a path": (changed("session_id", to="../etc"), "session_id"),
    "a head beyond the end": (changed("head", to=6), "head"),
    "a negative head": (changed("head", to=-1), "head"),
    "a parent that comes later": (changed("messages", 1, "parent", to=3), "order"),
    "a message that is its own parent": (changed("messages", 1, "parent", to=2), "order"),
    "an id out of order": (changed("messages", 1, "id", to=1), "order"),
    "a message without a role": (changed("messages", 1, "role", to=""), "role"),
    "a time before all time": (changed("messages", 1, "created_at", to=-1), "range"),
    "a time that is no number": (changed("updated_at", to="now"), "updated_at"),
    "a time beyond all time": (changed("updated_at", to=1e300), "times"),
    "negative tokens": (changed("messages", 2, "usage", "input_tokens", to=-1), "range"),
    "more tokens than there can be": (changed("messages", 2, "usage", "output_tokens", to=2**64), "sage"),
    "a negative cost": (changed("estimated_cost", to=-0.5), "cost"),
    "a lone surrogate": (changed("messages", 0, "content", to="\ud800"), "surrogate"),
    "a lone surrogate that waits": (changed("queue", 0, to="\ud800"), "surrogate"),
    "nesting without end": (changed("messages", 0, "content", to=json.loads("[" * 99 + "]" * 99)), "deep"),
    "messages that are none": (changed("messages", to=[5]), "essages"),
    "a queue that is none": (changed("queue", to="x"), "queue"),
    "a queue without end": (changed("queue", to=["x"] * 1001), "more than 1000"),
    "nothing that waits": (changed("queue", 0, to=None), "queue"),
    "a number that waits": (changed("queue", 0, to=5), "queue"),
    "an object that waits": (changed("queue", 0, to={}), "queue"),
    "no parts that wait": (changed("queue", 0, to=[]), "queue"),
    "white space that waits": (changed("queue", 0, to=" "), "queue"),
    "a part that waits and is none": (changed("queue", 0, to=["x"]), "queue"),
    "a part without a type that waits": (changed("queue", 0, to=[{"text": "x"}]), "queue"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_breaks_the_format_is_refused_with_the_reason(shared: Database, name: str) -> None:
    change, reason = BROKEN[name]
    document = change(json.loads(exported(stored(shared, whole()))))
    (one,) = sessions_in(json.dumps(document).encode(), None, AT)
    assert isinstance(one, Left)
    assert one.outcome == "broken"
    assert reason in one.reason


# Markdown.


def markdown(*contents: Any, **created: Any) -> str:
    seen = view(*contents, created=Created(**created))
    return to_markdown(seen.state, seen.tree, lambda at: f"at {at - AT:g}")


def test_a_transcript_reads_well() -> None:
    tools = Message(
        id=2, role="assistant", content="Let me see:\n\n```python\nprint(1 < 2, '<b>')\n```\n", created_at=AT + 1,
        model="a-model", reasoning="I could\nlook.", extra={"tool_calls": [{"name": "look"}]}, finish="stopped",
    )  # fmt: skip
    seen = view(created=Created(title="On <i>otters</i>", system="Be brief."))
    tree = seen.tree
    messages = [Message(id=1, role="user", content="where?\n# now", created_at=AT), tools]
    for added in chained(messages):
        tree.add(added)
    text = to_markdown(replace(seen.state, head=2, last_message=2), tree, lambda at: f"at {at - AT:g}")
    assert (
        text
        == """\
# On &lt;i>otters&lt;/i>

<details>
<summary>System prompt</summary>

> Be brief.

</details>

## User, at 0

> where?
> # now

## Assistant (a-model), at 1

<details>
<summary>Reasoning</summary>

> I could
> look.

</details>

> Let me see:
>
> ```python
> print(1 < 2, '<b>')
> ```

<details>
<summary>Tool calls</summary>

```json
[
  {
    "name": "look"
  }
]
```

</details>

*Stopped*
"""
    )


def test_what_is_no_text_is_said_or_shown_as_it_is() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:x"}}, {"type": "<b>"}]
    text = markdown(parts, ("tool", {"a": ["```"]}), ("assistant", None), ("x\n# y", "z"))
    assert "> see\n\n> *image_url, not shown*\n\n> *&lt;b>, not shown*\n" in text
    assert '> ````json\n> {\n>   "a": [\n>     "```"\n>   ]\n> }\n> ````\n' in text
    assert "## X # y, at 0\n\n> z\n" in text
    assert "data:" not in text


FRAGMENTS = [
    "\n", "\n\n", "# a", "## User, at 0", "===", "---", "`", "``", "```", "````", "~~~", "<h2>", "</blockquote>",
    "-->", "<!--", "<details>", "</details>", "<?", "<![CDATA[", "<script>", "\\<b>", "<a href=\"`\">", "<x@y.z>",
    "> ", "- ", "1. ", "    ", "   ", "\t", "\\", "|", "|-|-|\n", "[a]: ", "$$", "a", " ", "*", "\r", "\u2028", "\x0b",
    "&lt;h2&gt;",
]  # fmt: skip
nasty = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)
parsers = [MarkdownIt("commonmark", {"html": True}), MarkdownIt("gfm-like", {"html": True, "linkify": False})]


@settings(max_examples=150, deadline=None)
@given(said=nasty, title=nasty, role=nasty, reasoning=nasty)
@example(said="a `\nb ` <h2> ` c", title="", role="", reasoning="")
@example(said="- ```\n  x\n  ```\n  <h2>forged", title="", role="", reasoning="")
@example(said="1. x\n   ```\n# a\n<h2>", title="", role="", reasoning="")
@example(said="<!--\n```\n-->\n<h2>", title="", role="", reasoning="")
@example(said="\\`a <h2> `b`", title="", role="", reasoning="")
@example(said="|a|b|\n|-|-|\n|`a|<h2>`|", title="", role="", reasoning="")
@example(said=" ```\n```\n<h2>", title="", role="", reasoning="")
@example(said="```\n    ```\n<h2>\n```\n<h2>", title="", role="", reasoning="")
def test_nothing_that_somebody_wrote_looks_like_another_message(
    said: str, title: str, role: str, reasoning: str
) -> None:
    seen = view(created=Created(title=title, system=said))
    messages = [
        Message(id=1, role=f"r{role}", content=said, created_at=AT),
        Message(id=2, role="assistant", content=said, created_at=AT, reasoning=reasoning, model=title, note=said,
                finish=f"f{role}", extra={"tool_calls": [said]}),
    ]  # fmt: skip
    for added in chained(messages):
        seen.tree.add(added)
    text = to_markdown(replace(seen.state, head=2, last_message=2), seen.tree, lambda at: "now")
    for parser in parsers:
        tokens = parser.parse(text)
        headings = [token.tag for token in tokens if token.type == "heading_open" and token.level == 0]
        assert headings == ["h1", "h2", "h2"]
        html = [one.content for token in tokens for one in (token, *(token.children or ())) if "html" in one.type]
        ours = {"<details>", "</details>"}
        assert all(set(piece.strip().splitlines()) <= ours | SUMMARIES for piece in html), html


SUMMARIES = {f"<summary>{name}</summary>" for name in ("System prompt", "Reasoning", "Tool calls")}


# Names of files.


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("On otters", "On otters"),
        ("a/b\\c:d*e?f\"g<h>i|j", "a b c d e f g h i j"),
        ("../../etc/passwd", "etc passwd"),
        (".hidden.", "hidden"),
        ("多语言 ☃", "多语言 ☃"),
        ("cod\u202efdp.exe", "cod fdp.exe"),
        ("x" * 200, "x" * 80),
        ("🦦" * 80, "🦦" * 60),
        (" \n", "id"),
        (None, "id"),
        ("...", "id"),
    ],
)  # fmt: skip
def test_a_file_is_named_after_the_title(title: str | None, name: str) -> None:
    assert file_name(title, "id") == name


def test_an_export_of_nothing_is_a_file_too(shared: Database) -> None:
    once = stored(shared, first_commit(SessionInfo(id="e", owner="local", log="l", created_at=AT),
                                       begun(Created()).events, AT, Cause()))  # fmt: skip
    assert facts(brought_in(shared, exported(once))) == facts(once)
    assert to_markdown(once.history[-1].after, once.tree, str) == "# Untitled session\n"
    assert msgspec.json.decode(exported(once))["messages"] == []
