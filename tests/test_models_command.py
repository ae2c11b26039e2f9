"""`backchat models`, and `backchat serve --backend openai` as far as its start: real processes, a real model server."""

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client import PATIENCE, Client, client
from tests.support.model_server import Exchange, ModelServer, Step, answer, model_server, page, status
from tests.test_cli import Served, environment, is_clean, is_one_clear_line, run, serving, start, unix

NO_KEY = (
    "backchat: There is no key for api.openai.com: set OPENAI_API_KEY, or name another server with --base-url (Ollama"
    " on this machine is http://127.0.0.1:11434/v1).\n"
)
NOTHING: dict[str, str] = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
"""The environment of somebody who has not set anything up."""
LATE = ("openai", "genai_prices", "pydantic", "httpx2", "anthropic", "tiktoken", "numpy")
"""What takes long to import; only a model needs it."""


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    """A model server."""
    async with model_server() as models:
        yield models


class Taken:
    """A port that is taken and on which nobody listens: whoever connects is refused."""

    def __init__(self, port: socket.socket) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port.getsockname()[1]}/v1"

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[ModelServer]:
        """A model server comes up there."""
        models = ModelServer()
        server = await asyncio.start_server(models.accept, sock=self._port)
        try:
            yield models
        finally:
            server.close()
            await models.close()
            await server.wait_closed()


@pytest.fixture
async def taken() -> AsyncIterator[Taken]:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        yield Taken(port)


async def said(one: Client, line: str) -> str | None:
    """Asks for a reply, and returns how it ended, in words: None where it did not fail."""
    started = len(one.named("run.started"))
    await one.submit(line)
    await one.until(lambda: len(one.named("run.started")) > started)
    ended = await one.ended(one.named("run.started")[-1]["run_id"])
    return None if ended["reason"] == "completed" else ended["error"]["message"]


async def completed(one: Client, line: str) -> list[str]:
    """What could stand at the end of a line."""
    return [candidate["value"] for candidate in (await one.request("complete", text=line))["candidates"]]


# `backchat models`.


async def test_models_lists_what_the_endpoint_offers(models: ModelServer) -> None:
    models.models = ["qwen3:4b", "llama3.2", "gemma3"]
    for arguments, values in (
        (["--base-url", models.url], {}),
        ([], {"BACKCHAT_BASE_URL": f"{models.url}/", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}),
        ([], {"OPENAI_BASE_URL": models.url}),
    ):
        end = await run("models", *arguments, **NOTHING | values)
        assert (end.status, end.out, end.err) == (0, "gemma3\nllama3.2\nqwen3:4b\n", "")
    assert models.requests == [], "nobody was asked for a reply"


async def test_models_of_an_endpoint_that_has_none_are_no_lines(models: ModelServer) -> None:
    models.script_models(answer(200, {"object": "list", "data": None}))
    end = await run("models", "--base-url", models.url, **NOTHING)
    assert (end.status, end.out, end.err) == (0, "", "")


async def test_models_sends_the_key_and_shows_it_nowhere(models: ModelServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-123456789\n", encoding="utf-8")
    keys = []

    async def refused(exchange: Exchange) -> None:
        keys.append(exchange.headers["authorization"])
        await exchange.status(401, {"error": {"message": "Incorrect API key provided: sk-123456789."}}, {})

    for arguments, values in (
        (["--api-key-file", str(key)], {}),
        ([], {"BACKCHAT_API_KEY": "sk-123456789", "OPENAI_API_KEY": "another"}),
        ([], {"OPENAI_API_KEY": "sk-123456789"}),
    ):
        models.script_models(refused)
        end = await run("models", "--base-url", models.url, *arguments, **NOTHING | values)
        is_one_clear_line(end, "did not accept the API key")
        assert end.status == 1
        assert "sk-1" not in end.err
    assert keys == ["Bearer sk-123456789"] * 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401), "wants an API key. Set --api-key-file or OPENAI_API_KEY"),
        (answer(404, "404 page not found"), "There is no list of models at {url}"),
        (status(429, "Slow down.", retry_after="7"), "was asked too often (“Slow down.”). Wait 7 seconds"),
        (status(500, "Oops.\nAnd a\tsecond line."), "failed with status 500 (“Oops. And a second line.”)"),
        (page(), "{url} answered with something that is no list of models. Check --base-url"),
        (answer(200, {"data": 5}), "{url} answered with something that is no list of models. Check --base-url"),
    ],
    ids=["401", "404", "429", "500", "page", "nonsense"],
)
async def test_models_that_cannot_be_listed_are_one_clear_line(models: ModelServer, fault: Step, words: str) -> None:
    models.script_models(fault)
    end = await run("models", "--base-url", models.url, **NOTHING)
    is_one_clear_line(end, words.replace("{url}", models.url))
    assert end.status == 1


async def test_models_of_a_server_that_is_not_there_are_one_clear_line(taken: Taken) -> None:
    end = await run("models", "--base-url", taken.url, **NOTHING)
    is_one_clear_line(end, f"Nothing answers at {taken.url}: the connection was refused.")
    assert end.status == 1
    assert "/retry" not in end.err, "that is no command of a shell"


async def test_models_without_an_address_or_a_key_is_one_clear_line() -> None:
    end = await run("models", **NOTHING)
    assert (end.status, end.out, end.err) == (1, "", NO_KEY)


# `backchat serve --backend openai`: what is wrong is said before anything is taken.

AN_ADDRESS = ("--base-url", "http://127.0.0.1:1/v1")
REFUSED: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "no model": (("--backend", "openai", *AN_ADDRESS), {}, "Name the model that replies with --model"),
    "an empty model": (
        ("--backend", "openai", *AN_ADDRESS, "--model", ""),
        {},
        "Name the model that replies with --model",
    ),
    "no model, in the environment": (
        (),
        {"BACKCHAT_BACKEND": "openai", "BACKCHAT_BASE_URL": AN_ADDRESS[1]},
        "Name the model that replies with --model",
    ),
    "no key for the usual address": (("--backend", "openai", "--model", "m"), {}, NO_KEY.removeprefix("backchat: ")),
    "an address without http": (
        ("--backend", "openai", "--model", "m", "--base-url", "127.0.0.1:11434/v1"),
        {},
        "The base URL is not the address of an API; one looks like http://127.0.0.1:11434/v1.",
    ),
    "an address that is none, in the usual variable": (
        ("--backend", "openai", "--model", "m"),
        {"OPENAI_BASE_URL": "http://ann:secret@host:port/v1", "OPENAI_API_KEY": "k"},
        "The base URL is not the address of an API; one looks like http://127.0.0.1:11434/v1.",
    ),
    "an address for an echo": (AN_ADDRESS, {}, "--base-url goes with --backend openai."),
    "an address for what only stores": (
        ("--backend", "none", *AN_ADDRESS),
        {},
        "--base-url goes with --backend openai.",
    ),
    "a key that no header can hold": (
        ("--backend", "openai", "--model", "m", *AN_ADDRESS),
        {"OPENAI_API_KEY": "kéy"},
        "The API key may hold visible ASCII characters only.",
    ),
    "a key file that is not there": (
        ("--backend", "openai", "--model", "m", *AN_ADDRESS, "--api-key-file", "missing"),
        {},
        "missing",
    ),
    "no patience": (
        ("--backend", "openai", "--model", "m", *AN_ADDRESS, "--first-delta-seconds", "0"),
        {},
        "first-delta-seconds must be between",
    ),
    "too many repetitions": (
        ("--backend", "openai", "--model", "m", *AN_ADDRESS, "--retries", "11"),
        {},
        "retries must be between",
    ),
    "prompts that are not there": (("--prompts", "missing"), {}, "missing"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_setting_that_no_model_can_be_reached_with_is_one_clear_line(tmp_path: Path, name: str) -> None:
    arguments, values, words = REFUSED[name]
    data = tmp_path / "data"
    end = await run("serve", "--port", "0", "--data", data, *arguments, **NOTHING | values)
    is_one_clear_line(end, words.strip())
    assert "secret" not in end.err
    assert not data.exists(), "nothing was begun"


async def stopped(served: Served) -> str:
    """Stops a server; what it had logged."""
    served.signal(signal.SIGTERM)
    end = await served.ended()
    assert end.status == 0
    assert "Traceback" not in end.err
    return end.err


@unix
async def test_an_address_and_a_model_are_enough(tmp_path: Path, models: ModelServer) -> None:
    models.models = ["one", "two"]
    arguments = ("--backend", "openai", "--base-url", models.url, "--model", "one")
    async with serving(tmp_path, *arguments, **NOTHING) as served:
        async with client(served.ws()) as one:
            assert (one.attached["backend"], one.view.session["model"]) == ("openai", "one")
            assert await said(one, "Hello, you") is None
            assert one.view.texts == ["Hello, you", "Hello, you"]
            # They are asked for in the background.
            async with asyncio.timeout(PATIENCE):
                while "two" not in (names := await completed(one, "/model ")):
                    pass
            assert names == ["one", "two", "none"]
        assert models.requests[0]["model"] == "one"
        served.signal(signal.SIGTERM)
        is_clean(await served.ended())


@unix
async def test_the_environment_is_enough(tmp_path: Path, models: ModelServer) -> None:
    models.models = ["one"]
    key = tmp_path / "key"
    key.write_text("from-a-file\n", encoding="utf-8")
    values = {"BACKCHAT_BACKEND": "openai", "BACKCHAT_MODEL": "one", "OPENAI_BASE_URL": models.url}
    for more, sent in (
        ({"OPENAI_API_KEY": "usual"}, "usual"),
        ({"OPENAI_API_KEY": "usual", "BACKCHAT_API_KEY": "ours", "BACKCHAT_API_KEY_FILE": str(key)}, "from-a-file"),
    ):
        async with serving(tmp_path / "data", **NOTHING | values | more) as served:
            async with client(served.ws()) as one:
                assert await said(one, "Hello") is None
            assert models.exchanges[-1].headers["authorization"] == f"Bearer {sent}"


@unix
async def test_a_server_starts_before_its_models_says_so_once_and_works_once_they_are_up(
    tmp_path: Path, taken: Taken
) -> None:
    nothing = f"Nothing answers at {taken.url}: the connection was refused. Start the model server"
    arguments = ("--backend", "openai", "--base-url", taken.url, "--model", "one")
    async with serving(tmp_path, *arguments, **NOTHING) as served:
        assert served.process.stderr is not None
        # A process has one end of its standard error, and this is it until the server has ended.
        warning = (await served.process.stderr.readline()).decode()
        assert nothing in warning
        async with client(served.ws()) as one:
            assert one.view.session["model"] == "one"
            failure = await said(one, "Hello")
            assert failure is not None
            assert failure.startswith(nothing)
            assert one.view.messages[1]["note"] == failure
            async with taken.up() as models:
                models.models = ["one"]
                assert await said(one, "/retry") is None
                assert one.view.texts == ["Hello", "Hello"]
        (failed,) = (await stopped(served)).splitlines()
        assert failed.endswith("reply failed session=" + one.session_id + " run=r2 cause=APIConnectionError")


@unix
async def test_a_model_that_the_endpoint_does_not_list_is_warned_of_and_may_be_right(
    tmp_path: Path, models: ModelServer
) -> None:
    models.models = ["qwen3:4b", "gemma3"]
    arguments = ("--backend", "openai", "--base-url", models.url, "--model", "qwen3:8b")
    async with serving(tmp_path, *arguments, **NOTHING) as served:
        assert served.process.stderr is not None
        warning = (await served.process.stderr.readline()).decode()
        assert "qwen3:8b" in warning
        assert "qwen3:4b" in warning
        async with client(served.ws()) as one:
            assert await said(one, "Hello") is None
        assert await stopped(served) == ""


@unix
async def test_a_base_url_without_its_path_is_told_at_the_start_and_in_the_reply(
    tmp_path: Path, models: ModelServer
) -> None:
    url = f"http://127.0.0.1:{models.port}"
    arguments = ("--backend", "openai", "--base-url", url, "--model", "one")
    async with serving(tmp_path, *arguments, **NOTHING) as served:
        assert served.process.stderr is not None
        warning = (await served.process.stderr.readline()).decode()
        assert f"There is no list of models at {url}" in warning
        async with client(served.ws()) as one:
            failure = await said(one, "Hello")
            assert failure == (
                f"There is no chat endpoint at {url} (“404 page not found”). Check --base-url: it usually ends in /v1."
            )


@unix
async def test_a_signal_does_not_wait_for_a_model_that_says_nothing(tmp_path: Path, models: ModelServer) -> None:
    models.models = ["one"]
    models.hold()
    arguments = ("--backend", "openai", "--base-url", models.url, "--model", "one")
    async with serving(tmp_path, *arguments, **NOTHING) as served:
        async with client(served.ws()) as one:
            session_id = one.session_id
            await one.submit("Hello")
            exchange = await models.asked()
            await exchange.say("Good day, ")
            await one.until(lambda: one.view.run and one.view.run["text"])
            served.signal(signal.SIGTERM)
            assert await one.closed() == 1012
        is_clean(await served.ended())
        await exchange.broken.wait()
    async with serving(tmp_path, *arguments, **NOTHING) as served, client(served.ws(session_id)) as one:
        assert one.view.texts == ["Hello", "Good day, "]
        assert one.view.messages[1]["finish"] == "interrupted"
        assert await said(one, "/retry") is None
        assert one.view.texts == ["Hello", "Hello"]
    assert len(models.requests) == 2


# What is imported.


def test_an_application_without_a_model_imports_nothing_of_models(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from backchat.app import create_app\nfrom backchat.config import Settings\n"
        "create_app(Settings(data=Path(sys.argv[1]), backend=sys.argv[2]))\n"
        "print(*[name for name in sys.argv[3:] if name in sys.modules])"
    )
    for backend in ("echo", "none"):
        arguments = [sys.executable, "-c", script, str(tmp_path / backend), backend, *LATE]
        done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True)
        assert done.stdout.split() == []


@unix
async def test_a_server_without_a_model_imports_nothing_of_models(tmp_path: Path) -> None:
    async with serving(tmp_path, PYTHONPROFILEIMPORTTIME="1") as served:
        assert served.process.stderr is not None
        async with client(served.ws()) as one:
            await one.say("hello")
            await one.request("complete", text="/model ")
            await one.submit("/usage")
        # Read while it is written: a pipe that is full would hold the server up.
        reading = asyncio.create_task(served.process.stderr.read())
        served.signal(signal.SIGTERM)
        imported = re.findall(r"\| +([\w.]+)$", (await reading).decode(), re.MULTILINE)
    assert "backchat.app" in imported
    assert not [name for name in imported if name.partition(".")[0] in LATE]


async def test_help_and_import_do_not_wait_for_anything_of_models(tmp_path: Path) -> None:
    session = tmp_path / "one.json"
    session.write_text('[{"role": "user", "content": "hello"}]', encoding="utf-8")
    for arguments in (["serve", "--help"], ["models", "--help"], ["import", "--data", tmp_path / "data", session]):
        end = await run(*arguments, PYTHONPROFILEIMPORTTIME="1")
        assert end.status == 0
        imported = re.findall(r"\| +([\w.]+)$", end.err, re.MULTILINE)
        assert "backchat.cli" in imported
        assert not [name for name in imported if name.partition(".")[0] in LATE]


# Help.


async def test_help_says_how_to_reach_a_model() -> None:
    end = await run("serve", "--help")
    assert (end.status, end.err) == (0, "")
    shown = re.sub(r"\s+", "", end.out)
    for name in ("base-url", "model", "api-key-file", "retries", "first-delta-seconds", "delta-seconds"):
        assert f"--{name}" in shown
        assert f"BACKCHAT_{name.upper().replace('-', '_')}" in shown
    assert "OPENAI_API_KEY" in shown
    assert "OPENAI_BASE_URL" in shown
    end = await run("models", "--help")
    assert (end.status, end.err) == (0, "")
    assert "--base-url" in end.out
    assert "--api-key-file" in end.out


async def test_models_takes_no_argument() -> None:
    is_one_clear_line(await run("models", "more", **NOTHING))


async def test_models_can_be_interrupted(models: ModelServer) -> None:
    asked = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        asked.set()
        await exchange.over.wait()

    models.script_models(silent)
    process = await start("models", "--base-url", models.url, **NOTHING)
    await asked.wait()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (out, process.returncode) == (b"", 130), err
    assert b"Traceback" not in err
