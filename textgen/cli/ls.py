"""textgen ls: answered from the checkpoints' headers alone, without torch or NumPy."""

import json as jsonlib
import time
from typing import Annotated

import typer

from textgen.cli.info import facts
from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.table import table
from textgen.cli.terminal import note, short
from textgen.errors import CheckpointError
from textgen.store.checkpoint import read_header
from textgen.store.run import within
from textgen.store.runs import list_runs
from textgen.store.space import own_files, size


def ls(
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per run.")] = False,
) -> None:
    """List the runs, the latest first."""
    runs = list_runs(checkpoints, lambda error: note(f"note: {error.message}"))
    if not runs:
        begin = within(checkpoints, "textgen train corpus.txt")
        note(f"no runs yet in {checkpoints}; begin one: {begin}")
    rows = []
    for run in runs:
        try:
            header = read_header(run.newest)
        except CheckpointError as error:
            note(f"note: {error.message}")
            continue
        if json:
            print(jsonlib.dumps(facts(header) | {"size": size(own_files(run))}))
            continue
        record = header.record
        model = f"{record.model.cell} {','.join(map(str, record.model.hidden))}"
        steps = f"{record.step:,}/{record.training.steps:,}"
        loss = f"{record.best.val_nats:.4f}" if record.best else "-"
        disk = f"{short(size(own_files(run)))}B"
        saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed()))
        rows.append((run.name, model, steps, loss, disk, saved))
    if rows:
        rows.insert(0, ("RUN", "MODEL", "STEPS", "VAL NATS", "SIZE", "SAVED"))
        for line in table(rows):
            print(line)
