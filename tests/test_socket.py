"""The socket as clients see it: DESIGN section 4, on real sockets."""

from tests.support.client import client
from tests.support.server import Running


async def test_a_message_is_answered_in_the_documented_order(server: Running) -> None:
    async with client(server.ws()) as one:
        result = await one.say("good morning to you")
        order = [frame.get("method", "reply") for frame in one.seen[1:]]
        assert order[:4] == ["transcript.spliced", "session.updated", "run.started", "reply"]
        assert set(order[4:-3]) == {"run.delta"}
        assert order[-3:] == ["transcript.spliced", "session.updated", "run.ended"]
        assert result == {"message_id": 1, "run_id": result["run_id"], "revision": 2}
        assert one.view.texts == ["good morning to you", "good morning to you"]


async def test_two_clients_see_one_undo(server: Running) -> None:
    async with client(server.ws()) as one, client(server.ws(one.session_id)) as two:
        await one.say("first")
        result = await two.submit("/undo")
        await one.at(result["revision"])
        assert one.view.texts == two.view.texts == []
        assert one.view.facts() == two.view.facts()
