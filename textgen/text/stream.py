"""The bytes of one text, as they lie on disk and unpacked, and what no honest file does."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from textgen.errors import CorpusError, quoted
from textgen.text.unpacking import MEMORY

STDIN = "-"
HONEST = 200  # times that a text is longer than its compressed form, at most
FREE = 1 << 27  # bytes that a file may unpack to whatever it was compressed from
_COMMANDS = {
    ".gz": "gzip -dc",
    ".bz2": "bzip2 -dc",
    ".xz": "xz -dc",
    ".zst": "zstd -dc",
    ".zip": "unzip -p",
}


class File:
    """A file's bytes as they lie on disk; `count` of them were read."""

    def __init__(self, path: Path, progress: Callable[[int], None] | None) -> None:
        self.path = path
        self.count = 0
        self._progress = progress
        self._file = sys.stdin.buffer if str(path) == STDIN else open(path, "rb")  # noqa: SIM115
        self._before = _signature(self._file)
        self._ended = False

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def read(self, size: int = -1) -> bytes:
        block = b"" if self._ended else self._file.read(size)
        self._ended = len(block) < size  # asked again, a terminal would wait for more
        self.count += len(block)
        if self._progress:
            self._progress(len(block))
        return block

    def check_unchanged(self) -> None:
        """Raise CorpusError if the file is no longer what it was when it was opened."""
        if _signature(self._file) != self._before:
            raise CorpusError(
                f"{self.path} changed while it was read; expected a file at rest",
                f"wait until it is written, or read a copy: cp {quoted(self.path)} COPY",
            )


class Stream:
    """The bytes of one text, unpacked; errors and what an honest file does not do are told."""

    def __init__(self, name: str, file: Any, packed: File, suffix: str, before: int = 0) -> None:
        """before: how many bytes the texts before it in `packed` came to."""
        self.name = name
        self._before = before
        self.count = 0  # bytes unpacked so far
        self._file = file
        self.packed = packed
        self.suffix = suffix

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer at the end, none after it."""
        block = part = self._part(size)
        while part and len(block) < size:
            part = self._part(size - len(block))
            block += part
        return block

    def _part(self, size: int) -> bytes:
        """What the file gives at once: a compressed one ends in each of its streams."""
        try:
            block: bytes = self._file.read(size)
        except OSError as error:
            if error.errno is not None or not self.suffix:
                raise
            raise damaged(self.name, self.count, error) from None
        except CorpusError:
            raise
        except Exception as error:  # each module has errors of its own
            if not self.suffix:
                raise
            if isinstance(error, MemoryError) or "memory" in str(error).lower():
                what = f"{self.name} asks for more than {MEMORY >> 20} MiB of memory"
                raise self._refused(f"{what} to be unpacked") from None
            raise damaged(self.name, self.count, error) from None
        self.count += len(block)
        whole = self._before + self.count
        if self.suffix and whole > max(FREE, HONEST * self.packed.count):
            what = f"{self.name} unpacks to more than {HONEST} times its size"
            raise self._refused(f"{what} (stopped at {whole:,} bytes)")
        return block

    def _refused(self, what: str) -> CorpusError:
        command = "tar -xOf" if ".tar" in self.suffix else _COMMANDS[self.suffix]
        hint = f"if it is meant, unpack it first: {command} {quoted(self.packed.path)} > corpus.txt"
        return CorpusError(f"{what}; expected a compressed text", hint)


def _signature(file: IO[bytes]) -> tuple[int, int, int] | None:
    """Inode, size and time of change of a regular file; None of a pipe."""
    try:
        found = os.fstat(file.fileno())
    except OSError:  # stdin may be no file at all
        return None
    regular = stat.S_ISREG(found.st_mode)
    return (found.st_ino, found.st_size, found.st_mtime_ns) if regular else None


def damaged(name: str, offset: int, error: Exception) -> CorpusError:
    """The error for a compressed text of which `offset` bytes could be read."""
    why = str(error) or type(error).__name__
    what = f"{name} is damaged after {offset:,} bytes of its text: {why}"
    return CorpusError(what, "get the file anew, or name what can be unpacked of it")
