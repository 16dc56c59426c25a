"""Others read a run's files while training writes them at every step."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from faults.trials import Ground

READS = 20  # of `last` and of `best`, by each reader


def read(ground: Ground, checkpoints: Path, readers: int) -> None:
    """So many readers at once, each of which must find whole files."""
    trial = ground.trial(random.Random(), checkpoints)
    writer = trial.train("--steps", "1000000")
    writer.wait_until(lambda: len(writer.events("saved")) > 8)  # there is a `best` too
    reading = [
        ground.server.start("read", trial.folder, READS, "until new") for _ in range(readers)
    ]
    try:
        steps = []
        for reader in reading:
            assert reader.wait() == 0, reader.printed
            steps += reader.lines
        assert len(steps) == readers * READS
        assert len(set(steps)) > 1  # it did write meanwhile
        assert writer.code is None, writer.printed
    finally:
        writer.stop()
    print(f"\n{len(steps)} reads, of {len(set(steps))} saves")


def test_readers_beside_a_writer(ground: Ground, tmp_path: Path) -> None:
    read(ground, tmp_path, readers=2)


@pytest.mark.faults
def test_many_reads(ground: Ground, tmp_path: Path) -> None:
    read(ground, tmp_path, readers=100)
