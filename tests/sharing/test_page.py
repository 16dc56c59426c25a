"""The page's JavaScript against Python, run by node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import train
from networks import build, repeating, weights

import textgen
from textgen.architecture import FACTOR, GRAM
from textgen.config import MATCHED, SamplingOptions
from textgen.inference.folding import fold
from textgen.inference.sampling import Sampler, log_probability
from textgen.inference.stepper import Stepper
from textgen.sharing.document import source
from textgen.sharing.page import page_file
from textgen.sharing.rounding import PRECISIONS, pack_rounded
from textgen.store.checkpoint import read_header

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def rounded(arrays: dict[str, np.ndarray], precision: str) -> dict[str, np.ndarray]:
    """The weights in float32 that a page computes with, from what is packed."""
    packed, values = memoryview(pack_rounded(arrays, precision)), {}
    for name, array in arrays.items():
        numbers = (
            "<f4" if array.ndim == 1 else {"int8": "i1", "fp16": "<f2", "fp32": "<f4"}[precision]
        )
        scales = np.ones(1, np.float32)
        if numbers == "i1":
            scales = np.frombuffer(packed[: 4 * len(array)], "<f4")[:, None]
            packed = packed[4 * len(array) :]
        size = array.size * np.dtype(numbers).itemsize
        found = np.frombuffer(packed[:size], numbers).astype(np.float32)
        values[name] = found.reshape(array.shape) * scales
        packed = packed[size:]
    assert not packed
    return values


def evaluated(expression: str, **given: object) -> object:
    """The value of an expression of product.js and model.js; given: what stands in `given`."""
    program = "const given = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    program += f"process.stdout.write(JSON.stringify({expression}))"
    done = subprocess.run(
        [
            str(NODE),
            "-e",
            source("sharing", "product.js") + source("sharing", "model.js") + program,
        ],
        input=json.dumps(given).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("hidden", [(16, 16, 16), (24, 15)])
def test_the_step_is_that_of_python(cell: str, hidden: tuple[int, ...], precision: str) -> None:
    network = build(cell, hidden, history=64, grams=50)
    config, arrays = network.config, weights(network)
    ids = repeating(1, 200, 1)[:, 0].tolist()
    stepper = Stepper(fold(config, rounded(arrays, precision)))
    expected = [stepper.step(i).tolist() for i in ids]
    found = evaluated(
        "[true, false].map((fast) => { if (!fast) globalThis.WebAssembly = undefined;"
        " const model = new Model(given,"
        " unpack(new Uint8Array(Buffer.from(given.bytes, 'hex')), given));"
        " return given.ids.map((id) => Array.from(model.step(id))); })",
        bytes=pack_rounded(arrays, precision).hex(),
        shapes=config.shapes,
        precision=precision,
        cell=cell,
        hidden=hidden,
        skips=config.skips,
        history=config.history,
        matched=MATCHED,
        gram=GRAM,
        factor=FACTOR,
        ids=ids,
    )
    fast, plain = np.array(found)
    np.testing.assert_allclose(fast, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(plain, expected, atol=1e-4, rtol=0)
    assert (fast != plain).any()  # both ways were taken


OPTIONS = [
    {},
    {"temperature": 0.0},
    {"temperature": 1.7},
    {"top_k": 3},
    {"top_k": 40},
    {"top_p": 0.0},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"temperature": 0.6, "top_k": 12, "top_p": 0.9, "min_p": 0.01},
]


@needs_node
@pytest.mark.parametrize("never", [None, 4])
def test_the_filters_leave_what_those_of_python_leave(never: int | None) -> None:
    rng = np.random.default_rng(3)
    logits = (3 * rng.standard_normal((20, 30))).astype(np.float32)
    logits[1, 7:12] = logits[1].max()  # equals
    logits[:, 4] += 3
    cases = [
        (replace(SamplingOptions(), **options), row, float(rng.random()))
        for options in OPTIONS
        for row in logits
    ]
    found = evaluated(
        "given.cases.map(([options, logits, u]) =>"
        " { const p = kept(Float32Array.from(logits), options, given.never);"
        " return [Array.from(p), pick(p, u)]; })",
        never=never,
        cases=[
            (
                {
                    "temperature": o.temperature,
                    "topK": o.top_k,
                    "topP": o.top_p,
                    "minP": o.min_p,
                },
                row.tolist(),
                u,
            )
            for o, row, u in cases
        ],
    )
    for (options, row, u), (p, picked) in zip(cases, found, strict=True):  # type: ignore[call-overload]
        sampler = Sampler(options, never)
        np.testing.assert_allclose(np.array(p) / sum(p), sampler.distribution(row), atol=1e-12)
        assert picked == sampler.draw(row, u)


@needs_node
def test_a_character_costs_what_python_says() -> None:
    logits = np.random.default_rng(5).standard_normal(12).astype(np.float32)
    found = evaluated(
        "given.logits.map((_, id) => cost(Float32Array.from(given.logits), id, 5))",
        logits=logits.tolist(),
    )
    likeliest = np.argsort(-logits)[:5].tolist()
    for i, cost in enumerate(found):  # type: ignore[arg-type, var-annotated]
        assert cost["bits"] == pytest.approx(-log_probability(logits, i) / np.log(2), abs=1e-5)
        assert [other for other, _ in cost["likeliest"]] == likeliest
        for other, p in cost["likeliest"]:
            assert p == pytest.approx(np.exp(log_probability(logits, other)), abs=1e-6)


@needs_node
def test_draws_are_uniform_and_repeat() -> None:
    draws = np.array(
        evaluated("[1, 1, 2].map((s) => Array.from({ length: 4000 }, (_, n) => uniform(s, n)))")
    )
    assert (draws[0] == draws[1]).all()
    assert (draws >= 0).all()
    assert (draws < 1).all()
    for row in draws[1:]:
        counts = np.histogram(row, 20, (0, 1))[0]
        assert (abs(counts - 200) < 5 * np.sqrt(200)).all()
    assert abs(np.corrcoef(draws[0], draws[2])[0, 1]) < 0.1
    assert abs(np.corrcoef(draws[0][1:], draws[0][:-1])[0, 1]) < 0.1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounding_is_as_close_as_its_precision(precision: str) -> None:
    arrays = weights(build("gru", (16, 16)))
    error = {"int8": 0.5 / 127, "fp16": 2**-11, "fp32": 0.0}[precision]
    for name, array in rounded(arrays, precision).items():
        largest = abs(arrays[name]).max(axis=-1, keepdims=True) if array.ndim == 2 else 0
        assert (abs(array - arrays[name]) <= 1.001 * error * largest).all()
    zero = {"head.weight": np.zeros((2, 3), np.float32)}
    np.testing.assert_array_equal(rounded(zero, precision)["head.weight"], zero["head.weight"])


def test_the_page_fetches_nothing_and_names_no_path(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    textgen.load(trained).export(path)
    text = path.read_text(encoding="utf-8")
    assert "{{" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|\b(src|href)=|@import|url\(", text)
    for file in textgen.load(trained).header.record.corpus.files:
        assert str(Path(file).parent) not in text
    assert "A model of tales.txt" in text
    textgen.load(trained).export(path, precision="fp32", anonymous=True)
    assert "tales" not in path.read_text(encoding="utf-8")


def test_markup_in_a_text_or_its_name_stays_text(tmp_path: Path) -> None:
    corpus = tmp_path / "<b>&'x.txt"
    corpus.write_text("</script><!--<script>alert(1)\n" * 100)
    train(corpus, tmp_path, run="x", steps=3, min_count=2)
    path = tmp_path / "page.html"
    textgen.load(tmp_path / "x").export(path)
    text = path.read_text(encoding="utf-8")
    assert "<b>" not in text
    model = re.search(r'id="model">(.*?)</script>', text)
    assert model is not None
    assert "<" not in model[1]
    assert json.loads(model[1])["characters"] == "".join(sorted({*corpus.read_text()}))
    assert text.count("<script") == 3


def test_a_text_whose_name_is_no_utf8_can_be_shared(trained: Path) -> None:
    header = read_header(trained / "best.safetensors")
    corpus = replace(header.record.corpus, files=("/texts/caf\udce9.txt",))
    named = replace(header, record=replace(header.record, corpus=corpus))
    page = b"".join(page_file(named, False, "int8")).decode()
    assert "caf\ufffd.txt" in page


def test_of_many_texts_some_are_named_and_no_name_turns_the_page_round(trained: Path) -> None:
    header = read_header(trained / "best.safetensors")
    names = ("/texts/a.txt", "/texts/\u202egnp.txt", "C:\\Users\\bob\\c.txt", "/d", "/e")
    corpus = replace(header.record.corpus, files=names)
    named = replace(header, record=replace(header.record, corpus=corpus))
    page = b"".join(page_file(named, False, "int8")).decode()
    assert "<title>A model of a.txt, \ufffdgnp.txt, c.txt and 2 more</title>" in page
    assert "bob" not in page
    assert "\u202e" not in page
