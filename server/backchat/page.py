"""The page: files of `static/`, with the headers that keep a browser strict (DESIGN section 7)."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # Of all the page's scripts, html.js alone may make nodes of HTML.
    "require-trusted-types-for 'script'; trusted-types backchat"
)
_PAGE_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def routes() -> list[BaseRoute]:
    """The page, at the root and at the address of each session, and what it loads."""
    static = static_directory()
    page = _page(static / "index.html")
    return [Route("/", page), Route("/s/{session_id}", page), Mount("/static", _Static(directory=static))]


class _Static(StaticFiles):
    """Files of the page, with the headers of the page."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(_PAGE_HEADERS)
        return response


def static_directory() -> Path:
    """Where the page is: inside the package when installed, at the top of a checkout otherwise."""
    here = Path(__file__).resolve().parent
    packaged = here / "static"
    return packaged if packaged.is_dir() else here.parent.parent / "static"


def _page(index: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page(_: Request) -> Response:
        return FileResponse(index, headers=_PAGE_HEADERS)

    return page
