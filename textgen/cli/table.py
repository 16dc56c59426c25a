"""Rows of words in columns, to print."""

from collections.abc import Iterator, Sequence

from textgen.cli.terminal import visible


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line per row, its cells in columns as wide as their longest."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, sizes, strict=True)
        yield "  ".join(f"{visible(cell):<{size}}" for cell, size in cells).rstrip()
