"""Arrays of ids in files: mapped into memory, which is given back while they are read."""

import mmap
from typing import Any

from numpy.typing import NDArray


def release(array: NDArray) -> None:
    """Give back the memory of what was read of a mapped array; its file is read again if need be.

    Pages of a mapped file count as the process's memory until then. Other arrays are left alone.
    """
    owner: Any = array
    while hasattr(owner, "base"):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
