from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from textgen.config import SamplingOptions
from textgen.errors import UsageError
from textgen.inference.sampling import Sampler, Uniforms, draw_rows, log_probability

DRAWS = 100_000
LOGITS = np.random.default_rng(0).normal(0, 2, 30).astype(np.float32)
CONFIGS = [
    SamplingOptions(1.0),
    SamplingOptions(0.5),
    SamplingOptions(1.7),
    SamplingOptions(1.0, top_k=5),
    SamplingOptions(1.0, top_p=0.8),
    SamplingOptions(1.0, min_p=0.1),
    SamplingOptions(0.7, top_k=12, top_p=0.9),
    SamplingOptions(1.3, top_k=20, top_p=0.95, min_p=0.02),
]


def expected(config: SamplingOptions) -> np.ndarray:
    """The filtered distribution, written the slow way."""
    p = np.exp(LOGITS.astype(np.float64) / config.temperature)
    p /= p.sum()
    order = sorted(range(len(p)), key=lambda i: -p[i])
    kept = order[: config.top_k] if config.top_k else order
    nucleus, reached = [], 0.0
    for i in kept:
        if reached < config.top_p * sum(p[kept]) or not nucleus:
            nucleus.append(i)
        reached += p[i]
    final = [i for i in nucleus if p[i] >= config.min_p * p[order[0]]]
    q = np.zeros_like(p)
    q[final] = p[final] / p[final].sum()
    return q


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_distribution_is_the_filtered_softmax(config: SamplingOptions) -> None:
    np.testing.assert_allclose(Sampler(config).distribution(LOGITS), expected(config), atol=1e-7)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_frequencies_match_the_distribution(config: SamplingOptions) -> None:
    uniforms, sampler = Uniforms(seed=1), Sampler(config)
    counts = np.zeros(len(LOGITS))
    for _ in range(DRAWS):
        counts[sampler.draw(LOGITS, uniforms.next())] += 1
    p = expected(config)
    assert counts[p == 0].sum() == 0
    often = p * DRAWS >= 5
    chi_square = ((counts - p * DRAWS)[often] ** 2 / (p * DRAWS)[often]).sum()
    freedom = max(1, often.sum() - 1)
    assert chi_square < freedom + 4.5 * np.sqrt(2 * freedom)  # beyond 1 in 10,000


def test_temperature_zero_takes_the_likeliest() -> None:
    greedy = Sampler(SamplingOptions(0))
    assert greedy.draw(LOGITS, 0.999) == LOGITS.argmax()
    assert greedy.distribution(LOGITS)[LOGITS.argmax()] == 1


@pytest.mark.parametrize(
    "config",
    [
        SamplingOptions(1.0, top_p=0.0),
        SamplingOptions(1.0, min_p=1.0),
        SamplingOptions(1.0, top_k=1),
        SamplingOptions(1e-30),
        SamplingOptions(1e30, top_k=1, top_p=0.0, min_p=1.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("logits", [LOGITS, np.zeros(4, np.float32), LOGITS * 1e30])
def test_no_filter_leaves_nothing(config: SamplingOptions, logits: np.ndarray) -> None:
    sampler = Sampler(config)
    p = sampler.distribution(logits)
    assert p.sum() == pytest.approx(1)
    for u in (0.0, 0.5, np.nextafter(1, 0)):
        assert p[sampler.draw(logits, u)] > 0


def test_uniforms_are_a_function_of_seed_number_and_place() -> None:
    text = Uniforms(seed=4, number=2)
    first = [text.next() for _ in range(700)]
    for place in (0, 255, 256, 699):
        assert Uniforms(4, 2, place).next() == first[place]
    assert Uniforms(4, 3).next() != first[0]
    assert Uniforms(5, 2).next() != first[0]
    assert np.mean(first) == pytest.approx(0.5, abs=0.05)


def test_log_probability_is_that_of_the_softmax() -> None:
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    assert [log_probability(LOGITS, i) for i in range(30)] == pytest.approx(np.log(p), abs=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 1.1},
        {"top_p": float("nan")},
        {"min_p": -0.1},
    ],
    ids=str,
)
def test_values_out_of_range_name_their_flag(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="`" + next(iter(values))):
        SamplingOptions(**values)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_never_to_be_drawn_is_not(temperature: float) -> None:
    sampler = Sampler(SamplingOptions(temperature=temperature, top_k=2), never=1)
    logits = np.array([1.0, 9.0, 0.5, 0.0], np.float32)
    expected = {0.0: [1, 0, 0, 0], 1.0: [0.6225, 0, 0.3775, 0]}[temperature]
    assert sampler.distribution(logits) == pytest.approx(expected, abs=1e-4)
    uniforms = np.linspace(0, 0.999, 50)
    drawn = {sampler.draw(logits, u) for u in uniforms}
    assert drawn == ({0} if temperature == 0 else {0, 2})
    many = torch.from_numpy(logits)[None].expand(50, 4)
    assert {*sampler.draw_many(many, torch.from_numpy(uniforms)).tolist()} == drawn
    assert logits[1] == 9


@pytest.mark.parametrize("temperature", [1e39, 1e300, 1e308])
def test_at_any_temperature_a_character_is_drawn(temperature: float) -> None:
    torch.set_flush_denormal(True)  # as while a server writes
    try:
        sampler = Sampler(SamplingOptions(temperature=temperature), never=1)
        logits = np.array([1.0, 9.0, 0.5, 0.0], np.float32)
        uniforms = np.linspace(0, 0.999, 60)
        evenly = {0: 20, 2: 20, 3: 20}
        assert Counter(sampler.draw(logits, u) for u in uniforms) == evenly
        many = torch.from_numpy(logits)[None].expand(60, 4)
        assert Counter(sampler.draw_many(many, torch.from_numpy(uniforms)).tolist()) == evenly
        assert Counter(draw_rows([sampler] * 60, many.numpy(), uniforms)) == evenly
    finally:
        torch.set_flush_denormal(False)
