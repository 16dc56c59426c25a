from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from textgen.studies.chart import Line, Scale, chart


def test_an_axis_holds_its_values_between_round_ticks() -> None:
    for low, high in [(1.4491, 2.389), (0.0, 7.0), (3.0, 3.0), (-2.0, 1.0), (0.001, 0.0011)]:
        scale = Scale.holding("y", [high, low])
        assert scale.low <= low <= high <= scale.high
        assert scale.low < scale.high
        gaps = np.diff(scale.ticks)
        np.testing.assert_allclose(gaps, gaps[0])
        mantissa = gaps[0] / 10 ** math.floor(math.log10(gaps[0]) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-6
        assert 1 <= len(gaps) <= 6


def test_ticks_of_logarithms_are_powers_within_the_axis() -> None:
    assert Scale("x", 1, 1024, log=4).ticks == [1, 4, 16, 64, 256, 1024]
    assert Scale("x", 1e-5, 1, log=10).ticks == pytest.approx([1e-5, 1e-4, 1e-3, 0.01, 0.1, 1])
    assert Scale("x", 3, 100, log=4).ticks == [4, 16, 64]


@pytest.mark.parametrize("log", [0, 10])
def test_points_stand_where_the_scales_say(log: int) -> None:
    points = [(1.0, 5.0), (10.0, 2.0), (40.0, 2.5), (100.0, 1.0)]
    drawn = chart([Line(points, "c0")], Scale("a < b", 1, 100, log), Scale("y", 0, 5))
    line = ElementTree.fromstring(drawn).find("polyline")
    assert line is not None
    assert line.attrib["class"] == "c0"
    found = np.array([pair.split(",") for pair in line.attrib["points"].split()], float)
    x, y = np.array(points).T
    for values, column, sign in ((np.log(x) if log else x, 0, 1), (y, 1, -1)):
        scale, offset = np.polyfit(values, found[:, column], 1)
        np.testing.assert_allclose(found[:, column], scale * values + offset, atol=0.06)
        assert np.sign(scale) == sign  # y grows downward in an SVG
    texts = [text.text for text in ElementTree.fromstring(drawn).iter("text")]
    assert "a < b" in texts


def test_numbers_of_ticks_are_short() -> None:
    drawn = chart([], Scale("x", 0, 2_000_000), Scale("y", 1e-5, 1, log=10))
    texts = [text.text for text in ElementTree.fromstring(drawn).iter("text")]
    assert texts == [
        *["0", "500k", "1M", "1.5M", "2M", "x"],
        *["1e-5", "1e-4", "1e-3", "0.01", "0.1", "1", "y"],
    ]
    assert ">1,024<" in chart([], Scale("x", 1, 1024, log=4), Scale("y", 0, 1))


def test_a_single_point_is_seen() -> None:
    drawn = chart([Line([(1.0, 2.0)], "c1")], Scale("x", 0, 2), Scale.holding("y", [2.0]))
    assert '<circle class="c1"' in drawn
