"""Each user has sessions of their own, and nobody else's (DESIGN section 7): two users over every socket method, every
command and every HTTP route, and what becomes of somebody whose token is taken away."""

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, get_args

import httpx
import pytest
from starlette.routing import Route, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backchat import frames
from backchat.commands import TABLE
from backchat.registry import Sessions
from backchat.store.base import User
from backchat.store.sqlite import Database
from backchat.users import cookie_of, key_of
from tests.support.client import PATIENCE, Json, Refused, client, eventually, stalled_client
from tests.support.server import Running, running

CANARY: Final = "xyzzy"
"""A word that only the first user ever writes."""
NOBODYS: Final = "0" * 32
"""An id that no session has."""
TOKENS: Final = {"ann": "token-of-ann", "ben": "token-of-ben"}


def add_user(data: Path, name: str) -> None:
    with Database(data) as database:
        database.add_user(User(name=name, key=key_of(cookie_of(TOKENS[name])), created_at=1.0))


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def socket_of(server: Running, name: str, session_id: str = "", query: str = "") -> Any:
    return client(server.ws(session_id, query), additional_headers=bearer(name))


def http_of(server: Running, name: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, headers=bearer(name), trust_env=False)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with two users."""
    for name in TOKENS:
        add_user(tmp_path, name)
    async with running(tmp_path) as server:
        yield server


async def talk(server: Running, name: str, word: str) -> tuple[str, str]:
    """A session of somebody who says this word, and one that they have deleted."""
    async with socket_of(server, name) as one, http_of(server, name) as http:
        await one.say(f"{word} first")
        await one.say(f"{word} second")
        await one.submit("/undo")
        await one.submit(f"/title {word} title")
        other = (await http.post("/api/sessions", json={"title": word})).json()["session_id"]
        assert (await http.delete(f"/api/sessions/{other}")).status_code == 200
        return one.session_id, other


def rows(server: Running) -> list[Any]:
    """All that the database has of sessions."""
    db = sqlite3.connect(server.settings.data / "backchat.db")
    try:
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("session", "message", "event", "checkpoint")
        ]
    finally:
        db.close()


# HTTP.

ROUTES: Final[dict[tuple[str, str], Json | None]] = {
    ("GET", "/api/sessions/{id}"): None,
    ("DELETE", "/api/sessions/{id}"): None,
    ("PATCH", "/api/sessions/{id}"): {"title": "mine"},
    ("POST", "/api/sessions/{id}/restore"): None,
    ("GET", "/api/sessions/{id}/export?format=json"): None,
    ("GET", "/api/sessions/{id}/export?format=markdown"): None,
}
"""What can be asked of one session."""
ALL: Final[dict[tuple[str, str], Any]] = {
    ("GET", "/api/sessions"): None,
    ("GET", f"/api/sessions?q={CANARY}"): None,
    ("GET", "/api/sessions?q=title"): None,
    ("POST", "/api/sessions"): {"title": "mine"},
    ("GET", f"/api/complete?text=/pick {CANARY}"): None,
    ("GET", "/api/commands"): None,
    ("POST", "/api/import"): [{"role": "user", "content": "mine"}],
    ("POST", "/api/login"): {"token": TOKENS["ben"]},
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
    ("GET", "/"): None,
    ("GET", "/s/{id}"): None,
    ("GET", "/static/app.js"): None,
    ("GET", "/static/0000000000000000/app.js"): None,
}
"""All else that can be asked."""


async def ask(http: httpx.AsyncClient, method: str, path: str, body: Any, session_id: str) -> tuple[int, str]:
    response = await http.request(method, path.replace("{id}", session_id), json=body)
    return response.status_code, response.text.replace(session_id, "ID")


@pytest.mark.parametrize("which", [0, 1], ids=["there", "deleted"])
async def test_a_session_of_somebody_else_is_answered_like_one_that_never_was(server: Running, which: int) -> None:
    session_id = (await talk(server, "ann", CANARY))[which]
    before = rows(server)
    async with http_of(server, "ben") as http:
        for (method, path), body in ROUTES.items():
            theirs = await ask(http, method, path, body, session_id)
            assert theirs == await ask(http, method, path, body, NOBODYS), path
            assert theirs[0] == 404, path
    assert rows(server) == before
    for query in ("", "after=1&log=x", "name=ben"):
        assert await refused(server, "ben", session_id, query) == await refused(server, "ben", NOBODYS, query)
        assert (await refused(server, "ben", session_id, query))[0] == 4404
    assert rows(server) == before


async def refused(server: Running, name: str, session_id: str, query: str) -> tuple[int | None, str | None]:
    """How the server closes a connection to this session."""
    async with connect(server.ws(session_id, query), additional_headers=bearer(name)) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), PATIENCE)
        return socket.close_code, socket.close_reason


async def test_a_damaged_session_of_somebody_else_is_answered_like_one_that_never_was(server: Running) -> None:
    session_id, _ = await talk(server, "ann", CANARY)
    await server.stop()
    with sqlite3.connect(server.settings.data / "backchat.db") as db:
        db.execute("UPDATE event SET type = 'unheard of' WHERE session_id = ? AND revision = 2", (session_id,))
    async with running(server.settings.data) as again, http_of(again, "ben") as ben, http_of(again, "ann") as ann:
        assert (await ann.get(f"/api/sessions/{session_id}")).status_code == 500
        assert (await ben.get(f"/api/sessions/{session_id}")).status_code == 404


async def test_nothing_that_one_user_asks_for_shows_anything_of_another(server: Running) -> None:
    session_id, deleted = await talk(server, "ann", CANARY)
    theirs = (CANARY, session_id, deleted)
    async with http_of(server, "ben") as http:
        for (method, path), body in ALL.items():
            _, answer = await ask(http, method, path, body, NOBODYS)
            assert not [one for one in theirs if one in answer and one not in path], (path, answer)
    async with http_of(server, "ann") as http:
        found = (await http.get("/api/sessions", params={"q": CANARY})).json()["sessions"]
        assert [one["session_id"] for one in found] == [session_id], "or else there was nothing to show"


def test_every_route_of_the_server_is_in_the_matrix(server: Running) -> None:
    def shape(path: str) -> list[str]:
        return ["{}" if part.startswith("{") or part == "0" * 16 else part for part in path.split("?")[0].split("/")]

    asked = [(method, shape(path)) for method, path in (*ROUTES, *ALL)]
    for route in server.backchat.asgi.routes:
        if isinstance(route, WebSocketRoute):
            assert route.path in ("/watch", "/ws", "/ws/{session_id:path}")
            continue
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            wanted = shape(route.path.replace("{name}", "app.js"))
            assert (method, wanted) in asked, (method, route.path)


# Sockets.

ARGUMENTS: Final[dict[str, str]] = {"branch": "1", "drop": "1", "edit": "mine", "pick": "1", "goto": "1"}


def calls(session_id: str) -> dict[type, list[Json]]:
    """Every method of the socket: every command, and all that takes a number or a text."""
    lines = [f"/{name} {ARGUMENTS.get(name, '')}".strip() for name in TABLE]
    # All of these with whatever could name something of somebody else's.
    lines += [f"/{name} {one}" for name in TABLE for one in ("3", "@3", session_id, CANARY[:3])]
    return {
        frames.Submit: [{"text": line} for line in (*lines, "mine")],
        frames.Messages: [{"before": 200, "limit": 200}],
        frames.Complete: [
            {"text": f"/{name} {beginning}"} for name in TABLE for beginning in ("", CANARY[:2], session_id[:4])
        ],
        frames.Render: [{"messages": list(range(1, 50))}],
    }


async def test_whatever_one_user_says_over_a_socket_shows_and_changes_nothing_of_another(tmp_path: Path) -> None:
    methods = calls("")
    assert methods.keys() == set(get_args(frames.Request)), "a method that is not tried"
    for name in TOKENS:
        for data in (tmp_path / "both", tmp_path / "alone"):
            add_user(data, name)
    # The same clock, and nothing that takes its own time.
    options: Json = {"backend": "none", "clock": lambda: 1000.0}
    async with running(tmp_path / "both", **options) as server:
        session_id, _ = await talk(server, "ann", CANARY)
        async with socket_of(server, "ann", session_id) as ann:
            before = [row for table in rows(server) for row in table]
            heard = await heard_by_ben(server, session_id)
            after = [row for table in rows(server) for row in table]
            assert all(row in after for row in before)
            await ann.submit("/status")
            assert [frame for frame in ann.seen[1:] if "method" in frame] == []
    async with running(tmp_path / "alone", **options) as server:
        assert heard == await heard_by_ben(server, session_id)


async def heard_by_ben(server: Running, session_id: str) -> list[str]:
    """All that the second user is told when he tries everything, but for what is random."""
    async with socket_of(server, "ben") as ben:
        for kind, some in calls(session_id).items():
            method = kind.__struct_config__.tag  # type: ignore[attr-defined]
            for params in some:
                with contextlib.suppress(Refused):
                    await ben.request(method, **params)
        return [re.sub(r"\b[0-9a-f]{8,32}\b", "RANDOM", json.dumps(frame)) for frame in ben.seen]


async def test_a_branch_and_a_new_session_belong_to_whoever_asked_for_them(server: Running) -> None:
    async with socket_of(server, "ben") as ben, http_of(server, "ann") as ann:
        await ben.say("mine")
        for line in ("/branch", "/new"):
            made = (await ben.submit(line))["data"]["session_id"]
            async with socket_of(server, "ben", made):
                pass
            assert (await ann.get(f"/api/sessions/{made}")).status_code == 404


async def test_watchers_are_told_of_their_own_sessions_only(server: Running) -> None:
    async with (
        connect(f"{server.ws().removesuffix('/ws')}/watch", additional_headers=bearer("ben")) as ben,
        connect(f"{server.ws().removesuffix('/ws')}/watch", additional_headers=bearer("ann")) as ann,
    ):
        for socket in (ann, ben):
            assert json.loads(await socket.recv())["method"] == "watching"
        session_id, deleted = await talk(server, "ann", CANARY)
        async with asyncio.timeout(PATIENCE):
            told = ""
            while not (session_id in told and deleted in told):
                told += str(await ann.recv())
        # Everything has been told by now that ever will be; what is next for the other is their own.
        mine, _ = await talk(server, "ben", "mine")
        async with asyncio.timeout(PATIENCE):
            told = str(await ben.recv())
        assert mine in told
        assert not [one for one in (session_id, deleted, CANARY) if one in told]


async def test_a_file_of_somebody_elses_session_becomes_a_session_of_ones_own_once(server: Running) -> None:
    session_id, _ = await talk(server, "ann", CANARY)
    async with http_of(server, "ann") as ann, http_of(server, "ben") as ben:
        exported = (await ann.get(f"/api/sessions/{session_id}/export", params={"format": "json"})).content
        told = (await ben.post("/api/import", content=exported)).json()
        (imported,) = told["imported"]
        assert imported["session_id"] != session_id
        assert imported["title"] == f"{CANARY} title"
        again = (await ben.post("/api/import", content=exported)).json()
        assert (again["imported"], len(again["skipped"])) == ([], 1)
        assert session_id not in again["skipped"][0]["reason"]
        assert (await ann.get(f"/api/sessions/{imported['session_id']}")).status_code == 404
        assert (await ben.delete(f"/api/sessions/{imported['session_id']}")).status_code == 200
        assert (await ann.get(f"/api/sessions/{session_id}")).status_code == 200


# Planted bugs: the matrix finds them.


async def test_a_look_up_that_does_not_ask_whose_a_session_is_is_found(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = Sessions.use
    monkeypatch.setattr(Sessions, "use", lambda self, _, session_id: use(self, "ann", session_id))
    with pytest.raises(AssertionError):
        await test_a_session_of_somebody_else_is_answered_like_one_that_never_was(server, 0)


async def test_a_list_of_everybodys_sessions_is_found(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Database.sessions
    monkeypatch.setattr(Database, "sessions", lambda self, _, *rest: sessions(self, "ann", *rest))
    with pytest.raises(AssertionError):
        await test_nothing_that_one_user_asks_for_shows_anything_of_another(server)


# Tokens that come and go.


async def test_a_user_who_was_added_while_the_server_runs_comes_in_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, token="of the operator".replace(" ", "-")) as server:
        async with connect(server.ws(), additional_headers=bearer("ann")) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401
        add_user(tmp_path, "ann")
        async with socket_of(server, "ann") as ann:
            await ann.say("hello")
            assert ann.attached["name"] == "ann"


async def test_the_first_user_of_all_is_not_taken_for_somebody_else(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        add_user(tmp_path, "ann")
        async with socket_of(server, "ann") as ann:
            await ann.say("hello")
        with Database(tmp_path) as database:
            assert database.owner(ann.session_id) == "ann"


async def test_whoever_loses_their_token_is_sent_away_and_says_no_more(server: Running) -> None:
    async with socket_of(server, "ann") as ann, socket_of(server, "ben") as ben:
        await ann.say("hello")
        with Database(server.settings.data) as database:
            database.remove_user("ann")
        assert await ann.closed() == 4401
        await ben.say("still here")
    async with http_of(server, "ann") as http:
        assert (await http.get("/api/sessions")).status_code == 401
    add_user(server.settings.data, "ann")
    async with socket_of(server, "ann", ann.session_id) as again:
        assert again.view.texts == ["hello", "hello"]


async def test_what_is_said_after_a_token_was_taken_away_does_not_count(tmp_path: Path) -> None:
    for name in TOKENS:
        add_user(tmp_path, name)
    async with running(tmp_path, backend="none") as server, socket_of(server, "ann") as ann:
        # Who does not read what they are sent hears of the end of it last of all.
        with stalled_client(server.port, ann.session_id, f"Authorization: Bearer {TOKENS['ann']}\r\n") as stalled:
            session = server.backchat.sessions._live[ann.session_id]
            await eventually(lambda: session.users == 2)
            for _ in range(8):
                await ann.say("long " * 200_000)
            with Database(tmp_path) as database:
                database.remove_user("ann")
            await server.backchat._users.look()
            assert await ann.closed() == 4401
            revision = session._staged.revision
            stalled.sendall(b"\x81\x88\0\0\0\0too late")
            async with socket_of(server, "ben") as ben:
                await ben.say("hello")
                await ben.submit("/status")
            assert (session.users, session._staged.revision) == (1, revision)


async def test_a_watcher_who_loses_their_token_is_sent_away(server: Running) -> None:
    async with connect(f"{server.ws().removesuffix('/ws')}/watch", additional_headers=bearer("ann")) as socket:
        await socket.recv()
        with Database(server.settings.data) as database:
            database.remove_user("ann")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), PATIENCE)
        assert socket.close_code == 4401


async def test_the_first_user_closes_a_server_that_was_open_and_the_last_who_goes_opens_it(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        async with client(server.ws()) as anybody:
            await anybody.say("hello")
            add_user(tmp_path, "ann")
            assert await anybody.closed() == 4401
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            assert (await http.get("/api/sessions")).status_code == 401
            with Database(tmp_path) as database:
                database.remove_user("ann")
            await server.backchat._users.look()
            assert (await http.get("/api/sessions")).status_code == 200


async def test_the_token_of_the_operator_is_that_of_the_user_local(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.ws()) as one:
        await one.say("hello")
    add_user(tmp_path, "ann")
    operators = {"Authorization": "Bearer the-operator"}
    async with (
        running(tmp_path, token="the-operator") as server,
        client(server.ws(one.session_id), additional_headers=operators) as again,
        http_of(server, "ann") as ann,
    ):
        assert again.view.texts == ["hello", "hello"]
        assert (await ann.get(f"/api/sessions/{one.session_id}")).status_code == 404


async def test_those_who_try_tokens_share_the_looks_at_the_store(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    users = Database.users

    def counting(self: Database) -> list[User]:
        nonlocal looks
        looks += 1
        return users(self)

    monkeypatch.setattr(Database, "users", counting)
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        tries = [http.get("/api/sessions", headers={"Authorization": f"Bearer {n}"}) for n in range(50)]
        assert {answer.status_code for answer in await asyncio.gather(*tries)} == {401}
    assert 1 <= looks < 50


async def test_a_store_that_fails_lets_nobody_new_in_and_sends_nobody_away(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Database) -> list[User]:
        raise sqlite3.OperationalError("disk I/O error")

    async with socket_of(server, "ann") as ann, httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        monkeypatch.setattr(Database, "users", failing)
        assert (await http.get("/api/sessions", headers={"Authorization": "Bearer x"})).status_code == 503
        await ann.say("still here")
        assert (await http.get("/api/sessions", headers=bearer("ben"))).status_code == 200


def test_what_is_stored_is_neither_the_token_nor_the_cookie(tmp_path: Path) -> None:
    add_user(tmp_path, "ann")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (TOKENS["ann"], cookie_of(TOKENS["ann"])):
        assert secret.encode() not in stored
        assert bytes.fromhex(cookie_of(TOKENS["ann"])) not in stored


# The invitation of a server that others reach and nobody has a token for.


async def sign_in(http: httpx.AsyncClient, secret: str) -> httpx.Response:
    return await http.post("/api/login", json={"token": secret})


async def test_an_invitation_signs_one_browser_in_once_and_for_good(tmp_path: Path) -> None:
    async with running(tmp_path, host="0.0.0.0") as server:
        code = server.backchat.invite()
        assert code is not None
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            assert (await http.get("/api/sessions")).status_code == 401
            assert (await sign_in(http, code[:-1])).status_code == 401
            assert (await sign_in(http, code)).status_code == 200
            cookies = dict(http.cookies)
            assert (await http.post("/api/sessions", json={})).status_code == 201
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as other:
            assert (await sign_in(other, code)).status_code == 401
            assert (await other.get("/api/sessions")).status_code == 401
    async with running(tmp_path, host="0.0.0.0") as server:
        assert server.backchat.invite() is None, "somebody can come in"
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, cookies=cookies) as http:
            assert len((await http.get("/api/sessions")).json()["sessions"]) == 1


async def test_of_many_who_use_an_invitation_at_once_one_comes_in(tmp_path: Path) -> None:
    async with running(tmp_path, host="0.0.0.0") as server:
        code = server.backchat.invite()
        assert code is not None
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            answers = await asyncio.gather(*(sign_in(http, code) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


async def test_an_invitation_that_could_not_be_stored_is_still_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with running(tmp_path, host="0.0.0.0") as server:
        code = server.backchat.invite()
        assert code is not None
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            with monkeypatch.context() as broken:
                broken.setattr(Database, "add_user", failing)
                assert (await sign_in(http, code)).status_code == 503
            assert (await sign_in(http, code)).status_code == 200


@pytest.mark.parametrize(
    "options", [{}, {"token": "x"}, {"token": "x", "host": "0.0.0.0"}], ids=["loopback", "a token", "both"]
)
async def test_nobody_is_invited_where_somebody_can_come_in(tmp_path: Path, options: Json) -> None:
    async with running(tmp_path, **options) as server:
        assert server.backchat.invite() is None
