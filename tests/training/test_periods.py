from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from textgen.training.periods import LONGEST, SHORTEST, excess, periodic

FABLES = Path(__file__).parents[2] / "corpora" / "fables.txt"


def rows(length: int, size: int = 50_000) -> NDArray[np.uint8]:
    """Lines of `length` characters: a mark, random ones, another mark, and the line's end."""
    ids = np.random.default_rng(0).integers(1, 12, size, dtype=np.uint8)
    ids[length - 1 :: length] = 0
    ids[::length] = ids[length // 2 :: length] = 12
    return ids


@pytest.mark.parametrize(
    ("length", "found"), [(33, True), (48, True), (64, True), (20, True), (150, False)]
)
def test_lines_of_one_length_are_a_period_if_it_or_its_multiple_is_in_reach(
    length: int, found: bool
) -> None:
    assert periodic(rows(length, 50_000)) == found


def test_prose_and_chance_have_no_period() -> None:
    prose = np.frombuffer(FABLES.read_text("utf-8").encode("latin-1", "replace"), np.uint8)
    assert abs(excess(prose)) < 0.005
    assert not periodic(np.random.default_rng(0).integers(0, 50, 10**5, dtype=np.uint16))


def test_the_excess_is_that_of_counting_pairs() -> None:
    ids = rows(40, 1000)
    shares = {}
    for k in range(SHORTEST // 2, 2 * LONGEST + 1):
        pairs = [int(ids[i]) == int(ids[i - k]) for i in range(k, len(ids))]
        shares[k] = sum(pairs) / len(pairs)
    best = max(shares[k] for k in range(SHORTEST, LONGEST + 1))
    assert excess(ids) == pytest.approx(best - sum(shares.values()) / len(shares))


def test_of_a_long_text_windows_are_read_from_its_beginning_to_its_end() -> None:
    chance = np.random.default_rng(0).integers(1, 12, 3_000_000, dtype=np.uint8)
    third = rows(48, 1_000_000)
    expected = excess(third) / 3
    for begin in (0, 1_000_000, 2_000_000):
        ids = chance.copy()
        ids[begin : begin + len(third)] = third
        assert excess(ids) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("size", [0, 1, 100, 255, 256, 4095, 4096, 4097])
def test_short_texts_have_none_or_are_read_whole(size: int) -> None:
    assert periodic(rows(40, size)) == (size >= 4 * LONGEST)
