from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import prose

from textgen.cli.app import app
from textgen.cli.memory import lines_of
from textgen.errors import UsageError
from textgen.inference.reach import Memory
from textgen.studies import recall

HALVED = Memory(
    3.0, 1.0, 2 * 0.5 ** np.arange(1024), np.full(1024, 0.01), 0.5 ** np.arange(1024), 9
)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    app([str(word) for word in words], standalone_mode=False)
    return capsys.readouterr().out


def test_a_table_of_80_columns_and_a_sentence_for_each_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(900, seed=5))
    lines = run(capsys, "memory", path, "-c", trained, "-c", trained).splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 + 1 :]
    rows = [line.split() for line in lines]
    assert rows[1] == ["last", "nats/char", "+-", "beyond", "gradient"]
    assert [row[0] for row in rows[2:12]] == "1 2 4 8 16 32 64 128 256 all".split()
    assert max(map(len, lines[1:])) <= 80
    assert "of what it knows comes from beyond" in lines[12]


def test_as_json_all_distances_are_listed(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(run(capsys, "memory", "-c", trained, "--json"))
    assert facts["text"].startswith("val part of ")
    assert len(facts["excess"]) == len(facts["error"]) == len(facts["gradient"]) == 128
    assert 1 <= facts["uses"] <= facts["one_percent_beyond"] <= 128


def test_the_sentence_rounds_and_says_where_the_measure_ends() -> None:
    *_, sentence, steep = lines_of(HALVED, "characters")
    assert sentence == "uses about 6 characters; 1 % of what it knows comes from beyond 8"
    assert steep == "the gradient is below 1 % beyond 7"
    flat = Memory(3.0, 1.0, np.ones(1024), np.ones(1024), np.ones(1024), 9)
    assert "uses about 1,024 or more bytes" in lines_of(flat, "bytes")[-2]
    nothing = Memory(1.0, 3.0, np.ones(1024), np.ones(1024), np.ones(1024), 9)
    assert lines_of(nothing, "bytes")[-2].startswith("knows nothing of this text")


def test_what_is_piped_in_is_measured_by_each_run(
    trained: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(prose(900).encode())))
    app(["memory", "-", "-c", str(trained), "-c", str(trained), "--json"], standalone_mode=False)
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first == second
    assert first["text"] == "-"


def test_a_model_of_documents_is_refused(lines: Path) -> None:
    with pytest.raises(UsageError, match="is of documents"):
        app(["memory", "-c", str(lines)], standalone_mode=False)


def test_recall_is_a_table_by_distance_and_cell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LENGTH": 5_000, "STREAMS": 4, "BPTT": 16, "ASKED": 16}.items():
        monkeypatch.setattr(recall, name, value)
    lines = run(capsys, "memory", "--recall", "--time", "0.3s").splitlines()
    rows = [line.split() for line in lines]
    assert rows[0] == "characters chance lstm gru rnn".split()
    assert [row[0] for row in rows[1:8]] == "2 4 8 16 32 64 128".split()
    assert all(row[1] == "12.5%" and len(row) == 5 for row in rows[1:8])
    assert [row[0] for row in rows[8:]] == ["lstm:", "gru:", "rnn:"]
    facts = [
        json.loads(line)
        for line in run(capsys, "memory", "--recall", "--time", "0.3s", "--json").splitlines()
    ]
    assert [fact["cell"] for fact in facts] == ["lstm", "gru", "rnn"]
    assert all(fact["accuracy"].keys() == {row[0] for row in rows[1:8]} for fact in facts)


@pytest.mark.parametrize(
    "words", [["--recall", "-c", "x"], ["--recall", "x.txt"], ["--time", "3s"], ["--seed", "3"]]
)
def test_recall_and_runs_are_asked_for_one_at_a_time(words: list[str]) -> None:
    with pytest.raises(UsageError, match="is given"):
        app(["memory", *words], standalone_mode=False)


def test_the_unknown_mode_is_checked_with_recall_too() -> None:
    with pytest.raises(UsageError, match="`unknown` is 'bla'"):
        app(["memory", "--recall", "--unknown", "bla"], standalone_mode=False)


def test_a_share_that_is_nothing_has_no_sign() -> None:
    none = Memory(3.0, 1.0, np.full(1024, -1e-6), np.ones(1024), np.ones(1024), 9)
    assert not any("-0.0%" in line for line in lines_of(none, "characters"))
