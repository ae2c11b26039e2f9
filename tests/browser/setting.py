"""What a test begins with: servers, and sessions.

Sessions are files of the JSON session store, brought in by the real importer.
"""

import json
from pathlib import Path
from typing import Any, Final, Protocol

from backchat.importer import import_files
from backchat.store.sqlite import Database
from tests.support.client import Json
from tests.support.server import Running


class Serve(Protocol):
    """Starts a server on the test's data directory."""

    async def __call__(self, **options: Any) -> Running: ...


class Given(Protocol):
    """Imports sessions into the data directory that `serve` and `server` use, before they start or while they run."""

    def __call__(self, *sessions: Json) -> None: ...


CYAN: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
SAILING: Final[Json] = {
    "session_id": "5a111ab0a7e0",
    "title": "First night passage",
    "model": "some/model-1",
    "workspace": "/home/user/boat",
    "personality": "skipper",
    "created_at": 1790000000.0,
    "updated_at": 1790000400.5,
    "input_tokens": 1834,
    "output_tokens": 402,
    "estimated_cost": 0.00231,
    "messages": [
        {"role": "user", "content": "How long from Brest to Falmouth?", "timestamp": 1790000000.0},
        {"role": "assistant", "content": "About 100 nautical miles: 18 hours at five and a half knots."},
        {"role": "user", "content": "And with the tide against us?"},
        {"role": "assistant", "content": "Wait for it to turn off Ushant; you would lose four hours."},
    ],
}
"""Two turns, with all that /status and /usage know of."""


def imported(data: Path, scratch: Path, *sessions: Json) -> None:
    """Writes the files below `scratch` and imports them into the data directory, which a server may be using."""
    files = []
    for session in sessions:
        path = scratch / f"{session['session_id']}.json"
        path.write_text(json.dumps(session))
        files.append(path)
    data.mkdir(exist_ok=True)
    with Database(data) as database:
        results = list(import_files(database, files))
    assert [result.outcome for result in results] == ["imported"] * len(files), results


def session(session_id: str, *contents: Any, title: str | None = None, **fields: Any) -> Json:
    """A session whose messages begin with a user's and alternate; a dict is taken as it is."""
    return {
        "session_id": session_id,
        "title": title,
        "created_at": 1790000000.0,
        "updated_at": 1790000000.0,
        "messages": [
            content if isinstance(content, dict) else {"role": ("user", "assistant")[number % 2], "content": content}
            for number, content in enumerate(contents)
        ],
        **fields,
    }
