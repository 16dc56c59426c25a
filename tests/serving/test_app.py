"""What the server refuses, how it is kept from others, and what it does with strange senders."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from functools import partial, partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from conftest import train
from starlette.requests import ClientDisconnect

import textgen
from textgen.cli.app import app as commands
from textgen.cli.serve import LOG
from textgen.config import ServingOptions
from textgen.errors import RunError, UsageError
from textgen.serving import answers, completions, models, server
from textgen.serving.engine import Engine
from textgen.text.vocabulary import Vocabulary

KEY = "a key"
JSON = "Content-Type: application/json"


@contextmanager
def serving(run: Path, **options: Any) -> Iterator[tuple[str, server.Server]]:
    """The address of a server in a thread of that name in this process, and the server."""
    chosen = ServingOptions(port=0, **options)
    with server.listening(chosen) as listener:
        made = server.make_server([str(run)], Path("checkpoints"), chosen)
        url = server.address(listener)
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]}, name=url)
        thread.start()
        try:
            yield url, made
        finally:
            made.should_exit = True
            thread.join()


def logged(caplog: pytest.LogCaptureFixture, url: str) -> list[str]:
    """What the server of that address logged, and no other that still writes its last line."""
    return [record.getMessage() for record in caplog.records if record.threadName == url]


@pytest.fixture(scope="module")
def guarded(trained: Path) -> Iterator[str]:
    options = {"api_key": KEY, "allow_origin": ("https://a.example",), "max_body": 2000, "queue": 0}
    with serving(trained, **options) as (url, _):
        yield url


@pytest.fixture(scope="module")
def unguarded(trained: Path) -> Iterator[str]:
    with serving(trained) as (url, _):
        yield url


def with_key(**others: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}", **others}


def post(url: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json=fields, headers=with_key(), timeout=60)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def raw(url: str, *parts: bytes, end: bool = False) -> tuple[int, dict[str, Any]]:
    """Status and error object of the answer to these bytes; end: whether the sender hangs up."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        if end:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def request(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = ["POST /v1/completions HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    lines += [f"Authorization: Bearer {KEY}", f"Content-Length: {length or len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_only_who_has_the_key_is_answered(guarded: str) -> None:
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer k\u00e9y"}):
        sent = {name: value.encode("utf-8") for name, value in headers.items()}
        answer = httpx.post(f"{guarded}/v1/completions", json={"prompt": "The"}, headers=sent)
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "invalid_api_key"
    assert post(guarded, prompt="The").status_code == 200
    assert httpx.get(f"{guarded}/health").status_code == 200
    page = httpx.get(guarded)
    assert page.status_code == 401
    assert page.headers["www-authenticate"].startswith("Basic")
    assert httpx.get(guarded, auth=("", KEY)).status_code == 200
    assert httpx.get(guarded, auth=("", "other")).status_code == 401


def test_pages_of_other_origins_are_let_in_by_name_alone(guarded: str, trained: Path) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    for origin, allowed in (("https://a.example", True), ("https://b.example", False)):
        headers = {"Origin": origin, **asked}
        answer = httpx.options(f"{guarded}/v1/completions", headers=headers)
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert (answer.status_code == 200) is allowed
    with serving(trained) as (url, _):
        answer = httpx.get(f"{url}/v1/models", headers={"Origin": "https://a.example"})
        assert "access-control-allow-origin" not in answer.headers
        simple = {"Content-Type": "text/plain"}  # sent by any page without asking first
        refused = httpx.post(f"{url}/v1/completions", content=b"{}", headers=simple)
        assert refused.status_code == 415


def test_a_full_queue_says_when_to_come_again(guarded: str) -> None:
    asked = {"prompt": "The", "n": 16, "max_tokens": 8192, "stream": True}
    streams = []
    with httpx.Client(headers=with_key(), timeout=60) as client:
        for _ in range(4):
            made = client.build_request("POST", f"{guarded}/v1/completions", json=asked)
            streams.append(client.send(made, stream=True))
        refused = post(guarded, prompt="The")
        for stream in streams:
            stream.close()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert error_of(refused)["type"] == "rate_limit_error"
    end = time.monotonic() + 30
    while post(guarded, prompt="The").status_code != 200:
        assert time.monotonic() < end


def test_a_request_has_its_time(trained: Path) -> None:
    with serving(trained, seconds=1, max_tokens=10**9) as (url, _):
        answer = httpx.post(f"{url}/v1/completions", json={"max_tokens": 10**9}, timeout=60)
        choice = answer.json()["choices"][0]
        assert choice["finish_reason"] == "length"
        assert 0 < len(choice["text"]) < 10**7


def test_other_paths_and_methods_get_an_error_object(guarded: str) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/v1/completions", 405)):
        answer = httpx.request(method, f"{guarded}{path}", headers=with_key())
        assert answer.status_code == status
        assert path in error_of(answer)["message"]


def test_a_body_too_long_is_refused(guarded: str) -> None:
    assert error_of(post(guarded, prompt="a" * 3000))["message"] == (
        "the body is longer than 2,000 bytes"
    )
    chunked = request(b"", JSON).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    status, _ = raw(guarded, chunked + b"bb9\r\n" + b"x" * 0xBB9 + b"\r\n0\r\n\r\n")
    assert status == 413


def test_slow_senders_are_hung_up_on(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SLOWEST_HEAD", 0.5)
    monkeypatch.setattr(completions, "SLOWEST_BODY", 0.5)
    status, error = raw(guarded, b"POST /v1/compl")
    assert (status, error["message"]) == (408, "the request was not there after 0.5 seconds")
    status, error = raw(guarded, request(b"{", JSON, length=50))
    assert (status, error["message"]) == (408, "the body was not there after 0.5 seconds")


def test_a_truncated_body_is_refused(guarded: str) -> None:
    status, error = raw(guarded, request(b'{"prompt": "The', JSON, length=40), end=True)
    assert (status, error["message"]) == (400, "the body ends before its length")


def test_the_log_tells_what_the_client_got(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "textgen.serving")
    chunked = request(b"", JSON).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with serving(trained, max_tokens=10**9) as (url, _):
        assert raw(url, request(b"{", JSON, length=50), end=True)[0] == 400
        assert raw(url, chunked + b"zz\r\n")[0] == 400
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(request(b'{"max_tokens": 1000000000}', JSON))
            connection.shutdown(socket.SHUT_WR)  # as if it went away: nothing comes any more
            assert connection.recv(99) == b""
    lines = [line.split() for line in logged(caplog, url)]
    assert [line[3] for line in lines if line[1] == "POST"] == ["400", "400", "499"]


def test_a_client_that_does_not_read_has_gone_away() -> None:
    async def stuck(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1"

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    stream = completions.Stream(events(), [], {}, SimpleNamespace(written=0), 0.05)
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    with pytest.raises(ClientDisconnect):
        asyncio.run(asyncio.wait_for(stream(scope, never, stuck), 20))


def test_the_page_is_that_of_the_model_that_writes(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    textgen.load(trained).export(path)
    with serving(path) as (url, _):
        path.write_bytes(b"")
        assert httpx.get(url).status_code == 200
        assert httpx.post(f"{url}/v1/completions", json={}, timeout=60).status_code == 200


@pytest.mark.parametrize("key", ["", " a", "a ", "\u00e9"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="api_key"):
        ServingOptions(api_key=key)


def test_origins_are_several_texts() -> None:
    with pytest.raises(UsageError, match=r"`allow_origin` is 'https://a\.example'; "):
        ServingOptions(allow_origin=cast(Any, "https://a.example"))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("localhost", "LOCALHOST:8013", "127.0.0.1:1", "[::1]:80")),
        *((host, 421) for host in ("a.example", "a.example:8013", "127.0.0.1.a.example", "[::2]")),
    ],
)
def test_without_a_key_a_name_that_was_made_to_lead_here_is_refused(
    unguarded: str, host: str, status: int
) -> None:
    for path in ("/", "/v1/models"):
        answer = httpx.get(f"{unguarded}{path}", headers={"Host": host})
        assert answer.status_code == status
    if status == 421:
        assert "127.0.0.1, ::1, localhost alone" in error_of(answer)["message"]


def test_with_a_key_any_name_may_lead_here(guarded: str) -> None:
    answer = httpx.get(guarded, headers={"Host": "a.example"}, auth=("", KEY))
    assert answer.status_code == 200


def test_the_log_names_who_is_connected_and_has_one_line_for_each(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "textgen.serving")
    forged = {"X-Forwarded-For": "10.0.0.9 POST /v1/completions 200 0.001s"}
    with serving(trained) as (url, _):
        httpx.get(f"{url}/a%20200%200.001s%0a", headers=forged)
    [line] = logged(caplog, url)
    assert line.startswith("127.0.0.1 GET /a%20200%200.001s%0a 404 ")
    assert len(line.split()) == 5


def test_prompts_are_looked_up_as_a_whole_and_beside_what_others_are_answered(
    unguarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of very many characters, all of which are unknown, hold nobody up."""
    encode, places, calls = Vocabulary.encode, Vocabulary.places, []

    def noted(of: Any, *arguments: Any, **how: Any) -> Any:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise AssertionError("on the loop that answers everybody")
        calls.append(of.__name__)
        return of(*arguments, **how)

    monkeypatch.setattr(Vocabulary, "encode", partialmethod(partial(noted, encode)))
    monkeypatch.setattr(Vocabulary, "places", partialmethod(partial(noted, places)))
    prompts = ["".join(map(chr, range(0x4E00 + n, 0x4E00 + n + 2000))) for n in range(3)]
    asked = {"prompt": prompts, "max_tokens": 1, "unknown": "replace", "echo": True, "logprobs": 0}
    assert post(unguarded, **asked).json()["usage"]["prompt_tokens"] == 3 * 2000
    assert sorted(calls) == ["encode"] * 3 + ["places"] * 3


def test_a_prompt_that_its_normal_form_makes_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the fox said\n" * 20)
    train(tmp_path / "a.txt", tmp_path, steps=2, normalize="nfkc")
    with serving(tmp_path / "a") as (url, _):
        answer = post(url, prompt="\ufdfa" * 8000)
    assert error_of(answer)["code"] == "context_length_exceeded"
    assert "144,000 characters" in error_of(answer)["message"]


def test_what_nobody_reads_is_dropped_once_it_was_hung_up_on() -> None:
    protocol = object.__new__(server.Protocol)
    protocol.cycle = None
    sizes, calls = iter([900, 500, 500]), []
    protocol.transport = SimpleNamespace(
        get_write_buffer_size=lambda: next(sizes),
        is_closing=lambda: True,
        abort=lambda: calls.append("abort"),
    )
    protocol.loop = SimpleNamespace(call_later=lambda _, again, left: calls.append(left))
    for left in (0, 900, 500):
        protocol._await_reader(left)
    assert calls == [900, 500, "abort"]


def test_what_is_no_http_gets_an_error_object(guarded: str) -> None:
    for junk in (b"\x16\x03\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/x\r\n\r\n"):
        status, error = raw(guarded, junk)
        assert (status, error["type"]) == (400, "invalid_request_error")


def test_mangled_requests_never_fail_the_server(guarded: str) -> None:
    rng = random.Random(1)
    whole = b'{"prompt": "The ", "max_tokens": 5, "temperature": 0.5, "n": 1, "stop": ["x"]}'
    with httpx.Client(headers=with_key(**{"Content-Type": "application/json"})) as client:
        for _ in range(100):
            body = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            answer = client.post(f"{guarded}/v1/completions", content=bytes(body))
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, body
            assert answer.status_code == 200 or error_of(answer)
    assert post(guarded, prompt="The ").status_code == 200


def test_a_new_checkpoint_is_taken_up(
    trained: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LOOK", 0.05)
    path, other = tmp_path / "weights.safetensors", tmp_path / "other.safetensors"
    textgen.load(trained).export(path)
    textgen.load(lines).export(other)
    with serving(path) as (url, _), httpx.Client() as client:
        asked = {"model": "weights", "prompt": "", "max_tokens": 200}

        def version() -> str:
            answer = client.post(f"{url}/v1/completions", json=asked)
            found: str = answer.json()["system_fingerprint"]
            return found

        before = version()
        shutil.copy(path, tmp_path / "damaged.safetensors")
        with open(tmp_path / "damaged.safetensors", "r+b") as file:
            file.truncate(5000)
        os.replace(tmp_path / "damaged.safetensors", path)
        time.sleep(0.2)
        assert version() == before
        os.replace(other, path)
        end = time.monotonic() + 30
        while version() == before:
            assert time.monotonic() < end


def test_others_are_let_in_with_a_key_alone() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "machine.example"):
        with pytest.raises(UsageError, match="which others can reach, and there is no key"):
            server.check_host(ServingOptions(host=host))
        server.check_host(ServingOptions(host=host, api_key=KEY))
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        server.check_host(ServingOptions(host=host))


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(RunError, match=f"cannot listen on 127.0.0.1 port {port}: ") as caught,
            server.listening(ServingOptions(port=port)),
        ):
            pass
        assert "`port=0`" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "\udc80"])
def test_an_address_of_another_machine_is_not_mended_by_another_port(host: str) -> None:
    with (
        pytest.raises(RunError, match="cannot listen on") as caught,
        server.listening(ServingOptions(host=host, port=0)),
    ):
        pass
    assert "`host=127.0.0.1`" in caught.value.hint


def test_a_page_is_asked_for_with_the_password_that_is_the_key(guarded: str) -> None:
    for sent in ("!!", base64.b64encode(b"no colon").decode()):
        answer = httpx.get(guarded, headers={"Authorization": f"Basic {sent}"})
        assert answer.status_code == 401


def test_a_model_that_reads_backward_writes_what_comes_before(corpus: Path, tmp_path: Path) -> None:
    from conftest import train

    train(corpus, tmp_path, steps=20, backward=True)
    with serving(tmp_path / "tales") as (url, _):
        asked = {"prompt": "the end.", "max_tokens": 30, "seed": 2, "echo": True}
        answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=60)
        text = answer.json()["choices"][0]["text"]
        assert len(text) == 38
        assert text.endswith("the end.")
        refused = httpx.post(f"{url}/v1/completions", json=asked | {"logprobs": 1})
        assert error_of(refused)["param"] == "logprobs"


def test_a_model_of_bytes_that_reads_backward_writes_characters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("日本語の文。\n" * 100, "utf-8")
    train(tmp_path / "a.txt", tmp_path, steps=60, level="byte", backward=True, lr=0.02)
    asked = {"prompt": "。", "max_tokens": 15, "seed": 1, "temperature": 0}
    with serving(tmp_path / "a") as (url, _):
        answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=60)
    written = "".join(textgen.load(tmp_path / "a").generate("。", length=15, temperature=0))
    plain = written.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    assert answer.json()["choices"][0]["text"] == plain
    assert {*plain} & {*"日本語の文"}


def test_a_prompt_is_read_in_the_normal_form_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("café au lait\n" * 20, encoding="utf-8")
    train(tmp_path / "a.txt", tmp_path, steps=2, normalize="nfc")
    asked = {"prompt": "cafe\u0301", "max_tokens": 5, "seed": 1, "echo": True, "logprobs": 0}
    with serving(tmp_path / "a") as (url, _):
        choice = httpx.post(f"{url}/v1/completions", json=asked, timeout=60).json()["choices"][0]
    assert choice["text"].startswith("café")
    assert choice["logprobs"]["tokens"][:4] == ["c", "a", "f", "é"]
    assert choice["logprobs"]["text_offset"] == [*range(9)]


def test_a_model_of_bytes_counts_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("日本語の文。\n" * 100, "utf-8")
    train(tmp_path / "a.txt", tmp_path, steps=30, level="byte", lr=0.02)
    asked = {"prompt": "日本", "max_tokens": 50, "seed": 1}
    with serving(tmp_path / "a") as (url, _):
        answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=60)
    counts = {"prompt_tokens": 6, "completion_tokens": 50, "total_tokens": 56}
    assert answer.json()["usage"] == counts


def test_a_text_that_fails_is_not_told_to_be_late(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, write = [], Engine.write

    def failing(engine: Engine, seconds: float) -> None:
        calls.append(seconds)
        if len(calls) > 1:
            raise ValueError("for a test")
        write(engine, seconds)

    monkeypatch.setattr(Engine, "write", failing)
    with serving(trained, max_tokens=10**9) as (url, _):
        asked = {"stream": True, "max_tokens": 10**9}
        body = httpx.post(f"{url}/v1/completions", json=asked, timeout=60).text
    assert '"message": "the server could not write this text"' in body


def test_a_file_that_could_not_be_opened_is_tried_again(
    trained: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    textgen.load(trained).export(path)
    served = models.Models([str(path)], tmp_path).first
    before, errors = served.loaded, [OSError(24, "Too many open files")]
    textgen.load(lines).export(tmp_path / "other.safetensors")
    os.replace(tmp_path / "other.safetensors", path)

    def loaded(path: Path) -> models.Loaded:
        if errors:
            raise errors.pop()
        return models.Loaded.__new__(models.Loaded)

    with monkeypatch.context() as patch:
        patch.setattr(models, "Loaded", loaded)
        served.look()
        served.look()
        assert served.loaded is before  # not at once
    monkeypatch.setattr(models, "AGAIN", 0.0)
    served.again = 0.0
    served.look()
    assert served.loaded is not before


def test_a_run_of_which_previous_alone_is_left_keeps_its_name(
    trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "tales"
    run.mkdir()
    shutil.copy(trained / "last.safetensors", run / "previous.safetensors")
    assert [*models.Models(["tales"], tmp_path).served] == ["tales"]


def test_a_stop_text_is_in_the_normal_form_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the end!\n" * 20, encoding="utf-8")
    train(tmp_path / "a.txt", tmp_path, steps=2, normalize="nfkc")
    with serving(tmp_path / "a") as (url, _):
        choice = post(url, max_tokens=300, seed=1, stop="ｅ").json()["choices"][0]
    assert choice["finish_reason"] == "stop"


def test_an_answer_is_made_beside_the_loop_and_choice_by_choice(
    unguarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    choice = answers.Answer.choice

    def noted(self: answers.Answer, number: int, *rest: Any, **more: Any) -> dict[str, Any]:
        written.append((threading.current_thread().name, number))
        return choice(self, number, *rest, **more)

    monkeypatch.setattr(answers.Answer, "choice", noted)
    asked = {"prompt": ["a", "b"], "n": 2, "max_tokens": 5, "seed": 1, "logprobs": 2}
    answer = post(unguarded, **asked)
    assert answer.headers["content-type"] == "application/json"
    facts = answer.json()
    assert [each["index"] for each in facts["choices"]] == [0, 1, 2, 3]
    assert facts["usage"] == {"prompt_tokens": 2, "completion_tokens": 20, "total_tokens": 22}
    assert {*facts} == {
        *("id", "object", "created", "model", "system_fingerprint", "choices", "usage")
    }
    assert [number for _, number in written] == [0, 1, 2, 3]
    assert all(name.startswith("asyncio") for name, _ in written)


@pytest.mark.parametrize(("started", "expected"), [(False, "abort"), (True, 500)])
def test_a_client_that_asks_on_and_does_not_read_is_dropped(
    started: bool, expected: object
) -> None:
    protocol = object.__new__(server.Protocol)
    protocol.cycle = SimpleNamespace(response_started=started)
    calls: list[object] = []
    protocol.transport = SimpleNamespace(
        get_write_buffer_size=lambda: 500,
        is_closing=lambda: False,
        abort=lambda: calls.append("abort"),
    )
    protocol.loop = SimpleNamespace(call_later=lambda _, again, left: calls.append(left))
    protocol._await_reader(500)
    assert calls == [expected]


def test_an_empty_key_in_the_environment_is_no_key(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTGEN_API_KEY", "")
    monkeypatch.setattr(LOG, "handlers", [*LOG.handlers])
    monkeypatch.setattr(LOG, "level", LOG.level)
    with pytest.raises(UsageError, match="api_key"):
        commands(["serve", str(trained), "--port", "0"], standalone_mode=False)


def test_inside_of_an_event_loop_a_thread_is_asked_for(trained: Path) -> None:
    async def notebook() -> None:
        textgen.serve(trained, port=0)

    with pytest.raises(UsageError, match="inside of a running event loop") as caught:
        asyncio.run(notebook())
    assert "threading.Thread" in caught.value.hint


def test_the_log_of_another_server_in_the_process_is_heard(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("uvicorn.error")
    before = len(log.filters)
    with caplog.at_level(logging.INFO), serving(trained):
        log.error("of another")
    heard = [record.getMessage() for record in caplog.records if record.name == log.name]
    assert heard == ["of another"]
    assert len(log.filters) == before


def test_a_server_whose_ready_fails_leaves_no_thread(trained: Path) -> None:
    def fail(_: str) -> None:
        raise LookupError("no such window")

    before = {*threading.enumerate()}
    with pytest.raises(LookupError, match="no such window"):
        textgen.serve(trained, port=0, ready=fail)
    left = {*threading.enumerate()} - before
    for thread in left:
        thread.join(30)
    assert not any(thread.is_alive() for thread in left)


def test_one_who_reads_a_byte_now_and_then_is_dropped_at_last() -> None:
    protocol = object.__new__(server.Protocol)
    protocol.cycle, calls, left = None, [], 10 * server.LEAST_READ
    protocol.transport = SimpleNamespace(
        get_write_buffer_size=lambda: left,
        is_closing=lambda: True,
        abort=lambda: calls.append("abort"),
    )
    protocol.loop = SimpleNamespace(call_later=lambda *_: None)
    looks = 0
    while not calls:
        protocol._await_reader(left + 1)
        looks, left = looks + 1, left - 1
        assert looks <= server.PATIENT + 11
    assert looks > server.PATIENT + 10


def test_a_slash_too_many_is_no_way_to_plain_http(guarded: str) -> None:
    url = f"{guarded}/v1/completions/"
    answer = httpx.post(url, json={"prompt": "The"}, headers=with_key(), timeout=60)
    assert answer.status_code == 404
    assert "/v1/completions/" in error_of(answer)["message"]


def test_no_answer_holds_more_scores_than_the_memory_should(guarded: str) -> None:
    answer = post(guarded, prompt=["The", "A"], n=8, max_tokens=7000, logprobs=1)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "logprobs"
    assert "of up to 112,000 characters" in error_of(answer)["message"]


def test_only_requests_for_texts_are_timed(trained: Path) -> None:
    with serving(trained) as (url, _):
        httpx.get(f"{url}/health", timeout=60)
        httpx.post(f"{url}/v1/completions", json={"prompt": "The"}, timeout=60)
        deadline = time.monotonic() + 60  # a request is counted after its answer
        while "textgen_request_seconds_count 1.0" not in (page := httpx.get(f"{url}/metrics").text):
            assert time.monotonic() < deadline, page
        assert 'textgen_requests_total{path="/health",status="200"} 1.0' in page
