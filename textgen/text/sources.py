"""The texts that a path stands for, as streams of bytes: files, folders, archives, stdin."""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from textgen.errors import UsageError
from textgen.text.archives import tar_members, zip_members
from textgen.text.stream import STDIN, File, Stream
from textgen.text.unpacking import MODULES, unpacked

_SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_OF_RUNS = {"last.safetensors", "previous.safetensors", "best.safetensors"}
_OF_COMPARISONS = ".compare.json"
COPY = re.compile(r"input-\d+\.txt", re.ASCII)  # what a pipe gave, in its run's folder
LOCK = ".lock"  # in a run's folder from its first file on


@dataclass
class Sources:
    """Opens paths one after the other.

    progress: called with the number of bytes read from disk; skipped: what folders held that is no
    text, by reason.
    """

    progress: Callable[[int], None] | None = None
    skipped: Counter[str] = field(default_factory=Counter)

    def texts(self, path: Path) -> Iterator[tuple[str, Stream]]:
        """Name and bytes of each text of a path; read one to its end before the next.

        Raises CorpusError for what cannot be read, is damaged, or changes meanwhile.
        """
        for file in self.files(path):
            suffix = _suffix(file)
            if suffix == ".zip":
                yield from zip_members(file, self.progress)
                continue
            with File(file, self.progress) as packed:
                stream = Stream(str(file), unpacked(packed, suffix), packed, suffix)
                if ".tar" in suffix:
                    yield from tar_members(stream)
                else:
                    yield str(file), stream
                packed.check_unchanged()

    def files(self, path: Path) -> Iterator[Path]:
        """The path itself, or the files below it if it is a folder, in sorted order.

        Left out are hidden ones, those that may not be read, what is no file, links to a folder
        that was read already, and what textgen wrote: runs, and the files of comparisons.
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
            if _OF_RUNS & {*names} or (LOCK in names and any(map(COPY.fullmatch, names))):
                self.skipped["a run"] += 1
                folders.clear()
                continue
            written = [name for name in names if name.endswith(_OF_COMPARISONS)]
            self.skipped["the file of a comparison"] += len(written)
            names = [name for name in names if name not in written]
            hidden = [name for name in folders + names if name.startswith(".")]
            self.skipped["hidden"] += len(hidden)
            folders[:] = sorted(set(folders).difference(hidden))
            for name in sorted(set(names).difference(hidden)):
                file = Path(folder, name)
                if str(file) == STDIN:  # a file of that name
                    file = file.absolute()
                if reason := _unfit(file):
                    self.skipped[reason] += 1
                else:
                    yield file


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
    """`a pipe`, `a socket` or `a device` where `path` is one, else nothing.

    What a shell gives as /dev/stdin may be a file that has no name any more: as good as a pipe.
    """
    if str(path) == STDIN:
        return "a pipe"
    try:
        found = path.stat()
    except (OSError, ValueError):  # nothing there, or a name that no file can have
        return ""
    mode = found.st_mode
    if stat.S_ISREG(mode) and not found.st_nlink:
        return "a pipe"
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


def _suffix(path: Path) -> str:
    """`.tar.gz`, `.gz`, `.tar`, `.zip` or the like; nothing for a file that is as it is."""
    last = path.suffix.lower()
    if last in _SHORT:
        return _SHORT[last]
    if last in MODULES:
        return ".tar" + last if Path(path.stem).suffix.lower() == ".tar" else last
    return last if last in (".tar", ".zip") else ""


def path_of(given: str | Path) -> Path:
    """Raises UsageError for an empty path, which pathlib takes for the current folder."""
    if not str(given):
        raise UsageError("a path is empty; expected a file or a folder", "for this folder: '.'")
    return Path(given)


def absolute(path: str | Path) -> str:
    """Its one name from wherever it is found, so that a run can be resumed from another folder."""
    if str(path) == STDIN:
        return STDIN
    path = path_of(path)
    try:
        return str(path.resolve(strict=True))
    except (OSError, RuntimeError):  # not there, a loop of links, or a pipe: it has no other name
        return str(path.absolute())
