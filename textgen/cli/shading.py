"""A text in rows of 80 columns, its characters on coloured backgrounds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from textgen.cli.terminal import coloured, visible

WIDTH = 80  # columns
MARGIN = "       "  # before what is said of a row

Of = TypeVar("Of")


def in_rows(characters: Iterable[tuple[str, Of]]) -> Iterator[list[tuple[str, Of]]]:
    """The characters made visible, cut into rows at line ends and where the columns are full.

    characters: each with what goes with it.
    """
    from rich.cells import cell_len

    row: list[tuple[str, Of]] = []
    columns = len(MARGIN)
    for character, of in characters:
        text = visible(character)
        size = cell_len(text)
        if columns + size > WIDTH:
            yield row
            row, columns = [], len(MARGIN)
        row.append((text, of))
        columns += size
        if character.endswith("\n"):
            yield row
            row, columns = [], len(MARGIN)
    if row:
        yield row


def headed(figure: float, characters: Iterable[tuple[str, int | None]]) -> str:
    """A figure in the margin and the text, where colours are wanted on its backgrounds.

    characters: each with a background, of the 256 colours of a terminal, or None.
    """
    if not coloured(sys.stdout):
        return f"{figure:5.2f}  " + "".join(text for text, _ in characters)
    shaded = (f"\033[30;48;5;{s}m{text}\033[0m" if s else text for text, s in characters)
    return f"{figure:5.2f}  " + "".join(shaded)


def cut(text: str, columns: int) -> str:
    """`text`, with an ellipsis where it has more columns."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"
