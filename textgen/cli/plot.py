"""textgen plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgen.bounds import OneOf
from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunNames
from textgen.cli.terminal import note, short

if TYPE_CHECKING:
    from textgen.sharing.output import Output

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
    from textgen.studies.curves import AXES

    if against is not None:
        OneOf(tuple(AXES)).check("against", against)
    note(drawn(target(file), runs or [None], checkpoints, against))


def target(path: Path) -> Output:
    """Where a picture goes, once it is known that it can be drawn and written there."""
    from textgen.studies.plot import check_library, output

    picture = output(path)
    picture.check()
    check_library()
    return picture


def drawn(
    picture: Output, runs: Sequence[str | None], checkpoints: Path, against: str | None = None
) -> str:
    """Draw the losses of runs; what to say of it. against: one of AXES, all of them if None."""
    from textgen.studies.curves import AXES, curve
    from textgen.studies.plot import draw

    path, curves = picture.path, [curve(name, checkpoints) for name in runs]
    picture.write([draw(curves, [against] if against else [*AXES], path.suffix.lower())])
    return f"wrote {path}, {short(path.stat().st_size)}B"
