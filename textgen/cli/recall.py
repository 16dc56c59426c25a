"""What `textgen memory --recall` prints: each cell trained on the spot, and asked."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from textgen.cli.table import aligned
from textgen.cli.terminal import progress
from textgen.config import CELLS

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from textgen.studies.recall import Recall

SECONDS = 60.0  # for all cells, where nothing is said


def show_recall(seconds: float, seed: int, json: bool) -> None:
    """Train each cell for its part of the time; print a table, or an object for each."""
    from textgen.studies.recall import CHANCE, recall

    found = []
    for cell in CELLS:
        with progress() as bar:
            task = bar.add_task(cell, total=seconds / len(CELLS))
            show = partial(_show, bar, task)
            found.append(recall(cell, seconds=seconds / len(CELLS), seed=seed, progress=show))
        if json:
            facts = {**dataclasses.asdict(found[-1]), "chance": CHANCE, "seed": seed}
            print(jsonlib.dumps(facts), flush=True)
    if not json:
        for line in lines_of(found):
            print(line)


def _show(bar: Progress, task: TaskID, spent: float) -> None:
    bar.update(task, completed=spent)


def lines_of(found: Sequence[Recall]) -> Iterator[str]:
    """A table by distance and cell, and how each was trained."""
    from textgen.studies.recall import CHANCE

    rows = [("characters", "chance", *(result.cell for result in found))]
    for distance in found[0].accuracy:
        shares = [CHANCE, *(result.accuracy[distance] for result in found)]
        rows.append((f"{distance}", *(f"{share:.1%}" for share in shares)))
    yield from aligned(rows)
    for result in found:
        network = f"1 x {result.width}, {result.parameters:,} parameters"
        yield f"{result.cell}: {network}, {result.steps:,} steps in {result.seconds:.1f} s"
