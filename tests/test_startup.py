"""What a server imports: nothing that a plain session does without (DESIGN section 8)."""

import asyncio
import re
from pathlib import Path

from tests.support.client import client
from tests.test_cli import serving

LATE = (
    # What a reply of a model needs.
    "openai", "httpx2", "genai_prices", "pydantic", "backchat.backends.openai", "backchat.backends.thinking",
    # What shows a text as HTML.
    "markdown_it", "nh3", "pygments", "backchat.markdown", "backchat.highlighting",
    # What brings sessions in from files, and out.
    "backchat.importer", "backchat.foreign", "backchat.portable", "backchat.exports", "backchat.chatgpt",
    "backchat.openwebui",
    # What Prometheus reads.
    "prometheus_client", "backchat.metrics",
    # What tells whoever mistypes a name, and whoever names no data directory.
    "difflib", "platformdirs",
    # What reads for a list of sessions, on a thread.
    "anyio._backends",
    # What other servers, and tests, are made of.
    "h11", "wsproto", "websockets.asyncio", "websockets.legacy", "jinja2", "starlette.templating",
    "starlette.staticfiles", "starlette.testclient", "httpx", "yaml",
)  # fmt: skip


async def test_a_plain_session_is_served_without_what_only_other_requests_need(tmp_path: Path) -> None:
    async with serving(tmp_path, PYTHONPROFILEIMPORTTIME="1") as served:
        assert served.process.stderr is not None
        # Read while it is written: a pipe that is full would hold the server up.
        reading = asyncio.create_task(served.process.stderr.read())
        async with client(served.ws()) as one:
            await one.say("hello")
            await one.submit("/undo")
            await one.submit("/status")
        # Not by a signal that it answers: what ends a server is not looked at here.
        served.process.kill()
        told = (await reading).decode()
    imported = set(re.findall(r"\| +([\w.]+)$", told, re.MULTILINE))
    assert "backchat.connection" in imported
    assert not [name for name in imported if any(f"{name}.".startswith(f"{late}.") for late in LATE)]
