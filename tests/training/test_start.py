from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL

import textgen
from textgen.config import Choices
from textgen.errors import CheckpointError, CorpusError, RunError, UsageError
from textgen.events import Finished, Planned, Sampled, Saved, Stepped
from textgen.store.checkpoint import read_arrays, read_header
from textgen.store.contents import reread_corpus
from textgen.text.corpus import Corpus
from textgen.training import start
from textgen.training.loop import Loop
from textgen.training.planning import extended
from textgen.training.schedule import learning_rate

RUN = {**SMALL, "steps": 40, "lr": 0.02, "eval_every": 20, "save_every": 1e-6}


@pytest.fixture(scope="module")
def stopped(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left after step 30; not to be changed."""
    checkpoints = tmp_path_factory.mktemp("stopped")
    events = textgen.train(corpus, checkpoints=checkpoints, **RUN)
    for event in events:
        if isinstance(event, Stepped) and event.step == 30:
            events.close()
    return checkpoints / "tales"


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "tales"))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def hint(run: Path) -> str:
    with pytest.raises(CheckpointError, match=r"last\.safetensors is damaged") as caught:
        next(textgen.resume("tales", checkpoints=run.parent))
    return caught.value.hint


def test_a_damaged_last_is_told_and_what_there_is_instead_is_offered(run: Path) -> None:
    damage(run / "last.safetensors")
    previous, best = run / "previous.safetensors", run / "best.safetensors"
    found = "go on from step 29, which loses 1 of 30 steps"
    assert hint(run) == f"{found}: textgen resume {previous}"
    damage(previous)
    found = "go on from step 20, which loses 10 of 30 steps"
    anew = "with the optimizer and the streams' state begun anew"
    assert hint(run) == f"{found}, {anew}: textgen resume {best}"
    last = run / "last.safetensors"
    last.write_bytes(last.read_bytes().replace(b"tales", b"tails", 1))  # in its header
    assert hint(run) == f"go on from step 20, {anew}: textgen resume {best}"
    best.unlink()
    assert "copy" in hint(run)


def test_going_on_from_previous_comes_to_the_same_end(run: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(run, tmp_path / "whole" / "tales"))
    damage(run / "last.safetensors")
    for source in (run / "previous.safetensors", whole / "last.safetensors"):
        assert isinstance(list(textgen.resume(source))[-1], Finished)
    expected = read_arrays(read_header(whole / "last.safetensors"), "model", "optimizer")
    found = read_arrays(read_header(run / "last.safetensors"), "model", "optimizer")
    for group, named in expected.items():
        for name, array in named.items():
            np.testing.assert_array_equal(array, found[group][name])


def test_from_best_the_optimizer_begins_anew_with_a_notice(run: Path) -> None:
    damage(run / "last.safetensors")
    identity = read_header(run / "best.safetensors").record.identity
    events = textgen.resume(run / "best.safetensors")
    planned = next(events)
    assert isinstance(planned, Planned)
    assert planned.step == 20
    assert "begin anew" in planned.notices[-1]
    assert isinstance(list(events)[-1], Finished)
    record = read_header(run / "last.safetensors").record
    assert (record.step, record.identity) == (40, identity)
    assert [event.step for event in record.history] == [20, 40]


def test_a_run_that_went_on_from_best_and_was_left_at_once_goes_on(run: Path) -> None:
    events = textgen.resume(run / "best.safetensors")
    for event in events:
        if isinstance(event, Sampled):
            events.close()
        assert not isinstance(event, Stepped)
    assert read_header(run / "last.safetensors").record.step == 20
    assert isinstance(list(textgen.resume(run))[-1], Finished)


def test_a_warm_up_goes_on_where_a_run_is_extended_within_it(corpus: Path, tmp_path: Path) -> None:
    choices: dict[str, Any] = {**SMALL, "checkpoints": tmp_path}
    rates = []
    for events in (
        textgen.train(corpus, steps=400, **choices),
        textgen.resume("tales", checkpoints=tmp_path, steps=398),
    ):
        for event in events:
            if isinstance(event, Stepped):
                rates.append(event.lr)
                if event.step in (2, 4):
                    events.close()
    assert np.diff(rates) == pytest.approx([rates[0]] * 3, rel=0.02)


@pytest.mark.parametrize("more", [None, 20])
def test_a_best_from_before_the_schedule_was_bent_is_learned_from_downhill(
    trained: Path, more: int | None
) -> None:
    """Its settings are those of the save that it was written with."""
    record = read_header(trained / "best.safetensors").record
    bent = {"steps": 60, "segment_start": 50, "segment_progress": 0.7, "warmup": 5}
    record = replace(record, step=30, training=replace(record.training, **bent))
    corpus = reread_corpus(read_header(trained / "best.safetensors"))
    how = record, Choices(steps=more), corpus, torch.device("cpu"), time.monotonic()
    config = extended(*how, learned=False).training
    rates = [learning_rate(step, config) for step in range(30, config.steps)]
    assert len(rates) == (more or 30)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] <= config.lr


def test_samples_are_as_rare_as_validations_in_a_run_that_was_extended(
    corpus: Path, tmp_path: Path
) -> None:
    list(textgen.train(corpus, checkpoints=tmp_path, steps=20, **SMALL))
    events = textgen.resume("tales", checkpoints=tmp_path, steps=100_000)
    planned = next(events)
    events.close()
    assert isinstance(planned, Planned)
    assert planned.training.sample_every == 2 * planned.training.eval_every > 1000


def test_a_run_that_another_process_saved_meanwhile_is_left_as_it_is(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = {**SMALL, "checkpoints": tmp_path, "steps": 3}
    begin = start.begin

    def late(*args: Any, **more: Any) -> Loop:
        monkeypatch.setattr(start, "begin", begin)
        list(textgen.train(corpus, **choices))
        return begin(*args, **more)

    monkeypatch.setattr(start, "begin", late)
    with pytest.raises(RunError, match=r"another process saved run 'tales' in .* meanwhile"):
        list(textgen.train(corpus, **choices))
    reread = start.reread_corpus

    def slow(*args: Any, **more: Any) -> Corpus:
        monkeypatch.setattr(start, "reread_corpus", reread)
        list(textgen.resume("tales", checkpoints=tmp_path, steps=4))
        return reread(*args, **more)

    monkeypatch.setattr(start, "reread_corpus", slow)
    with pytest.raises(RunError, match="meanwhile"):
        list(textgen.resume("tales", checkpoints=tmp_path, steps=2))
    assert read_header(tmp_path / "tales" / "last.safetensors").record.step == 7


def test_a_folder_that_cannot_be_written_is_found_out_before_the_corpus_is_read(
    run: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("textgen.training.start.reread_corpus", lambda *_: pytest.fail("read"))
    monkeypatch.setattr("textgen.training.start.read_corpus", lambda *_: pytest.fail("read"))
    with pytest.raises(RunError, match="no leave to write"):
        next(textgen.resume("tales", checkpoints=run.parent))
    with pytest.raises(RunError, match="no leave to write"):
        next(textgen.train(corpus, checkpoints=run.parent, run="new", **RUN))


def test_a_folder_removed_while_training_is_made_anew_with_the_best(run: Path) -> None:
    events = textgen.resume("tales", checkpoints=run.parent)
    for event in events:
        if isinstance(event, Stepped) and event.step == 32:
            shutil.rmtree(run)
        if isinstance(event, Saved) and 32 < event.step < 40:
            assert read_header(run / "best.safetensors").record.step == 20
    assert read_header(run / "last.safetensors").record.step == 40
    textgen.load(run)


def test_threads_are_no_more_than_the_machine_has(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", seen.append)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    next(textgen.resume("tales", checkpoints=run.parent))
    assert seen[0] == 1


def test_a_run_too_large_for_the_machine_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.training.memory.memory", lambda device: 1000)
    with pytest.raises(UsageError, match="this machine has 0 GB"):
        next(textgen.resume("tales", checkpoints=run.parent))


def test_a_run_is_taken_up_with_its_streams_in_groups(run: Path) -> None:
    """As after too little memory: the rest comes to the same, but for rounding."""
    whole = Path(shutil.copytree(run, run.parent / "whole" / "tales"))
    assert isinstance(list(textgen.resume(whole))[-1], Finished)
    events = list(textgen.resume("tales", checkpoints=run.parent, accumulate=3))
    assert events[0].training.accumulate == 3
    headers = [read_header(folder / "last.safetensors") for folder in (whole, run)]
    assert [header.record.training.accumulate for header in headers] == [1, 3]
    losses = [[event.val_nats for event in header.record.history] for header in headers]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


DETERMINISTIC = """
import sys
import torch
import textgen
from textgen.events import Planned

events = textgen.resume("tales", checkpoints=sys.argv[1], deterministic=True)
plan = next(events)
assert isinstance(plan, Planned)
assert plan.training.deterministic
assert torch.are_deterministic_algorithms_enabled()
list(events)
assert not torch.are_deterministic_algorithms_enabled()
assert not torch.backends.cudnn.deterministic
"""


def test_repeatable_bits_can_be_asked_for_and_are_kept_by_the_run_alone(run: Path) -> None:
    command = [sys.executable, "-c", DETERMINISTIC, str(run.parent)]
    subprocess.run(command, check=True)
    assert read_header(run / "last.safetensors").record.training.deterministic


def test_it_is_told_what_going_back_gives_up(run: Path) -> None:
    for path in ("previous", "best"):
        planned = next(events := textgen.resume(run / f"{path}.safetensors"))
        step = {"previous": 29, "best": 20}[path]
        found = [notice for notice in planned.notices if "given up" in notice]
        lost = f"what was learned in the {30 - step} steps after it is given up"
        assert found == [f"going back to step {step} of 30: {lost}"]
        events.close()
        break
    assert not any("given up" in notice for notice in next(textgen.resume(run)).notices)


def test_a_validation_file_of_a_run_without_one_is_refused(run: Path, corpus: Path) -> None:
    with pytest.raises(UsageError, match="holds out a part of its own text") as caught:
        next(textgen.resume(run, val_file=corpus))
    assert caught.value.hint == "leave out `val_file`"


def test_each_part_that_moved_is_asked_for(tmp_path: Path, corpus: Path) -> None:
    files = {name: tmp_path / f"{name}.txt" for name in ("own", "held")}
    for file in files.values():
        shutil.copy(corpus, file)
    events = textgen.train(files["own"], val_file=files["held"], checkpoints=tmp_path, **RUN)
    next(events)
    next(events)
    events.close()
    moved = {name: file.rename(tmp_path / f"moved_{name}.txt") for name, file in files.items()}
    for given, other in (
        ({"files": moved["own"]}, "val_file"),
        ({"val_file": moved["held"]}, "files"),
    ):
        with pytest.raises(CorpusError, match="no such file") as caught:
            next(textgen.resume("own", checkpoints=tmp_path, **given))
        assert caught.value.hint == f"if it moved, say where it is now: `{other}=FILE`"
    both = {"files": str(moved["own"]), "val_file": moved["held"]}
    assert isinstance(next(textgen.resume("own", checkpoints=tmp_path, **both)), Planned)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_torch_computes_no_gradients_nothing_is_trained_or_lost(
    mode: Any, corpus: Path, tmp_path: Path
) -> None:
    for _ in textgen.train(corpus, checkpoints=tmp_path, **{**SMALL, "steps": 2}):
        pass
    before = {path: path.read_bytes() for path in (tmp_path / "tales").iterdir()}
    again = textgen.train(corpus, checkpoints=tmp_path, overwrite=True, **{**SMALL, "steps": 2})
    with mode(), pytest.raises(UsageError, match="computes no gradients here") as caught:
        next(again)
    assert caught.value.hint == "torch.set_grad_enabled(True)"
    assert {path: path.read_bytes() for path in (tmp_path / "tales").iterdir()} == before


def test_an_empty_path_is_not_the_current_folder(
    trained: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.parent)
    for call in (
        lambda: textgen.train("", checkpoints=tmp_path),
        lambda: textgen.train(corpus, val_file="", checkpoints=tmp_path),
        lambda: textgen.compare("", checkpoints=tmp_path, lr=[0.1, 0.2]),
        lambda: textgen.compare(corpus, val_file="", checkpoints=tmp_path, lr=[0.1, 0.2]),
        lambda: textgen.resume(trained, val_file="", steps=1),
        lambda: textgen.resume(trained, files=("",), steps=1),
    ):
        with pytest.raises(UsageError, match="a path is empty; expected a file or a folder"):
            next(call())
    assert list(tmp_path.iterdir()) == []


def test_a_training_step_leaves_the_warnings_of_the_process_alone(
    corpus: Path, tmp_path: Path
) -> None:
    """A warning that is shown once for each place stays shown, however many steps there are."""
    options = {**SMALL, "steps": 3, "weight_drop": 0.2}
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for event in textgen.train(corpus, checkpoints=tmp_path, **options):
            if isinstance(event, Stepped):
                warnings.warn("the loss is there", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["the loss is there"]


def test_what_torch_lacks_is_said_before_a_text_is_read(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("read_corpus", "reread_corpus"):
        monkeypatch.setattr(start, name, None)
    for precision in ("fp32", "bf16"):
        options = {**SMALL, "steps": 2, "precision": precision}
        calls = (
            lambda o=options: textgen.train(corpus, checkpoints=tmp_path, **o),
            lambda: textgen.resume(trained, steps=1),
        )
        for call in calls:
            with torch.no_grad(), pytest.raises(UsageError, match="computes no gradients here"):
                next(call())
            with torch.device("meta"), pytest.raises(UsageError, match="default device is meta"):
                next(call())
    assert not (tmp_path / "tales").exists()


@pytest.mark.parametrize(
    ("size", "of_run", "own", "expected"),
    [
        (1, 1, 4, 1),
        (1, 64, 4, min(64, max(4, os.cpu_count() or 1))),
        (2, 2, 4, 1),
        (2, 8, 4, 4),
        (2, 8, 2, 2),
    ],
)
def test_of_many_processes_each_has_its_part_of_the_runs_threads(
    monkeypatch: pytest.MonkeyPatch, size: int, of_run: int, own: int, expected: int
) -> None:
    monkeypatch.setattr(start, "join", lambda: SimpleNamespace(size=size))
    assert start._threads(of_run, own) == expected
