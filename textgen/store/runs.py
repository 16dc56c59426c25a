"""Runs found by name, by folder or by file, and what to go on from."""

import difflib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from textgen.config import CONTROL
from textgen.errors import RunError, UsageError, quoted
from textgen.store.archive import missing
from textgen.store.run import Run, within

LONGEST_NAME = 255  # bytes of a file's or a folder's


def list_runs(checkpoints: Path, skipped: Callable[[RunError], object] | None = None) -> list[Run]:
    """The runs under `checkpoints`, the latest first.

    skipped: called with the error of each folder that cannot be read. Raises RunError if
    `checkpoints` itself is no folder, or cannot be read.
    """
    try:
        with os.scandir(checkpoints) as entries:
            folders = [Path(entry.path) for entry in entries if _is_folder(entry)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        hint = "name a folder that holds runs: `checkpoints=FOLDER`"
        raise RunError(f"cannot list the runs in {checkpoints}: {why}", hint) from None
    runs = []
    for run in map(Run, folders):
        try:
            if run.exists():
                runs.append(run)
        except RunError as error:
            if skipped is not None:
                skipped(error)
    return sorted(runs, key=Run.changed, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def new_run(name: str, checkpoints: Path, overwrite: bool) -> Run:
    """A run to begin, or UsageError for a name that is no folder name, RunError if it exists."""
    check_name(name)
    run = Run(checkpoints / name)
    if run.exists() and not overwrite:
        raise RunError(
            f"run {name!r} exists already in {checkpoints}",
            f"go on with it: textgen resume {run.typed}; or start it over: add `overwrite`;"
            " or give another name: `run=NAME`",
        )
    if not overwrite:
        run.watch()
    return run


def check_name(name: str) -> None:
    """Raise UsageError for a name that is no plain folder name."""
    plain = name not in ("", ".", "..") and not {"/", "\\"} & {*name}
    if not plain or CONTROL.search(name) or len(os.fsencode(name)) > LONGEST_NAME:
        what = f"expected a plain folder name of at most {LONGEST_NAME} bytes"
        raise UsageError(f"`run` is {name!r}; {what}", "try `run=plays`")


def find_run(name: str | None, checkpoints: Path) -> Run:
    """The run of that name, or the latest; a name with a slash is a folder first."""
    if name == "":  # pathlib would take it for the current folder
        see = within(checkpoints, "textgen ls")
        raise UsageError("the run's name is empty", f"{see} shows the runs there are")
    if name is None:
        if runs := list_runs(checkpoints):
            return runs[0]
        begin = within(checkpoints, "textgen train corpus.txt")
        raise RunError(f"no runs yet in {checkpoints}", f"begin one: {begin}")
    candidates = [Run(checkpoints / name), Run(Path(name))]
    for run in candidates[::-1] if "/" in name else candidates:
        if run.exists():
            return run
    raise _no_run(name, checkpoints)


def find_checkpoint(name: str | None, checkpoints: Path) -> Path:
    """The file to sample from: a checkpoint file as it is, else a run's best, else its last."""
    file = find_file(name, checkpoints)
    return find_run(name, checkpoints).to_sample() if file is None else checkpoint_at(file)


def checkpoint_at(path: Path) -> Path:
    """The checkpoint to sample from: `path` itself, or of a run's folder best, else last.

    Raises RunError if best and last are of different runs.
    """
    if _is_file(str(path)):
        if not os.path.lexists(path):
            raise missing(path)
        return path
    run = Run(path)
    if not run.exists():
        raise _no_run(run.name, path.parent)
    return run.to_sample()


def find_source(name: str | None, checkpoints: Path) -> Path:
    """The file to resume from: a run's last, or the file named, one of those in a run's folder.

    Where best alone is left, as `clean` leaves a run, it is best.
    """
    path = find_file(name, checkpoints)
    if path is None:
        run = find_run(name, checkpoints)
        return run.best if run.newest == run.best else run.last
    if not os.path.lexists(path):
        raise missing(path)
    if path not in Run(path.parent).checkpoints:
        raise RunError(
            f"{path} is no file of a run's folder; expected last, previous or best.safetensors",
            "name a run: textgen resume RUN",
        )
    return path


def find_file(name: str | None, checkpoints: Path) -> Path | None:
    """The checkpoint file that is named, or None: a name without a slash is first a run's."""
    if not name or not _is_file(name):
        return None
    with suppress(RunError):
        if "/" not in name and Run(checkpoints / name).exists():
            return None
    return Path(name)


def _is_file(name: str) -> bool:
    """Whether a checkpoint file is named, there or not; never raises."""
    named = name.endswith(".safetensors") and not os.path.isdir(name)  # noqa: PTH112 (it can raise)
    return named or os.path.isfile(name)  # noqa: PTH113


def _no_run(name: str, checkpoints: Path) -> RunError:
    names = [run.name for run in list_runs(checkpoints)]
    see = f"{within(checkpoints, 'textgen ls')} shows the runs there are"
    begin = within(checkpoints, "textgen train corpus.txt")
    hint = see if names else f"there are none yet; begin one: {begin}"
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        hint = f"did you mean {quoted(near[0])}? {see}"
    return RunError(f"no run {name!r} in {checkpoints}", hint)
