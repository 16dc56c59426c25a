"""`export`: the ending of a file's name decides what is written."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from textgen.errors import RunError, UsageError
from textgen.sharing.weights import is_weights_file, weights_file
from textgen.store.checkpoint import Header
from textgen.store.files import unfit, write_file


class Format(NamedTuple):
    """write: the parts of the file, of (header, anonymous); is_ours: whether a file is such."""

    write: Callable[..., list[bytes | memoryview]]
    is_ours: Callable[[Path], bool]


FORMATS = {".safetensors": Format(weights_file, is_weights_file)}


def export(header: Header, path: Path, *, anonymous: bool = False) -> None:
    """Write a checkpoint's model for others, whole or not at all, without a path of this machine.

    A file that exists is replaced only if it is an earlier export of that format.
    anonymous: leave out the name of the text.
    Raises UsageError for another ending, CheckpointError, RunError if it cannot be written.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        expected = " or ".join(FORMATS)
        found = f"{path} ends in {path.suffix!r}" if path.suffix else f"{path} has no ending"
        raise UsageError(f"{found}; expected {expected}", f"try {path.stem}{next(iter(FORMATS))}")
    hint = "name a file that does not exist, or an earlier export"
    if there := unfit(path, "export", form.is_ours):
        raise RunError(f"cannot export to {path}: it is {there}", hint)
    try:
        write_file(path, form.write(header, anonymous=anonymous))
    except OSError as error:
        raise RunError(f"cannot export to {path}: {error.strerror or error}", hint) from None
