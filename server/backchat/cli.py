"""The command line: `backchat serve`, `backchat import`, `backchat token`, `backchat backup`,
`backchat check`, `backchat models`."""

import asyncio
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from backchat import __version__
from backchat.config import BACKENDS, Settings, default_data
from backchat.errors import BackchatError, DataDirectoryError, SettingError
from backchat.logs import FORMATS, LEVELS, set_up
from backchat.names import OWNER, check_user_name

if TYPE_CHECKING:
    from backchat.app import Backchat
    from backchat.store.sqlite import Database

DATA_HELP: Final = "Directory of the database and all else that is kept.  [default: the user data directory]"
SWITCH_SECONDS: Final = 0.0001
"""How long the event loop may keep the writer thread waiting for the interpreter, which it needs four times for each
batch; Python's default is fifty times that."""

COLLECT: Final = (10_000, 20, 20)
"""How much must come up before the garbage collector looks at what is new, and how often it then looks at the rest.
What a command makes is gone without it; Python's default would have it look hundreds of times a second."""

MOMENT_SECONDS: Final = 0.5
"""An import that takes longer shows how far it is."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def main() -> NoReturn:
    """The entry point. Every error is one line on standard error, and a status that is not 0."""
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except BackchatError as error:
        _fail(str(error), 1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    click.echo("backchat: " + " ".join(message.split()), err=True)
    sys.exit(status)


_data: Final = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), envvar="BACKCHAT_DATA", show_envvar=True, help=DATA_HELP
)


_base_url: Final = click.option(
    "--base-url",
    envvar="BACKCHAT_BASE_URL",
    show_envvar=True,
    help="Address of the OpenAI-compatible endpoint, like http://127.0.0.1:11434/v1.  [default: OPENAI_BASE_URL, or"
    " OpenAI's own]",
)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_api_key_file: Final = click.option(
    "--api-key-file",
    type=_FILE,
    envvar="BACKCHAT_API_KEY_FILE",
    show_envvar=True,
    help="File with the endpoint's key. BACKCHAT_API_KEY or OPENAI_API_KEY may hold the key itself.",
)


def _option(name: str, help_text: str, **options: Any) -> Callable[[_Command], _Command]:
    """An option of `serve`: its environment variable and its default follow from the setting of the same name."""
    setting = name.removeprefix("--").replace("-", "_")
    return click.option(
        name,
        envvar=f"BACKCHAT_{setting.upper()}",
        show_envvar=True,
        default=Settings.__struct_defaults__[Settings.__struct_fields__.index(setting)],
        show_default=True,
        help=help_text,
        **options,
    )


def _split(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for value in values for part in value.replace(",", " ").split())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="backchat")
def cli() -> None:
    """Chat sessions that can be taken back, over a WebSocket."""


@cli.command()
@_option("--host", "Address to listen on. Any but a loopback one needs a token.")
@_option("--port", "Port to listen on; 0 takes a free one.", type=int)
@_data
@_option(
    "--backend",
    "What replies: openai asks an OpenAI-compatible endpoint, echo says back what you said, none stores only.",
    type=click.Choice(BACKENDS),
)
@_option("--echo-delay", "Seconds between the words of an echo.", type=float)
@_base_url
@click.option(
    "--model",
    envvar=["BACKCHAT_MODEL", "OPENAI_MODEL"],
    show_envvar=True,
    help="Model that replies where a session has chosen none.",
)
@_api_key_file
@_option("--retries", "How often a request that failed before its first word is made again.", type=int)
@_option("--first-delta-seconds", "How long a model may take to begin its reply.", type=float)
@_option("--delta-seconds", "How long a model may pause within a reply.", type=float)
@_option("--reply-characters", "Most characters of a reply, its reasoning included.", type=int)
@_option("--queue-messages", "Most messages of a session that wait for a reply to end.", type=int)
@click.option(
    "--prompts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="BACKCHAT_PROMPTS",
    show_envvar=True,
    help="Directory of Markdown files, each the prompt of a personality.  [default: prompts in the data directory]",
)
@click.option(
    "--token-file",
    type=_FILE,
    envvar="BACKCHAT_TOKEN_FILE",
    show_envvar=True,
    help="File with the access token. BACKCHAT_TOKEN may hold the token itself.",
)
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, envvar="BACKCHAT_ALLOWED_HOSTS", show_envvar=True,
    callback=_split,
    help="Another name that this server answers to. May be repeated; commas separate.",
)  # fmt: skip
@click.option(
    "--allowed-origin", "allowed_origins", multiple=True, envvar="BACKCHAT_ALLOWED_ORIGINS", show_envvar=True,
    callback=_split,
    help="Another origin whose pages may connect, like https://chat.example.com. May be repeated; commas separate.",
)  # fmt: skip
@_option("--max-frame", "Most bytes in a WebSocket message or a request body.", type=int)
@_option("--import-bytes", "Most bytes in a file that is imported over HTTP.", type=int)
@_option("--in-flight", "Most requests of one connection that wait for their reply.", type=int)
@_option("--outbox-frames", "Most frames that may wait for one slow client.", type=int)
@_option("--outbox-characters", "Most characters that may wait for one slow client.", type=int)
@_option("--send-seconds", "How long a client may take to accept one frame.", type=float)
@_option("--connections", "Most connections at a time, HTTP and WebSocket together.", type=int)
@_option("--connections-per-address", "Most WebSockets of one address at a time.", type=int)
@_option(
    "--frames-per-minute",
    "Most frames that are read from one connection in a minute; the others wait. 0: no limit.",
    type=int,
)
@_option(
    "--commands-per-minute",
    "Most messages, commands and other changes of one address in a minute; the others are refused. 0: no limit.",
    type=int,
)
@_option("--runs", "Most replies that are written at a time; the others wait for their turn.", type=int)
@_option("--idle-sessions", "How many sessions that nobody uses stay in memory.", type=int)
@_option("--op-id-hours", "How long the repetition of a request is known by its op_id.", type=float)
@_option("--log-level", "What is written to standard error.", type=click.Choice(LEVELS))
@_option("--log-format", "How: a line of text, or of JSON, for each thing that happened.", type=click.Choice(FORMATS))
def serve(data: Path | None, token_file: Path | None, api_key_file: Path | None, **options: Any) -> None:
    """Run the server."""
    settings = Settings(
        data=data or default_data(),
        token=_secret(token_file, "BACKCHAT_TOKEN"),
        api_key=_secret(api_key_file, "BACKCHAT_API_KEY"),
        **options,
    )
    _serve(settings)


def _secret(file: Path | None, variable: str) -> str | None:
    # Not an option: what stands on a command line can be read by every user of the machine.
    if file is None:
        return os.environ.get(variable)
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"Cannot read {file}: {error}.") from error


def _serve(settings: Settings) -> None:
    set_up(settings.log_level, settings.log_format)
    # What start-up makes stays: the collector need not look at it, neither now, which costs more than any import, nor
    # later.
    gc.disable()
    # Late, so that `backchat import` and `--help` do not wait for a web server.
    from backchat.app import Backchat
    from backchat.server import BackchatServer, allow_files, listen, uvicorn_config

    listening = listen(settings.host, settings.port)
    try:
        backchat = Backchat(settings)
    except BackchatError:
        listening.close()
        raise
    address = _address(settings.host, listening)
    if settings.allowed_hosts and backchat.open:
        click.echo(
            "backchat: Without a token, whoever reaches this server under an allowed host can do everything;"
            " set BACKCHAT_TOKEN unless the proxy asks who comes.",
            err=True,
        )
    possible = allow_files(settings.connections)
    if possible < settings.connections:
        click.echo(
            f"backchat: The open files that this process may have suffice for {possible:,} connections, not for"
            f" {settings.connections:,}; raise them (ulimit -n), or lower --connections.",
            err=True,
        )
    server = BackchatServer(
        uvicorn_config(backchat.asgi, settings, possible),
        started=lambda: click.echo(welcome(backchat, address, settings.data)),
        drain=backchat.drain,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*COLLECT)
    gc.enable()
    server.run(sockets=[listening])


def welcome(backchat: "Backchat", address: str, data: Path) -> str:
    """What is said once the server is there; an invitation where nobody could come in otherwise."""
    lines = [f"Backchat is at {address}  (Ctrl-C stops it; data in {data})"]
    if (code := backchat.invite()) is not None:
        # Behind a #, so that no browser sends it with the address. Once used, whoever finds this line gains nothing.
        lines.append(f"Nobody has a token yet. This link signs one browser in, once: {address}#sign-in={code}")
        lines.append("For another, or for a program, `backchat token add NAME` makes a token.")
    return "\n".join(lines)


def _address(host: str, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@cli.command("models")
@_base_url
@_api_key_file
def models_command(base_url: str | None, api_key_file: Path | None) -> None:
    """List the models that an OpenAI-compatible endpoint offers."""
    from backchat.backends.openai import OpenAI

    async def names() -> list[str]:
        backend = OpenAI(base_url=base_url, model=None, api_key=_secret(api_key_file, "BACKCHAT_API_KEY"), retries=0)
        try:
            return await backend.models()
        finally:
            await backend.close()

    for name in asyncio.run(names()):
        click.echo(name)


def _progress(files: int) -> Any:
    """A bar that counts files, and says how many sessions were seen in them."""
    from backchat.views import counted

    return click.progressbar(
        length=files,
        label="Importing",
        item_show_func=lambda seen: None if seen is None else counted(seen, "session"),
        update_min_steps=0,
        file=sys.stderr,
    )


@cli.group()
def token() -> None:
    """Who may come in: each user has a token, and sessions of their own.

    A server may be running on the same data; it knows of a change within a second. As soon as there is one user,
    everybody needs a token. The token that `serve` is given is that of the user `local`.
    """


@token.command("add")
@_data
@click.argument("name")
def token_add(data: Path | None, name: str) -> None:
    """Give a user a token, and print it. It is kept nowhere: this is the only time that it is shown."""
    from backchat.store.base import User
    from backchat.users import cookie_of, key_of, new_token

    check_user_name(name)
    made = new_token()
    with _database(data) as database:
        database.add_user(User(name=name, key=key_of(cookie_of(made)), created_at=time.time()))
    click.echo(made)


@token.command("list")
@_data
def token_list(data: Path | None) -> None:
    """Name the users who have a token, and when they got it."""
    with _database(data) as database:
        for user in database.users():
            click.echo(f"{user.name}  {datetime.fromtimestamp(user.created_at).astimezone():%Y-%m-%d %H:%M}")


@token.command("remove")
@_data
@click.argument("name")
def token_remove(data: Path | None, name: str) -> None:
    """Take a user's token away. Their connections are closed; their sessions stay, for when they get another."""
    with _database(data) as database:
        database.remove_user(name)


@contextmanager
def _database(data: Path | None) -> Iterator["Database"]:
    """The database, for a moment. Raises DataDirectoryError."""
    # Late, like all that only one command needs.
    import sqlite3

    from backchat.store.sqlite import Database

    directory = data or default_data()
    try:
        with Database(directory) as database:
            yield database
    except sqlite3.Error as error:
        raise DataDirectoryError(f"Cannot use the data directory {directory}: {error}.") from error


@cli.command()
@_data
@click.argument("file", type=click.Path(path_type=Path))
def backup(data: Path | None, file: Path) -> None:
    """Copy the database to FILE, which must not be there yet. A server may be running on the same data.

    To put a copy back, stop the server, delete backchat.db-wal and backchat.db-shm, and put it in place as backchat.db.
    """
    from backchat.upkeep import back_up
    from backchat.views import counted

    counts = back_up(data or default_data(), file)
    size = file.stat().st_size / 1e6
    click.echo(
        f"{counted(counts.sessions, 'session')}, {counted(counts.messages, 'message')}, {size:,.1f} MB  ({file})"
    )


@cli.command()
@_data
def check(data: Path | None) -> int:
    """Look whether all is well with the database: a line for each problem, and a status that is not 0 if there is one.
    Nothing is changed. A server may be running on the same data.
    """
    from backchat.upkeep import check as checked
    from backchat.views import counted

    directory = data or default_data()
    problems = 0

    def tell(problem: str) -> None:
        nonlocal problems
        problems += 1
        click.echo(problem)

    counts = checked(directory, tell)
    found = counted(problems, "problem") if problems else "No problem"
    looked_at = f"{counted(counts.sessions, 'session')}, {counted(counts.messages, 'message')}"
    click.echo(f"{found} in {looked_at}  (data in {directory})")
    return 1 if problems else 0


@cli.command("import")
@_data
@click.option("--user", default=OWNER, show_default=True, help="Whose sessions they will be.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
def import_command(data: Path | None, user: str, paths: tuple[Path, ...]) -> int:
    """Import sessions: JSON files of a chat web UI's session store, exports of ChatGPT and Open WebUI with all their
    branches, bare lists of messages, or directories of them.

    A server may be running on the same data. What is there already, or is no session, is skipped.
    """
    from backchat.importer import files_in, import_files
    from backchat.store.sqlite import Database

    check_user_name(user)
    files = files_in(list(paths))
    counts = {"imported": 0, "skipped": 0, "broken": 0}
    told = []
    began = time.monotonic()
    bar = None
    directory = data or default_data()
    with Database(directory) as database, ExitStack() as stack:
        for number, file in enumerate(files):
            for result in import_files(database, [file], user):
                counts[result.outcome] += 1
                if result.outcome != "imported":
                    told.append(f"{result.outcome}: {click.format_filename(result.path)}: {result.detail}")
                if bar is None and time.monotonic() - began > MOMENT_SECONDS and sys.stderr.isatty():
                    bar = stack.enter_context(_progress(len(files)))
                    bar.update(number)
                if bar is not None:
                    # One file may hold thousands.
                    bar.update(0, sum(counts.values()))
            if bar is not None:
                bar.update(1)
    for line in told:
        click.echo(line, err=True)
    summary = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    click.echo(f"{summary}  (data in {directory})")
    return 1 if counts["broken"] else 0
