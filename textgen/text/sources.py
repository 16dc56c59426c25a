"""The texts that a path stands for, as streams of bytes: files, folders, archives, stdin."""

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from textgen.errors import CorpusError, quoted
from textgen.text.unpacking import MEMORY, MODULES, unpacked

STDIN = "-"
HONEST = 200  # times that a text is longer than its compressed form, at most
FREE = 1 << 27  # bytes that a file may unpack to whatever it was compressed from
_SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_COMMANDS = {
    ".gz": "gzip -dc",
    ".bz2": "bzip2 -dc",
    ".xz": "xz -dc",
    ".zst": "zstd -dc",
    ".zip": "unzip -p",
}


@dataclass
class Sources:
    """Opens paths one after the other.

    progress: called with the number of bytes read from disk; skipped: what folders held that is no
    text, by reason.
    """

    progress: Callable[[int], None] | None = None
    skipped: Counter[str] = field(default_factory=Counter)

    def texts(self, path: Path) -> Iterator[tuple[str, "Stream"]]:
        """Name and bytes of each text of a path; read one to its end before the next.

        Raises CorpusError for what cannot be read, is damaged, or changes meanwhile.
        """
        for file in self.files(path):
            suffix = _suffix(file)
            if suffix == ".zip":
                yield from self._zip_members(file)
                continue
            with _File(file, self.progress) as packed:
                stream = Stream(str(file), unpacked(packed, suffix), packed, suffix)
                if ".tar" in suffix:
                    yield from _tar_members(stream)
                else:
                    yield str(file), stream
                packed.check_unchanged()

    def files(self, path: Path) -> Iterator[Path]:
        """The path itself, or the files below it if it is a folder, in sorted order.

        Left out are hidden ones, those that may not be read, what is no file, and links to a
        folder that was read already.
        """
        if not path.is_dir():
            yield path
            return
        seen: set[tuple[int, int]] = set()

        def failed(error: OSError) -> None:
            self.skipped["unreadable"] += 1

        for folder, folders, names in os.walk(path, followlinks=True, onerror=failed):
            found = Path(folder).stat()
            if (found.st_dev, found.st_ino) in seen:
                self.skipped["a link to a folder read already"] += 1
                folders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            hidden = [name for name in folders + names if name.startswith(".")]
            self.skipped["hidden"] += len(hidden)
            folders[:] = sorted(set(folders).difference(hidden))
            for name in sorted(set(names).difference(hidden)):
                file = Path(folder, name)
                if reason := _unfit(file):
                    self.skipped[reason] += 1
                else:
                    yield file

    def _zip_members(self, path: Path) -> Iterator[tuple[str, "Stream"]]:
        import zipfile

        with _File(path, None) as packed:
            try:
                archive = zipfile.ZipFile(path)
            except NotImplementedError as error:  # how zipfile says so
                raise _sealed(str(path), "made for a later version of unzip") from error
            except (zipfile.BadZipFile, UnicodeError, OSError) as error:
                raise _damaged(str(path), 0, error) from None
            with archive:
                for member in sorted(archive.infolist(), key=lambda m: m.filename):
                    link = stat.S_ISLNK(member.external_attr >> 16)
                    if member.is_dir() or link or _hidden(member.filename):
                        continue
                    packed.count = member.compress_size
                    name = f"{path}:{member.filename}"
                    try:
                        file: Any = archive.open(member)
                    except (zipfile.BadZipFile, UnicodeError) as error:
                        raise _damaged(name, 0, error) from None
                    except NotImplementedError as error:  # it is a RuntimeError too
                        raise _sealed(name, "compressed in a way that cannot be read") from error
                    except RuntimeError as error:
                        raise _sealed(name, "encrypted") from error
                    with file:
                        yield name, Stream(name, file, packed, ".zip")
                    if self.progress:
                        self.progress(member.compress_size)
            packed.check_unchanged()


class _File:
    """A file's bytes as they lie on disk; `count` of them were read."""

    def __init__(self, path: Path, progress: Callable[[int], None] | None) -> None:
        self.path = path
        self.count = 0
        self._progress = progress
        self._file = sys.stdin.buffer if str(path) == STDIN else open(path, "rb")  # noqa: SIM115
        self._before = _signature(self._file)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.count += len(block)
        if self._progress:
            self._progress(len(block))
        return block

    def check_unchanged(self) -> None:
        """Raise CorpusError if the file is no longer what it was when it was opened."""
        if _signature(self._file) != self._before:
            raise CorpusError(
                f"{self.path} changed while it was read; expected a file at rest",
                "wait until it is written, or copy it and name the copy",
            )


class Stream:
    """The bytes of one text, unpacked; errors and what an honest file does not do are told."""

    def __init__(self, name: str, file: Any, packed: _File, suffix: str) -> None:
        self.name = name
        self.count = 0  # bytes unpacked so far
        self._file = file
        self._packed = packed
        self._suffix = suffix

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        try:
            block: bytes = self._file.read(size)
        except OSError as error:
            if error.errno is not None or not self._suffix:
                raise
            raise _damaged(self.name, self.count, error) from None
        except (CorpusError, MemoryError):
            raise
        except Exception as error:  # each module has errors of its own
            if not self._suffix:
                raise
            if "memory" in str(error).lower():
                what = f"{self.name} asks for more than {MEMORY >> 20} MiB of memory"
                raise self._refused(f"{what} to be unpacked") from None
            raise _damaged(self.name, self.count, error) from None
        self.count += len(block)
        if self._suffix and self.count > max(FREE, HONEST * self._packed.count):
            what = f"{self.name} unpacks to more than {HONEST} times its size"
            raise self._refused(f"{what} (stopped at {self.count:,} bytes)")
        return block

    def _refused(self, what: str) -> CorpusError:
        command = "tar -xOf" if ".tar" in self._suffix else _COMMANDS[self._suffix]
        hint = (
            f"if it is meant, unpack it first: {command} {quoted(self._packed.path)} > corpus.txt"
        )
        return CorpusError(f"{what}; expected a compressed text", hint)


def title(path: Path) -> str:
    """What to call a path's text: its name without endings, `stdin` for what is piped in."""
    if str(path) == STDIN:
        return "stdin"
    name = (path if path.name not in ("", "..") else path.resolve()).name
    while Path(name).suffix.lower() in (".tar", ".zip", *MODULES, *_SHORT):
        name = Path(name).stem
    return Path(name).stem


def size_on_disk(path: Path) -> int:
    """Bytes of the file, or of the files below the folder; 0 where there can be none."""
    size = 0
    with suppress(OSError, ValueError):
        for file in Sources().files(path):
            size += file.stat().st_size
    return size


def special(path: Path) -> str:
    """`a pipe`, `a socket` or `a device` where `path` is one, else nothing."""
    if str(path) == STDIN:
        return "a pipe"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing there, or a name that no file can have
        return ""
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else ""


def _unfit(path: Path) -> str:
    """Why a file in a folder is left out, or nothing."""
    try:
        regular = path.is_file()
    except OSError:  # it lies in a folder that may be listed and no more
        return "unreadable"
    if not regular:
        return "a broken link" if path.is_symlink() and not path.exists() else "no file"
    return "" if os.access(path, os.R_OK) else "unreadable"


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _signature(file: IO[bytes]) -> tuple[int, int, int] | None:
    """Inode, size and time of change of a regular file; None of a pipe."""
    try:
        found = os.fstat(file.fileno())
    except OSError:  # stdin may be no file at all
        return None
    regular = stat.S_ISREG(found.st_mode)
    return (found.st_ino, found.st_size, found.st_mtime_ns) if regular else None


def _suffix(path: Path) -> str:
    """`.tar.gz`, `.gz`, `.tar`, `.zip` or the like; nothing for a file that is as it is."""
    last = path.suffix.lower()
    if last in _SHORT:
        return _SHORT[last]
    if last in MODULES:
        return ".tar" + last if Path(path.stem).suffix.lower() == ".tar" else last
    return last if last in (".tar", ".zip") else ""


def _tar_members(stream: Stream) -> Iterator[tuple[str, Stream]]:
    import tarfile

    ends = (tarfile.EOFHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]

    class Member(tarfile.TarInfo):
        """TarFile takes a damaged header for the end, but for the first; here it is an error."""

        @classmethod
        def fromtarfile(cls, archive: tarfile.TarFile) -> "Member":
            try:
                return super().fromtarfile(archive)
            except ends:
                raise
            except tarfile.HeaderError as error:
                raise tarfile.ReadError(str(error)) from None

    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=Member) as archive:  # type: ignore[call-overload]
            while member := archive.next():
                if member.isfile() and not _hidden(member.name):
                    name = f"{stream.name}:{member.name}"
                    file = archive.extractfile(member)
                    yield name, Stream(name, file, stream._packed, stream._suffix)
                archive.members.clear()  # it would remember them all
            while stream.read(1 << 16):  # to the end, where checksums are compared
                pass
    except tarfile.TarError as error:
        raise _damaged(stream.name, stream.count, error) from None


def _damaged(name: str, offset: int, error: Exception) -> CorpusError:
    why = str(error) or type(error).__name__
    what = f"{name} is damaged after {offset:,} bytes of its text: {why}"
    return CorpusError(what, "get the file anew, or name what can be unpacked of it")


def _sealed(name: str, how: str) -> CorpusError:
    return CorpusError(f"{name} is {how}", "unpack it, and name what comes out")
