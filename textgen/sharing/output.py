"""A file that a command writes: whole, and in the place of nothing but an earlier one like it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from textgen.errors import RunError, UsageError, quoted
from textgen.store.files import open_regular, unfit, write_file


@dataclass(frozen=True)
class Output:
    """kind: what is written, in a word; is_ours: whether a regular file is such a one."""

    path: Path
    kind: str
    is_ours: Callable[[Path], bool]

    def check(self) -> None:
        """Raise RunError if something else stands there, or nothing can."""
        if there := unfit(self.path, self.kind, self.is_ours):
            raise self._error(f"it is {there}")

    def write(self, parts: Iterable[bytes | memoryview]) -> None:
        """Raises RunError, with what stood there untouched."""
        self.check()
        try:
            write_file(self.path, parts)
        except OSError as error:
            raise self._error(error.strerror or str(error)) from None

    def _error(self, why: str) -> RunError:
        hint = f"name a file that does not exist, or an earlier {self.kind}, where you may write"
        return RunError(f"cannot write {self.path}: {why}", hint)


def ending(path: Path, endings: Iterable[str]) -> str:
    """The ending of a file's name, one of `endings`, as `.html`; else UsageError."""
    found = path.suffix.lower()
    if found not in endings:
        told = f"{path} ends in {path.suffix!r}" if path.suffix else f"{path} has no ending"
        expected = " or ".join(endings)
        stem = path.stem.lstrip(".") or "textgen"
        try_this = path.parent / f"{stem}{next(iter(endings))}"
        raise UsageError(f"{told}; expected {expected}", f"try {quoted(try_this)}")
    return found


def begins_with(path: Path, mark: bytes, within: int) -> bool:
    """Whether a file holds `mark` in its first `within` bytes. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        return mark in file.read(within)
