"""All that a training run leaves behind, to compare one run with another bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from textgen.store.checkpoint import read_arrays, read_header
from textgen.store.contents import RESUMED

OF_ONE_RUN = {"identity", "seconds", "chars_per_second"}


def outcome(folder: Path) -> tuple[dict[str, np.ndarray], list[dict[str, object]]]:
    """Arrays of `last` and `best` by name; lines of the metrics, without times and identity."""
    header = read_header(folder / "last.safetensors")
    arrays = {
        f"{group}/{name}": array
        for group, named in read_arrays(header, *RESUMED).items()
        for name, array in named.items()
    }
    best = read_arrays(read_header(folder / "best.safetensors"), "model")["model"]
    arrays |= {f"best/{name}": array for name, array in best.items()}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["val_nats"] for line in lines] == [e.val_nats for e in header.record.history]
    return arrays, [{k: v for k, v in line.items() if k not in OF_ONE_RUN} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """Fail unless two runs left the same behind."""
    (arrays, metrics), (expected_arrays, expected_metrics) = outcome(one), outcome(other)
    assert metrics == expected_metrics
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected_arrays[name], err_msg=name)
