from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import train

import textgen
from textgen.errors import CheckpointError, RunError
from textgen.store.checkpoint import read_arrays, read_header, write_checkpoint
from textgen.store.lock import Lock
from textgen.store.run import Run
from textgen.store.space import clean, held, own_files, remove, size

PARTIAL = ".textgen-0123456789abcdef.partial"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    """A finished run, with a `previous`."""
    run = Run(Path(shutil.copytree(trained, tmp_path / "tales")))
    shutil.copy(run.last, run.previous)
    return run


def unfinish(run: Run) -> None:
    """Have `last` be of a run with more steps before it."""
    header = read_header(run.last)
    training = replace(header.record.training, steps=header.record.step + 1)
    arrays = read_arrays(header, *{name.partition("/")[0] for name in header.arrays})
    write_checkpoint(run.last, replace(header.record, training=training), arrays)


def names(run: Run) -> set[str]:
    return {path.name for path in run.folder.iterdir()}


def test_all_files_of_a_run_are_removed_and_no_others(run: Run) -> None:
    for name in ("input-1.txt", "input-2.txt", PARTIAL, ".lock-0123456789abcdef", "mine.txt"):
        (run.folder / name).write_text(name)
    (run.folder / "input-1.txt.bak").mkdir()
    with held(run):
        assert not remove(run)
    assert names(run) == {"mine.txt", "input-1.txt.bak"}
    (run.folder / "mine.txt").unlink()
    (run.folder / "input-1.txt.bak").rmdir()
    with held(run):
        assert remove(run)
    assert not run.folder.exists()


def test_two_names_of_one_file_count_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"12345")
    other.hardlink_to(one)
    assert size([one, other, tmp_path / "gone"]) == 5


def test_a_run_that_is_being_trained_is_refused(run: Run) -> None:
    lock = Lock(run.folder)
    with pytest.raises(RunError, match="is being trained by another process: process"), held(run):
        pass
    with pytest.raises(RunError, match="is being trained by"):
        clean(run, dry_run=False)
    lock.release()
    assert run.last.exists()


def test_a_finished_run_keeps_its_best(run: Run) -> None:
    written = "".join(textgen.load(run.folder).generate(length=30, seed=1))
    going = [run.last, run.previous]
    (run.folder / PARTIAL).write_bytes(b"123")
    expected = size(going) + 3
    assert clean(run, dry_run=True) == (expected, going)
    assert run.last.exists()
    before = size(own_files(run))
    assert clean(run, dry_run=False) == (expected, going)
    assert before - size(own_files(run)) == expected
    assert names(run) == {"best.safetensors", "metrics.jsonl", ".lock"}
    assert "".join(textgen.load(run.folder).generate(length=30, seed=1)) == written
    assert clean(run, dry_run=False) == (0, [])
    events = list(textgen.resume(run.folder, steps=1))
    assert "the optimizer and the streams' state begin anew" in events[0].notices[-1]
    assert type(events[-1]).__name__ == "Finished"


def test_an_unfinished_run_keeps_what_it_goes_on_from(run: Run) -> None:
    unfinish(run)
    assert clean(run, dry_run=False)[1] == [run.previous]
    assert names(run) >= {"last.safetensors", "best.safetensors"}


@pytest.mark.parametrize("harm", ["missing", "damaged", "of another step"])
def test_a_finished_run_without_its_best_keeps_last(run: Run, harm: str) -> None:
    header = read_header(run.best)
    if harm == "missing":
        run.best.unlink()
    elif harm == "damaged":
        data = bytearray(run.best.read_bytes())
        data[-1] ^= 1
        run.best.write_bytes(data)
    else:
        record = replace(header.record, step=header.record.step + 1)
        write_checkpoint(run.best, record, {"model": read_arrays(header, "model")["model"]})
    assert clean(run, dry_run=False)[1] == [run.previous]
    assert run.last.exists()


def test_previous_stays_where_last_is_damaged(run: Run) -> None:
    unfinish(run)
    data = bytearray(run.last.read_bytes())
    data[-1] ^= 1
    run.last.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        clean(run, dry_run=False)
    assert run.previous.exists()


def test_files_of_another_run_are_left_alone(run: Run, corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "other", steps=1)
    shutil.copy(tmp_path / "other" / "tales" / "last.safetensors", run.previous)
    with pytest.raises(RunError, match="are of different runs"):
        clean(run, dry_run=False)
    assert run.previous.exists()
    assert np.isfinite(textgen.load(run.last).weights["embedding.weight"]).all()
