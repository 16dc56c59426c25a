"""A text by what its characters cost a model: in colours, or line by line."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable, Iterator
from heapq import nlargest
from typing import TYPE_CHECKING

from textgen.cli.shading import MARGIN, WIDTH, cut, headed, in_rows
from textgen.cli.terminal import looking, visible

if TYPE_CHECKING:
    from textgen.inference.surprise import Character, Line

CAUGHT = 8.0  # bits from which on the likeliest are named: p below 1/256
# bits from which on a background is taken, of the 256 colours of a terminal
_SHADES = ((12.0, 203), (8.0, 209), (5.0, 222), (3.0, 229))


def shown(characters: Iterable[Character]) -> Iterator[str]:
    """Rows of 80 columns: bits per character, the text, and below it what was expected instead."""
    from textgen.inference.surprise import mean_bits

    for row in in_rows((character.text, character) for character in characters):
        mean, _ = mean_bits([character for _, character in row])
        yield headed(mean, ((text, _shade(character.bits)) for text, character in row))
        caught = [character for _, character in row if character.bits >= CAUGHT]
        if caught:
            yield MARGIN + cut("  ".join(map(_instead, caught)), WIDTH - len(MARGIN))


def _shade(bits: float) -> int | None:
    return next((shade for least, shade in _SHADES if bits >= least), None)


def _instead(character: Character) -> str:
    likelier = " ".join(map(visible, character.likelier))
    told = f"likelier {likelier}" if likelier else "the likeliest"
    return f"{visible(character.text)} {character.bits:.0f} bits, {told}"


def line_rows(lines: Iterable[Line], name: str, top: int | None, json: bool) -> Iterator[str]:
    """A row per line of the text `name`: bits per character, number, text.

    top: only so many, the oddest first.
    """
    if top is not None:
        lines = nlargest(top, lines, key=lambda line: line.bits_per_char)
    for line in lines:
        if json:
            yield jsonlib.dumps({"file": name, **line._asdict()})
            continue
        row = f"{line.bits_per_char:6.2f} {line.number:7d}  {visible(line.text)}"
        yield fitted(row)


def fitted(row: str) -> str:
    """The row, on a terminal cut to 80 columns."""
    return cut(row, WIDTH) if looking(sys.stdout) else row
