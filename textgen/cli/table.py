"""Rows of words in columns, to print."""

from collections.abc import Iterator, Sequence

from textgen.cli.terminal import visible


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line per row, its cells in columns as wide as their longest."""
    for cells in _with_room(rows):
        yield "  ".join(cell + space for cell, space in cells).rstrip()


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The same, with every column but the first to the right."""
    for (first, space), *others in _with_room(rows):
        yield "  ".join([first + space, *(space + cell for cell, space in others)]).rstrip()


def _with_room(rows: Sequence[Sequence[str]]) -> Iterator[list[tuple[str, str]]]:
    """Each cell, made visible, and the spaces that its column is wider."""
    rows = [[visible(cell) for cell in row] for row in rows]
    sizes = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        pairs = zip(row, sizes, strict=True)
        yield [(cell, " " * (size - _columns(cell))) for cell, size in pairs]


def _columns(text: str) -> int:
    """How many a terminal needs for it."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
