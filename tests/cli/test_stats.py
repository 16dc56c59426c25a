from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import prose

from textgen.cli.app import app


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    app([str(word) for word in words], standalone_mode=False)
    return capsys.readouterr()


def test_a_text_is_described_within_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(prose(1000) + "é猫\x1b[31m\r\n", encoding="utf-8")
    out, err = run(capsys, "stats", tmp_path)
    lines = out.splitlines()
    assert lines[0].startswith("read      2 texts, 2,016 characters, ")
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out
    assert any("U+732B" in line for line in lines)
    assert "parts     1,814 to train on, 202 held out" in lines
    assert "turned CRLF line ends into LF" in err


def test_on_a_terminal_a_bar_shows_how_much_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(prose(1000))
    assert run(capsys, "stats", tmp_path)[1] == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("textgen.cli.terminal.looking", lambda stream: True)
    assert "100%" in run(capsys, "stats", tmp_path)[1]


def test_as_json_it_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(1000))
    facts = json.loads(run(capsys, "stats", path, "--json")[0])
    assert facts["characters"] == facts["train_characters"] + facts["val_characters"] == 1000
    assert facts["scripts"]["Latin"] == len({c for c in prose(1000) if c.isalpha()})
    assert facts["lines"]["lines"] == len(prose(1000)[:900].splitlines())


def test_at_level_byte_there_is_no_alphabet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 4)
    out = run(capsys, "stats", path, "--level", "byte")[0]
    assert "alphabet  bytes" in out
    assert "256 distinct" in out
    path.write_text(prose(1000))
    assert f"{len({*prose(1000)})} distinct" in run(capsys, "stats", path, "--level", "byte")[0]
    assert "rarest" not in out


def test_documents_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join([*(f"name{n}" for n in range(18)), "name3", "a" * 30]))
    out, err = run(capsys, "stats", path, "--documents", "line")
    lines = [line.rstrip() for line in out.splitlines()]
    assert "documents 20, median 5, longest 30 characters, 5.0% duplicates" in lines
    assert lines[0].startswith("read      1 text, 133 characters, ")
    assert max(map(len, lines)) <= 80
    assert "1 of 20 documents (5.0%) are duplicates" in err
    facts = json.loads(run(capsys, "stats", path, "--documents", "line", "--json", "--dedupe")[0])
    assert facts["documents"]["documents"] == 19
    assert facts["documents"]["duplicates"] == 0


def test_the_parts_of_documents_are_told_with_their_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("foxes\ncrows\n" * 10)
    lines = run(capsys, "stats", path, "--documents", "line")[0].splitlines()
    assert lines[0].startswith("read      1 text, 100 characters")
    parts = next(line for line in lines if line.startswith("parts"))
    numbers = [int(word) for word in parts.split() if word.isdigit()]
    assert sum(numbers) == 100 + 20 + 2  # an end after each, and before the first of each part
    assert parts.endswith(", with the documents' ends")
