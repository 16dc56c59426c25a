from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from textgen.errors import CheckpointError, RunError
from textgen.store import files
from textgen.store import run as run_module
from textgen.store.checkpoint import Header, read_arrays, read_header, write_checkpoint
from textgen.store.lock import Lock
from textgen.store.run import Run
from textgen.store.runs import checkpoint_at

Save = Callable[[int], str | None]


@pytest.fixture
def header(trained: Path) -> Header:
    return read_header(trained / "last.safetensors")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "tales")


@pytest.fixture
def save(run: Run, header: Header) -> Iterator[Save]:
    """Save the run at a step, under its lock."""
    best = read_arrays(read_header(header.path.with_name("best.safetensors")), "model")["model"]
    arrays = read_arrays(header, "model", "state")
    with run.locked():
        yield lambda step: run.save(replace(header.record, step=step), arrays, best)


def step_of(path: Path) -> int:
    return read_header(path).record.step


def test_previous_is_what_last_was(run: Run, save: Save) -> None:
    save(1)
    assert not run.previous.exists()
    for step in (2, 3, 4):
        save(step)
        assert (step_of(run.last), step_of(run.previous)) == (step, step - 1)
    best = run.best.stat()
    save(5)
    assert run.best.stat() == best  # it is written only when it changed
    names = {path.name for path in run.folder.iterdir()} - {".lock", "metrics.jsonl"}
    assert names == {"last.safetensors", "previous.safetensors", "best.safetensors"}


def test_the_files_of_a_run_have_its_identity(run: Run, save: Save, header: Header) -> None:
    save(1)
    save(2)
    found = {read_header(path).record.identity for path in run.checkpoints}
    lines = run.metrics.read_text().splitlines()
    assert found | {json.loads(line)["identity"] for line in lines} == {header.record.identity}


@pytest.mark.parametrize("call", ["replace", "fsync", "link"])
def test_a_save_that_fails_anywhere_leaves_a_whole_run(
    run: Run, save: Save, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(1)
    save(2)
    real, calls = getattr(os, call), []
    for fails in range(1, 7):
        calls.clear()

        def failing(*arguments: object, fails: int = fails, **named: object) -> object:
            calls.append(arguments)
            if len(calls) == fails:
                raise OSError(28, "No space left on device")
            return real(*arguments, **named)

        monkeypatch.setattr(os, call, failing)
        try:
            save(3)
        except RunError as error:
            assert "No space left on device" in error.message  # noqa: PT017
        monkeypatch.setattr(os, call, real)
        for path in run.checkpoints:
            known = read_header(path)
            read_arrays(known, "model", "state")
        assert step_of(run.last) in (2, 3)
    assert not list(run.folder.glob("*.partial"))


@pytest.mark.parametrize("where", ["all of it", "an array"])
def test_what_is_damaged_does_not_become_previous(
    run: Run, save: Save, header: Header, where: str
) -> None:
    save(1)
    save(2)
    data = bytearray(b"rot" if where == "all of it" else run.last.read_bytes())
    data[-1] ^= 1
    run.last.write_bytes(data)
    again = Run(run.folder)
    arrays = read_arrays(header, "model")
    again.save(replace(header.record, step=3), arrays, None)
    assert (step_of(run.last), step_of(run.previous)) == (3, 1)


def test_a_run_that_is_started_over_leaves_no_file_of_the_old_one(
    run: Run, save: Save, header: Header
) -> None:
    save(1)
    save(2)
    new = replace(header.record, identity="f" * 32, step=0, history=())
    Run(run.folder).save(new, read_arrays(header, "model"), None)
    assert not run.previous.exists()
    assert not run.best.exists()
    assert run.metrics.read_text() == ""


def test_a_run_that_could_not_be_started_over_keeps_its_metrics(
    run: Run, save: Save, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(1)
    before = run.metrics.read_text()
    assert before
    monkeypatch.setattr(run_module, "write_checkpoint", full)
    new = replace(header.record, identity="f" * 32, step=0, history=())
    with pytest.raises(RunError, match="No space left"):
        Run(run.folder).save(new, read_arrays(header, "model"), None)
    assert run.metrics.read_text() == before


def test_a_folder_that_was_removed_is_made_anew_and_whole(run: Run, save: Save) -> None:
    save(1)
    for gone in (shutil.rmtree, lambda folder: folder.rename(folder.with_name("moved"))):
        gone(run.folder)
        notice = save(2)
        assert notice is not None
        assert "was removed or renamed" in notice
        assert step_of(run.last) == 2
        assert step_of(run.best) > 0
        assert run.metrics.exists()
        with pytest.raises(RunError, match="another process"), Run(run.folder).locked():
            pass
        assert save(3) is None


def test_a_folder_that_cannot_be_locked_again_is_tried_again_at_the_next_save(
    run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(1)
    shutil.rmtree(run.folder)

    def removed_at_once(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr(Lock, "_acquire", removed_at_once)
        for _ in range(2):
            with pytest.raises(RunError, match="No such file"):
                save(2)
            assert not run.folder.exists()
    assert "was removed or renamed" in (save(3) or "")
    assert step_of(run.last) == 3
    with pytest.raises(RunError, match="another process"), Run(run.folder).locked():
        pass


def test_files_that_were_removed_from_the_folder_are_written_again(run: Run, save: Save) -> None:
    save(1)
    for path in run.folder.iterdir():
        path.unlink()
    save(2)
    assert step_of(run.last) == 2
    assert run.best.exists()


def test_a_file_that_cannot_be_read_just_now_is_not_removed(
    run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(1)
    again = Run(run.folder)  # as another process would, after this one
    record = read_header(run.last).record
    real = run_module.read_header

    def fails(path: Path) -> Header:
        if path == run.best:
            raise CheckpointError(f"cannot read {path}: Input/output error")
        return real(path)

    monkeypatch.setattr(run_module, "read_header", fails)
    again.save(replace(record, step=2), {}, None)
    assert run.best.exists()


def test_another_folder_of_that_name_is_left_alone(run: Run, save: Save) -> None:
    save(1)
    run.folder.rename(run.folder.with_name("moved"))
    run.folder.mkdir()
    with pytest.raises(RunError, match="was replaced by another") as caught:
        save(2)
    assert f"--checkpoints {run.folder.parent}" in caught.value.hint
    assert list(run.folder.iterdir()) == []


def test_a_lock_that_was_removed_is_taken_again(run: Run, save: Save) -> None:
    save(1)
    (run.folder / ".lock").unlink()
    assert save(2) is None
    with pytest.raises(RunError, match="another process"), Run(run.folder).locked():
        pass


def test_a_run_of_which_nothing_was_saved_leaves_no_folder(
    run: Run, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match="No space"), run.locked():
        run.save(header.record, {}, None)
    assert not run.folder.parent.exists()


def test_files_of_different_runs_are_refused_with_both_names(
    run: Run, save: Save, header: Header
) -> None:
    save(1)
    other = replace(read_header(run.best).record, identity="f" * 32)
    write_checkpoint(run.best, other, {"model": {}})
    with pytest.raises(RunError, match="of different runs") as caught:
        checkpoint_at(run.folder)
    assert all(str(path) in caught.value.message for path in (run.best, run.last))
    run.last.write_bytes(b"rot")  # then there is nothing to say against best
    assert checkpoint_at(run.folder) == run.best


def test_a_run_that_was_started_over_and_stopped_at_its_first_save_is_whole(
    run: Run, save: Save, header: Header
) -> None:
    """Killed between the new last and the removal of the old previous."""
    for step in (1, 2):
        save(step)
    new = replace(header.record, identity="f" * 32, history=())
    write_checkpoint(run.last, new, read_arrays(header, "model"))
    Run(run.folder).check_identity(read_header(run.last))
    assert checkpoint_at(run.folder) == run.last


def test_of_a_run_that_was_just_started_over_last_is_sampled(
    run: Run, save: Save, header: Header
) -> None:
    save(1)
    new = replace(header.record, identity="f" * 32, history=())
    write_checkpoint(run.last, new, read_arrays(header, "model"))
    assert checkpoint_at(run.folder) == run.last


def test_the_best_weights_are_read_if_they_are_those_of_the_record(
    run: Run, save: Save, header: Header
) -> None:
    save(1)
    best = read_arrays(read_header(run.best), "model")["model"]
    found = Run(run.folder).read_best(header.record)
    assert found is not None
    np.testing.assert_equal(dict(found), best)
    assert Run(run.folder).read_best(replace(header.record, identity="f" * 32)) is None
    assert Run(run.folder).read_best(replace(header.record, history=())) is None
    of_another_step = Run(run.folder)
    best_before = replace(header.record.history[0], step=header.record.history[0].step - 1)
    assert of_another_step.read_best(replace(header.record, history=(best_before,))) is None
    assert of_another_step._best_step is None
    again = Run(run.folder)
    assert again.read_best(header.record) is not None
    assert again.read_best(replace(header.record, history=(best_before,))) is None
    assert again._best_step is None  # what is best there now has other weights
    data = bytearray(run.best.read_bytes())
    data[-1] ^= 1
    run.best.write_bytes(data)
    assert Run(run.folder).read_best(header.record) is None
    with pytest.raises(CheckpointError, match="damaged"):
        read_arrays(read_header(run.best), "model")


def test_a_folder_that_cannot_be_made_or_written_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run(tmp_path / "new" / "plays").check_writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is no folder"):
        Run(tmp_path / "file" / "plays").check_writable()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match="no leave to write"):
        Run(tmp_path / "plays").check_writable()


def test_a_run_is_typed_as_a_shell_takes_it() -> None:
    assert Run(Path("checkpoints/plays")).typed == "plays"
    assert Run(Path("my runs/a b")).typed == "'a b' --checkpoints 'my runs'"


def test_what_is_typed_names_the_folder_unless_it_is_the_usual_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Run(Path("checkpoints/plays")).typed == "plays"
    assert Run(Path("runs/plays")).typed == "plays --checkpoints runs"
    monkeypatch.setenv("TEXTGEN_CHECKPOINTS", "runs")
    assert Run(Path("runs/plays")).typed == "plays"
    assert Run(Path("checkpoints/plays")).typed == "plays --checkpoints checkpoints"


def test_a_run_has_its_name_from_within_its_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "plays" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below.parent)
    assert Run(Path()).name == "plays"
    monkeypatch.chdir(below)
    assert Run(Path("..")).name == "plays"


def test_a_run_is_typed_as_it_is_found_from_within_its_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "runs" / "plays" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below.parent)
    assert Run(Path()).typed == "plays --checkpoints .."
    monkeypatch.chdir(below)
    assert Run(Path("..")).typed == "plays --checkpoints ../.."
