"""What the server writes about itself: what happened and its facts, which are ids and sizes, never contents.

A line goes to standard error, as text or as JSON.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")


def tell(log: logging.Logger, level: int, what: str, **facts: str | float | None) -> None:
    """Writes that something happened. Precondition: no fact is anything that a person or a model wrote, or a secret."""
    if log.isEnabledFor(level):
        log.log(level, what, extra={"facts": facts}, stacklevel=2)


def set_up(level: str, form: str) -> None:
    """Has everything of this level and above written, by whatever library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.root.handlers = [handler]
    # Libraries say much more below a warning than anybody wants to know, and of contents too.
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("backchat").setLevel(level.upper())


class _Text(logging.Formatter):
    """`2026-01-02T03:04:05.678Z info backchat.app: connection opened connection=1a2b3c4d`."""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={_shown(value)}" for name, value in _facts(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}{facts}"
        trace = _trace(self, record)
        return line if trace is None else f"{line}\n{trace}"


class _Json(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, the facts, and `trace` where something was raised."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        trace = _trace(self, record)
        if trace is not None:
            fields["trace"] = trace
        return msgspec.json.encode(fields).decode()


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in getattr(record, "facts", {}).items() if value is not None}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return None if record.exc_info is None else formatter.formatException(record.exc_info)


def _shown(value: str | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
