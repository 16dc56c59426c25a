"""A text by what its characters cost a model: in colours, or line by line."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable, Iterator
from heapq import nlargest
from typing import TYPE_CHECKING

from textgen.cli.terminal import coloured, looking, visible

if TYPE_CHECKING:
    from textgen.inference.surprise import Character, Line

WIDTH = 80  # columns
MARGIN = "       "  # before what is said of a row
CAUGHT = 8.0  # bits from which on the likeliest are named: p below 1/256
# bits from which on a background is taken, of the 256 colours of a terminal; black text on it
_SHADES = ((12.0, 203), (8.0, 209), (5.0, 222), (3.0, 229))


def shown(characters: Iterable[Character]) -> Iterator[str]:
    """Rows of 80 columns: bits per character, the text, and below it what was expected instead."""
    from rich.cells import cell_len

    row: list[tuple[str, Character]] = []
    columns = len(MARGIN)
    for character in characters:
        text = visible(character.text)
        size = cell_len(text)
        if columns + size > WIDTH:
            yield from _row(row)
            row, columns = [], len(MARGIN)
        row.append((text, character))
        columns += size
        if character.text == "\n":
            yield from _row(row)
            row, columns = [], len(MARGIN)
    if row:
        yield from _row(row)


def _row(row: list[tuple[str, Character]]) -> Iterator[str]:
    shade = coloured(sys.stdout)
    mean = sum(character.bits for _, character in row) / len(row)
    yield f"{mean:5.2f}  " + "".join(_shaded(text, c.bits) if shade else text for text, c in row)
    caught = [c for _, c in row if c.bits >= CAUGHT]
    told = "  ".join(_instead(c) for c in caught)
    if caught:
        yield MARGIN + _cut(told, WIDTH - len(MARGIN))


def _shaded(text: str, bits: float) -> str:
    for least, shade in _SHADES:
        if bits >= least:
            return f"\033[30;48;5;{shade}m{text}\033[0m"
    return text


def _instead(character: Character) -> str:
    expected = " ".join(visible(c) for c in character.expected if c != character.text)
    return f"{visible(character.text)} {character.bits:.0f} bits, likelier {expected}"


def line_rows(lines: Iterable[Line], top: int | None, json: bool) -> Iterator[str]:
    """A row per line: bits per character, number, text; top: only so many, the oddest first."""
    if top is not None:
        lines = nlargest(top, lines, key=lambda line: line.bits_per_char)
    for line in lines:
        if json:
            yield jsonlib.dumps(line._asdict())
            continue
        row = f"{line.bits_per_char:6.2f} {line.number:7d}  {visible(line.text)}"
        yield fitted(row)


def fitted(row: str) -> str:
    """The row, on a terminal cut to 80 columns."""
    return _cut(row, WIDTH) if looking(sys.stdout) else row


def _cut(text: str, columns: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"
