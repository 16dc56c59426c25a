"""The lock of a run's folder, so that one process at a time trains the run.

The file `.lock` is locked and holds the process and the host. It is emptied when it is released.
Where files cannot be locked (some network file systems), the file itself is the lock: one that is
empty, or whose process is dead on this host, is taken over.
"""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from textgen.errors import RunError, quoted
from textgen.store.files import NO_LINK, try_lock
from textgen.text.sources import LOCK

_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK
_LONGEST = 300  # bytes of a holder's process and host


class Lock:
    """Held from its construction to `release`."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and lock it. Raises OSError, RunError if another process holds it."""
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._path = folder / LOCK
        self._of_folder = _open_folder(folder)
        try:
            self._file = self._acquire()
        except BaseException:
            _close(self._of_folder)
            if made:
                with suppress(OSError):  # another process made use of it
                    folder.rmdir()
            raise

    def release(self) -> None:
        """Let other processes train; the file is left, empty."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)
        _close(self._of_folder)

    def is_held(self) -> bool:
        """Whether the folder and the file at these paths are still those that were locked."""
        return _same(self._path, self._file) and self.has_folder()

    def has_folder(self) -> bool:
        """Whether the folder of that name is still the one that was locked."""
        return self._of_folder is None or _same(self.folder, self._of_folder)

    def _acquire(self) -> int:
        while True:
            file = os.open(self._path, _FLAGS, 0o666)
            locked = try_lock(file)
            if locked and _same(self._path, file):
                with suppress(OSError):  # a full disk keeps nobody from making room
                    os.ftruncate(file, 0)
                    os.write(file, _me())
                return file
            holder = os.pread(file, _LONGEST, 0) if locked is False else b""
            os.close(file)
            if locked is False:
                raise self._refusal(holder)
            if locked is None:
                return self._acquire_by_name()

    def _acquire_by_name(self) -> int:
        while True:
            try:
                file = os.open(self._path, _FLAGS | os.O_EXCL, 0o666)
            except FileExistsError:
                holder = self._path.read_bytes()[:_LONGEST]
                if holder and _lives(holder):
                    dead = f"; if that is dead, remove its lock: rm {quoted(self._path)}"
                    raise self._refusal(holder, dead) from None
                self._remove(holder)
            else:
                os.write(file, _me())
                return file

    def _remove(self, holder: bytes) -> None:
        """Remove the file that `holder` left, but not one that another process made since."""
        aside = self._path.with_name(f".lock-{secrets.token_hex(8)}")
        with suppress(FileNotFoundError):
            self._path.rename(aside)
            if aside.read_bytes()[:_LONGEST] == holder:
                aside.unlink()
            else:
                aside.rename(self._path)

    def _refusal(self, holder: bytes, dead: str = "") -> RunError:
        """dead: what to do about a process that may be dead."""
        process, _, host = holder.decode(errors="replace").strip().partition(" ")
        by = f": process {process} on {host}" if process.isdecimal() and host.isprintable() else ""
        return RunError(
            f"run {self.folder.name!r} is being trained by another process{by}",
            f"wait for the other process, or stop it{dead}",
        )


def _me() -> bytes:
    return f"{os.getpid()} {socket.gethostname()}\n".encode()


def _lives(holder: bytes) -> bool:
    """Whether the process may be running: what runs on another host cannot be known.

    Nor can it be asked for on Windows, where signal 0 is Ctrl-C.
    """
    process, _, host = holder.strip().partition(b" ")
    here = host == _me().strip().partition(b" ")[2]
    if not (here and process.isdigit() and os.name == "posix"):
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


def _open_folder(folder: Path) -> int | None:
    """A descriptor that keeps the folder's number from being given to another one."""
    return os.open(folder, os.O_RDONLY) if os.name == "posix" else None


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
