"""Takes the pictures of the page that the README shows: `python -m tests.browser.screenshots`."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from playwright.async_api import ViewportSize, expect

from tests.browser.chromium import installed, launched, person
from tests.browser.setting import imported, session
from tests.support.model_server import finish, model_server, think, usage
from tests.support.server import running

PICTURE: Final = Path(__file__).parent / "page.png"
DARK: Final = Path(__file__).parent / "dark.png"
PHONE: Final = Path(__file__).parent / "phone.png"
SIZE: Final = {"width": 1180, "height": 760}
SMALL: Final[ViewportSize] = {"width": 390, "height": 760}
MINUTE, HOUR, DAY = 60, 3600, 86400

MODEL: Final = "qwen3:4b"
TOAST: Final = (
    "A toast, please: the old file server retires on Friday, after eleven years.",
    (
        "To eleven years, four disks and one dramatic fan. It never forgot a thing, it never took a holiday, and it"
        " kept this whole floor warm in winter. May whatever comes next be half as stubborn!"
    ),
    "Lovely. And what if the whole thing rhymed?",
    "There once was a server so old,\nits fans were a sight to behold …",
)
"""What rhyming did to it is why there is an /undo."""
FIRST: Final = "Eleven years it kept our files;\nnow it rests in happy piles."
"""What it rhymed at first; the switch at the last message leads back to it."""
CODE: Final = """One line of Python will do:

```python
for copy in range(11):
    print(toast, end="\\n\\n")
```

| copies | for |
|---:|---|
| 10 | the *guests* |
| 1 | the **wall** |
"""
THOUGHT: Final = "A limerick? It is a toast, after all. Old, behold …"

OTHERS: Final = (
    ("Backup runs twice", 25 * MINUTE, 14),
    ("Sourdough at 17 °C", 3 * HOUR, 8),
    ("Letter to the council", 26 * HOUR, 22),
    ("Names for a grey kitten", 4 * DAY, 31),
    ("The CAP theorem, simply", 9 * DAY, 10),
)


async def take(executable: str) -> None:
    """Writes the pictures."""
    now = time.time()
    others = (
        session(f"other-{number}", *["…"] * length, title=title, updated_at=now - age)
        for number, (title, age, length) in enumerate(OTHERS)
    )
    toast = session("toast", *TOAST[:3], title="A toast for the old server", created_at=now, updated_at=now)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        imported(data, Path(scratch), toast, *others)
        async with (
            model_server() as models,
            running(data, backend="openai", base_url=models.url, model=MODEL) as server,
            launched(executable) as browser,
            person(browser, viewport=SIZE, color_scheme="light", reduced_motion="reduce") as user,
        ):
            tab = await user.opens(server.http, "/s/toast")
            await tab.connected()
            models.script(FIRST, finish(usage=usage(163, 21)))
            await tab.submit("/retry")
            await tab.shows(*TOAST[:3], FIRST)
            models.script(think(THOUGHT), TOAST[3], finish(usage=usage(163, 58, reasoning=37)))
            await tab.submit("/retry")
            await tab.shows(*TOAST)
            await tab.page.mouse.move(0, 0)
            await tab.type("/u")
            await expect(tab.chosen).to_contain_text("/undo")
            await expect(tab.links).to_have_count(len(OTHERS) + 1)
            await tab.drawn()
            await tab.page.screenshot(path=PICTURE)
            await tab.press("Escape")
            await tab.composer.fill("")
            await tab.page.emulate_media(color_scheme="dark")
            models.script(CODE, finish(usage=usage(221, 64)))
            await tab.submit("Thank you. How do I print it eleven times?")
            await expect(tab.messages).to_have_count(6)
            await expect(tab.log.locator(".hl .k").first).to_be_visible()
            await tab.drawn()
            await tab.page.screenshot(path=DARK)
            await tab.page.set_viewport_size(SMALL)
            await tab.drawn()
            await tab.page.screenshot(path=PHONE)


def main() -> int:
    """The program."""
    executable = installed()
    if executable is None:
        print("There is no Chromium to take pictures with.", file=sys.stderr)
        return 1
    asyncio.run(take(executable))
    for picture in (PICTURE, DARK, PHONE):
        print(f"{picture}: {picture.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
