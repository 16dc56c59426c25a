"""textgen resume."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import textgen
from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, Checkpoints, duration, option
from textgen.cli.spinning import spin_for_long
from textgen.cli.terminal import spelling
from textgen.cli.train import (
    DATA,
    DEFAULT,
    OPTIMISATION,
    Accumulate,
    Cache,
    Device,
    Epochs,
    Json,
    Steps,
    Tensorboard,
    Time,
    follow,
)

CORPUS = option("Where the corpus is now, if it moved.", DATA)
DETERMINISTIC = option(
    "From here on only kernels that repeat their bits, if slower; a run that has them keeps them.",
    OPTIMISATION,
    "--deterministic",
)
RUN = typer.Argument(
    help="A run's name, folder or checkpoint file; none: the latest.",
    show_default=False,
    autocompletion=run_names,
)


def resume(
    run: Annotated[str | None, RUN] = None,
    time: Time = None,
    epochs: Epochs = None,
    steps: Steps = None,
    corpus: Annotated[list[Path] | None, CORPUS] = None,
    val_file: Annotated[Path | None, option("Where the validation file is now.", DATA)] = None,
    cache: Cache = DEFAULT.cache,
    checkpoints: Checkpoints = CHECKPOINTS,
    device: Device = DEFAULT.device,
    accumulate: Accumulate = None,
    deterministic: Annotated[bool, DETERMINISTIC] = DEFAULT.deterministic,
    tensorboard: Tensorboard = None,
    json: Json = False,
) -> None:
    """Go on with a run exactly where it was last saved.

    With --time, --epochs or --steps it goes on for that much from there, also if it is finished.
    """
    files = tuple(corpus or ())
    if time is not None:
        spin_for_long()
    choices: dict[str, Any] = {"time": duration("time", time), "epochs": epochs, "steps": steps}
    choices |= {"device": device, "accumulate": accumulate, "deterministic": deterministic}
    start = partial(textgen.resume, run, checkpoints=checkpoints, files=files, val_file=val_file)
    with spelling(files="--corpus"):
        follow(partial(start, cache=cache, **choices), json, tensorboard)
