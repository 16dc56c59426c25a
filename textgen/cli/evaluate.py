"""textgen eval."""

from __future__ import annotations

import json as jsonlib
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.terminal import looking, note
from textgen.config import check_choice
from textgen.errors import CorpusError


def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Texts to score; none: the run's own text.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", "-c", help="A run or a checkpoint file; else the latest run."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the run's text: train or val.")] = "val",
    unknown: Annotated[
        str, typer.Option(help="Characters the model never saw: error, skip or replace.")
    ] = "error",
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per text.")] = False,
) -> None:
    """Measure how well a model predicts a text, in nats and bits per character.

    One exact pass per text, its state carried from the first character to the last.
    """
    from rich.console import Console
    from rich.progress import Progress

    from textgen.inference.text_model import TextModel
    from textgen.store.contents import reread_corpus
    from textgen.store.runs import find_checkpoint
    from textgen.text.corpus import read_text
    from textgen.text.vocabulary import UNKNOWN

    check_choice("split", split, ("train", "val"))
    check_choice("unknown", unknown, UNKNOWN)
    model = TextModel(find_checkpoint(checkpoint, checkpoints))
    vocabulary = model.vocabulary
    texts = []
    for path in files or []:
        corpus_config = model.header.record.corpus
        text = read_text(path, corpus_config.encoding, corpus_config.level)
        if unknown != "error" and (found := vocabulary.unknown(text)):
            note(f"note: {path} has {found}; --unknown {unknown}")
        texts.append((str(path), vocabulary.encode(text, unknown, str(path))))
    if not texts:
        try:
            corpus = reread_corpus(model.header)
        except CorpusError as error:
            raise CorpusError(error.message, "name the text to score: textgen eval FILE") from None
        ids = corpus.train if split == "train" else corpus.validation
        texts.append((f"{split} part of {', '.join(model.header.record.corpus.files)}", ids))

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not looking(sys.stderr)) as bar:
        for name, ids in texts:
            task = bar.add_task("reading", total=len(ids))
            result = model.score(ids, progress=partial(bar.advance, task))
            bar.remove_task(task)
            figures = {
                "text": name,
                "nats_per_char": result.nats_per_char,
                "bits_per_char": result.bits_per_char,
                "characters": result.characters,
                "checkpoint": str(model.header.path),
                "step": model.header.record.step,
            }
            if json:
                print(jsonlib.dumps(figures), flush=True)
            else:
                print(
                    f"{result.nats_per_char:.4f} nats/char  {result.bits_per_char:.4f} bits/char"
                    f"  {result.characters:,} characters  {name}",
                    flush=True,
                )
