from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS, prose, train

import textgen
from textgen.errors import MissingLibrary, RunError
from textgen.inference.stepper import Stepper
from textgen.sharing.onnx import is_onnx

PAGE = Path(__file__).parents[2] / "docs" / "sharing.md"
KINDS = {
    "lstm": {"documents": "line", "hidden": (12, 12, 8)},
    "gru": {"level": "byte"},
    "rnn": {"backward": True, "skip": False},
}


@pytest.mark.parametrize("cell", KINDS)
def test_it_gives_our_logits_and_the_page_writes_with_it(
    cell: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from onnxruntime import InferenceSession

    text = tmp_path / "tales.txt"
    text.write_text("\n".join(f"{a}{b}" for a in WORDS for b in WORDS) + "\n" + prose(2000))
    train(text, tmp_path, steps=3, cell=cell, **KINDS[cell])
    model = textgen.load(tmp_path / "tales")
    path = tmp_path / "model.onnx"
    capfd.readouterr()
    model.export(path, anonymous=cell == "rnn")
    assert capfd.readouterr() == ("", "")
    assert (b"tales" in path.read_bytes()) == (cell != "rnn")
    assert str(Path(textgen.__file__).parents[1]).encode() not in path.read_bytes()
    session = InferenceSession(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map["textgen"])
    assert about["characters"] == model.vocabulary.characters
    assert about["trained_on"] == ["unnamed" if cell == "rnn" else "tales.txt"]
    rng = np.random.default_rng(1)
    streams = rng.integers(0, len(model.vocabulary), (3, 200))  # another number than exported with
    streams[:, 60:120] = streams[:, :60]
    steppers = [Stepper(model.folded) for _ in streams]
    axes = model.header.record.model.state
    state = {name: np.zeros((3, axis.size), np.float32) for name, axis in axes.items()}
    for ids in streams.T:
        logits, *rest = session.run(None, {"ids": ids, **state})
        state = dict(zip(axes, rest, strict=True))
        expected = [s.step(int(i)).copy() for s, i in zip(steppers, ids, strict=True)]
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
    assert is_onnx(path)

    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (example,) = (code for code in examples if "onnxruntime" in code)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, PAGE, "exec"), {})
    written = capfd.readouterr().out.removesuffix("\n")
    assert len(written) == 300 if cell != "lstm" else 0 < len(written) <= 300
    assert set(written) <= {*text.read_text(), "\ufffd"} or cell == "gru"

    path.write_bytes(b"mine")
    with pytest.raises(RunError, match="it is no export"):
        model.export(path)


def test_without_the_exporter_it_says_what_to_install(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingLibrary, match="which is not installed") as caught:
        textgen.load(trained).export(tmp_path / "model.onnx")
    assert caught.value.hint == "install the extra: pip install 'textgen-lstm[onnx]'"
    assert list(tmp_path.iterdir()) == []
