"""textgen plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from textgen.bounds import OneOf
from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunNames
from textgen.cli.terminal import note, short

FILE = typer.Option("--output", "-o", help="The picture to write: loss.svg or loss.png.")
AGAINST = typer.Option(help="One panel: steps, characters or time.", show_default="all three")


def plot(
    file: Annotated[Path, FILE],
    runs: RunNames = None,
    against: Annotated[str | None, AGAINST] = None,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Draw training and validation loss against steps, characters and time.

    Several runs are drawn in one picture, each in its colour.
    """
    from textgen.studies.curves import AXES, curve
    from textgen.studies.plot import draw, output

    if against is not None:
        OneOf(tuple(AXES)).check("against", against)
    picture = output(file)
    picture.check()
    names: Sequence[str | None] = runs or [None]
    curves = [curve(name, checkpoints) for name in names]
    picture.write([draw(curves, [against] if against else [*AXES], file.suffix.lower())])
    note(f"wrote {file}, {short(file.stat().st_size)}B")
