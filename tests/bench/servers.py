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

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 15.0
"""How long a server may take to end before it is killed."""


@contextmanager
def ours(data: Path) -> Iterator[Target]:
    """`backchat serve` on a data directory, with nothing that replies."""
    with _process("backchat", "serve", "--port", "0", "--backend", "none", "--data", str(data)) as line:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found is not None, line
        yield Target(int(found[1]), greets=True, echoes=False)


@contextmanager
def echo() -> Iterator[Target]:
    """The bare Starlette echo."""
    with _process("tests.bench.echo") as line:
        yield Target(int(line), greets=False, echoes=True)


@contextmanager
def bare() -> Iterator[Target]:
    """The bare socket, for the driver's own limit."""
    with _process("tests.bench.bare") as line:
        yield Target(int(line), greets=False, echoes=False)


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[str]:
    """Runs a module; gives the first line that it prints."""
    # Settings of whoever runs the bench must not reach the servers.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BACKCHAT_", "UVICORN_"))}
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
