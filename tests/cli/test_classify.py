from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import prose, train

import textgen
from textgen.cli.app import app
from textgen.errors import CorpusError, UsageError


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


def test_a_text_without_a_document_is_refused(
    runs: Path, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    text.write_text("\n\n\n")
    both = ["-c", str(runs / "low"), "-c", str(lines)]
    with pytest.raises(CorpusError, match=f"text is empty, as {lines} reads it"):
        run(capsys, text, *both)
    assert len(run(capsys, text, *both, "--lines")) == 3


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


def test_the_order_of_the_models_makes_no_difference(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(runs / "low.txt", runs, run="bytes", steps=5, level="byte")
    text, labels = tmp_path / "text", tmp_path / "labels"
    text.write_bytes(b"the fox said\r\nold wise tail\r\n")
    labels.write_bytes(b"low\r\nbytes\r\n")
    for more in ([], ["--lines"]):
        found = []
        for names in (["low", "bytes"], ["bytes", "low"]):
            which = [word for name in names for word in ("-c", name)]
            rows = run(capsys, text, *which, "--checkpoints", runs, "--json", *more)
            found.append([json.loads(row)["bits"] for row in rows])
        assert found[0] == found[1]
    which = ["-c", "bytes", "-c", "low", "--checkpoints", runs]
    assert run(capsys, text, *which, "--lines", "--labels", labels)[-1].endswith("of 2 lines")


def test_a_text_of_documents_is_one_of_documents(
    runs: Path, lines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = lines.parent / "words.txt"
    row = run(capsys, words, "-c", lines, "-c", runs / "low", "--json")[0]
    found = json.loads(row)
    whole = textgen.load(lines).score(words)
    assert found["run"] == str(lines)
    expected = whole.bits_per_char * whole.characters
    assert found["bits"][str(lines)] == pytest.approx(expected, rel=1e-5)


def test_an_empty_text_is_nobodys(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").touch()
    for more in ([], ["--lines"]):
        with pytest.raises(CorpusError, match="is empty"):
            run(capsys, tmp_path / "text", "-c", "low", "-c", "high", "--checkpoints", runs, *more)


def test_lines_that_are_read_as_more_by_another_model_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(runs / "low.txt", runs, run="kept", steps=1, newlines="keep")
    (tmp_path / "text").write_bytes(b"the fox\rsaid\n")
    which = ["-c", "low", "-c", "kept", "--checkpoints", runs]
    with pytest.raises(CorpusError, match="has 2 lines as low reads it, 1 as kept does"):
        run(capsys, tmp_path / "text", *which, "--lines")
    assert len(run(capsys, tmp_path / "text", *which)) == 1


@pytest.mark.parametrize("raw", [b"low\xff\n", b"low\0\n"])
def test_a_file_of_labels_that_is_no_text_has_a_hint_that_can_be_followed(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: bytes
) -> None:
    text, labels = tmp_path / "text", tmp_path / "labels"
    text.write_text("the fox said\n")
    labels.write_bytes(raw)
    both = ["-c", "low", "-c", "high", "--checkpoints", runs]
    with pytest.raises(CorpusError) as error:
        run(capsys, text, *both, "--lines", "--labels", labels)
    assert error.value.hint == "convert it to UTF-8, for example with iconv"


def test_a_text_ends_where_its_file_does(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(lines, tmp_path / "copy")
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("fox", "crow"):
        (folder / f"{name}.txt").write_text(f"old{name}")  # without a line end
    both = ["-c", lines, "-c", copy]
    rows = run(capsys, folder, *both, "--lines")
    assert [row.split()[-1] for row in rows] == ["oldcrow", "oldfox"]
    whole = json.loads(run(capsys, folder, *both, "--json")[0])["bits"]
    scored = [textgen.load(lines).score(f"old{name}") for name in ("fox", "crow")]
    cost = sum(found.bits_per_char * found.characters for found in scored)
    assert [*whole.values()] == pytest.approx([cost, cost], rel=1e-5)
