from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from networks import model_config

from textgen.errors import OutOfMemory
from textgen.training import batching
from textgen.training.batching import CRITICAL, POWER, fastest, peak
from textgen.training.speed import Trial

MODEL = model_config(8, hidden=(8,), embedding=4)
TRIAL = Trial(64, 32, "adamw", "fp32", 10**8, torch.device("cpu"))


def pretend(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], most: int = 10**9
) -> None:
    """A machine that takes `seconds` for a step of B streams, and holds `most` at a time."""

    def measure(_: object, trial: Trial) -> float:
        if trial.batch_size / trial.accumulate > most:
            raise OutOfMemory("too little memory")
        return trial.batch_size * trial.bptt / seconds(trial.batch_size)

    monkeypatch.setattr(batching, "measure", measure)


def test_streams_are_added_while_they_pay_for_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time to a loss, over all numbers of streams: steps needed times seconds of a step."""
    for idle in (64, 300, 1000, 5000):  # streams that take no longer than one
        pretend(monkeypatch, lambda streams, idle=idle: max(idle, streams) * 1e-6)
        trial, rate, said = fastest(MODEL, TRIAL, chosen=False)
        candidates = [64 << power for power in range(8)]
        times = {b: (1 + CRITICAL / (b * 32)) * max(idle, b) for b in candidates}
        assert trial.batch_size == min(times, key=lambda b: times[b])
        assert rate == pytest.approx(trial.batch_size * 32 / (max(idle, trial.batch_size) * 1e-6))
        assert not said


def test_a_text_has_a_block_for_each_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda _: 1e-3)
    for size, streams in ((100, 64), (4096 * 127, 64), (4096 * 128, 128), (4096 * 300, 256)):
        found, _, _ = fastest(MODEL, replace(TRIAL, size=size), chosen=False)
        assert found.batch_size == streams


@pytest.mark.parametrize(("most", "streams"), [(500, 256), (64, 64), (63, 32), (1, 1)])
def test_what_does_not_fit_the_memory_becomes_the_next_smaller_batch(
    monkeypatch: pytest.MonkeyPatch, most: int, streams: int
) -> None:
    pretend(monkeypatch, lambda _: 1e-3, most)
    monkeypatch.setattr(batching, "CRITICAL", 10**9)
    trial, rate, said = fastest(MODEL, TRIAL, chosen=False)
    assert (trial.batch_size, trial.accumulate) == (streams, 1)
    assert rate == pytest.approx(streams * 32 / 1e-3)
    assert len(said) == 1
    assert f"taking {streams}" in said[0]


def test_a_batch_that_was_chosen_stays_and_is_computed_in_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, lambda _: 1e-3, most=20)
    trial, _, said = fastest(MODEL, TRIAL, chosen=True)
    assert (trial.batch_size, trial.accumulate) == (64, 4)
    assert "64 streams: taking 4 groups" in said[0]
    pretend(monkeypatch, lambda _: 1e-3, most=0)
    for chosen in (True, False):
        with pytest.raises(OutOfMemory):
            fastest(MODEL, TRIAL, chosen=chosen)


def test_the_rate_follows_the_number_of_streams_and_the_chunk_within_what_was_measured() -> None:
    usual = peak("adamw", 128)
    assert peak("adamw", 128, 1.0) == usual == 0.018
    assert peak("adamw", 128, 4.0) == pytest.approx(usual * 4**POWER, rel=0.05)
    assert peak("adamw", 128, 0.25) == pytest.approx(usual * 0.25**POWER, rel=0.05)
    assert peak("adamw", 128, 16.0) == peak("adamw", 128, 1000.0)
    assert peak("soap", 128, length=2.0) == peak("soap", 128, length=9.0) == 0.029
    assert peak("soap", 128, length=1.5) == pytest.approx(usual * 1.5**0.68, rel=0.05)
    assert peak("soap", 128, length=0.5) == usual
    assert peak("adamw", 640) == pytest.approx(usual / 2)
