"""A curve of few rows, drawn in the block characters of a terminal."""

from collections.abc import Sequence
from itertools import pairwise

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[tuple[float, float]], columns: int, rows: int) -> list[str]:
    """Rows of `columns` characters, the uppermost first, filled below the curve.

    points: x from 0 to 1, each above the one before, and y, any number; between them the curve is
    straight, and a column is as high as it is in the column's middle: the highest y would fill all
    rows, the lowest an eighth of one. Outside of the points it is empty.
    """
    low, high = min(y for _, y in points), max(y for _, y in points)
    begin, end = (min(columns - 1, int(points[n][0] * columns)) for n in (0, -1))
    levels = [0] * columns
    for column in range(begin, end + 1):
        y = _between(points, (column + 0.5) / columns)
        share = (y - low) / (high - low) if high > low else 0.0
        levels[column] = 1 + round(share * (8 * rows - 1))
    return [
        "".join(_EIGHTHS[max(0, min(8, level - 8 * row))] for level in levels)
        for row in reversed(range(rows))
    ]


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    """y at x by straight lines; before the first point and after the last that point's y."""
    for (left, before), (right, after) in pairwise(points):
        if x <= right:
            share = max(0.0, (x - left) / (right - left))
            return before + share * (after - before)
    return points[-1][1]
