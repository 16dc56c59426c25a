from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from textgen.device import prepare_process

prepare_process()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_memory_that_was_freed_is_there_for_the_next_tensor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100  # of 16,384 pages; none is mapped anew
