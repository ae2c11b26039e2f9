"""Settings, and what makes no sense among them. cli.py fills them in from flags and the environment."""

import ipaddress
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

from backchat.choices import check_model
from backchat.errors import InvalidParams, SettingError
from backchat.logs import FORMATS, LEVELS

BACKENDS: Final = ("echo", "openai", "none")

_RANGES: Final = (
    ("port", 0, 65535),
    ("max_frame", 1, 2**30),
    ("import_bytes", 1, 2**30),
    ("in_flight", 1, 10**6),
    ("outbox_frames", 1, 10**6),
    ("outbox_characters", 1, 2**31),
    ("send_seconds", 0.01, 3600),
    ("connections", 1, 10**6),
    ("connections_per_address", 1, 10**6),
    ("frames_per_minute", 0, 10**9),
    ("commands_per_minute", 0, 10**9),
    ("runs", 1, 10**6),
    ("idle_sessions", 0, 10**6),
    ("op_id_hours", 0.01, 10**6),
    ("echo_delay", 0, 60),
    ("retries", 0, 10),
    ("first_delta_seconds", 0.01, 86_400),
    ("delta_seconds", 0.01, 86_400),
    ("queue_messages", 0, 1000),
    ("reply_characters", 1, 2**24),
)

_HOST: Final = re.compile(r"[a-zA-Z0-9._-]+|[0-9a-fA-F.:]+|\[[0-9a-fA-F.:]+\]", re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Settings(Struct, frozen=True, kw_only=True):
    """All that can be set. Sizes are in bytes, times in seconds where a name does not say otherwise; a rate of 0 is no
    limit.

    `base_url`, `model` and `api_key` are the `openai` backend's; `prompts` is the directory of the personalities.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    data: Path = Path()
    backend: str = "echo"
    echo_delay: float = 0.03
    base_url: str | None = None
    model: str | None = None
    api_key: str | None = None
    retries: int = 2
    first_delta_seconds: float = 120.0
    delta_seconds: float = 60.0
    queue_messages: int = 20
    reply_characters: int = 200_000
    prompts: Path | None = None
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_frame: int = 1024 * 1024
    import_bytes: int = 32 * 1024 * 1024
    in_flight: int = 32
    outbox_frames: int = 1024
    outbox_characters: int = 8 * 1024 * 1024
    send_seconds: float = 10.0
    connections: int = 10_000
    connections_per_address: int = 1000
    frames_per_minute: int = 6000
    commands_per_minute: int = 600
    runs: int = 100
    idle_sessions: int = 256
    op_id_hours: float = 168.0
    log_level: str = "warning"
    log_format: str = "text"

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise SettingError(f"There is no backend {self.backend!r}; choose one of {', '.join(BACKENDS)}.")
        for name, choices in (("log_level", LEVELS), ("log_format", FORMATS)):
            if getattr(self, name) not in choices:
                shown = name.replace("_", "-")
                raise SettingError(f"{shown} must be one of {', '.join(choices)}, not {getattr(self, name)!r}.")
        if self.backend == "openai":
            if not self.model:
                raise SettingError(
                    "Name the model that replies with --model; `backchat models`, with the same --base-url, lists them."
                )
            try:
                check_model(self.model)
            except InvalidParams as error:
                raise SettingError(f"{error} See --model.") from error
        elif self.base_url is not None:
            raise SettingError("--base-url goes with --backend openai.")
        for name, least, most in _RANGES:
            # Put so that a value which is no number at all fails too.
            if not least <= getattr(self, name) <= most:
                shown = name.replace("_", "-")
                raise SettingError(f"{shown} must be between {least} and {most:,}, not {getattr(self, name)}.")
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise SettingError(f"An allowed host is a name like chat.example.com, not {host!r}.")
        for origin in self.allowed_origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
                raise SettingError(f"An allowed origin looks like https://chat.example.com, not {origin!r}.")
        if self.token is not None and (not self.token.isascii() or not self.token.isprintable() or " " in self.token):
            raise SettingError("The token may hold visible ASCII characters only.")
        if self.token == "":
            raise SettingError("The token is empty.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host.lower() == "localhost":
            return True
        address = address_of(self.host)
        return address is not None and address.is_loopback


def address_of(host: str) -> Address | None:
    """The IP address that a host is written as; None if it is a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def default_data() -> Path:
    """Where the platform keeps a user's data."""
    # Late: whoever names a directory does without.
    from platformdirs import user_data_path

    return user_data_path("backchat", appauthor=False)
