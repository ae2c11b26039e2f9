"""The servers under load, each a process of its own on a port of 127.0.0.1, ended with the context."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from uvicorn import Config

from backchat.config import Settings
from backchat.server import uvicorn_config
from tests.bench.links import Target

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 15.0
"""How long a server may take to end before it is killed."""


class TooFewFiles(Exception):
    """This machine does not let a process have as many sockets as are needed."""


def allow_files(number: int) -> None:
    """Lets this process, and those that it starts from now on, have that many open files. Raises TooFewFiles."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    except (ValueError, OSError) as error:
        raise TooFewFiles(f"A process may have {soft:,} open files here; {number:,} are needed (ulimit -n).") from error


def backchat(data: Path, *options: str, port: int = 0) -> list[str]:
    """The module and the arguments of `backchat serve` on a data directory."""
    rates = ("--frames-per-minute", "0", "--commands-per-minute", "0")
    return ["backchat", "serve", "--port", str(port), "--data", str(data), *rates, *options]


def echo(port: int = 0) -> list[str]:
    """The module and the arguments of the bare Starlette server."""
    return ["tests.bench.echo", str(port), json.dumps(_uvicorn_settings())]


def _uvicorn_settings() -> dict[str, Any]:
    """All that Backchat sets of uvicorn, but for what it adds to the protocols."""
    set_, plain = uvicorn_config(_no_app, Settings()), Config(_no_app)
    names = (signature(Config).parameters.keys() & vars(plain).keys()) - {"app", "http", "ws"}
    changed = {name: getattr(set_, name) for name in names if getattr(set_, name) != getattr(plain, name)}
    return {**changed, "ws": "websockets-sansio"}


async def _no_app(*_: Any) -> None:
    """Stands where an application belongs."""


class Running:
    """A process that has been started; `pid` is its id."""

    def __init__(self, command: Sequence[str]) -> None:
        # Settings of whoever runs the bench must not reach the servers; one that keeps Python from keeping what it has
        # compiled would have it compile ours anew at each start, and not what is installed.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BACKCHAT_", "UVICORN_", "OPENAI_", "PYTHONDONTWRITEBYTECODE"))
            and not name.upper().endswith("_PROXY")
        }
        self._command = command
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def port(self) -> int:
        """The port that it has printed, alone or in an address; waits until then."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)/|^(\d+)$", line)
        if found is None:
            raise RuntimeError(f"{self._command[0]} did not start, and said {line!r}")
        return int(found[1] or found[2])

    def target(self) -> Target:
        """It as a server under load; waits until it is one."""
        ours = self._command[0] in ("backchat", "tests.bench.counted")
        return Target(self.port(), self.pid, greets=ours, echoes=self._command[0] == "tests.bench.echo")

    def bytecodes(self) -> int:
        """How many it has counted, if it is tests.bench.counted."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        return int(self._process.stdout.readline())

    def wait(self) -> None:
        """Returns once it has ended by itself. Raises RuntimeError where it says that it failed."""
        if self._process.wait():
            raise RuntimeError(f"{self._command[0]} ended with status {self._process.returncode}")

    def terminate(self) -> None:
        """Asks it to end."""
        self._process.terminate()

    def close(self) -> None:
        """Ends it, and returns once it has ended."""
        self.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Together(ExitStack):
    """Processes that start at the same time, and are asked to end at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._started: list[Running] = []

    def start(self, command: Sequence[str]) -> Running:
        """Starts one; does not wait until it is ready."""
        self._started.append(self.enter_context(Running(command)))
        return self._started[-1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        for running in self._started:
            running.terminate()
        return bool(super().__exit__(kind, error, traceback))
