"""The servers under load, each a process of its own on a free port of 127.0.0.1, ended with the context."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.driver import Target
from tests.bench.model import MODEL

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


@contextmanager
def ours(data: Path, model_port: int | None = None) -> Iterator[Target]:
    """`backchat serve` on a data directory, with the `openai` backend for a model server on a port of this machine, or
    with nothing that replies."""
    backend = ["--backend", "none"]
    if model_port is not None:
        backend = ["--backend", "openai", "--base-url", f"http://127.0.0.1:{model_port}/v1", "--model", MODEL]
    with _process("backchat", "serve", "--port", "0", "--data", str(data), *backend) as line:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found is not None, line
        yield Target(int(found[1]), greets=True, echoes=False)


@contextmanager
def echo() -> Iterator[Target]:
    """The bare Starlette server."""
    with _process("tests.bench.echo") as line:
        yield Target(int(line), greets=False, echoes=True)


@contextmanager
def bare() -> Iterator[Target]:
    """The bare socket, for the driver's own limit."""
    with _process("tests.bench.bare") as line:
        yield Target(int(line), greets=False, echoes=False)


@contextmanager
def model() -> Iterator[int]:
    """The model server that answers at once; its port."""
    with _process("tests.bench.model") as line:
        yield int(line)


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[str]:
    """Runs a module; gives the first line that it prints."""
    # Settings of whoever runs the bench must not reach the servers.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKCHAT_", "UVICORN_", "OPENAI_")) and not name.upper().endswith("_PROXY")
    }
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{module} did not start")
            yield line
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
