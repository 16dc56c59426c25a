"""textgen resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import textgen
from textgen.cli.parse import CHECKPOINTS, Checkpoints, duration
from textgen.cli.terminal import spelling
from textgen.cli.train import DATA, DEFAULT, Device, Epochs, Json, Steps, Time, follow


def resume(
    run: Annotated[
        str | None,
        typer.Argument(help="A run's name or folder; none: the latest.", show_default=False),
    ] = None,
    time: Time = None,
    epochs: Epochs = None,
    steps: Steps = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(help="Where the corpus is now, if it moved.", rich_help_panel=DATA),
    ] = None,
    val_file: Annotated[
        Path | None,
        typer.Option(help="Where the validation file is now.", rich_help_panel=DATA),
    ] = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    device: Device = DEFAULT.device,
    json: Json = False,
) -> None:
    """Go on with a run exactly where it was last saved.

    With --time, --epochs or --steps it goes on for that much from there, also if it is finished.
    """
    events = textgen.resume(
        run,
        checkpoints=checkpoints,
        files=tuple(corpus or ()),
        val_file=val_file,
        time=duration("time", time),
        epochs=epochs,
        steps=steps,
        device=device,
    )
    with spelling(files="--corpus"):
        follow(events, json)
