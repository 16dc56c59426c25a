"""The scripts that measure: that they run, and that the longest of them counts rightly."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.syspath_prepend(FOLDER)
    return runpy.run_path(str(FOLDER / "kinds.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_imports_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    assert runpy.run_path(str(FOLDER / name))["__doc__"]


def test_the_worth_of_the_state_is_measured_once(tmp_path: Path) -> None:
    text, output = tmp_path / "a.txt", tmp_path / "state.jsonl"
    text.write_text("the fox said never\n" * 60)
    command = [sys.executable, FOLDER / "state.py", text, "--steps", "2", "--seeds", "1"]
    for hidden, lines in (("8", 6), ("8", 6), ("9", 12)):
        how = ["--hidden", hidden, "--bptt", "8", "-o", output]
        done = subprocess.run([*command, *how], check=True, capture_output=True, text=True)
        assert len(output.read_text().splitlines()) == lines
    assert len(done.stdout.splitlines()) == 2 + 12


def test_every_tenth_block_is_held_out_as_the_last_tenth(kinds: dict) -> None:
    text = "".join(f"{n:>4000}" for n in range(40))
    moved = kinds["split"](text, "blocks")
    assert sorted(moved[i : i + 4000] for i in range(0, 160_000, 4000)) == sorted(
        text[i : i + 4000] for i in range(0, 160_000, 4000)
    )
    held_out = [int(moved[i : i + 4000]) for i in range(144_000, 160_000, 4000)]
    assert held_out == [9, 19, 29, 39]
    assert kinds["split"](text, "end") == text


def test_a_gain_is_that_of_the_seeds_that_both_have(
    kinds: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(side: str, seed: int, nats: float, split: str = "end") -> dict:
        case = {"kind": "log", "split": split, "budget": "60s", "seed": seed, "side": side}
        return {**case, "nats": nats, "last": nats, "lowest": nats - 0.01}

    lines = [line("textgen", seed, nats) for seed, nats in enumerate((1.0, 1.2, 1.4))]
    lines += [line("plain", 0, 1.5), line("plain", 1, 1.5)]
    lines += [line("textgen", 0, 2.0, "blocks"), line("plain", 0, 1.0, "blocks")]
    kinds["report"](json.loads(json.dumps(lines)))
    rows = capsys.readouterr().out.splitlines()
    assert "| log | end | 3 | 1.200 ± 0.200 | 1.500 ± 0.000 (2 seeds) | +0.400 |" in rows
    assert "| log | blocks | 1 | 2.000 | 1.000 | -1.000 |" in rows
    assert "plain, end: mean gain +0.400, worst +0.400 (log)," in rows
    assert "plain, blocks: mean gain -1.000, worst -1.000 (log)," in rows
    assert rows[-1] == "the last validation was within 0.010 of the lowest"


def test_two_texts_of_one_name_are_refused(kinds: dict, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Anna")
    with pytest.raises(SystemExit, match="two texts are called names"):
        kinds["texts"]([tmp_path])
