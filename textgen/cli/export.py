"""textgen export."""

from pathlib import Path
from typing import Annotated

import typer

from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.terminal import note, short

RUN = typer.Argument(
    help="A run's name, its folder or a checkpoint file.", autocompletion=run_names
)
FILE = typer.Argument(help="The file to write, .html, .safetensors or .onnx.")
PRECISION = typer.Option(
    help="Of a page's weights: int8, fp16 or fp32.", show_default="int8 in a page"
)
ANONYMOUS = typer.Option("--anonymous", help="Leave out the name of the text.")


def export(
    run: Annotated[str, RUN],
    file: Annotated[Path, FILE],
    precision: Annotated[str | None, PRECISION] = None,
    anonymous: Annotated[bool, ANONYMOUS] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write a model for others, without a path of this machine: a page, weights alone, or ONNX."""
    from textgen.sharing.export import export as write
    from textgen.store.checkpoint import read_header
    from textgen.store.runs import find_checkpoint

    header = read_header(find_checkpoint(run, checkpoints))
    write(header, file, precision=precision, anonymous=anonymous)
    note(f"wrote {file}, {short(file.stat().st_size)}B")
