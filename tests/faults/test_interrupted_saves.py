"""A save that ends or fails at any of the calls by which it changes the disk."""

from __future__ import annotations

import errno
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.server import CUT_SHORT
from faults.trials import KEPT, Ground, save_again
from outcomes import assert_same

FILES = ("last.safetensors", "best.safetensors", "metrics.jsonl")


@dataclass(frozen=True)
class Saves:
    """The folder of a run as it was saved once, and as it was saved later."""

    before: Path
    after: Path


@pytest.fixture(scope="module")
def saves(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Saves:
    trial = ground.trial(random.Random(), tmp_path_factory.mktemp("saves"))
    process = trial.train_until_let()
    process.wait_until(lambda: len(process.events("stepped")) > 9)
    process.send(signal.SIGTERM)
    trial.let()
    assert process.wait() == 143, process.printed
    before, after = trial.checkpoints / "before", trial.checkpoints / "after"
    for copy in (before, after):
        shutil.copytree(trial.folder, copy)
    save_again(after, ground.reference)
    return Saves(before, after)


def save(ground: Ground, saves: Saves, folder: Path, at: int, error: int) -> int:
    """Save once more with a fault at one call; the exit code. What is there then must be whole."""
    shutil.copytree(saves.before, folder)
    process = ground.server.start(
        "save", folder, ground.reference, fault={"at": at, "error": error}
    )
    code = process.wait()
    for name in FILES:
        kept = {(place / name).read_bytes() for place in (saves.before, saves.after)}
        # JSON and safetensors are written the same way each time, so a whole file is one of the two
        assert (folder / name).read_bytes() in kept, f"{name} after call {at}: {process.printed}"
    save_again(folder, ground.reference)
    assert_same(folder, saves.after)
    assert {path.name for path in folder.iterdir()} <= KEPT
    shutil.rmtree(folder)
    return code


def test_at_every_call_the_old_files_or_the_new_ones_are_whole(
    ground: Ground, saves: Saves, tmp_path: Path
) -> None:
    at = 1
    while save(ground, saves, tmp_path / "run", at, error=0) == CUT_SHORT:
        at += 1
    assert at > 9  # three files: opened, written, renamed
    for failing in range(1, at):
        assert save(ground, saves, tmp_path / "run", failing, errno.ENOSPC) in (0, 1)
