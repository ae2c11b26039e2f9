"""How long a person waits for the page, by the browser's own clock: `python -m tests.browser.timings`.

First what loading an empty session costs, in a browser that has never been there and in one that has, with the server
beside it and at a distance that the browser makes up. Then what the page measures itself (static/marks.js), from what
arrives to the frame that shows it, on a session of 10,000 messages and beside it on one of 10: attaching, the palette
after a key, a piece of a reply.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from playwright.async_api import Browser, expect

from tests.browser.chromium import Person, Tab, installed, launched, person
from tests.browser.setting import imported, session
from tests.support.scripted import Scripted
from tests.support.server import Running, running

LOADS: Final = 15
FAR: Final = {"offline": False, "latency": 50, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
"""In milliseconds and bytes per second, as the browser's protocol has it."""

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


WATCH: Final = """
    window.seen = {};
    const see = (what, selector) => { if (document.querySelector(selector)) seen[what] ??= performance.now(); };
    new MutationObserver(() => {
        see("composer", "#message");
        see("attached", "[data-connection=open]");
    }).observe(document, { subtree: true, childList: true, attributeFilter: ["data-connection"] });
"""
LOADED: Final = """() => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const [{ domContentLoadedEventEnd: content }] = performance.getEntriesByType("navigation");
    return paint && seen.attached && { ...seen, content, paint: paint.startTime };
}"""


class Load(msgspec.Struct):
    """What a load took: in requests, in bytes with their headers, and in milliseconds until it was seen, parsed,
    could be typed into, and was attached to its session."""

    requests: int
    octets: float
    paint: float
    content: float
    composer: float
    attached: float


async def load(user: Person, server: Running, conditions: dict[str, Any] | None) -> Load:
    """Opens an empty session in a new tab."""
    tab = await user.opens(server.http, "/healthz")
    wire = await user.context.new_cdp_session(tab.page)
    await wire.send("Network.enable")
    if conditions is not None:
        await wire.send("Network.emulateNetworkConditions", conditions)
    sizes: list[float] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await tab.page.add_init_script(WATCH)
    await tab.page.goto(f"{server.http}/s/empty", wait_until="networkidle")
    seen = await (await tab.page.wait_for_function(LOADED)).json_value()
    await tab.page.close()
    # What came out of the browser's cache has no size on the wire.
    return msgspec.convert({**seen, "requests": sum(size > 0 for size in sizes), "octets": sum(sizes)}, Load)


async def look_at_loads(browser: Browser, server: Running) -> None:
    """Prints a table."""
    print("| | requests | bytes | first paint | parsed | can be typed into | attached |")
    print("|---|" + "---:|" * 6)
    for where, conditions in (("", None), (", 50 ms away at 10 Mbit/s", FAR)):
        loads: dict[str, list[Load]] = {"first load": [], "second load": []}
        for _ in range(LOADS):
            async with person(browser) as user:
                for made in loads.values():
                    made.append(await load(user, server, conditions))
        for which, made in loads.items():
            middle = [statistics.median(getattr(one, name) for one in made) for name in Load.__struct_fields__]
            times = " | ".join(f"{time:.0f} ms" for time in middle[2:])
            print(f"| {which}{where} | {middle[0]:.0f} | {middle[1]:,.0f} | {times} |")
    print()


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
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        said = ("Which is the better way?", ANSWER)
        lengths = {f"s{length}": length for length in LENGTHS} | {"empty": 0}
        imported(data, Path(scratch), *(session(name, *said * (length // 2)) for name, length in lengths.items()))
        async with running(data) as server, launched(executable) as browser, person(browser) as user:
            await look_at_loads(browser, server)
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
