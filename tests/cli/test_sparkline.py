from __future__ import annotations

import numpy as np
import pytest

from textgen.cli.sparkline import sparkline

EIGHTHS = " ▁▂▃▄▅▆▇█"


def heights(rows: list[str]) -> list[int]:
    """How many eighths of a row each column is filled, from the bottom."""
    return [sum(EIGHTHS.index(row[n]) for row in rows) for n in range(len(rows[0]))]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("columns", [5, 40])
def test_heights_are_those_of_a_straight_line_between_points(rows: int, columns: int) -> None:
    points = [(0.0, 4.0), (0.25, 2.0), (1.0, 1.0)]
    x = (np.arange(columns) + 0.5) / columns
    y = np.interp(x, *zip(*points, strict=True))
    expected = 1 + np.round((y - 1) / 3 * (8 * rows - 1))
    assert heights(sparkline(points, columns, rows)) == expected.tolist()


def test_a_column_is_filled_without_a_gap() -> None:
    for column in zip(*sparkline([(0.0, 9.0), (1.0, 0.0)], 30, 3), strict=True):
        text = "".join(column).lstrip(" ")
        assert set(text[1:]) <= {"█"}


def test_outside_of_the_points_and_for_equal_losses() -> None:
    assert sparkline([(0.5, 2.0), (0.7, 1.0)], 10, 1) == ["     ▆▃▁  "]
    assert sparkline([(0.0, 2.0), (1.0, 2.0)], 4, 2) == ["    ", "▁▁▁▁"]
    assert sparkline([(1.0, 2.0)], 4, 1) == ["   ▁"]
