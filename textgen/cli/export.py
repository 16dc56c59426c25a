"""textgen export."""

from pathlib import Path
from typing import Annotated

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.terminal import note, short

RUN = typer.Argument(help="A run's name, its folder or a checkpoint file.")
FILE = typer.Argument(help="The file to write: weights.safetensors.")
ANONYMOUS = typer.Option("--anonymous", help="Leave out the name of the text.")


def export(
    run: Annotated[str, RUN],
    file: Annotated[Path, FILE],
    anonymous: Annotated[bool, ANONYMOUS] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write a model for others, without a path of this machine: weights alone."""
    from textgen.sharing.export import export as write
    from textgen.store.checkpoint import read_header
    from textgen.store.runs import find_checkpoint

    write(read_header(find_checkpoint(run, checkpoints)), file, anonymous=anonymous)
    note(f"wrote {file}, {short(file.stat().st_size)}B")
