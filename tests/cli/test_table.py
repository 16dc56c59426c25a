from __future__ import annotations

from textgen.cli.table import aligned, table


def test_columns_are_as_wide_as_their_longest_cell_and_harmless() -> None:
    rows = [("A", "LONG"), ("three", "x"), ("\x1b", "")]
    assert list(table(rows)) == ["A      LONG", "three  x", "␛"]


def test_wide_characters_take_two_columns() -> None:
    rows = [("\u5149\u6e90", "1"), ("ab", "22")]
    assert list(table(rows)) == ["\u5149\u6e90  1", "ab    22"]
    assert list(aligned(rows)) == ["\u5149\u6e90   1", "ab    22"]
