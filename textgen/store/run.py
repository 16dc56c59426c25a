"""A run is a folder: `last` to resume from, `best` to sample from, `metrics.jsonl` to read.

`previous` is what `last` was before the newest save.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import CheckpointError, RunError, quoted
from textgen.events import Evaluated
from textgen.store.archive import Damaged
from textgen.store.checkpoint import Header, read_arrays, read_header, write_checkpoint
from textgen.store.files import Stamp, stamp, write_file
from textgen.store.lock import Lock
from textgen.store.record import Record
from textgen.text.sources import COPY

if TYPE_CHECKING:  # info and ls do not import NumPy
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray]


def usual_folder() -> Path:
    """Where runs lie if nothing else is said."""
    return Path(os.environ.get("TEXTGEN_CHECKPOINTS") or "checkpoints")


def within(checkpoints: Path, typed: str) -> str:
    """What is typed of runs that lie in `checkpoints`, with that folder if it is not the usual."""
    usual = checkpoints == usual_folder()
    return typed if usual else f"{typed} --checkpoints {quoted(checkpoints)}"


class Run:
    """A run's folder; it need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._relative = folder.name in ("", "..")  # to the current folder, which has the name
        self.name = folder.resolve().name if self._relative else folder.name
        self.last = folder / "last.safetensors"
        self.previous = folder / "previous.safetensors"
        self.best = folder / "best.safetensors"
        self.metrics = folder / "metrics.jsonl"
        self._lock: Lock | None = None
        self._seen: dict[Path, Stamp] | None = None  # what `watch` found
        self._saved = False  # by this process, so that `last` is of this run
        self._best_step: int | None = None  # of the evaluation whose weights `best` holds, if known

    @property
    def checkpoints(self) -> tuple[Path, Path, Path]:
        """The files to go on from, the most complete first."""
        return self.last, self.previous, self.best

    @property
    def newest(self) -> Path:
        """The checkpoint with the most steps, of those there are."""
        return next(filter(_is_there, self.checkpoints), self.best)

    @property
    def typed(self) -> str:
        """How the run is named on a command line."""
        name = quoted(self.name if not self.name.startswith("-") else f"./{self.name}")
        above = self.folder / ".."
        return within(Path(os.path.relpath(above)) if self._relative else self.folder.parent, name)

    def exists(self) -> bool:
        """Whether it has a checkpoint. Raises RunError if that cannot be found out."""
        return _is_there(self.newest)

    def watch(self) -> None:
        """Have `locked` raise RunError if another process saves the run before it is locked."""
        self._seen = self._stamps()

    def _stamps(self) -> dict[Path, Stamp]:
        """Of the checkpoints that are there."""
        found = {}
        for path in self.checkpoints:
            with suppress(OSError, ValueError):
                found[path] = stamp(path)
        return found

    def changed(self) -> float:
        """When it was last saved, in seconds since the epoch; 0 if it is gone meanwhile."""
        return max((when for _, when, _ in self._stamps().values()), default=0) / 1e9

    def check_writable(self) -> None:
        """Raise RunError if the folder is known to be one that cannot be made or written."""
        there = next(path for path in (self.folder, *self.folder.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise self._cannot_save(f"{there} is no folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise self._cannot_save(f"there is no leave to write in {there}")

    def check_identity(self, header: Header) -> None:
        """Raise RunError if a file beside this checkpoint is of another run.

        What is of another run beside a last that was never validated is only left over: the run was
        started over, and stopped before that was removed.
        """
        for path in (path for path in self.checkpoints if path != header.path):
            with suppress(CheckpointError):
                other = read_header(path).record
                left_over = path != self.last and header.record.best is None
                if other.identity != header.record.identity and not left_over:
                    raise RunError(
                        f"{header.path} and {path} are of different runs",
                        f"move one of them to another folder: mkdir other && mv {quoted(path)}"
                        " other/",
                    )

    def to_sample(self) -> Path:
        """The checkpoint to sample from: best, else the newest. Raises as `check_identity`."""
        if not _is_there(self.best):
            return self.newest
        try:
            newest = read_header(self.newest)
        except CheckpointError:  # best may be whole
            return self.best
        self.check_identity(newest)
        return self.newest if newest.record.best is None else self.best

    def read_best(self, record: Record) -> Arrays | None:
        """The weights of the best evaluation in `record`, if the folder holds them."""
        self._best_step = None
        try:
            header = read_header(self.best)
            found = header.record
            if record.best is None or found.identity != record.identity:
                return None
            weights = read_arrays(header, "model")["model"]
        except CheckpointError:
            return None
        if found.step != record.best.step:
            return None
        self._best_step = found.step
        return weights

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from training this run; else RunError.

        What was made for a run of which nothing could be saved is removed.
        """
        made = [f for f in (self.folder, self.folder.parent) if not f.exists()]
        had_metrics = self.metrics.exists()
        with self._writing():
            self._lock = Lock(self.folder)
        try:
            if self._seen not in (None, self._stamps()):
                raise RunError(
                    f"another process saved run {self.name!r} in {self.folder.parent} meanwhile",
                    f"go on with it: textgen resume {self.typed}; or give another name: `run=NAME`",
                )
            yield
        finally:
            self._lock.release()
            self._lock = None
            with suppress(OSError, RunError):
                if not self.exists():
                    (self.folder / ".lock").unlink(missing_ok=True)
                    if not had_metrics:
                        self.metrics.unlink(missing_ok=True)
                    for folder in made:
                        folder.rmdir()

    def save(self, record: Record, arrays: Mapping[str, Arrays], best: Arrays | None) -> str | None:
        """Write `best`, if it changed, the metrics, and `last`; arrays by group and name.

        best: the weights of the best evaluation, if they are known. A notice is returned if the
        folder was gone and a new one was made. Raises RunError; what was saved before is then
        whole.
        """
        with self._writing():
            notice = self._relocked()
            if not _is_there(self.best):
                self._best_step = None
            if best is not None and record.best and record.best.step != self._best_step:
                of_best = replace(record, kind="best", step=record.best.step)
                write_checkpoint(self.best, of_best, {"model": best})
                self._best_step = record.best.step
            ours = _is_there(self.last) and (self._saved or self._is_ours(self.last, record))
            inputs = () if ours else self._inputs_before(record)
            lines = [_line(e, record.identity).encode() for e in record.history]
            if ours:
                write_file(self.metrics, lines)
            keep = self.previous if ours and (self._saved or self._is_whole(self.last)) else None
            write_checkpoint(self.last, record, arrays, keep)
            if not ours:  # before, they were of the run that is started over
                write_file(self.metrics, lines)
            if not self._saved:  # what is left of a run that was started over
                for path in (self.previous, self.best):
                    if _is_there(path) and not self._is_ours(path, record, unreadable=True):
                        path.unlink()
                for path in inputs:
                    path.unlink(missing_ok=True)
            self._saved = True
            return notice

    def _inputs_before(self, record: Record) -> list[Path]:
        """The copies of pipes that the run here before was trained on, and this one is not."""
        try:
            before = read_header(self.last).record.corpus
        except CheckpointError:
            return []
        paths = set(before.paths)
        for corpus in (record.corpus, *(ancestor.corpus for ancestor in record.ancestors)):
            paths.difference_update(corpus.paths)
        here = self.folder.resolve()
        return [p for p in map(Path, paths) if p.parent == here and COPY.fullmatch(p.name)]

    @staticmethod
    def _is_ours(path: Path, record: Record, *, unreadable: bool = False) -> bool:
        """Whether it is a checkpoint of this run; `unreadable` is the answer if it is not known."""
        try:
            return read_header(path).record.identity == record.identity
        except Damaged:
            return False
        except CheckpointError:
            return unreadable

    @staticmethod
    def _is_whole(path: Path) -> bool:
        with suppress(CheckpointError):
            read_header(path).archive.check()
            return True
        return False

    def _relocked(self) -> str | None:
        """Lock the folder again if it is not the one that was locked; a notice if it was gone."""
        if self._lock is None or self._lock.is_held():
            return None
        gone = not self._lock.has_folder()
        if gone and os.path.lexists(self.folder):
            raise RunError(
                f"{self.folder} was replaced by another while it was trained in; nothing is saved",
                f"put the run's folder back, then: textgen resume {self.typed}",
            )
        lock = Lock(self.folder)
        self._lock.release()
        self._lock = lock
        if not gone:
            return None
        self._saved, self._best_step = False, None
        return f"{self.folder} was removed or renamed; the run is saved in a new one of that name"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """An OSError is raised as RunError."""
        try:
            yield
        except OSError as error:
            raise self._cannot_save(error.strerror or str(error)) from None

    def _cannot_save(self, why: str) -> RunError:
        return RunError(
            f"cannot save in {self.folder}: {why}",
            "make room or give leave to write there, or choose another folder with"
            " `checkpoints`; what was saved before is whole",
        )


def _is_there(path: Path) -> bool:
    """Whether it is a file. Raises RunError if that cannot be found out."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RunError(f"cannot read {path.parent}: {why}", "name another run or folder") from None
    return True


def _line(event: Evaluated, identity: str) -> str:
    fields = event.to_json() | {"identity": identity}
    del fields["event"]
    return json.dumps(fields) + "\n"
