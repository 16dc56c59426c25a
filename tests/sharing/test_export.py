from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import textgen
from textgen.cli import app
from textgen.errors import CheckpointError, CorpusError, RunError, UsageError
from textgen.sharing.output import ending
from textgen.sharing.weights import published
from textgen.store.checkpoint import read_header
from textgen.store.contents import reread_corpus


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        *(("charts/my loss.pdf", "try 'charts/my loss.svg'"), ("a/.html", "try a/html.svg")),
        *((".", "try textgen.svg"), ("/", "try /textgen.svg")),
    ],
)
def test_another_ending_is_tried_in_the_same_folder(path: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"expected \.svg or \.png") as caught:
        ending(Path(path), (".svg", ".png"))
    assert caught.value.hint == hint


def test_weights_alone_write_what_the_run_writes(trained: Path, tmp_path: Path) -> None:
    model, path = textgen.load(trained), tmp_path / "weights.safetensors"
    model.export(path)
    shared = textgen.load(path)
    assert "".join(shared.generate(seed=1)) == "".join(model.generate(seed=1))
    for name, array in model.weights.items():
        np.testing.assert_array_equal(shared.weights[name], array)


def test_weights_alone_name_no_path_and_no_history(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    textgen.load(trained).export(path)
    record, original = read_header(path).record, textgen.load(trained).header.record
    assert record.corpus.files == ("tales.txt",)
    assert [event.step for event in record.history] == [original.step]
    assert record.best is not None
    assert record.best.val_nats == original.best.val_nats  # type: ignore[union-attr]
    content = path.read_bytes()
    for file in original.corpus.files:
        assert str(Path(file).parent).encode() not in content
    assert b"tales" in content


def test_an_anonymous_export_does_not_name_its_text(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    textgen.load(trained).export(path, anonymous=True)
    content = path.read_bytes()
    assert b"tales" not in content
    assert textgen.load(trained).header.record.fingerprint.encode() not in content
    assert len("".join(textgen.load(path).generate(length=50))) == 50
    with pytest.raises(CorpusError, match="was exported without the name of its text"):
        reread_corpus(read_header(path))


def test_an_export_is_replaced_and_nothing_else_is(trained: Path, tmp_path: Path) -> None:
    model = textgen.load(trained)
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    model.export(path)
    model.export(path, anonymous=True)
    assert read_header(path).record.fingerprint == ""
    other.symlink_to(path)
    with pytest.raises(RunError, match="it is a symbolic link"):
        model.export(other)
    other.unlink()
    other.write_text("mine")
    with pytest.raises(RunError, match="it is no export"):
        model.export(other)
    assert other.read_text() == "mine"
    other.unlink()
    os.mkfifo(other)
    with pytest.raises(RunError, match="it is a pipe"):
        model.export(other)
    checkpoint = model.header.path.read_bytes()
    with pytest.raises(RunError, match="it is no export"):
        model.export(model.header.path)
    assert model.header.path.read_bytes() == checkpoint
    with pytest.raises(RunError, match="which is no folder"):
        model.export(tmp_path / "none" / "a.safetensors")


def test_an_unknown_ending_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in '.pt'; expected .html or .safetensors or .onnx"):
        textgen.load(trained).export(tmp_path / "a.pt")
    with pytest.raises(UsageError, match="has no ending"):
        textgen.load(trained).export(tmp_path / "a")


def test_a_write_that_fails_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="No space left"):
        textgen.load(trained).export(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_not_resumed_from(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    textgen.load(trained).export(path)
    with pytest.raises(CheckpointError, match="holds weights alone"):
        list(textgen.resume(path))


def test_the_command_says_what_it_wrote(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "weights.safetensors"
    monkeypatch.setattr(sys, "argv", ["textgen", "export", str(trained), str(path)])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert not caught.value.code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"wrote {path}, ")


def test_no_loss_is_told_of_weights_that_it_was_not_measured_with(trained: Path) -> None:
    """Those of a `last` are without the temperature of its evaluations."""
    record = read_header(trained / "last.safetensors").record
    assert published(record, anonymous=False).best is not None
    with_aside = replace(record, training=replace(record.training, aside=900))
    assert published(with_aside, anonymous=False).best is None
    assert published(replace(with_aside, kind="best"), anonymous=False).best is not None
