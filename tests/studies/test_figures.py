from __future__ import annotations

import math
from dataclasses import replace

import pytest

from textgen.studies.figures import Point, Rank, Result, Spread, table_of

CURVE = (Point(100, 1.0, 3.0), Point(200, 2.0, 2.0), Point(400, 4.0, 1.0))


def result(variant: str, *losses: float, seed: int = 0, speed: float = 100.0) -> Result:
    """A run that was validated every 100 characters."""
    points = tuple(Point(100 * (n + 1), 100 * (n + 1) / speed, x) for n, x in enumerate(losses))
    shape = {"cell": "lstm", "hidden": (8,), "parameters": 900, "lr": 0.1, "precision": "fp32"}
    rest = {"passes": 0.5, "seconds": points[-1].seconds, "curve": points, "memory": 7}
    return Result(f"run-{variant}", variant, seed, **shape, **rest, sample="a")


def test_losses_between_two_validations_are_on_a_straight_line() -> None:
    found = replace(result("a", 1.0), curve=CURVE)
    assert found.nats_after(300, "characters") == pytest.approx(1.5)
    assert found.nats_after(1.5, "seconds") == pytest.approx(2.5)
    assert found.nats_after(400, "characters") == 1.0
    assert found.nats_after(99, "characters") is None


def test_losses_are_compared_where_the_slowest_ended() -> None:
    table = table_of([result("a", 3, 2, 1, speed=50), result("b", 4, 1.5)], timed=False)
    assert table.characters == 200
    assert table.seconds == 2.0
    rows = {row.variant: row for row in table.rows}
    assert rows["a"].at_characters == Spread(2.0, None, 1)
    assert rows["a"].at_time == Spread(3.0, None, 1)
    assert rows["b"].at_time == Spread(1.5, None, 1)
    assert [row.variant for row in table.rows] == ["b", "a"]
    assert rows["b"].rank_at_time == Rank(1, False)


def test_of_a_budget_of_time_the_end_counts() -> None:
    table = table_of([result("a", 3, 2, 1, speed=150), result("b", 4, 1.5)], timed=True)
    assert table.seconds is None
    assert [row.at_time for row in table.rows] == [Spread(1.0, None, 1), Spread(1.5, None, 1)]


def seeds(variant: str, *losses: float) -> list[Result]:
    return [result(variant, loss, seed=n) for n, loss in enumerate(losses)]


def test_means_within_two_standard_errors_share_a_rank() -> None:
    a, b, c = (1.00, 1.02, 1.04), (1.03, 1.05, 1.07), (2.0, 2.0, 2.0)
    error = math.sqrt(2 * 0.02**2 / 3)  # of the difference of a and b, both of deviation 0.02
    assert 2 * error > 0.03
    table = table_of([*seeds("a", *a), *seeds("b", *b), *seeds("c", *c)], timed=True)
    assert [row.rank_at_time for row in table.rows] == [
        Rank(1, True),
        Rank(1, True),
        Rank(3, False),
    ]
    first = table.rows[0].at_time
    assert first is not None
    assert (first.mean, first.deviation) == pytest.approx((1.02, 0.02))
    assert table.seeds == 3


def test_means_two_standard_errors_apart_do_not() -> None:
    further = 1e-6 + 2 * math.sqrt(2 * 0.02**2 / 3)
    a = (1.00, 1.02, 1.04)
    table = table_of([*seeds("a", *a), *seeds("b", *(x + further for x in a))], timed=True)
    assert [row.rank_at_time for row in table.rows] == [Rank(1, False), Rank(2, False)]


def test_equal_losses_of_one_seed_share_a_rank_and_no_spread_is_known() -> None:
    table = table_of([result("a", 1.0), result("b", 1.0)], timed=True)
    assert [row.rank_at_time for row in table.rows] == [Rank(1, True), Rank(1, True)]
    assert table.rows[0].at_time == Spread(1.0, None, 1)


def test_a_variant_that_diverged_comes_last_without_figures() -> None:
    bad = replace(result("a", 1.0), diverged="the loss became inf", curve=())
    table = table_of([bad, result("b", 2.0)], timed=True)
    assert [row.variant for row in table.rows] == ["b", "a"]
    assert table.rows[1].at_time is table.rows[1].chars_per_second is None
    assert table.rows[1].rank_at_time is None
    none = table_of([bad], timed=False)
    assert none.characters == 0
