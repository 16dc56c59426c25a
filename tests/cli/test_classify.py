from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import prose, train

from textgen.cli.app import app
from textgen.errors import UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, of words and of the same words in capitals."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "low.txt").write_text(prose(3000).lower() + "QUICK")
    (folder / "high.txt").write_text(prose(3000).upper() + "quick")
    for name in ("low", "high"):
        train(folder / f"{name}.txt", folder, steps=40, lr=0.02)
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    app(["classify", *map(str, words)], standalone_mode=False)
    return capsys.readouterr().out.splitlines()


def test_each_line_goes_to_the_model_that_finds_it_likeliest(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, labels = tmp_path / "text", tmp_path / "labels"
    text.write_text("the fox said\nTHE CROW SAW\nold wise tail\n")
    labels.write_text("low\nhigh\nhigh\n")
    where = [text, "-c", "low", "-c", "high", "--checkpoints", runs]
    rows = run(capsys, *where, "--lines", "--labels", labels)
    assert [row.split()[0] for row in rows[:3]] == ["low", "high", "low"]
    assert [row.split(maxsplit=2)[2] for row in rows[:3]] == text.read_text().splitlines()
    assert rows[3] == "accuracy 66.7% of 3 lines"
    facts = [json.loads(row) for row in run(capsys, *where, "--lines", "--json")]
    for each in facts:
        assert abs(each["bits"]["low"] - each["bits"]["high"]) == pytest.approx(each["margin_bits"])
    whole = json.loads(run(capsys, *where, "--json")[0])
    assert whole["run"] == "low"
    assert whole["text"] == str(text)


def test_what_makes_no_sense_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    text.write_text("the fox\nTHE CROW\n")
    both = ["-c", "low", "-c", "high", "--checkpoints", runs]
    for labels, why in (("low\n", "has 1 lines; expected 2"), ("low\nx\n", "line 2 of .* is 'x'")):
        (tmp_path / "labels").write_text(labels)
        with pytest.raises(UsageError, match=why):
            run(capsys, text, *both, "--lines", "--labels", tmp_path / "labels")
    with pytest.raises(UsageError, match="without --lines"):
        run(capsys, text, *both, "--labels", text)
    with pytest.raises(UsageError, match="two runs or more, each once"):
        run(capsys, text, "-c", "low", "--checkpoints", runs)
