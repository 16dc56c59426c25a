from __future__ import annotations

from dataclasses import replace

import pytest
from networks import training_config

from textgen.config import SCHEDULES
from textgen.training.schedule import learning_rate, progress

CONFIG = training_config(steps=1000, lr=0.01, warmup=100, schedule="cosine")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rises_to_the_peak_and_then_never_rises_again(schedule: str) -> None:
    config = replace(CONFIG, schedule=schedule)
    rates = [learning_rate(step, config) for step in range(1000)]
    peak = rates.index(max(rates))
    assert 0 < rates[0] <= 0.0001
    assert rates[peak] == pytest.approx(0.01, rel=0.15)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_ends_where_the_schedule_says() -> None:
    end = {s: learning_rate(999, replace(CONFIG, schedule=s)) for s in SCHEDULES}
    assert end["constant"] == 0.01
    assert end["cosine"] == pytest.approx(CONFIG.floor * 0.01, rel=0.01)
    assert end["linear"] == pytest.approx(CONFIG.floor * 0.01, rel=0.15)
    halfway = {s: learning_rate(500, replace(CONFIG, schedule=s)) for s in SCHEDULES}
    assert halfway["cosine"] == pytest.approx(halfway["linear"]) == pytest.approx(0.00505)


def test_an_extended_run_walks_its_own_schedule_from_where_it_began() -> None:
    extended = replace(CONFIG, segment_start=5000, steps=6000)
    assert [learning_rate(5000 + s, extended) for s in range(1000)] == [
        learning_rate(s, CONFIG) for s in range(1000)
    ]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_new_number_of_steps_bends_the_schedule_without_a_jump(schedule: str) -> None:
    before = replace(CONFIG, schedule=schedule)
    done = progress(400, before)
    after = replace(before, segment_start=400, segment_progress=done, steps=600)
    assert learning_rate(400, after) == pytest.approx(learning_rate(400, before))
    assert learning_rate(599, after) == pytest.approx(learning_rate(999, before), rel=0.5)
    assert progress(600, after) == 1


def test_a_walk_shorter_than_its_warm_up_still_comes_down() -> None:
    short = replace(CONFIG, steps=10)
    rates = [learning_rate(step, short) for step in range(10)]
    assert max(rates) == rates[4]
    assert rates[9] < rates[4] / 4
