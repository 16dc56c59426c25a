from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from textgen.text.mapped import release


def resident() -> int:
    """Bytes of mapped files in this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="needs madvise")
def test_memory_is_given_back_and_the_array_stays(tmp_path: Path) -> None:
    size = 1 << 25
    (tmp_path / "ids").write_bytes(bytes(range(256)) * (size // 256))
    ids = np.memmap(tmp_path / "ids", np.uint8, "r")[10:]
    before = resident()
    assert ids.sum(dtype=np.int64)
    assert resident() - before > size // 2
    release(ids)
    assert resident() - before < size // 8
    assert ids[:3].tolist() == [10, 11, 12]


def test_an_array_in_memory_is_left_alone() -> None:
    array = np.arange(10)
    release(array[2:])
    assert array.tolist() == list(range(10))
