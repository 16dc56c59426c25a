from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

import numpy as np
import pytest
import torch
from conftest import SMALL, prose
from safetensors.numpy import save

import textgen
from textgen.cli import app, resume, sample, train
from textgen.errors import CorpusError
from textgen.events import Stepped
from textgen.store import archive
from textgen.store.checkpoint import read_header
from textgen.text import stream as stream_module

Command = Callable[..., "Result"]
QUICK = ("--steps", "2", "--hidden", "8", "--precision", "fp32")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        return self.err.splitlines()[-2]

    @property
    def hint(self) -> str:
        return self.err.splitlines()[-1]


@pytest.fixture
def textgen_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("TEXTGEN_CHECKPOINTS", "TEXTGEN_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["textgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        return Result(int(stopped.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def refused(textgen_command: Command, tmp_path: Path) -> Command:
    """Run a command line that is refused: two lines on stderr, and no file is touched."""

    def run(*arguments: object, code: int = 1) -> Result:
        before = files(tmp_path)
        result = textgen_command(*arguments)
        lines = result.err.splitlines()
        assert [line.partition(" ")[0] for line in lines] == ["error:", "hint:"], result.err
        assert result.out == ""
        assert result.code == code, result.err
        assert not result.error.startswith("error: unexpected ")
        assert files(tmp_path) == before
        return result

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "tales.txt"
    path.write_text(prose(2000), encoding="utf-8")
    return path


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A run that did all of its steps, in the folder `checkpoints`."""
    return Path(shutil.copytree(trained, tmp_path / "checkpoints" / "tales"))


def train_half(text: Path, checkpoints: Path) -> Path:
    """A run that was stopped after 2 of 4 steps."""
    events = textgen.train(text, checkpoints=checkpoints, steps=4, **SMALL)
    next(event for event in events if isinstance(event, Stepped) and event.step == 2)
    cast(Any, events).close()
    return checkpoints / text.stem


@pytest.fixture(scope="module")
def stopped(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_half(corpus, tmp_path_factory.mktemp("stopped"))


@pytest.fixture
def unfinished(stopped: Path, tmp_path: Path) -> Path:
    """A run that did half of its steps, in the folder `checkpoints`."""
    return Path(shutil.copytree(stopped, tmp_path / "checkpoints" / "tales"))


@pytest.fixture
def unfinished_on_text(text: Path, tmp_path: Path) -> Path:
    """The same, with a corpus that may be changed."""
    return train_half(text, tmp_path / "checkpoints")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def forbidden(*_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


# Corpora


def test_a_missing_corpus(refused: Command, text: Path) -> None:
    result = refused("train", "talse.txt")
    assert "no such file: talse.txt" in result.error.replace(str(text.parent) + "/", "")
    assert "did you mean" in result.hint


def test_a_corpus_below_a_file(refused: Command, text: Path) -> None:
    assert "tales.txt/one.txt" in refused("train", text / "one.txt").error


def test_a_folder_for_a_corpus(refused: Command, tmp_path: Path) -> None:
    assert "is a folder without text" in refused("train", tmp_path).error


def test_a_corpus_without_leave_to_read(
    refused: Command, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "open", forbidden, raising=False)
    assert "no permission" in refused("train", text).error


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"aaaa" * 100, "one distinct character"),
        (b"short", "has 5 characters"),
        (b"caf\xe9 au lait\n" * 20, "line 1, byte offset 3"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
    ],
    ids=["empty", "one character", "too short", "not UTF-8", "binary"],
)
def test_a_corpus_that_is_no_text_to_learn_from(
    refused: Command, text: Path, data: bytes, why: str
) -> None:
    text.write_bytes(data)
    result = refused("train", text)
    assert why in result.error
    assert "tales.txt" in result.error


def test_a_bad_corpus_does_not_cost_the_run_it_was_to_replace(
    refused: Command, finished: Path, text: Path
) -> None:
    text.write_bytes(b"")
    assert "is empty" in refused("train", text, "--overwrite").error
    assert finished.is_dir()


def test_a_missing_validation_file(refused: Command, text: Path) -> None:
    assert "no.txt" in refused("train", text, "--val-file", "no.txt", *QUICK).error


def test_a_file_name_cannot_draw_on_the_terminal(refused: Command) -> None:
    name = "\x1b[31mred\n\x07.txt"
    assert "\x1b" not in refused("train", name, "--run", "red").err
    assert "\x1b" not in refused("train", name).err


def test_a_missing_file_whose_name_is_not_utf_8(refused: Command) -> None:
    assert "no such file" in refused("train", "caf\udce9.txt").error


def test_a_corpus_whose_name_is_not_utf_8_is_learned_from(
    textgen_command: Command, text: Path
) -> None:
    try:
        text.rename("caf\udce9.txt")
    except OSError:
        pytest.skip("the file system takes no such name")
    result = textgen_command("train", "caf\udce9.txt", *QUICK)
    assert result.code == 0, result.err


# Flags


def numeric(command: Callable[..., None]) -> list[str]:
    """The flags of a command that take a number."""
    hints = get_type_hints(command)
    kinds = (int, float, int | None, float | None)
    return [f"--{name.replace('_', '-')}" for name, kind in hints.items() if kind in kinds]


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "x", ""])
@pytest.mark.parametrize("flag", numeric(train.train))
def test_train_refuses_numbers_that_make_no_sense(
    refused: Command, text: Path, flag: str, value: str
) -> None:
    assert flag in refused("train", text, f"{flag}={value}", code=2).error


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "x", ""])
@pytest.mark.parametrize("flag", numeric(resume.resume))
def test_resume_refuses_numbers_that_make_no_sense(
    refused: Command, unfinished: Path, flag: str, value: str
) -> None:
    assert flag in refused("resume", "tales", f"{flag}={value}", code=2).error


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "x", ""])
@pytest.mark.parametrize("flag", numeric(sample.sample))
def test_sample_refuses_numbers_that_make_no_sense(
    refused: Command, finished: Path, flag: str, value: str
) -> None:
    assert flag in refused("sample", "tales", f"{flag}={value}", code=2).error


@pytest.mark.parametrize(
    "flag",
    [
        "--epochs",
        "--steps",
        "--layers",
        "--hidden",
        "--embedding",
        "--batch-size",
        "--bptt",
        "--lr",
        "--clip",
        "--val-fraction",
        "--eval-every",
        "--time",
        "--save-every",
    ],
)
def test_train_refuses_zero_of_what_there_must_be_some(
    refused: Command, text: Path, flag: str
) -> None:
    assert flag in refused("train", text, *QUICK[2:], flag, "0", code=2).error


@pytest.mark.parametrize("flag", ["--time", "--epochs", "--steps"])
def test_resume_refuses_to_go_on_for_nothing(refused: Command, unfinished: Path, flag: str) -> None:
    assert flag in refused("resume", "tales", flag, "0", code=2).error


@pytest.mark.parametrize("command", [train.train, resume.resume, sample.sample])
def test_a_whole_number_of_26_digits_is_refused_by_name(
    refused: Command, text: Path, finished: Path, command: Callable[..., None]
) -> None:
    hints = get_type_hints(command)
    for name in (name for name, kind in hints.items() if kind in (int, int | None)):
        flag = "--" + name.replace("_", "-")
        subject = text if command is train.train else "tales"
        assert flag in refused(command.__name__, subject, flag, "9" * 26, code=2).error


def test_no_texts_at_all(refused: Command, finished: Path) -> None:
    assert "--num" in refused("sample", "tales", "--num", "0", code=2).error


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--val-fraction", "1"),
        ("--dropout", "1"),
        ("--weight-drop", "1"),
        ("--layers", "65"),
        ("--embedding", "65537"),
        ("--seed", str(2**63)),
        ("--epochs", "1e308"),
    ],
)
def test_train_refuses_numbers_that_are_too_large(
    refused: Command, text: Path, flag: str, value: str
) -> None:
    assert flag in refused("train", text, *QUICK[2:], flag, value, code=2).error


@pytest.mark.parametrize(
    "value", ["", "-1m", "nan", "inf", "1e3", "3 m", "3d", "m", "0s", "9" * 400]
)
@pytest.mark.parametrize("flag", ["--time", "--save-every"])
def test_a_time_that_is_none(refused: Command, text: Path, flag: str, value: str) -> None:
    result = refused("train", text, f"{flag}={value}", code=2)
    assert f"{flag} is" in result.error
    assert f"try {flag}" in result.hint


@pytest.mark.parametrize("value", ["", "-1", "128,-1", "128,0", "128,", "1.5", "nan", "x", "65537"])
def test_a_width_that_is_none(refused: Command, text: Path, value: str) -> None:
    assert "--hidden" in refused("train", text, f"--hidden={value}", code=2).error


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--cell", "transformer", "lstm"),
        ("--optimizer", "lion", "adamw"),
        ("--schedule", "step", "cosine"),
        ("--level", "word", "char"),
        ("--precision", "int8", "bf16"),
        ("--encoding", "utf-9", "encoding"),
        ("--encoding", "hex", "encoding"),
        ("--encoding", "undefined", "encoding"),
    ],
)
def test_a_choice_that_is_not_offered(
    refused: Command, text: Path, flag: str, value: str, expected: str
) -> None:
    result = refused("train", text, flag, value, code=2)
    assert f"{flag} is {value!r}" in result.error
    assert expected in result.error
    assert f"try {flag}" in result.hint


@pytest.mark.parametrize(
    "name",
    ["..", ".", "a/b", "/", "a\\b", "a\nb", "a\tb", "\x1b[2J", "\x85", "x" * 256, "\u65e5" * 86],
)
def test_a_run_name_that_is_no_folder_name(refused: Command, text: Path, name: str) -> None:
    assert "--run is" in refused("train", text, "--run", name, code=2).error


def test_widths_and_layers_that_contradict_each_other(refused: Command, text: Path) -> None:
    result = refused("train", text, "--hidden", "128,64", "--layers", "3", code=2)
    assert "--layers is 3, --hidden names 2 widths" in result.error


BUDGETS = [
    ("--time", "1s", "--epochs", "2"),
    ("--time", "1s", "--steps", "9"),
    ("--epochs", "2", "--steps", "9"),
]


@pytest.mark.parametrize("budgets", BUDGETS)
def test_train_refuses_two_budgets(refused: Command, text: Path, budgets: tuple[str, ...]) -> None:
    error = refused("train", text, *budgets, code=2).error
    assert budgets[0] in error
    assert budgets[2] in error


@pytest.mark.parametrize("budgets", BUDGETS)
def test_resume_refuses_two_budgets(
    refused: Command, unfinished: Path, budgets: tuple[str, ...]
) -> None:
    error = refused("resume", "tales", *budgets, code=2).error
    assert budgets[0] in error
    assert budgets[2] in error


def test_two_prompts(refused: Command, finished: Path, text: Path) -> None:
    error = refused("sample", "tales", "--prompt", "a", "--prompt-file", text, code=2).error
    assert "--prompt and --prompt-file" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("trian",),
        ("--verbose",),
        ("train", "--step", "5"),
        ("train", "--steps"),
        ("train", "--overwrite=yes"),
        ("sample", "--prompt"),
        ("sample", "one", "two"),
        ("info", "one", "two"),
        ("ls", "one"),
        ("resume", "--lr", "1"),
    ],
    ids=" ".join,
)
def test_what_is_not_understood_is_answered_with_where_to_look(
    refused: Command, arguments: tuple[str, ...]
) -> None:
    assert "--help" in refused(*arguments, code=2).hint


# Prompts and texts to score


@pytest.mark.parametrize("seed", [(), ("--seed", "1")])
def test_a_prompt_with_characters_the_model_never_saw(
    refused: Command, finished: Path, seed: tuple[str, ...]
) -> None:
    error = refused("sample", "tales", "--prompt", "The €", *seed).error
    assert "the prompt has a character the model never saw" in error
    assert "'€' (U+20AC EURO SIGN) at character 5" in error


def test_a_missing_prompt_file(refused: Command, finished: Path) -> None:
    assert "no.txt" in refused("sample", "tales", "--prompt-file", "no.txt").error


def test_a_text_to_score_with_characters_the_model_never_saw(
    refused: Command, finished: Path, tmp_path: Path
) -> None:
    strange = tmp_path / "strange.txt"
    strange.write_text("The €", encoding="utf-8")
    error = refused("eval", strange).error
    assert f"{strange} has a character the model never saw: '€'" in error


def test_a_missing_text_to_score(refused: Command, finished: Path) -> None:
    assert "no such file: no.txt" in refused("eval", "no.txt").error


def test_eval_takes_a_file_or_a_part_of_its_own_text(refused: Command, finished: Path) -> None:
    error = refused("eval", "tales.txt", "--split", "val", code=2).error
    assert error.startswith("error: --split val is a part of the run's own text, and a file is")


def test_an_empty_stop_text(refused: Command, finished: Path) -> None:
    assert "--stop holds an empty text" in refused("sample", "tales", "--stop", "", code=2).error


def test_a_text_too_short_to_score(refused: Command, finished: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a", encoding="utf-8")
    assert "expected 2 or more" in refused("eval", short).error


@pytest.mark.parametrize(("flag", "value"), [("--split", "test"), ("--unknown", "guess")])
def test_eval_refuses_a_choice_that_is_not_offered(
    refused: Command, finished: Path, flag: str, value: str
) -> None:
    assert f"{flag} is {value!r}" in refused("eval", flag, value, code=2).error


# Runs


@pytest.mark.parametrize("command", ["sample", "info", "resume"])
def test_an_unknown_run(refused: Command, finished: Path, command: str) -> None:
    result = refused(command, "talse")
    assert "no run 'talse'" in result.error
    assert "did you mean tales" in result.hint


@pytest.mark.parametrize("command", ["sample", "info", "resume", "eval"])
def test_no_runs_yet(refused: Command, command: str) -> None:
    result = refused(command)
    assert "no runs yet in checkpoints" in result.error
    assert "textgen train" in result.hint


@pytest.mark.parametrize("command", ["sample", "info", "resume"])
def test_a_missing_checkpoint_file(refused: Command, command: str) -> None:
    assert "gone.safetensors" in refused(command, "gone.safetensors").error


def test_a_run_that_exists_is_not_started_over(
    refused: Command, finished: Path, text: Path
) -> None:
    result = refused("train", text)
    assert "run 'tales' exists already" in result.error
    assert "textgen resume tales" in result.hint
    assert "--overwrite" in result.hint


def test_a_finished_run_is_not_resumed_for_nothing(refused: Command, finished: Path) -> None:
    result = refused("resume", "tales")
    assert "is finished" in result.error
    assert "textgen resume tales --steps" in result.hint


def test_weights_alone_are_not_resumed(refused: Command, finished: Path) -> None:
    shutil.copyfile(finished / "best.safetensors", finished / "last.safetensors")
    assert "holds weights alone" in refused("resume", "tales").error


def test_a_run_without_its_last_checkpoint_is_not_resumed(refused: Command, finished: Path) -> None:
    (finished / "last.safetensors").unlink()
    assert "last.safetensors" in refused("resume", "tales").error


# Checkpoints


def with_record(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """A checkpoint with another record in its header."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    record = json.loads(header["__metadata__"]["textgen"])
    edit(record)
    header["__metadata__"]["textgen"] = json.dumps(record)
    header["__metadata__"]["digest"] = "0" * 64
    new = json.dumps(header).encode()
    new = new.replace(b"0" * 64, hashlib.sha256(new).hexdigest().encode(), 1)
    return len(new).to_bytes(8, "little") + new + data[end:]


def of_a_newer_version(data: bytes) -> bytes:
    return with_record(data, lambda record: record.update(version=99))


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is empty"),
    "cut short in its header": (lambda data: data[:100], "is truncated"),
    "cut short in its arrays": (lambda data: data[:-1], "is damaged"),
    "not safetensors": (lambda data: b"Once upon a time\n" * 50, "is not a safetensors file"),
    "of another program": (lambda data: save({"a": np.zeros(3)}), "of another program"),
    "of a newer version": (of_a_newer_version, "format version 99"),
}
COMMANDS = [("sample", "tales"), ("info", "tales"), ("eval", "-c", "tales"), ("resume", "tales")]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_damaged_checkpoint(
    refused: Command, finished: Path, command: tuple[str, ...], damage: str
) -> None:
    harm, why = DAMAGES[damage]
    for path in finished.glob("*.safetensors"):
        path.write_bytes(harm(path.read_bytes()))
    assert why in refused(*command).error


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_checkpoint_without_leave_to_read(
    refused: Command, finished: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "open_regular", forbidden)
    assert "Permission denied" in refused(*command).error


PARTS = (
    "model training corpus vocabulary fingerprint train_characters val_characters step seconds"
    " device threads history kind"
).split()


@pytest.mark.parametrize("value", ["missing", None, "x", [1], {"x": 1}], ids=str)
@pytest.mark.parametrize("part", PARTS)
def test_no_record_however_wrong_takes_a_command_by_surprise(
    textgen_command: Command, unfinished: Path, part: str, value: object
) -> None:
    def edit(record: dict[str, Any]) -> None:
        if value == "missing":
            del record[part]
        else:
            record[part] = value

    for path in unfinished.glob("*.safetensors"):
        path.write_bytes(with_record(path.read_bytes(), edit))
    for command in COMMANDS:
        result = textgen_command(*command)
        assert not result.err.startswith("error: unexpected "), command
        assert result.code in (0, 1)


# The corpus of a run


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def change(text: Path) -> None:
    """Into another text of the same characters."""
    text.write_text(prose(2000)[::-1], encoding="utf-8")


@pytest.mark.parametrize("command", [("resume", "tales"), ("eval", "-c", "tales")])
def test_a_corpus_that_changed(
    refused: Command, text: Path, unfinished_on_text: Path, command: tuple[str, ...]
) -> None:
    before = fingerprint(text)
    change(text)
    error = refused(*command).error
    assert "the corpus changed" in error
    assert before in error
    assert fingerprint(text) in error


def test_a_corpus_that_changed_by_a_new_character(
    refused: Command, text: Path, unfinished_on_text: Path
) -> None:
    text.write_text(prose(2000) + "€", encoding="utf-8")
    assert "the corpus changed" in refused("resume", "tales").error


def test_another_corpus_in_its_place(refused: Command, text: Path, unfinished: Path) -> None:
    change(text)
    assert "the corpus changed" in refused("resume", "tales", "--corpus", text).error


def test_a_corpus_that_moved_is_missed(
    refused: Command, text: Path, unfinished_on_text: Path
) -> None:
    text.rename(text.with_name("moved.txt"))
    result = refused("resume", "tales")
    assert f"no such file: {text}" in result.error
    assert "--corpus" in result.hint


def test_a_corpus_that_moved_is_found_where_it_is_said_to_be(
    textgen_command: Command, text: Path, unfinished_on_text: Path
) -> None:
    moved = text.rename(text.with_name("moved.txt"))
    assert textgen_command("resume", "tales", "--corpus", moved.name).code == 0
    header = read_header(unfinished_on_text / "last.safetensors")
    assert header.record.step == 4
    assert header.record.corpus.files == (str(moved),)


# Devices


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_device_that_is_not_there(
    refused: Command, text: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = refused("train", text, "--device", device)
    assert f"no device {device} on this machine; it has cpu" in result.error
    assert result.hint == "hint: try --device auto"


@pytest.mark.parametrize("device", ["banana", "", "cuda:x", "meta", "cpu:0", "mps:0"])
def test_a_device_that_is_none(refused: Command, text: Path, device: str) -> None:
    assert "--device is" in refused("train", text, f"--device={device}", code=2).error


def test_resume_on_a_device_that_is_not_there(
    refused: Command, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no device cuda" in refused("resume", "tales", "--device", "cuda").error


@pytest.mark.parametrize("command", ["sample", "info", "resume"])
def test_a_name_too_long_for_any_file(refused: Command, finished: Path, command: str) -> None:
    error = refused(command, "x" * 5000).error
    assert "File name too long" in error
    assert len(error) < 500


def test_a_precision_the_device_has_not(refused: Command, text: Path) -> None:
    arguments = ("--device", "cpu", "--precision", "fp16", "--steps", "2")
    assert "fp16 needs a GPU" in refused("train", text, *arguments).error


# Saving


def test_a_file_where_the_runs_should_go(
    textgen_command: Command, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    before = files(tmp_path)
    result = textgen_command("train", text, *QUICK, "--checkpoints", "taken")
    assert result.code == 1
    assert result.error.startswith("error: cannot save in taken/tales")
    assert "--checkpoints" in result.hint
    assert files(tmp_path) == before


@pytest.mark.parametrize("command", ["resume", "sample", "play", "eval", "info", "ls"])
def test_a_folder_of_runs_that_is_none(refused: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("taken", "loop", "/dev/null"):
        result = refused(command, "--checkpoints", name)
        assert result.error.startswith(f"error: cannot list the runs in {name}: ")


def test_a_disk_that_is_full_from_the_start(
    textgen_command: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(tmp_path)
    monkeypatch.setattr(os, "fsync", full_disk)
    result = textgen_command("train", text, *QUICK)
    assert result.code == 1
    assert "cannot save in checkpoints/tales: No space left" in result.error
    assert files(tmp_path) == before


@pytest.mark.parametrize("writes", range(6))
def test_a_disk_that_fills_up_costs_nothing_that_was_saved(
    textgen_command: Command, unfinished: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    left = iter(range(writes))

    def fsync(descriptor: int) -> None:
        if next(left, None) is None:
            full_disk()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    result = textgen_command("resume", "tales")
    assert result.code == 1
    assert result.error.startswith("error: cannot save in checkpoints/tales: No space left")
    assert "what was saved before is whole" in result.hint
    assert not list(unfinished.glob("*.partial"))
    monkeypatch.setattr(os, "fsync", real)
    assert textgen_command("sample", "tales", "--length", "5").code == 0
    if read_header(unfinished / "last.safetensors").record.step == 2:
        assert textgen_command("resume", "tales").code == 0


def test_a_disk_that_is_full_at_the_end_leaves_every_file_as_it_was(
    textgen_command: Command, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(unfinished)
    monkeypatch.setattr(os, "fsync", full_disk)
    assert textgen_command("resume", "tales").code == 1
    assert files(unfinished) == before


def test_a_loss_that_is_no_number_leaves_the_last_save_whole(
    textgen_command: Command, text: Path
) -> None:
    wild = ("--steps", "50", "--lr", "1e30", "--warmup", "0")
    result = textgen_command("train", text, *QUICK, *wild)
    assert result.code == 1
    assert "the loss became" in result.error
    assert "--lr" in result.hint
    assert textgen_command("info", "tales").code == 0


# For whoever looks for the cause


def test_the_exception_itself_is_raised_when_it_is_asked_for(
    textgen_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTGEN_DEBUG", "1")
    with pytest.raises(CorpusError, match="no such file"):
        textgen_command("train", "no.txt")


def test_an_unforeseen_exception_is_two_lines_that_say_how_to_see_it(
    textgen_command: Command, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(stream_module, "open", broken, raising=False)
    result = textgen_command("train", text)
    assert result.code == 1
    assert result.err.splitlines() == [
        "error: unexpected ZeroDivisionError: division by zero",
        "hint: TEXTGEN_DEBUG=1 shows where; please report it",
    ]
    monkeypatch.setenv("TEXTGEN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        textgen_command("train", text)


def test_a_state_is_not_saved_over_another_file_and_that_is_found_out_first(
    refused: Command, finished: Path, text: Path
) -> None:
    for path in (text, finished / "best.safetensors", finished):
        result = refused("sample", "tales", "--save-state", path)
        assert f"cannot save the state in {path}" in result.error
