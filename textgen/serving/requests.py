"""What a client may ask for: a body of JSON, read and checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from textgen.bounds import Number
from textgen.config import UNKNOWN, SamplingOptions, ServingOptions
from textgen.errors import UsageError, readable
from textgen.inference.batch import STREAMS

MOST_STOPS, LONGEST_STOP = 8, 128
MOST_SCORES = 5  # likeliest characters for each place
MOST_SCORED = 100_000  # characters of a request that come with them, half a kilobyte each
# of OpenAI's interface, not done here: accepted with the value at which they do nothing
NEUTRAL: dict[str, tuple[object, ...]] = {
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}
SAMPLED = ("temperature", "top_k", "top_p", "min_p", "seed", "unknown")


class Refused(Exception):
    """An answer that is an error: status, and the fields of OpenAI's error object."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {
            "error": {"message": message, "type": kind, "param": param, "code": code},
        }


@dataclass(frozen=True)
class Completion:
    """A request for texts; options.length: characters, 0 is none."""

    model: str | None = None
    prompts: tuple[str, ...] = ("",)
    options: SamplingOptions = field(default_factory=SamplingOptions)
    n: int = 1
    stream: bool = False
    usage: bool = False  # whether a stream ends with what it came to
    echo: bool = False
    logprobs: int | None = None


def parse(body: bytes, limits: ServingOptions) -> Completion:
    """The request in `body`. Raises Refused."""
    given = _object(body)
    for name, neutral in NEUTRAL.items():
        if (value := given.pop(name, None)) is not None and value not in neutral:
            _refuse(name, f"`{name}` is not supported by a model of characters; leave it out")
    prompts = _texts(given.pop("prompt", None), "prompt", empty=True) or ("",)
    check_prompts(prompts, limits)
    n = _number(given, "n", Number(1, limits.max_n, whole=True), 1)
    best_of = _number(given, "best_of", Number(n, n, whole=True), n)
    if len(prompts) * best_of > STREAMS:
        found = f"{len(prompts)} prompts with {n} texts each are asked for"
        _refuse("prompt", f"{found}; this server writes {STREAMS} texts for a request")
    scored = Number(0, MOST_SCORES, whole=True)
    streamed = _object_of(given, "stream_options")
    usage = _flag(streamed, "include_usage")
    _nothing_else(streamed, "stream_options.")
    _text(given, "user")
    completion = Completion(
        model=_text(given, "model"),
        prompts=prompts,
        n=n,
        stream=_flag(given, "stream"),
        usage=usage,
        echo=_flag(given, "echo"),
        logprobs=_number(given, "logprobs", scored, None),
        options=_options(given, limits),
    )
    _nothing_else(given)
    _check_scored(completion)
    return completion


def _check_scored(asked: Completion) -> None:
    """Refuse more characters with `logprobs` than the memory should hold."""
    if asked.logprobs is None:
        return
    read = sum(map(len, asked.prompts)) if asked.echo else 0
    scored = asked.n * (read + len(asked.prompts) * asked.options.length)
    if scored > MOST_SCORED:
        found = f"`logprobs` of up to {scored:,} characters are asked for"
        _refuse("logprobs", f"{found}; this server gives {MOST_SCORED:,} in an answer")


def check_prompts(prompts: Sequence[str], limits: ServingOptions) -> None:
    """Refuse those that are too long."""
    for prompt in prompts:
        if len(prompt) > limits.max_prompt:
            found = f"`prompt` has {len(prompt):,} characters; this server reads up to"
            _refuse("prompt", f"{found} {limits.max_prompt:,}", code="context_length_exceeded")


def _nothing_else(given: dict[str, Any], within: str = "") -> None:
    if others := sorted(given):
        name = f"{within}{others[0][:100]}"
        _refuse(name, f"unrecognized request argument supplied: {name!r}")


def _options(given: dict[str, Any], limits: ServingOptions) -> SamplingOptions:
    """How the texts are written; the defaults are those of OpenAI's interface."""
    few = min(16, limits.max_tokens)
    length = _number(given, "max_tokens", Number(0, limits.max_tokens, whole=True), few)
    stops = _texts(given.pop("stop", None), "stop", empty=False)
    if len(stops) > MOST_STOPS or any(len(text) > LONGEST_STOP for text in stops):
        expected = f"up to {MOST_STOPS} texts of up to {LONGEST_STOP} characters"
        _refuse("stop", f"`stop` is too long; expected {expected}")
    if isinstance(given.get("unknown", ""), list | dict):
        _refuse("unknown", f"`unknown` is no text; expected one of {', '.join(UNKNOWN)}")
    chosen = {name: given.pop(name, None) for name in SAMPLED}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name, value in chosen.items():
        try:
            SamplingOptions(**{name: value})
        except UsageError as error:
            _refuse(name, error.message)
    return SamplingOptions(**{"temperature": 1.0} | chosen, length=length, stop=stops)


def _refuse(param: str | None, message: str, code: str | None = None) -> NoReturn:
    raise Refused(message, param=param and readable(param), code=code)


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        _refuse(None, f"the body is no UTF-8: byte {error.start + 1}; expected a JSON object")
    except (ValueError, RecursionError) as error:
        _refuse(None, f"the body is no JSON: {str(error)[:200]}; expected a JSON object")
    if not isinstance(given, dict):
        _refuse(None, f"the body is JSON of {_kind(given)}; expected an object")
    return given


def _kind(value: object) -> str:
    kinds = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), "null" if value is None else "a number")


def _number(given: dict[str, Any], name: str, bounds: Number, default: Any) -> Any:
    value = given.pop(name, None)
    if value is None:
        return default
    try:
        bounds.check(name, value)
    except UsageError as error:
        _refuse(name, error.message)
    return value


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.pop(name, None)
    if value not in (None, True, False) or type(value) in (int, float):
        _refuse(name, f"`{name}` is {_kind(value)}; expected true or false")
    return bool(value)


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.pop(name, None)
    if value is not None and not isinstance(value, str):
        _refuse(name, f"`{name}` is {_kind(value)}; expected a string")
    return value


def _object_of(given: dict[str, Any], name: str) -> dict[str, Any]:
    value = given.pop(name, None)
    if value is not None and not isinstance(value, dict):
        _refuse(name, f"`{name}` is {_kind(value)}; expected an object")
    return dict(value or {})


def _texts(value: object, name: str, *, empty: bool) -> tuple[str, ...]:
    """A string, or an array of them; empty: whether a text may be."""
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list):
        _refuse(name, f"`{name}` is {_kind(value)}; expected a string or an array of strings")
    for text in texts:
        if not isinstance(text, str):
            what = "numbers of tokens are not supported; " if isinstance(text, int | list) else ""
            _refuse(name, f"`{name}` holds {_kind(text)}; {what}expected strings")
        if not text and not empty:
            _refuse(name, f"`{name}` holds an empty text")
        if any("\ud800" <= c < "\ue000" for c in text):
            _refuse(name, f"`{name}` holds half of a surrogate pair; expected Unicode text")
    return tuple(texts)
