"""textgen sample."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.terminal import harmless, looking, note
from textgen.errors import UsageError


def sample(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run's name, its folder or a checkpoint file; none: the latest run.",
            show_default=False,
        ),
    ] = None,
    temp: Annotated[
        float,
        typer.Option(
            "--temp", "--temperature", help="0 is greedy, 1 the model's own, more: wilder."
        ),
    ] = 0.8,
    length: Annotated[int, typer.Option(help="Characters to write; 0: until stopped.")] = 500,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Text to go on from.")
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", "-f", help="File with text to go on from.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Repeats a text exactly; random if not given.")
    ] = None,
    unknown: Annotated[
        str, typer.Option(help="Prompt characters the model never saw: error, skip or replace.")
    ] = "error",
    num: Annotated[int, typer.Option(help="How many texts to write.")] = 1,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write text with a trained model."""
    from textgen.config import check_number
    from textgen.corpus import read_text
    from textgen.runs import find_checkpoint
    from textgen.sampling import random_seed
    from textgen.text_model import TextModel

    check_number("num", num, 1, whole=True, example="3")
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file are both given; expected one", "keep one")
    text = read_text(prompt_file) if prompt_file is not None else prompt or ""
    model = TextModel(find_checkpoint(run, checkpoints))
    told = seed is not None
    seed = random_seed() if seed is None else seed
    write = _harmless if looking(sys.stdout) else _exact
    for number in range(num):
        pieces = model.generate(
            text, length=length, temperature=temp, seed=seed, number=number, unknown=unknown
        )
        if not told:
            note(f"seed {seed}")
            told = True
        if num > 1 and looking(sys.stdout):
            write(f"--- {number + 1} of {num} ---\n")
        write(text)
        for piece in pieces:
            write(piece)
        write("\n")


def _harmless(text: str) -> None:
    sys.stdout.write(harmless(text))
    sys.stdout.flush()


def _exact(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
