from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import prose

from textgen.cli.app import app
from textgen.cli.compare import follow
from textgen.errors import RunError, TextgenError, UsageError

CELLS = "--cell rnn,lstm --layers 1 --embedding 6 --batch-size 4 --bptt 16 --precision fp32"
HOW = [*CELLS.split(), "--steps", "30", "--eval-every", "10"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "tales.txt"
    path.write_text(prose(1500))
    return path


def run(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_a_line_per_event_and_a_table_of_80_columns(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = [text, "--checkpoints", text.parent, *HOW]
    run("compare", *how, "--seeds", 2)
    out, err = capsys.readouterr()
    begins = [line.split() for line in err.splitlines()]
    assert [words[1] for words in begins if words[0] == "run"] == [
        *("tales-rnn,", "tales-lstm,", "tales-rnn-seed-1,", "tales-lstm-seed-1,")
    ]
    assert sum(words[0] == "step" for words in begins) == 12
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:3] == ["variant", "network", "parameters"]
    assert {lines[1].split()[0], lines[2].split()[0]} == {"rnn", "lstm"}
    assert "nats and bits per character after 1,920 characters" in lines
    assert sum(line.split() == "variant nats +- bits rank".split() for line in lines) == 2
    assert any(line.startswith("rnn (learned at a rate of ") for line in lines)
    run("compare", *how, "--seeds", 2)
    assert capsys.readouterr().out == out
    run("compare", *how)
    assert "one seed, so no spread is known" in capsys.readouterr().out
    run("info", "tales-lstm", "--checkpoints", text.parent)
    run("sample", "tales-rnn", "--checkpoints", text.parent, "--length", 5)
    with pytest.raises(RunError, match=r"`clip` is 0\.7, and the comparison"):
        run("compare", *how, "--clip", 0.7)


def test_the_losses_are_drawn_at_the_end(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ["compare", text, "--checkpoints", text.parent, *HOW, "-o"]
    for wrong in (text.parent / "loss.pdf", text):
        with pytest.raises((UsageError, RunError)):
            run(*how, wrong)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(TextgenError, match="matplotlib, which is not installed"):
            run(*how, text.parent / "loss.svg")
    assert list(text.parent.iterdir()) == [text]  # nothing was trained
    run(*how, text.parent / "loss.svg")
    assert "wrote " in capsys.readouterr().err.splitlines()[-1]
    picture = (text.parent / "loss.svg").read_text()
    assert all(f">{name}<" in picture for name in ("tales-rnn", "tales-lstm"))


def test_nothing_is_drawn_where_no_variant_came_to_a_loss(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["compare", text, "--checkpoints", text.parent, *HOW, "--lr", 1e30, "--clip", 1e30]
    run(*how, "-o", text.parent / "loss.svg")
    assert "note: no variant came to a loss" in capsys.readouterr().err.splitlines()[-1]
    assert not (text.parent / "loss.svg").exists()


def test_as_json_every_line_says_which_run_it_is_of(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--lr", "0.02,1e30", "--optimizer", "sgd", "--clip", "1e9", "--hidden", "8"]
    run("compare", text, "--checkpoints", text.parent, *HOW[2:], *words, "--json")
    out, err = capsys.readouterr()
    assert err == ""
    facts = [json.loads(line) for line in out.splitlines()]
    runs = {"tales-lr-0.02": "lr 0.02", "tales-lr-1e+30": "lr 1e+30"}
    assert facts[0] == {"event": "begun", "runs": runs}
    assert all(fact["run"] in runs for fact in facts[1:-1])
    assert [fact["event"] for fact in facts].count("result") == 2
    assert facts[-1]["event"] == "table"
    good, bad = facts[-1]["rows"]
    assert (good["variant"], good["results"]) == ("lr 0.02", ["tales-lr-0.02"])
    assert good["rank_at_characters"] == {"number": 1, "shared": False}
    assert bad["at_time"] is None


def test_ctrl_c_saves_and_the_same_command_goes_on(text: Path) -> None:
    steps = [*HOW[:-3], "3000", "--eval-every", "3000", "--json"]
    words = ["compare", text, "--checkpoints", text.parent, *steps]
    command = [sys.executable, "-m", "textgen", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ}, text=True, **pipes) as process:
        assert process.stdout is not None
        steps_seen = (line for line in process.stdout if '"stepped"' in line)
        next(steps_seen)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "saved; the same command goes on, without --overwrite if it was given\n"
    assert (text.parent / "tales-rnn" / "last.safetensors").exists()
    assert (text.parent / "tales.compare.json").exists()


def test_a_signal_before_the_first_report_unwinds_what_was_begun() -> None:
    undone = []

    def reading(progress: object) -> Iterator[Any]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            yield None
        finally:
            undone.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        follow(reading, json=True)
    assert ended.value.code == 143
    assert undone == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_cannot_be_compared_is_an_error(text: Path) -> None:
    with pytest.raises(UsageError, match="expected one or two") as error:
        run("compare", text, "--lr", "0.1")
    assert error.value.hint == "try `cell=rnn,gru,lstm`"
    with pytest.raises(UsageError, match="3 settings have several values"):
        run("compare", text, "--lr", "0.1,0.2", "--layers", "1,2", "--cell", "rnn,gru")
