from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALL
from networks import training_config

import textgen
import textgen.training.planning
from textgen.config import Choices, CorpusConfig, TrainingConfig
from textgen.events import Evaluated, Finished, Stepped
from textgen.store.checkpoint import read_header
from textgen.store.run import Run
from textgen.training import pace, speed, start
from textgen.training.pace import END, Decisions
from textgen.training.schedule import learning_rate, progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def walk(clock: Clock, config: TrainingConfig, seconds: float, cost) -> TrainingConfig:
    """Step to the end, `cost(step)` seconds a step; the settings at the end."""
    deadline = clock.now + seconds
    decide = Decisions(deadline)
    step = 0
    while step < config.steps:
        config = decide.refitted(config, step)
        clock.now += cost(step)
        decide.did("step")
        step += 1
    assert clock.now <= deadline + 0.05 * seconds
    assert clock.now >= deadline - END - 0.05 * seconds
    return config


CONFIG = training_config(steps=1000, warmup=20, save_every=30.0)


def test_a_walk_on_time_is_left_alone(clock: Clock) -> None:
    assert walk(clock, CONFIG, 100 + END, lambda step: 0.1) == CONFIG


@pytest.mark.parametrize("factor", [0.3, 0.8, 1.3, 4.0])
def test_a_machine_of_another_speed_ends_on_time(clock: Clock, factor: float) -> None:
    fitted = walk(clock, CONFIG, 100, lambda step: 0.1 * factor)
    assert fitted.steps == pytest.approx(1000 / factor, rel=0.06)
    assert progress(fitted.steps, fitted) == 1


def test_a_machine_that_slows_down_midway_ends_on_time(clock: Clock) -> None:
    fitted = walk(clock, CONFIG, 100, lambda step: 0.1 if step < 500 else 0.5)
    assert fitted.steps == pytest.approx(600, rel=0.05)


def test_a_machine_that_was_slow_shortly_before_the_end_has_more_steps_then(clock: Clock) -> None:
    fitted = walk(clock, CONFIG, 100, lambda step: 3.0 if 700 <= step < 705 else 0.1)
    assert fitted.steps > 800


def test_the_rate_goes_down_without_a_jump(clock: Clock) -> None:
    config, decide, rates = CONFIG, Decisions(clock.now + 100), []
    for step in range(600):
        config = decide.refitted(config, step)
        rates.append(learning_rate(step, config))
        clock.now += 0.1 if step < 300 else 0.25
        decide.did("step")
        if step + 1 == config.steps:
            break
    peak = rates.index(max(rates))
    falls = [b / a for a, b in zip(rates[peak:-5], rates[peak + 1 : -4], strict=True)]
    assert all(0.8 < fall <= 1 for fall in falls)


def test_validations_and_saves_are_counted_in(clock: Clock) -> None:
    decide = Decisions(clock.now + 54)
    for _ in range(20):
        clock.now += 0.1
        decide.did("step")
    clock.now += 2.0
    decide.did("evaluation")
    config = replace(CONFIG, eval_every=100, warmup=0)
    fitted = decide.refitted(config, 20)
    # a step costs 0.1 s and its share of a validation, 0.02 s; one more comes at the end
    assert fitted.steps - 20 == pytest.approx((50 - END - 2) / 0.12, rel=0.01)


def test_dense_validations_and_saves_are_noticed_too(clock: Clock) -> None:
    """However little of the time is that of steps."""
    for what, worth, seconds in (("evaluation", 14.0, 0.6), ("save", 0.0, 0.15)):
        decide, config, step = Decisions(clock.now + 10, worth), replace(CONFIG, eval_every=1), 0
        config = replace(config, save_every=0.01, steps=900)
        begin = clock.now
        while step < config.steps:
            if step:
                clock.now += seconds
                decide.did(what)
            config = decide.refitted(config, step)
            clock.now += 0.035
            decide.did("step")
            step += 1
        assert clock.now - begin <= 10 * 1.05 + 2 * seconds


def test_a_long_warm_up_ends_on_time_on_a_machine_that_becomes_slow(clock: Clock) -> None:
    config = walk(clock, replace(CONFIG, warmup=10_000), 100, lambda step: 0.26)
    assert config.segment_start == 0
    rates = [learning_rate(step, config) for step in range(config.steps)]
    assert max(rates[1:]) < config.lr
    assert min(rates) > 0


@pytest.mark.parametrize(("first", "worth"), [(1.2, 1.0), (4.0, 14.0), (10.0, 4.0)])
def test_a_slow_first_step_tells_nothing_of_the_others(
    clock: Clock, first: float, worth: float
) -> None:
    decide, config, step = Decisions(clock.now + 60, worth), CONFIG, 0
    while step < config.steps:
        config = decide.refitted(config, step)
        if step < 20:
            assert config == CONFIG
        clock.now += 0.05 if step else first
        decide.did("step")
        step += 1
    assert step > 900


def test_a_long_step_that_no_longer_fits_is_left_out(clock: Clock) -> None:
    cost, begin = 12.0, clock.now
    decide, config = Decisions(begin + 60, 2.7), replace(CONFIG, steps=3, warmup=0)
    step = 0
    while step < config.steps:
        config = decide.refitted(config, step)
        clock.now += cost
        decide.did("step")
        step += 1
    validation = 2.7 * cost  # at the end
    assert clock.now - begin + validation <= 60 * 1.05 + 5


@pytest.mark.parametrize(("what", "usual"), [("evaluation", 1.4), ("save", 0.6)])
def test_a_stop_during_a_validation_or_a_save_is_not_time_trained(
    clock: Clock, what: str, usual: float
) -> None:
    fitted = []
    for stopped in (0, 600):
        decide = Decisions(clock.now + 100, 14.0)
        for _ in range(20):
            clock.now += 0.1
            decide.did("step")
        clock.now += stopped + usual
        assert decide.did(what) == pytest.approx(stopped)
        clock.now += 0.1
        decide.did("step")
        fitted.append(decide.refitted(CONFIG, 21))
        clock.now += usual
        assert decide.did(what) == 0
    assert fitted[0] == fitted[1]


def test_a_disk_that_stalls_is_not_a_stop(clock: Clock) -> None:
    decide = Decisions(clock.now + 100)
    clock.now += 20
    assert decide.did("save") == 0


def test_a_timed_run_ends_on_time_and_resumes_the_steps_it_settled_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner is fooled into twenty times too many steps."""
    monkeypatch.setattr(pace, "LOOK", 0.05)
    measure = speed.measure
    monkeypatch.setattr(speed, "measure", lambda *a: 20 * measure(*a))
    options = {**SMALL, "time": 3.0, "warmup": 2, "eval_every": 50}
    finished = None
    for event in textgen.train(corpus, checkpoints=tmp_path, **options):
        if isinstance(event, Finished):
            finished = event
    assert finished is not None
    record = read_header(tmp_path / "tales" / "last.safetensors").record
    assert record.training.steps == record.step == finished.step
    assert record.training.segment_progress > 0
    assert record.seconds < 3 * 1.05 + 5


def test_a_stopped_timed_run_goes_on_without_a_clock(corpus: Path, tmp_path: Path) -> None:
    options = {**SMALL, "time": 30.0, "eval_every": 100}
    events = textgen.train(corpus, checkpoints=tmp_path, **options)
    for event in events:
        if isinstance(event, Stepped) and event.step == 25:
            break
    events.close()
    record = read_header(tmp_path / "tales" / "last.safetensors").record
    resumed = textgen.resume("tales", checkpoints=tmp_path)
    planned = next(resumed)
    assert planned.training == record.training
    assert any(isinstance(e, Evaluated) for e in [next(resumed) for _ in range(120)])
    resumed.close()


def test_the_default_budget_ends_on_time_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No budget is named, and the planner is fooled into twenty times too many steps."""
    monkeypatch.setattr(pace, "LOOK", 0.05)
    monkeypatch.setattr(textgen.training.planning, "DEFAULT_TIME", 3.0)
    measure = speed.measure
    monkeypatch.setattr(speed, "measure", lambda *a: 20 * measure(*a))
    options = {**SMALL, "warmup": 2, "eval_every": 50}
    finished = list(textgen.train(corpus, checkpoints=tmp_path, **options))[-1]
    assert isinstance(finished, Finished)
    record = read_header(tmp_path / "tales" / "last.safetensors").record
    assert record.training.segment_progress > 0  # fitted to the clock
    assert finished.seconds < 3 * 1.05 + 5


def test_no_validation_comes_just_before_the_last() -> None:
    decide = Decisions(float("inf"))
    for steps, expected in (
        (290, [290]),
        (1000, [278, 556, 834, 1000]),
        (900, [278, 556, 900]),
        (278, [278]),
        (5, [5]),
    ):
        config = training_config(steps=steps, eval_every=278)
        assert [n for n in range(steps + 1) if decide.evaluate(config, n)] == expected


def test_time_suspended_is_not_time_trained(clock: Clock) -> None:
    deadline = clock.now + 100
    decide = Decisions(deadline)
    for _ in range(20):
        clock.now += 0.1
        assert decide.did("step") == 0
    clock.now += 3600
    assert decide.did("step") == pytest.approx(3600, abs=0.2)
    fitted = decide.refitted(CONFIG, 21)
    assert fitted.steps == pytest.approx(1000, rel=0.05)
    clock.now += 0.1
    assert decide.did("step") == 0


def test_a_slow_step_is_time_trained(clock: Clock) -> None:
    decide = Decisions(clock.now + 100)
    for cost in (6.0, 0.1, 0.1, 4.0):
        clock.now += cost
        assert decide.did("step") == 0


def test_a_short_stop_during_a_validation_costs_no_steps(clock: Clock) -> None:
    fitted = []
    for stopped in (0, 8):
        decide, config = Decisions(clock.now + 60, 5.0), CONFIG
        for step in range(60):
            if step in (10, 20, 30):
                clock.now += 0.5 + (stopped if step == 20 else 0)
                decide.did("evaluation")
            config = decide.refitted(config, step)
            clock.now += 0.1
            decide.did("step")
        fitted.append(config)
    assert fitted[0] == fitted[1]


def test_a_machine_that_becomes_very_slow_is_not_taken_for_a_stop_at_each_step(
    clock: Clock,
) -> None:
    walk(clock, CONFIG, 200, lambda step: 0.05 if step < 500 else 6.0)


def test_long_samples_are_no_stops_and_are_counted_in(clock: Clock) -> None:
    decide, config = Decisions(clock.now + 100), replace(CONFIG, sample_every=100, steps=10_000)
    begin, step = clock.now, 0
    while step < config.steps:
        if decide.sample(config, step):
            clock.now += 7.0
            assert decide.did("sample") == 0
        config = decide.refitted(config, step)
        clock.now += 0.02
        decide.did("step")
        step += 1
    assert 95 <= clock.now - begin <= 107


def test_a_clock_that_stands_still_divides_by_nothing(clock: Clock) -> None:
    decide, config = Decisions(clock.now + 60), CONFIG
    for step in range(3):
        config = decide.refitted(config, step)
        decide.did("step")


def test_a_stop_while_a_text_is_read_does_not_count_as_time(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SUSPENDED", 0.05)

    def stop(_: object) -> None:
        time.sleep(0.1)

    choices = Choices(**{**SMALL, "steps": 2})
    config = CorpusConfig.of(choices, (str(corpus),))
    begun = start.begin(Run(tmp_path / "x"), config, choices, 1000.0, progress=stop)
    assert begun.began >= 1000.1
    again = tmp_path / "tales"
    shutil.copytree(trained, again)
    resumed = start.resume(Run(again).last, ((), None), Choices(steps=1), 1000.0, stop)
    assert resumed.began >= 1000.1
