from __future__ import annotations

from dataclasses import replace

import pytest

from textgen.config import SCHEDULES, TrainingConfig
from textgen.schedule import FLOOR, learning_rate

CONFIG = TrainingConfig(steps=1000, lr=0.01, warmup=100)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rises_to_the_peak_and_then_never_rises_again(schedule: str) -> None:
    config = replace(CONFIG, schedule=schedule)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[:101] == sorted(rates[:101])
    assert 0 < rates[0] <= 0.0002
    assert max(rates) == pytest.approx(0.01)
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_ends_where_the_schedule_says() -> None:
    end = {s: learning_rate(999, replace(CONFIG, schedule=s)) for s in SCHEDULES}
    assert end["constant"] == 0.01
    assert end["cosine"] == pytest.approx(FLOOR * 0.01, rel=0.01)
    assert end["linear"] == pytest.approx(FLOOR * 0.01, rel=0.15)
    halfway = {s: learning_rate(550, replace(CONFIG, schedule=s)) for s in SCHEDULES}
    assert halfway["cosine"] == pytest.approx(halfway["linear"]) == pytest.approx(0.00505)


def test_an_extended_run_walks_its_own_schedule_from_where_it_began() -> None:
    extended = replace(CONFIG, start=5000, steps=6000)
    assert [learning_rate(5000 + s, extended) for s in range(1000)] == [
        learning_rate(s, CONFIG) for s in range(1000)
    ]


def test_a_walk_shorter_than_its_warm_up_still_comes_down() -> None:
    short = replace(CONFIG, steps=10)
    rates = [learning_rate(step, short) for step in range(10)]
    assert max(rates) == rates[5]
    assert rates[9] < rates[5]
