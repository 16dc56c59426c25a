from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.config import SamplingOptions, ServingOptions
from textgen.serving.requests import Completion, Refused, parse

LIMITS = ServingOptions()
NAMES = """model prompt max_tokens temperature top_p n stop seed stream echo logprobs user top_k
min_p unknown stream_options best_of suffix presence_penalty frequency_penalty logit_bias""".split()
# a server in this process makes denormal numbers zero
FLOATS = st.floats(allow_subnormal=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text() | st.just(10**400)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3)
)


def asked(**fields: Any) -> Completion:
    return parse(json.dumps(fields).encode(), LIMITS)


def test_the_defaults_are_those_of_the_interface() -> None:
    found = asked(prompt="a")
    assert found.options == SamplingOptions(temperature=1.0, length=16)
    assert (found.model, found.prompts, found.n, found.stream) == (None, ("a",), 1, False)
    assert asked(prompt="a", temperature=None, n=None, stop=None, seed=None) == found


def test_every_field_arrives() -> None:
    found = asked(
        model="m",
        prompt=["a", "b"],
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        min_p=0.1,
        n=2,
        best_of=2,
        stop="x",
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
        echo=True,
        logprobs=3,
        user="me",
        unknown="skip",
        suffix=None,
        presence_penalty=0.0,
        logit_bias={},
    )
    options = SamplingOptions(0.5, 4, 0.9, 0.1, 5, ("x",), "skip", 7)
    flags = {"stream": True, "usage": True, "echo": True}
    assert found == Completion("m", ("a", "b"), options, 2, **flags, logprobs=3)


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"prompt": [1, 2]}, "prompt", "numbers of tokens are not supported"),
        ({"prompt": {"a": 1}}, "prompt", "an object; expected a string"),
        ({"prompt": "\ud800"}, "prompt", "surrogate"),
        ({"prompt": "a" * 9000}, "prompt", "9,000 characters; this server reads up to 8,192"),
        ({"prompt": ["a"] * 9, "n": 8}, "prompt", "writes 64 texts"),
        ({"n": 17}, "n", "between 1 and 16"),
        ({"n": 1.5}, "n", "a whole number"),
        ({"max_tokens": 10**30}, "max_tokens", "between 0 and 8,192"),
        ({"temperature": "hot"}, "temperature", "a finite number"),
        ({"temperature": "\ud800"}, "temperature", r"is '\\ud800'; expected a finite number"),
        ({"temperature": True}, "temperature", "a finite number"),
        ({"top_p": 1.1}, "top_p", "between 0 and 1"),
        ({"seed": -1}, "seed", "between 0"),
        ({"stop": ["a", ""]}, "stop", "an empty text"),
        ({"stop": ["a"] * 9}, "stop", "up to 8 texts"),
        ({"stream": 1}, "stream", "a number; expected true or false"),
        ({"stream_options": [1]}, "stream_options", "an array; expected an object"),
        ({"stream_options": {"x": 1}}, "stream_options.x", "unrecognized request argument"),
        ({"logprobs": 6}, "logprobs", "between 0 and 5"),
        ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
        ({"best_of": 3}, "best_of", "between 1 and 1"),
        ({"unknown": ["error"]}, "unknown", "expected one of error, skip, replace"),
        ({"frobnicate": 1}, "frobnicate", "unrecognized request argument"),
        ({"\ud800": 1}, "\ufffd", "unrecognized request argument"),
    ],
)
def test_what_is_refused_is_named(fields: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        asked(**fields)
    error = caught.value.body["error"]
    assert (caught.value.status, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"null", b'{"a": \xff}', b"[" * 100_000, b"1" * 10_000, b"\xef\xbb\xbf{}"],
)
def test_what_is_no_object_of_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="the body is") as caught:
        parse(body, LIMITS)
    assert caught.value.status == 400


def answered(call: Callable[[], Completion]) -> None:
    """It gives a request that can be written, or an error object that is JSON."""
    refused: Refused | None = None
    try:
        found = call()
    except Refused as error:
        refused = error
    if refused is not None:
        assert 400 <= refused.status < 500
        body = json.dumps(refused.body, ensure_ascii=False).encode()  # as it is sent
        assert json.loads(body)["error"]["message"]
    else:
        assert 0 <= found.options.length <= LIMITS.max_tokens
        assert 1 <= len(found.prompts) * found.n <= 64


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=6))
def test_any_json_is_a_request_or_an_error(fields: dict[str, Any]) -> None:
    answered(lambda: asked(**fields))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_an_error(body: bytes) -> None:
    answered(lambda: parse(body, LIMITS))


def test_no_text_is_longer_than_the_server_writes() -> None:
    assert parse(b"{}", LIMITS).options.length == 16
    assert parse(b"{}", ServingOptions(max_tokens=8)).options.length == 8
