"""Messages and live replies as HTML, off the event loop: one thread for all, in the order in which they ask.

What parses and sanitises is in markdown.py, which is heavy, and comes with the first text.
"""

import asyncio
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from backchat.frames import Rendered, RenderedMessage, RenderedRun, RenderParams
from backchat.sessions import Session
from backchat.transcript import Message

if TYPE_CHECKING:
    from backchat.markdown import Work

LONGEST: Final = 100_000
"""A text of more characters than this is not rendered. One answer has messages of about as many together."""
MOST_SECONDS: Final = 0.3
"""After how much computing an answer has no further message: others wait for the thread."""
CACHED_BYTES: Final = 8 * 1024 * 1024
"""How much HTML of messages is kept for whoever asks next."""
ENTRY_BYTES: Final = 400
"""What a message takes beside its HTML, about: one without text takes room too."""

_log = logging.getLogger("backchat.rendering")

Html = list[str | None]


class Rendering:
    """What has been rendered, and the thread that does it."""

    def __init__(self) -> None:
        # A pool of one: whoever leaves in mid-rendering leaves it to its end, and nothing else begins before.
        self._thread = ThreadPoolExecutor(1, "rendering")
        # What follows belongs to the thread.
        self._kept: OrderedDict[tuple[str, int], Html] = OrderedDict()
        self._bytes = 0
        # Many may watch a reply, and mostly ask for the same.
        self._last_run: tuple[int, RenderedRun] | None = None

    async def render(self, session: Session, params: RenderParams) -> Rendered:
        """The answer to `render`. Raises NoSuchMessage, StorageFailed."""
        asked = [session.message(number) for number in params.messages]
        live = None if params.run_id is None else session.live_text(params.run_id)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._render, session.id, asked, live, params)

    def _render(self, session_id: str, asked: list[Message], live: str | None, params: RenderParams) -> Rendered:
        shown: list[RenderedMessage] = []
        characters = 0
        until = time.thread_time() + MOST_SECONDS
        for message in asked:
            texts = texts_of(message)
            characters += sum(map(len, texts))
            if shown and (characters > LONGEST or time.thread_time() > until):
                break
            shown.append(RenderedMessage(message.id, self._message(session_id, message, texts)))
        run = None
        if live is not None and params.run_id is not None:
            run = self._run(params.run_id, live, min(params.after, len(live)))
        return Rendered(shown, run)

    def _message(self, session_id: str, message: Message, texts: list[str]) -> Html:
        if message.role not in ("user", "assistant"):
            return [None] * len(texts)
        key = (session_id, message.id)
        html = self._kept.pop(key, None)
        if html is None:
            html = _rendered(message.role, texts)
            self._bytes += _size(html)
        self._kept[key] = html
        while self._bytes > CACHED_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)
        return html

    def _run(self, run_id: str, text: str, after: int) -> RenderedRun:
        if self._last_run is not None:
            length, last = self._last_run
            if (last.run_id, length, last.after) == (run_id, len(text), after):
                return last
        run = _rendered_run(run_id, text, after)
        self._last_run = (len(text), run)
        return run


def texts_of(message: Message) -> list[str]:
    """The text blocks of a message's content, in order."""
    match message.content:
        case str(whole):
            return [whole]
        case list(parts):
            return [text for part in parts if (text := _text_of(part)) is not None]
        case _:
            return []


def _text_of(part: object) -> str | None:
    match part:
        case str(text) | {"type": "text", "text": str(text)}:
            return text
        case _:
            return None


def _rendered(role: str, texts: Sequence[str]) -> Html:
    # Late, see above.
    from backchat.markdown import Work

    html: Html = []
    left = LONGEST
    work = Work()
    for text in texts:
        fits = len(text) <= left
        left -= len(text) * fits
        html.append(_html(role, text, work) if fits else None)
    return html


def _rendered_run(run_id: str, text: str, after: int) -> RenderedRun:
    fresh = text[after:]
    until = _settled(fresh) if len(fresh) <= LONGEST else None
    if until is not None:
        stable, tail = _html("assistant", fresh[:until]), _html("assistant", fresh[until:])
        if stable is not None and tail is not None:
            return RenderedRun(run_id, after, after + until, len(text), stable, tail)
    return RenderedRun(run_id, after, after, len(text), "", None)


def _settled(text: str) -> int | None:
    # Late, see above.
    from backchat.markdown import TooMuch, settled

    try:
        return settled(text)
    except TooMuch:
        return 0
    except Exception:  # noqa: BLE001
        # As below.
        _log.exception("a text could not be rendered")
        return None


def _html(role: str, text: str, work: "Work | None" = None) -> str | None:
    # Late, see above.
    from backchat.markdown import TooMuch, rendered, typed

    try:
        return rendered(text, work) if role == "assistant" else typed(text, work)
    except TooMuch:
        return None
    except Exception:  # noqa: BLE001
        # A defect in a library, or a text that brings one out, may cost a message its looks, never the message.
        _log.exception("a text could not be rendered")
        return None


def _size(html: Html) -> int:
    return ENTRY_BYTES + sum(map(sys.getsizeof, html))
