from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import prose, train

import textgen
from textgen.cli import app, info
from textgen.config import Choices
from textgen.events import Planned
from textgen.store.checkpoint import read_arrays, read_header


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["textgen", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        app.main()
    return int(caught.value.code or 0)


def test_info_shows_every_setting_of_the_run(trained: Path) -> None:
    header = read_header(trained / "last.safetensors")
    rows = info._rows(header)
    assert all(len(f"{n:<6} {row}") <= 80 for n, row in rows if n not in ("file", "text"))
    shown = " ".join(value for _, value in rows)
    record = header.record
    settings = {**vars(record.corpus), **vars(record.model), **vars(record.training)}
    for name in (
        "vocabulary_size",
        "segment_start",
        "segment_progress",
        "val_file",
        "skip",
        "backward",
        "keep_mixing",
        "documents",
        "dedupe",
        "filled",
        "accumulate",
        "deterministic",
    ):
        settings.pop(name)
    settings["hidden"] = "2 x 12"
    settings["files"] = record.corpus.files[0]
    for name, value in settings.items():
        text = f"{value:g}" if isinstance(value, float) else f"{value}"
        assert re.search(rf"(?<![\w.]){re.escape(text)}(?![\w.])", shown), name


def test_the_command_line_it_prints_trains_the_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "old tales.txt"
    text.write_text(prose(3000))
    chosen = {"cell": "gru", "hidden": (12, 12), "embedding": 6, "skip": False, "dropout": 0.125}
    chosen |= {"weight_drop": 0.1, "batch_size": 4, "bptt": 16, "optimizer": "rmsprop", "lr": 0.01}
    chosen |= {"schedule": "cosine", "warmup": 3, "clip": 0.75, "weight_decay": 0.01, "seed": 9}
    chosen |= {"val_fraction": 0.2, "eval_every": 7, "save_every": 5.0, "sample_every": 0}
    list(textgen.train(text, run="it's one", steps=9, precision="fp32", **chosen))
    assert run(monkeypatch, "info", "it's one", "--command") == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == ["textgen", "train", str(text)]
    for field in fields(Choices):
        if field.name not in ("time", "epochs", "layers", "val_file", "cache", "documents"):
            spelling = field.name.replace("_", "-")
            assert any(re.match(rf"--(no-)?{spelling}\b", word) for word in words), field.name
    before = read_arrays(read_header(tmp_path / "checkpoints/it's one/last.safetensors"), "model")
    assert run(monkeypatch, *words[1:], "--overwrite") == 0
    after = read_header(tmp_path / "checkpoints/it's one/last.safetensors")
    for name, array in read_arrays(after, "model")["model"].items():
        np.testing.assert_array_equal(array, before["model"][name])


def test_no_name_or_path_forges_a_line(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "tales\nloss   0.0001\tnats"
    shutil.copytree(trained, tmp_path / "checkpoints" / name)
    assert run(monkeypatch, "ls") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert run(monkeypatch, "info", name) == 0
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith("loss ") for row in rows) == 1
    assert run(monkeypatch, "info", name, "--command") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "--run=tales\\012loss   0.0001\\011nats" in line
    assert run(monkeypatch, "resume", name) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("name", ["-x", "two  words", "$HOME", "it's"])
def test_a_suggested_command_can_be_typed(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "train", corpus, f"--run={name}", "--steps=2", "--hidden=8") == 0
    suggested = capsys.readouterr().err.splitlines()[-1]
    words = shlex.split(suggested.removeprefix("write with it: "))
    assert words[:2] == ["textgen", "sample"]
    assert run(monkeypatch, *words[1:], "--length=9") == 0
    assert run(monkeypatch, "resume", "--steps=1", *words[2:]) == 0
    capsys.readouterr()
    assert run(monkeypatch, "resume", *words[2:]) == 1
    suggested = capsys.readouterr().err.splitlines()[-1].removeprefix("hint: extend it: ")
    assert run(monkeypatch, *shlex.split(suggested)[1:]) == 0


@pytest.mark.parametrize("shape", [{"hidden": (12,), "layers": 1}, {"hidden": (12,), "layers": 2}])
def test_the_command_line_makes_as_many_layers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shape: dict[str, object],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(prose(3000))
    list(textgen.train("a.txt", checkpoints="runs", steps=2, embedding=6, **shape))
    assert run(monkeypatch, "info", "a", "--checkpoints", "runs", "--command") == 0
    words = shlex.split(capsys.readouterr().out)
    assert "--checkpoints=runs" in words
    assert run(monkeypatch, *words[1:], "--run=b", "--batch-size=4") == 0
    first, again = (read_header(tmp_path / f"runs/{n}/last.safetensors") for n in "ab")
    assert again.record.model == first.record.model


def test_the_command_line_of_an_export_names_its_file(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    textgen.load(trained).export(tmp_path / "shared.safetensors")
    assert run(monkeypatch, "info", tmp_path / "shared.safetensors", "--command") == 0
    words = shlex.split(capsys.readouterr().out)
    assert "--run=shared" in words
    assert not any(word.startswith("--checkpoints") for word in words)
    assert run(monkeypatch, "info", tmp_path / "shared.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["run"] == "shared"


@pytest.mark.parametrize(
    ("within", "named", "folder"),
    [
        ("runs/a", "last.safetensors", ".."),
        ("runs", "a/last.safetensors", "."),
        (".", "runs/a", "runs"),
        ("runs/a", "../a", ".."),
    ],
)
def test_the_command_line_names_the_folder_from_where_it_is_typed(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    within: str,
    named: str,
    folder: str,
) -> None:
    shutil.copytree(trained, tmp_path / "runs/a")
    monkeypatch.chdir(tmp_path / within)
    assert run(monkeypatch, "info", named, "--command") == 0
    assert f"--checkpoints={folder}" in shlex.split(capsys.readouterr().out)


def test_a_command_line_says_what_it_cannot_name(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = tmp_path / "a.txt"
    text.write_text(prose(3000))
    monkeypatch.chdir(tmp_path)
    list(textgen.train(text, base=trained, steps=2, run="tuned"))
    assert run(monkeypatch, "info", "tuned", "--command") == 0
    step = read_header(trained / "best.safetensors").record.step
    said = f"note: it began with the weights of {trained.name} at step {step}; --from takes"
    assert said in capsys.readouterr().err
    textgen.load("checkpoints/tuned").export(tmp_path / "shared.safetensors")
    assert run(monkeypatch, "info", "shared.safetensors", "--command") == 0
    assert "an export keeps no folders" in capsys.readouterr().err


def test_the_command_line_names_the_folder_unless_it_is_the_usual_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(trained / "last.safetensors")
    monkeypatch.setenv("TEXTGEN_CHECKPOINTS", str(header.folder))
    assert "--checkpoints" not in info.command_line(header)
    monkeypatch.setenv("TEXTGEN_CHECKPOINTS", "elsewhere")
    assert f"--checkpoints={header.folder}" in info.command_line(header)


def test_the_command_line_of_an_export_names_no_old_text_to_mix_in(
    trained: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    how = {"steps": 2, "batch_size": 4, "bptt": 16, "base": trained, "keep_mixing": 0.25}
    list(textgen.train(corpus, checkpoints=tmp_path, run="tuned", **how))
    textgen.load(tmp_path / "tuned").export(tmp_path / "w.safetensors")
    for file, mixed in ((tmp_path / "tuned", True), (tmp_path / "w.safetensors", False)):
        assert run(monkeypatch, "info", file, "--command") == 0
        words = shlex.split(capsys.readouterr().out)
        assert any(word.startswith("--keep-mixing") for word in words) is mixed
        assert any(word.startswith("--from") for word in words) is mixed


@pytest.mark.parametrize(
    ("level", "shown"),
    [("char", f"{len({*prose(2000)}) - 1} distinct"), ("byte", "256 distinct")],
)
def test_the_end_of_a_document_is_no_character(tmp_path: Path, level: str, shown: str) -> None:
    text = tmp_path / "a.txt"
    text.write_text(prose(2000))
    plan, *_ = train(text, tmp_path, steps=1, documents="line", level=level)
    record = read_header(tmp_path / "a" / "last.safetensors").record
    assert isinstance(plan, Planned)
    for run in (plan, record):
        assert dict(info.settings_lines(run))["chars"].endswith(f", {shown}")


def test_a_loss_of_bytes_is_per_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(1000))
    train(tmp_path / "a.txt", tmp_path, steps=1, level="byte")
    rows = dict(info._rows(read_header(tmp_path / "a" / "last.safetensors")))
    assert re.fullmatch(r"[\d.]+ nats/byte, [\d.]+ bits/byte at its best", rows["loss"])
