"""What a shell proposes for words that name runs."""

from contextlib import suppress
from pathlib import Path

import typer

from textgen.errors import RunError
from textgen.store.runs import list_runs


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """The runs that begin so in the folder that `--checkpoints` names, the latest first."""
    checkpoints = Path(context.params.get("checkpoints") or "checkpoints")
    with suppress(RunError):  # a shell has no place for it
        names = [run.name for run in list_runs(checkpoints)]
        return [name for name in names if name.startswith(incomplete)]
    return []
