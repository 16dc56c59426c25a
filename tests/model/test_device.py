from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from textgen.model.device import prepare_device

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12 << 20)  # 48 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

prepare_device(torch.device("cpu"))
print(min(faults() for _ in range(16)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_memory_that_was_freed_is_there_for_the_next_tensor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100  # of 12,288 pages; without it, all are mapped anew each time
