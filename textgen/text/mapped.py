"""Arrays of ids in files: mapped into memory, which is given back while they are read."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTED = 1 << 18  # ids counted at a time


def release(array: NDArray) -> None:
    """Give back the memory of what was read of a mapped array; its file is read again if need be.

    Pages of a mapped file count as the process's memory until then. Other arrays are left alone.
    """
    owner: Any = array
    while hasattr(owner, "base"):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def counts_of(ids: NDArray, vocabulary_size: int) -> NDArray[np.int64]:
    """How often each id occurs, shape (V,)."""
    counts = np.zeros(vocabulary_size, np.int64)
    for begin in range(0, len(ids), COUNTED):
        counts += np.bincount(ids[begin : begin + COUNTED], minlength=vocabulary_size)
        release(ids)
    return counts
