"""What comes from stdin or a pipe is kept in a file, for a run is resumed from its corpus."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import BufferedIOBase
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from textgen.errors import CorpusError, TextgenError, quoted, readable
from textgen.text.disk import sync
from textgen.text.sources import LOCK, special
from textgen.text.stream import STDIN

_ELSEWHERE = {  # whether the folder is temporary: what to do about it
    True: "make room, or name another folder: TMPDIR=FOLDER textgen ...",
    False: "make room, or choose another folder with `checkpoints`",
}


@contextmanager
def kept(paths: list[Path], folder: Path, *, temporary: bool = False) -> Iterator[list[Path]]:
    """`paths` with a copy in `folder` in the place of each pipe, and a lock that nobody holds yet.

    If an error is raised within, what was made here is removed, unless a run was saved there, which
    is resumed from it; and the error names the pipe in place of its copy. temporary: whether it is
    the system that chose the folder. Raises CorpusError if a copy cannot be made.
    """
    before = _saved(folder)
    made: dict[Path, Path] = {}  # the pipe of each copy
    folders = [f for f in (folder, folder.parent) if not f.exists()]
    piped = [path for path in paths if special(path) == "a pipe"]
    lock = folder / LOCK
    begun = bool(piped) and not lock.exists()  # a copy without a lock may be anybody's text
    try:
        now = []
        for path in paths:
            if path in piped:
                with _opened(path) as source:
                    copy = _copied(source, path, folder, _ELSEWHERE[temporary])
                made[copy] = path
                path = copy
            now.append(path)
        yield now
    except BaseException as error:
        if _saved(folder) == before:
            for left in [*made, *([lock] if begun else [])]:
                left.unlink(missing_ok=True)
        for copy, pipe in made.items():
            if isinstance(error, TextgenError):
                error.message = as_given(error.message, copy, pipe)
        with suppress(OSError):  # another process made use of one
            for made_folder in folders if piped else ():
                made_folder.rmdir()
        raise


def _saved(folder: Path) -> int | None:
    """What changes where a run is saved in the folder."""
    with suppress(OSError):
        return (folder / "last.safetensors").stat().st_mtime_ns
    return None


def as_given(message: str, copy: Path, path: Path) -> str:
    """The message, which may name the copy of a pipe, with what that was given as instead."""
    given = "stdin" if str(path) == STDIN else str(path)
    for name in {copy.resolve(), copy.absolute()}:
        message = message.replace(readable(str(name)), given)
    return message


def _opened(pipe: Path) -> AbstractContextManager[Any]:
    if str(pipe) == STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return open(pipe, "rb")
    except OSError as error:
        what = f"cannot read {pipe}: {error.strerror or error}"
        raise CorpusError(what, f"see whose it is: ls -l {quoted(pipe)}") from None


def _copied(source: BufferedIOBase, pipe: Path, folder: Path, hint: str) -> Path:
    """A new file in the folder with all that the pipe gives; what is there stays as it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(folder / LOCK, os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666))
        file = _new_file(folder)
        target = Path(file.name)
        try:
            with file:
                while part := source.read1(1 << 20):  # what is there, so that a signal is heard
                    file.write(part)
                file.flush()
                sync(file.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    except OSError as error:
        what = f"cannot keep what {pipe} gives in {folder}: {error.strerror or error}"
        raise CorpusError(what, hint) from None
    return target


def _new_file(folder: Path) -> BinaryIO:
    """The first of input-1.txt, input-2.txt, ... that is not there yet, open to be written."""
    for number in count(1):
        with suppress(FileExistsError):
            return open(folder / f"input-{number}.txt", "xb")
    raise AssertionError
