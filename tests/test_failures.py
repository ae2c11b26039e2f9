"""Failures are answers: what a person is told when a model server fails, end to end.

A real server, the real client library, a model server that fails in every way it can, and a client on a socket.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from backchat.runs import Bounds
from backchat.store.sqlite import Database
from backchat.transcript import Message
from tests.support.client import Client, Json, client
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
    held,
    model_server,
    page,
    raw,
    reset,
    status,
    think,
    wait,
)
from tests.support.server import Running, running

SAID = "Half an answer"
QUESTION = "What is the time?"

OTHER_KEY = "another key (--api-key-file or OPENAI_API_KEY) and start Backchat again."
NO_CHUNK = (
    "The model server sent something that is no part of a chat completion. /retry asks again; if it goes on, check"
    " that --base-url is an OpenAI-compatible endpoint."
)
EMPTY = "The model sent an empty reply. /retry asks again, /model chooses another model."
NO_REPLY = "{url} answered without a reply. Check --base-url: it usually ends in /v1."
TORN = "The model server broke off before the reply was finished. /retry asks again."
BROKEN = "The connection to the model server broke in the middle of the reply. /retry asks again."
BROKEN_BEFORE = "The connection to the model server broke before an answer came. /retry asks again."
STALLED = (
    "The model wrote nothing for 0.05 seconds. /retry asks again; a model that takes long to load needs a higher"
    " --first-delta-seconds."
)
PAUSED = (
    "The model wrote nothing more for 0.05 seconds. /retry asks again; a slow model needs a higher --delta-seconds."
)


SOON = {"retry_after": "0.001"}


class Failure(Struct, frozen=True):
    """How the model server answers, and what a person reads then: `{url}` stands for its base URL.

    `begun`: it has said SAID, and a client has seen that, before `steps`. `text` is what is kept of it all.
    """

    steps: list[Step]
    sentence: str
    begun: bool = False
    text: str = ""
    reasoning: str | None = None
    settings: dict[str, Any] = {}


def begun(sentence: str, *steps: Step, text: str = SAID, **settings: float) -> Failure:
    """A failure in the middle of the reply."""
    return Failure(list(steps), sentence, begun=True, text=text, settings=settings)


FAILURES: dict[str, Failure] = {
    # Before the reply.
    "no key": Failure(
        [status(401, "Incorrect key sk-12…89.")],
        "The model server wants an API key. Set --api-key-file or OPENAI_API_KEY and start Backchat again.",
    ),
    "a wrong key": Failure(
        [status(401, "Incorrect key sk-12…89.")],
        f"The model server did not accept the API key. Set {OTHER_KEY}",
        settings={"api_key": "sk-123456789"},
    ),
    "no credit": Failure(
        [status(429, "Check your plan.", code="insufficient_quota")],
        f"The account behind the API key has no credit left (“Check your plan.”). Add some, or set {OTHER_KEY}",
    ),
    "no such model": Failure(
        [status(404, 'model "one" not found, try pulling it first')],
        'The model server does not have the model one (“model "one" not found, try pulling it first”).'
        " Choose another with /model.",
    ),
    "a wrong address": Failure(
        [answer(404, "404 page not found")],
        "There is no chat endpoint at {url} (“404 page not found”). Check --base-url: it usually ends in /v1.",
    ),
    "too many requests": Failure(
        [status(429, "Limit is 3 a minute.", retry_after="7")],
        "The model server was asked too often (“Limit is 3 a minute.”). Wait 7 seconds, then /retry.",
    ),
    "too many requests, for who knows how long": Failure(
        [status(429)], "The model server was asked too often. Wait a little, then /retry."
    ),
    "too long a transcript": Failure(
        [status(400, "12 tokens are too many.", code="context_length_exceeded")],
        "The transcript is more than the model takes (“12 tokens are too many.”). Take messages back with /undo, begin"
        " anew with /new, or choose another model with /model.",
    ),
    "a fault of the server": Failure(
        [status(500, "The server had\n an\tunexpected \x07 error")],
        "The model server failed with status 500 (“The server had an unexpected error”). Wait a little, then /retry.",
    ),
    "a gateway's page": Failure(
        [page(number=502)], "The model server failed with status 502. Wait a little, then /retry."
    ),
    "a model that is being loaded": Failure(
        [status(503, "Loading model", retry_after="200")],
        "The model server failed with status 503 (“Loading model”). Wait 4 minutes, then /retry.",
    ),
    "a web page": Failure([page()], "{url} answered with a web page. Check --base-url: it usually ends in /v1."),
    "no stream": Failure(
        [answer(200, {"id": 5})],
        "{url} answered all at once. Backchat needs an endpoint that streams its replies.",
    ),
    "nothing at all": Failure([end], NO_REPLY),
    "too many requests for a long time": Failure(
        [status(429, "Come back tomorrow.", retry_after="40000")],
        "The model server was asked too often (“Come back tomorrow.”). Wait 12 hours, then /retry.",
        settings={"retries": 2},
    ),
    "a connection that breaks": Failure([cut], BROKEN_BEFORE),
    "a connection that is reset": Failure([reset], BROKEN_BEFORE),
    "an answer that never begins": Failure([held], STALLED, settings={"first_delta_seconds": 0.05}),
    "a stream that never says anything": Failure(
        [delta(content=""), comment("loading"), held], STALLED, settings={"first_delta_seconds": 0.05}
    ),
    # An empty reply.
    "an empty reply": Failure([finish()], EMPTY),
    "a blank reply": Failure([" \n", finish()], EMPTY, text=" \n"),
    "nothing within the limit": Failure(
        [think("Let me see. "), finish("length")],
        "The model stopped at its limit on the length of a reply. There was no answer: /retry asks again, /model"
        " chooses another model.",
        reasoning="Let me see. ",
    ),
    "reasoning and no reply": Failure([think("Let me see. "), finish()], EMPTY, reasoning="Let me see. "),
    # In the middle of the reply.
    "an error in the middle": begun(
        "The model server reported an error (“Overloaded.”). /retry asks again.", error("Overloaded.")
    ),
    "a break in the middle": begun(BROKEN, cut),
    "a reset in the middle": begun(BROKEN, reset),
    "an end without an end": begun(TORN, end),
    "an end that is an error": begun(TORN, finish("error")),
    "an end without a reason": begun(TORN, event("[DONE]"), end),
    "a stream that stalls": begun(PAUSED, held, delta_seconds=0.05),
    "a stream that keeps alive and stalls": begun(PAUSED, comment("still here"), held, delta_seconds=0.05),
    "a failure while it thinks": Failure(
        [think("Let me see. "), error("Overloaded.")],
        "The model server reported an error (“Overloaded.”). /retry asks again.",
        reasoning="Let me see. ",
    ),
    "a reply that is too long": begun(
        "The reply was longer than 20 characters and is cut off here. --reply-characters sets the limit.",
        " and more than that",
        text=f"{SAID} and m",
        reply_characters=20,
    ),
    # Malformed events.
    "an event that is no JSON": begun(NO_CHUNK, event("{oops")),
    "an event that is no text": begun(NO_CHUNK, raw(b"data: \xff\xfe\n\n")),
    "an event of the wrong type": begun(NO_CHUNK, event([])),
    "an event that is half a character": begun(NO_CHUNK, event('"\\ud83d"')),
    "content of the wrong type": begun(NO_CHUNK, event(chunk({"content": 5}))),
    "content with half a character": begun(
        "The backend sent half of a surrogate pair, which is no text. /retry asks again.", delta(content="\ud83d")
    ),
}


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    """A model server."""
    async with model_server() as models:
        yield models


@contextlib.asynccontextmanager
async def asking(data: Path, url: str, **settings: Any) -> AsyncIterator[Running]:
    """A server that asks the model server at `url`, and repeats no request unless told to."""
    options = {"backend": "openai", "base_url": url, "model": "one", "retries": 0} | settings
    async with running(data, **options) as server:
        yield server


def patient(server: Running) -> None:
    """From now on the server waits as long as it usually does."""
    runs = server.backchat._runs
    assert runs is not None
    runs._bounds = Bounds(first_delta_seconds=120, delta_seconds=60, characters=200_000)


async def failed(one: Client, models: ModelServer, failure: Failure, line: str = QUESTION) -> Json:
    """Sends a line, to which the model server answers with the failure. Returns the end of the run."""
    seen = asyncio.Event()
    models.script(*([SAID, wait(seen)] if failure.begun else []), *failure.steps, end)
    run_id = (await one.submit(line)).get("run_id") or one.named("run.started")[-1]["run_id"]
    if failure.begun:
        await one.until(lambda: one.view.run is None or one.view.run["text"] == SAID)
        seen.set()
    return await one.ended(run_id)


def check(ended: Json, message: Json, failure: Failure, url: str) -> None:
    """What a person is shown: the end of the run, and the message that stays."""
    sentence = failure.sentence.replace("{url}", url)
    assert ended["reason"] == "failed"
    assert (ended["error"]["message"], ended["error"]["data"]) == (sentence, {"code": "backend_failed"})
    told = {name: message.get(name) for name in ("role", "content", "reasoning", "finish", "note", "run_id")}
    assert told == {
        "role": "assistant",
        "content": failure.text,
        "reasoning": failure.reasoning,
        "finish": "failed",
        "note": sentence,
        "run_id": ended["run_id"],
    }


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failed_reply_says_why_keeps_its_text_and_can_be_asked_for_again(
    tmp_path: Path, models: ModelServer, name: str
) -> None:
    failure = FAILURES[name]
    async with (
        asking(tmp_path, models.url, **failure.settings) as server,
        client(server.ws()) as one,
        client(server.ws(one.session_id)) as two,
    ):
        ended = await failed(one, models, failure)
        assert len(one.view.messages) == 2
        check(ended, one.view.messages[1], failure, models.url)
        assert (await one.submit("/status"))["data"]["agent_running"] is False
        await two.at(one.view.revision)
        async with client(server.ws(one.session_id)) as fresh:
            assert one.view.facts() == two.view.facts() == fresh.view.facts()

        # Usable: what failed is asked for again, without what came of it the first time.
        patient(server)
        models.script("It is ", "noon.")
        result = await one.submit("/retry")
        assert result["data"] == {"last_user_text": QUESTION, "removed_count": 2, "resent": True}
        await one.until(lambda: one.view.run is None and len(one.view.messages) == 2)
        assert one.view.texts == [QUESTION, "It is noon."]
        assert one.view.messages[1]["finish"] == "completed"
        assert [body["messages"] for body in models.requests] == [[{"role": "user", "content": QUESTION}]] * 2
        await one.say("Thank you")
        assert one.view.texts == [QUESTION, "It is noon.", "Thank you", "Thank you"]
        session_id = one.session_id

    # A variant of it: nothing is destroyed.
    with Database(tmp_path) as database:
        replies = [kept.message for kept in database.load(session_id).tree.nodes.values() if kept.parent.id == 1]
    assert [(reply.finish, reply.content) for reply in replies] == [
        ("failed", failure.text),
        ("completed", "It is noon."),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "no key",
        "too many requests",
        "a web page",
        "an answer that never begins",
        "a blank reply",
        "reasoning and no reply",
        "an error in the middle",
        "a reset in the middle",
        "a stream that stalls",
        "an event that is no JSON",
    ],
)
async def test_a_failed_reply_is_the_same_after_a_restart(tmp_path: Path, models: ModelServer, name: str) -> None:
    failure = FAILURES[name]
    async with asking(tmp_path, models.url, **failure.settings) as server, client(server.ws()) as one:
        ended = await failed(one, models, failure)
        await one.submit("/status")
        session_id, facts = one.session_id, one.view.facts()
    async with asking(tmp_path, models.url) as server, client(server.ws(session_id)) as one:
        assert one.view.facts() == facts
        check(ended, one.view.messages[1], failure, models.url)
        assert len(models.requests) == 1, "nothing is asked for again by itself"
        models.script("It is noon.")
        await one.submit("/retry")
        await one.until(lambda: one.view.texts == [QUESTION, "It is noon."] and one.view.run is None)
        await one.submit("/undo")
        assert one.view.texts == []


@pytest.mark.parametrize("name", ["no such model", "an error in the middle", "a failure while it thinks"])
async def test_one_can_go_on_after_a_failure_without_asking_again(
    tmp_path: Path, models: ModelServer, name: str
) -> None:
    failure = FAILURES[name]
    async with asking(tmp_path, models.url) as server, client(server.ws()) as one:
        await failed(one, models, failure)
        await one.say("Never mind")
        kept = [{"role": "assistant", "content": SAID}] if failure.text else []
        assert models.requests[-1]["messages"] == [
            {"role": "user", "content": QUESTION},
            *kept,
            {"role": "user", "content": "Never mind"},
        ]
        assert one.view.texts == [QUESTION, failure.text, "Never mind", "Never mind"]


@pytest.mark.parametrize("name", ["no such model", "an error in the middle", "an empty reply"])
async def test_a_failure_while_asking_again_is_a_variant_too(tmp_path: Path, models: ModelServer, name: str) -> None:
    failure = FAILURES[name]
    async with asking(tmp_path, models.url) as server, client(server.ws()) as one:
        models.script("It is noon.")
        await one.say(QUESTION)
        ended = await failed(one, models, failure, "/retry")
        assert len(one.view.messages) == 2
        check(ended, one.view.messages[1], failure, models.url)
        await one.submit("/undo")
        assert one.view.texts == []


@pytest.mark.parametrize("name", ["too many requests", "an error in the middle"])
async def test_what_waits_is_not_sent_after_a_failure_before_a_person_says_so(
    tmp_path: Path, models: ModelServer, name: str
) -> None:
    failure = FAILURES[name]
    async with asking(tmp_path, models.url) as server, client(server.ws()) as one:
        models.hold()
        run_id = (await one.submit(QUESTION))["run_id"]
        exchange = await models.asked()
        queued = await one.submit("And the date?")
        assert "queued_id" in queued
        if failure.begun:
            await exchange.say(SAID)
        for step in failure.steps:
            assert not isinstance(step, str)
            await step(exchange)
        ended = await one.ended(run_id)
        check(ended, one.view.messages[1], failure, models.url)
        await one.submit("/status")
        assert one.view.session["queue"] == [{"id": queued["queued_id"], "preview": "And the date?"}]
        assert one.view.session["queue_paused"] is True
        await one.submit("/retry")
        await one.until(lambda: one.view.run is None and one.view.texts == [QUESTION, QUESTION])
        assert len(models.requests) == 2, "not after the retry either: it is paused"
        await one.submit("/queue go")
        await one.until(lambda: one.view.run is None and len(one.view.messages) == 4)
        assert one.view.texts == [QUESTION, QUESTION, "And the date?", "And the date?"]
        assert len(models.requests) == 3


# Refused: there is no model server yet.


async def test_a_refused_connection_is_told_and_asking_again_works_once_the_model_server_is_up(tmp_path: Path) -> None:
    # Taken, but nobody listens: whoever connects is refused, and the port is nobody else's.
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{port.getsockname()[1]}/v1"
        sentence = (
            f"Nothing answers at {url}: the connection was refused. Start the model server, or check --base-url,"
            " then /retry."
        )
        async with asking(tmp_path, url) as server, client(server.ws()) as one:
            session_id = one.session_id
            for line in (QUESTION, "/retry"):
                await one.submit(line)
                ended = await one.ended(one.named("run.started")[-1]["run_id"])
                assert len(one.view.messages) == 2
                check(ended, one.view.messages[1], Failure([], sentence), url)
        async with asking(tmp_path, url) as server, client(server.ws(session_id)) as one:
            assert one.view.messages[1]["note"] == sentence
            models = ModelServer()
            listening = await asyncio.start_server(models.accept, sock=port)
            try:
                await one.submit("/retry")
                await one.until(lambda: one.view.texts == [QUESTION, QUESTION] and one.view.run is None)
            finally:
                listening.close()
                await models.close()
                await listening.wait_closed()


# Repeating: before the first delta only, and never what nobody waits for any more.


@pytest.mark.parametrize("fault", [status(429, "Slow down.", **SOON), status(500, "Oops.", **SOON)])
async def test_what_fails_before_the_first_delta_is_repeated_and_nobody_is_told(
    tmp_path: Path, models: ModelServer, fault: Step
) -> None:
    models.script(fault)
    models.script(fault)
    models.script("It is noon.")
    async with asking(tmp_path, models.url, retries=2) as server, client(server.ws()) as one:
        await one.say(QUESTION)
        assert one.view.texts == [QUESTION, "It is noon."]
        assert [ended["reason"] for ended in one.named("run.ended")] == ["completed"]
        assert len(models.requests) == 3
        assert len({str(body) for body in models.requests}) == 1


async def test_what_goes_on_failing_is_repeated_no_more_often_than_told(tmp_path: Path, models: ModelServer) -> None:
    for _ in range(3):
        models.script(status(429, "Slow down.", **SOON))
    async with asking(tmp_path, models.url, retries=2) as server, client(server.ws()) as one:
        run_id = (await one.submit(QUESTION))["run_id"]
        ended = await one.ended(run_id)
        sentence = "The model server was asked too often (“Slow down.”). Wait 1 second, then /retry."
        check(ended, one.view.messages[1], Failure([], sentence), models.url)
        assert len(models.requests) == 3
        await one.submit("/retry")
        await one.until(lambda: one.view.texts == [QUESTION, QUESTION])
        assert len(models.requests) == 4


@pytest.mark.parametrize(
    "name",
    ["an error in the middle", "a break in the middle", "a stream that stalls", "an event that is no JSON"],
)
async def test_what_fails_after_the_first_delta_is_not_repeated(tmp_path: Path, models: ModelServer, name: str) -> None:
    failure = FAILURES[name]
    async with asking(tmp_path, models.url, retries=2, **failure.settings) as server, client(server.ws()) as one:
        ended = await failed(one, models, failure)
        check(ended, one.view.messages[1], failure, models.url)
        patient(server)
        await one.say("Go on")
        assert [body["messages"][-1]["content"] for body in models.requests] == [QUESTION, "Go on"]


async def test_a_stop_while_a_repetition_is_due_ends_it_for_good(tmp_path: Path, models: ModelServer) -> None:
    models.script(status(429, "Slow down.", retry_after="9"))
    async with asking(tmp_path, models.url, retries=2) as server, client(server.ws()) as one:
        run_id = (await one.submit(QUESTION))["run_id"]
        await models.until(lambda: models.exchanges and models.exchanges[0].over.is_set())
        await one.submit("/stop")
        assert (await one.ended(run_id))["reason"] == "stopped"
        await one.say("Something else")
        assert one.view.texts == [QUESTION, "Something else", "Something else"]
        assert [body["messages"][-1]["content"] for body in models.requests] == [QUESTION, "Something else"]


async def test_the_time_limit_for_the_first_delta_includes_the_repetitions(tmp_path: Path, models: ModelServer) -> None:
    models.script(status(429, "Slow down.", retry_after="9"))
    settings = {"retries": 2, "first_delta_seconds": 0.05}
    async with asking(tmp_path, models.url, **settings) as server, client(server.ws()) as one:
        ended = await one.ended((await one.submit(QUESTION))["run_id"])
        check(ended, one.view.messages[1], Failure([], STALLED), models.url)
        assert len(models.requests) == 1


@pytest.mark.parametrize("name", ["an answer that never begins", "a stream that stalls"])
async def test_a_model_that_stalls_is_let_go_of(tmp_path: Path, models: ModelServer, name: str) -> None:
    failure = FAILURES[name]
    async with asking(tmp_path, models.url, **failure.settings) as server, client(server.ws()) as one:
        await failed(one, models, failure)
        await models.until(lambda: models.closed == 1)


# What is kept.


async def test_a_failed_reply_counts_as_what_it_took(tmp_path: Path, models: ModelServer) -> None:
    async with asking(tmp_path, models.url) as server, client(server.ws()) as one:
        await failed(one, models, FAILURES["no such model"])
        assert (await one.submit("/usage"))["data"]["total_tokens"] == 0, "a request that was refused costs nothing"
        await one.submit("/undo")
        await failed(one, models, FAILURES["an error in the middle"])
        usage = (await one.submit("/usage"))["data"]
        assert usage["output_tokens"] > 0
        assert usage["estimated"] is True, "nobody counted"
        assert usage["estimated_cost"] is None


async def test_the_store_has_what_a_person_was_shown(tmp_path: Path, models: ModelServer) -> None:
    async with asking(tmp_path, models.url) as server, client(server.ws()) as one:
        await failed(one, models, FAILURES["an error in the middle"])
        shown, session_id = one.view.messages, one.session_id
    with Database(tmp_path) as database:
        loaded = database.load(session_id)
    message: Message = loaded.tree[loaded.history[-1].after.head].message
    assert (message.content, message.note, message.finish) == (SAID, shown[1]["note"], "failed")
    assert loaded.checkpoint is None
