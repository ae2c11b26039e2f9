"""Replies while they are written, how they end, and what is kept and said of them."""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from backchat import ops, reports, runs
from backchat.backends.base import Delta, Piece, Prompt
from backchat.errors import BackendFailed
from backchat.transcript import PART_TOKENS, Added, Created, Message, Usage, content_size, path
from backchat.views import LiveRun, Offer, StopRun, View, context_tokens
from tests.support.client import Client, client, eventually
from tests.support.histories import Action, actions, lived
from tests.support.offering import Offering
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.views import AT, advanced, view

Json = dict[str, Any]

PARTS: list[Json] = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}, "detail": {"x": [1, None, 0.5]}},
]

OFFER = Offer(
    replies=True,
    model="one",
    personalities={"pirate": "p" * 400},
    price=lambda model, usage: (usage.input_tokens + 2 * usage.output_tokens) / 1024 if model == "one" else None,
)


# What is kept of a reply.


def ended(
    run: LiveRun, reason: str = "completed", said: Any = "question", error: BackendFailed | None = None
) -> Message:
    """The message that a run leaves which answers `said`."""
    outcome = ops.finish(view(said, run=run, offer=OFFER), reason, error)
    return outcome.events[0].added[0].message


def written(text: str = "", reasoning: str = "", **known: Any) -> LiveRun:
    """A run of the model `one` that has written this."""
    return LiveRun("live", 1, text, reasoning, **{"model": "one", **known})


def test_a_reply_is_kept_with_all_that_is_known_of_it() -> None:
    usage = Usage(input_tokens=10, output_tokens=7, cached_tokens=2, reasoning_tokens=3)
    run = written("answer", "thought", usage=usage, note="Cut off.")
    assert ended(run) == Message(
        id=2,
        role="assistant",
        content="answer",
        created_at=AT,
        run_id="live",
        finish="completed",
        model="one",
        usage=usage,
        cost=24 / 1024,
        reasoning="thought",
        note="Cut off.",
    )


texts = st.text(max_size=30)


@given(texts, texts, texts, st.sampled_from(["completed", "failed", "interrupted"]))
def test_tokens_that_nobody_counted_are_estimated_and_marked_and_a_reply_without_a_word_took_none(
    said: str, text: str, reasoning: str, reason: str
) -> None:
    before = view(said, run=written(text, reasoning), offer=OFFER)
    events = ops.finish(before, reason, BackendFailed("Gone.") if reason == "failed" else None).events
    if not events:
        assert (text, reasoning, reason) == ("", "", "interrupted")
        return
    message = events[0].added[0].message
    if not (text or reasoning):
        assert (message.usage, message.cost) == (None, None)
        return
    usage = message.usage
    assert usage is not None
    assert usage.estimated
    assert usage.input_tokens == context_tokens(before, before.tree[1])
    assert usage.output_tokens >= 1
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert abs(4 * usage.output_tokens - len((text + reasoning).encode())) < 4
    assert message.cost == OFFER.price("one", usage)


def test_tokens_that_were_counted_are_not_estimated_and_those_of_no_model_cost_nothing() -> None:
    usage = Usage(input_tokens=5)
    assert ended(written("answer", usage=usage)).usage == usage
    assert ended(written("answer", usage=usage), "failed").usage == usage
    unknown = ended(written("answer", usage=usage, model="two"))
    assert (unknown.usage, unknown.cost) == (usage, None)
    assert ended(written("answer", model=None)).usage is None
    assert ended(written("answer", model=None, usage=usage)).cost is None


@pytest.mark.parametrize(("text", "reasoning"), [("", ""), ("half", ""), ("", "thought"), ("half", "thought")])
def test_a_reply_that_failed_always_says_why(text: str, reasoning: str) -> None:
    message = ended(written(text, reasoning), "failed", error=BackendFailed("The model is gone."))
    assert (message.finish, message.note) == ("failed", "The model is gone.")
    assert (message.content, message.reasoning) == (text, reasoning or None)


@pytest.mark.parametrize("reason", ["stopped", "interrupted"])
def test_a_reply_cut_short_is_kept_from_its_first_word_or_thought_on(reason: str) -> None:
    for text, reasoning in (("x", ""), ("", "x")):
        message = ended(written(text, reasoning), reason)
        assert (message.content, message.reasoning, message.finish) == (text, reasoning or None, reason)


def test_a_reply_that_was_stopped_before_its_first_word_is_none_but_one_that_was_interrupted_says_so() -> None:
    before = view("question", run=written(), offer=OFFER)
    outcome = ops.stop(before)
    assert [decided.added for decided in outcome.events] == [()], "an event all the same, so that its op_id is found"
    assert outcome.stop == StopRun("stopped")
    message = ended(written(), "interrupted")
    assert (message.content, message.finish, message.usage) == ("", "interrupted", None)
    assert message.note is not None
    assert "interrupted" in message.note


# What replies took, for /usage.


def said_and_counted(usage: Usage | None, *later: Any, said: Any = "x" * 41, **choices: Any) -> View:
    """A session with a question, its answer of 41 characters, which took this, and later messages."""
    before = view(said, run=written("y" * 41, usage=usage), offer=OFFER)
    if usage is None:
        before = replace(before, run=replace(written("y" * 41), model=None))
    state, _ = advanced(before.state, before.tree, ops.finish(before, "completed"))
    before = replace(before, state=replace(state, **choices), run=None)
    for content in later:
        message = Message(id=before.state.last_message + 1, role="user", content=content, created_at=AT)
        before.tree.add(Added(message, before.state.head, content_size(message)))
        before = replace(before, state=replace(before.state, head=message.id, last_message=message.id))
    return before


def next_turn(before: View) -> int:
    """About how many tokens the next turn would send, as /usage says."""
    tokens: int = reports.usage(before).data["context_tokens"]
    return tokens


def test_what_the_next_turn_would_send_is_estimated_where_nothing_was_counted() -> None:
    assert next_turn(view()) == 0
    # 41 characters, and the JSON around them, at four to a token.
    assert next_turn(said_and_counted(None)) == 2 * 12
    assert next_turn(said_and_counted(None, "z" * 400)) == 2 * 12 + 102
    assert next_turn(said_and_counted(None, system="s" * 44, personality="pirate")) == 2 * 12 + 446 // 4


def test_what_the_next_turn_would_send_is_what_was_counted_and_what_came_after() -> None:
    usage = Usage(input_tokens=100, output_tokens=50, cached_tokens=80, reasoning_tokens=20)
    # The input was counted with its system prompt, and what a model thought is not sent again.
    assert next_turn(said_and_counted(usage)) == 130
    assert next_turn(said_and_counted(usage, system="s" * 44)) == 130
    assert next_turn(said_and_counted(usage, "z" * 400)) == 130 + 102
    assert next_turn(said_and_counted(usage, PARTS)) == 130 + PART_TOKENS + len("What is this?") // 4


def test_what_the_next_turn_would_send_gets_less_when_a_turn_is_taken_back() -> None:
    before = said_and_counted(Usage(input_tokens=100, output_tokens=50))
    state, _ = advanced(before.state, before.tree, ops.undo(before))
    assert next_turn(replace(before, state=state)) == 0


def test_what_came_with_an_import_counts_in_all_and_on_screen_whatever_is_taken_back() -> None:
    created = Created(input_tokens=100, output_tokens=10, estimated_cost=0.5)
    before = view("one", "1", created=created)
    state, _ = advanced(before.state, before.tree, ops.clear(before))
    for shown in (before, replace(before, state=state)):
        data = reports.usage(shown).data
        for spent in (data, data["on_screen"]):
            assert (spent["input_tokens"], spent["output_tokens"], spent["total_tokens"]) == (100, 10, 110)
            assert spent["estimated_cost"] == 0.5


def test_replies_whose_price_nobody_knows_are_counted_and_an_unknown_cost_is_not_nothing() -> None:
    usage = Usage(input_tokens=1000, output_tokens=500)
    before = said_and_counted(usage)
    assert "cost about $1.95312\n" in (reports.usage(before).notice or "")
    for number, model in enumerate(("two", "two"), start=1):
        before = replace(before, run=replace(written("more", usage=usage, model=model), parent=before.state.head))
        state, _ = advanced(before.state, before.tree, ops.finish(before, "completed"))
        before = replace(before, state=state, run=None)
        data = reports.usage(before).data
        assert (data["unpriced"], data["estimated_cost"]) == (number, 2000 / 1024)
    assert "cost about $1.95312, and more whose price is unknown\n" in (reports.usage(before).notice or "")
    only = view("one", run=written("x", usage=usage, model="two"), offer=OFFER)
    state, _ = advanced(only.state, only.tree, ops.finish(only, "completed"))
    outcome = reports.usage(replace(only, state=state))
    assert (outcome.data["estimated_cost"], outcome.data["unpriced"]) == (None, 1)
    assert "cost unknown" in (outcome.notice or "")


def total(messages: list[Message]) -> Json:
    """What these messages took, added up by hand."""
    used = [message.usage or Usage() for message in messages]
    costs = [message.cost for message in messages if message.cost is not None]
    replies = [message for message in messages if message.usage is not None]
    tokens = {
        name: sum(getattr(usage, name) for usage in used)
        for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    }
    return {
        **tokens,
        "total_tokens": tokens["input_tokens"] + tokens["output_tokens"],
        "estimated_cost": pytest.approx(sum(costs)) if costs else None,
        "unpriced": len(replies) - len(costs),
        "estimated": any(usage.estimated for usage in used),
    }


@given(actions)
def test_all_that_replies_took_is_counted_once_and_what_is_on_screen_apart(chosen: list[Action]) -> None:
    history = lived(chosen)
    data = reports.usage(history._view(replies=True)).data
    every = [node.message for node in history.tree.nodes.values()]
    assert {name: data[name] for name in total(every)} == total(every)
    assert data["on_screen"] == total(path(history.tree[history.state.head]))


# Over real sockets.


@contextlib.asynccontextmanager
async def replying(data: Path, *pieces: str, **options: Any) -> AsyncIterator[tuple[Running, Offering, Client]]:
    """A server, its backend with the models `one` and `two`, and a client; with pieces, in mid-reply to "question",
    as far as these."""
    async with running(data, **options) as server:
        replies = Offering(server, "one", "two")
        async with client(server.ws()) as one:
            if pieces:
                replies.say(*pieces)
                await one.submit("question")
                await reaches(one, "".join(pieces))
            yield server, replies, one


async def reaches(one: Client, text: str, reasoning: str = "") -> None:
    """Waits until the live run has written this."""
    await one.until(lambda: one.view.run and (one.view.run["text"], one.view.run["reasoning"]) == (text, reasoning))


async def messages(one: Client, count: int) -> None:
    """Waits until the transcript has so many messages."""
    await one.until(lambda: len(one.view.messages) == count)


async def quiet(one: Client) -> None:
    """Waits until nothing is running."""
    await one.until(lambda: one.view.run is None)


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    db = sqlite3.connect(data / "backchat.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


async def same_for_everyone(server: Running, *attached: Client) -> None:
    """Checks that these clients, and one that comes now, see the same."""
    last = max(each.view.revision for each in attached)
    async with client(server.ws(attached[0].session_id)) as fresh:
        for each in attached:
            await each.at(last)
            assert each.view.facts() == fresh.view.facts()


async def test_reasoning_is_kept_apart_from_the_answer(tmp_path: Path) -> None:
    async with replying(tmp_path) as (server, replies, one):
        replies.reason("Hm 👩‍👩‍👧‍👦", ", well")
        replies.say("Yes 🙂")
        replies.reason("!")
        replies.say(", it is.")
        run_id = (await one.submit("question"))["run_id"]
        await reaches(one, "Yes 🙂, it is.", "Hm 👩‍👩‍👧‍👦, well!")
        assert "".join(piece["text"] for piece in one.named("run.reasoning")) == "Hm 👩‍👩‍👧‍👦, well!"
        assert "".join(piece["text"] for piece in one.named("run.delta")) == "Yes 🙂, it is."
        for pieces in (one.named("run.reasoning"), one.named("run.delta")):
            offset = 0
            for piece in pieces:
                assert (piece["run_id"], piece["offset"]) == (run_id, offset)
                offset += len(piece["text"])
        async with client(server.ws(one.session_id)) as late:
            assert late.attached["run"] == {
                "run_id": run_id,
                "text": "Yes 🙂, it is.",
                "offset": 13,
                "reasoning": "Hm 👩‍👩‍👧‍👦, well!",
            }
            replies.say(" Sure.")
            replies.end()
            await late.ended(run_id)
            await one.ended(run_id)
            assert late.view.facts() == one.view.facts()
        answer = one.view.messages[1]
        assert (answer["content"], answer["reasoning"]) == ("Yes 🙂, it is. Sure.", "Hm 👩‍👩‍👧‍👦, well!")
        await same_for_everyone(server, one)


async def test_a_run_without_reasoning_has_none(tmp_path: Path) -> None:
    async with replying(tmp_path, "half") as (server, replies, one), client(server.ws(one.session_id)) as late:
        run_id = one.named("run.started")[0]["run_id"]
        assert late.attached["run"] == {"run_id": run_id, "text": "half", "offset": 4}
        replies.end()
        await quiet(one)
        assert "reasoning" not in one.view.messages[1]


async def test_a_reply_that_is_stopped_while_the_model_still_thinks_keeps_the_thought(tmp_path: Path) -> None:
    async with replying(tmp_path) as (server, replies, one):
        replies.reason("Hm.")
        await one.submit("question")
        await reaches(one, "", "Hm.")
        assert (await one.submit("/stop"))["data"] == {"stopped": True}
        answer = one.view.messages[1]
        assert (answer["content"], answer["reasoning"], answer["finish"]) == ("", "Hm.", "stopped")
        await same_for_everyone(server, one)


async def test_a_reply_that_is_stopped_before_its_first_word_leaves_nothing(tmp_path: Path) -> None:
    async with replying(tmp_path) as (server, replies, one):
        run_id = (await one.submit("question"))["run_id"]
        await eventually(lambda: replies.prompts)
        assert (await one.submit("/stop"))["data"] == {"stopped": True}
        assert (await one.ended(run_id)) == {"run_id": run_id, "reason": "stopped"}
        assert one.view.texts == ["question"]
        assert rows(tmp_path, "SELECT role FROM message") == [("user",)]
        assert (await one.submit("/stop"))["data"] == {"stopped": False}
        await same_for_everyone(server, one)


async def test_what_the_provider_says_of_a_reply_is_on_the_message_and_in_the_totals(tmp_path: Path) -> None:
    async with replying(tmp_path) as (server, replies, one), client(server.ws(one.session_id)) as two:
        usage = Usage(input_tokens=100, output_tokens=20, cached_tokens=64, reasoning_tokens=8)
        replies.report(model="one")
        replies.say("answer")
        replies.report(usage=usage)
        replies.report(note="Cut off.")
        replies.report()
        replies.end()
        await one.say("question")
        answer = one.view.messages[1]
        assert answer["usage"] == {
            "input_tokens": 100, "output_tokens": 20, "cached_tokens": 64, "reasoning_tokens": 8,
        }  # fmt: skip
        assert (answer["model"], answer["cost"], answer["note"]) == ("one", 140 / 1024, "Cut off.")
        assert (answer["finish"], answer["content"]) == ("completed", "answer")
        replies.report(model="one-mini", usage=Usage(input_tokens=30, output_tokens=2))
        replies.say("more")
        replies.end()
        await one.say("and?")
        assert "cost" not in one.view.messages[3]
        totals = {
            "input_tokens": 130, "output_tokens": 22, "total_tokens": 152, "cached_tokens": 64, "reasoning_tokens": 8,
            "estimated_cost": 140 / 1024, "unpriced": 1, "estimated": False,
        }  # fmt: skip
        await two.at(one.view.revision)
        for each in (one, two):
            assert {name: each.view.session[name] for name in totals} == totals
            assert each.view.session["model"] == "one-mini"
        data = (await one.submit("/usage"))["data"]
        assert {name: data[name] for name in totals} == totals == data["on_screen"]
        assert (data["model"], data["context_tokens"]) == ("one-mini", 32)
        await same_for_everyone(server, one, two)
        session_id, facts = one.session_id, one.view.facts()
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        # Which model would reply next is up to the server.
        facts["session"]["next_model"] = None
        assert one.view.facts() == facts


async def test_undone_and_repeated_replies_stay_in_what_was_spent_but_are_not_on_screen(tmp_path: Path) -> None:
    async with replying(tmp_path) as (server, replies, one):
        for line, tokens in (("first", 1), ("second", 10), ("/retry", 100)):
            replies.say("answer")
            replies.report(usage=Usage(input_tokens=tokens))
            replies.end()
            await one.submit(line)
            await quiet(one)
        data = (await one.submit("/usage"))["data"]
        assert (data["input_tokens"], data["on_screen"]["input_tokens"]) == (111, 101)
        await one.submit("/undo")
        data = (await one.submit("/usage"))["data"]
        assert (data["input_tokens"], data["on_screen"]["input_tokens"]) == (111, 1)
        await one.submit("/clear")
        data = (await one.submit("/usage"))["data"]
        assert (data["input_tokens"], data["on_screen"]["input_tokens"]) == (111, 0)
        assert (data["estimated_cost"], data["on_screen"]["estimated_cost"]) == (111 / 1024, None)
        await same_for_everyone(server, one)


async def test_an_estimate_is_marked_everywhere(tmp_path: Path) -> None:
    async with replying(tmp_path, "half an answer") as (server, _, one):
        await one.submit("/stop")
        answer = one.view.messages[1]
        assert answer["usage"] == {"input_tokens": 4, "output_tokens": 4, "estimated": True}
        assert (answer["cost"], one.view.session["estimated"]) == (12 / 1024, True)
        result = await one.submit("/usage")
        assert result["data"]["estimated"] is result["data"]["on_screen"]["estimated"] is True
        assert result["notice"].startswith("In all: about 4 tokens in")
        await one.submit("/undo")
        assert (await one.submit("/usage"))["data"]["on_screen"]["estimated"] is False
        await same_for_everyone(server, one)


# Failures.


GONE = "The model is gone. /retry asks again."


@pytest.mark.parametrize("text", ["", "half"])
async def test_a_failure_is_an_answer_that_says_why(tmp_path: Path, text: str) -> None:
    async with replying(tmp_path) as (server, replies, one), client(server.ws(one.session_id)) as two:
        replies.say(*([text] if text else []))
        replies.fail(GONE)
        run_id = (await one.submit("question"))["run_id"]
        for each in (one, two):
            assert await each.ended(run_id) == {
                "run_id": run_id,
                "reason": "failed",
                "error": {"code": -32000, "message": GONE, "data": {"code": "backend_failed"}},
            }
            answer = each.view.messages[1]
            assert (answer["content"], answer["finish"], answer["note"]) == (text, "failed", GONE)
            assert ("usage" in answer) == bool(text), "a reply without a word took nothing"
        await same_for_everyone(server, one, two)


async def test_a_client_that_was_away_when_a_reply_failed_sees_why_when_it_comes_back(tmp_path: Path) -> None:
    async with replying(tmp_path, "half") as (server, replies, one):
        async with client(server.ws(one.session_id)) as left:
            stale = left.view
        replies.fail(GONE)
        await quiet(one)
        query = f"after={stale.revision}&log={stale.log}"
        async with client(server.ws(one.session_id, query), stale) as back:
            assert "events" in back.attached
            assert back.view.run is None
            assert (back.view.texts, back.view.messages[1]["note"]) == (["question", "half"], GONE)
            assert back.view.facts() == one.view.facts()


@pytest.mark.parametrize("text", ["", "half"])
async def test_a_retry_after_a_failure_sends_the_same_content_and_makes_a_sibling(tmp_path: Path, text: str) -> None:
    async with replying(tmp_path) as (server, replies, one):
        replies.say("first answer")
        replies.end()
        await one.say("first")
        replies.say(*([text] if text else []))
        replies.fail(GONE)
        await one.ended((await one.request("submit", content=PARTS))["run_id"])
        replies.say("a picture")
        replies.end()
        result = await one.submit("/retry", op_id="r")
        assert result["data"] == {"last_user_text": "What is this?", "removed_count": 2, "resent": True}
        await quiet(one)
        assert await one.submit("/retry", op_id="r") == {**result, "replayed": True}
        assert one.view.texts == ["first", "first answer", PARTS, "a picture"]
        assert replies.prompts[2] == replies.prompts[1]
        assert [message.content for message in replies.prompts[2].messages] == ["first", "first answer", PARTS]
        assert len(replies.prompts) == 3
        assert rows(tmp_path, "SELECT id, parent, finish FROM message WHERE role = 'assistant' ORDER BY id") == [
            (2, 1, "completed"), (4, 3, "failed"), (5, 3, "completed"),
        ]  # fmt: skip
        await same_for_everyone(server, one)


async def test_a_message_after_a_failure_goes_on_from_there(tmp_path: Path) -> None:
    async with replying(tmp_path) as (server, replies, one):
        replies.fail(GONE)
        await one.say("question")
        replies.say("answer")
        replies.end()
        await one.say("another question")
        assert one.view.texts == ["question", "", "another question", "answer"]
        await same_for_everyone(server, one)


async def test_an_empty_reply_is_a_failure(server: Running, subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, list[str]]] = [("", []), ("", [""]), ("", [" ", "\n\t"]), ("Hm.", []), ("Hm.", ["\n"])]
    for thought, pieces in cases:
        with subtests.test(thought=thought, pieces=pieces):
            replies = Scripted(server)
            replies.reason(thought)
            replies.say(*pieces)
            replies.end()
            async with client(server.ws()) as one:
                ended = await one.ended((await one.submit("question"))["run_id"])
                assert ended["reason"] == "failed"
                assert ended["error"]["message"].startswith("The model sent an empty reply. /retry asks again")
                answer = one.view.messages[1]
                assert (answer["finish"], answer["note"]) == ("failed", ended["error"]["message"])
                assert answer.get("reasoning", "") == thought
                await same_for_everyone(server, one)


async def test_an_empty_reply_of_which_the_provider_said_why_says_so(tmp_path: Path) -> None:
    async with replying(tmp_path) as (_, replies, one):
        replies.report(note="The model stopped at its limit.")
        replies.end()
        await one.say("question")
        assert one.view.messages[1]["note"].startswith("The model stopped at its limit. There was no answer")


@pytest.mark.parametrize("thinks", [False, True])
async def test_a_reply_longer_than_the_limit_is_cut_off_there(tmp_path: Path, thinks: bool) -> None:
    async with replying(tmp_path, reply_characters=6) as (server, replies, one):
        replies.reason("👩" if thinks else "")
        replies.say("1234", "567890")
        ended = await one.ended((await one.submit("question"))["run_id"])
        assert "longer than 6 characters" in ended["error"]["message"]
        assert "--reply-characters" in ended["error"]["message"]
        answer = one.view.messages[1]
        assert (answer["content"], answer["finish"]) == ("12345" if thinks else "123456", "failed")
        assert answer["note"] == ended["error"]["message"]
        await same_for_everyone(server, one)


async def test_a_reply_as_long_as_the_limit_is_whole(tmp_path: Path) -> None:
    async with replying(tmp_path, reply_characters=6) as (_, replies, one):
        replies.say("1234", "56")
        replies.end()
        await one.say("question")
        assert (one.view.texts[1], one.view.messages[1]["finish"]) == ("123456", "completed")


async def test_a_model_that_does_not_begin_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with replying(tmp_path, first_delta_seconds=0.02) as (_, replies, one):
        # Neither what is said about a reply nor an empty piece is its beginning.
        replies.report(model="one")
        replies.say("")
        ended = await one.ended((await one.submit("question"))["run_id"])
        assert ended["error"]["message"] == (
            "The model wrote nothing for 0.02 seconds. /retry asks again; a model that takes long to load needs a"
            " higher --first-delta-seconds."
        )
        assert one.view.messages[1]["note"] == ended["error"]["message"]


@pytest.mark.parametrize("thinks", [False, True])
async def test_a_model_that_stalls_is_not_waited_for_for_ever(tmp_path: Path, thinks: bool) -> None:
    async with replying(tmp_path, delta_seconds=0.02) as (_, replies, one):
        (replies.reason if thinks else replies.say)("half")
        ended = await one.ended((await one.submit("question"))["run_id"])
        assert ended["error"]["message"] == (
            "The model wrote nothing more for 0.02 seconds. /retry asks again; a slow model needs a higher"
            " --delta-seconds."
        )
        answer = one.view.messages[1]
        assert answer["reasoning" if thinks else "content"] == "half"
        assert (answer["finish"], answer["note"]) == ("failed", ended["error"]["message"])
        replies.say("whole")
        replies.end()
        await one.submit("/retry")
        await quiet(one)
        assert one.view.texts == ["question", "whole"]


class Faulty(Scripted):
    """A backend with a defect, after its first word."""

    def __init__(self, server: Running, defect: Exception) -> None:
        super().__init__(server)
        self.defect = defect

    async def reply(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """See `Backend.reply`."""
        yield Delta("half")
        raise self.defect


async def test_a_defect_in_a_backend_ends_its_run_and_goes_to_the_log(
    server: Running, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for defect in (ValueError("boom"), TimeoutError(), KeyError("x"), RuntimeError()):
        with subtests.test(repr(defect)):
            Faulty(server, defect)
            caplog.clear()
            async with client(server.ws()) as one:
                with caplog.at_level(logging.ERROR, "backchat.runs"):
                    ended = await one.ended((await one.submit("question"))["run_id"])
                assert ended["reason"] == "failed"
                assert "a way that nobody expected" in ended["error"]["message"]
                assert repr(defect) not in ended["error"]["message"]
                assert (one.view.texts[1], one.view.messages[1]["finish"]) == ("half", "failed")
                (record,) = caplog.records
                assert record.exc_info is not None
                assert record.exc_info[1] is defect
                assert (await one.submit("/undo"))["data"]["removed_count"] == 2


class Stubborn(Scripted):
    """A backend that does not end when it is stopped, but once it is told to (`give_up`)."""

    def __init__(self, server: Running) -> None:
        super().__init__(server)
        self.give_up = asyncio.Event()
        self.ended = asyncio.Event()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """See `Backend.reply`."""
        yield Delta("half")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self.give_up.wait()
            yield Delta(" and more")
            self.ended.set()


async def test_a_reply_that_goes_on_after_it_was_stopped_counts_for_nothing_and_disturbs_nothing(
    server: Running,
) -> None:
    replies = Stubborn(server)
    async with client(server.ws()) as one:
        await one.submit("question")
        await reaches(one, "half")
        await one.submit("/stop")
        run_id = (await one.submit("another"))["run_id"]
        await reaches(one, "half")
        revision = one.view.revision
        replies.give_up.set()
        await replies.ended.wait()
        assert (await one.submit("/status"))["revision"] == revision
        assert one.view.texts == ["question", "half", "another"]
        assert one.view.run == {"run_id": run_id, "text": "half", "reasoning": ""}
        await same_for_everyone(server, one)


# Commands in the middle of a reply.


SPLICE, UPDATE, ENDED, STARTED = "transcript.spliced", "session.updated", "run.ended", "run.started"


IN_MID_REPLY: list[tuple[str, list[str], list[str]]] = [
    ("/stop", [SPLICE, UPDATE, ENDED], ["before", "answer", "question", "half"]),
    ("/undo", [SPLICE, UPDATE, ENDED, SPLICE, UPDATE], ["before", "answer"]),
    ("/undo 2", [SPLICE, UPDATE, ENDED, SPLICE, UPDATE], []),
    ("/retry", [SPLICE, UPDATE, ENDED, SPLICE, UPDATE, STARTED], ["before", "answer", "question"]),
    ("/clear", [SPLICE, UPDATE, ENDED, SPLICE, UPDATE], []),
]


async def test_a_command_in_mid_reply_is_one_step_for_every_client(server: Running, subtests: pytest.Subtests) -> None:
    for line, frames, left in IN_MID_REPLY:
        with subtests.test(line):
            replies = Scripted(server)
            async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
                await _one_step(server, replies, one, two, line, frames)
                assert one.view.texts == left


async def _one_step(server: Running, replies: Scripted, one: Client, two: Client, line: str, frames: list[str]) -> None:
    replies.say("answer")
    replies.end()
    await one.say("before")
    replies.reason("Hm.")
    replies.say("half")
    await one.submit("question")
    for each in (one, two):
        await reaches(each, "half", "Hm.")
    marks = [len(each.seen) for each in (one, two)]
    result = await one.submit(line)
    await two.at(result["revision"])
    await two.until(lambda: len(two.seen) == marks[1] + len(frames))
    # The reply to who asked comes last, and nothing in between.
    assert [frame.get("method", "reply") for frame in one.seen[marks[0] :]] == [*frames, "reply"]
    assert one.seen[marks[0] : -1] == two.seen[marks[1] :]
    partial = one.seen[marks[0]]["params"]["messages"][0]
    assert (partial["content"], partial["reasoning"], partial["finish"]) == ("half", "Hm.", "stopped")
    assert one.seen[marks[0] + 2]["params"]["reason"] == "stopped"
    assert one.view.facts() == two.view.facts()
    stored = f"SELECT content, finish FROM message WHERE id = 4 AND session_id = '{one.session_id}'"
    assert rows(server.settings.data, stored) == [('"half"', "stopped")]
    await same_for_everyone(server, one, two)


@pytest.mark.parametrize("text", ["", "half"])
async def test_a_stop_that_is_sent_again_does_not_stop_the_next_reply(tmp_path: Path, text: str) -> None:
    async with replying(tmp_path) as (_, replies, one):
        replies.say(*([text] if text else []))
        await one.submit("question")
        await reaches(one, text)
        first = await one.submit("/stop", op_id="s")
        replies.say("more")
        await one.submit("another")
        await reaches(one, "more")
        assert await one.submit("/stop", op_id="s") == {**first, "replayed": True}
        assert one.view.run is not None


async def test_two_clients_that_stop_the_same_reply_stop_it_once(tmp_path: Path) -> None:
    async with replying(tmp_path, "half") as (server, _, one), client(server.ws(one.session_id)) as two:
        ends = await asyncio.gather(one.submit("/stop"), two.submit("/stop"))
        assert sorted(end["data"]["stopped"] for end in ends) == [False, True]
        await one.at(ends[0]["revision"])
        assert one.view.texts == ["question", "half"]
        await same_for_everyone(server, one, two)


# When the server ends in mid-reply.


async def test_a_reply_that_a_restart_cuts_short_is_kept_with_what_the_model_thought(tmp_path: Path) -> None:
    async with replying(tmp_path) as (_, replies, one):
        replies.reason("Hm.")
        replies.say("half")
        await one.submit("question")
        await reaches(one, "half", "Hm.")
        session_id = one.session_id
    async with running(tmp_path) as server, client(server.ws(session_id)) as one:
        answer = one.view.messages[1]
        assert (answer["content"], answer["reasoning"], answer["finish"]) == ("half", "Hm.", "interrupted")
        assert answer["model"] == "one"
        assert one.view.run is None


async def test_a_reply_that_a_crash_cuts_short_is_kept_as_it_was_saved_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    # By session: the run, the model, what it thought, and what it had written.
    written: dict[str, tuple[str, str, str, str]] = {}
    async with running(tmp_path / "one") as server:
        for thought, text in (("", ""), ("Hm.", ""), ("Hm.", "half"), ("", "half")):
            replies = Offering(server, "one")
            model = "one-mini" if thought or text else "one"
            replies.report(model=model)
            replies.reason(*([thought] if thought else []))
            replies.say(*([text] if text else []))
            async with client(server.ws()) as one:
                run_id = (await one.submit("question"))["run_id"]
                await reaches(one, text, thought)
                written[one.session_id] = (run_id, model, thought, text)
        saved = sorted((session_id, *run) for session_id, run in written.items())
        query = "SELECT session_id, run_id, model, reasoning, text FROM checkpoint ORDER BY 1"
        await eventually(lambda: rows(tmp_path / "one", query) == saved)
        # The disk as a crash would leave it.
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    async with running(tmp_path / "two") as server:
        for session_id, (run_id, model, thought, text) in written.items():
            replies = Offering(server, "one")
            with subtests.test(thought=thought, text=text):
                async with client(server.ws(session_id)) as one:
                    await messages(one, 2)
                    answer = one.view.messages[1]
                    assert (answer["content"], answer.get("reasoning", "")) == (text, thought)
                    assert (answer["finish"], answer["model"], answer["run_id"]) == ("interrupted", model, run_id)
                    assert ("usage" in answer) == bool(text or thought)
                    assert ("note" in answer) == (not text), "an answer that is none says why"
                    await quiet(one)
                    assert replies.prompts == []
                    replies.say("whole")
                    replies.end()
                    await one.submit("/retry")
                    await quiet(one)
                    assert one.view.texts == ["question", "whole"]
                    await same_for_everyone(server, one)
        assert rows(tmp_path / "two", "SELECT * FROM checkpoint") == []


async def test_no_checkpoint_outlives_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    async with replying(tmp_path, "half") as (_, replies, one):
        saved = "SELECT text FROM checkpoint"
        for end in ("complete", "/stop", "fail", "/undo"):
            await eventually(lambda: rows(tmp_path, saved) == [("half",)])
            match end:
                case "complete":
                    replies.end()
                case "fail":
                    replies.fail(GONE)
                case _:
                    await one.submit(end)
            await quiet(one)
            assert rows(tmp_path, saved) == []
            replies.say("half")
            await one.submit("another")
            await reaches(one, "half")


async def test_a_reply_that_is_whole_does_not_wait_long_for_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "REPORT_SECONDS", 0.01)
    async with running(tmp_path) as server, client(server.ws()) as one:
        replies = Scripted(server)
        run_id = (await one.submit("hello"))["run_id"]
        replies.say("all of it")
        replies.report(whole=True)
        assert (await one.ended(run_id))["reason"] == "completed"
        assert one.view.texts == ["hello", "all of it"]
