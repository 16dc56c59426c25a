"""A run is a folder: `last` to resume from, `best` to sample from, `metrics.jsonl` to read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from textgen.errors import CheckpointError, RunError, UsageError

LAST = "last.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def last(self) -> Path:
        return self.folder / LAST

    @property
    def best(self) -> Path:
        return self.folder / BEST

    @property
    def metrics(self) -> Path:
        return self.folder / METRICS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from training this run meanwhile.

        Raises RunError if one is at it already, or if the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder, os.O_RDONLY) if os.name == "posix" else None
        except OSError as error:
            raise cannot_save(self.folder, error) from None
        try:
            if lock is not None:
                _lock(lock, self)
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def exists(self) -> bool:
        return self.last.exists() or self.best.exists()

    def changed(self) -> float:
        """When the run was last saved, in seconds since the epoch."""
        return max(p.stat().st_mtime for p in (self.last, self.best) if p.exists())


def list_runs(checkpoints: Path) -> list[Run]:
    """The runs under `checkpoints`, the latest first."""
    if not checkpoints.is_dir():
        return []
    runs = [Run(f) for f in checkpoints.iterdir() if f.is_dir()]
    return sorted((r for r in runs if r.exists()), key=Run.changed, reverse=True)


def new_run(name: str, checkpoints: Path, overwrite: bool) -> Run:
    """A run to begin; its folder is made when it is first saved.

    Raises UsageError for a name that is no folder name, RunError if the run is there already.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UsageError(f"--run is {name!r}; expected a plain folder name", "try --run plays")
    run = Run(checkpoints / name)
    if run.exists() and not overwrite:
        raise RunError(
            f"run {name!r} exists already in {checkpoints}",
            f"go on with it: textgen resume {name}; or start it over: add --overwrite;"
            " or give another name: --run NAME",
        )
    return run


def find_run(name: str | None, checkpoints: Path) -> Run:
    """The run of that name, or of that folder; the latest if there is no name.

    Raises RunError if there is none.
    """
    runs = list_runs(checkpoints)
    if name is None:
        if not runs:
            raise RunError(f"no runs yet in {checkpoints}", "begin one: textgen train corpus.txt")
        return runs[0]
    for run in (Run(checkpoints / name), Run(Path(name))):
        if run.exists():
            return run
    names = [run.name for run in runs]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]}? textgen ls shows the runs there are"
    elif names:
        hint = "textgen ls shows the runs there are"
    else:
        hint = "there are none yet; begin one: textgen train corpus.txt"
    raise RunError(f"no run {name!r} in {checkpoints}", hint)


def find_checkpoint(name: str | None, checkpoints: Path) -> Path:
    """The file to sample from: a checkpoint file as it is, else a run's best, else its last.

    Raises RunError or CheckpointError if there is none.
    """
    if name is not None:
        path = Path(name)
        if path.is_file():
            return path
        if path.suffix == ".safetensors":
            raise CheckpointError(
                f"no such checkpoint: {path}", "textgen ls shows the runs there are"
            )
    run = find_run(name, checkpoints)
    return run.best if run.best.exists() else run.last


def cannot_save(folder: Path, error: OSError) -> RunError:
    """What to say when a run's folder cannot be written."""
    return RunError(
        f"cannot save in {folder}: {error.strerror or error}",
        "make room or give leave to write there, or choose another folder with --checkpoints;"
        " what was saved before is whole",
    )


def _lock(descriptor: int, run: Run) -> None:
    import fcntl  # POSIX only

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RunError(
            f"run {run.name!r} is being trained by another process",
            "wait for it, stop it, or give another name: --run NAME",
        ) from None
