from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from textgen.cli import app, spinning
seen = [os.environ.get("GOMP_SPINCOUNT")]
spinning.spin_for_long()
print(*seen, os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(("given", "expected"), [(None, "1000 None"), ("77", "77 77")])
def test_threads_spin_for_long_where_that_was_asked_and_the_user_did_not_choose(
    given: str | None, expected: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": given} if given else {}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
