"""What stands below the composer: who replies, and what that took."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.browser.chromium import NETWORK, Person, Tab, person
from tests.browser.setting import SAILING, Given, Serve, session
from tests.browser.test_looks import FINGER, PHONE, WIDE, fits, readable
from tests.browser.wire import wired
from tests.support.client import eventually
from tests.support.model_server import ModelServer, finish, model_server, usage
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

MANY = [f"vendor/model-{number:03}" for number in range(200)]


class Choice(NamedTuple):
    """A server, and the models that it has."""

    server: Running
    models: ModelServer


@pytest_asyncio.fixture(loop_scope="package")
async def choice(serve: Serve, given: Given, tmp_path: Path) -> AsyncIterator[Choice]:
    """A server with more models than are listed at once, two prompts, and a session of an import."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for name in ("Old skipper", "Opera critic"):
        (prompts / f"{name}.md").write_text(f"You are an {name.lower()}.")
    given(SAILING)
    async with model_server() as models:
        models.models = ["gemma3:12b", *MANY, "zephyr"]
        server = await serve(backend="openai", base_url=models.url, model="gemma3:12b", prompts=prompts)
        await eventually(lambda: server.backchat._offer.models)
        yield Choice(server, models)


def button(tab: Tab, name: str) -> Locator:
    """The button that says what is chosen, or what was spent."""
    return tab.page.get_by_role("button", name=f"{name}:")


def later(tab: Tab, name: str) -> Locator:
    """What is said of a choice while a reply is being written."""
    return tab.page.get_by_role("dialog", name=name).get_by_text("a choice counts from the next one on")


async def listed(tab: Tab, *values: str, chosen: str) -> None:
    """Waits until these are listed to choose from, and nothing else, with one of them marked."""
    await expect(tab.options.locator("bdi")).to_have_text(values)
    await expect(tab.options.filter(has_text="✓").locator("bdi")).to_have_text([chosen] if chosen in values else [])


async def test_the_model_is_chosen_from_a_list_that_typing_narrows_and_every_tab_shows_it(
    choice: Choice, user: Person
) -> None:
    tab, other = [await user.opens(choice.server.http) for _ in range(2)]
    await tab.connected()
    model = button(tab, "Model")
    # What an import names replies no more.
    await expect(model).to_have_text("Model: gemma3:12bserver’s choice")
    await model.focus()
    await tab.press("Enter")
    field = tab.page.get_by_role("combobox", name="Model")
    await expect(field).to_be_focused()
    await expect(model).to_have_attribute("aria-expanded", "true")
    await expect(tab.options.first).to_contain_text("Server’s choice")
    await expect(tab.chosen).to_have_text("Server’s choicechosen✓")
    await expect(tab.page.get_by_text("There are more. Type to find them.")).to_be_visible()
    await expect(later(tab, "Model")).to_be_hidden()
    await tab.press("Escape")
    await expect(model).to_be_focused()
    await expect(tab.palette).to_be_hidden()

    await tab.press("Enter")
    await tab.type("zeph")
    await listed(tab, "zephyr", "Use “zeph”", chosen="")
    await tab.press("ArrowDown", "ArrowUp")
    await expect(tab.chosen).to_have_text("zephyr")
    await expect(field).to_have_attribute("aria-activedescendant", str(await tab.chosen.get_attribute("id")))
    await tab.press("Enter")
    await expect(tab.notice).to_contain_text("Model: zephyr, from the next reply on.")
    await expect(model).to_be_focused()
    for each in (tab, other):
        await expect(button(each, "Model")).to_have_text("Model: zephyr")
    await expect(other.notice).to_contain_text("You, in another tab, chose who replies next.")

    # Enter means what is typed, however late its list comes; and what is not listed can be chosen too.
    await tab.press("Enter")
    await tab.type("vendor/model-199")
    await tab.press("Enter")
    await expect(model).to_have_text("Model: vendor/model-199")
    await model.click()
    await tab.type("mine")
    await tab.options.filter(has_text="Use “mine”").click()
    await expect(model).to_have_text("Model: mine")
    await model.click()
    await tab.options.filter(has_text="Server’s choice").click()
    await expect(model).to_have_text("Model: gemma3:12bserver’s choice")


async def test_the_personality_is_chosen_while_a_reply_is_written_and_counts_from_the_next(
    choice: Choice, user: Person
) -> None:
    tab = await user.opens(choice.server.http)
    await tab.connected()
    personality = button(tab, "Personality")
    await expect(personality).to_have_text("Personality: skipper")
    choice.models.hold()
    await tab.submit("Ahoy")
    await expect(tab.stop).to_be_visible()
    await personality.click()
    await listed(tab, "No personality", "Old skipper", "Opera critic", chosen="")
    await expect(later(tab, "Personality")).to_be_visible()
    await tab.type("critic")
    await listed(tab, "Opera critic", chosen="")
    await tab.type("?")
    await expect(tab.page.get_by_text("There is nothing that fits.")).to_be_visible()
    await tab.press("Enter", "Backspace", "Enter")
    await expect(personality).to_have_text("Personality: Opera critic")
    await expect(tab.stop).to_be_visible()
    # A press outside puts the list away, and leaves things as they are.
    await personality.click()
    await listed(tab, "No personality", "Old skipper", "Opera critic", chosen="Opera critic")
    await tab.title.click()
    await expect(tab.palette).to_be_hidden()
    await personality.click()
    await tab.options.filter(has_text="No personality").click()
    await expect(personality).to_have_text("Personality: No personality")


async def test_a_model_chosen_before_there_is_a_session_makes_one_that_has_it(serve: Serve, user: Person) -> None:
    async with model_server() as models:
        models.models = ["one", "two"]
        server = await serve(backend="openai", base_url=models.url, model="one")
        await eventually(lambda: server.backchat._offer.models)
        tab = await user.opens(server.http)
        await button(tab, "Model").click()
        await listed(tab, "Server’s choice", "one", "two", chosen="Server’s choice")
        await tab.options.filter(has_text="two").click()
        await tab.connected()
        await expect(button(tab, "Model")).to_have_text("Model: two")
        await tab.submit("Hi")
        await tab.shows("Hi", "Hi")
        assert [exchange.body["model"] for exchange in models.exchanges if exchange.body] == ["two"]


async def test_tokens_and_cost_are_shown_as_far_as_they_are_known(serve: Serve, given: Given, user: Person) -> None:
    fields: dict[str, dict[str, Any]] = {
        "free": {},
        "small": {"input_tokens": 1, "output_tokens": 0},
        "dear": {"input_tokens": 12_000, "output_tokens": 340, "estimated_cost": 12.5},
    }
    given(SAILING, *(session(name, "a", "b", title=name, **spent) for name, spent in fields.items()))
    async with model_server() as models:
        server = await serve(backend="openai", base_url=models.url, model="m")
        tab = await user.opens(server.http, "/s/5a111ab0a7e0")
        spent = button(tab, "Tokens and cost")
        await expect(spent).to_have_text("Tokens and cost: 2,236 tokens$0.0023")
        for name, said in (("small", "1 tokencost unknown"), ("dear", "12,340 tokens$12.50")):
            await tab.links.filter(has_text=name).click()
            await expect(spent).to_have_text(f"Tokens and cost: {said}")
        await tab.links.filter(has_text="free").click()
        await tab.connected()
        await expect(spent).to_be_hidden()
        models.script("Hello.", finish(usage=usage(1630, 210)))
        await tab.submit("Hi")
        await expect(spent).to_have_text("Tokens and cost: 1,840 tokenscost unknown")
        await tab.submit("/undo")
        await expect(tab.composer).to_have_value("Hi")
        await spent.click()
        dialog = tab.page.get_by_role("dialog", name="Tokens and cost")
        figures = ("1,630 tokens", "210 tokens", "cost unknown", "nothing")
        await expect(dialog.get_by_role("definition")).to_have_text([*figures, "about 4 tokens and what you write"])
        await tab.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(spent).to_be_focused()


async def test_without_a_connection_nothing_can_be_chosen_and_the_figures_stay(choice: Choice, user: Person) -> None:
    user.expected = NETWORK
    async with wired(choice.server) as wire:
        tab = await user.opens(wire.http)
        await tab.connected()
        wire.cut()
        await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
        await button(tab, "Model").click()
        await expect(tab.page.get_by_text("Not connected: nothing can be chosen now.")).to_be_visible()
        await expect(tab.options).to_have_count(0)
        await tab.press("Enter", "Escape")
        await button(tab, "Tokens and cost").click()
        await expect(tab.page.get_by_role("definition").first).to_have_text("1,834 tokens")


async def test_all_of_it_fits_and_can_be_read_and_a_thumb_reaches_it(
    choice: Choice, given: Given, browser: Browser
) -> None:
    given(session("wide", "a", "b", model=WIDE, personality=WIDE, input_tokens=10**9, output_tokens=10**9))
    choice.models.models = [WIDE, *MANY]
    async with person(browser, viewport=PHONE, has_touch=True, is_mobile=True) as user:
        tab = await user.opens(choice.server.http, "/s/wide")
        await tab.submit(f"/model {WIDE[:200]}")
        await expect(button(tab, "Model")).to_have_text(f"Model: {WIDE[:200]}")
        await fits(tab)
        for name in ("Model", "Personality", "Tokens and cost"):
            box = await button(tab, name).bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= FINGER + 8
            await button(tab, name).tap()
            await expect(tab.page.get_by_role("dialog", name=name)).to_be_in_viewport(ratio=1)
            await fits(tab)
        await button(tab, "Personality").tap()
        await tab.options.filter(has_text="Opera critic").tap()
        await expect(button(tab, "Personality")).to_have_text("Personality: Opera critic")
    async with person(browser) as user:
        tab = await user.opens(choice.server.http, "/s/wide")
        for name in ("Model", "Tokens and cost"):
            await button(tab, name).click()
            await expect(tab.page.get_by_role("dialog", name=name)).to_be_visible()
            await readable(tab)
