from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL, prose, train

from textgen.cli.app import app
from textgen.cli.unit_view import view_lines
from textgen.cli.units import unit_lines
from textgen.errors import CorpusError, RunError, UnknownCharacters, UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    app(["inspect", *map(str, words)], standalone_mode=False)
    return capsys.readouterr().out


@pytest.fixture
def tales(tmp_path: Path) -> Path:
    path = tmp_path / "tales.txt"
    path.write_text(prose(1500, seed=5))
    return path


def test_two_tables_of_80_columns(
    trained: Path, tales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, trained, tales).splitlines()
    assert lines[1] == f"1,500 characters of {tales}"
    rows = [line.split() for line in lines]
    assert rows[3][:3] == ["layer", "gate", "mean"]
    assert [row[:2] for row in rows[4:10]] == [
        [str(n), gate] for n in (0, 1) for gate in ("input", "forget", "output")
    ]
    assert max(map(len, lines[2:])) <= 80
    assert "no unit follows: inside quotes" in "\n".join(lines)  # there are none in the text


def test_the_text_of_a_model_of_bytes_is_counted_in_bytes(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(corpus, tmp_path, steps=1, level="byte")
    assert run(capsys, tmp_path / "tales", "-p", "é" * 9).splitlines()[1] == "18 bytes of --prompt"


@pytest.mark.parametrize("flag", ["--unit", "--gate"])
def test_an_empty_name_is_refused(trained: Path, tales: Path, flag: str) -> None:
    with pytest.raises(UsageError, match=f"{flag} is ''"):
        app(["inspect", str(trained), str(tales), flag, ""], standalone_mode=False)


def test_as_json(trained: Path, tales: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(run(capsys, trained, tales, "--json"))
    assert facts["read"] == 1500
    assert [len(lives) for lives in facts["half_lives"]] == [12, 12]
    assert {*facts["gates"][1][0]} == {"name", "mean", "closed", "open"}
    followed = {unit["what"] for unit in facts["units"]}
    assert not followed & {*facts["unfollowed"]}
    strengths = [abs(unit["correlation"]) for unit in facts["units"]]
    assert strengths == sorted(strengths, reverse=True)


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells(
    cell: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(corpus, tmp_path, steps=2, cell=cell, **SMALL)
    text = run(capsys, tmp_path / "tales")
    assert ("update" in text) == (cell == "gru")
    assert ("an RNN has no gates" in text) == (cell == "rnn")
    assert "too short a text to tell units from chance" in text
    facts = json.loads(run(capsys, tmp_path / "tales", "--json"))
    assert (facts["half_lives"] is None) == (cell == "rnn")


def test_a_unit_at_each_character(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "The fox said\nno.\n"
    facts = json.loads(run(capsys, trained, "-p", text, "--unit", "1:7", "--json"))
    assert facts["unit"] == "1:7"
    assert "".join(facts["characters"]) == text
    assert len(facts["values"]) == len(text)
    assert all(-1 <= value <= 1 for value in facts["values"])
    lines = run(capsys, trained, "-p", text, "--unit", "1:7").splitlines()
    assert lines[1] == "17 characters of --prompt"
    assert lines[2] == "unit 1:7, 0 to 9: from -1 to 1"
    assert [lines[4][7:], lines[6][7:]] == ["The fox said␊", "no.␊"]
    digits = [min(9, int((value + 1) * 5)) for value in facts["values"]]
    assert (lines[5] + lines[7]).replace(" ", "") == "".join(map(str, digits))


def test_the_mean_of_a_gate(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(run(capsys, trained, "-p", "The fox", "--gate", "0:forget", "--json"))
    assert facts["range"] == [0, 1]
    assert all(0 < value < 1 for value in facts["values"])
    assert "mean of gate 0:forget" in run(capsys, trained, "-p", "The fox", "--gate", "0:forget")


def test_there_are_colours_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"unit": "0:1", "range": [-1, 1], "characters": ["猫", "b"], "values": [1.0, 0.0]}
    assert [*view_lines(facts)][2:] == [" 0.50  猫b", "       9 5"]
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert [*view_lines(facts)][2:] == [" 0.50  \033[30;48;5;209m猫\033[0mb"]


def test_three_units_are_shown_for_each_thing_and_the_others_counted() -> None:
    unit = {"what": "capitals", "layer": 0, "correlation": 0.5, "p": 0.001}
    facts = {"keeping": None, "unfollowed": [], "units": [{**unit, "unit": n} for n in range(5)]}
    lines = [line for line in unit_lines(facts) if line.startswith("capitals")]
    assert [line.split()[1:] for line in lines] == [
        ["0:0", "+0.500", "0.0010", "5"],
        ["0:1", "+0.500", "0.0010"],
        ["0:2", "+0.500", "0.0010"],
    ]


def test_layers_need_neither_torch_nor_numpy(trained: Path) -> None:
    program = (
        "import sys; from textgen.cli.app import app\n"
        f"app(['inspect', {str(trained)!r}, '--layers'], standalone_mode=False)\n"
        "print(*{'torch', 'numpy'} & {*sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "\n"
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["layers.1:", "lstm,", "skip", "weight_ih_l0", "48", "x", "12", "576"] in rows


def test_layers_add_up(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(capsys, trained, "--layers").splitlines()[2:]
    counts = [int(row.split()[-1].replace(",", "")) for row in rows]
    facts = json.loads(run(capsys, trained, "--layers", "--json"))
    assert sum(counts[:-1]) == counts[-1] == facts["parameters"]
    assert facts["weights"]["layers.0.weight_hh_l0"] == [48, 12]


@pytest.mark.parametrize(
    "flags",
    [
        ["--unit", "2:0"],
        ["--unit", "0:12"],
        ["--unit", "3"],
        ["--unit", "-1:0"],
        ["--gate", "0:update"],
        ["--gate", "forget"],
        ["--unit", "0:0", "--gate", "0:forget"],
        ["--layers", "-p", "The fox"],
        ["--layers", "--unit", "0:0"],
        ["-p", "The fox", "--unknown", "what"],
    ],
)
def test_what_no_model_has_is_refused(trained: Path, flags: list[str]) -> None:
    with pytest.raises(UsageError):
        app(["inspect", str(trained), *flags], standalone_mode=False)


def test_texts_that_cannot_be_read_are_refused(
    trained: Path, lines: Path, tales: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="are both given"):
        app(["inspect", str(trained), str(tales), "-p", "The"], standalone_mode=False)
    with pytest.raises(UsageError, match="is of documents"):
        app(["inspect", str(lines)], standalone_mode=False)
    with pytest.raises(CorpusError, match="the text has 1 characters"):
        app(["inspect", str(trained), "-p", "T"], standalone_mode=False)
    with pytest.raises(RunError):
        app(["inspect", str(tmp_path / "none"), str(tales)], standalone_mode=False)


def test_of_a_long_text_no_more_is_read_than_is_shown(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.txt"
    path.write_text(prose(600_000) + "é")
    assert "32,768 characters of" in run(capsys, trained, path)
    path.write_text("é" + prose(600_000))
    with pytest.raises(UnknownCharacters, match="at character 1"):
        run(capsys, trained, path)
