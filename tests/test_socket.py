"""The socket as clients see it: DESIGN section 4, on real sockets."""

import pytest

from tests.support.client import client
from tests.support.server import Running

GOODBYE = b"\x88\x80\x00\x00\x00\x00"
"""A close frame of a client, with a mask of zeros (RFC 6455, section 5.2)."""


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


async def test_a_server_that_stops_just_as_a_client_leaves_closes_the_others_as_well(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(server.ws()) as one, client(server.ws()) as two:

        async def left() -> None:
            # The last thing before uvicorn closes what is open; the connection is lost only once the loop turns again.
            server.connections[0].data_received(GOODBYE)

        monkeypatch.setattr(server.backchat.sessions, "interrupt_runs", left)
        await server.stop()
        assert sorted([await one.closed(), await two.closed()]) == [1005, 1012]
