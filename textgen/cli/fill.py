"""textgen fill."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from textgen.bounds import Number
from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, OUTPUT, Checkpoints, given, option, sampling
from textgen.cli.sample import CHOICE, DEFAULT, TEMPERATURE
from textgen.cli.shading import WIDTH
from textgen.cli.surprise import fitted
from textgen.cli.terminal import Output, looking, note, spelling, visible
from textgen.config import SamplingOptions
from textgen.errors import TextgenError, UnknownCharacters

ROOM = WIDTH - len("0.000  ")  # columns of a row,
SEEN = 10  # and those that each of the texts around gets at least
MODELS = "Models"
LEFT = typer.Argument(help="The text before.", show_default=False)
RIGHT = typer.Argument(help="The text after.", show_default=False)
FORWARD = option(
    "A run that reads forward; else the latest that does.",
    MODELS,
    "--checkpoint",
    "-c",
    autocompletion=run_names,
)
BACKWARD = option(
    "A run that reads backward.", MODELS, "--backward-run", "-b", autocompletion=run_names
)


def fill(
    context: typer.Context,
    left: Annotated[str, LEFT],
    right: Annotated[str, RIGHT],
    backward_run: Annotated[str, BACKWARD],
    checkpoint: Annotated[str | None, FORWARD] = None,
    temp: Annotated[float, TEMPERATURE] = DEFAULT.temperature,
    top_k: Annotated[int, sampling("top_k", CHOICE)] = DEFAULT.top_k,
    top_p: Annotated[float, sampling("top_p", CHOICE)] = DEFAULT.top_p,
    min_p: Annotated[float, sampling("min_p", CHOICE)] = DEFAULT.min_p,
    seed: Annotated[int | None, sampling("seed", CHOICE)] = None,
    length: Annotated[int, option("The longest text between.", OUTPUT)] = 60,
    num: Annotated[int, option("How many proposals.", OUTPUT)] = 5,
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, option("One JSON object per proposal.", OUTPUT, "--json")] = False,
) -> None:
    """Propose what stands between two texts, the likeliest first.

    Two models propose and rank: one that reads forward, and one trained with --backward.
    """
    from textgen.inference.filling import fill as propose
    from textgen.inference.sampling import random_seed
    from textgen.inference.text_model import TextModel
    from textgen.store.runs import find_checkpoint

    asked = given(context, SamplingOptions)
    options = SamplingOptions(**asked | {"temperature": temp, "device": "cpu"})
    Number(1, whole=True, example="5").check("num", num)
    if seed is None:
        options = replace(options, seed=random_seed())
        note(f"seed {options.seed}")
    forward = TextModel(
        _latest(checkpoints) if checkpoint is None else find_checkpoint(checkpoint, checkpoints)
    )
    backward = TextModel(find_checkpoint(backward_run, checkpoints))
    try:
        with spelling(run="--checkpoint"):
            found = propose(left, right, forward, backward, options)
    except UnknownCharacters as error:
        hint = "write both texts in characters that both models know"
        raise UnknownCharacters(error.message, hint) from None
    with Output() as output:
        for filling in found[:num]:
            facts = vars(filling) | {"nats_per_char": filling.nats_per_char, "seed": options.seed}
            line = f"{filling.nats_per_char:.3f}  {_between(left, filling.text, right)}"
            output.write((jsonlib.dumps(facts) if json else fitted(line)) + "\n")
    if len(found) < num:
        note(f"note: the models proposed {len(found)} different texts, not {num}")


def _latest(checkpoints: Path) -> Path:
    """The checkpoint of the latest run that reads forward, or of the latest run if none does."""
    from textgen.store.checkpoint import read_header
    from textgen.store.runs import find_checkpoint, list_runs

    for run in list_runs(checkpoints):
        try:
            if not read_header(path := run.to_sample()).record.corpus.backward:
                return path
        except TextgenError as error:
            note(f"note: {error.message}")
    return find_checkpoint(None, checkpoints)


def _between(left: str, text: str, right: str) -> str:
    """The three in a row; on a terminal less of the first, where the second would not be seen."""
    before, middle, after = map(visible, (left, text, right))
    if looking(sys.stdout):
        from rich.cells import cell_len

        room = max(SEEN, ROOM - cell_len(middle) - min(SEEN, cell_len(after)))
        if cell_len(before) > room:
            before = before[-room:]  # what is more has no place, and may be a whole book
            while cell_len(before) >= room:
                before = before[1:]
            before = "…" + before
    return before + middle + after
