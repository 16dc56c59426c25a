"""Rows of words in columns, to print."""

from collections.abc import Iterator, Sequence

from textgen.cli.terminal import visible


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line per row, its cells in columns as wide as their longest."""
    rows = [[visible(cell) for cell in row] for row in rows]
    sizes = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, sizes, strict=True)
        yield "  ".join(cell + " " * (size - _columns(cell)) for cell, size in cells).rstrip()


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The same, with every column but the first to the right."""
    rows = [[visible(cell) for cell in row] for row in rows]
    sizes = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        spaces = [" " * (size - _columns(cell)) for cell, size in zip(row, sizes, strict=True)]
        right = [space + cell for cell, space in zip(row, spaces, strict=True)]
        yield "  ".join([row[0] + spaces[0], *right[1:]]).rstrip()


def _columns(text: str) -> int:
    """How many a terminal needs for it."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
