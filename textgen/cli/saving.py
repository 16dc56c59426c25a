"""The state of a text that is written, kept in a file to go on from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.cli.terminal import note
from textgen.errors import RunError, UsageError

if TYPE_CHECKING:
    from textgen.inference.writer import Position


def check_target(path: Path | None, num: int) -> None:
    """Find out before anything is written whether the state can be kept, where it is to be.

    Raises UsageError for several texts, CheckpointError.
    """
    from textgen.inference import writer

    if path is None:
        return
    if num > 1:
        what = f"--save-state keeps the state of one text, and --num is {num}"
        raise UsageError(what, "leave out --num")
    writer.check_target(path)


@contextmanager
def told(save_state: Path | None) -> Iterator[None]:
    """Say that no state is kept, where the text ends before it is whole."""
    try:
        yield
    except SystemExit as error:
        if save_state is not None:
            why = "the text has no reader any more" if not error.code else "the text is not whole"
            note(f"note: {why}; its state is not kept in {save_state}")
        raise


def save(position: Position, path: Path) -> None:
    """Write the state. Raises RunError."""
    try:
        position.save(path)
    except OSError as error:
        what = f"cannot save the state in {path}: {error.strerror or error}"
        raise RunError(what, "choose another file: --save-state FILE") from None
