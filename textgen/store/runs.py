"""A run is a folder: `last` to resume from, `best` to sample from, `metrics.jsonl` to read."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import RunError, UsageError
from textgen.events import Evaluated
from textgen.store.archive import SEE_RUNS, missing
from textgen.store.checkpoint import write_checkpoint
from textgen.store.files import write_file
from textgen.store.record import Record

if TYPE_CHECKING:  # info and ls do not import NumPy
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray]


class Run:
    """A run's folder; it need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.last = folder / "last.safetensors"
        self.best = folder / "best.safetensors"
        self.metrics = folder / "metrics.jsonl"

    @property
    def newest(self) -> Path:
        """The checkpoint with the most steps."""
        return self.last if self.last.exists() else self.best

    def exists(self) -> bool:
        return self.newest.exists()

    def changed(self) -> float:
        return max(p.stat().st_mtime for p in (self.last, self.best) if p.exists())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from training this run; else RunError."""
        with self._folder_made():
            lock = os.open(self.folder, os.O_RDONLY) if os.name == "posix" else None
        try:
            if lock is not None:
                _lock(lock, self.name)
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def save(self, record: Record, arrays: Mapping[str, Arrays], best: Arrays | None) -> None:
        """Write `best`, if it is given, the metrics, and `last`; arrays by group and name.

        Raises RunError; what was saved before is then whole.
        """
        with self._folder_made():
            if best is not None and record.best is not None:
                of_best = replace(record, kind="best", step=record.best.step)
                write_checkpoint(self.best, of_best, {"model": best})
            write_file(
                self.metrics, [_line(event, record.identity).encode() for event in record.history]
            )
            write_checkpoint(self.last, record, arrays)
            if record.best is None:  # an old one is of the run that was started over
                self.best.unlink(missing_ok=True)

    @contextmanager
    def _folder_made(self) -> Iterator[None]:
        """Make the folder to write in; an OSError is raised as RunError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise RunError(
                f"cannot save in {self.folder}: {error.strerror or error}",
                "make room or give leave to write there, or choose another folder with"
                " `checkpoints`; what was saved before is whole",
            ) from None


def _line(event: Evaluated, identity: str) -> str:
    fields = event.to_json() | {"identity": identity}
    del fields["event"]
    return json.dumps(fields) + "\n"


def _lock(descriptor: int, run: str) -> None:
    import fcntl  # POSIX only

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        hint = "wait for it, stop it, or give another name: `run=NAME`"
        raise RunError(f"run {run!r} is being trained by another process", hint) from None


def list_runs(checkpoints: Path) -> list[Run]:
    """The runs under `checkpoints`, the latest first."""
    if not checkpoints.is_dir():
        return []
    runs = [Run(f) for f in checkpoints.iterdir() if f.is_dir()]
    return sorted((r for r in runs if r.exists()), key=Run.changed, reverse=True)


def new_run(name: str, checkpoints: Path, overwrite: bool) -> Run:
    """A run to begin, or UsageError for a name that is no folder name, RunError if it exists."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UsageError(f"`run` is {name!r}; expected a plain folder name", "try `run=plays`")
    run = Run(checkpoints / name)
    if run.exists() and not overwrite:
        raise RunError(
            f"run {name!r} exists already in {checkpoints}",
            f"go on with it: textgen resume {name}; or start it over: add `overwrite`;"
            " or give another name: `run=NAME`",
        )
    return run


def find_run(name: str | None, checkpoints: Path) -> Run:
    """The run of that name, or the latest; a name with a slash is a folder first."""
    if name is None:
        if runs := list_runs(checkpoints):
            return runs[0]
        raise RunError(f"no runs yet in {checkpoints}", "begin one: textgen train corpus.txt")
    candidates = [Run(checkpoints / name), Run(Path(name))]
    for run in candidates[::-1] if "/" in name else candidates:
        if run.exists():
            return run
    raise _no_run(name, checkpoints)


def find_checkpoint(name: str | None, checkpoints: Path) -> Path:
    """The file to sample from: a checkpoint file as it is, else a run's best, else its last."""
    if name and (Path(name).is_file() or name.endswith(".safetensors")):
        return checkpoint_at(Path(name))
    return checkpoint_at(find_run(name, checkpoints).folder)


def checkpoint_at(path: Path) -> Path:
    """The checkpoint to sample from: `path` itself, or of a run's folder best, else last."""
    if path.is_file():
        return path
    if path.suffix == ".safetensors":
        raise missing(path)
    run = Run(path)
    if not run.exists():
        raise _no_run(run.name, path.parent)
    return run.best if run.best.exists() else run.last


def _no_run(name: str, checkpoints: Path) -> RunError:
    names = [run.name for run in list_runs(checkpoints)]
    hint = SEE_RUNS if names else "there are none yet; begin one: textgen train corpus.txt"
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        hint = f"did you mean {near[0]}? {SEE_RUNS}"
    return RunError(f"no run {name!r} in {checkpoints}", hint)
