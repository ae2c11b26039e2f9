"""The watch that every test keeps over its pages notices what it should."""

import asyncio

import pytest
from playwright.async_api import Browser

from tests.browser.chromium import person
from tests.browser.setting import Serve
from tests.support.client import PATIENCE
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

PLANTED = {
    "console.error('planted')": "planted",
    "setTimeout(() => { throw new Error('thrown'); })": "thrown",
    "Promise.reject(new Error('rejected'))": "rejected",
    "document.body.append(Object.assign(new Image(), {src: 'https://example.invalid/x.png'}))": "img-src 'self' data:",
    "document.body.setAttribute('style', 'color: red')": "style-src 'self'",
    "try { document.createElement('script').text = '1' } catch { /* and goes on */ }": "requires 'TrustedScript'",
    "try { document.body.innerHTML = 'x' } catch { /* and goes on */ }": "requires 'TrustedHTML'",
    "fetch('https://example.invalid/').catch(() => {})": "connect-src 'self'",
}


async def test_a_page_that_has_something_to_complain_of_fails_its_test(serve: Serve, browser: Browser) -> None:
    server = await serve()
    with pytest.raises(AssertionError, match="planted"):
        await plant(server, browser)


async def plant(server: Running, browser: Browser) -> None:
    async with person(browser) as user:
        tab = await user.opens(server.http)
        await tab.ready()
        assert user.complaints == [], "so far it has none"
        for planted, complaint in PLANTED.items():
            await tab.page.evaluate(f"() => {{ {planted}; }}")
            async with asyncio.timeout(PATIENCE):
                while complaint not in " ".join(user.complaints):
                    user.complained.clear()
                    await user.complained.wait()
