"""A run is a folder: `last` to resume from, `best` to sample from, `metrics.jsonl` to read."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import CheckpointError, RunError, UsageError
from textgen.events import Evaluated
from textgen.store.checkpoint import write_checkpoint, write_file
from textgen.store.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray]

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

    @property
    def newest(self) -> Path:
        """The checkpoint that knows how far the run has come."""
        return self.last if self.last.exists() else self.best

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from training this run meanwhile.

        Raises RunError if one trains it already, or if the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder, os.O_RDONLY) if os.name == "posix" else None
        except OSError as error:
            raise self._cannot_save(error) from None
        try:
            if lock is not None:
                _lock(lock, self)
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def save(self, record: Record, arrays: Mapping[str, Arrays], best: Arrays | None) -> None:
        """Write `best`, if its weights are new, then the metrics, then `last`.

        arrays: those of `last`, by group and name. Raises RunError; what was saved before is whole.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if best is not None and record.best is not None:
                of_best = replace(record, kind="best", step=record.best.step)
                write_checkpoint(self.best, of_best, {"model": best})
            write_file(self.metrics, "".join(map(_line, record.history)).encode())
            write_checkpoint(self.last, record, arrays)
            if record.best is None:  # one that is there is of the run that was started over
                self.best.unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_save(error) from None

    def _cannot_save(self, error: OSError) -> RunError:
        return RunError(
            f"cannot save in {self.folder}: {error.strerror or error}",
            "make room or give leave to write there, or choose another folder with `checkpoints`;"
            " what was saved before is whole",
        )

    def exists(self) -> bool:
        return self.last.exists() or self.best.exists()

    def changed(self) -> float:
        """When the run was last saved, in seconds since the epoch."""
        return max(p.stat().st_mtime for p in (self.last, self.best) if p.exists())


def _line(event: Evaluated) -> str:
    """A line of metrics.jsonl."""
    fields = event.to_json()
    del fields["event"]
    return json.dumps(fields) + "\n"


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
    """The run of that name, or of that folder; the latest if there is no name.

    A name with a slash is a path first, any other a run in `checkpoints`. Raises RunError if there
    is none.
    """
    if name is None:
        runs = list_runs(checkpoints)
        if not runs:
            raise RunError(f"no runs yet in {checkpoints}", "begin one: textgen train corpus.txt")
        return runs[0]
    candidates = [Run(checkpoints / name), Run(Path(name))]
    for run in candidates[::-1] if "/" in name else candidates:
        if run.exists():
            return run
    raise _no_run(name, checkpoints)


def find_checkpoint(name: str | None, checkpoints: Path) -> Path:
    """The file to sample from: a checkpoint file as it is, else a run's best, else its last.

    Raises RunError or CheckpointError if there is none.
    """
    if name is not None and (Path(name).is_file() or name.endswith(".safetensors")):
        return checkpoint_at(Path(name))
    return checkpoint_at(find_run(name, checkpoints).folder)


def checkpoint_at(path: Path) -> Path:
    """The file to sample from at a path: itself, or a run's folder's best, else its last."""
    if path.is_file():
        return path
    if path.suffix == ".safetensors":
        raise CheckpointError(f"no such checkpoint: {path}", "textgen ls shows the runs there are")
    run = Run(path)
    if not run.exists():
        raise _no_run(path.name, path.parent)
    return run.best if run.best.exists() else run.last


def _no_run(name: str, checkpoints: Path) -> RunError:
    names = [run.name for run in list_runs(checkpoints)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]}? textgen ls shows the runs there are"
    elif names:
        hint = "textgen ls shows the runs there are"
    else:
        hint = "there are none yet; begin one: textgen train corpus.txt"
    return RunError(f"no run {name!r} in {checkpoints}", hint)


def _lock(descriptor: int, run: Run) -> None:
    import fcntl  # POSIX only

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RunError(
            f"run {run.name!r} is being trained by another process",
            "wait for it, stop it, or give another name: `run=NAME`",
        ) from None
