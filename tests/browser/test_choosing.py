"""Completing the values of arguments, and what a person chooses for a session: its model, personality and title; a new
one."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import WebSocketRoute, expect

from backchat.commands import TABLE
from tests.browser.chromium import NETWORK, Person, Tab, each
from tests.browser.setting import SAILING, Given, Serve
from tests.browser.wire import Wire
from tests.support.client import Json, eventually
from tests.support.model_server import model_server
from tests.support.scripted import Scripted
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

MODELS = ["gemma3:12b", "qwen3", "qwen3:4b", "qwen3:4b-instruct"]
SAID = [message["content"] for message in SAILING["messages"]]


@pytest_asyncio.fixture(loop_scope="package")
async def choice(serve: Serve, tmp_path: Path) -> AsyncIterator[Running]:
    """A server with models and personalities to choose from."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for name in ("Old skipper", "Opera critic"):
        (prompts / f"{name}.md").write_text(f"You are an {name.lower()}.")
    async with model_server() as models:
        models.models = list(MODELS)
        server = await serve(backend="openai", base_url=models.url, model="gemma3:12b", prompts=prompts)
        await eventually(lambda: server.backchat._offer.models)
        yield server


async def opened(user: Person, server: Running) -> Tab:
    """A tab with a session open and the focus in the composer: only a session has values to offer."""
    tab = await user.opens(server.http)
    await tab.page.get_by_role("button", name="New session").click()
    await tab.connected()
    await expect(tab.composer).to_be_focused()
    return tab


async def lists(tab: Tab, *values: str) -> None:
    """Waits until these are listed to choose from, none of them chosen yet."""
    await expect(tab.options.locator("code")).to_have_text(values)
    await expect(tab.chosen).to_have_count(0)
    assert await tab.composer.get_attribute("aria-activedescendant") is None


async def uses(tab: Tab, model: str) -> None:
    await expect(tab.notice).to_contain_text(f"Model: {model}, from the next reply on.")
    await expect(tab.page.locator("main > header")).to_contain_text(model)
    await expect(tab.composer).to_have_value("")


# Values.


async def test_the_models_are_listed_once_a_command_wants_one_and_typing_on_narrows_the_list(
    choice: Running, user: Person
) -> None:
    tab = await opened(user, choice)
    await tab.type("/mod")
    await tab.press("Tab")
    await expect(tab.composer).to_have_value("/model ")
    await lists(tab, *MODELS, "none")
    await expect(tab.hint).to_contain_text(TABLE["model"].arguments[0].summary)
    await tab.type("qwen3:")
    await lists(tab, *MODELS[2:])
    await tab.press("Backspace")
    await lists(tab, *MODELS[1:])
    await tab.type("?")
    await expect(tab.palette).to_be_hidden()
    await expect(tab.hint).to_be_visible()


async def test_a_value_is_completed_by_tab_by_arrows_and_enter_and_by_a_click(choice: Running, user: Person) -> None:
    tab = await opened(user, choice)
    await tab.type("/model q")
    await lists(tab, *MODELS[1:])
    await tab.press("Tab")
    await expect(tab.composer).to_have_value("/model qwen3")
    await expect(tab.palette).to_be_hidden()
    await expect(tab.composer).to_be_focused()
    await tab.press("Enter")
    await uses(tab, "qwen3")

    await tab.type("/model q")
    await lists(tab, *MODELS[1:])
    for key, value in (("ArrowDown", "qwen3"), ("ArrowDown", "qwen3:4b"), ("ArrowUp", "qwen3")):
        await tab.press(key)
        await expect(tab.chosen.locator("code")).to_have_text(value)
        chosen = await tab.chosen.get_attribute("id")
        assert chosen
        await expect(tab.composer).to_have_attribute("aria-activedescendant", chosen)
    await tab.press("ArrowDown", "Enter")
    await expect(tab.composer).to_have_value("/model qwen3:4b")
    await tab.press("Enter")
    await uses(tab, "qwen3:4b")

    await tab.type("/model q")
    await lists(tab, *MODELS[1:])
    await tab.press("ArrowUp")
    await expect(tab.chosen.locator("code")).to_have_text("qwen3:4b-instruct")
    await tab.options.filter(has_text="qwen3:4b-instruct").click()
    await expect(tab.composer).to_have_value("/model qwen3:4b-instruct")
    await expect(tab.composer).to_be_focused()
    await tab.press("Enter")
    await uses(tab, "qwen3:4b-instruct")


async def test_enter_sends_what_is_typed_while_nothing_else_has_been_chosen(choice: Running, user: Person) -> None:
    tab = await opened(user, choice)
    await tab.type("/model qwen3:4")
    await lists(tab, *MODELS[2:])
    await tab.press("Enter")
    await uses(tab, "qwen3:4")

    # What is typed is one of them, and chosen: there is nothing to complete.
    await tab.type("/model qwen3")
    await lists(tab, *MODELS[1:])
    await tab.press("ArrowDown")
    await expect(tab.chosen.locator("code")).to_have_text("qwen3")
    await tab.press("Enter")
    await uses(tab, "qwen3")

    await tab.type("/title Some")
    await tab.press("Enter")
    await expect(tab.title).to_have_text("Some")
    await tab.type("/title Some")
    await lists(tab, "Some")
    await tab.type("thing")
    await tab.press("Enter")
    await expect(tab.title).to_have_text("Something")


async def test_escape_puts_the_list_away_and_typing_on_brings_it_back(choice: Running, user: Person) -> None:
    tab = await opened(user, choice)
    await tab.type("/model q")
    await lists(tab, *MODELS[1:])
    await tab.press("Escape")
    await expect(tab.palette).to_be_hidden()
    await expect(tab.hint).to_be_hidden()
    await expect(tab.composer).to_have_value("/model q")
    await tab.type("w")
    await lists(tab, *MODELS[1:])


async def test_tab_leaves_the_composer_where_there_is_nothing_to_complete(choice: Running, user: Person) -> None:
    tab = await opened(user, choice)
    for line, listed in (("/model gemma3:12b", "gemma3:12b"), ("/usage", "/usage"), ("/undo 3", None), ("hello", None)):
        await tab.composer.fill(line)
        await each(tab.options, *([listed] if listed else []))
        await tab.press("Tab")
        await expect(tab.send).to_be_focused()
        await expect(tab.palette).to_be_hidden()
        await tab.press("Shift+Tab")
        await expect(tab.composer).to_be_focused()
        await expect(tab.composer).to_have_value(line)


async def test_a_name_of_several_words_is_completed_as_a_whole(choice: Running, user: Person) -> None:
    tab = await opened(user, choice)
    await tab.type("/personality old s")
    await lists(tab, "Old skipper")
    await tab.press("Tab")
    await expect(tab.composer).to_have_value("/personality Old skipper")
    await tab.press("Enter")
    await expect(tab.notice).to_contain_text("Personality: Old skipper")
    await tab.type("/personality o")
    await lists(tab, "Old skipper", "Opera critic", "none")


async def test_a_value_with_another_one_to_follow_leaves_room_for_it(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.submit("First")
    scripted.say("One moment")
    await expect(tab.reply).to_contain_text("One moment")
    await tab.submit("Second")
    await expect(tab.waiting).to_have_count(1)
    await tab.type("/queue d")
    await lists(tab, "drop")
    await tab.press("Tab")
    await expect(tab.composer).to_have_value("/queue drop ")
    await lists(tab, "1")
    await expect(tab.options).to_contain_text("Second")
    await tab.press("Tab", "Enter")
    await expect(tab.queue).to_be_hidden()
    await expect(tab.composer).to_have_value("Second")


async def test_where_a_value_begins_is_counted_in_code_points(server: Running, user: Person) -> None:
    def between(page: WebSocketRoute) -> None:
        far = page.connect_to_server()

        def answer(frame: str | bytes) -> None:
            asked: Json = msgspec.json.decode(frame)
            if asked["method"] == "complete":
                result = {"start": 9, "candidates": [{"value": "new", "summary": "instead"}]}
                page.send(msgspec.json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": result}).decode())
            else:
                far.send(frame)

        page.on_message(answer)

    await user.context.route_web_socket("**/ws/*", between)
    tab = await opened(user, server)
    await tab.composer.fill("/title 𝄞 old")
    await lists(tab, "new")
    await tab.press("Tab")
    await expect(tab.composer).to_have_value("/title 𝄞 new")


async def test_only_the_answer_to_what_is_typed_now_is_listed(choice: Running, user: Person) -> None:
    held: list[tuple[Json, str | bytes]] = []
    pages: list[WebSocketRoute] = []

    def between(page: WebSocketRoute) -> None:
        far = page.connect_to_server()
        pages.append(page)

        def pass_on(frame: str | bytes) -> None:
            heard: Json = msgspec.json.decode(frame)
            if "candidates" in (heard.get("result") or {}):
                held.append((heard["result"], frame))
            else:
                page.send(frame)

        far.on_message(pass_on)

    await user.context.route_web_socket("**/ws/*", between)
    tab = await opened(user, choice)
    await tab.type("/model q")
    await eventually(lambda: len(held) == 2)  # for "" and for "q"
    (wide, first), (narrow, second) = held
    assert len(wide["candidates"]) > len(narrow["candidates"])
    pages[-1].send(second)
    await lists(tab, *MODELS[1:])
    pages[-1].send(first)
    await tab.press("ArrowDown")
    await expect(tab.chosen.locator("code")).to_have_text("qwen3")
    await expect(tab.options).to_have_count(3)


async def test_a_hint_says_what_the_argument_is_and_what_the_command_does_now(
    server: Running, user: Person, scripted: Scripted
) -> None:
    tab = await user.opens(server.http)
    await tab.ready()
    await expect(tab.hint).to_be_hidden()
    await tab.composer.focus()
    for line in ("/undo ", "/undo 3"):
        await tab.composer.fill(line)
        await expect(tab.hint).to_contain_text("/undo [turns]")
        await expect(tab.hint).to_contain_text("how many turns")
        await expect(tab.hint).not_to_contain_text("Now:")
        await expect(tab.palette).to_be_hidden()
    for line in ("/undo 3 ", "/stop ", "/undo\n3", "undo 3", "//undo 3", ""):
        await tab.composer.fill(line)
        await expect(tab.hint).to_be_hidden()
    await tab.submit("First")
    scripted.say("One moment")
    await expect(tab.stop).to_be_visible()
    await tab.composer.fill("/undo 3")
    await expect(tab.hint).to_contain_text(f"Now: {TABLE['undo'].while_running}")
    await tab.composer.fill("/u")
    await expect(tab.options.first).to_contain_text(f"Now: {TABLE['undo'].while_running}")
    await tab.title.click()
    await expect(tab.palette).to_be_hidden()


async def test_without_a_connection_nothing_is_listed_and_what_is_typed_is_kept_for_later(
    server: Running, given: Given, user: Person, wire: Wire
) -> None:
    given(SAILING)
    user.expected = NETWORK
    tab = await user.opens(wire.http)
    await tab.connected()
    wire.cut()
    await expect(tab.connection).to_have_attribute("data-connection", "reconnecting")
    await tab.type("/title First")
    await expect(tab.hint).to_be_visible()
    await expect(tab.palette).to_be_hidden()
    await tab.press("Enter")
    await expect(tab.pending).to_contain_text("/title First")
    wire.mend()
    await expect(tab.title).to_have_text("First")


# Titles, and a new session.


async def test_the_first_message_gives_the_title_and_a_person_another(server: Running, user: Person) -> None:
    one = await user.opens(server.http)
    await one.submit("How long from Brest to Falmouth?")
    two = await user.opens(server.http)
    for tab in (one, two):
        await expect(tab.title).to_have_text("How long from Brest to Falmouth?")
        await expect(tab.here).to_contain_text("How long from Brest to Falmouth?")
    await one.submit("/title Tides & <b>times</b>")
    for tab in (one, two):
        await expect(tab.title).to_have_text("Tides & <b>times</b>")
        await expect(tab.here).to_contain_text("Tides & <b>times</b>")
        await expect(tab.page).to_have_title("Tides & <b>times</b> – Backchat")
    await one.submit("And with the tide against us?")
    await expect(one.messages).to_have_count(4)
    await expect(one.title).to_have_text("Tides & <b>times</b>")


async def test_new_opens_another_session_in_the_tab_that_asked(server: Running, given: Given, user: Person) -> None:
    given(SAILING)
    one, two = await user.opens(server.http), await user.opens(server.http)
    for tab in (one, two):
        await tab.shows(*SAID)
        await tab.connected()
    await one.submit("/new Second watch")
    await one.shows()
    await expect(one.title).to_have_text("Second watch")
    await expect(one.here).to_contain_text("Second watch")
    await one.connected()
    assert one.session_id != "5a111ab0a7e0"
    await expect(one.composer).to_be_focused()
    await expect(one.composer).to_have_value("")
    await one.submit("Who is up?")
    await one.shows("Who is up?", "Who is up?")
    # The other tab lists it, and stays where it is.
    await expect(two.links).to_have_count(2)
    await expect(two.here).to_contain_text("First night passage")
    await two.shows(*SAID)
    await one.page.go_back()
    await one.shows(*SAID)
