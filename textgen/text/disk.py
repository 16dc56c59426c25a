"""What is written and has to be on the disk before something else is."""

import os
from contextlib import suppress

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]


def sync(descriptor: int) -> None:
    """Have what an open file holds reach the disk. Raises OSError.

    On macOS fsync leaves it in the disk's own memory, as its manual page says.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # not every file system has it
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)
