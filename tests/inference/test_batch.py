from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from networks import SHAPES, build, repeating, weights
from test_sampling import CONFIGS, LOGITS, expected

import textgen
from textgen.config import CELLS, SamplingOptions
from textgen.inference.batch import BELOW_ONE, BLOCK, BatchStepper, BatchWriter, _product
from textgen.inference.folding import fold
from textgen.inference.sampling import Sampler, Uniforms

CPU = torch.device("cpu")


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_stream_agrees_with_the_equations(cell: str, hidden: tuple[int, ...]) -> None:
    model = build(cell, hidden, history=64, grams=50)
    ids = repeating(0, 100, 5)
    logits, _ = oracle.run(model.config, weights(model), ids)
    stepper = BatchStepper(fold(model.config, weights(model)), CPU, torch.float32, streams=5)
    for t in range(100):
        row = stepper.step(torch.from_numpy(ids[t]))
        np.testing.assert_allclose(row, logits[t], atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_bf16_products_stay_close(cell: str) -> None:
    model = build(cell, (64, 64), history=64, grams=50)
    ids = repeating(0, 100, 5)
    logits, _ = oracle.run(model.config, weights(model), ids)
    stepper = BatchStepper(fold(model.config, weights(model)), CPU, torch.bfloat16, streams=5)
    zero = stepper.state
    rows = np.stack([stepper.step(torch.from_numpy(row)).numpy() for row in ids])
    assert np.abs(rows - logits).mean() < 0.02
    stepper.restore(zero)
    again = np.stack([stepper.step(torch.from_numpy(row)).numpy() for row in ids])
    assert np.array_equal(again, rows)


def test_a_product_in_another_layout_is_the_same_product() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(96, 40, generator=generator).bfloat16()
    both = torch.randn(64, 40, generator=generator).bfloat16()
    with torch.inference_mode():
        assert torch.equal(_product(matrix, 64)(both), torch.nn.functional.linear(both, matrix))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_frequencies_match_the_distribution(config: SamplingOptions) -> None:
    draws = 100_000
    u = torch.from_numpy(np.random.default_rng(3).random(draws).astype(np.float32))
    logits, sampler = torch.from_numpy(LOGITS).expand(1000, -1), Sampler(config)
    chosen = torch.cat([sampler.draw_many(logits, part) for part in u.split(1000)])
    counts = np.bincount(chosen, minlength=len(LOGITS))
    p = expected(config)
    assert counts[p == 0].sum() == 0
    often = p * draws >= 5
    chi_square = ((counts - p * draws)[often] ** 2 / (p * draws)[often]).sum()
    freedom = max(1, often.sum() - 1)
    assert chi_square < freedom + 4.5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    "config",
    [SamplingOptions(1.0, top_p=0.0), SamplingOptions(1.0, min_p=1.0), SamplingOptions(0.01)],
    ids=str,
)
def test_the_extreme_draws_pick_what_is_possible(config: SamplingOptions) -> None:
    logits = torch.from_numpy(LOGITS)[None]
    for u in (0.0, BELOW_ONE):
        chosen = Sampler(config).draw_many(logits, torch.tensor([u])).item()
        assert Sampler(config).distribution(LOGITS)[chosen] > 0


def test_draws_follow_each_texts_own_uniforms() -> None:
    model = build("lstm", (16,))
    prompt = np.array([3, 1])
    settings = SamplingOptions(1.0)

    def write(numbers: list[int]) -> np.ndarray:
        sources = [Uniforms(5, n) for n in numbers]
        stepper = BatchStepper(fold(model.config, weights(model)), CPU, torch.float32)
        writer = BatchWriter(stepper, Sampler(settings), prompt)
        return np.concatenate(list(writer.write(sources, 3 * BLOCK)))

    together = write([0, 1, 2])
    assert together.shape == (3 * BLOCK, 3)
    assert np.array_equal(write([2])[:, 0], together[:, 2])
    assert not np.array_equal(together[:, 0], together[:, 1])


def test_a_block_goes_on_where_the_last_one_ended() -> None:
    model = build("gru", (16, 16))
    stepper = BatchStepper(fold(model.config, weights(model)), CPU, torch.float32, streams=2)
    writer = BatchWriter(stepper, Sampler(SamplingOptions(0)), np.array([0]))
    blocks = list(writer.write([Uniforms(0), Uniforms(1)], 2 * BLOCK + 5))
    assert [len(block) for block in blocks] == [BLOCK, BLOCK, 5]
    written = np.concatenate([[[0, 0]], *blocks])
    logits, _ = oracle.run(model.config, weights(model), written[:-1])
    of_written = np.take_along_axis(logits, written[1:, :, None], axis=2)[..., 0]
    np.testing.assert_allclose(of_written, logits.max(axis=2), atol=1e-5)


def test_texts_are_the_same_however_many_are_written(trained: Path) -> None:
    model = textgen.load(trained)
    many = list(model.generate_many("The ", num=70, length=50, seed=3))
    assert len(many) == 70
    assert len(set(many)) == 70
    assert all(len(text) == 50 for text in many)
    assert list(model.generate_many("The ", num=2, length=50, seed=3)) == many[:2]


def test_texts_end_before_a_stop_text(trained: Path) -> None:
    model = textgen.load(trained)
    whole = list(model.generate_many(num=5, length=300, seed=1))
    ended = list(model.generate_many(num=5, length=300, seed=1, stop=["fox", ".\n"]))
    for text, full in zip(ended, whole, strict=True):
        ends = [full.find(s) for s in ("fox", ".\n") if s in full]
        assert text == full[: min(ends, default=300)]


def test_without_an_accelerator_the_cpu_is_fastest(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.inference.text_model._ACCELERATORS", ())
    assert textgen.load(trained).fastest_device() == "cpu"


@pytest.mark.parametrize("streams", [1, 8])
@pytest.mark.parametrize(("cpu", "expected"), [(1e-3, "cpu"), (0.1, "cuda")])
def test_with_one_both_are_measured(
    trained: Path, monkeypatch: pytest.MonkeyPatch, streams: int, cpu: float, expected: str
) -> None:
    """A pretended one, which writes a character in 10 ms, and loads kernels for a minute."""
    now, loaded, model = 0.0, False, textgen.load(trained)
    asked: list[tuple[str, int]] = []

    def generate_many(*, options: SamplingOptions, num: int, streams: int) -> Iterator[str]:
        nonlocal now, loaded
        asked.append((options.device, num))
        assert num == streams
        now += options.length * (cpu if options.device == "cpu" else 0.01)
        if options.device == "cuda" and not loaded:
            now, loaded = now + 60, True
        yield from [""] * num

    def generate(*, options: SamplingOptions) -> Iterator[str]:
        return generate_many(options=options, num=1, streams=1)

    monkeypatch.setattr(model, "generate_many", generate_many)
    monkeypatch.setattr(model, "generate", generate)
    monkeypatch.setattr("textgen.inference.text_model._ACCELERATORS", ("/",))
    monkeypatch.setattr("textgen.inference.text_model.time.perf_counter", lambda: now)
    monkeypatch.setattr("textgen.model.device.pick_device", lambda name="cuda": torch.device(name))
    assert model.fastest_device(streams) == expected
    assert {*asked} == {("cpu", streams), ("cuda", streams)}
