"""Texts that are read more than once, be they piped in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from textgen.cli.interrupts import Interrupts
from textgen.text.pipes import kept


@contextmanager
def read_again(paths: list[Path]) -> Iterator[list[Path]]:
    """`paths` with a copy in the place of each pipe, which is gone afterwards.

    So it is if a signal comes, which ends the process at once.
    """
    with (
        Interrupts() as interrupts,
        interrupts.at_once(),
        TemporaryDirectory() as folder,
        kept(paths, Path(folder), temporary=True) as now,
    ):
        yield now
