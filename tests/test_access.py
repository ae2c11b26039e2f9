"""Who may come in: Host, Origin, token and cookie, over HTTP and in WebSocket handshakes (DESIGN section 7)."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backchat.config import Settings
from backchat.errors import SettingError
from backchat.names import OWNER
from tests.support.client import PATIENCE, Json
from tests.support.server import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "correct-horse.battery_staple"

Header = tuple[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loopback(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server as it is without any settings."""
    async with running(tmp_path_factory.mktemp("loopback")) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def protected(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server that others can reach, as far as its rules know (it listens on 127.0.0.1 all the same)."""
    async with running(tmp_path_factory.mktemp("protected"), host="0.0.0.0", token=TOKEN) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def published(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server on loopback that answers to one more name, and to pages of one more origin."""
    async with running(
        tmp_path_factory.mktemp("published"),
        allowed_hosts=("chat.example.com",),
        allowed_origins=("https://chat.example.com", "http://localhost:5173"),
    ) as one:
        yield one


async def ask(server: Running, method: str, path: str, headers: list[Header], body: bytes = b"") -> tuple[int, bytes]:
    """The status and the body of a request with these headers and no others but its length."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        headers = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), content


async def shake_hands(server: Running, headers: list[Header], path: str | None = None) -> str:
    """What comes of a WebSocket handshake with these headers (see `_shake_hands`); without a path what comes of a new
    session's, which must be what comes of the list's too."""
    if path is not None:
        return await _shake_hands(server, headers, path)
    attached, watching = await _shake_hands(server, headers, "/ws"), await _shake_hands(server, headers, "/watch")
    assert (attached, watching) == ("attached", "watching") or attached == watching
    return attached


async def _shake_hands(server: Running, headers: list[Header], path: str) -> str:
    """What comes of a WebSocket handshake with these headers: the first notification, or the close code, or the HTTP
    status of a handshake that was refused."""
    key = base64.b64encode(os.urandom(16)).decode()
    fixed = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in [*headers, *fixed])]
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
            status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
            return f"refused with {status}" if status != "101" else await first_frame(reader)
    except TimeoutError:
        return "never answered"
    finally:
        writer.transport.abort()


async def first_frame(reader: asyncio.StreamReader) -> str:
    opcode, length = await reader.readexactly(2)
    if length >= 126:
        length = int.from_bytes(await reader.readexactly({126: 2, 127: 8}[length]))
    payload = await reader.readexactly(length)
    if opcode & 0x0F == 8:
        return f"closed with {int.from_bytes(payload[:2])}"
    method: str = json.loads(payload)["method"]
    return method


def own_host(server: Running) -> Header:
    return ("Host", f"127.0.0.1:{server.port}")


def own_origin(server: Running) -> Header:
    return ("Origin", f"http://127.0.0.1:{server.port}")


def bearer(token: str) -> Header:
    return ("Authorization", f"Bearer {token}")


async def sessions_of(server: Running) -> list[str]:
    return [summary.session_id for summary in await server.backchat.sessions.list(OWNER, None, 1000)]


# Host.

LOOPBACK_HOSTS = ["127.0.0.1:{port}", "127.0.0.1", "localhost:{port}", "LocalHost", "[::1]:{port}", "127.0.0.2:80"]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost:{port}.evil.example",
    "127.0.0.1:{port}:{port}",
    "localhost, evil.example",
    "user@localhost",
    "192.168.1.5:{port}",
    "0.0.0.0:{port}",
    "[::]:{port}",
    "2130706433",
    "0x7f000001",
    "127.1",
    "localhost:x",
    "[localhost]",
    "chat.example.com",
    "",
]


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
async def test_a_server_on_loopback_answers_to_loopback_hosts(loopback: Running, host: str) -> None:
    header = ("Host", host.format(port=loopback.port))
    assert await shake_hands(loopback, [header]) == "attached"
    assert (await ask(loopback, "GET", "/", [header]))[0] == 200
    assert (await ask(loopback, "GET", "/api/sessions", [header]))[0] == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_a_server_on_loopback_answers_to_no_other_host(loopback: Running, host: str) -> None:
    header = ("Host", host.format(port=loopback.port))
    before = await sessions_of(loopback)
    assert await shake_hands(loopback, [header]) == "refused with 403"
    for method, path in (
        ("GET", "/"),
        ("GET", "/api/sessions"),
        ("POST", "/api/sessions"),
        ("GET", "/static/app.js"),
        ("GET", "/healthz"),
    ):
        status, body = await ask(loopback, method, path, [header])
        assert status == 403
        assert b"session_id" not in body
    assert await sessions_of(loopback) == before


async def test_a_request_without_a_host_is_refused(loopback: Running) -> None:
    assert await shake_hands(loopback, []) in ("refused with 403", "refused with 400")
    assert (await ask(loopback, "GET", "/api/sessions", []))[0] in (400, 403)


@pytest.mark.parametrize(
    ("host", "answers"),
    [
        ("chat.example.com", True),
        ("CHAT.example.com:8765", True),
        ("localhost", True),
        ("127.0.0.1:{port}", True),
        ("sub.chat.example.com", False),
        ("chat.example.com.evil.example", False),
        ("chat.example.com.", False),
        ("evil.example", False),
    ],
)
async def test_an_allowed_host_is_allowed_and_no_other(published: Running, host: str, answers: bool) -> None:
    header = ("Host", host.format(port=published.port))
    assert await shake_hands(published, [header]) == ("attached" if answers else "refused with 403")
    assert (await ask(published, "GET", "/api/sessions", [header]))[0] == (200 if answers else 403)


@pytest.mark.parametrize(
    ("host", "answers"),
    [
        ("192.168.1.5:{port}", True),
        ("[2001:db8::1]:80", True),
        ("localhost", True),
        ("evil.example", False),
        ("", False),
    ],
)
async def test_a_server_that_others_reach_answers_to_addresses_but_not_to_any_name(
    protected: Running, host: str, answers: bool
) -> None:
    headers = [("Host", host.format(port=protected.port)), bearer(TOKEN)]
    assert await shake_hands(protected, headers) == ("attached" if answers else "refused with 403")
    assert (await ask(protected, "GET", "/api/sessions", headers))[0] == (200 if answers else 403)


async def test_a_handshake_with_more_headers_than_can_be_read_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        for header in (bearer("x" * 20_000), ("X-Long", "y" * 70_000), ("X-Many", "\r\n".join(["z: z"] * 300))):
            assert (await shake_hands(server, [own_host(server), header])).startswith("refused with 4")
        assert await shake_hands(server, [own_host(server)]) == "attached"


# Origin.

FOREIGN_ORIGINS = [
    "null",
    "",
    "http://evil.example",
    "http://evil.example:{port}",
    "https://127.0.0.1:{port}",
    "ws://127.0.0.1:{port}",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "http://127.0.0.1:{port}0",
    "http://127.0.0.1:{port}.evil.example",
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@evil.example",
    "http://evil.example@127.0.0.1:{port}",
    "http://localhost:{port}",
    "http://127.0.0.1:{port} http://evil.example",
    "127.0.0.1:{port}",
    "//127.0.0.1:{port}",
    "file://",
    "*",
    "https://chat.example.com",
]


async def test_the_servers_own_page_may_connect(loopback: Running) -> None:
    headers = [own_host(loopback), own_origin(loopback)]
    assert await shake_hands(loopback, headers) == "attached"
    assert (await ask(loopback, "POST", "/api/sessions", headers))[0] == 201


@pytest.mark.parametrize("name", ["localhost:{port}", "[::1]:{port}", "127.0.0.1", "localhost"])
async def test_a_page_is_the_servers_own_under_each_of_its_names(loopback: Running, name: str) -> None:
    name = name.format(port=loopback.port)
    assert await shake_hands(loopback, [("Host", name), ("Origin", f"http://{name}")]) == "attached"


async def test_a_default_port_counts_as_none(loopback: Running) -> None:
    headers = [("Host", "localhost:80"), ("Origin", "http://localhost")]
    assert await shake_hands(loopback, headers) == "attached"


async def test_a_program_has_no_origin_and_needs_none_on_loopback(loopback: Running) -> None:
    assert await shake_hands(loopback, [own_host(loopback)]) == "attached"
    assert (await ask(loopback, "POST", "/api/sessions", [own_host(loopback)]))[0] == 201


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_no_other_page_may_connect_or_change_anything(loopback: Running, origin: str) -> None:
    _, body = await ask(loopback, "POST", "/api/sessions", [own_host(loopback)])
    session_id = json.loads(body)["session_id"]
    before = await sessions_of(loopback)
    headers = [own_host(loopback), ("Origin", origin.format(port=loopback.port))]
    assert await shake_hands(loopback, headers) == "refused with 403"
    assert await shake_hands(loopback, headers, f"/ws/{session_id}") == "refused with 403"
    for method, path in (
        ("POST", "/api/sessions"),
        ("DELETE", f"/api/sessions/{session_id}"),
        ("POST", "/api/login"),
    ):
        assert (await ask(loopback, method, path, headers, b"{}"))[0] == 403
    assert await sessions_of(loopback) == before


async def test_a_foreign_page_that_rebinds_its_name_is_refused_by_host(loopback: Running) -> None:
    name = f"evil.example:{loopback.port}"
    headers = [("Host", name), ("Origin", f"http://{name}")]
    assert await shake_hands(loopback, headers) == "refused with 403"
    assert (await ask(loopback, "POST", "/api/sessions", headers))[0] == 403


@pytest.mark.parametrize(
    ("path", "site", "status"),
    [
        ("/api/sessions?q=a", "cross-site", 403),
        ("/api/sessions?q=a", "same-origin", 200),
        ("/api/sessions?q=a", "none", 200),
        ("/", "cross-site", 200),
    ],
)
async def test_no_page_of_another_site_asks_the_api_but_any_may_link_here(
    loopback: Running, path: str, site: str, status: int
) -> None:
    headers = [own_host(loopback), ("Sec-Fetch-Site", site)]
    assert (await ask(loopback, "GET", path, headers))[0] == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_no_browser_lets_another_page_read_an_answer(loopback: Running, origin: str) -> None:
    async with httpx.AsyncClient(base_url=loopback.http, trust_env=False) as http:
        for method, path in (("GET", "/api/sessions"), ("GET", "/"), ("OPTIONS", "/api/sessions")):
            response = await http.request(method, path, headers={"Origin": origin})
            assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("origin", "answers"),
    [
        ("https://chat.example.com", True),
        ("http://localhost:5173", True),
        ("http://chat.example.com:8765", True),  # the server's own, under the name it was asked by
        ("https://chat.example.com:444", False),
        ("http://chat.example.com", False),
        ("https://sub.chat.example.com", False),
        ("https://chat.example.com.evil.example", False),
        ("http://localhost", False),
        ("https://localhost:5173", False),
        ("null", False),
    ],
)
async def test_an_allowed_origin_is_allowed_and_no_other(published: Running, origin: str, answers: bool) -> None:
    headers = [("Host", "chat.example.com:8765"), ("Origin", origin)]
    assert await shake_hands(published, headers) == ("attached" if answers else "refused with 403")
    assert (await ask(published, "POST", "/api/sessions", headers))[0] == (201 if answers else 403)


async def test_the_page_behind_a_proxy_that_ends_tls_in_silence_may_connect(tmp_path: Path) -> None:
    async with running(tmp_path, allowed_hosts=("chat.example.com",)) as server:
        own = [("Host", "chat.example.com"), ("Origin", "https://chat.example.com")]
        assert await shake_hands(server, own) == "attached"
        other = [("Host", "chat.example.com"), ("Origin", "https://other.example.com")]
        assert await shake_hands(server, other) == "refused with 403"


async def test_a_refused_handshake_says_why_to_its_sender_and_once_to_the_log(
    loopback: Running, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        async with httpx.AsyncClient(trust_env=False) as http:
            upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
            key = {"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}
            told = await http.get(f"{loopback.http}/ws", headers={"origin": "https://evil.example", **upgrade, **key})
        assert told.status_code == 403
        assert "https://evil.example" in told.text
        assert "--allowed-origin" in told.text
    assert len([record for record in caplog.records if "https://evil.example" in record.message]) <= 1


@pytest.mark.parametrize("origin", ["null", "*", "chat.example.com", "https://", "https://a.example/path", "https://*"])
async def test_an_allowed_origin_is_a_whole_origin(origin: str) -> None:
    with pytest.raises(SettingError):
        Settings(allowed_origins=(origin,))


# Token.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "chat.example.com", "", "127.0.0.1.evil.example"])
async def test_an_address_that_is_not_loopback_needs_a_token_though_there_is_none(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingError):
        Settings(host=host, token="")
    async with running(tmp_path, host=host) as server:
        for credentials in ("Bearer", "Bearer ", "Bearer x"):
            headers = [own_host(server), ("Authorization", credentials)]
            assert await shake_hands(server, headers) == "closed with 4401"
            assert (await ask(server, "GET", "/api/sessions", headers))[0] == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
async def test_a_loopback_address_needs_no_token(tmp_path: Path, host: str) -> None:
    async with running(tmp_path, host=host) as server:
        assert await shake_hands(server, [own_host(server)]) == "attached"


@pytest.mark.parametrize("token", ["with space", "tab\t", "line\n", "zwölf", "\0"])
async def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(SettingError):
        Settings(token=token)


GOOD_CREDENTIALS = [
    f"Bearer {TOKEN}",
    f"bearer {TOKEN}",
    f"BEARER {TOKEN}",
]
BAD_CREDENTIALS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {TOKEN}x",
    f"Bearer x{TOKEN}",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN.upper()}",
    f"Bearer {TOKEN} {TOKEN}",
    f"Basic {TOKEN}",
    f"Basic {base64.b64encode(f'user:{TOKEN}'.encode()).decode()}",
    TOKEN,
    f"Bearer{TOKEN}",
    "Bearer \xff\xfe",
    "Bearer " + "x" * 4_000,
]


@pytest.mark.parametrize("credentials", GOOD_CREDENTIALS)
async def test_the_token_lets_a_program_in(protected: Running, credentials: str) -> None:
    headers = [own_host(protected), ("Authorization", credentials)]
    assert await shake_hands(protected, headers) == "attached"
    assert (await ask(protected, "GET", "/api/sessions", headers))[0] == 200


@pytest.mark.parametrize("credentials", BAD_CREDENTIALS)
async def test_without_the_token_nobody_comes_in(protected: Running, credentials: str | None) -> None:
    headers = [own_host(protected), *([] if credentials is None else [("Authorization", credentials)])]
    session_id = await made(protected)
    before = await sessions_of(protected)
    for path in ("/ws", f"/ws/{session_id}", "/ws/nope", "/ws/NOT-an-id!", f"/ws/{session_id}?after=1"):
        assert await shake_hands(protected, headers, path) == "closed with 4401"
    for method, path in (
        ("GET", "/api/sessions"),
        ("POST", "/api/sessions"),
        ("GET", f"/api/sessions/{session_id}"),
        ("GET", "/api/sessions/nope"),
        ("DELETE", f"/api/sessions/{session_id}"),
        ("PATCH", f"/api/sessions/{session_id}"),
        ("POST", f"/api/sessions/{session_id}/restore"),
        ("GET", f"/api/sessions/{session_id}/export?format=json"),
        ("GET", "/api/sessions?q=x"),
        ("POST", "/api/import"),
        ("GET", "/api/complete?text=/"),
        ("GET", "/api/commands"),
    ):
        status, body = await ask(protected, method, path, headers)
        assert (status, json.loads(body)["error"]["data"]["code"]) == (401, "unauthorized"), path
    assert await sessions_of(protected) == before


async def made(server: Running) -> str:
    status, body = await ask(server, "POST", "/api/sessions", [own_host(server), bearer(TOKEN)])
    assert status == 201
    session_id: str = json.loads(body)["session_id"]
    return session_id


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "backchat_token", "auth"])
async def test_a_token_in_the_address_opens_nothing(protected: Running, name: str) -> None:
    outcome = await shake_hands(protected, [own_host(protected)], f"/ws?{name}={TOKEN}")
    assert outcome in ("closed with 4401", "closed with 4400")
    assert (await ask(protected, "GET", f"/api/sessions?{name}={TOKEN}", [own_host(protected)]))[0] == 401


async def test_the_page_and_the_health_check_need_no_token(protected: Running) -> None:
    for path in ("/", "/s/abc", "/static/app.js", "/healthz"):
        assert (await ask(protected, "GET", path, [own_host(protected)]))[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "https://127.0.0.1:{port}"])
async def test_the_token_does_not_make_up_for_a_foreign_origin(protected: Running, origin: str) -> None:
    headers = [own_host(protected), bearer(TOKEN), ("Origin", origin.format(port=protected.port))]
    assert await shake_hands(protected, headers) == "refused with 403"
    assert (await ask(protected, "POST", "/api/sessions", headers))[0] == 403


# Cookie.


async def login(server: Running, body: Any, *, expected: int = 200, **headers: str) -> Morsel[str] | None:
    """The cookie that a login sets, if it sets one."""
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
        response = await http.post("/api/login", json=body, headers=headers)
    assert response.status_code == expected, response.text
    assert TOKEN not in response.text
    header = response.headers.get("set-cookie")
    if header is None:
        return None
    (morsel,) = SimpleCookie(header).values()
    return morsel


async def cookie_header(server: Running) -> Header:
    morsel = await login(server, {"token": server.settings.token})
    assert morsel is not None
    return ("Cookie", f"theme=dark; {morsel.key}={morsel.value}; other=1")


async def test_a_login_sets_a_cookie_that_scripts_and_other_sites_cannot_use(protected: Running) -> None:
    morsel = await login(protected, {"token": TOKEN}, Origin=protected.http)
    assert morsel is not None
    assert morsel["httponly"] is True
    assert morsel["samesite"].lower() == "strict"
    assert morsel["path"] == "/"
    assert not morsel["domain"]
    assert TOKEN not in morsel.value


async def test_the_cookie_opens_sockets_and_the_api(protected: Running) -> None:
    headers = [own_host(protected), own_origin(protected), await cookie_header(protected)]
    session_id = await made(protected)
    assert await shake_hands(protected, headers) == "attached"
    assert await shake_hands(protected, headers, f"/ws/{session_id}") == "attached"
    assert (await ask(protected, "GET", "/api/sessions", headers))[0] == 200
    assert (await ask(protected, "POST", "/api/sessions", headers))[0] == 201
    assert (await ask(protected, "DELETE", f"/api/sessions/{session_id}", headers))[0] == 200


async def test_the_cookie_still_counts_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, token=TOKEN) as server:
        cookie = await cookie_header(server)
    async with running(tmp_path, token=TOKEN) as server:
        assert await shake_hands(server, [own_host(server), cookie]) == "attached"
    async with running(tmp_path, token="another") as server:
        assert await shake_hands(server, [own_host(server), cookie]) == "closed with 4401"
        assert (await ask(server, "GET", "/api/sessions", [own_host(server), cookie]))[0] == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_the_cookie_is_of_no_use_to_a_foreign_page(protected: Running, origin: str) -> None:
    headers = [own_host(protected), ("Origin", origin), await cookie_header(protected)]
    assert await shake_hands(protected, headers) == "refused with 403"
    assert (await ask(protected, "POST", "/api/sessions", headers))[0] == 403


@pytest.mark.parametrize("change", ["x{}", "{}x", "", " ", '"{}', "\xff", "{}{}"])
async def test_a_cookie_that_was_tampered_with_opens_nothing(protected: Running, change: str) -> None:
    morsel = await login(protected, {"token": TOKEN})
    assert morsel is not None
    header = ("Cookie", f"{morsel.key}={change.format(morsel.value, morsel.value)}")
    assert await shake_hands(protected, [own_host(protected), header]) == "closed with 4401"
    assert (await ask(protected, "GET", "/api/sessions", [own_host(protected), header]))[0] == 401


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper(), "zwölf", "x" * 10_000, "\0"])
async def test_a_login_with_a_wrong_token_sets_no_cookie(protected: Running, token: str) -> None:
    assert await login(protected, {"token": token}, expected=401) is None


@pytest.mark.parametrize("body", [{}, {"token": None}, {"token": 5}, {"token": [TOKEN]}, {"token": TOKEN, "x": 1}, []])
async def test_a_login_that_is_no_login_is_refused(protected: Running, body: Json) -> None:
    assert await login(protected, body, expected=400) is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_a_foreign_page_cannot_log_in(protected: Running, origin: str) -> None:
    assert await login(protected, {"token": TOKEN}, expected=403, Origin=origin) is None


async def test_there_is_nothing_to_log_in_to_without_a_token(loopback: Running) -> None:
    for token in ("", "None", "x"):
        assert await login(loopback, {"token": token}, expected=401) is None


async def test_a_token_on_loopback_is_asked_for_too(tmp_path: Path) -> None:
    async with running(tmp_path, token=TOKEN) as server:
        assert await shake_hands(server, [own_host(server)]) == "closed with 4401"
        assert await shake_hands(server, [own_host(server), own_origin(server)]) == "closed with 4401"
        assert await shake_hands(server, [own_host(server), bearer(TOKEN)]) == "attached"
