"""Rows of words in columns, to print."""

from collections.abc import Iterator, Sequence

from textgen.cli.terminal import visible


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line per row, its cells in columns as wide as their longest."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, sizes, strict=True)
        yield "  ".join(f"{visible(cell):<{size}}" for cell, size in cells).rstrip()


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The same, with every column but the first to the right."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [[cell.rjust(size) for cell, size in zip(row, sizes, strict=True)] for row in rows]
    return table([[row[0], *cells[1:]] for row, cells in zip(rows, right, strict=True)])
