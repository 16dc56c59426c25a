from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from networks import model_config

from textgen.architecture import ModelConfig
from textgen.errors import OutOfMemory
from textgen.training import speed
from textgen.training.speed import (
    Trial,
    expected_precision,
    expected_threads,
    layer_seconds,
    measure,
    measured_cost,
    precisions,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MODEL = model_config(8, hidden=(8,), embedding=4)
TRIAL = Trial(4, 16, "adamw", "fp32", 1000, CPU)


class Clock:
    """A clock that only steps move on; seconds: what each of them takes, the last one for ever."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.now, self.steps = list(seconds), 50.0, 0

    def perf_counter(self) -> float:
        return self.now

    def step(self) -> torch.Tensor:
        self.now += self.seconds[min(self.steps, len(self.seconds) - 1)]
        self.steps += 1
        return torch.zeros(())


def measured(monkeypatch: pytest.MonkeyPatch, clock: Clock, least: float = 0.0) -> float:
    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(speed.Learner, "advance", lambda self: clock.step())
    return measure(MODEL, TRIAL, least)


@pytest.fixture
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("eight_threads")
def test_narrow_layers_keep_one_thread_busy_and_wide_ones_more() -> None:
    assert {expected_threads(width, 32) for width in (1, 16, 64, 128, 159)} == {1}
    threads = [expected_threads(width, 32) for width in (160, 256, 320, 1024, 65536)]
    assert threads == sorted(threads)
    assert threads[0] == 2
    assert threads[-1] == 8


@pytest.mark.usefixtures("eight_threads")
def test_twice_the_streams_keep_twice_the_threads_busy() -> None:
    assert expected_threads(159, 64) == 2 * expected_threads(160, 32) - 1 == 3
    assert expected_threads(160, 64) == 2 * expected_threads(160, 32)
    assert expected_threads(1, 1) == 1


@pytest.mark.usefixtures("eight_threads")
def test_there_are_never_more_threads_than_torch_has() -> None:
    for most in (1, 2, 3, 8):
        torch.set_num_threads(most)
        assert max(expected_threads(width, 256) for width in (16, 256, 4096)) == most
    assert torch.get_num_threads() == 8  # asking changes nothing


@pytest.mark.parametrize("units", [True, False])
def test_half_precision_is_expected_of_wide_layers_where_there_are_units_for_it(
    monkeypatch: pytest.MonkeyPatch, units: bool
) -> None:
    monkeypatch.setattr(speed, "has_bf16_units", lambda: units)
    on_cpu = "bf16" if units else "fp32"
    assert [expected_precision(width, CPU) for width in (8, 63, 64, 512)] == (
        ["fp32", "fp32", on_cpu, on_cpu]
    )
    assert precisions(CPU) == (("fp32", "bf16") if units else ("fp32",))
    # whatever the CPU can do
    assert [expected_precision(width, GPU) for width in (63, 64)] == ["fp32", "fp16"]
    assert expected_precision(512, torch.device("mps")) == "fp32"


def test_what_is_expected_does_not_look_at_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "time", None)
    assert expected_threads(16, 4) == 1
    assert expected_precision(16, CPU) == "fp32"


def test_the_speed_is_that_of_a_usual_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for clock in (Clock(0.01), Clock(0.4, 0.01), Clock(0.01, 0.01, 0.3, 0.01)):
        assert measured(monkeypatch, clock) == pytest.approx(4 * 16 / 0.01)


def test_measuring_takes_a_few_steps_and_never_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, steps in ((1e-5, 50), (0.01, 10), (0.02, 8), (0.06, 8), (10.0, 3)):
        clock = Clock(seconds)
        assert measured(monkeypatch, clock) == pytest.approx(64 / seconds)
        assert abs(clock.steps - steps) <= 1
        assert clock.now - 50 <= max(0.6, 3 * seconds)


def test_what_is_too_slow_is_given_up_after_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, steps in ((0.019, 8), (0.021, 2)):
        clock = Clock(seconds)
        assert measured(monkeypatch, clock, 64 / 0.02) == pytest.approx(64 / seconds)
        assert abs(clock.steps - steps) <= (1 if steps > 2 else 0)
    clock = Clock(1e-9, 1e-9, 0.5)  # the first step is no measure of what follows
    assert measured(monkeypatch, clock, 64 / 0.02) > 64 / 0.02
    assert clock.steps > 2


@pytest.mark.parametrize("vocabulary", [8, 5000])
def test_the_cost_of_any_shape_follows_from_a_few_networks(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int
) -> None:
    tried = []

    def seconds(model: ModelConfig) -> float:
        below, total = model.embedding, 0.0
        for width in model.hidden:
            total += 1e-8 * width + 1e-10 * width * (below + width) / 2
            below = width
        return total + 1e-10 * max(0, model.vocabulary_size - speed.FEW) * (128 + below)

    def pretended(model: ModelConfig, trial: Trial, *_: object) -> float:
        tried.append(model)
        return 1 / seconds(model)

    monkeypatch.setattr(speed, "measure", pretended)
    shape = partial(model_config, vocabulary, embedding=128)
    widest = shape(hidden=(256,) * 3)
    cost = measured_cost(widest, TRIAL, layer_seconds(widest, TRIAL))
    assert len(tried) == (2 if vocabulary == 8 else 4)
    assert all(len(model.hidden) == 1 for model in tried)
    for hidden in ((256,) * 3, (96,), (64, 512), (1024, 1024)):
        assert cost(shape(hidden=hidden)) == pytest.approx(seconds(shape(hidden=hidden)))


def test_a_layer_of_one_unit_has_a_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure", lambda *_: 1000.0)
    narrow = model_config(8, hidden=(1,), embedding=4)
    cost = measured_cost(narrow, TRIAL, layer_seconds(narrow, TRIAL))
    assert 0 < cost(narrow) < 1


def test_a_head_that_the_memory_does_not_hold_is_measured_with_fewer_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(model: ModelConfig, trial: Trial, *_: float) -> float:
        if trial.batch_size * model.vocabulary_size > 100_000:
            raise OutOfMemory("too little memory")
        return 1e6 / model.vocabulary_size

    monkeypatch.setattr(speed, "measure", measure)
    model = model_config(6000, "lstm", (128,))
    trial = Trial(256, 32, "adamw", "fp32", 10**6, torch.device("cpu"), accumulate=64)
    found = speed.measured_cost(model, trial, 1e-4)
    small = speed.measured_cost(replace(model, vocabulary_size=256), trial, 1e-4)
    assert found(model) - small(model) == pytest.approx((6000 - 256) / 1e6)


def test_what_rows_take_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure", lambda *_: 1e5)
    monkeypatch.setattr(speed, "_row_seconds", lambda *_: 1e-6)
    costs = []
    for history in (0, 64):
        widest = model_config(8, hidden=(256,) * 3, history=history)
        cost = measured_cost(widest, TRIAL, layer_seconds(widest, TRIAL))
        costs.append([cost(replace(widest, hidden=(96,) * n)) for n in (1, 2)])
    assert costs[1] == pytest.approx([seconds + 1e-6 for seconds in costs[0]])


def test_finding_and_learning_rows_is_timed() -> None:
    assert 0 < speed._row_seconds(model_config(8, history=2048, grams=16381), TRIAL) < 1
