"""The `openai` backend: the real client library against a model server that speaks the real wire format."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.backends import openai as backend_module
from backchat.backends.base import Delta, Piece, Prompt, Report
from backchat.backends.openai import Asked, OpenAI, Reading, explain, one_line, said, sent, sent_messages
from backchat.backends.thinking import Thinking
from backchat.errors import BackendFailed, SettingError
from backchat.transcript import Message, Usage
from tests.support.client import PATIENCE
from tests.support.model_server import (
    ModelServer,
    Step,
    answer,
    chunk,
    comment,
    cut,
    delta,
    end,
    error,
    event,
    finish,
    model_server,
    page,
    raw,
    reset,
    sse,
    status,
    think,
    usage,
    wait,
)

OTHER_KEY = "another key (--api-key-file or OPENAI_API_KEY) and start Backchat again."
NO_CHUNK = (
    "The model server sent something that is no part of a chat completion. /retry asks again; if it goes on, check"
    " that --base-url is an OpenAI-compatible endpoint."
)
TOO_LONG = "Take messages back with /undo, begin anew with /new, or choose another model with /model."
TORN = "The model server broke off before the reply was finished. /retry asks again."
BROKEN = "The connection to the model server broke in the middle of the reply. /retry asks again."
BROKEN_BEFORE = "The connection to the model server broke before an answer came. /retry asks again."

shared = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    """A model server."""
    async with model_server() as models:
        yield models


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[OpenAI]:
    """A backend on any address; one that does not repeat requests unless told to."""
    backend = OpenAI(**({"base_url": url, "model": "m", "api_key": None, "retries": 0} | options))
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
async def backend(models: ModelServer) -> AsyncIterator[OpenAI]:
    """A backend on that server."""
    async with opened(models.url) as backend:
        yield backend


def message(role: str, content: Any, **extra: Any) -> Message:
    return Message(id=1, role=role, content=content, created_at=0.0, extra=extra or None)


def prompt(*messages: Message, model: str | None = None, system: str | None = None) -> Prompt:
    return Prompt(model=model, system=system, messages=list(messages) or [message("user", "Hello, you")])


class Reply:
    """All that came of one reply, the sentence of its failure included."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.failure: str | None = None

    def _joined(self, reasoning: bool) -> str:
        return "".join(p.text for p in self.pieces if isinstance(p, Delta) and p.reasoning == reasoning)

    @property
    def text(self) -> str:
        return self._joined(False)

    @property
    def reasoning(self) -> str:
        return self._joined(True)

    def reported(self, field: str) -> list[Any]:
        found = [getattr(p, field) for p in self.pieces if isinstance(p, Report)]
        return [value for value in found if value is not None]


async def replied(backend: OpenAI, asked: Prompt | None = None, *, seen: asyncio.Event | None = None) -> Reply:
    """A whole reply; `seen` is set once there is some text."""
    reply = Reply()
    try:
        async for piece in backend.reply(asked or prompt()):
            reply.pieces.append(piece)
            if seen is not None and reply.text:
                seen.set()
    except BackendFailed as failed:
        reply.failure = str(failed)
    return reply


# What comes.


async def test_a_reply_comes_piece_by_piece(models: ModelServer, backend: OpenAI) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    models.script("Hel", wait(gates[0]), "lo ", wait(gates[1]), "you")
    got = []
    async with aclosing(backend.reply(prompt())) as pieces:
        async for piece in pieces:
            if isinstance(piece, Delta):
                got.append(piece)
                if len(got) <= len(gates):
                    # What comes next is not sent before this has been seen.
                    gates[len(got) - 1].set()
    assert got == [Delta("Hel"), Delta("lo "), Delta("you")]


async def test_a_test_can_write_a_reply_by_hand(models: ModelServer, backend: OpenAI) -> None:
    models.hold()
    reply = asyncio.create_task(replied(backend))
    exchange = await models.asked()
    await exchange.think("Hm.")
    await exchange.say("By hand")
    await exchange.finish("length", usage(1, 2))
    got = await reply
    assert (got.text, got.reasoning, got.failure) == ("By hand", "Hm.", None)
    assert exchange.body["messages"] == [{"role": "user", "content": "Hello, you"}]


async def test_a_model_server_without_a_script_says_the_last_message_back(models: ModelServer, backend: OpenAI) -> None:
    assert (await replied(backend)).text == "Hello, you"
    assert (await replied(backend, prompt(message("user", "  two  spaces ")))).text == "  two  spaces "


async def test_the_model_server_says_what_the_library_takes_for_the_real_thing(models: ModelServer) -> None:
    # Strictly: every chunk is held against the types of the published API.
    client = openai.AsyncOpenAI(base_url=models.url, api_key="k", max_retries=0, _strict_response_validation=True)
    models.script("Hel", "lo", finish("stop", usage(3, 2, cached=1)))
    async with (
        client,
        await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        ) as stream,
    ):
        chunks = [one async for one in stream]
        assert [one.choices[0].delta.content for one in chunks if one.choices] == ["", "Hel", "lo", None]
        assert [one.usage is None for one in chunks] == [True, True, True, True, False]
        assert [one.id async for one in client.models.list()] == ["test-model", "another-model"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept_apart(models: ModelServer, backend: OpenAI, field: str) -> None:
    models.script(think("Let me ", field), think("see.", field), "Yes.")
    reply = await replied(backend)
    assert (reply.reasoning, reply.text) == ("Let me see.", "Yes.")


async def test_reasoning_under_both_of_its_names_comes_once(models: ModelServer, backend: OpenAI) -> None:
    # Of another type it is no reasoning that anybody could read, and no fault either.
    odd = delta(reasoning={"step": 1}, content="e")
    models.script(delta(reasoning="Hm.", reasoning_content="Hm."), delta(reasoning="x", content="Y"), odd, "s")
    reply = await replied(backend)
    assert (reply.reasoning, reply.text) == ("Hm.x", "Yes")


async def test_content_that_comes_in_parts_is_text_and_reasoning(models: ModelServer, backend: OpenAI) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    models.script(
        delta(content=[thinking, {"type": "text", "text": "A"}, {"type": "reference", "reference_ids": [1]}]),
        delta(content=[{"type": "text", "text": "B"}, "C", {"type": "text", "text": 5}, 7]),
    )
    reply = await replied(backend)
    assert (reply.reasoning, reply.text, reply.failure) == ("Hm.", "ABC", None)


async def test_a_refusal_is_the_reply(models: ModelServer, backend: OpenAI) -> None:
    models.script(delta(refusal="I'd rather "), delta(refusal="not."))
    assert (await replied(backend)).text == "I'd rather not."


async def test_what_keeps_a_connection_alive_says_nothing(models: ModelServer, backend: OpenAI) -> None:
    empty = {"choices": [{"index": 0, "delta": None, "finish_reason": None}]}
    models.script(comment("PROCESSING"), event(chunk()), "a", comment(""), event(empty), event({"choices": None}), "b")
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("ab", None)


async def test_the_model_and_the_usage_are_reported(models: ModelServer, backend: OpenAI) -> None:
    models.script("Yes", finish("stop", usage(100, 20, cached=64, reasoning=12)))
    reply = await replied(backend, prompt(model="chosen"))
    assert reply.reported("model") == ["chosen"]
    assert reply.reported("usage") == [Usage(input_tokens=100, output_tokens=20, cached_tokens=64, reasoning_tokens=12)]
    assert reply.reported("note") == []


@pytest.mark.parametrize(
    "told",
    [
        None,
        5,
        {},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": "7", "completion_tokens": -1, "prompt_tokens_details": 3},
        {"prompt_tokens": 10**30, "completion_tokens": 1.5, "completion_tokens_details": {"reasoning_tokens": True}},
    ],
)
async def test_numbers_that_are_none_are_not_reported_and_harm_nothing(
    models: ModelServer, backend: OpenAI, told: Any
) -> None:
    models.script("Yes", event(chunk(usage=told)))
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("Yes", None)
    # The proper ones that the server itself appends.
    assert reply.reported("usage") == [Usage(input_tokens=2, output_tokens=1)]


@pytest.mark.parametrize(
    ("reason", "notes"),
    [
        ("stop", []),
        ("tool_calls", []),
        ("length", ["The model stopped at its limit on the length of a reply."]),
        ("content_filter", ["The provider's content filter cut this reply off."]),
    ],
)
async def test_how_a_reply_ended_is_noted(models: ModelServer, backend: OpenAI, reason: str, notes: list[str]) -> None:
    models.script("Ye", finish(reason))
    reply = await replied(backend)
    assert (reply.text, reply.failure, reply.reported("note")) == ("Ye", None, notes)


async def test_what_goes_wrong_after_the_end_of_a_reply_does_not_fail_it(models: ModelServer, backend: OpenAI) -> None:
    for wrong in (cut, event("{oops"), error("Cannot count.")):
        models.script("Yes", event(chunk({}, "stop")), wrong, end)
        reply = await replied(backend)
        assert (reply.text, reply.failure) == ("Yes", None)


async def test_a_stream_that_is_left_open_after_its_end_has_ended(models: ModelServer, backend: OpenAI) -> None:
    models.script("Yes", event(chunk({}, "stop")), event("[DONE]"), wait(asyncio.Event()))
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("Yes", None)


async def test_a_reply_whose_tokens_are_counted_has_ended_even_without_a_reason(
    models: ModelServer, backend: OpenAI
) -> None:
    models.script("Hel", "lo", finish(None, usage(5, 2)))
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("Hello", None)


async def test_the_end_of_a_reply_is_told_before_its_tokens_are(models: ModelServer, backend: OpenAI) -> None:
    models.script("Hello", event(chunk({}, "stop")), wait(asyncio.Event()))
    async with aclosing(backend.reply(prompt())) as pieces:
        async for piece in pieces:
            if isinstance(piece, Report) and piece.whole:
                return
    raise AssertionError("the end was not told")


async def test_a_count_of_tokens_at_the_beginning_does_not_end_a_reply(models: ModelServer, backend: OpenAI) -> None:
    early = event(chunk(None, usage={"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}))
    models.script(early, "Hel", reset)
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("Hel", BROKEN)


async def test_what_was_held_back_is_told_when_the_stream_breaks(models: ModelServer, backend: OpenAI) -> None:
    models.script("<thi", cut)
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("<thi", BROKEN)


async def test_reasoning_that_is_counted_beside_the_output_is_part_of_it(models: ModelServer, backend: OpenAI) -> None:
    told = {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 399}
    models.script("Yes", finish("stop", told | {"completion_tokens_details": {"reasoning_tokens": 386}}))
    reply = await replied(backend)
    assert reply.reported("usage") == [Usage(input_tokens=12, output_tokens=387, reasoning_tokens=386)]


@pytest.mark.parametrize(
    ("pieces", "reasoning", "text"),
    [
        (["<think>Hm.</think>Yes."], "Hm.", "Yes."),
        (["\n<thi", "nk>", "\nHm", ".\n</", "think", ">\n\n", "\nYes."], "\nHm.\n", "Yes."),
        (["<think></think>Yes."], "", "Yes."),
        (["<think>a </thin b</think>", "Yes."], "a </thin b", "Yes."),
        (["<think>never", " ending</thi"], "never ending</thi", ""),
        (["<b>Yes</b>"], "", "<b>Yes</b>"),
        (["  Yes, <think>no</think>"], "", "  Yes, <think>no</think>"),
        (["<thi"], "", "<thi"),
    ],
)
async def test_reasoning_in_tags_at_the_beginning_is_kept_apart(
    models: ModelServer, backend: OpenAI, pieces: list[str], reasoning: str, text: str
) -> None:
    models.script(*pieces)
    reply = await replied(backend)
    assert (reply.reasoning, reply.text) == (reasoning, text)


@shared
@given(st.text(alphabet="<think>/ a\n", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_how_a_text_is_split_changes_nothing_about_what_is_reasoning(text: str, cuts: list[int]) -> None:
    def told(pieces: list[str]) -> list[str]:
        thinking = Thinking()
        deltas = [delta for piece in pieces for delta in thinking.split(piece)] + list(thinking.rest())
        return ["".join(d.text for d in deltas if d.reasoning is reasoning) for reasoning in (True, False)]

    places = sorted({0, len(text), *(place for place in cuts if place < len(text))})
    assert told([text[a:b] for a, b in pairwise(places)]) == told([text])


# What is sent.


async def test_the_system_prompt_goes_first_and_the_transcript_as_it_is(models: ModelServer, backend: OpenAI) -> None:
    image = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    calls = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}]
    transcript = [
        message("system", "From an import."),
        message("user", image, timestamp=5, name="ann"),
        message("assistant", None, tool_calls=calls, reasoning_content="Hm.", refusal=None),
        message("tool", '{"cat": true}', tool_call_id="c1", _ours="x"),
        message("assistant", "A cat.", tool_calls=[]),
        message("user", {"odd": 1}),
    ]
    await replied(backend, prompt(*transcript, model="chosen", system="Be brief."))
    assert models.requests == [
        {
            "model": "chosen",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "system", "content": "From an import."},
                {"role": "user", "content": image, "name": "ann"},
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "content": '{"cat": true}', "tool_call_id": "c1"},
                {"role": "assistant", "content": "A cat."},
                {"role": "user", "content": "{'odd': 1}"},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


@pytest.mark.parametrize("content", ["", None, []])
def test_a_reply_that_says_nothing_is_left_out(content: Any) -> None:
    assert sent(message("assistant", content)) is None
    assert sent(message("assistant", content, name="bot", tool_calls=[])) is None
    assert sent(message("assistant", content, function_call={"name": "f"})) is not None
    assert sent(message("user", content)) == {"role": "user", "content": content}


def test_what_another_program_left_in_an_import_is_sent_only_where_endpoints_take_it() -> None:
    text = {"type": "text", "text": "What plant is this?"}
    pointer = {"type": "image_asset_pointer", "asset_pointer": "file-service://file-abc"}
    told = {"type": "text", "text": "[image_asset_pointer: not available here]"}
    assert sent(message("user", [pointer, text])) == {"role": "user", "content": [told, text]}
    assert sent(message("assistant", [{"type": "thoughts"}, text])) == {"role": "assistant", "content": [text]}
    assert sent(message("assistant", [{"type": "thoughts"}])) is None
    assert sent(message("tool", "look")) is None


def test_half_of_a_tool_exchange_is_not_sent() -> None:
    def asks(*ids: str, content: str | None = None) -> Message:
        return message("assistant", content, tool_calls=[{"id": one, "type": "function"} for one in ids])

    def answers(one: str) -> Message:
        return message("tool", "seen", tool_call_id=one)

    def left(*transcript: Message) -> list[str]:
        rows = sent_messages(prompt(*transcript))
        return [row["role"] + ("+" if row.get("tool_calls") else "") for row in rows]

    said = message("user", "Look.")
    assert left(said, asks("a", "b"), answers("b"), answers("a"), said) == [
        "user",
        "assistant+",
        "tool",
        "tool",
        "user",
    ]
    # The transcript ends before the answers, or between them.
    assert left(said, asks("a")) == ["user"]
    assert left(said, asks("a", content="I shall look."), said) == ["user", "assistant", "user"]
    assert left(said, asks("a", "b"), answers("a")) == ["user"]
    # It goes on where the call is not.
    assert left(answers("a"), said) == ["user"]
    assert left(said, answers("a"), answers("b"), said) == ["user", "user"]
    assert left(asks("a"), answers("c"), said) == ["user"]
    assert left(said, asks("a"), said, answers("a")) == ["user", "user"]
    # What an import may have in their place.
    odd: list[Any] = [5, "a", {"id": "a"}, ["a"], [{"id": 5}], [{"id": ["a"]}], [{}], [{"id": ""}]]
    for calls in odd:
        assert left(message("assistant", None, tool_calls=calls), answers("a"), said) == ["user"]
        assert left(message("assistant", "Hm.", tool_calls=calls), answers("a")) == ["assistant"]
        assert left(message("assistant", None, tool_calls=calls, refusal="No."), said) == ["assistant", "user"]
    assert left(asks("a"), message("tool", "seen", tool_call_id=["a"]), said) == ["user"]


async def test_the_model_of_the_setting_replies_where_none_was_chosen(models: ModelServer, backend: OpenAI) -> None:
    await replied(backend)
    assert models.requests[0]["model"] == "m"


async def test_without_any_model_a_person_is_told_to_choose_one(models: ModelServer) -> None:
    async with opened(models.url, model=None) as backend:
        reply = await replied(backend)
    assert reply.failure == "No model is chosen. Choose one with /model, or start Backchat with --model."
    assert models.requests == []


async def test_an_endpoint_that_cannot_count_in_a_stream_is_not_asked_to_again(
    models: ModelServer, backend: OpenAI
) -> None:
    models.script(status(422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}))
    for _ in range(2):
        reply = await replied(backend)
        assert (reply.text, reply.failure, reply.reported("usage")) == ("Hello, you", None, [])
    assert ["stream_options" in body for body in models.requests] == [True, False, False]


# Stopping.


async def test_closing_a_reply_closes_the_stream_at_the_server(models: ModelServer, backend: OpenAI) -> None:
    models.script("Hel", wait(asyncio.Event()))
    async with aclosing(backend.reply(prompt())) as pieces:
        async for piece in pieces:
            if piece == Delta("Hel"):
                break
    await models.until(lambda: models.closed == 1)
    assert (await replied(backend)).text == "Hello, you"


@pytest.mark.parametrize("begun", [True, False])
async def test_cancelling_a_reply_closes_the_stream_at_the_server(
    models: ModelServer, backend: OpenAI, begun: bool
) -> None:
    models.hold()
    seen = asyncio.Event()
    reply = asyncio.create_task(replied(backend, seen=seen))
    exchange = await models.asked()
    if begun:
        await exchange.say("Hel")
        await seen.wait()
    reply.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reply
    await exchange.broken.wait()
    assert models.closed == 1
    assert (await replied(backend)).text == "Hello, you"


# Repeating.

SOON = {"retry_after_ms": "1"}


@pytest.mark.parametrize(
    "fault", [status(429, "Slow down.", retry_after="0.001"), status(500, "Oops.", **SOON), status(408, **SOON)]
)
async def test_a_request_is_repeated_before_the_reply_has_begun(models: ModelServer, fault: Step) -> None:
    models.script(fault)
    models.script(fault)
    models.script("Yes")
    async with opened(models.url, retries=2) as backend:
        reply = await replied(backend)
    assert (reply.text, reply.failure, len(models.requests)) == ("Yes", None, 3)


async def test_a_request_is_repeated_no_more_often_than_told(models: ModelServer) -> None:
    for _ in range(3):
        models.script(status(500, "Oops.", **SOON))
    async with opened(models.url, retries=1) as backend:
        reply = await replied(backend)
    assert reply.failure == "The model server failed with status 500 (“Oops.”). Wait 1 second, then /retry."
    assert len(models.requests) == 2


@pytest.mark.parametrize(
    "fault", [cut, error("Oops."), event("{oops"), end, event(chunk({"content": 5}))], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("begun", [True, False])
async def test_nothing_is_repeated_once_the_stream_has_begun(models: ModelServer, fault: Step, begun: bool) -> None:
    models.script(*(["Hel"] if begun else [comment("begun")]), fault, cut)
    async with opened(models.url, retries=2) as backend:
        reply = await replied(backend)
    assert reply.failure is not None
    assert (reply.text, len(models.requests)) == ("Hel" if begun else "", 1)


async def test_a_request_that_would_have_to_wait_long_is_not_repeated(models: ModelServer) -> None:
    for asks, told in (
        ({"retry_after": "11"}, "11 seconds"),
        ({"retry_after": format_datetime(datetime.now(UTC) + timedelta(hours=5.5))}, "6 hours"),
        ({"retry_after_ms": "90500"}, "91 seconds"),
    ):
        async with opened(models.url, retries=2) as backend:
            before = len(models.requests)
            models.script(status(429, "Slow down.", **asks))
            reply = await replied(backend)
        assert reply.failure == f"The model server was asked too often (“Slow down.”). Wait {told}, then /retry."
        assert len(models.requests) == before + 1


async def test_what_the_request_is_to_blame_for_is_not_repeated(models: ModelServer) -> None:
    models.script(status(400, "Bad."))
    async with opened(models.url, retries=2) as backend:
        assert (await replied(backend)).failure is not None
    assert len(models.requests) == 1


# Failures: what a person reads. {url} stands for the base URL.


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            status(400, "Unknown role."),
            (
                "The model server did not accept the request (“Unknown role.”). /undo takes the last message back,"
                " /model chooses another model."
            ),
        ),
        (
            status(400, "12 tokens are too many.", code="context_length_exceeded"),
            f"The transcript is more than the model takes (“12 tokens are too many.”). {TOO_LONG}",
        ),
        (
            status(401, "Incorrect key sk-12…89."),
            "The model server wants an API key. Set --api-key-file or OPENAI_API_KEY and start Backchat again.",
        ),
        (
            status(402, "Insufficient Balance"),
            f"The account behind the API key has no credit left (“Insufficient Balance”). Add some, or set {OTHER_KEY}",
        ),
        (
            status(403, "Not in your country."),
            (
                "The model server does not allow this (“Not in your country.”). Choose another model with /model, or"
                f" set {OTHER_KEY}"
            ),
        ),
        (
            status(404, 'model "m" not found'),
            'The model server does not have the model m (“model "m" not found”). Choose another with /model.',
        ),
        (
            answer(404, "404 page not found"),
            "There is no chat endpoint at {url} (“404 page not found”). Check --base-url: it usually ends in /v1.",
        ),
        (
            answer(404, {"detail": "Not Found"}),
            "There is no chat endpoint at {url} (“Not Found”). Check --base-url: it usually ends in /v1.",
        ),
        (
            page(number=405),
            "There is no chat endpoint at {url}. Check --base-url: it usually ends in /v1.",
        ),
        (status(408), "The model server gave up waiting for the request. /retry asks again."),
        (
            answer(413, "Request Entity Too Large"),
            f"The transcript is more than the model takes (“Request Entity Too Large”). {TOO_LONG}",
        ),
        (
            answer(422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}),
            (
                "The model server did not accept the request (“Field required”). /undo takes the last message back,"
                " /model chooses another model."
            ),
        ),
        (
            status(429, "Limit is 3 a minute.", retry_after="7"),
            "The model server was asked too often (“Limit is 3 a minute.”). Wait 7 seconds, then /retry.",
        ),
        (status(429), "The model server was asked too often. Wait a little, then /retry."),
        (
            status(429, "Check your plan.", code="insufficient_quota"),
            f"The account behind the API key has no credit left (“Check your plan.”). Add some, or set {OTHER_KEY}",
        ),
        (
            status(500, "The server had\n an\tunexpected \x07 error"),
            (
                "The model server failed with status 500 (“The server had an unexpected error”). Wait a little, then"
                " /retry."
            ),
        ),
        (page(number=502), "The model server failed with status 502. Wait a little, then /retry."),
        (
            status(503, "Loading model", retry_after="200"),
            "The model server failed with status 503 (“Loading model”). Wait 4 minutes, then /retry.",
        ),
        (answer(418, [{"error": "tea"}]), "The model server answered with status 418 (“tea”). /retry asks again."),
        (page(), "{url} answered with a web page. Check --base-url: it usually ends in /v1."),
        (
            answer(200, {"id": 5}),
            "{url} answered all at once. Backchat needs an endpoint that streams its replies.",
        ),
        (event("[DONE]"), "{url} answered without a reply. Check --base-url: it usually ends in /v1."),
        (end, "{url} answered without a reply. Check --base-url: it usually ends in /v1."),
        (cut, BROKEN_BEFORE),
        (reset, BROKEN_BEFORE),
    ],
)
async def test_a_fault_before_the_reply_is_told_in_a_sentence(
    models: ModelServer, backend: OpenAI, fault: Step, sentence: str
) -> None:
    models.script(fault)
    reply = await replied(backend)
    assert (reply.failure, reply.pieces) == (sentence.replace("{url}", models.url), [])
    assert (await replied(backend)).text == "Hello, you"


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([error("Overloaded.")], "The model server reported an error (“Overloaded.”). /retry asks again."),
        ([event({"error": "Overloaded."})], "The model server reported an error (“Overloaded.”). /retry asks again."),
        ([event({"error": {"code": 5}})], "The model server reported an error. /retry asks again."),
        ([cut], BROKEN),
        ([reset], BROKEN),
        ([event("{oops")], NO_CHUNK),
        ([event("[" * 100_000)], NO_CHUNK),
        ([event("9" * 5_000)], NO_CHUNK),
        ([raw(b"data: \xff\xfe\n\n")], NO_CHUNK),
        ([event(None)], NO_CHUNK),
        ([event([])], NO_CHUNK),
        ([event("5")], NO_CHUNK),
        ([event({"choices": {}})], NO_CHUNK),
        ([event({"choices": [5]})], NO_CHUNK),
        ([event({"choices": [{"delta": "text"}]})], NO_CHUNK),
        ([delta(content=5)], NO_CHUNK),
        ([delta(content={"text": "x"})], NO_CHUNK),
        ([event({"choices": [{"delta": {}, "finish_reason": 5}]})], NO_CHUNK),
        ([end], TORN),
        ([finish("error")], TORN),
    ],
)
async def test_a_fault_in_the_middle_of_the_reply_is_told_and_keeps_what_came(
    models: ModelServer, backend: OpenAI, steps: list[Step], sentence: str
) -> None:
    seen = asyncio.Event()
    models.script("Hel", wait(seen), *steps, end)
    reply = await replied(backend, seen=seen)
    assert (reply.text, reply.failure) == ("Hel", sentence)
    assert (await replied(backend)).text == "Hello, you"


async def test_a_key_that_is_refused_is_told_without_repeating_it(models: ModelServer) -> None:
    models.script(status(401, "Incorrect API key provided: sk-12…89."))
    async with opened(models.url, api_key="sk-123456789") as backend:
        reply = await replied(backend)
    assert reply.failure == f"The model server did not accept the API key. Set {OTHER_KEY}"


async def test_a_connection_that_breaks_in_the_body_of_an_error_is_told(models: ModelServer, backend: OpenAI) -> None:
    models.script(answer(500, "Oo", content_length="99"), cut)
    assert (await replied(backend)).failure == BROKEN_BEFORE


async def test_only_the_beginning_of_a_long_message_is_quoted(models: ModelServer, backend: OpenAI) -> None:
    models.script(answer(500, "word " * 100_000))
    failure = (await replied(backend)).failure
    assert failure is not None
    quoted = failure.partition("“")[2].partition("”")[0]
    assert quoted == ("word " * 40).rstrip() + "…"


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_refused_connection_is_told(host: str) -> None:
    url = f"http://{host}:{unused_port()}/v1"
    async with opened(url) as backend:
        reply = await replied(backend)
        with pytest.raises(BackendFailed) as listing:
            await backend.models()
    nothing = f"Nothing answers at {url}: the connection was refused. Start the model server, or check --base-url, then"
    assert reply.failure == f"{nothing} /retry."
    assert str(listing.value) == f"{nothing} try again."


async def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with opened("http://models.example:11434/v1") as backend:
        reply = await replied(backend)
    assert reply.failure == "The name of models.example is not known. Check --base-url and the network, then /retry."


async def test_a_server_that_does_not_accept_in_time_is_told() -> None:
    # It takes the connection and never says a word of TLS.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        async with asyncio.timeout(PATIENCE), opened(url, connect_seconds=0.05) as backend:
            reply = await replied(backend)
    assert (
        reply.failure
        == f"{url} did not accept a connection within 0.05 seconds. Check --base-url and the network, then /retry."
    )


async def test_a_server_that_speaks_no_tls_is_told(models: ModelServer) -> None:
    url = f"https://127.0.0.1:{models.port}/v1"
    async with opened(url) as backend:
        reply = await replied(backend)
    assert (
        reply.failure == f"No secure connection to {url} could be made. Check --base-url: http or https, and the name."
    )


async def test_the_name_of_a_model_cannot_disturb_the_sentence(models: ModelServer, backend: OpenAI) -> None:
    models.script(status(404, "There is no such model."))
    assert (await replied(backend, prompt(model="a\n\u202eb"))).failure == (
        "The model server does not have the model a b (“There is no such model.”). Choose another with /model."
    )


async def test_a_base_url_without_its_path_is_told(models: ModelServer) -> None:
    url = f"http://127.0.0.1:{models.port}"
    async with opened(url) as backend:
        reply = await replied(backend)
    assert reply.failure == (
        f"There is no chat endpoint at {url} (“404 page not found”). Check --base-url: it usually ends in /v1."
    )


async def test_a_password_in_the_base_url_is_not_shown() -> None:
    port = unused_port()
    async with opened(f"http://ann:secret@127.0.0.1:{port}/v1/") as backend:
        reply = await replied(backend)
    assert reply.failure is not None
    assert f"http://127.0.0.1:{port}/v1:" in reply.failure
    assert "secret" not in reply.failure


def test_what_no_test_can_bring_about_has_a_sentence_too() -> None:
    asked = Asked("http://host/v1", False, "m", 10)
    request = httpx2.Request("POST", "http://host/v1/chat/completions")
    unreachable = openai.APIConnectionError(request=request)
    unreachable.__cause__ = httpx2.ConnectError("No route to host")
    assert explain(unreachable, asked) == (
        "http://host/v1 cannot be reached. Check --base-url and the network, then /retry."
    )
    # A name with several addresses, as the library tells of it.
    attempts = ExceptionGroup("multiple connection attempts failed", [OSError("no route"), ConnectionRefusedError()])
    unreachable.__cause__ = httpx2.ConnectError("All connection attempts failed")
    unreachable.__cause__.__cause__ = attempts
    assert explain(unreachable, asked).startswith("Nothing answers at http://host/v1: the connection was refused.")
    assert explain(openai.OpenAIError("No\nidea"), asked) == (
        "The model server could not be asked (“No idea”). /retry asks again."
    )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("0.2", "1 second"),
        ("1", "1 second"),
        ("1.5", "2 seconds"),
        ("120", "120 seconds"),
        ("121", "3 minutes"),
        ("7201", "3 hours"),
        ("-1", "a little"),
        ("inf", "a little"),
        ("nan", "a little"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "a little"),
    ],
)
async def test_how_long_to_wait_is_told_as_a_person_would(
    models: ModelServer, backend: OpenAI, header: str, words: str
) -> None:
    models.script(status(503, retry_after=header))
    assert (await replied(backend)).failure == f"The model server failed with status 503. Wait {words}, then /retry."


# Any text, any JSON.


@shared
@given(
    texts=st.lists(st.text(max_size=12), max_size=6),
    cuts=st.lists(st.integers(0, 3000), max_size=30),
    ascii_only=st.booleans(),
)
async def test_any_text_arrives_unchanged_however_it_is_split(
    models: ModelServer, backend: OpenAI, texts: list[str], cuts: list[int], ascii_only: bool
) -> None:
    chunks = [chunk({"content": text}) for text in texts] + [chunk({}, "stop")]
    stream = b"".join(sse(one) for one in chunks) + sse("[DONE]")
    if not ascii_only:
        # Line ends as some servers write them.
        stream = stream.replace(b"\n\n", b"\r\n\r\n")
    places = sorted({0, len(stream), *(place % len(stream) for place in cuts)})
    models.script(*(raw(stream[a:b]) for a, b in pairwise(places)), end)
    reply = await replied(backend)
    assert (reply.text, reply.failure) == ("".join(texts), None)


fields = st.sampled_from(
    [
        "choices", "delta", "content", "refusal", "reasoning", "reasoning_content", "finish_reason", "index", "text",
        "type", "thinking", "model", "usage", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "error",
        "message", "code", "id", "object", "self", "_fields_set", "data", "",
    ]
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.just("\ud800")
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4), max_leaves=12
)
nearly_deltas = st.dictionaries(fields, anything, max_size=4)
nearly_chunks = st.one_of(
    anything,
    st.dictionaries(fields, anything, max_size=4),
    st.builds(
        lambda deltas, rest: rest | {"choices": [{"delta": one} for one in deltas]},
        st.lists(nearly_deltas, max_size=2),
        st.dictionaries(fields, anything, max_size=3),
    ),
)


@shared
@given(st.lists(nearly_chunks, min_size=1, max_size=3))
async def test_any_json_is_a_piece_of_a_reply_or_a_failure_with_a_sentence(
    models: ModelServer, backend: OpenAI, events: list[Any]
) -> None:
    models.script(*(event(data) for data in events))
    reply = await replied(backend)
    assert Delta("") not in reply.pieces
    if reply.failure is not None:
        assert reply.failure.endswith(".")
        assert reply.failure.isprintable()


@shared
@given(anything)
async def test_any_body_of_an_error_is_told_in_a_sentence(models: ModelServer, backend: OpenAI, body: Any) -> None:
    models.script(answer(418, body if not isinstance(body, str) else [body]))
    failure = (await replied(backend)).failure
    assert failure is not None
    assert failure.startswith("The model server answered with status 418")
    assert failure.isprintable()
    assert len(failure) < 300


@shared
@given(st.lists(nearly_chunks, max_size=3))
def test_what_a_chunk_says_is_text_or_nothing(events: list[Any]) -> None:
    reading = Reading()
    for data in events:
        try:
            pieces = list(reading.pieces(data))
        except ValueError:
            continue
        assert reading.begun
        for piece in pieces:
            assert piece not in (Delta(""), Report())


@shared
@given(st.text())
def test_words_from_elsewhere_fit_on_a_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 201
    assert line == line.strip()
    assert said({"error": {"message": [text]}}) in ("", line)


# The models.


async def test_the_models_are_listed_in_order(models: ModelServer, backend: OpenAI) -> None:
    models.models = ["qwen", *"hgfedcba", "qwen"]
    assert await backend.models() == [*"abcdefgh", "qwen"]
    models.script_models(answer(200, {"object": "list", "data": None}))
    assert await backend.models() == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            status(401),
            "The model server wants an API key. Set --api-key-file or OPENAI_API_KEY and start Backchat again.",
        ),
        (
            answer(404, "404 page not found"),
            "There is no list of models at {url} (“404 page not found”). Check --base-url: it usually ends in /v1.",
        ),
        (
            status(404, "No such model."),
            "There is no list of models at {url} (“No such model.”). Check --base-url: it usually ends in /v1.",
        ),
        (status(429, retry_after="7"), "The model server was asked too often. Wait 7 seconds, then try again."),
        (status(500, "Oops."), "The model server failed with status 500 (“Oops.”). Wait a little, then try again."),
        (cut, "The connection to the model server broke before an answer came. Try again."),
        *(
            (
                wrong,
                "{url} answered with something that is no list of models. Check --base-url: it usually ends in /v1.",
            )
            for wrong in (
                page(),
                answer(200, "{oops", content_type="application/json"),
                answer(200, []),
                answer(200, {"data": [{"id": 5}]}),
                answer(200, {"data": {"id": "m"}}),
            )
        ),
    ],
)
async def test_models_that_cannot_be_listed_are_told_in_a_sentence(
    models: ModelServer, fault: Step, sentence: str
) -> None:
    models.script_models(fault)
    # The number of repetitions is for replies.
    async with opened(models.url, retries=2) as backend:
        with pytest.raises(BackendFailed) as failed:
            await backend.models()
        assert str(failed.value) == sentence.replace("{url}", models.url)
        assert await backend.models() == ["another-model", "test-model"]


async def test_a_server_that_lists_its_models_too_slowly_is_told(
    models: ModelServer, backend: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "MODELS_SECONDS", 0.05)
    models.script_models(wait(asyncio.Event()))
    with pytest.raises(BackendFailed) as failed:
        async with asyncio.timeout(PATIENCE):
            await backend.models()
    assert str(failed.value) == f"{models.url} took too long to answer. Try again."


# The price.

TOKENS = Usage(input_tokens=1_000_000, output_tokens=100_000, cached_tokens=400_000, reasoning_tokens=50_000)


async def priced(url: str, model: str, usage: Usage = TOKENS) -> float | None:
    async with opened(url, api_key="k") as backend:
        return backend.price(model, usage)


async def test_a_known_model_of_a_known_provider_has_a_price() -> None:
    for url in ("https://api.openai.com/v1", "https://api.openai.com/v1/", "https://ann:pw@openrouter.ai/api/v1"):
        model = "openai/gpt-4o" if "openrouter" in url else "gpt-4o"
        price = await priced(url, model)
        without_cache = await priced(url, model, Usage(input_tokens=1_000_000, output_tokens=100_000))
        assert price is not None
        assert without_cache is not None
        assert 0.1 < price < without_cache < 100


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("http://127.0.0.1:11434/v1", "gpt-4o"),
        ("http://localhost:1234/v1", "openai/gpt-4o"),
        ("https://models.example/api.openai.com/v1", "gpt-4o"),
        ("https://api.openai.com/v1", "no-such-model"),
        ("https://api.openai.com/v1", ""),
        # In the list, without a price.
        ("https://api.githubcopilot.com", "gpt-4o"),
    ],
)
async def test_an_unknown_price_is_none(url: str, model: str) -> None:
    assert await priced(url, model) is None


async def test_tokens_that_make_no_sense_have_no_price() -> None:
    assert await priced("https://api.openai.com/v1", "gpt-4o", Usage(input_tokens=1, cached_tokens=2)) is None


# Settings.


async def sent_key(models: ModelServer, **options: Any) -> str:
    async with opened(models.url, **options) as backend:
        await replied(backend)
    return models.exchanges[-1].headers["authorization"]


async def test_the_key_is_the_setting_or_the_usual_variable_or_a_placeholder(
    models: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await sent_key(models) == "Bearer none"
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    assert await sent_key(models) == "Bearer from-the-environment"
    assert await sent_key(models, api_key="from-a-file\n") == "Bearer from-a-file"


async def test_the_address_is_the_setting_or_the_usual_variable(
    models: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", models.url)
    async with opened("") as backend, opened(models.url, base_url=None) as other:
        assert (await replied(backend)).text == "Hello, you"
        assert (await replied(other)).text == "Hello, you"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    async with opened(models.url) as backend:
        assert (await replied(backend)).text == "Hello, you"


@pytest.mark.parametrize("url", [None, "", "https://api.openai.com/v1", "https://api.openai.com/v1/"])
def test_openai_itself_needs_a_key(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(SettingError) as wrong:
        OpenAI(base_url=url, model="m", api_key=None, retries=0)
    assert str(wrong.value) == (
        "There is no key for api.openai.com: set OPENAI_API_KEY, or name another server with --base-url (Ollama on"
        " this machine is http://127.0.0.1:11434/v1)."
    )


@pytest.mark.parametrize("key", ["kéy", "k\ney", "k\x00"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(SettingError, match=r"^The API key may hold visible ASCII characters only\.$"):
        OpenAI(base_url="http://127.0.0.1:1/v1", model="m", api_key=key, retries=0)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:11434/v1",
        "localhost",
        "ftp://host/v1",
        "http://",
        "http:///v1",
        "http://[::1/v1",
        "http://host:99999/v1",
        "http://host:port/v1",
        "http://host/v1?key=x",
        "http://host/v1#x",
        "http://.example/v1",
        f"http://{'x' * 64}.example/v1",
        "http://host/\x00",
    ],
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingError) as wrong:
        OpenAI(base_url=url, model="m", api_key=None, retries=0)
    assert str(wrong.value) == "The base URL is not the address of an API; one looks like http://127.0.0.1:11434/v1."
