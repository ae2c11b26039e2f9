"""`render`: messages and live replies as HTML, on the wire."""

import sys
import threading
from typing import Any

import pytest

from backchat import markdown, rendering
from backchat.errors import NoSuchMessage
from backchat.foreign import messages_of
from backchat.frames import MOST_RENDERED, RenderParams, SubmitParams, Who
from backchat.names import OWNER
from backchat.transcript import Created
from tests.support.client import PATIENCE, Client, Json, Refused, client, eventually
from tests.support.scripted import Scripted
from tests.support.server import Running


async def html(one: Client, *ids: int) -> list[list[str | None]]:
    """Each message's HTML."""
    return [message["html"] for message in (await one.request("render", messages=list(ids)))["messages"]]


async def imported(server: Running, *messages: Any) -> str:
    """The id of a new session with these messages."""
    async with server.backchat.sessions.create(OWNER, Created(), messages_of(list(messages), 0.0)) as session:
        return session.id


async def test_messages_are_rendered_block_by_block(server: Running) -> None:
    parts = [
        {"type": "text", "text": "*a*"},
        {"type": "image_url", "image_url": "b"},
        {"type": "text", "text": 1},
        "`c`",
    ]
    session_id = await imported(
        server,
        {"role": "user", "content": "*a*"},
        {"role": "assistant", "content": parts},
        {"role": "system", "content": "*a*"},
        {"role": "tool", "content": parts},
        {"role": "assistant", "content": None},
    )
    async with client(server.ws(session_id)) as one:
        asked = await one.request("render", messages=[2, 1, 3, 4, 5, 1])
    assert asked == {
        "messages": [
            {"id": 2, "html": ['<p dir="auto"><em>a</em></p>\n', '<p dir="auto"><code>c</code></p>\n']},
            {"id": 1, "html": ['<p class="typed" dir="auto">*a*</p>']},
            {"id": 3, "html": [None]},
            {"id": 4, "html": [None, None]},
            {"id": 5, "html": []},
            {"id": 1, "html": ['<p class="typed" dir="auto">*a*</p>']},
        ],
        "run": None,
    }


async def test_a_message_that_left_the_screen_is_rendered_too_but_none_that_never_was(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws()) as other:
        await one.say("a")
        await one.submit("/undo")
        assert await html(one, 1) == [['<p class="typed" dir="auto">a</p>']]
        for missing in (0, -1, 3, 10**30):
            with pytest.raises(Refused) as refused:
                await html(one, 1, missing)
            assert refused.value.code == "no_such_message"
        with pytest.raises(Refused):
            await html(other, 1)


async def test_a_message_is_rendered_once_it_is_published(server: Running) -> None:
    answers: list[object] = []
    async with client(server.ws()) as one, server.backchat.sessions.use(OWNER, one.session_id) as session:
        # Returns before the commit is done, and nothing else has its turn in between.
        await session.submit(SubmitParams(text="a"), Who("c", "n"), answers.append)
        with pytest.raises(NoSuchMessage):
            await server.backchat._rendering.render(session, RenderParams(messages=[1]))
        await eventually(lambda: answers)
        assert await html(one, 1) == [['<p class="typed" dir="auto">a</p>']]


@pytest.mark.parametrize(
    "params",
    [
        {"messages": [1] * (MOST_RENDERED + 1)},
        {"messages": ["1"]},
        {"messages": 1},
        {"run_id": 1},
        {"run_id": "a", "after": -1},
        {"message": [1]},
    ],
)
async def test_params_that_make_no_sense_are_refused(server: Running, params: Json) -> None:
    async with client(server.ws()) as one:
        with pytest.raises(Refused) as refused:
            await one.request("render", **params)
        assert refused.value.code == "invalid_params"


async def test_what_is_long_comes_in_several_answers_and_what_is_too_long_is_not_rendered(server: Running) -> None:
    lengths = [rendering.LONGEST - 10, 20, rendering.LONGEST + 1, 1]
    session_id = await imported(server, *({"role": "assistant", "content": "a" * length} for length in lengths))
    left = [1, 2, 3, 4]
    answers = []
    async with client(server.ws(session_id)) as one:
        while left:
            answer = (await one.request("render", messages=left))["messages"]
            answers.append([(message["id"], message["html"] == [None]) for message in answer])
            assert [message["id"] for message in answer] == left[: len(answer)]
            left = left[len(answer) :]
    assert answers == [[(1, False)], [(2, False)], [(3, True)], [(4, False)]]


async def test_a_live_reply_is_rendered_as_far_as_it_is(server: Running) -> None:
    backend = Scripted(server)
    async with client(server.ws()) as one:
        run_id = (await one.submit("?"))["run_id"]

        async def asked(after: int = 0) -> Any:
            return (await one.request("render", run_id=run_id, after=after))["run"]

        async def written(length: int) -> None:
            await one.until(lambda: one.view.run and len(one.view.run["text"]) == length)

        assert await asked() == {"run_id": run_id, "after": 0, "until": 0, "end": 0, "html": "", "tail": ""}
        backend.say("é\n\n", "*b*\n\n", "c")
        await written(9)
        first = '<p dir="auto">é</p>\n'
        tail = '<p dir="auto"><em>b</em></p>\n<p dir="auto">c</p>\n'
        assert await asked() == {"run_id": run_id, "after": 0, "until": 3, "end": 9, "html": first, "tail": tail}
        assert await asked(3) == {"run_id": run_id, "after": 3, "until": 3, "end": 9, "html": "", "tail": tail}
        assert (await asked(10**9))["after"] == 9
        backend.say("a" * (rendering.LONGEST + 1))
        await written(9 + rendering.LONGEST + 1)
        assert (await asked(3))["tail"] is None
        backend.end()
        await one.ended(run_id)
        assert await asked() is None


async def test_a_rendering_holds_nothing_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(role: str, text: str, _: object) -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return text

    monkeypatch.setattr(rendering, "_html", slow)
    async with client(server.ws()) as one:
        await one.say("a")
        late = await one.send("render", messages=[1])
        await eventually(begun.is_set)
        await one.say("b")
        await one.submit("/status")
        go_on.set()
        assert (await one.reply(late))["messages"] == [{"id": 1, "html": ["a"]}]


async def test_a_connection_that_goes_leaves_its_renderings_behind_but_nobody_elses(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    steps: list[str] = []

    def slow(role: str, text: str, _: object) -> str:
        steps.append(f"{text} begins")
        begun.set()
        assert go_on.wait(PATIENCE)
        steps.append(f"{text} ends")
        return text

    monkeypatch.setattr(rendering, "_html", slow)
    async with client(server.ws()) as one:
        await one.say("a")
        await one.say("b")
        async with client(server.ws(one.session_id)) as other:
            await other.send("render", messages=[1])
            await other.send("render", messages=[2])
            await eventually(begun.is_set)
        mine = await one.send("render", messages=[3])
        await one.submit("/status")
        go_on.set()
        assert (await one.reply(mine))["messages"][0]["id"] == 3
    assert steps == ["a begins", "a ends", "b begins", "b ends"], "one after the other, as one thread does"


async def test_a_text_that_brings_out_a_defect_is_not_rendered(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(text: str, _: object = None) -> str:
        raise RecursionError(text)

    async with client(server.ws()) as one:
        await one.say("a")
        monkeypatch.setattr(markdown, "typed", defect)
        assert await html(one, 1) == [[None]]
        assert "could not be rendered" in caplog.text
        assert (await one.submit("/status"))["data"]["message_count"] == 2


async def test_what_was_rendered_is_kept_up_to_a_bound(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def counted(role: str, text: str, _: object) -> str:
        rendered.append(text)
        return text

    monkeypatch.setattr(rendering, "_html", counted)
    monkeypatch.setattr(rendering, "CACHED_BYTES", 2 * (rendering.ENTRY_BYTES + sys.getsizeof("a" * 1000)))
    texts = [letter * 1000 for letter in "abc"]
    session_id = await imported(server, *({"role": "user", "content": text} for text in texts))
    async with client(server.ws(session_id)) as one:
        for number in (1, 1, 2, 1, 3, 1, 2):
            assert await html(one, number) == [[texts[number - 1]]]
    assert [text[0] for text in rendered] == ["a", "b", "c", "b"]


async def test_a_message_without_text_takes_room_among_what_is_kept(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "CACHED_BYTES", 2 * rendering.ENTRY_BYTES)
    session_id = await imported(server, *[{"role": "user", "content": None}] * 3)
    async with client(server.ws(session_id)) as one:
        assert await html(one, 1, 2, 3) == [[], [], []]
    assert len(server.backchat._rendering._kept) == 2


async def test_what_takes_long_comes_in_several_answers(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MOST_SECONDS", -1)
    session_id = await imported(server, *[{"role": "user", "content": "a"}] * 3)
    async with client(server.ws(session_id)) as one:
        assert len(await html(one, 1, 2, 3)) == 1


async def test_the_texts_of_a_message_share_what_may_be_done_for_it(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markdown, "MOST_STEPS", 100)
    parts = [{"type": "text", "text": "*a* " * 15}] * 3
    session_id = await imported(server, *[{"role": "assistant", "content": parts}] * 2)
    async with client(server.ws(session_id)) as one:
        for shown in await html(one, 1, 2):
            assert shown[0] is not None
            assert shown[2] is None


async def test_a_live_reply_that_brings_out_a_defect_is_not_rendered(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(text: str) -> int:
        raise RecursionError(text)

    monkeypatch.setattr(markdown, "settled", defect)
    backend = Scripted(server)
    async with client(server.ws()) as one:
        run_id = (await one.submit("?"))["run_id"]
        backend.say("a")
        await one.until(lambda: one.view.run and one.view.run["text"] == "a")
        run = (await one.request("render", run_id=run_id))["run"]
        assert (run["html"], run["tail"]) == ("", None)
        assert "could not be rendered" in caplog.text
        backend.end()
        await one.ended(run_id)


async def test_a_rendering_that_fails_is_answered_and_the_next_one_is_rendered(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(*_: object) -> None:
        raise RecursionError

    async with client(server.ws()) as one:
        await one.say("a")
        with monkeypatch.context() as broken:
            broken.setattr(server.backchat._rendering, "_render", defect)
            assert await html(one, 1) == []
        assert "a rendering failed" in caplog.text
        assert await html(one, 1) == [['<p class="typed" dir="auto">a</p>']]
