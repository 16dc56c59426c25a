from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from conftest import prose, train
from rich.cells import cell_len

from textgen.cli.app import app
from textgen.cli.surprise import line_rows, shown
from textgen.errors import CorpusError, UsageError
from textgen.inference.surprise import Character, Line

ODD = Character("Q", 9.4, ("e", "Q", "\n"))
PLAIN = Character("a", 1.0, ())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    app([str(word) for word in words], standalone_mode=False)
    return capsys.readouterr().out


def test_a_row_has_its_bits_and_what_was_likelier() -> None:
    assert [*shown([PLAIN, ODD, Character("\n", 0.6, ())])] == [
        " 3.67  aQ␊",
        "       Q 9 bits, likelier e",
    ]


def test_rows_fit_80_columns_whatever_stands_in_them() -> None:
    rows = [*shown([PLAIN._replace(text="猫")] * 100 + [ODD] * 100)]
    assert max(map(cell_len, rows)) <= 80
    assert sum(row.count("猫") for row in rows) == 100
    assert rows[-1].endswith("…")


def test_there_are_colours_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\033" not in "".join(shown([ODD]))
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert next(shown([PLAIN, ODD])) == " 5.20  a\033[30;48;5;209mQ\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in "".join(shown([ODD]))


def test_lines_are_cut_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [Line(1, 2.0, 101, "x" * 100)]
    assert [*line_rows(long, "a", None, False)] == ["  2.00       1  " + "x" * 100]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert [cell_len(row) for row in line_rows(long, "a", None, False)] == [80]


def test_rows_of_several_texts_tell_which_they_are_of(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = tmp_path / "a.txt", tmp_path / "b.txt"
    for path in paths:
        path.write_text(prose(100))
    rows = run(capsys, "eval", *paths, "-c", trained, "--lines", "--json").splitlines()
    of = [json.loads(row)["file"] for row in rows]
    assert of == [str(path) for path in paths for _ in range(len(rows) // 2)]
    for flag in ("--lines", "--show"):
        shown = run(capsys, "eval", *paths, "-c", trained, flag).splitlines()
        assert [row for row in shown if row in map(str, paths)] == [*map(str, paths)]


def test_eval_tells_accuracy_and_calibration(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(300))
    first, second = run(capsys, "eval", path, "-c", trained).splitlines()
    assert "nats/char" in first
    assert second.split()[0] == "perplexity"
    assert len(second) <= 80
    facts = json.loads(run(capsys, "eval", path, "-c", trained, "--json"))
    assert 0 < facts["accuracy"] <= facts["top5_accuracy"] < 1
    assert 0 < facts["calibration_error"] < 1
    shown = run(capsys, "eval", path, "-c", trained, "--show")
    assert "\033" not in shown
    assert "The" in shown


def test_the_oddest_lines_come_first(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = prose(900, seed=3).splitlines()
    text[7] = "nnnnnnnnvvvvvvvvTTTT"
    path = tmp_path / "a.txt"
    path.write_text("\n".join(text))
    flags = ["eval", path, "-c", trained, "--lines"]
    every = [json.loads(row) for row in run(capsys, *flags, "--json").splitlines()]
    assert [line["text"] for line in every] == text
    top = [json.loads(row) for row in run(capsys, *flags, "--json", "--top", 2).splitlines()]
    assert top[0]["number"] == 8
    assert top == sorted(every, key=lambda line: -line["bits_per_char"])[:2]
    assert run(capsys, *flags, "--top", 1).split() == [
        f"{top[0]['bits_per_char']:.2f}",
        "8",
        text[7],
    ]


@pytest.mark.parametrize(
    "flags",
    [["--show", "--lines"], ["--show", "--json"], ["--top", "3"], ["--lines", "--top", "0"]],
)
def test_flags_that_contradict_are_refused(trained: Path, flags: list[str]) -> None:
    with pytest.raises(UsageError):
        app(["eval", "-c", str(trained), *flags], standalone_mode=False)


def test_many_parts_side_by_side_find_the_same_and_say_how(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(5000, seed=4))
    exact = json.loads(run(capsys, "eval", path, "-c", trained, "--json"))
    app(["eval", str(path), "-c", str(trained), "--json", "--fast"], standalone_mode=False)
    out, err = capsys.readouterr()
    fast = json.loads(out)
    assert (exact["streams"], exact["warm_up"]) == (1, 0)
    assert (fast["streams"], fast["characters"]) == (4, 4999)
    assert fast["nats_per_char"] == pytest.approx(exact["nats_per_char"], abs=1e-4)
    assert f"4 parts side by side; warmed up over {fast['warm_up']} characters at most" in err
    assert len(run(capsys, "eval", path, "-c", trained, "--lines", "--fast").splitlines()) > 50


def test_documents_are_shown_line_by_line(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("foxking\nwwww\nthethe\n")
    rows = run(capsys, "eval", path, "-c", lines, "--lines", "--json").splitlines()
    found = [json.loads(row) for row in rows]
    assert [line["text"] for line in found] == ["foxking", "wwww", "thethe"]
    facts = json.loads(run(capsys, "eval", path, "-c", lines, "--json"))
    bits = sum(line["bits_per_char"] * line["characters"] for line in found)
    assert bits == pytest.approx(facts["bits_per_char"] * 20)
    assert 0 < facts["accuracy"] < 1
    assert "foxking␊" in run(capsys, "eval", path, "-c", lines, "--show")
    with pytest.raises(UsageError, match="is of documents"):
        app(["eval", str(path), "-c", str(lines), "--fast"], standalone_mode=False)


def test_what_is_held_out_is_named_and_bytes_are_called_bytes(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = tmp_path / "held.txt"
    held_out.write_text("é " + prose(500), "utf-8")
    train(corpus, tmp_path, run="a", steps=1, level="byte", val_file=held_out)
    first = run(capsys, "eval", "-c", tmp_path / "a").splitlines()[0]
    assert "bits/byte" in first
    assert first.endswith(f"502 bytes  val part of {held_out}")
    learned = run(capsys, "eval", "-c", tmp_path / "a", "--split", "train").splitlines()[0]
    assert learned.endswith(f"train part of {corpus}")


@pytest.mark.parametrize("flag", ["--lines", "--show"])
@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_of_less_than_two_characters_has_no_rows(
    trained: Path, tmp_path: Path, flag: str, text: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(CorpusError, match="no character after its first one; expected 2 or more"):
        app(["eval", str(tmp_path / "a.txt"), "-c", str(trained), flag], standalone_mode=False)
