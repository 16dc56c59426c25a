from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, prose

import textgen
from textgen.cli.app import app
from textgen.errors import CorpusError, RunError, UnknownCharacters
from textgen.store.checkpoint import read_header
from textgen.store.lock import Lock
from textgen.text import pipes
from textgen.text.decoding import Reader
from textgen.text.given import file_ids
from textgen.text.sources import Sources
from textgen.text.vocabulary import Vocabulary

TEXT = prose(3000)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def fill(pipe: Path, text: str) -> threading.Thread:
    def write() -> None:
        with suppress(BrokenPipeError):  # the reader may leave before all is written
            pipe.write_text(text)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


class FullDisk(io.FileIO):
    """A new file on a disk that is found full when it is written to, or when it is closed."""

    def __init__(self, folder: Path, at: str) -> None:
        super().__init__(folder / "input-1.txt", "x")
        self._at = at

    def write(self, data: Any) -> int:
        if self._at == "write":
            full()
        return super().write(data)

    def close(self) -> None:
        super().close()
        if self._at == "close":
            self._at = ""
            full()


def test_a_run_on_a_pipe_keeps_its_text_and_resumes_from_it(pipe: Path, tmp_path: Path) -> None:
    writer = fill(pipe, TEXT)
    list(textgen.train(pipe, checkpoints=tmp_path, run="piped", steps=5, **SMALL))
    writer.join()
    copy = tmp_path / "piped" / "input-1.txt"
    assert copy.read_text() == TEXT
    assert read_header(tmp_path / "piped" / "last.safetensors").record.corpus.files == (str(copy),)
    assert list(textgen.resume("piped", checkpoints=tmp_path, steps=5))


def test_a_run_is_started_over_without_touching_its_text_until_it_is_saved(
    pipe: Path, tmp_path: Path
) -> None:
    def train(text: str, **more: Any) -> None:
        writer = fill(pipe, text)
        try:
            list(textgen.train(pipe, checkpoints=tmp_path, run="piped", **SMALL | more))
        finally:
            writer.join()

    def copies() -> list[str]:
        return sorted(path.name for path in (tmp_path / "piped").glob("input*"))

    train(TEXT, steps=5)
    (tmp_path / "piped" / "input-notes.txt").write_text("mine")
    with pytest.raises(CorpusError, match="5 characters"):
        train("short", steps=5, overwrite=True)
    assert copies() == ["input-1.txt", "input-notes.txt"]
    assert list(textgen.resume("piped", checkpoints=tmp_path, steps=1))
    lock = Lock(tmp_path / "piped")  # as of a process that trains it
    with pytest.raises(RunError, match="is being trained"):
        train(TEXT[::-1], steps=5, overwrite=True)
    lock.release()
    assert list(textgen.resume("piped", checkpoints=tmp_path, steps=1))

    train(TEXT[::-1], steps=5, overwrite=True)
    assert copies() == ["input-2.txt", "input-notes.txt"]
    assert list(textgen.resume("piped", checkpoints=tmp_path, steps=1))


def test_stdin_is_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    list(textgen.train("-", checkpoints=tmp_path, steps=2, **SMALL))
    assert (tmp_path / "stdin" / "input-1.txt").read_text() == TEXT


def test_a_dry_run_leaves_no_copy(pipe: Path, tmp_path: Path) -> None:
    writer = fill(pipe, TEXT)
    checkpoints = tmp_path / "checkpoints"
    assert len(list(textgen.train(pipe, checkpoints=checkpoints, dry_run=True, steps=2))) == 1
    writer.join()
    assert not checkpoints.exists()


def test_a_text_that_is_refused_leaves_no_copy(pipe: Path, tmp_path: Path) -> None:
    writer = fill(pipe, "short")
    checkpoints = tmp_path / "checkpoints"
    with pytest.raises(CorpusError, match="5 characters") as refused:
        list(textgen.train(pipe, checkpoints=checkpoints, steps=2))
    assert refused.value.message.startswith(f"{pipe} has 5 characters")  # the copy is gone
    writer.join()
    assert not checkpoints.exists()


def test_a_run_whose_first_save_fails_leaves_no_copy(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.store.run.write_checkpoint", full)
    writer = fill(pipe, TEXT)
    with pytest.raises(RunError, match="No space left on device"):
        list(textgen.train(pipe, checkpoints=tmp_path / "runs", steps=2, **SMALL))
    writer.join()
    assert not (tmp_path / "runs").exists()


def test_an_error_names_a_pipe_whose_copy_lies_behind_a_link(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    writer = fill(pipe, "short")
    with pytest.raises(CorpusError, match="5 characters") as refused:
        list(textgen.train(pipe, checkpoints=tmp_path / "runs", steps=2))
    assert refused.value.message.startswith(f"{pipe} has 5 characters")
    writer.join()


def test_a_note_about_a_pipe_names_it(
    pipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = fill(pipe, TEXT.replace("\n", "\r\n"))
    app(["stats", str(pipe)], standalone_mode=False)
    writer.join()
    assert capsys.readouterr().err == f"note: {pipe}: turned CRLF line ends into LF\n"


def test_an_error_about_what_came_by_stdin_names_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipes, "special", lambda path: "a pipe")
    monkeypatch.setattr(pipes.sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xff" * 99)))
    with pytest.raises(CorpusError, match=r"^stdin, line 1, byte offset 1: 0xFF is not"):
        list(textgen.train("-", checkpoints="runs", steps=2))


@pytest.mark.parametrize("at", ["write", "close"])
def test_where_no_copy_can_be_made_it_is_said(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(pipes, "_new_file", partial(FullDisk, at=at))
    writer = fill(pipe, TEXT[:9])
    with (
        pytest.raises(CorpusError, match="No space left on device"),
        pipes.kept([pipe], tmp_path / "run"),
    ):
        raise AssertionError
    writer.join()
    assert not (tmp_path / "run").exists()


def test_the_place_of_a_character_counts_from_the_beginning_of_a_pipe(pipe: Path) -> None:
    writer = fill(pipe, "a" * 300_000 + "€")
    with pytest.raises(UnknownCharacters, match="at character 300001"):
        list(file_ids(pipe, Reader, Vocabulary("char", "ab"), "error"))
    writer.join()


def test_the_copy_of_a_pipe_is_no_part_of_the_folder_that_holds_it(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "tales.txt").write_text(TEXT)
    (tmp_path / "texts" / "input-1.txt").write_text(TEXT[::-1])  # a text like any other
    monkeypatch.chdir(tmp_path / "texts")
    writer = fill(pipe, TEXT)
    list(textgen.train(Path(), pipe, checkpoints="runs", run="both", steps=3, **SMALL))
    writer.join()
    record = read_header(Path("runs", "both", "last.safetensors")).record
    assert record.train_characters + record.val_characters == 3 * len(TEXT)
    assert list(textgen.resume("both", checkpoints="runs", steps=2))


def test_what_a_killed_process_left_of_a_pipe_is_no_text(tmp_path: Path) -> None:
    left = tmp_path / "runs" / "mine"
    left.mkdir(parents=True)
    for name in (".lock", "input-1.txt"):
        (left / name).write_text(TEXT)
    (tmp_path / "tales.txt").write_text(TEXT)
    assert [name for name, _ in Sources().texts(tmp_path)] == [str(tmp_path / "tales.txt")]


def test_a_run_that_was_renamed_finds_its_copy(pipe: Path, tmp_path: Path) -> None:
    writer = fill(pipe, TEXT)
    list(textgen.train(pipe, checkpoints=tmp_path, run="piped", steps=3, **SMALL))
    writer.join()
    (tmp_path / "piped").rename(tmp_path / "poems")
    assert list(textgen.resume("poems", checkpoints=tmp_path, steps=2))
    corpus = read_header(tmp_path / "poems" / "last.safetensors").record.corpus
    assert corpus.files == (str(tmp_path / "poems" / "input-1.txt"),)  # where other ranks read it
    (tmp_path / "poems" / "input-1.txt").unlink()
    with pytest.raises(CorpusError, match="no such file"):
        list(textgen.resume("poems", checkpoints=tmp_path, steps=2))


def test_a_pipe_that_cannot_be_opened_makes_no_folder(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pipes, "open", refused, raising=False)
    with (
        pytest.raises(CorpusError, match=r"cannot read .*pipe: Permission denied") as error,
        pipes.kept([pipe], tmp_path / "run"),
    ):
        raise AssertionError
    assert error.value.hint == f"see whose it is: ls -l {pipe}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("temporary", "named"), [(True, "TMPDIR"), (False, "`checkpoints`")])
def test_another_folder_is_named_by_what_chooses_it(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool, named: str
) -> None:
    monkeypatch.setattr(pipes, "_new_file", partial(FullDisk, at="write"))
    writer = fill(pipe, TEXT[:9])
    with (
        pytest.raises(CorpusError, match="No space left") as error,
        pipes.kept([pipe], tmp_path / "run", temporary=temporary),
    ):
        raise AssertionError
    writer.join()
    assert named in error.value.hint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_pipe_is_read_leaves_no_copy(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "textgen", "stats", "-"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(TEXT.encode())
        process.stdin.flush()
        for _ in range(600):
            if [*tmp_path.glob("*/input-1.txt")]:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("no copy was begun")
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert not [*tmp_path.iterdir()]
