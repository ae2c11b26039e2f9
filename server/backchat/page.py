"""The page: what stands in `static/`, with the headers that keep a browser strict (DESIGN section 7).

What the page loads has the digest of all its files in its path, so a browser asks for it once and keeps it. The page
itself is asked for every time, and names the digest of what is there by then: an upgrade, or an edit in a checkout, is
seen at once.
"""

import asyncio
import hashlib
import re
import threading
import zlib
from pathlib import Path
from typing import Final

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # Of all the page's scripts, html.js alone may make nodes of HTML.
    "require-trusted-types-for 'script'; trusted-types backchat"
)
_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}
_EACH_TIME: Final = "no-cache"
_FOR_GOOD: Final = "public, max-age=31536000, immutable"

_INDEX: Final = "index.html"
# Not what the platform says of an ending: some call a script plain text, and then no browser would run it.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_DIGEST: Final = re.compile(r"[0-9a-f]{16}")
_GZIP: Final = 31
"""How zlib is told to write what `Content-Encoding: gzip` names."""
_ZERO: Final = re.compile(r"q=0(\.0*)?")

_Stamps = dict[str, tuple[int, int]]
"""When each file was changed, in nanoseconds, and its size."""


class _File(Struct, frozen=True):
    """What is sent, as it is and compressed. Nobody's secret is in it, so its compressed length tells nothing."""

    media_type: str
    plain: bytes
    zipped: bytes
    digest: str


class _Snapshot(Struct, frozen=True):
    """All files as they were at one time. `digest` is that of what the page loads."""

    stamps: _Stamps
    digest: str
    index: _File
    files: dict[str, _File]


class Page:
    """The files of a directory, in memory; they are read again when one of them has changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reading = threading.Lock()
        self._kept: _Snapshot | None = None

    def routes(self) -> list[BaseRoute]:
        """The page, at the root and at the address of each session, and what it loads."""
        return [
            Route("/", self._index),
            Route("/s/{session_id}", self._index),
            Route("/static/{name}", self._file),
            Route("/static/{digest}/{name}", self._file),
        ]

    async def _index(self, request: Request) -> Response:
        kept = await asyncio.to_thread(self._fresh)
        return _answer(request, kept.index, _EACH_TIME)

    async def _file(self, request: Request) -> Response:
        name, digest = request.path_params["name"], request.path_params.get("digest")
        kept = self._kept
        if kept is None or kept.digest != digest:
            # Also where a page is on its way while the server is upgraded: better what is there by now than a page
            # without its scripts. Nothing keeps it under the digest of something else.
            kept = await asyncio.to_thread(self._fresh)
        file = kept.files.get(name)
        if file is None or (digest is not None and not _DIGEST.fullmatch(digest)):
            raise HTTPException(404)
        return _answer(request, file, _FOR_GOOD if kept.digest == digest else _EACH_TIME)

    def _fresh(self) -> _Snapshot:
        # On a thread: to compress everything takes a while.
        with self._reading:
            stamps = _stamps(self._directory)
            if self._kept is None or self._kept.stamps != stamps:
                self._kept = _read(self._directory, stamps)
            return self._kept


def static_directory() -> Path:
    """Where the page is: inside the package when installed, at the top of a checkout otherwise."""
    here = Path(__file__).resolve().parent
    packaged = here / "static"
    return packaged if packaged.is_dir() else here.parent.parent / "static"


def _stamps(directory: Path) -> _Stamps:
    found = {path.name: path.stat() for path in directory.iterdir() if path.suffix in _MEDIA_TYPES and path.is_file()}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def _read(directory: Path, stamps: _Stamps) -> _Snapshot:
    files = {name: _file(name, (directory / name).read_bytes()) for name in sorted(stamps)}
    index = files.pop(_INDEX)
    digest = _digest("".join(f"{name} {file.digest}\n" for name, file in files.items()).encode())
    return _Snapshot(
        stamps, digest, _file(_INDEX, index.plain.replace(b'"/static/', f'"/static/{digest}/'.encode())), files
    )


def _file(name: str, plain: bytes) -> _File:
    return _File(_MEDIA_TYPES[Path(name).suffix], plain, zlib.compress(plain, wbits=_GZIP), _digest(plain))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _answer(request: Request, file: _File, cache_control: str) -> Response:
    """A file as the request takes it. Whole: none is worth a Range."""
    zipped = _takes_gzip(",".join(request.headers.getlist("accept-encoding")))
    tag = f'"{file.digest}-gzip"' if zipped else f'"{file.digest}"'
    headers = {**_HEADERS, "cache-control": cache_control, "etag": tag}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if zipped:
        headers["content-encoding"] = "gzip"
    return Response(file.zipped if zipped else file.plain, 200, headers, media_type=file.media_type)


def _takes_gzip(accepted: str) -> bool:
    """What Accept-Encoding says (RFC 9110, section 12.5.3)."""
    codings = (one.partition(";") for one in accepted.lower().split(","))
    weights = {coding.strip(): weight.replace(" ", "") for coding, _, weight in codings}
    weight = weights.get("gzip", weights.get("*"))
    return weight is not None and not _ZERO.fullmatch(weight)
