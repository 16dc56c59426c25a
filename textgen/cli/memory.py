"""textgen memory: how far back a model remembers."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textgen.bounds import OneOf
from textgen.cli.completion import run_names
from textgen.cli.eval import own_text
from textgen.cli.parse import CHECKPOINTS, OUTPUT, Checkpoints, duration, option, sampling
from textgen.cli.piped import read_again
from textgen.cli.recall import SECONDS, show_recall
from textgen.cli.table import table
from textgen.cli.terminal import progress, shown_in, visible
from textgen.config import COUNTED, UNKNOWN, Choices, SamplingOptions
from textgen.errors import UsageError

if TYPE_CHECKING:
    from textgen.inference.reach import Memory

FILE = typer.Argument(help="The text to measure on; none: what the run held out.")
RUNS = typer.Option(
    "--checkpoint",
    "-c",
    help="A run or a checkpoint file; may be repeated.",
    autocompletion=run_names,
)
RECALL = option("Train each cell on a made text, and ask it.", "Recall", "--recall")
TIME = option(f"Train this long in all, by default {SECONDS:g}s.", "Recall")
SEED = option("The same seed makes the same text.", "Recall")
HEADINGS = ("last", "nats/char", "+-", "beyond", "gradient")


def memory(
    file: Annotated[Path | None, FILE] = None,
    checkpoint: Annotated[list[str] | None, RUNS] = None,
    unknown: Annotated[str, sampling("unknown", OUTPUT)] = SamplingOptions().unknown,
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per run.")] = False,
    recall: Annotated[bool, RECALL] = False,
    time: Annotated[str | None, TIME] = None,
    seed: Annotated[int | None, SEED] = None,
) -> None:
    """Measure how many characters back a model remembers.

    Each line but the last is of a state that has seen only so many characters, or up to an eighth
    more:

    nats/char  what it costs to predict the next one, averaged over the text

    +-         standard error of its difference to the line "all", the whole state

    beyond     the share of what the model knows, beside the characters'
    frequencies, that comes from further back; what it uses ends at 5 %

    gradient   of a character's loss, by the input so far back, but through no
    match or n-gram; largest: 1

    With --recall no run is measured, but each cell, trained on the spot on a
    made text: how often it repeats one of eight symbols, 2 to 128 characters
    after that stood. All have the same number of parameters and of seconds.
    """
    OneOf(UNKNOWN).check("unknown", unknown)
    if recall:
        if given := [str(file)] if file else checkpoint:
            what = f"--recall is given, and {given[0]}; expected no run and no text"
            raise UsageError(what, "leave out --recall, or the other")
        seconds = SECONDS if time is None else duration("time", time)
        chosen = Choices(time=seconds, seed=seed or 0)
        show_recall(chosen.time or SECONDS, chosen.seed, json)
        return
    if time is not None or seed is not None:
        name = "--seed" if time is None else "--time"
        raise UsageError(f"{name} is given without --recall; expected both", "add --recall")
    import numpy as np
    import torch

    from textgen.inference.reach import remember
    from textgen.inference.text_model import TextModel
    from textgen.model.device import prepare_device
    from textgen.store.runs import find_checkpoint

    prepare_device(torch.device("cpu"))
    with read_again([file] if file else []) as copies:
        for number, run in enumerate(checkpoint or [None]):
            model = TextModel(find_checkpoint(run, checkpoints))
            if model.vocabulary.end is not None:
                what = f"{model.header.path} is of documents, each of which begins from zero state"
                raise UsageError(f"{what}; expected a model of one text", "name another: -c RUN")
            name, text = (str(file), copies[0]) if file else own_text(model, "val", "memory")
            blocks = model.blocks(text, unknown)
            ids = np.concatenate([np.zeros(0, model.vocabulary.dtype), *blocks])
            with progress() as bar:
                found = remember(model.network(), ids, progress=shown_in(bar, "measuring"))
            facts = {"checkpoint": str(model.header.path), "text": name, **facts_of(found)}
            if json:
                print(jsonlib.dumps(facts), flush=True)
                continue
            print("\n" * (number > 0) + visible(facts["checkpoint"]))
            for line in lines_of(found, f"{COUNTED[model.vocabulary.level]}s"):
                print(line, flush=True)


def facts_of(found: Memory) -> dict[str, Any]:
    """What `--json` prints; lists have one entry for each number of characters, from 1."""
    from textgen.inference.reach import LEFT, USED

    lists = {name: getattr(found, name).tolist() for name in ("excess", "error", "gradient")}
    figures = {"chance": found.chance, "full": found.full, "places": found.places}
    reaches = {"uses": found.reach(USED), "one_percent_beyond": found.reach(LEFT)}
    return {**figures, **reaches, "gradient_reach": found.gradient_reach, **lists}


def lines_of(found: Memory, counted: str) -> list[str]:
    """A table and two sentences, within 80 columns; counted: what is read, characters or bytes."""
    rows = [HEADINGS]
    for k in (2**n for n in range(found.longest.bit_length())):
        share = "" if found.full >= found.chance else f"{found.beyond(k):z.1%}"
        figures = f"{found.nats(k):.4f}", f"{found.error[k - 1]:.4f}", share
        rows.append((f"{k:,}", *figures, f"{found.gradient[k - 1]:.1e}"))
    rows.append(("all", f"{found.full:.4f}", "", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[cell.rjust(w) for cell, w in zip(row, widths, strict=True)] for row in rows]
    return [*table(aligned), *found.in_words(counted)]
