"""Exports of ChatGPT and Open WebUI: every branch comes in, nothing is lost, and what is broken is named (issue 4).

What the files hold is read here once more, by a few lines that know nothing of the importer.
"""

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from backchat.exports import Broken, Imported
from backchat.foreign import NotASession, sessions_of
from backchat.store.sqlite import Database
from backchat.transcript import Message, Node, Tree, Usage, path
from tests.support.client import Json, client, eventually
from tests.support.server import SAMPLES, running
from tests.test_import import bring_in, canonical, outcomes, query, run_import, write

NOW = 1_800_000_000.0

CHATGPT: Any = None
OPEN_WEBUI: Any = None
if SAMPLES.is_dir():
    CHATGPT = json.loads((SAMPLES / "chatgpt" / "conversations.json").read_text(encoding="utf-8"))
    OPEN_WEBUI = json.loads((SAMPLES / "open-webui" / "chats.json").read_text(encoding="utf-8"))

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the samples are not at {SAMPLES}")


def read(value: Any) -> list[Imported | Broken]:
    return list(sessions_of(json.dumps(value).encode(), NOW))


def imported(value: Any) -> Imported:
    """The one session of a file."""
    (one,) = read(value)
    assert isinstance(one, Imported), one
    return one


def reason(value: Any) -> str:
    """Why the one session of a file is broken."""
    (one,) = read(value)
    assert isinstance(one, Broken), one
    return str(one)


def tree_of(one: Imported) -> Tree:
    """The messages as a tree. Also asserts that ids count from 1 and parents come first."""
    tree = Tree()
    for number, added in enumerate(one.messages, start=1):
        assert added.message.id == number
        assert added.parent < number
        tree.add(added)
    return tree


def visible(one: Imported) -> list[Any]:
    return [message.content for message in path(tree_of(one)[one.head])]


def branches(one: Imported) -> list[list[Any]]:
    """The contents on the way to each message without children, in the order of their ids."""
    tree = tree_of(one)
    parents = {added.parent for added in one.messages}
    leaves = [added.message.id for added in one.messages if added.message.id not in parents]
    return [[message.content for message in path(tree[leaf])] for leaf in leaves]


def shape(one: Imported) -> list[tuple[Any, Any]]:
    """Each message's content with that of its parent (None: it has none), in the order of the ids."""
    tree = tree_of(one)
    nodes: list[Node] = [tree[added.message.id] for added in one.messages]
    return [(node.message.content, node.parent.message.content if node.parent.id else None) for node in nodes]


def only(one: Imported) -> Message:
    (added,) = one.messages
    return added.message


# Files by hand.


def said(key: str, parent: str | None, *children: str, role: str = "user", **fields: Any) -> Json:
    """A node of a ChatGPT conversation whose message says its name."""
    content = {"content_type": "text", "parts": [key]}
    message = {"id": key, "author": {"role": role}, "content": content, **fields}
    return {"id": key, "message": message, "parent": parent, "children": list(children)}


def blank(key: str, parent: str | None, *children: str) -> Json:
    return {"id": key, "message": None, "parent": parent, "children": list(children)}


def conversation(*nodes: Json, current: Any = None, **fields: Any) -> Json:
    mapping = {node["id"]: node for node in nodes}
    return {"id": "c", "title": "t", "create_time": 5.0, "mapping": mapping, "current_node": current, **fields}


def wrote(key: str, parent: str | None, *children: str, role: str = "user", **fields: Any) -> Json:
    """A message of an Open WebUI chat that says its name."""
    return {"id": key, "parentId": parent, "childrenIds": list(children), "role": role, "content": key, **fields}


def chat(*messages: Json, current: Any = None, **fields: Any) -> Json:
    history = {"messages": {message["id"]: message for message in messages}, "currentId": current}
    return {"id": "c", "title": "t", "created_at": 5, "chat": {"history": history, **fields}}


HIDDEN: Json = {"weight": 0.0}
AUTO: Json = {"metadata": {"is_visually_hidden_from_conversation": True}}


# The samples, read again.


def chatgpt_texts(mapping: Json, key: str | None) -> list[Any]:
    """The contents of what is visible on the way to a node of a ChatGPT conversation."""
    found: list[Any] = []
    while key is not None:
        message = mapping[key]["message"]
        if message is not None and message["weight"] != 0:
            content = message["content"]
            match content["content_type"]:
                case "multimodal_text":
                    found.append([
                        {"type": "text", "text": part} if isinstance(part, str)
                        else {"type" if name == "content_type" else name: field for name, field in part.items()}
                        for part in content["parts"]
                    ])  # fmt: skip
                case "text":
                    found.append("".join(content["parts"]))
                case _:
                    found.append(content["text"])
        key = mapping[key]["parent"]
    return found[::-1]


def chatgpt_leaves(mapping: Json, key: str) -> Iterator[str]:
    if not mapping[key]["children"]:
        yield key
    for child in mapping[key]["children"]:
        yield from chatgpt_leaves(mapping, child)


def webui_texts(messages: Json, key: str | None) -> list[str]:
    found = []
    while key is not None:
        found.append(messages[key]["content"])
        key = messages[key]["parentId"]
    return found[::-1]


@needs_samples
@pytest.mark.parametrize("number", [0, 1])
def test_every_branch_of_the_chatgpt_sample_comes_in(number: int) -> None:
    one = read(CHATGPT)[number]
    assert isinstance(one, Imported)
    mapping = CHATGPT[number]["mapping"]
    (root,) = [key for key, node in mapping.items() if node["parent"] is None]
    assert visible(one) == chatgpt_texts(mapping, CHATGPT[number]["current_node"])
    leaves = list(chatgpt_leaves(mapping, root))
    assert len(leaves) == (3, 1)[number]
    assert branches(one) == [chatgpt_texts(mapping, leaf) for leaf in leaves]


@needs_samples
def test_every_branch_of_the_open_webui_sample_comes_in() -> None:
    one = imported(OPEN_WEBUI)
    inner = OPEN_WEBUI[0]["chat"]
    messages = inner["history"]["messages"]
    assert visible(one) == webui_texts(messages, inner["history"]["currentId"])
    assert visible(one) == [message["content"] for message in inner["messages"]]
    leaves = [key for key, message in messages.items() if not message["childrenIds"]]
    assert len(leaves) == 3
    assert branches(one) == [webui_texts(messages, leaf) for leaf in leaves]
    assert (one.created.system, one.created.title, one.created.model) == ("Be gentle.", "Rain", "qwen3:4b")
    usages = [added.message.usage for added in one.messages if added.message.usage]
    assert usages == [Usage(input_tokens=14, output_tokens=19), Usage(input_tokens=14, output_tokens=21)]


# Nothing is lost: what was imported, written as the file had it.


def chatgpt_again(one: Imported) -> Json:
    """A conversation as ChatGPT would export it, from what an import made of it."""
    whole: Json = copy.deepcopy(one.created.extra or {})
    mapping: Json = whole.setdefault("mapping", {})
    keys: dict[int, Any] = {0: None}
    for added in one.messages:
        extra = copy.deepcopy(added.message.extra or {})
        node = extra.pop("node", {})
        key = keys[added.message.id] = node.pop("key", extra.get("id"))
        author = {"role": added.message.role, **extra.pop("author", {})}
        if "name" in extra:
            author["name"] = extra.pop("name")
        message = {"author": author, "content": chatgpt_content(added.message.content, extra.pop("content", None))}
        message |= extra
        if added.message.model is not None:
            message["metadata"]["model_slug"] = added.message.model
        if "create_time" not in message:
            message["create_time"] = added.message.created_at
        mapping[key] = {"id": key, "parent": keys[added.parent], "message": message, **node}
    for added in one.messages:
        node = mapping[keys[added.message.id]]
        if "children" not in node:
            node["children"] = [keys[below.message.id] for below in one.messages if below.parent == added.message.id]
    if "current_node" not in whole:
        whole["current_node"] = keys[one.head]
    whole |= {"create_time": one.created.created_at, "update_time": one.updated_at, "title": one.created.title}
    for name in ("id", "conversation_id"):
        whole.setdefault(name, one.id)
    whole["default_model_slug"] = one.created.model
    return whole


def chatgpt_content(content: Any, kept: Json | None) -> Any:
    kept = dict(kept or {})
    if "content_type" not in kept:
        if isinstance(content, list) and any(part["type"] != "text" for part in content):
            (part,) = content
            return {"content_type": part["type"]} | {name: field for name, field in part.items() if name != "type"}
        kept["content_type"] = "text"
    if kept["content_type"] in ("code", "execution_output"):
        return {"text": content, **kept}
    if "parts" in kept:
        return kept
    parts = [content] if isinstance(content, str) else content
    return kept | {
        "parts": [
            part if isinstance(part, str)
            else part["text"] if part["type"] == "text"
            else {"content_type" if name == "type" else name: field for name, field in part.items()}
            for part in parts
        ]
    }  # fmt: skip


def webui_again(one: Imported) -> Json:
    """A chat as Open WebUI would export it, from what an import made of it."""
    whole: Json = copy.deepcopy(one.created.extra or {})
    inner = whole.setdefault("chat", {})
    messages: Json = {}
    keys: dict[int, Any] = {0: None}
    for added in one.messages:
        message = added.message
        extra = copy.deepcopy(message.extra or {})
        key = keys[message.id] = extra.pop("key", extra.get("id"))
        messages[key] = {"role": message.role, "content": message.content, "parentId": keys[added.parent], **extra}
        if message.model is not None:
            messages[key]["model"] = message.model
        messages[key].setdefault("timestamp", int(message.created_at))
        messages[key].setdefault("childrenIds", [])
        if added.parent:
            messages[keys[added.parent]]["childrenIds"].append(key)
    inner["history"] = {"messages": messages, "currentId": keys[one.head]}
    inner["messages"] = [messages[keys[message.id]] for message in path(tree_of(one)[one.head])]
    inner["params"]["system"] = one.created.system
    whole["title"] = inner["title"] = one.created.title
    assert one.created.created_at is not None
    assert one.updated_at is not None
    return whole | {"id": one.id, "created_at": int(one.created.created_at), "updated_at": int(one.updated_at)}


@needs_samples
def test_a_chatgpt_export_can_be_given_back_as_it_was() -> None:
    for one, value in zip(read(CHATGPT), CHATGPT, strict=True):
        assert isinstance(one, Imported)
        assert canonical(chatgpt_again(one)) == canonical(value)


@needs_samples
def test_an_open_webui_export_can_be_given_back_as_it_was() -> None:
    assert canonical(webui_again(imported(OPEN_WEBUI))) == canonical(OPEN_WEBUI[0])


def test_what_a_chatgpt_export_says_besides_can_be_given_back_too() -> None:
    nodes = [
        blank("root", None, "profile", "a"),
        said("profile", "root", **AUTO),
        said("a", "root", "thought", "gone", aggregate={"n": 1}) | {"x": [1]},
        said("thought", "a", "b", role="assistant", metadata={"model_slug": "m", "y": None}),
        said("b", "thought", role="tool", **HIDDEN),
    ]
    nodes[2]["message"] |= {"id": "another", "create_time": None, "author": {"role": "user", "name": "n", "z": 1}}
    nodes[3]["message"]["content"] = {"content_type": "thoughts", "thoughts": [{"summary": "s"}], "source": "q"}
    nodes[3]["message"]["create_time"] = 7.5
    value = conversation(*nodes, current="b", conversation_id="other", update_time=9.0, default_model_slug="m", voice=1)
    assert canonical(chatgpt_again(imported(value))) == canonical(value)


CONTENTS: list[tuple[Json, Any]] = [
    ({"content_type": "text", "parts": [""]}, ""),
    ({"content_type": "text", "parts": ["a", "b"]}, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ({"content_type": "text", "parts": []}, []),
    ({"content_type": "text", "parts": ["a"], "x": 1}, "a"),
    (
        {"content_type": "text", "parts": ["a", None]},
        [{"type": "text", "text": "a"}, {"type": "unknown", "value": None}],
    ),
    ({"content_type": "multimodal_text", "parts": ["a"]}, [{"type": "text", "text": "a"}]),
    (
        {"content_type": "multimodal_text", "parts": [{"content_type": "audio_transcription", "text": "hm"}, "a"]},
        [{"type": "audio_transcription", "text": "hm"}, {"type": "text", "text": "a"}],
    ),
    ({"content_type": "code", "language": "python", "text": "x = 1", "response_format_name": None}, "x = 1"),
    ({"content_type": "execution_output", "text": ""}, ""),
    (
        {"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "c"}], "source_analysis_msg_id": "m"},
        [{"type": "thoughts", "thoughts": [{"summary": "s", "content": "c"}], "source_analysis_msg_id": "m"}],
    ),
    ({"content_type": "reasoning_recap", "content": "3s"}, [{"type": "reasoning_recap", "content": "3s"}]),
    ({"content_type": "tether_quote", "url": "u", "text": "q"}, [{"type": "tether_quote", "url": "u", "text": "q"}]),
    ({"content_type": "system_error", "name": "n", "text": "t"}, [{"type": "system_error", "name": "n", "text": "t"}]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), CONTENTS, ids=[content["content_type"] for content, _ in CONTENTS])
def test_content_of_every_kind_is_kept(content: Json, expected: Any) -> None:
    node = said("a", None)
    node["message"]["content"] = content
    message = only(imported(conversation(node)))
    assert canonical(message.content) == canonical(expected)
    again = chatgpt_content(message.content, (message.extra or {}).get("content"))
    assert canonical(again) == canonical(content)


@pytest.mark.parametrize(
    "content",
    [
        {"content_type": "text", "text": "no parts"},
        {"content_type": "text", "parts": "no list"},
        {"content_type": "code", "text": ["no text"]},
        {"content_type": "quote", "type": "two of them"},
        {"content_type": "multimodal_text", "parts": [{"type": "text", "text": "x", "content_type": "y"}]},
        {"content_type": "multimodal_text", "parts": [5, ["x"]]},
    ],
)
def test_content_of_another_shape_is_kept_whole(content: Json) -> None:
    node = said("a", None)
    node["message"]["content"] = content
    message = only(imported(conversation(node)))
    assert message.extra is not None
    assert canonical(message.extra["content"]) == canonical(content)
    assert all(isinstance(part["type"], str) for part in message.content)


def test_a_chatgpt_message_without_content_or_metadata_is_one() -> None:
    node = said("a", None, role="assistant")
    del node["message"]["content"]
    message = only(imported(conversation(node, default_model_slug="m")))
    assert (message.role, message.content, message.model, message.created_at) == ("assistant", None, None, 5.0)


def test_what_is_meant_here_is_taken_from_a_chatgpt_message() -> None:
    node = said("a", None, role="tool", create_time=7, metadata={"model_slug": "m", "finish_details": {"type": "stop"}})
    node["message"]["author"] |= {"name": "python", "metadata": {"real": 1}}
    message = only(imported(conversation(node)))
    assert (message.role, message.content, message.created_at, message.model) == ("tool", "a", 7.0, "m")
    assert message.extra == {
        "id": "a",
        "name": "python",
        "author": {"metadata": {"real": 1}},
        "metadata": {"finish_details": {"type": "stop"}},
    }


# Trees.


def test_siblings_come_in_the_order_of_their_parents_list_and_parents_first() -> None:
    value = conversation(
        said("c", "b"),
        said("b", "root", "d", "c"),
        said("a2", "a"),
        said("a", "root", "a1", "a2"),
        said("d", "b"),
        said("a1", "a"),
        blank("root", None, "a", "b"),
    )
    expected = [("a", None), ("a1", "a"), ("a2", "a"), ("b", None), ("d", "b"), ("c", "b")]
    assert shape(imported(value)) == expected
    webui = chat(wrote("c", "b"), wrote("b", None, "d", "c"), wrote("d", "b"))
    assert shape(imported(webui)) == [("b", None), ("d", "b"), ("c", "b")]


def test_structure_is_what_parents_say_and_those_that_are_not_listed_come_last_by_time() -> None:
    nodes = [
        said("a", None, "z", "listed", "listed", "nobody", "b1"),
        said("late", "a", create_time=30.0),
        said("early", "a", create_time=20.0),
        said("listed", "a", create_time=99.0),
        said("b", "a", create_time=10.0),
        said("b1", "b"),
    ]
    value = conversation(*nodes)
    expected = [("a", None), ("listed", "a"), ("b", "a"), ("b1", "b"), ("early", "a"), ("late", "a")]
    assert shape(imported(value)) == expected
    for node in nodes:
        # As newer exports have it.
        del node["children"]
    expected = [("a", None), ("b", "a"), ("b1", "b"), ("early", "a"), ("late", "a"), ("listed", "a")]
    assert shape(imported(conversation(*nodes))) == expected


def test_what_is_below_a_hidden_node_hangs_on_the_nearest_visible_one_above() -> None:
    value = conversation(
        blank("root", None, "system"),
        said("system", "root", "a", role="system", **HIDDEN),
        said("a", "system", "context", "a2"),
        said("context", "a", "again", **AUTO),
        blank("again", "context", "b", "c"),
        said("b", "again"),
        said("c", "again"),
        said("a2", "a"),
    )
    one = imported(value)
    assert shape(one) == [("a", None), ("b", "a"), ("c", "a"), ("a2", "a")]
    assert one.created.extra is not None
    assert list(one.created.extra["mapping"]) == ["root", "system", "context", "again"]
    assert one.created.extra["mapping"]["context"] == value["mapping"]["context"]


@pytest.mark.parametrize(
    "fields", [{"weight": 1.0}, {"weight": None}, {"weight": "0"}, {"metadata": 5}, {"weight": 0.5}]
)
def test_nothing_else_hides_a_message(fields: Json) -> None:
    assert len(imported(conversation(said("a", None, **fields))).messages) == 1


@pytest.mark.parametrize(
    ("current", "head"),
    [
        ("c", ["a", "b", "c"]),
        ("b", ["a", "b"]),
        ("hidden", ["a", "b"]),
        ("blank", ["a", "b"]),
        ("root", []),
        (None, ["a", "new"]),
        ("nobody", ["a", "new"]),
        (5, ["a", "new"]),
        (["c"], ["a", "new"]),
    ],
)
def test_the_head_is_the_current_node_the_nearest_above_it_or_the_newest_leaf(current: Any, head: list[str]) -> None:
    value = conversation(
        blank("root", None, "a"),
        said("a", "root", "b", "new", "old"),
        said("b", "a", "hidden", "c", create_time=99.0),
        said("hidden", "b", "blank", **HIDDEN),
        blank("blank", "hidden"),
        said("c", "b", create_time=10.0),
        said("new", "a", create_time=30.0),
        said("old", "a", create_time=20.0),
        current=current,
    )
    one = imported(value)
    assert visible(one) == head
    kept = (one.created.extra or {}).get("current_node", "taken")
    assert kept == ("taken" if current in ("b", "c") else current)
    # And where it is not said at all.
    del value["current_node"]
    assert visible(imported(value)) == ["a", "new"]


def test_a_conversation_of_nothing_visible_is_an_empty_session() -> None:
    one = imported(conversation(blank("root", None, "a"), said("a", "root", **HIDDEN), current="a"))
    assert (one.messages, one.head) == ([], 0)
    assert imported(conversation(blank("root", None))).head == 0


def test_a_chain_of_a_hundred_thousand_messages_comes_in(tmp_path: Path) -> None:
    nodes = [wrote(f"m{n}", f"m{n - 1}" if n else None, f"m{n + 1}") for n in range(100_000)]
    file = write(tmp_path / "one.json", chat(*reversed(nodes), current="m99999"))
    assert outcomes(bring_in(tmp_path / "data", file)) == ["imported"]
    with Database(tmp_path / "data") as database:
        loaded = database.load("c")
    assert loaded.history[-1].after.head == 100_000
    assert [message.content for message in path(loaded.tree[100_000])] == [node["id"] for node in nodes]


# Open WebUI.


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, Usage(5, 7)),
        ({"input_tokens": 5, "output_tokens": 7}, Usage(5, 7)),
        ({"prompt_eval_count": 5, "eval_count": 7, "total_duration": 9, "response_token/s": "N/A"}, Usage(5, 7)),
        ({"input_tokens": 5, "output_tokens": 7, "prompt_tokens": 1, "completion_tokens": 1}, Usage(5, 7)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(5, 7, 2, 3),
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "input_tokens_details": {"cached_tokens": 6},
                "output_tokens_details": {"reasoning_tokens": 8},
            },
            Usage(5, 7, 5, 7),
        ),
        ({"completion_tokens": 7}, Usage(0, 7)),
        ({"completion_tokens": 7, "prompt_tokens": -5}, Usage(0, 7)),
        ({"prompt_tokens": 5.5, "completion_tokens": True}, None),
        ({"prompt_tokens": "5", "completion_tokens_details": 5}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 2**63}, None),
        ({}, None),
        ([5], None),
        (5, None),
    ],
)
def test_usage_is_read_in_all_its_shapes(usage: Any, expected: Usage | None) -> None:
    message = only(imported(chat(wrote("a", None, role="assistant", usage=usage))))
    assert message.usage == expected
    assert message.extra is not None
    assert canonical(message.extra["usage"]) == canonical(usage)


def test_usage_is_read_from_where_old_exports_have_it() -> None:
    ollama = {"prompt_eval_count": 5, "eval_count": 7, "openai": False}
    assert only(imported(chat(wrote("a", None, info=ollama)))).usage == Usage(5, 7)
    nested = {"openai": True, "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    assert only(imported(chat(wrote("a", None, info=nested)))).usage == Usage(5, 7)


@pytest.mark.parametrize(
    ("fields", "finish", "note"),
    [
        ({"done": True}, None, None),
        ({}, None, None),
        ({"done": False}, "interrupted", None),
        ({"done": False, "content": ""}, None, None),
        ({"done": False, "role": "user"}, None, None),
        ({"done": True, "error": {"content": "No model."}}, "failed", "No model."),
        ({"done": False, "error": "No model."}, "failed", "No model."),
        ({"error": {"content": {"detail": "x"}}}, "failed", None),
        ({"error": True}, "failed", None),
        ({"error": None}, None, None),
        ({"error": False}, None, None),
    ],
)
def test_how_a_reply_ended_is_told(fields: Json, finish: str | None, note: str | None) -> None:
    node = wrote("a", None, role="assistant") | fields
    message = only(imported(chat(node)))
    assert (message.finish, message.note) == (finish, note)
    kept = {name: field for name, field in fields.items() if name in ("done", "error")}
    assert {name: (message.extra or {}).get(name) for name in kept} == kept


def test_files_sources_and_whatever_else_a_message_has_is_kept() -> None:
    fields: Json = {
        "files": [{"type": "image", "url": "data:image/png;base64,AA=="}],
        "sources": [{"document": ["d"], "metadata": [{}]}],
        "statusHistory": [{"action": "web_search", "done": True}],
        "merged": {"status": True, "content": "both"},
        "annotation": {"rating": 1},
        "modelIdx": 0,
    }
    message = only(imported(chat(wrote("a", None, model="m", **fields))))
    assert message.extra == {"id": "a", **fields}
    assert message.model == "m"


@pytest.mark.parametrize(
    ("at", "seconds", "kept"),
    [
        (1773000000, 1773000000.0, False),
        (1773000000.5, 1773000000.5, False),
        (1773000000123, 1773000000.123, True),
        (0, 0.0, False),
        ("now", 5.0, True),
        (True, 5.0, True),
        (-1, 5.0, True),
        (10**400, 5.0, True),
    ],
)
def test_times_are_in_seconds_or_in_milliseconds(at: Any, seconds: float, kept: bool) -> None:
    message = only(imported(chat(wrote("a", None, timestamp=at))))
    assert message.created_at == seconds
    assert ("timestamp" in (message.extra or {})) is kept


def test_a_chat_has_the_time_it_says_wherever_it_says_it() -> None:
    value = chat(wrote("a", None), timestamp=1773000000123)
    assert imported(value).created.created_at == 5.0
    assert imported({"chat": value["chat"]}).created.created_at == 1773000000.123
    value["updated_at"] = 1773000001000
    assert imported(value).updated_at == 1773000001.0
    assert imported({"chat": chat(wrote("a", None))["chat"]}).created.created_at == NOW


def test_a_chat_may_stand_alone_or_without_what_is_around_it() -> None:
    value = chat(wrote("a", None, "b"), wrote("b", "a"), current="b", title="inside", id="inner")
    assert imported([value]).id == imported(value).id == "c"
    assert imported([value]).created.title == "t"
    # `{"chat": …}` alone, and as exports before 2024 had it.
    for alone in ({"chat": value["chat"]}, value["chat"], [value["chat"]]):
        one = imported(alone)
        assert (one.id, one.created.title, visible(one)) == ("inner", "inside", ["a", "b"])


def test_the_visible_path_is_dropped_only_where_the_tree_says_the_same() -> None:
    a, b = wrote("a", None, "b"), wrote("b", "a")
    assert imported(chat(a, b, messages=[a, b], current="b")).created.extra is None
    for odd in ([a, b | {"content": "other"}], [a, wrote("c", "a")], [a, 5], "text", [{"id": ["a"]}]):
        one = imported(chat(a, b, messages=odd))
        assert one.created.extra is not None
        assert one.created.extra["chat"]["messages"] == odd


@pytest.mark.parametrize(
    ("models", "model"), [(["m", "n"], "m"), ([""], None), ([], None), ([5], None), ("m", None), (None, None)]
)
def test_the_model_of_a_chat_is_the_first_of_those_it_asks(models: Any, model: str | None) -> None:
    one = imported(chat(wrote("a", None), current="a", models=models))
    assert one.created.model == model
    assert one.created.extra == {"chat": {"models": models}}


@pytest.mark.parametrize("system", ["", "  ", None, 5, ["x"]])
def test_a_system_prompt_that_is_none_stays_where_it_is(system: Any) -> None:
    one = imported(chat(wrote("a", None), params={"system": system, "temperature": 1}))
    assert one.created.system is None
    params = {"system": system, "temperature": 1}
    assert one.created.extra == {"chat": {"history": {"currentId": None}, "params": params}}


def test_what_never_became_a_message_is_kept_beside_the_tree() -> None:
    value = chat(wrote("a", None, "b"), wrote("b", "a"))
    stray = {"model": "m", "content": "half an answ", "followUps": ["q"]}
    value["chat"]["history"] |= {"currentId": "stray"}
    value["chat"]["history"]["messages"]["stray"] = stray
    one = imported(value)
    assert visible(one) == ["a", "b"]
    assert one.created.extra == {"chat": {"history": {"currentId": "stray", "messages": {"stray": stray}}}}
    # With a place in the tree, it should be a message.
    value["chat"]["history"]["messages"]["b"]["parentId"] = "stray"
    assert reason(value) == "the message 'stray' has no role"


# Ids.


@pytest.mark.parametrize("own", ["UPPER", "a/b", "", "a" * 65, None, 5, "ä"])
def test_an_id_that_cannot_be_one_here_is_kept_and_a_hash_stands_in(own: Any) -> None:
    for value in (conversation(said("a", None)) | {"id": own}, chat(wrote("a", None)) | {"id": own}):
        one = imported(value)
        assert one.id is not None
        assert len(one.id) == 32
        assert one.id == imported(json.loads(json.dumps(value))).id
        assert one.id != imported(value | {"title": "another"}).id
        assert (one.created.extra or {})["id"] == own


def test_the_other_id_of_a_conversation_will_do() -> None:
    value = conversation(said("a", None), conversation_id="good") | {"id": "NOT"}
    one = imported(value)
    assert one.id == "good"
    assert one.created.extra == {"id": "NOT", "current_node": None}
    del value["id"]
    assert imported(value).id == "good"


# What is broken is named.


def without(value: Json, *where: Any) -> Json:
    """A copy without what is at the end of a path."""
    value = copy.deepcopy(value)
    inner: Any = value
    for name in where[:-1]:
        inner = inner[name]
    del inner[where[-1]]
    return value


def with_(value: Json, field: Any, *where: Any) -> Json:
    """A copy with something else at the end of a path."""
    value = copy.deepcopy(value)
    inner: Any = value
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = field
    return value


GPT = conversation(blank("r", None, "a"), said("a", "r", "b"), said("b", "a"), current="b")
WEBUI = chat(wrote("a", None, "b"), wrote("b", "a"), current="b")
HISTORY = ("chat", "history", "messages")
deep: Any = "x"
for _ in range(70):
    deep = [deep]

NODE = ("mapping", "a")
MESSAGE = (*NODE, "message")
NO_ROLE = "the message of node 'a' has no author with a role"
SURROGATE = "The text has half of a surrogate pair in it."
TOO_DEEP = "This is nested more than 64 levels deep."
BROKEN: dict[str, tuple[Json, str]] = {
    "no object of nodes": (with_(GPT, [], "mapping"), "its mapping is no object"),
    "null for nodes": (with_(GPT, None, "mapping"), "its mapping is no object"),
    "no nodes": (with_(GPT, {}, "mapping"), "its mapping is empty"),
    "a node that is none": (with_(GPT, 5, *NODE), "node 'a' is no object"),
    "an unknown parent": (with_(GPT, "zz", *NODE, "parent"), "the parent of node 'a', 'zz', is not there"),
    "a parent cut out": (without(GPT, *NODE), "the parent of node 'b', 'a', is not there"),
    "a parent that is a number": (with_(GPT, 5, *NODE, "parent"), "the parent of node 'a' is no text"),
    "children that are no list": (with_(GPT, "b", *NODE, "children"), "the children of node 'a' are no list"),
    "a circle": (with_(GPT, "b", *NODE, "parent"), "node 'a' is its own ancestor"),
    "its own parent": (with_(GPT, "b", "mapping", "b", "parent"), "node 'b' is its own ancestor"),
    "two with one id": (with_(GPT, "a", "mapping", "b", "id"), "its mapping has two nodes with the id 'a'"),
    "a message that is none": (with_(GPT, "hi", *MESSAGE), "the message of node 'a' is no object"),
    "no author": (without(GPT, *MESSAGE, "author"), NO_ROLE),
    "an author that is text": (with_(GPT, "user", *MESSAGE, "author"), NO_ROLE),
    "an empty role": (with_(GPT, "", *MESSAGE, "author", "role"), NO_ROLE),
    "content that is text": (
        with_(GPT, "x", *MESSAGE, "content"), "the message of node 'a' has content that is no object"
    ),
    "no content_type": (
        without(GPT, *MESSAGE, "content", "content_type"), "the message of node 'a' has content without a content_type"
    ),
    "too deep": (with_(GPT, deep, *NODE, "x"), f"node 'a': {TOO_DEEP}"),
    "too deep beside the nodes": (GPT | {"x": deep}, TOO_DEEP),
    "a lone surrogate": (with_(GPT, "\ud800", *NODE, "x"), f"node 'a': {SURROGATE}"),
    "a lone surrogate in an id": (
        with_(GPT, blank("\ud800", None), "mapping", "\ud800"), f"node '\\ud800': {SURROGATE}"
    ),
    "a lone surrogate in a title": (GPT | {"title": "\udfff"}, SURROGATE),
    "no history": (WEBUI | {"chat": {"messages": []}}, "its chat has no history"),
    "a history that is none": (with_(WEBUI, 5, "chat", "history"), "its chat has no history"),
    "a history without messages": (without(WEBUI, *HISTORY), "its history is no object"),
    "an empty history": (with_(WEBUI, {}, *HISTORY), "its history is empty"),
    "a chat message that is none": (with_(WEBUI, None, *HISTORY, "a"), "node 'a' is no object"),
    "a chat message without a role": (without(WEBUI, *HISTORY, "a", "role"), "the message 'a' has no role"),
    "a number for a role": (with_(WEBUI, 5, *HISTORY, "a", "role"), "the message 'a' has no role"),
    "an unknown parentId": (
        with_(WEBUI, "zz", *HISTORY, "a", "parentId"), "the parent of node 'a', 'zz', is not there"
    ),
    "a circle in a chat": (with_(WEBUI, "b", *HISTORY, "a", "parentId"), "node 'a' is its own ancestor"),
    "a chat that is too deep": (with_(WEBUI, deep, "chat", "x"), TOO_DEEP),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_says_why(name: str) -> None:
    value, why = BROKEN[name]
    assert reason(value) == why


def test_a_node_that_stands_twice_is_noticed() -> None:
    text = json.dumps(GPT).replace('"b": {"id": "b"', '"a": {"id": "a"')
    (one,) = sessions_of(text.encode(), NOW)
    assert str(one) == "its mapping has two nodes with one id"


def test_a_name_that_stands_twice_elsewhere_is_as_it_always_was(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"session_id": "a", "messages": [], "title": "x", "title": "y", "z": {"k": 1, "k": 2}}')
    assert outcomes(bring_in(tmp_path / "data", file)) == ["imported"]
    ((body,),) = query(tmp_path / "data", "SELECT body FROM event")
    assert (json.loads(body)["title"], json.loads(body)["extra"]) == ("y", {"z": {"k": 2}})


@pytest.mark.parametrize(
    "value",
    [
        [{"id": "x", "conversation_id": "x", "title": "shared", "is_anonymous": True}],
        {"id": "user-1", "email": "a@example.com", "chat": True},
        {"chat": {"theme": "dark"}},
        {"chat": 5, "history": {"messages": {}}},
        {"mapping": {"a": "b"}},
        {"history": [1, 2]},
    ],
)
def test_other_files_of_an_export_are_no_sessions(value: Any) -> None:
    with pytest.raises(NotASession):
        read(value)


def test_one_broken_conversation_does_not_stop_the_others() -> None:
    several = [GPT, 5, BROKEN["a circle"][0] | {"title": "Round\n\u202eand round " + "x" * 99}, {"hello": 1}, WEBUI]
    first, *broken, last = read(several)
    assert isinstance(first, Imported)
    assert isinstance(last, Imported)
    assert (first.place, last.place) == ("conversation 1 ('t')", "conversation 5 ('t')")
    assert [(one.place, str(one)) for one in broken] == [
        ("conversation 2", "it is no object"),
        (f"conversation 3 ('Round\\n\\u202eand round {'x' * 47}…')", "node 'a' is its own ancestor"),
        ("conversation 4", "it has neither a mapping nor a chat"),
    ]


async def test_the_command_names_each_broken_conversation_and_imports_the_others(tmp_path: Path) -> None:
    file = write(
        tmp_path / "conversations.json", [GPT | {"id": "c0"}, without(GPT, "mapping", "a"), GPT | {"id": "c2"}]
    )
    status, out, err = await run_import(tmp_path / "data", file)
    assert (status, err) == (
        1,
        f"broken: {file}: conversation 2 ('t'): the parent of node 'b', 'a', is not there\n",
    )
    assert out.startswith("2 imported, 0 skipped, 1 broken")
    assert query(tmp_path / "data", "SELECT id FROM session ORDER BY id") == [("c0",), ("c2",)]
    status, out, err = await run_import(tmp_path / "data", file)
    assert status == 1
    assert out.startswith("0 imported, 2 skipped, 1 broken")
    assert "conversation 1 ('t'): session c0 is there already" in err


def test_the_head_that_an_export_says_is_the_head_of_the_session(tmp_path: Path) -> None:
    bring_in(tmp_path / "data", write(tmp_path / "one.json", GPT | {"current_node": "a"}))
    with Database(tmp_path / "data") as database:
        loaded = database.load("c")
    after = loaded.history[-1].after
    assert (loaded.tree[after.head].message.content, after.last_message) == ("a", 2)


def test_two_conversations_of_one_id_are_imported_once(tmp_path: Path) -> None:
    file = write(tmp_path / "conversations.json", [GPT, GPT | {"title": "again"}])
    assert outcomes(bring_in(tmp_path / "data", file)) == ["imported", "skipped"]


@needs_samples
async def test_all_samples_are_imported_at_once_and_only_once(tmp_path: Path) -> None:
    files = [file for file in SAMPLES.rglob("*.json") if file.parent.name not in ("broken", "chatgpt", "open-webui")]
    ours = len([file for file in files if file.name != "_index.json"]) + 3
    status, out, err = await run_import(tmp_path / "data", SAMPLES)
    assert status == 1
    assert out.startswith(f"{ours} imported, 3 skipped, 5 broken")
    assert "Traceback" not in err
    status, out, _ = await run_import(tmp_path / "data", SAMPLES)
    assert status == 1
    assert out.startswith(f"0 imported, {ours + 3} skipped, 5 broken")
    with Database(tmp_path / "data") as database:
        for value in CHATGPT:
            loaded = database.load(value["id"])
            stored = path(loaded.tree[loaded.history[-1].after.head])
            texts = chatgpt_texts(value["mapping"], value["current_node"])
            assert canonical([message.content for message in stored]) == canonical(texts)
        loaded = database.load(OPEN_WEBUI[0]["id"])
        assert loaded.history[-1].after.system == "Be gentle."
        assert len(loaded.tree.nodes) == 1 + len(OPEN_WEBUI[0]["chat"]["history"]["messages"])


# On the wire.


def shown(messages: list[Json]) -> list[tuple[Any, Any]]:
    """Each message's content and which variant it is, as a client was told."""
    return [(message["content"], message.get("variant")) for message in messages]


def told(texts: list[Any], variants: dict[Any, tuple[int, int]]) -> list[tuple[Any, Any]]:
    """The same of a file: `variants` are those that there are, as (index, count)."""
    ours = {text: {"index": index, "count": count} for text, (index, count) in variants.items()}
    return [(text, ours.get(text) if isinstance(text, str) else None) for text in texts]


def siblings(parents: dict[str, Any], texts: Json, listed: dict[str, list[str]]) -> dict[Any, tuple[int, int]]:
    """Which variant each text is, where its parent lists more than one child."""
    found = {}
    for key, parent in parents.items():
        if parent is not None and len(listed[parent]) > 1:
            found[texts[key]] = (listed[parent].index(key) + 1, len(listed[parent]))
    return found


@needs_samples
async def test_a_running_server_shows_an_imported_tree_with_its_variants(tmp_path: Path) -> None:
    rivers, rain = CHATGPT[0], OPEN_WEBUI[0]
    async with running(tmp_path / "data") as server:
        bring_in(tmp_path / "data", SAMPLES / "chatgpt", SAMPLES / "open-webui")
        nodes = {key: node for key, node in rivers["mapping"].items() if node["message"] is not None}
        variants = siblings(
            {key: node["parent"] for key, node in nodes.items()},
            {key: "".join(node["message"]["content"]["parts"]) for key, node in nodes.items()},
            {key: node["children"] for key, node in rivers["mapping"].items()},
        )
        assert len(variants) == 4
        async with client(server.ws(rivers["id"])) as one, client(server.ws(rivers["id"])) as other:
            on_screen = chatgpt_texts(rivers["mapping"], rivers["current_node"])
            assert shown(one.view.messages) == told(on_screen, variants)
            # The last question's other variant, and the first answer's, which nobody has seen here yet.
            for command, leaf in (("/prev", "a3"), ("/pick 5 1", "a2"), ("/pick 5", "a3")):
                await one.submit(command)
                assert shown(one.view.messages) == told(chatgpt_texts(rivers["mapping"], leaf), variants)
            await one.submit("/goto 11")
            assert shown(one.view.messages) == told(on_screen, variants)
            await eventually(lambda: shown(other.view.messages) == shown(one.view.messages))
        messages = rain["chat"]["history"]["messages"]
        variants = siblings(
            {key: message["parentId"] for key, message in messages.items()},
            {key: message["content"] for key, message in messages.items()},
            {key: message["childrenIds"] for key, message in messages.items()},
        )
        assert len(variants) == 4
        async with client(server.ws(rain["id"])) as one:
            assert shown(one.view.messages) == told(webui_texts(messages, "m6"), variants)
            assert one.view.session["system"] == "Be gentle."
            usage = (await one.submit("/usage"))["data"]
            # What is not on screen was paid for, too.
            assert (usage["input_tokens"], usage["output_tokens"]) == (28, 40)
            assert (usage["on_screen"]["input_tokens"], usage["on_screen"]["output_tokens"]) == (14, 21)
            await one.submit("/pick 2")
            assert shown(one.view.messages) == told(webui_texts(messages, "m2"), variants)


# The law: whatever is done to a file, its texts come in, or it is broken and says why.

INSTEAD: list[Any] = [None, True, 0, 5, -1.5, "", "zz", "a", "u1", "m1", [], ["x"], {}, {"x": "y"}, 10**30, deep]


def places(value: Any) -> list[tuple[Any, ...]]:
    """The paths to everything in JSON, but for its root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, below in inner for path in [(name,), *((name, *rest) for rest in places(below))]]


def texts_in(value: Any, inside: bool = False) -> Iterator[str]:
    """Every text in the content of a message, wherever it stands."""
    if isinstance(value, str):
        if inside:
            yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one, inside)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name != "content_type":
                yield from texts_in(one, inside or name == "content")


def strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings_in(one)


@st.composite
def mutilated(draw: st.DrawFn, *samples: Any) -> Any:
    """A sample with a few things deleted or replaced."""
    value = copy.deepcopy(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 3))):
        *where, last = draw(st.sampled_from(places(value)))
        inner = value
        for name in where:
            inner = inner[name]
        if draw(st.booleans()):
            del inner[last]
        else:
            inner[last] = copy.deepcopy(draw(st.sampled_from(INSTEAD)))
        if not places(value):
            break
    return value


SAMPLED: list[Any] = [
    *([CHATGPT, OPEN_WEBUI, OPEN_WEBUI[0], CHATGPT[1]] if SAMPLES.is_dir() else []),
    [GPT, WEBUI],
    WEBUI,
    WEBUI["chat"],
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=mutilated(*SAMPLED))
def test_a_mutilated_export_comes_in_with_every_text_or_says_what_is_wrong(value: Any) -> None:
    conversations = value if isinstance(value, list) else [value]
    try:
        found = read(value)
    except NotASession:
        event("no session")
        assert not list(texts_in(value))
        return
    assert len(found) == len(conversations)
    for one, conversation in zip(found, conversations, strict=True):
        if isinstance(one, Broken):
            event("broken")
            assert str(one).strip()
            assert str(one).isprintable()
            continue
        event("imported")
        tree_of(one)
        assert 0 <= one.head <= len(one.messages)
        there = set(strings_in(msgspec.to_builtins([one.messages, one.created])))
        assert set(texts_in(conversation)) <= there


numbers = itertools.count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=mutilated(*SAMPLED))
def test_what_is_imported_of_a_mutilated_export_is_stored_and_read_back(tmp_path: Path, value: Any) -> None:
    folder = tmp_path / str(next(numbers))
    results = bring_in(folder / "data", write(folder / "one.json", value))
    with Database(folder / "data") as database:
        for result in results:
            if result.outcome != "imported":
                assert result.detail.strip()
                continue
            loaded = database.load(result.detail)
            (step,) = loaded.history
            (one,) = [one for one in again(value) if one.id == result.detail]
            assert step.after.head == one.head
            for added in one.messages:
                assert kept(loaded.tree[added.message.id].message) == kept(added.message)


def kept(message: Message) -> str:
    """A message, but for the time of one that has none in a file that has none."""
    return canonical(msgspec.to_builtins(msgspec.structs.replace(message, created_at=0.0)))


def again(value: Any) -> Iterator[Imported]:
    seen = set()
    for one in read(value):
        if isinstance(one, Imported) and one.id not in seen:
            seen.add(one.id)
            yield one
