"""How the page comes to the browser: small, once, and never older than what is there."""

import gzip
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette

from backchat.page import CONTENT_SECURITY_POLICY, Page, static_directory

STATIC: Final = static_directory()
OTHER: Final = "0123456789abcdef"
"""A digest of something else."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The page's files, where a test can edit them."""
    return Path(shutil.copytree(STATIC, tmp_path / "static"))


@pytest.fixture
async def page(files: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=Starlette(routes=Page(files).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as http:
        yield http


async def digest(page: httpx.AsyncClient) -> str:
    """The digest in all that the page loads."""
    (found,) = set(re.findall(r'"/static/([^/"]+)/[^/"]+"', (await page.get("/")).text))
    return str(found)


async def sent(page: httpx.AsyncClient, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer, and its body as it is on the wire. Nothing is asked for but what `headers` say."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with page.stream("GET", path, headers={"accept-encoding": "", **headers}) as response:
        return response, b"".join([chunk async for chunk in response.aiter_raw()])


# What is loaded at once.


def imports(module: str) -> Iterator[str]:
    """What a module needs before it runs."""
    text = (STATIC / module).read_text(encoding="utf-8")
    yield from re.findall(r"\b(?:from|import)\s*[\"']\./([^\"']+)[\"']", text)


def test_the_page_names_every_module_so_that_none_waits_for_another() -> None:
    needed, waiting = set[str](), ["app.js"]
    while waiting:
        module = waiting.pop()
        if module not in needed:
            needed.add(module)
            waiting += imports(module)
    named = re.findall(
        r'<link rel="modulepreload" fetchpriority="low" href="/static/([^"]+)">', (STATIC / "index.html").read_text()
    )
    assert named == sorted(needed - {"app.js"})


# Compressed.


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("deflate, br, zstd", None),
        ("gzip", "gzip"),
        ("br, GZIP ; q=0.5, deflate", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("*", "gzip"),
        ("gzip;q=0, *", None),
        ("*;q=0", None),
        ("*;q=0, gzip;q=1.0", "gzip"),
    ],
)
async def test_a_file_comes_compressed_to_whoever_takes_it_so(
    page: httpx.AsyncClient, accepted: str, coding: str | None
) -> None:
    response, body = await sent(page, "/static/app.js", accept_encoding=accepted)
    assert response.headers.get("content-encoding") == coding
    assert int(response.headers["content-length"]) == len(body)
    assert (gzip.decompress(body) if coding else body) == (STATIC / "app.js").read_bytes()


async def test_every_file_is_the_same_either_way_and_told_apart(page: httpx.AsyncClient) -> None:
    for path in ["/", "/s/abc", *(f"/static/{file.name}" for file in STATIC.iterdir() if file.name != "index.html")]:
        plain, whole = await sent(page, path)
        zipped, small = await sent(page, path, accept_encoding="gzip")
        assert gzip.decompress(small) == whole
        assert len(small) < len(whole)
        assert plain.headers["etag"] != zipped.headers["etag"]
        for response in (plain, zipped):
            assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert response.headers["vary"] == "accept-encoding"
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/static/{digest}/style.css"])
@pytest.mark.parametrize("accepted", ["", "gzip"])
async def test_what_a_browser_has_already_is_not_sent_again(page: httpx.AsyncClient, path: str, accepted: str) -> None:
    path = path.format(digest=await digest(page))
    first, _ = await sent(page, path, accept_encoding=accepted)
    other, _ = await sent(page, path, accept_encoding="" if accepted else "gzip")
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again, body = await sent(page, path, accept_encoding=accepted, if_none_match=known)
        assert (again.status_code, body) == (304, b"")
        for name in ("etag", "cache-control", "vary", "content-security-policy"):
            assert again.headers[name] == first.headers[name]
    for unknown in ('"x"', other.headers["etag"], tag.strip('"'), ""):
        again, _ = await sent(page, path, accept_encoding=accepted, if_none_match=unknown)
        assert again.status_code == 200


async def test_a_part_of_a_file_is_not_to_be_had(page: httpx.AsyncClient) -> None:
    response, body = await sent(page, "/static/app.js", range="bytes=1-2")
    assert (response.status_code, body) == (200, (STATIC / "app.js").read_bytes())
    assert "accept-ranges" not in response.headers


# Once.


async def test_what_the_page_loads_is_kept_for_good_under_the_digest_of_all(page: httpx.AsyncClient) -> None:
    response = await page.get(f"/static/{await digest(page)}/app.js")
    assert "immutable" in response.headers["cache-control"]
    assert response.content == (STATIC / "app.js").read_bytes()


async def test_an_edit_is_seen_and_nothing_is_kept_under_the_digest_of_something_else(
    page: httpx.AsyncClient, files: Path
) -> None:
    old = await digest(page)
    tags = {path: (await page.get(path)).headers["etag"] for path in ("/", "/static/app.js", "/static/api.js")}
    (files / "app.js").write_text("edited")
    # Until somebody asks for the page anew, the digest still means what it meant.
    assert (await page.get(f"/static/{old}/app.js")).content == (STATIC / "app.js").read_bytes()
    new = await digest(page)
    assert new != old
    for path, cache in (
        ("/static/app.js", "no-cache"),
        (f"/static/{old}/app.js", "no-cache"),
        (f"/static/{OTHER}/app.js", "no-cache"),
        (f"/static/{new}/app.js", "public, max-age=31536000, immutable"),
    ):
        response = await page.get(path)
        assert (response.text, response.headers["cache-control"]) == ("edited", cache)
    changed = {path for path, tag in tags.items() if (await page.get(path)).headers["etag"] != tag}
    assert changed == {"/", "/static/app.js"}


async def test_a_file_that_comes_or_goes_is_seen_too(page: httpx.AsyncClient, files: Path) -> None:
    old = await digest(page)
    (files / "more.js").write_text("more")
    assert (await page.get("/static/more.js")).text == "more"
    assert await digest(page) != old
    (files / "more.js").unlink()
    assert (await page.get("/static/more.js")).status_code == 404
    assert await digest(page) == old


async def test_only_what_a_page_is_made_of_is_served(page: httpx.AsyncClient, files: Path) -> None:
    # What editors leave.
    for name in ("app.js~", ".app.js.swp", "app.js.orig", "notes.txt"):
        (files / name).write_text("mine")
        assert (await page.get(f"/static/{name}")).status_code == 404
    (files / ".#app.js").symlink_to("nowhere")
    (files / "more.js").mkdir()
    assert (await page.get("/")).status_code == 200
    assert (await page.get("/static/more.js")).status_code == 404
