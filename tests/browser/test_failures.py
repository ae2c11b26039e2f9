"""Failures of a model server as a person sees them: a sentence that says what to do, what was written so far, and a
session that goes on."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Struct
from playwright.async_api import expect

from tests.browser.chromium import Person, Tab
from tests.browser.setting import Serve
from tests.support.client import client
from tests.support.model_server import (
    ModelServer,
    Step,
    end,
    error,
    finish,
    held,
    model_server,
    status,
    wait,
)
from tests.support.server import Running
from tests.test_failures import patient

pytestmark = pytest.mark.asyncio(loop_scope="package")

QUESTION = "What is the time?"
SAID = "Half an answer"


class Seen(Struct, frozen=True):
    """How the model server answers, and the sentence that is on the page then.

    `begun`: it has said SAID, and that is on the page, before `steps`.
    """

    steps: list[Step]
    sentence: str
    begun: bool = False
    settings: dict[str, Any] = {}


FAILURES: dict[str, Seen] = {
    "no key": Seen(
        [status(401, "Incorrect key.")],
        "The model server wants an API key. Set --api-key-file or OPENAI_API_KEY and start Backchat again.",
    ),
    "too many requests": Seen(
        [status(429, "Limit is 3 a minute.", retry_after="7")],
        "The model server was asked too often (“Limit is 3 a minute.”). Wait 7 seconds, then /retry.",
    ),
    "words with a page in them": Seen(
        [status(500, "Oops <b>bold</b><img src=x onerror=alert(1)>", retry_after="7")],
        "The model server failed with status 500 (“Oops <b>bold</b><img src=x onerror=alert(1)>”). Wait 7 seconds, then"
        " /retry.",
    ),
    "an empty reply": Seen(
        [finish()], "The model sent an empty reply. /retry asks again, /model chooses another model."
    ),
    "no word in time": Seen(
        [held],
        "The model wrote nothing for 0.05 seconds. /retry asks again; a model that takes long to load needs a higher"
        " --first-delta-seconds.",
        settings={"first_delta_seconds": 0.05},
    ),
    "an error in the middle": Seen(
        [error("Overloaded.")],
        "The model server reported an error (“Overloaded.”). /retry asks again.",
        begun=True,
    ),
    "a stream that stalls": Seen(
        [held],
        "The model wrote nothing more for 0.05 seconds. /retry asks again; a slow model needs a higher"
        " --delta-seconds.",
        begun=True,
        settings={"delta_seconds": 0.05},
    ),
}


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest_asyncio.fixture(loop_scope="package")
async def models() -> AsyncIterator[ModelServer]:
    """A model server."""
    async with model_server() as models:
        yield models


async def asking(serve: Serve, url: str, **settings: Any) -> Running:
    """A server that asks the model server at `url`, and repeats no request."""
    return await serve(backend="openai", base_url=url, model="test-model", retries=0, **settings)


async def shown(tab: Tab, sentence: str, text: str) -> None:
    """Waits until the page shows how the reply failed, and what is left of it."""
    ending = f"The reply failed{' here' if text else ''}. {sentence}"
    await tab.shows(QUESTION, ending)
    last = tab.messages.last
    await expect(last.get_by_text(ending)).to_be_visible()
    await expect(last.get_by_text(SAID, exact=True)).to_have_count(1 if text else 0)
    await expect(tab.messages.first).not_to_contain_text("failed")
    await expect(tab.reply).to_have_count(0)
    await expect(tab.stop).to_be_hidden()


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_seen_with_what_to_do_about_it_and_retry_works(
    serve: Serve, user: Person, models: ModelServer, name: str
) -> None:
    failure = FAILURES[name]
    text = SAID if failure.begun else ""
    server = await asking(serve, models.url, **failure.settings)
    seen = asyncio.Event()
    models.script(*([SAID, wait(seen)] if failure.begun else []), *failure.steps, end)
    tab = await user.opens(server.http)
    await tab.submit(QUESTION)
    await models.asked()
    if failure.begun and not failure.settings:
        await expect(tab.reply).to_contain_text(SAID)
    seen.set()
    await shown(tab, failure.sentence, text)
    # It stays where it happened: nothing more is said of it elsewhere, and the title is what it was.
    await expect(tab.alert).to_be_empty()
    await expect(tab.title).to_have_text(QUESTION)

    await tab.page.reload()
    await shown(tab, failure.sentence, text)
    other = await user.opens(server.http, f"/s/{tab.session_id}")
    await shown(other, failure.sentence, text)

    patient(server)
    models.hold()
    await tab.submit("/retry")
    exchange = await models.asked()
    for one in (tab, other):
        await one.shows(QUESTION)
        await expect(one.page.get_by_text("The reply failed")).to_have_count(0)
        await expect(one.stop).to_be_visible()
    await exchange.say("It is noon.")
    await exchange.finish()
    for one in (tab, other):
        await one.shows(QUESTION, "It is noon.")
        await expect(one.stop).to_be_hidden()
    async with client(server.ws(tab.session_id)) as third:
        assert third.view.texts == [QUESTION, "It is noon."]
    assert len(models.requests) == 2


async def test_a_model_server_that_is_not_there_is_seen_and_retry_works_once_it_is(serve: Serve, user: Person) -> None:
    # Taken, but nobody listens: whoever connects is refused.
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{port.getsockname()[1]}/v1"
        server = await asking(serve, url)
        tab = await user.opens(server.http)
        sentence = (
            f"Nothing answers at {url}: the connection was refused. Start the model server, or check --base-url,"
            " then /retry."
        )
        for line in (QUESTION, "/retry"):
            await tab.submit(line)
            await shown(tab, sentence, "")
        await expect(tab.composer).to_have_value("")
        models = ModelServer()
        listening = await asyncio.start_server(models.accept, sock=port)
        try:
            await tab.submit("/retry")
            await tab.shows(QUESTION, QUESTION)
            await expect(tab.page.get_by_text("The reply failed")).to_have_count(0)
            await tab.submit("And the date?")
            await tab.shows(QUESTION, QUESTION, "And the date?", "And the date?")
        finally:
            listening.close()
            await models.close()
            await listening.wait_closed()


async def test_what_waits_is_paused_by_a_failure_and_sent_when_one_says_so(
    serve: Serve, user: Person, models: ModelServer
) -> None:
    server = await asking(serve, models.url)
    models.hold()
    tab = await user.opens(server.http)
    await tab.submit(QUESTION)
    exchange = await models.asked()
    await exchange.say(SAID)
    await expect(tab.reply).to_contain_text(SAID)
    await tab.submit("And the date?")
    await expect(tab.waiting).to_have_count(1)
    await exchange.cut()
    await shown(tab, "The connection to the model server broke in the middle of the reply. /retry asks again.", SAID)
    await expect(tab.waiting).to_have_count(1)
    await tab.page.get_by_role("button", name="Send now").click()
    await expect(tab.waiting).to_have_count(0)
    await tab.shows(QUESTION, SAID, "And the date?", "And the date?")
    assert len(models.requests) == 2
