"""The script that measures a GPU, in its small form on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("machine", "graph", "agreement", "sampling", "collective")


def test_every_part_yields_rows_and_the_rest_goes_on_where_one_fails(tmp_path: Path) -> None:
    """`timed`, which needs a text, fails; the other parts do not."""
    output, empty = tmp_path / "gpu.json", tmp_path / "empty.txt"
    empty.touch()
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--quick"]
    command += ["-o", str(output), "--text", str(empty), "--parts", "timed", *PARTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(output.read_text())
    assert list(found) == ["timed", *PARTS]
    assert "CorpusError" in found["timed"][-1]["failed"]
    for part in PARTS:
        assert not [row for row in found[part] if "failed" in row], part
        assert part in done.stdout
    assert all(row["chars/s"] > 0 for row in found["sampling"])
    assert found["collective"][0]["ok"]
    same = [row["largest difference of losses"] for row in found["graph"] if "notices" in row]
    assert same
    assert set(same) == {0.0}


@pytest.mark.faults
def test_a_run_that_is_killed_comes_to_the_same_weights(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--quick"]
    command += ["-o", str(output), "--parts", "training", "resuming"]
    subprocess.run(command, capture_output=True, check=True, timeout=300)
    found = json.loads(output.read_text())
    assert [row["bit for bit"] for row in found["resuming"]] == [True, True]
    assert not [row for row in found["training"] if "failed" in row]
