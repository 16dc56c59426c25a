from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import textgen
from textgen.errors import CheckpointError, RunError, UsageError
from textgen.store.runs import (
    checkpoint_at,
    find_checkpoint,
    find_file,
    find_run,
    find_source,
    list_runs,
    new_run,
)


@pytest.fixture
def checkpoints(trained: Path, tmp_path: Path) -> Path:
    """Two runs, of which `plays` was saved later than `tunes`."""
    for age, name in enumerate(["plays", "tunes"]):
        shutil.copytree(trained, tmp_path / name)
        for file in (tmp_path / name).iterdir():
            os.utime(file, (1e9 - age, 1e9 - age))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not a run")
    return tmp_path


def test_the_latest_run_comes_first_and_is_the_default(checkpoints: Path) -> None:
    assert [run.name for run in list_runs(checkpoints)] == ["plays", "tunes"]
    assert find_run(None, checkpoints).name == "plays"


def test_a_run_is_found_by_name_by_folder_and_by_file(checkpoints: Path) -> None:
    folder = checkpoints / "tunes"
    assert find_run("tunes", checkpoints).folder == folder
    assert find_run(str(folder), Path("elsewhere")).folder == folder
    assert find_checkpoint("tunes", checkpoints) == folder / "best.safetensors"
    last = folder / "last.safetensors"
    assert find_checkpoint(str(last), Path("elsewhere")) == last


def test_a_file_of_the_same_name_does_not_hide_a_run(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who trains `plays` without an ending has both."""
    folder = tmp_path / "texts"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("plays", "x.safetensors"):
        Path(name).write_text("the text itself")
    shutil.copytree(checkpoints / "tunes", checkpoints / "x.safetensors")
    for name in ("plays", "x.safetensors"):
        assert find_checkpoint(name, checkpoints) == checkpoints / name / "best.safetensors"
        assert find_source(name, checkpoints) == checkpoints / name / "last.safetensors"
        assert find_file(name, checkpoints) is None
        assert find_file(f"./{name}", checkpoints) == find_file(name, folder) == Path(name)
    assert checkpoint_at(checkpoints / "x.safetensors").name == "best.safetensors"


def test_last_stands_in_where_there_is_no_best(checkpoints: Path) -> None:
    (checkpoints / "tunes" / "best.safetensors").unlink()
    assert find_checkpoint("tunes", checkpoints).name == "last.safetensors"


def test_a_name_that_is_nearly_right_is_suggested(checkpoints: Path) -> None:
    with pytest.raises(RunError) as caught:
        find_run("tune", checkpoints)
    assert "did you mean tunes" in caught.value.hint
    assert f"textgen ls --checkpoints {checkpoints} shows" in caught.value.hint


def test_without_runs_the_hint_says_how_to_begin_one(tmp_path: Path) -> None:
    for name in (None, "plays"):
        with pytest.raises(RunError) as caught:
            find_run(name, tmp_path)
        assert f"textgen train corpus.txt --checkpoints {tmp_path}" in caught.value.hint


def test_a_missing_checkpoint_file_is_named(checkpoints: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        find_checkpoint("absent.safetensors", checkpoints)


def test_a_run_is_not_begun_over_another(checkpoints: Path) -> None:
    with pytest.raises(RunError) as caught:
        new_run("plays", checkpoints, overwrite=False)
    assert "textgen resume plays" in caught.value.hint
    assert "`overwrite`" in caught.value.hint
    assert new_run("plays", checkpoints, overwrite=True).name == "plays"
    assert new_run("poems", checkpoints, overwrite=False).name == "poems"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b"])
def test_a_name_must_be_a_folder_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`run`"):
        new_run(name, tmp_path, overwrite=False)


def test_a_path_is_taken_as_it_is_given(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nested = tmp_path / "plays" / "plays"
    shutil.copytree(tmp_path / "plays", nested)
    (tmp_path / "tunes" / "best.safetensors").rename(tmp_path / "best")
    assert checkpoint_at(Path("plays")) == Path("plays/best.safetensors")
    assert textgen.load("plays").header.path == Path("plays/best.safetensors")
    assert find_run("plays/plays", Path("plays")).folder == Path("plays/plays")
    assert find_run("plays", Path("plays")).folder == Path("plays/plays")  # a name is a name
    assert find_checkpoint("tunes", Path()) == Path("tunes/last.safetensors")
    with pytest.raises(RunError, match="no run 'poems'"):
        textgen.load("poems")


def test_one_run_that_cannot_be_read_fails_no_other(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def forbidden(path: Path, **named: bool) -> os.stat_result:
        if path.parent.name == "tunes":
            raise PermissionError(13, "Permission denied")
        return stat(path, **named)

    monkeypatch.setattr(Path, "stat", forbidden)
    skipped: list[RunError] = []
    assert [run.name for run in list_runs(checkpoints, skipped.append)] == ["plays"]
    assert "tunes: Permission denied" in skipped[0].message
    assert find_run(None, checkpoints).name == "plays"
    with pytest.raises(RunError, match="Permission denied"):
        find_run("tunes", checkpoints)


def test_a_file_in_the_place_of_the_runs_folder_is_named(checkpoints: Path) -> None:
    with pytest.raises(RunError, match=r"notes\.txt: Not a directory"):
        list_runs(checkpoints / "notes.txt")


def test_names_that_no_file_can_have_are_refused(checkpoints: Path) -> None:
    (checkpoints / "loop").symlink_to(checkpoints / "loop")
    for name in ("x" * 300, "loop", "a\0b"):
        with pytest.raises(RunError):
            find_run(name, checkpoints)
        with pytest.raises((RunError, CheckpointError)):
            find_checkpoint(name, checkpoints)
    assert len(list_runs(checkpoints)) == 2


def test_a_run_is_resumed_from_last_or_from_the_file_named(checkpoints: Path) -> None:
    folder = checkpoints / "tunes"
    assert find_source("tunes", checkpoints) == folder / "last.safetensors"
    assert find_source(str(folder / "best.safetensors"), Path()) == folder / "best.safetensors"
    shutil.copy(folder / "last.safetensors", folder / "copy.safetensors")
    with pytest.raises(RunError, match="expected last, previous or best"):
        find_source(str(folder / "copy.safetensors"), Path())
    with pytest.raises(CheckpointError, match="no such"):
        find_source(str(folder / "absent.safetensors"), Path())


def test_an_empty_name_is_not_the_current_folder(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoints / "plays")
    for find in (find_run, find_checkpoint, find_source):
        with pytest.raises(UsageError, match="the run's name is empty"):
            find("", checkpoints)
    with pytest.raises(UsageError, match="`run` is ''"):
        next(textgen.train("x.txt", run="", checkpoints=checkpoints))
    with pytest.raises(UsageError, match="`run` is ''"):
        next(textgen.compare(__file__, run="", checkpoints=checkpoints, layers=[1, 2], steps=1))
