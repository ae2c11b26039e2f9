"""Replies from any OpenAI-compatible endpoint, by the `openai` library.

The first half of this file is pure: what is sent, what a chunk of the stream says, which sentence a person reads
about a fault. The second half, the class `OpenAI`, does the talking.
"""

import math
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import genai_prices
import httpx2
import msgspec
import openai
from msgspec import Struct

from backchat.backends.base import Delta, Piece, Prompt, Report
from backchat.backends.thinking import Thinking
from backchat.errors import BackendFailed, SettingError
from backchat.transcript import Message, Usage, text_of

DEFAULT_URL: Final = "https://api.openai.com/v1"

PLACEHOLDER_KEY: Final = "none"
"""Sent where nobody set a key: the library insists on one, local model servers do not look at it."""

MODELS_SECONDS: Final = 10.0
"""How long an endpoint may take to list its models."""

MOST_WAIT: Final = 10.0
"""How many seconds a request may be asked to wait before it is made again without telling anybody."""

MOST_QUOTED: Final = 200
"""How many characters of a provider's own words a sentence repeats."""

_MOST_TOKENS: Final = 10**12
"""A count beyond this is no count."""


# What is sent.

_FIELDS: Final = ("name", "tool_calls", "tool_call_id", "function_call", "refusal", "audio")
"""What else the chat format knows of a message. Endpoints refuse fields that they do not know."""


_PARTS: Final = frozenset(("text", "image_url", "input_audio", "file", "refusal"))
"""The parts of content that the chat format knows. An import may have brought others."""


def sent(message: Message) -> dict[str, Any] | None:
    """A message as the chat format has it; None for one that endpoints refuse: a reply that says nothing, and what a
    tool gave where no call asks for it."""
    content = message.content
    if isinstance(content, list):
        content = [known for part in content if (known := _part(message.role, part)) is not None]
    elif content is not None and not isinstance(content, str):
        content = text_of(content)
    extra = message.extra or {}
    fields = {field: extra[field] for field in _FIELDS if extra.get(field)}
    if message.role == "assistant" and not content and not fields.keys() - {"name"}:
        return None
    if message.role == "tool" and "tool_call_id" not in fields:
        return None
    return {"role": message.role, "content": content, **fields}


def _part(role: str, part: Any) -> Any:
    """A part of content that endpoints take. In place of another the model is told that there was one, but of its own
    (such as what it thought) nothing."""
    if not isinstance(part, dict) or part.get("type") in _PARTS:
        return part
    if role == "assistant":
        return None
    return {"type": "text", "text": f"[{part.get('type')}: not available here]"}


def sent_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The system prompt, then the transcript."""
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return system + _with_whole_calls([known for message in prompt.messages if (known := sent(message)) is not None])


def _with_whole_calls(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages without tool calls that are not all answered right after them, and without answers to no call: a
    transcript can end, or go on, in the middle of such an exchange, and endpoints refuse half of one."""
    whole: list[dict[str, Any]] = []
    at = 0
    while at < len(messages):
        message, after = messages[at], at + 1
        while after < len(messages) and messages[after]["role"] == "tool":
            after += 1
        answers = messages[at + 1 : after]
        at = after
        if message["role"] == "tool":
            # Those that follow answer nothing either.
            continue
        if "tool_calls" not in message:
            whole.append(message)
        elif (calls := _ids(message["tool_calls"], "id")) and calls == _ids(answers, "tool_call_id"):
            whole += [message, *answers]
        else:
            del message["tool_calls"]
            if message.keys() & {"refusal", "audio", "function_call"} or message["content"]:
                whole.append(message)
    return whole


def _ids(values: Any, field: str) -> list[str] | None:
    """The ids of calls or of answers, sorted; None where these are none, as an import may have them."""
    if not isinstance(values, list):
        return None
    ids = [value[field] for value in values if isinstance(value, dict) and isinstance(value.get(field), str)]
    return sorted(ids) if len(ids) == len(values) and all(ids) else None


# What a chunk says. The library passes on whatever JSON it finds, so types are checked here: a field that is missing
# or null says nothing, one of a wrong type where text would be lost is a fault.


class _Delta(Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    model: Any = None
    usage: Any = None


_NOTES: Final = {
    "length": "The model stopped at its limit on the length of a reply.",
    "content_filter": "The provider's content filter cut this reply off.",
}


class Reading:
    """One reply as far as it has been read. `begun`: there was a chunk."""

    def __init__(self) -> None:
        self.begun = False
        self._reason: str | None = None
        self._counted = False
        self._model: str | None = None
        self._thinking = Thinking()

    @property
    def finished(self) -> bool:
        """Whether the model said that the reply is whole. Some endpoints give no reason for its end; those that count
        do so once it has come, in a chunk without any choice."""
        return self._counted if self._reason is None else self._reason != "error"

    def pieces(self, data: object) -> Iterator[Piece]:
        """What the next chunk, decoded JSON, says. Raises ValueError for one that is none."""
        chunk = msgspec.convert(data, _Chunk)
        self.begun = True
        if self._model is None and (model := one_line(chunk.model)):
            self._model = model
            yield Report(model=model)
        for choice in chunk.choices or []:
            for delta in _deltas(choice.delta or _Delta()):
                yield from [delta] if delta.reasoning else self._thinking.split(delta.text)
            if choice.finish_reason:
                self._reason = choice.finish_reason
                yield Report(note=_NOTES.get(choice.finish_reason), whole=self.finished)
        usage = _usage(chunk.usage)
        self._counted = usage is not None and not chunk.choices
        if usage is not None:
            yield Report(usage=usage)

    def rest(self) -> Iterator[Delta]:
        """What was held back, once no more comes."""
        return self._thinking.rest()


def _deltas(delta: _Delta) -> Iterator[Delta]:
    # Endpoints that know both names of the field send the same text in each.
    for reasoning in (delta.reasoning_content, delta.reasoning):
        if reasoning and isinstance(reasoning, str):
            yield Delta(reasoning, reasoning=True)
            break
    yield from _content(delta.content)
    if delta.refusal:
        yield Delta(delta.refusal)


def _content(content: str | list[Any] | None) -> Iterator[Delta]:
    for part in [content] if isinstance(content, str) else content or []:
        match part:
            case str(text) | {"text": str(text)} if text:
                yield Delta(text)
            case {"thinking": list(inner)}:
                for piece in _content(inner):
                    yield Delta(piece.text, reasoning=True)
            case _:
                pass


def _usage(usage: object) -> Usage | None:
    def count(group: object, name: str) -> int:
        value = group.get(name) if isinstance(group, dict) else None
        return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0

    if not isinstance(usage, dict):
        return None
    told = Usage(
        input_tokens=count(usage, "prompt_tokens"),
        output_tokens=count(usage, "completion_tokens"),
        cached_tokens=count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )
    if told.reasoning_tokens > 0 and usage.get("total_tokens") == sum(
        (told.input_tokens, told.output_tokens, told.reasoning_tokens)
    ):
        # A provider that counts reasoning beside the output, not as a part of it.
        told = msgspec.structs.replace(told, output_tokens=told.output_tokens + told.reasoning_tokens)
    return told if told != Usage() else None


# What a person reads about a fault.


def one_line(text: object, most: int = MOST_QUOTED) -> str:
    """Text from elsewhere, fit to stand in a sentence: no control characters, no line breaks, cut at `most`; empty
    for what is no text."""
    if not isinstance(text, str):
        return ""
    # Cut before as well: it may be megabytes.
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * most]).split())
    return line if len(line) <= most else line[:most].rstrip() + "…"


def said(body: object, depth: int = 4) -> str:
    """The provider's own words in the body of an error, whichever of the usual shapes it has; empty where there are
    none (a web page of a proxy is not quoted)."""
    match body:
        case str(text):
            return "" if text.lstrip().startswith("<") else one_line(text)
        case [first, *_] if depth:
            return said(first, depth - 1)
        case dict() if depth:
            words = (said(body.get(key), depth - 1) for key in ("message", "error", "detail", "msg"))
            return next((found for found in words if found), "")
        case _:
            return ""


class Asked(Struct, frozen=True):
    """What was asked of whom: the base URL as it may be shown, whether a key was set, the model (None: the list of
    models), and how long a connection may take."""

    url: str
    keyed: bool
    model: str | None
    connect_seconds: float

    def again(self, first: str = "") -> str:
        """The advice to try again, after doing something else `first`."""
        if self.model is None:
            return f"{first}, then try again." if first else "Try again."
        return f"{first}, then /retry." if first else "/retry asks again."


_Fault = openai.OpenAIError | httpx2.RequestError | ValueError | RecursionError

_REFUSED: Final = (openai.OpenAIError, httpx2.RequestError)
"""What asking raises. The second is what the library leaves as it is when a connection breaks in the body of an
error."""

_BROKEN: Final = (*_REFUSED, ValueError, RecursionError)
"""What reading raises: the library passes on what its decoders of text and JSON raise; `Reading` adds ValueError."""

_SUFFIX: Final = "Check --base-url: it usually ends in /v1."


def explain(fault: _Fault, asked: Asked, *, begun: bool = False) -> str:
    """What happened and what to do about it. `begun`: the reply had begun."""
    match fault:
        case openai.APIStatusError():
            return _status(fault, asked)
        case openai.APIConnectionError() | httpx2.RequestError():
            return _connection(fault, asked, begun)
        case openai.APIError():
            return f"The model server reported an error{_quote(said(fault.body))}. {asked.again()}"
        case openai.OpenAIError():
            return f"The model server could not be asked{_quote(one_line(str(fault)))}. {asked.again()}"
        case _ if asked.model is None:
            return f"{asked.url} answered with something that is no list of models. {_SUFFIX}"
        case _:
            return (
                "The model server sent something that is no part of a chat completion. /retry asks again; if it goes"
                " on, check that --base-url is an OpenAI-compatible endpoint."
            )


def unfinished(reading: Reading, asked: Asked, content_type: str) -> str:
    """Why a stream that ended properly is no whole reply."""
    if reading.begun:
        return f"The model server broke off before the reply was finished. {asked.again()}"
    if "json" in content_type:
        return f"{asked.url} answered all at once. Backchat needs an endpoint that streams its replies."
    what = "with a web page" if "html" in content_type else "without a reply"
    return f"{asked.url} answered {what}. {_SUFFIX}"


def _quote(words: str) -> str:
    return f" (“{words}”)" if words else ""


def _status(fault: openai.APIStatusError, asked: Asked) -> str:
    status, words = fault.status_code, said(fault.body)
    quote = _quote(words)
    codes = (fault.code, fault.type)
    if status == 401:
        # Not quoted: a provider may repeat a part of the key.
        if not asked.keyed:
            return "The model server wants an API key. Set --api-key-file or OPENAI_API_KEY and start Backchat again."
        return f"The model server did not accept the API key. Set {_OTHER_KEY}"
    if status == 402 or "insufficient_quota" in codes:
        return f"The account behind the API key has no credit left{quote}. Add some, or set {_OTHER_KEY}"
    if status == 403:
        return f"The model server does not allow this{quote}. Choose another model with /model, or set {_OTHER_KEY}"
    if status == 413 or "context_length_exceeded" in codes:
        return (
            f"The transcript is more than the model takes{quote}."
            " Take messages back with /undo, begin anew with /new, or choose another model with /model."
        )
    if status in (400, 422):
        return (
            f"The model server did not accept the request{quote}."
            " /undo takes the last message back, /model chooses another model."
        )
    if status == 404 and asked.model is not None and ("model" in words.lower() or asked.model in words):
        return f"The model server does not have the model {one_line(asked.model)}{quote}. Choose another with /model."
    if status in (404, 405):
        what = "list of models" if asked.model is None else "chat endpoint"
        return f"There is no {what} at {asked.url}{quote}. {_SUFFIX}"
    if status == 408:
        return f"The model server gave up waiting for the request{quote}. {asked.again()}"
    if status == 429 or status >= 500:
        what = "was asked too often" if status == 429 else f"failed with status {status}"
        wait = _span(_wait(fault.response.headers))
        return f"The model server {what}{quote}. {asked.again(f'Wait {wait}')}"
    return f"The model server answered with status {status}{quote}. {asked.again()}"


_OTHER_KEY: Final = "another key (--api-key-file or OPENAI_API_KEY) and start Backchat again."


def _span(seconds: float) -> str:
    """A time to wait as a person would say it."""
    if not 0 < seconds < math.inf:
        return "a little"
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return "1 second" if seconds <= 1 else f"{math.ceil(seconds)} seconds"


def _connection(fault: Exception, asked: Asked, begun: bool) -> str:
    causes = list(_causes(fault))

    def caused(kind: type[BaseException]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    network = asked.again("Check --base-url and the network")
    if caused(httpx2.ConnectTimeout):
        return f"{asked.url} did not accept a connection within {asked.connect_seconds:g} seconds. {network}"
    if caused(httpx2.TimeoutException):
        return f"{asked.url} took too long to answer. {asked.again()}"
    if caused(socket.gaierror):
        return f"The name of {urlsplit(asked.url).hostname} is not known. {network}"
    if caused(ssl.SSLError):
        return f"No secure connection to {asked.url} could be made. Check --base-url: http or https, and the name."
    if caused(ConnectionRefusedError):
        return (
            f"Nothing answers at {asked.url}: the connection was refused."
            f" {asked.again('Start the model server, or check --base-url')}"
        )
    if caused(httpx2.ConnectError):
        return f"{asked.url} cannot be reached. {network}"
    when = "in the middle of the reply" if begun else "before an answer came"
    return f"The connection to the model server broke {when}. {asked.again()}"


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    """A fault and all that led to it; the attempts at several addresses of one name are a group."""
    while fault is not None:
        yield fault
        if isinstance(fault, BaseExceptionGroup):
            for inner in fault.exceptions:
                yield from _causes(inner)
        fault = fault.__cause__ or fault.__context__


# The talking.


class OpenAI:
    """See `Backend`. Raises SettingError for a URL that is none and for a key that is missing or none.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY; `retries` is how often a request is
    repeated before the reply has begun; `model` may be None only where no reply is asked for.
    """

    def __init__(
        self, *, base_url: str | None, model: str | None, api_key: str | None, retries: int, connect_seconds: float = 10
    ) -> None:
        url = base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        self.model = model
        self._url = _shown(url)
        self._keyed = bool(key)
        self._connect_seconds = connect_seconds
        self._usage_in_stream = True
        if not key and self._url == DEFAULT_URL:
            raise SettingError(
                "There is no key for api.openai.com: set OPENAI_API_KEY, or name another server with --base-url"
                " (Ollama on this machine is http://127.0.0.1:11434/v1)."
            )
        if not key.isascii() or not key.isprintable():
            raise SettingError("The API key may hold visible ASCII characters only.")
        # The first look-up loads the list of prices, which takes a moment.
        self.price("", Usage())
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or PLACEHOLDER_KEY,
            max_retries=retries,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_no_long_waits]}),
            # Once connected, it may take as long as whoever started the run is willing to wait.
            timeout=openai.Timeout(None, connect=connect_seconds),
        )

    async def reply(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """See `Backend.reply`."""
        model = prompt.model or self.model
        if model is None:
            raise BackendFailed("No model is chosen. Choose one with /model, or start Backchat with --model.")
        asked = Asked(self._url, self._keyed, model, self._connect_seconds)
        try:
            stream = await self._ask({"model": model, "messages": sent_messages(prompt), "stream": True})
        except _REFUSED as fault:
            raise BackendFailed(explain(fault, asked)) from fault
        reading = Reading()
        failure: str | None = None
        try:
            # Leaving closes the connection, which is how the model server learns that nobody listens any more.
            async with stream:
                async for chunk in stream:
                    for piece in reading.pieces(chunk):
                        yield piece
            if not reading.finished:
                failure = unfinished(reading, asked, stream.response.headers.get("content-type", ""))
        except _BROKEN as fault:
            # What goes wrong after the end of a reply costs the count of its tokens and no more.
            if not reading.finished:
                failure = explain(fault, asked, begun=reading.begun)
        for piece in reading.rest():
            yield piece
        if failure is not None:
            raise BackendFailed(failure)

    async def _ask(self, body: dict[str, Any]) -> openai.AsyncStream[object]:
        # Not `chat.completions.create`: that forces messages and chunks into its own types, where it fails on odd ones.
        if self._usage_in_stream:
            try:
                return await self._post(body | {"stream_options": {"include_usage": True}})
            except (openai.BadRequestError, openai.UnprocessableEntityError) as fault:
                if "stream_options" not in str(fault.body):
                    raise
                # An endpoint that cannot count in a stream can still reply.
                self._usage_in_stream = False
        return await self._post(body)

    async def _post(self, body: dict[str, Any]) -> openai.AsyncStream[object]:
        return await self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=openai.AsyncStream[object]
        )

    async def models(self) -> list[str]:
        """See `Backend.models`; sorted."""
        # A person waits for this at a prompt: no repetitions, and a limit of its own.
        timeout = openai.Timeout(MODELS_SECONDS, connect=min(MODELS_SECONDS, self._connect_seconds))
        try:
            listed = await self._client.get("/models", cast_to=object, options={"max_retries": 0, "timeout": timeout})
            models = msgspec.convert(listed, _Models).data or []
        except _BROKEN as fault:
            raise BackendFailed(explain(fault, Asked(self._url, self._keyed, None, timeout.connect or 0))) from fault
        return sorted({model.id for model in models if one_line(model.id) == model.id})

    def price(self, model: str, usage: Usage) -> float | None:
        """See `Backend.price`. Known for the models of known providers only, so never for a server of one's own."""
        tokens = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
        )
        try:
            price = genai_prices.calc_price(tokens, model, provider_api_url=self._url)
        except (LookupError, ValueError):
            # Not known there; or more cached tokens than tokens.
            return None
        # A price that is not listed counts as 0 there, as if it were free.
        listed = price.total_price > 0 and (price.output_price > 0 or not usage.output_tokens)
        return float(price.total_price) if listed else None

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._client.close()


async def _no_long_waits(response: httpx2.Response) -> None:
    """Sees to it that the library does not repeat a request that must wait long first: the person who waits is told
    instead. The header is how the library lets itself be told."""
    if _wait(response.headers) > MOST_WAIT:
        response.headers["x-should-retry"] = "false"


def _wait(headers: httpx2.Headers) -> float:
    """How many seconds a response asks to wait, in any form that the library heeds; 0 where it does not ask."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return float(milliseconds) / 1000
        after = headers.get("retry-after", "0")
        return float(after) if after[:1].isdigit() else parsedate_to_datetime(after).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model] | None = None
    """Ollama says null where it has none."""


def _shown(url: str) -> str:
    """A base URL without the name and the password that may be in it. Raises SettingError."""
    try:
        # These raise what would otherwise be raised when the URL is used.
        httpx2.URL(url)
        parts = urlsplit(url)
        _, host = parts.port, (parts.hostname or "").encode("idna")
        if parts.scheme in ("http", "https") and host and not parts.query and not parts.fragment:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    except (ValueError, httpx2.InvalidURL):
        pass
    # Not repeated: a password may be in it.
    raise SettingError("The base URL is not the address of an API; one looks like http://127.0.0.1:11434/v1.")
