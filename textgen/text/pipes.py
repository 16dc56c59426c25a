"""What comes from stdin or a pipe is kept in a file, for a run is resumed from its corpus."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from textgen.errors import CorpusError
from textgen.text.sources import STDIN, special


@contextmanager
def kept(paths: list[Path], folder: Path) -> Iterator[list[Path]]:
    """`paths` with a copy in `folder` in the place of each pipe.

    The copies are removed if an error is raised within. Raises CorpusError if one cannot be made.
    """
    made: list[Path] = []
    try:
        now = []
        for path in paths:
            if special(path) == "a pipe":
                path = _copy(path, folder / f"input-{len(made) + 1}.txt")
                made.append(path)
            now.append(path)
        yield now
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds a run
            if made:
                folder.rmdir()
        raise


def _copy(pipe: Path, target: Path) -> Path:
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stdin = str(pipe) == STDIN
        with (
            nullcontext(sys.stdin.buffer) if stdin else open(pipe, "rb") as source,
            open(part, "wb") as file,
        ):
            shutil.copyfileobj(source, file, 1 << 20)
        part.replace(target)
    except OSError as error:
        hint = "make room, or choose another folder with `checkpoints`"
        what = f"cannot keep what {pipe} gives in {target}: {error.strerror or error}"
        raise CorpusError(what, hint) from None
    finally:
        part.unlink(missing_ok=True)
    return target
