"""How long a person waits for the page, by the browser's own clock: `python -m tests.browser.timings`.

Measured by the page itself (static/marks.js), from what arrives to the frame that shows it, on a session of 10,000
messages and beside it on one of 10: attaching, the palette after a key, a piece of a reply.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import expect

from tests.browser.chromium import Tab, installed, launched, person
from tests.browser.setting import imported, session
from tests.support.scripted import Scripted
from tests.support.server import running

LENGTHS: Final = (10, 10_000)
ATTACHES: Final = 15
KEYS: Final = 30
PIECES: Final = 60

ANSWER: Final = """Two ways, and the second is the better one:

1. Keep what you **wrote**, and fold it again each time.
2. Keep the *sum* and what leads to it.

```python
def total(parts: list[int]) -> int:
    return sum(part for part in parts if part > 0)
```

| way | costs |
|---|---|
| fold | time |
| sum | care |
"""

KEEP: Final = """
    window.measured = {};
    new PerformanceObserver((list) => {
        for (const { name, duration } of list.getEntries()) (window.measured[name] ??= []).push(duration);
    }).observe({ type: "measure", buffered: true });
"""


async def measured(tab: Tab, name: str, count: int) -> list[float]:
    """The first `count` durations of this name, in milliseconds, once there are as many."""
    await tab.page.wait_for_function("([name, count]) => (measured[name] ?? []).length >= count", arg=[name, count])
    durations: list[float] = await tab.page.evaluate("(name) => measured[name]", name)
    return durations[:count]


def told(what: str, durations: list[float]) -> str:
    """A row of the table."""
    ordered = sorted(durations)
    late = ordered[int(len(ordered) * 0.95) - 1] if len(ordered) > 1 else ordered[-1]
    return f"| {what} | {statistics.median(ordered):.1f} ms | {late:.1f} ms |"


async def look(executable: str) -> None:
    """Prints a table."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        said = ("Which is the better way?", ANSWER)
        imported(data, Path(scratch), *(session(f"s{length}", *said * (length // 2)) for length in LENGTHS))
        async with running(data) as server, launched(executable) as browser, person(browser) as user:
            scripted = Scripted(server)
            print("| | median | 95 % |\n|---|---:|---:|")
            for length in LENGTHS:
                attaches = []
                tab = await user.opens(server.http, f"/s/s{length}")
                await tab.page.add_init_script(KEEP)
                for _ in range(ATTACHES):
                    await tab.page.reload()
                    attaches += await measured(tab, "attach-to-paint", 1)
                print(told(f"attach to first paint, {length:,} messages", attaches))
                await tab.connected()
                for _ in range(KEYS):
                    await tab.composer.press("/")
                    await expect(tab.palette).to_be_visible()
                    await tab.composer.fill("")
                print(told(f"key to palette, {length:,} messages", await measured(tab, "key-to-palette", KEYS)))
                await tab.submit("Say it again.")
                for number in range(PIECES):
                    scripted.say(f"{ANSWER[number * 4 : number * 4 + 4]}")
                    await measured(tab, "delta-to-pixel", number + 1)
                print(told(f"delta to pixel, {length:,} messages", await measured(tab, "delta-to-pixel", PIECES)))
                scripted.end()
                await tab.page.close()


def main() -> int:
    """The program."""
    executable = installed()
    if executable is None:
        print("There is no Chromium to measure.", file=sys.stderr)
        return 1
    asyncio.run(look(executable))
    return 0


if __name__ == "__main__":
    sys.exit(main())
