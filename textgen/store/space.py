"""How much of the disk a run takes, and which of its files can go."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textgen.errors import RunError, quoted
from textgen.store.checkpoint import read_header
from textgen.store.files import PARTIAL, remove_partial
from textgen.store.lock import Lock
from textgen.store.run import Run
from textgen.text.sources import COPY, LOCK

# beside checkpoints and metrics: copies of pipes, what was left half written, and the lock
_OWN = re.compile(
    rf"{COPY.pattern}|{PARTIAL.pattern}|{re.escape(LOCK)}(-[0-9a-f]{{16}})?", re.ASCII
)


def own_files(run: Run) -> list[Path]:
    """The files in the run's folder that textgen wrote, the lock as the last; [] without one."""
    named = {*run.checkpoints, run.metrics}
    with suppress(OSError):
        found = [p for p in run.folder.iterdir() if p in named or _OWN.fullmatch(p.name)]
        return sorted(found, key=lambda path: (path.name.startswith(".lock"), path.name))
    return []


def size(paths: Iterable[Path]) -> int:
    """Bytes of files; two names of one file count once, what is gone not at all."""
    found = {}
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            found[status.st_dev, status.st_ino] = status.st_size
    return sum(found.values())


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Lock the run while its files are removed. Raises RunError if it is being trained."""
    with _removing(run):
        lock = Lock(run.folder)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _removing(run: Run) -> Iterator[None]:
    """An OSError is raised as RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot remove files in {run.folder}: {error.strerror or error}",
            f"give leave to write there: chmod u+rwx {quoted(run.folder)}",
        ) from None


def remove(run: Run) -> bool:
    """Remove the files of a run that is held, and its folder; False if that holds other files.

    Where the folder is a link, both the folder that it leads to and the link go. Raises RunError.
    """
    with _removing(run):
        for path in own_files(run):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        run.folder.resolve().rmdir()
        if run.folder.is_symlink():
            run.folder.unlink()
    return not run.folder.exists()


def needless(run: Run) -> list[Path]:
    """The checkpoints of a run without which it still writes as well.

    They are `last` and `previous` of a finished run that has its `best`, else `previous`. Raises
    CheckpointError or RunError if what would be left is damaged, or of another run.
    """
    if not run.last.exists():
        return []
    header = read_header(run.last)
    run.check_identity(header)
    if header.record.finished and run.read_best(header.record) is not None:
        return [path for path in (run.last, run.previous) if path.exists()]
    header.archive.check()
    return [path for path in (run.previous,) if path.exists()]


def clean(run: Run, *, dry_run: bool) -> tuple[int, list[Path]]:
    """Remove the checkpoints that are `needless` and what was left half written by dead processes.

    Returns the bytes that went, or would go, and the checkpoints. Raises as `held`, `needless`.
    """
    with held(run), _removing(run):
        going = needless(run)
        kept = [path for path in own_files(run) if path not in going]
        freed = size([*kept, *going]) - size(kept) + remove_partial(run.folder, dry_run=dry_run)
        for path in () if dry_run else going:
            path.unlink()
    return freed, going
