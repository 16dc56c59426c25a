"""textgen clean: make room without losing a model that writes."""

from typing import Annotated

import typer

from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.terminal import note, short
from textgen.errors import CheckpointError, RunError
from textgen.store import space
from textgen.store.runs import find_run, list_runs

RUNS = typer.Argument(
    help="Names of runs, or their folders; none: all.", show_default=False, autocompletion=run_names
)
DRY_RUN = typer.Option("--dry-run", help="Say what would go, and remove nothing.")


def clean(
    runs: Annotated[list[str] | None, RUNS] = None,
    dry_run: Annotated[bool, DRY_RUN] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Make room, and keep of each run what it writes from.

    Of a finished run, last and previous go where best is there: a resume then
    begins from best, with the optimizer and the streams' state anew. Of other
    runs, previous goes. What dead processes left half written goes too. A run
    that is being trained or is damaged is left alone.
    """
    if runs:
        found = [find_run(name, checkpoints) for name in runs]
    else:
        found = list_runs(checkpoints, lambda error: note(f"note: {error.message}"))
    verb, total = "would free" if dry_run else "freed", 0
    for run in found:
        try:
            freed, going = space.clean(run, dry_run=dry_run)
        except (CheckpointError, RunError) as error:
            note(f"note: {run.name} is left alone: {error.message}")
            continue
        total += freed
        if not freed and not going:
            continue
        what = ", ".join(path.stem for path in going) or "what was left half written"
        lost = "; a resume begins the optimizer anew, from best" if run.last in going else ""
        note(f"{run.name}: {verb} {short(freed)}B: {what}{lost}")
    note(f"in all: {verb} {short(total)}B")
