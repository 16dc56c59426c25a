from __future__ import annotations

from textgen.cli.table import table


def test_columns_are_as_wide_as_their_longest_cell_and_harmless() -> None:
    rows = [("A", "LONG"), ("three", "x"), ("\x1b", "")]
    assert list(table(rows)) == ["A      LONG", "three  x", "␛"]
