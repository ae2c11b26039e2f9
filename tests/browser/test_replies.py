"""What a person sees of a reply besides its text: the reasoning, how it ended, what it took."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Locator, WebSocketRoute, expect

from backchat.transcript import Usage
from tests.browser.chromium import Person, Tab
from tests.browser.setting import Serve
from tests.support.client import Json, client
from tests.support.model_server import ModelServer, finish, model_server, status, think, usage
from tests.support.offering import Offering
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

HOSTILE = "<b>bold</b><script>document.title='owned'</script>"
WAITING = "Waiting for the first word…"
FAILED = "The model server does not answer. Start it, then /retry."


def fold(article: Locator) -> tuple[Locator, Locator]:
    """The reasoning of a message or of a live reply: what one presses, and what that shows."""
    details = article.locator("details.reasoning")
    return details.locator("summary"), details.locator(".text")


async def asked(user: Person, server: Running, text: str = "Why?") -> Tab:
    """A tab in which a reply to this is about to be written."""
    tab = await user.opens(server.http)
    await tab.submit(text)
    await expect(tab.reply).to_have_count(1)
    return tab


# Reasoning.


async def test_a_live_reply_says_that_it_waits_then_that_the_model_thinks_then_what_it_writes(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await asked(user, server)
    waiting = tab.reply.get_by_text(WAITING)
    summary, reasoning = fold(tab.reply)
    await expect(waiting).to_be_visible()
    await expect(summary).to_be_hidden()
    scripted.reason("Well, ")
    await expect(summary).to_have_text("Thinking…")
    await expect(waiting).to_be_hidden()
    await expect(reasoning).to_be_hidden()
    scripted.reason("why not? 𝄞")
    await expect(reasoning).to_have_text("Well, why not? 𝄞")
    scripted.say("Because.")
    await expect(tab.reply.get_by_text("Because.")).to_be_visible()
    await expect(summary).to_have_text("Reasoning")
    await expect(reasoning).to_be_hidden()
    scripted.end()
    await tab.shows("Why?", "Because.")
    summary, reasoning = fold(tab.messages.last)
    await expect(summary).to_have_text("Reasoning")
    await expect(reasoning).to_be_hidden()
    await summary.click()
    await expect(reasoning).to_be_visible()
    await expect(reasoning).to_have_text("Well, why not? 𝄞")
    await expect(fold(tab.messages.first)[0]).to_have_count(0)


async def test_reasoning_that_one_has_unfolded_grows_in_place_and_stays_unfolded_to_the_end(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await asked(user, server)
    scripted.reason("one")
    summary, reasoning = fold(tab.reply)
    await summary.focus()
    await tab.press("Enter")
    await expect(reasoning).to_be_visible()
    await tab.reply.evaluate("(article) => { article.marked = article.querySelector('details').marked = true; }")
    for piece in (" two", " three"):
        scripted.reason(piece)
        await expect(reasoning).to_contain_text(piece)
        scripted.say(piece)
        await expect(tab.reply.locator(":scope > .text")).to_contain_text(piece)
        await expect(reasoning).to_be_visible()
        await expect(summary).to_be_focused()
    assert await tab.reply.evaluate("(article) => article.marked && article.querySelector('details').marked")
    scripted.end()
    await expect(tab.reply).to_have_count(0)
    summary, reasoning = fold(tab.messages.last)
    await expect(reasoning).to_be_visible()
    await expect(reasoning).to_have_text("one two three")
    await expect(summary).to_be_focused()


async def test_whoever_arrives_in_mid_reply_sees_the_reasoning_and_the_text_so_far(
    server: Running, user: Person, scripted: Scripted
) -> None:
    one = await asked(user, server)
    scripted.reason("Hm")
    await expect(fold(one.reply)[1]).to_have_text("Hm")
    two = await user.opens(server.http)
    await expect(fold(two.reply)[0]).to_have_text("Thinking…")
    scripted.say("So")
    await expect(one.reply).to_contain_text("So")
    three = await user.opens(server.http)
    await expect(fold(three.reply)[0]).to_have_text("Reasoning")
    scripted.reason(", yes")
    scripted.say(" it is.")
    for tab in (one, two, three):
        await expect(fold(tab.reply)[1]).to_have_text("Hm, yes")
        await expect(tab.reply.locator(":scope > .text")).to_have_text("So it is.")
    scripted.end()
    for tab in (one, two, three):
        await tab.shows("Why?", "So it is.")
        await expect(fold(tab.messages.last)[1]).to_have_text("Hm, yes")


async def test_a_reply_stopped_in_mid_thought_in_one_tab_is_stopped_in_both_and_keeps_the_thought(
    server: Running, user: Person, scripted: Scripted
) -> None:
    one = await asked(user, server)
    two = await user.opens(server.http)
    scripted.reason("On the one hand")
    for tab in (one, two):
        await expect(fold(tab.reply)[1]).to_have_text("On the one hand")
    await two.stop.click()
    for tab in (one, two):
        await tab.shows("Why?", "Stopped")
        await expect(tab.reply).to_have_count(0)
        await expect(fold(tab.messages.last)[1]).to_have_text("On the one hand")


# How it ended.


async def test_a_reply_that_fails_says_why_in_its_place_once_and_can_be_asked_for_again(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await asked(user, server)
    scripted.fail(FAILED)
    await tab.shows("Why?", f"The reply failed. {FAILED}")
    await expect(tab.messages.last.get_by_text(FAILED)).to_be_visible()
    await expect(tab.reply).to_have_count(0)
    await expect(tab.page.get_by_text(FAILED)).to_have_count(1)
    await expect(tab.alert).to_be_empty()
    await tab.page.reload()
    await tab.shows("Why?", f"The reply failed. {FAILED}")
    await expect(tab.page.get_by_text(FAILED)).to_have_count(1)
    await tab.submit("/retry")
    scripted.say("Because.")
    scripted.end()
    await tab.shows("Why?", "Because.")
    await expect(tab.page.get_by_text(FAILED)).to_have_count(0)


async def test_a_reply_that_fails_halfway_keeps_its_half_and_says_that_it_failed_there(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await asked(user, server)
    scripted.reason("Hm")
    scripted.say("Half of")
    await expect(tab.reply).to_contain_text("Half of")
    scripted.fail(FAILED)
    await tab.shows("Why?", "Half of")
    await expect(tab.messages.last).to_contain_text(f"The reply failed here. {FAILED}")
    await expect(fold(tab.messages.last)[1]).to_have_text("Hm")
    await expect(tab.alert).to_be_empty()


async def test_a_failure_that_no_message_tells_of_is_told_beside_the_composer(
    server: Running, user: Person, scripted: Scripted
) -> None:
    def between(page: WebSocketRoute) -> None:
        far = page.connect_to_server()

        def pass_on(frame: str | bytes) -> None:
            heard: Json = msgspec.json.decode(frame)
            if heard.get("method") != "transcript.spliced" or heard["params"]["messages"][-1]["role"] == "user":
                page.send(frame)

        far.on_message(pass_on)

    await user.context.route_web_socket("**/ws/*", between)
    tab = await asked(user, server)
    scripted.fail(FAILED)
    await expect(tab.alert).to_contain_text(FAILED)
    await tab.shows("Why?")


async def test_a_reply_that_was_cut_off_says_so_and_is_no_failure(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await asked(user, server)
    scripted.say("It was the best of")
    scripted.report(note="Cut off at the model's limit.")
    scripted.end()
    await tab.shows("Why?", "It was the best of")
    note = tab.messages.last.get_by_text("Cut off at the model's limit.")
    await expect(note).to_be_visible()
    await expect(tab.messages.last).not_to_contain_text("failed")


# What it took.


async def answered(tab: Tab, scripted: Scripted, **report: Any) -> Locator:
    """Another reply, of which the provider reports this."""
    before = await tab.messages.count()
    await tab.submit("Why?")
    scripted.say("Because.")
    scripted.report(**report)
    scripted.end()
    await expect(tab.messages).to_have_count(before + 2)
    return tab.messages.nth(before + 1)


async def test_a_reply_shows_its_model_its_tokens_and_its_cost_as_far_as_they_are_known(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    nobody = await answered(tab, scripted)
    await expect(nobody.locator(".facts")).to_have_count(0)
    priced = Offering(server, "qwen3:4b", "other")
    whole = await answered(tab, priced, usage=Usage(input_tokens=1204, output_tokens=310))
    await expect(whole.locator(".facts")).to_have_text("qwen3:4b · 1,204 in, 310 out · $1.78")
    unpriced = await answered(tab, priced, model="other", usage=Usage(5, 6, 3, 2))
    await expect(unpriced.locator(".facts")).to_have_text("other · 5 in (3 cached), 6 out (2 reasoning)")
    guessed = await answered(tab, priced)
    async with client(server.ws(tab.session_id)) as other:
        last = other.view.messages[-1]
    assert last["usage"]["estimated"]
    tokens = f"about {last['usage']['input_tokens']} in, {last['usage']['output_tokens']} out"
    await expect(guessed.locator(".facts")).to_have_text(f"qwen3:4b · {tokens} · about ${last['cost']:.3f}")
    await tab.page.reload()
    for article, said in ((whole, "$1.78"), (unpriced, "other"), (guessed, "about")):
        await expect(article.locator(".facts")).to_contain_text(said)


async def test_what_a_model_and_its_server_say_stays_text(server: Running, user: Person, scripted: Scripted) -> None:
    tab = await asked(user, server)
    scripted.reason(HOSTILE)
    await expect(fold(tab.reply)[1]).to_have_text(HOSTILE)
    scripted.say("x")
    scripted.report(model=HOSTILE)
    scripted.fail(HOSTILE)
    await tab.shows("Why?", HOSTILE)
    await expect(fold(tab.messages.last)[1]).to_have_text(HOSTILE)
    await expect(tab.messages.last.locator(".failure")).to_contain_text(HOSTILE)
    await expect(tab.messages.last.locator(".facts")).to_contain_text(HOSTILE)
    await expect(tab.log.locator("b, script")).to_have_count(0)


# The whole way, from a model server on.


@pytest_asyncio.fixture(loop_scope="package")
async def models() -> AsyncIterator[ModelServer]:
    async with model_server() as models:
        yield models


async def test_a_reply_of_a_real_endpoint_with_its_reasoning_its_tokens_and_its_failure(
    serve: Serve, models: ModelServer, user: Person
) -> None:
    server = await serve(backend="openai", base_url=models.url, model="test-model", retries=0)
    models.script(think("Because "), think("why?"), "Be", "cause.", finish("length", usage(1200, 34, reasoning=9)))
    models.script(status(500, "The engine is on fire."))
    tab = await user.opens(server.http)
    await tab.submit("Why?")
    await tab.shows("Why?", "Because.")
    await expect(fold(tab.messages.last)[1]).to_have_text("Because why?")
    await expect(tab.messages.last.locator(".mark")).to_be_visible()
    await expect(tab.messages.last.locator(".facts")).to_have_text("test-model · 1,200 in, 34 out (9 reasoning)")
    await expect(tab.page.get_by_text("No model is connected")).to_be_hidden()
    await expect(tab.page.locator("main > header")).to_contain_text("test-model")
    await tab.submit("Really?")
    await tab.shows("Why?", "Because.", "Really?", "The engine is on fire.")
    await expect(tab.messages.last).to_contain_text("The reply failed.")
