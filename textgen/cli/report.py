"""textgen report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from textgen.cli.info import settings_lines
from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunNames
from textgen.cli.terminal import clock, note, short, visible, watched

FILE = typer.Option("--output", "-o", help="The page to write: report.html.")


def report(
    file: Annotated[Path, FILE],
    runs: RunNames = None,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write what runs learned on one HTML page that needs nothing else.

    Plan, losses, samples at several temperatures, novelty, memory, the surprise of a held-out
    page, layers, gates; light or dark as the reader's system is.
    """
    import torch
    from rich.console import Console

    from textgen.inference.text_model import TextModel
    from textgen.model.device import prepare_device
    from textgen.sharing.weights import published
    from textgen.store.runs import find_checkpoint
    from textgen.studies import report as studies
    from textgen.studies.curves import curve
    from textgen.studies.subject import Subject

    page = studies.output(file)
    page.check()
    prepare_device(torch.device("cpu"))
    subjects = []
    names: Sequence[str | None] = runs or [None]
    for name in names:
        found = curve(name, checkpoints)
        record = found.record
        text = ", ".join(published(record, anonymous=False).corpus.files)
        done = f"{record.step:,} of {record.training.steps:,} steps in {clock(record.seconds)}"
        plan = [("text", text), *settings_lines(record), ("done", done)]
        subjects.append(Subject(found, TextModel(find_checkpoint(name, checkpoints)), plan))
    seen = watched()
    console = Console(stderr=True, force_terminal=seen)
    with console.status("") as status:
        for part in studies.report(subjects):
            if isinstance(part, bytes):
                page.write([part])
            elif seen:
                status.update(visible(part))
    note(f"wrote {file}, {short(file.stat().st_size)}B")
