"""Files read and replaced with care: only regular files are opened, and a write is whole."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]

from textgen.text.disk import sync

_PARTIAL = ".textgen-{}.partial"
PARTIAL = re.compile(r"\.textgen-[0-9a-f]{16}\.partial", re.ASCII)  # such a name
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISLNK: "a symbolic link",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


Stamp = tuple[int, int, int]  # inode, time of change in nanoseconds, bytes


def stamp(path: Path) -> Stamp:
    """What changes when a file is replaced by another. Raises OSError."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def kind(mode: int) -> str | None:
    """What a file that is not regular is, by its `st_mode`; None for a regular one."""
    return next((name for test, name in _KINDS.items() if test(mode)), None)


def open_regular(path: Path) -> int:
    """A descriptor to read a file. Raises OSError; at once for what is no regular file."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer is not waited for
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # NUL in the path
        raise OSError(str(error)) from None
    if found := kind(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"it is {found}; expected a file")
    return descriptor


def unfit(path: Path, name: str, is_ours: Callable[[Path], bool]) -> str | None:
    """What stands at `path`, if it must not be replaced: anything but a file that is ours.

    name: what is to be written there; is_ours: whether a regular file is such a one.
    """
    try:
        found = kind(path.lstat().st_mode)
        if found or not is_ours(path):
            return found or f"no {name}"
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            return f"in {path.parent}, which is no folder"
    except (OSError, ValueError) as error:
        return f"no file that can be written ({getattr(error, 'strerror', None) or error})"
    may = os.access(path.parent, os.W_OK | os.X_OK)
    return None if may else f"in {path.parent}, where there is no leave to write"


def write_file(path: Path, data: Iterable[bytes | memoryview], keep: Path | None = None) -> None:
    """Replace a file atomically. Raises OSError; the old file is then untouched.

    keep: another name for the old file, from then on. What a process that died left half written
    in the folder is removed.
    """
    remove_partial(path.parent)
    partial, descriptor = _create(path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.writelines(data)
            file.flush()
            sync(descriptor)
            if keep is not None:
                replace_by_link(keep, path)
            os.replace(partial, path)
    except BaseException:  # Ctrl-C too
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _create(folder: Path) -> tuple[Path, int]:
    """A new file under a temporary name, and its descriptor, locked where that is possible."""
    while True:
        path = folder / _PARTIAL.format(secrets.token_hex(8))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
        if try_lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # another process took it for one that was left behind


def replace_by_link(path: Path, source: Path) -> None:
    """Make `path` another name of `source`, or a copy where there are no links. Raises OSError."""
    partial = path.parent / _PARTIAL.format(secrets.token_hex(8))
    try:
        os.link(source, partial)
    except OSError:
        with open(open_regular(source), "rb") as file:
            write_file(path, iter(lambda: file.read(1 << 20), b""))
        return
    try:
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)  # still there where both were the same file before


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, as `sync` does for what a file holds."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def remove_partial(folder: Path, *, dry_run: bool = False) -> int:
    """Remove the temporary files in `folder` that no process writes any more; their bytes."""
    size = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if PARTIAL.fullmatch(entry.name):
                with suppress(OSError):
                    size += _remove_stale(Path(entry.path), dry_run)
    return size


def _remove_stale(path: Path, dry_run: bool) -> int:
    # to be written, as NFS will have it of what is locked
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | NO_LINK)
    try:
        found = os.fstat(descriptor)
        if kind(found.st_mode) is not None or try_lock(descriptor) is not True:
            return 0
        if not dry_run:
            path.unlink()
        return found.st_size
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process; False if another holds it, None if it cannot be known."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks
        return None
    return True
