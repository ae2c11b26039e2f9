"""The command line as a person or a supervisor meets it: real processes, real signals (issue 2, items 2 and 3)."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from backchat.cli import welcome
from backchat.store.sqlite import Database
from tests.support.client import PATIENCE, Json, View, client, stalled_client
from tests.support.server import running

SIGNALS = [signal.SIGINT, signal.SIGTERM]
unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send to another process")


def environment(**values: str) -> dict[str, str]:
    """The environment without any setting of ours, but for these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHAT_")}
    return ours | {"PYTHONUTF8": "1"} | values


class Ended:
    """What a process left behind."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        self.out = out.decode()
        self.err = err.decode()


async def start(*arguments: str | Path, planted: str = "", **values: str) -> asyncio.subprocess.Process:
    """Starts a command; `planted` is Python that is run before it."""
    main = f"{planted}\nfrom backchat.cli import main\nmain()"
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *(("-c", main) if planted else ("-m", "backchat")),
        *map(str, arguments),
        env=environment(**values),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Waits for the end of a process; one that does not end is killed, and the test fails."""
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out, err)


async def run(*arguments: str | Path, **values: str) -> Ended:
    return await ended(await start(*arguments, **values))


class Served:
    """A `backchat serve` that accepts connections."""

    def __init__(self, process: asyncio.subprocess.Process, line: str) -> None:
        self.process = process
        self.line = line
        found = re.search(r"https?://\S+/(?=\s|$)", line)
        assert found is not None, line
        self.page = found[0]

    def ws(self, session_id: str = "", query: str = "") -> str:
        path = (f"ws/{session_id}" if session_id else "ws") + (f"?{query}" if query else "")
        return self.page.replace("http", "ws", 1) + path

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> Ended:
        return await ended(self.process)


@contextlib.asynccontextmanager
async def serving(data: Path, *arguments: str | Path, planted: str = "", **values: str) -> AsyncIterator[Served]:
    """Starts a server on a free port, without rates unless told to, and kills it in the end if it still runs."""
    values = {"BACKCHAT_FRAMES_PER_MINUTE": "0", "BACKCHAT_COMMANDS_PER_MINUTE": "0"} | values
    process = await start("serve", "--port", "0", "--data", data, *arguments, planted=planted, **values)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode()
            if not line:
                raise AssertionError((await ended(process)).err)
            served = Served(process, line)
            # An answer shows that the event loop runs, and so that signals are handled.
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await http.get(served.page + "healthz")).status_code == 200
        yield served
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def is_clean(end: Ended) -> None:
    """Asserts that a server ended as it should on a signal."""
    assert (end.status, end.err) == (0, "")


def is_one_clear_line(end: Ended, *fragments: str) -> None:
    """Asserts that a process failed with one line that says what is wrong."""
    assert end.status != 0
    assert end.err.count("\n") == 1, end.err
    assert end.err.endswith("\n")
    assert end.err.startswith("backchat: ")
    assert "Traceback" not in end.err
    for fragment in fragments:
        assert fragment.lower() in end.err.lower()
    assert end.out == ""


# Serving.


async def test_serve_prints_the_address_of_the_page(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as served:
        assert re.match(r"http://127\.0\.0\.1:[0-9]+/$", served.page)
        assert str(tmp_path / "data") in served.line
        async with httpx.AsyncClient(trust_env=False) as http:
            page = await http.get(served.page)
        assert page.status_code == 200
        assert "<title>Backchat" in page.text


async def test_serve_listens_on_the_port_it_was_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with serving(tmp_path, "--port", str(port)) as served:
        assert served.page == f"http://127.0.0.1:{port}/"


@unix
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_stops_an_idle_server_cleanly(tmp_path: Path, number: int) -> None:
    async with serving(tmp_path) as served:
        served.signal(number)
        is_clean(await served.ended())


@unix
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_counts_from_the_moment_that_the_address_is_printed(tmp_path: Path, number: int) -> None:
    process = await start("serve", "--port", "0", "--data", tmp_path)
    assert process.stdout is not None
    assert (await process.stdout.readline()).endswith(b"\n")
    process.send_signal(number)
    is_clean(await ended(process))


@unix
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_live_replies_as_interrupted_and_keeps_them(tmp_path: Path, number: int) -> None:
    text = "word " * 2000
    views = []
    async with serving(tmp_path, "--echo-delay", "0.02") as served:
        async with contextlib.AsyncExitStack() as stack:
            writer = await stack.enter_async_context(connect(served.ws()))
            view = View()
            take(view, await writer.recv())
            session_id = view.session["session_id"]
            reader = await stack.enter_async_context(connect(served.ws(session_id)))
            idle = await stack.enter_async_context(connect(served.ws()))
            await writer.send(text)
            await until(writer, view, lambda: view.run is not None and view.run["text"])
            served.signal(number)
            for one in (writer, reader, idle):
                seen = view if one is writer else View()
                await until(one, seen, lambda: False)
                assert one.close_code == 1012
                views.append(seen)
        is_clean(await served.ended())
    assert views[0].messages == views[1].messages
    assert views[0].run is None
    async with serving(tmp_path) as served, client(served.ws(session_id)) as again:
        assert again.view.messages == views[0].messages
        user, partial = again.view.messages
        assert (user["content"], partial["role"], partial["finish"]) == (text.strip(), "assistant", "interrupted")
        assert partial["content"]
        assert text.startswith(partial["content"])
        assert again.attached["run"] is None
        assert (await again.submit("/status"))["data"]["agent_running"] is False


def take(view: View, text: str | bytes) -> None:
    frame: Json = json.loads(text)
    if "method" in frame:
        view.apply(frame["method"], frame["params"])


async def until(socket: ClientConnection, view: View, condition: Callable[[], object]) -> None:
    """Takes frames into a view until something is true, or the server closes."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                take(view, await socket.recv())


@unix
async def test_a_signal_does_not_wait_for_those_who_say_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        port = httpx.URL(served.page).port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        # Half a request, a whole one on a connection that stays open, nothing at all.
        silent[0][1].write(b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        silent[1][1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await silent[1][0].readline()).startswith(b"HTTP/1.1 200")
        served.signal(signal.SIGTERM)
        end = await served.ended()
        for _, writer in silent:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        assert end.status == 0
        assert "Traceback" not in end.err


@unix
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_second_signal_ends_the_server_at_once(tmp_path: Path, number: int) -> None:
    async with serving(tmp_path, "--send-seconds", "600", "--reply-characters", "1000000") as served:
        port = httpx.URL(served.page).port
        assert port is not None
        async with client(served.ws()) as one:
            # Somebody who never reads, so that the sockets cannot be closed in peace.
            stalled = stalled_client(port, one.session_id)
            for _ in range(4):
                await one.say("x" * 900_000)
            served.signal(number)
            assert await one.closed() == 1012
        async with asyncio.timeout(PATIENCE):
            while await listens(port):
                pass
        served.signal(number)
        end = await served.ended()
        stalled.close()
        assert (end.status, end.err) == (128 + number, "")


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


@unix
async def test_nobody_else_on_the_machine_can_read_the_data(tmp_path: Path) -> None:
    async with serving(tmp_path / "new"):
        kept = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").glob("backchat.db*")}
        assert set(kept) == {"backchat.db", "backchat.db-wal", "backchat.db-shm"}
        assert set(kept.values()) == {0o600}
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


async def test_commas_and_white_space_separate_the_allowed_hosts(tmp_path: Path) -> None:
    names = "a.example,b.example c.example"
    async with (
        serving(tmp_path, BACKCHAT_ALLOWED_HOSTS=names, BACKCHAT_TOKEN="secret") as served,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        for name in ("a.example", "b.example", "c.example"):
            assert (await http.get(served.page + "healthz", headers={"host": name})).status_code == 200
        assert (await http.get(served.page + "healthz", headers={"host": names})).status_code == 403


@unix
async def test_a_handshake_that_never_came_through_does_not_spoil_the_end(tmp_path: Path) -> None:
    handshake = (
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Long: {'x' * 20_000}\r\n\r\n"
    )
    async with serving(tmp_path) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(served.page).port)
        writer.write(handshake.encode())
        await writer.drain()
        async with client(served.ws()) as one:
            session_id = one.session_id
            await one.say("hello")
        served.signal(signal.SIGTERM)
        end = await served.ended()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        assert "Traceback" not in end.err
        assert end.status == 0
    async with serving(tmp_path) as served, client(served.ws(session_id)) as one:
        assert one.view.texts == ["hello", "hello"]


@unix
async def test_a_server_that_was_killed_leaves_nothing_in_the_way_of_the_next(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, client(served.ws()) as one:
        await one.say("hello")
        session_id = one.session_id
        served.signal(signal.SIGKILL)
        await served.process.wait()
        with contextlib.suppress(ConnectionClosed):
            await one.socket.wait_closed()
        one._reader.cancel()
        with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
            await one._reader
        one._reader = asyncio.create_task(asyncio.sleep(0))
    async with serving(tmp_path) as served, client(served.ws(session_id)) as again:
        assert again.view.texts == ["hello", "hello"]


# Settings.


async def test_flags_beat_the_environment(tmp_path: Path) -> None:
    values = {
        "BACKCHAT_PORT": "1",
        "BACKCHAT_HOST": "0.0.0.0",
        "BACKCHAT_DATA": str(tmp_path / "environment"),
        "BACKCHAT_BACKEND": "none",
        "BACKCHAT_MAX_FRAME": "nonsense",
    }
    flags = ("--host", "127.0.0.1", "--backend", "echo", "--max-frame", "5000")
    async with serving(tmp_path / "flags", *flags, **values) as served:
        assert served.page.startswith("http://127.0.0.1:")
        async with client(served.ws()) as one:
            assert one.attached["backend"] == "echo"
    assert (tmp_path / "flags").is_dir()
    assert not (tmp_path / "environment").exists()


async def test_the_environment_sets_what_no_flag_does(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(" a-token \n", encoding="utf-8")
    values = {"BACKCHAT_BACKEND": "none", "BACKCHAT_TOKEN": "a-token", "BACKCHAT_MAX_FRAME": "100"}
    for more in ({}, {"BACKCHAT_TOKEN": "wrong", "BACKCHAT_TOKEN_FILE": str(token_file)}):
        async with serving(tmp_path / "data", **values | more) as served:
            async with httpx.AsyncClient(base_url=served.page, trust_env=False) as http:
                assert (await http.get("/api/sessions")).status_code == 401
            headers = {"Authorization": "Bearer a-token"}
            async with client(served.ws(), additional_headers=headers) as one:
                assert one.attached["backend"] == "none"


async def test_the_environment_names_the_data_directory(tmp_path: Path) -> None:
    end = await run("import", make(tmp_path / "one.json"), BACKCHAT_DATA=str(tmp_path / "named"))
    assert (end.status, end.err) == (0, "")
    assert (tmp_path / "named" / "backchat.db").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="where XDG_DATA_HOME counts")
async def test_data_is_kept_where_the_platform_keeps_it(tmp_path: Path) -> None:
    end = await run("import", make(tmp_path / "one.json"), XDG_DATA_HOME=str(tmp_path / "share"))
    assert end.status == 0
    assert (tmp_path / "share" / "backchat" / "backchat.db").is_file()


def make(path: Path) -> Path:
    path.write_text('[{"role": "user", "content": "hello"}]', encoding="utf-8")
    return path


BAD_SETTINGS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "no address": (["--host", ""], {}, "backchat"),
    "an address that is not ours": (["--host", "192.0.2.1"], {"BACKCHAT_TOKEN": "x"}, "192.0.2.1"),
    "a port beyond all ports": (["--port", "65536"], {}, "65536"),
    "a port that is no number": (["--port", "http"], {}, "http"),
    "a port that is no number, in the environment": ([], {"BACKCHAT_PORT": "http"}, "BACKCHAT_PORT"),
    "a backend that there is not": (["--backend", "gpt"], {}, "gpt"),
    "a backend that there is not, in the environment": ([], {"BACKCHAT_BACKEND": "gpt"}, "gpt"),
    "a flag that there is not": (["--colour"], {}, "--colour"),
    "an empty token": ([], {"BACKCHAT_TOKEN": ""}, "token"),
    "no room for a frame": (["--max-frame", "0"], {}, "max-frame"),
    "a frame of a size that is no number": ([], {"BACKCHAT_MAX_FRAME": "1MB"}, "1MB"),
    "no time to send": (["--send-seconds", "0"], {}, "send-seconds"),
    "time that is no number": (["--send-seconds", "nan"], {}, "send"),
    "a delay that is no number": ([], {"BACKCHAT_ECHO_DELAY": "nan"}, "echo"),
    "a negative delay": (["--echo-delay", "-1"], {}, "echo-delay"),
    "the origin of a sandbox": ([], {"BACKCHAT_ALLOWED_ORIGINS": "null"}, "null"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
async def test_a_bad_setting_is_one_clear_line(tmp_path: Path, name: str) -> None:
    arguments, values, fragment = BAD_SETTINGS[name]
    port = [] if "PORT" in str(values) else ["--port", "0"]
    process = await start("serve", "--data", tmp_path / "data", *port, *arguments, **values)
    assert process.stdout is not None
    line = await process.stdout.readline()
    if line:
        process.kill()
        await process.communicate()
    assert line == b"", "the server started all the same"
    is_one_clear_line(await ended(process), fragment)


async def test_a_token_file_that_holds_no_token_is_one_clear_line(tmp_path: Path) -> None:
    files = [tmp_path / "missing", tmp_path]
    for number, content in enumerate((b"", b" \n", b"\xff\xfe", b"two words")):
        files.append(tmp_path / f"token-{number}")
        files[-1].write_bytes(content)
    for end in await asyncio.gather(
        *(run("serve", "--data", tmp_path, "--port", "0", "--token-file", file) for file in files)
    ):
        is_one_clear_line(end, "token")


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        is_one_clear_line(await run("serve", "--data", tmp_path, "--port", port), port, "in use")


async def test_a_data_directory_in_use_is_one_clear_line_and_no_harm(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, client(served.ws()) as one:
        await one.say("before")
        is_one_clear_line(await run("serve", "--data", tmp_path, "--port", "0"), str(tmp_path), "in use")
        await one.say("after")
        assert one.view.texts == ["before", "before", "after", "after"]


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["import", "{file}"]], ids=["serve", "import"])
@pytest.mark.parametrize("place", ["file", "file/below"])
async def test_a_data_directory_that_cannot_be_is_one_clear_line(
    tmp_path: Path, command: list[str], place: str
) -> None:
    file = make(tmp_path / "file")
    arguments = [argument.format(file=file) for argument in command]
    is_one_clear_line(await run(*arguments, "--data", tmp_path / place), str(tmp_path / place))
    assert file.read_text().startswith("[")


def newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE future (x)")
        database.execute("PRAGMA user_version = 1000000")
        database.commit()


def somebody_elses(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE session (x)")
        database.commit()


DATABASES: dict[str, Callable[[Path], object]] = {
    "newer": newer,
    "somebody else's": somebody_elses,
    "no database": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["import", "{file}"]], ids=["serve", "import"])
@pytest.mark.parametrize("kind", DATABASES)
async def test_a_database_that_cannot_be_used_is_one_clear_line_and_stays_as_it_is(
    tmp_path: Path, command: list[str], kind: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    database = data / "backchat.db"
    DATABASES[kind](database)
    before = database.read_bytes() if database.is_file() else None
    file = make(tmp_path / "one.json")
    end = await run(*(argument.format(file=file) for argument in command), "--data", data)
    is_one_clear_line(end, str(data), "newer" if kind == "newer" else "")
    if kind not in ("newer", "somebody else's"):
        assert (database.read_bytes() if database.is_file() else None) == before


async def test_a_bad_setting_leaves_no_port_and_no_directory_taken(tmp_path: Path) -> None:
    data = tmp_path / "data"
    is_one_clear_line(await run("serve", "--data", data, "--port", "0", "--backend", "gpt"))
    async with serving(data):
        pass


# Users.


async def test_a_token_that_was_added_lets_its_user_in_while_the_server_runs_and_until_it_is_removed(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        added = await run("token", "add", "ann", "--data", tmp_path)
        assert (added.status, added.err) == (0, "")
        (token,) = added.out.split()
        assert len(token) >= 43
        headers = {"Authorization": f"Bearer {token}"}
        async with client(served.ws(), additional_headers=headers) as one:
            await one.say("hello")
            removed = await run("token", "remove", "ann", "--data", tmp_path)
            assert (removed.status, removed.out, removed.err) == (0, "", "")
            assert await one.closed() == 4401


async def test_the_users_who_have_a_token_are_listed_and_their_tokens_are_not(tmp_path: Path) -> None:
    tokens = [(await run("token", "add", name, "--data", tmp_path)).out.strip() for name in ("ben", "ann")]
    assert len(set(tokens)) == 2
    listed = await run("token", "list", "--data", tmp_path)
    assert [line.split()[0] for line in listed.out.splitlines()] == ["ann", "ben"]
    assert not [token for token in tokens if token in listed.out]


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "ann"], ["add", "Ann"], ["add", ""], ["add", "a" * 41], ["add", "-a"], ["add", "ä"], ["add", "a b"],
        ["remove", "ben"], ["remove", ""],
    ],
    ids=str,
)  # fmt: skip
async def test_a_token_that_cannot_be_added_or_removed_is_one_clear_line(tmp_path: Path, arguments: list[str]) -> None:
    assert (await run("token", "add", "ann", "--data", tmp_path)).status == 0
    is_one_clear_line(await run("token", *arguments, "--data", tmp_path))
    assert (await run("token", "list", "--data", tmp_path)).out.startswith("ann ")


async def test_sessions_are_imported_for_the_user_who_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('[{"role": "user", "content": "hello"}]')
    assert (await run("import", "--user", "ann", "--data", tmp_path / "data", file)).status == 0
    with Database(tmp_path / "data") as database:
        assert [len(database.sessions(name, None, 9)) for name in ("ann", "local")] == [1, 0]
    is_one_clear_line(await run("import", "--user", "Ann", "--data", tmp_path / "data", file), "name")


async def test_a_server_that_nobody_has_a_token_for_says_how_to_come_in(tmp_path: Path) -> None:
    async with running(tmp_path, host="0.0.0.0") as server:
        told = welcome(server.backchat, "http://192.0.2.1:8765/", tmp_path)
        (code,) = re.findall(r"http://192\.0\.2\.1:8765/#sign-in=(\S+)$", told, re.MULTILINE)
        assert await server.backchat._users.sign_in(code)
    async with running(tmp_path / "loopback") as server:
        assert "sign-in" not in welcome(server.backchat, "http://127.0.0.1:8765/", tmp_path)


# Help.


async def test_help_names_the_commands() -> None:
    for flag in ("--help", "-h"):
        end = await run(flag)
        assert (end.status, end.err) == (0, "")
        assert "serve" in end.out
        assert "import" in end.out


async def test_help_names_every_flag_with_its_variable() -> None:
    end = await run("serve", "--help")
    assert (end.status, end.err) == (0, "")
    for name in ("host", "port", "data", "backend", "token-file", "allowed-host", "allowed-origin", "max-frame"):
        assert f"--{name}" in end.out
    shown = re.sub(r"\s+", "", end.out)
    for name in ("HOST", "PORT", "DATA", "BACKEND", "TOKEN", "TOKEN_FILE", "MAX_FRAME"):
        assert f"BACKCHAT_{name}" in shown
    assert "8765" in end.out


async def test_help_says_what_import_takes() -> None:
    end = await run("import", "--help")
    assert (end.status, end.err) == (0, "")
    assert "--data" in end.out
    assert "PATH" in end.out


async def test_a_command_line_without_a_command_shows_the_help() -> None:
    end = await run()
    assert end.status != 0
    assert "Traceback" not in end.err
    assert end.err.count("\n") > 3
    assert "serve" in end.err


async def test_the_version_is_told() -> None:
    end = await run("--version")
    assert end.status == 0
    assert re.search(r"[0-9]+\.[0-9]+", end.out)


@pytest.mark.parametrize("arguments", [["sing"], ["--sing"], ["import"], ["import", "--sing"]])
async def test_a_wrong_command_is_one_clear_line(tmp_path: Path, arguments: list[str]) -> None:
    is_one_clear_line(await run(*arguments, BACKCHAT_DATA=str(tmp_path)))
