from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import train

import textgen
from textgen.cli.app import app
from textgen.cli.copying import Copying


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    app([str(word) for word in words], standalone_mode=False)
    return capsys.readouterr()


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("pydivsufsort")


def test_what_was_copied_is_told_beside_the_text(
    trained: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["sample", trained, "--seed", 1, "--length", 200, "--no-echo"]
    plain, _ = run(capsys, *flags)
    text, told = run(capsys, *flags, "--novelty")
    assert text == plain
    facts = json.loads(run(capsys, *flags, "--novelty", "--json")[0])
    assert facts["text"] == text
    longest = facts["copied_passage"]
    assert len(longest) == facts["longest_copied"] > 1
    assert longest in text
    known = corpus.read_text()[:3600]
    assert longest in known
    assert not any(text[i : i + len(longest) + 1] in known for i in range(200 - len(longest)))
    assert f"the longest has {len(longest)}: " in told
    assert "0.0% is in passages of 30 characters or more" in told


def test_a_passage_is_told_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "manual.md"
    corpus.write_text("set `seed=1` and `lr=0.1`, then go on\n" * 50)
    train(corpus, tmp_path, steps=2)
    copying = Copying(textgen.load(tmp_path / "manual"))
    assert [*copying.heard(["set `seed=1` and `lr=0.1`, then go on"])] != []
    copying.tell()
    assert "set `seed=1` and `lr=0.1`" in capsys.readouterr().err


def test_what_was_copied_by_heart_is_found(trained: Path, corpus: Path) -> None:
    copying = Copying(textgen.load(trained))
    passage = corpus.read_text()[1000:1050]
    assert [*copying.heard([passage[:20], passage[20:], "x" * 50])] != []
    facts = copying.facts()
    assert facts["copied_share"] == pytest.approx(0.5, abs=0.02)
    assert str(facts["copied_passage"]).startswith(passage)
