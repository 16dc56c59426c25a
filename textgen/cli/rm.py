"""textgen rm: remove runs."""

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.terminal import note, short, visible
from textgen.errors import UsageError
from textgen.store.runs import find_run
from textgen.store.space import held, own_files, remove, size

RUNS = typer.Argument(
    help="Names of runs, or their folders.", show_default=False, autocompletion=run_names
)
YES = typer.Option("--yes", "-y", help="Do not ask.")


def rm(
    runs: Annotated[list[str], RUNS],
    yes: Annotated[bool, YES] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Remove runs: all files that textgen wrote in their folders.

    A folder that holds other files stays, with these. A run that is being trained is refused.
    """
    found = {run.folder.resolve(): run for run in (find_run(n, checkpoints) for n in runs)}
    with ExitStack() as stack:
        for run in found.values():
            stack.enter_context(held(run))
        if not yes:
            _ask([f"{run.folder} ({short(size(own_files(run)))}B)" for run in found.values()])
        for run in found.values():
            freed = size(own_files(run))
            stays = "" if remove(run) else f"; {run.folder} stays, other files are in it"
            note(f"removed {run.name}, {short(freed)}B{stays}")


def _ask(folders: list[str]) -> None:
    """Go on if the person at the terminal agrees; UsageError where there is none."""
    what = visible(", ".join(folders))
    if not sys.stdin.isatty():
        raise UsageError(f"nobody can be asked whether to remove {what}", "add --yes")
    print(f"remove {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D, which ends no line
        note("")
    if answer.strip().lower() not in ("y", "yes"):
        note("nothing is removed")
        raise typer.Exit(1)
