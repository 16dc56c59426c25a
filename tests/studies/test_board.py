from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from textgen.cli.app import app
from textgen.errors import TextgenError, UsageError
from textgen.studies.board import FIELDS
from textgen.training.step import Learner

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the reader
TINY = "--hidden 8 --embedding 4 --batch-size 2 --bptt 8 --precision fp32 --eval-every 10"


@pytest.fixture
def folder(tmp_path: Path, corpus: Path) -> Path:
    shutil.copy(corpus, tmp_path / "tales.txt")
    return tmp_path


def run(folder: Path, words: str) -> None:
    words = f"{words} --checkpoints {folder} --tensorboard {folder / 'board'}"
    app(words.split(), standalone_mode=False)


def train(folder: Path, more: str = "--steps 30") -> None:
    run(folder, f"train {folder / 'tales.txt'} {TINY} {more}")


def check(folder: Path) -> None:
    """What TensorBoard's own reader reads is what the run keeps."""
    kept = [*map(json.loads, (folder / "tales" / "metrics.jsonl").read_text().splitlines())]
    read = EventAccumulator(str(folder / "board" / "tales"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == sorted(FIELDS)
    for name in FIELDS:
        points = [(point.step, point.value) for point in read.Scalars(name)]
        assert [step for step, _ in points] == [line["step"] for line in kept]
        assert [value for _, value in points] == pytest.approx([line[name] for line in kept])


def test_tensorboard_reads_what_a_run_and_its_resumption_wrote(folder: Path) -> None:
    train(folder)
    check(folder)
    run(folder, "resume tales --steps 30")
    assert len(list((folder / "board" / "tales").iterdir())) == 2
    check(folder)


def test_steps_that_are_done_again_count_once(folder: Path) -> None:
    train(folder)
    train(folder, "--steps 50 --overwrite")
    check(folder)


def test_steps_before_a_divergence_that_are_done_again_count_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, failed = Learner.advance, []

    def grown(learner: Learner) -> Tensor:
        loss = advance(learner)
        if learner.step == 25 and not failed:
            failed.append(learner.step)
            return loss * torch.inf
        return loss

    monkeypatch.setattr(Learner, "advance", grown)
    train(folder)
    assert failed
    assert len(list((folder / "board" / "tales").iterdir())) == 1
    check(folder)


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    train(folder, "--steps 30 --dry-run")
    assert not (folder / "board").exists()


def test_a_disk_error_is_a_notice_and_training_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "board").mkdir()
    (folder / "board" / "tales").write_text("in the way")
    train(folder)
    told = [line for line in capsys.readouterr().err.splitlines() if "TensorBoard" in line]
    assert len(told) == 1
    assert told[0].startswith(f"note: cannot write events for TensorBoard in {folder}/board/tales")
    assert told[0].endswith("training goes on without")
    assert len((folder / "tales" / "metrics.jsonl").read_text().splitlines()) >= 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_full_later_is_a_notice_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, mode: str) -> object:
        return open(os.devnull.replace("null", "full"), "wb")

    monkeypatch.setattr("textgen.studies.board.open", full, raising=False)
    train(folder)
    assert capsys.readouterr().err.count("No space left on device; training goes on") == 1


def test_what_is_refused_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "board").write_text("a file")
    with pytest.raises(UsageError, match="is a file; expected a folder"):
        train(folder)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(TextgenError, match="tensorboard, which is not installed") as caught:
        train(folder)
    assert "textgen-lstm[tensorboard]" in caught.value.hint
    assert not (folder / "tales").exists()
