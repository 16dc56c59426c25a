"""A real server process, spoken to by the clients that people have."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from server_process import ServerProcess

import textgen

CURL = shutil.which("curl")


@pytest.fixture(scope="module")
def client(served: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_official_client_gets_texts(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="tales", prompt="The fox ", max_tokens=50, seed=3, n=2)
    assert [len(choice.text) for choice in answer.choices] == [50, 50]
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 100)
    again = client.completions.create(model="tales", prompt="The fox ", max_tokens=50, seed=3, n=2)
    assert [c.text for c in again.choices] == [c.text for c in answer.choices]


def test_the_official_client_reads_a_stream(client: openai.OpenAI) -> None:
    asked = {"model": "tales", "prompt": ["The ", "old "], "max_tokens": 300, "seed": 3}
    whole = client.completions.create(**asked)
    texts, ends, usage = ["", ""], [], None
    options = {"include_usage": True}
    for event in client.completions.create(**asked, stream=True, stream_options=options):
        usage = event.usage or usage
        for choice in event.choices:
            texts[choice.index] += choice.text
            ends += [choice.finish_reason] if choice.finish_reason else []
    assert texts == [choice.text for choice in whole.choices]
    assert ends == ["length", "length"]
    assert usage == whole.usage


def test_the_official_client_lists_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tales", "words"]
    assert client.models.retrieve("words").owned_by == "textgen"


def test_the_official_client_raises_its_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'none' here"):
        client.completions.create(model="none", prompt="The")
    with pytest.raises(openai.BadRequestError, match=r"temperature. is -1") as caught:
        client.completions.create(model="tales", prompt="The", temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="2 characters the model never saw") as caught:
        client.completions.create(model="tales", prompt="5 %")
    assert caught.value.code == "unknown_characters"
    skipped = client.completions.create(
        model="tales", prompt="%The", echo=True, extra_body={"unknown": "skip"}, max_tokens=9
    )
    assert skipped.choices[0].text.startswith("%The")


def test_log_probabilities_are_those_of_scoring(client: openai.OpenAI, trained: Path) -> None:
    answer = client.completions.create(
        model="tales", prompt="The fox said. ", max_tokens=0, echo=True, logprobs=2
    )
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.token_logprobs is not None
    assert "".join(found.tokens) == answer.choices[0].text == "The fox said. "
    assert found.text_offset == list(range(14))
    assert found.token_logprobs[0] is None
    scored = textgen.load(trained).score("The fox said. ")
    assert -sum(found.token_logprobs[1:]) / 13 == pytest.approx(scored.nats_per_char, abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "unknown", "places"),
    [
        ("%The%", "skip", [1, 2, 3]),
        ("%Thé", "replace", [0, 1, 2, 3]),
        ("oﬀo", "replace", [0, 1, 1, 2]),
    ],
)
def test_places_are_those_of_the_prompt_as_it_was_given(
    client: openai.OpenAI, prompt: str, unknown: str, places: list[int]
) -> None:
    asked = {"model": "tales", "max_tokens": 3, "echo": True, "logprobs": 0, "seed": 1}
    asked |= {"prompt": prompt, "extra_body": {"unknown": unknown}}
    for stream in (False, True):
        answer = client.completions.create(**asked, stream=stream)
        choices = [choice for part in (answer if stream else [answer]) for choice in part.choices]
        found = [choice.logprobs for choice in choices if choice.logprobs]
        text = "".join(choice.text for choice in choices)
        assert text.startswith(prompt)
        end = len(prompt)
        offsets = [place for part in found for place in part.text_offset or ()]
        assert offsets == [*places, end, end + 1, end + 2]
        written = [token for part in found for token in part.tokens or ()][-3:]
        assert written == [*text[end:]]


def test_a_document_ends_by_itself(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="words", prompt="", max_tokens=400, n=4, seed=1)
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert not any("\n" in choice.text for choice in answer.choices)


def test_a_stop_text_ends_a_text_and_is_not_in_it(client: openai.OpenAI) -> None:
    asked = {"model": "tales", "prompt": "The ", "max_tokens": 200, "seed": 9}
    whole = client.completions.create(**asked).choices[0].text
    answer = client.completions.create(**asked, stop=[whole[20:24]])
    assert answer.choices[0].text == whole[: whole.index(whole[20:24])]
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_gets_a_stream(served: ServerProcess) -> None:
    body = json.dumps({"prompt": "The ", "max_tokens": 20, "stream": True})
    command = [str(CURL), "-sSN", f"{served.url}/v1/completions"]
    command += ["-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line]
    assert events.pop() == "[DONE]"
    texts = [json.loads(event)["choices"][0]["text"] for event in events]
    assert len("".join(texts)) == 20


def test_the_page_and_the_figures(served: ServerProcess, trained: Path) -> None:
    page = httpx.get(served.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "A model of tales.txt" in page.text
    assert str(trained.parent) not in page.text
    assert httpx.get(f"{served.url}/health").json() == {"status": "ok"}
    httpx.post(f"{served.url}/v1/completions", json={"prompt": "The "}, timeout=60)
    assert served.figure("textgen_characters") > 0


def test_a_client_that_goes_away_frees_its_places(served: ServerProcess) -> None:
    asked = {"prompt": "The ", "max_tokens": 8192, "n": 16, "stream": True}
    with httpx.stream("POST", f"{served.url}/v1/completions", json=asked) as stream:
        parts = stream.iter_raw()
        next(parts)
        assert served.figure("textgen_open_texts") == 16
    served.wait_for("textgen_open_texts", 0)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/completions", json=asked | {"stream": False}, timeout=0.3)
    served.wait_for("textgen_open_texts", 0)


def test_the_log_has_a_line_for_each_request(served: ServerProcess) -> None:
    httpx.post(f"{served.url}/v1/completions", json={"prompt": "The\u202e\n", "unknown": "skip"})
    line = served.line_with("202e")  # written after the answer
    assert "127.0.0.1 POST /v1/completions 200" in line
    assert line.endswith('model=tales texts=1 prompt=["The\\u202e\\n"] characters=16')


def test_sigterm_lets_running_texts_end(trained: Path) -> None:
    with ServerProcess(str(trained)) as process:
        asked = {"prompt": "The secret ", "unknown": "skip", "max_tokens": 2000, "stream": True}
        with httpx.stream("POST", f"{process.url}/v1/completions", json=asked) as stream:
            parts = stream.iter_lines()
            next(parts)
            process.process.terminate()
            events = [line.removeprefix("data: ") for line in parts if line]
        assert events.pop() == "[DONE]"
        assert json.loads(events[-1])["choices"][0]["finish_reason"] == "length"
        assert process.process.wait(30) == 0
        assert "secret" not in process.lines()
