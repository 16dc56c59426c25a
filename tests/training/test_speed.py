from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from networks import model_config

from textgen.training import speed
from textgen.training.speed import (
    Trial,
    expected_precision,
    expected_threads,
    measure,
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


def measured(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> float:
    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(speed.Learner, "advance", lambda self: clock.step())
    return measure(MODEL, TRIAL)


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
    for seconds, steps in ((1e-5, 50), (0.02, 16), (0.1, 5), (10.0, 3)):
        clock = Clock(seconds)
        assert measured(monkeypatch, clock) == pytest.approx(64 / seconds)
        assert abs(clock.steps - steps) <= 1
        assert clock.now - 50 <= max(0.6, 3 * seconds)
