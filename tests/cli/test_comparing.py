from __future__ import annotations

import io
import re
import sys
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from test_display import PLAN as OTHER

from textgen.cli import comparing, live
from textgen.cli.compared import lines_of
from textgen.cli.comparing import _Board
from textgen.events import Evaluated, Reading, Stepped
from textgen.studies.comparison import Begun, Trained
from textgen.studies.figures import Point, Result, table_of

PLAN = replace(OTHER, run="a-rnn", notices=("`batch_size=32` became 4",))


def result(run: str, variant: str, *, seed: int = 0, parameters: int = 1234567) -> Result:
    points = Point(100, 1.0, 3.0), Point(2_000_000, 60.0, 1.5 + seed / 100)
    shape = {"cell": "lstm", "hidden": (224, 224, 224), "lr": 0.0151, "precision": "bf16"}
    rest = {"passes": 12.34, "seconds": 60.0, "curve": points, "memory": 1000}
    sample = "It was\n" * 20
    return Result(run, variant, seed, parameters=parameters, sample=sample, **shape, **rest)


def test_the_table_is_within_80_columns() -> None:
    variants = "batch-size 128, layers 2", "weight-drop 0.25, skip"
    found = [result(f"a-{n}-{s}", v, seed=s) for n, v in enumerate(variants) for s in range(3)]
    lines = list(lines_of(table_of(found, timed=True)))
    assert max(map(len, lines)) <= 80
    assert any(line.split()[-1:] == ["1="] for line in lines)
    assert any("lower by 2 standard errors" in line for line in lines)
    assert "nats and bits per character at the end of the same time, after 1:00" in "\n".join(lines)


def test_losses_of_bytes_are_per_byte() -> None:
    text = "\n".join(lines_of(table_of([result("a", "hidden 1")], timed=True), "byte"))
    assert "nats and bits per byte after 2,000,000 bytes" in text
    assert "per character" not in text


def test_samples_of_wide_characters_are_within_80_columns() -> None:
    wide = replace(result("a", "hidden 1"), sample="猫が月を見た。" * 30)
    lines = [*lines_of(table_of([wide], timed=True))]
    assert max(map(cell_len, lines)) <= 80
    assert sum(line.count("猫") for line in lines) == 30


def test_networks_of_other_sizes_are_said_to_be() -> None:
    found = [result("a", "hidden 1"), result("b", "hidden 2", parameters=2469134)]
    assert "the networks are up to 100% apart in parameters" in [*lines_of(table_of(found, False))]


def shown(board: _Board) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(board.frame())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_live_table_has_a_row_for_each_run() -> None:
    board = _Board(Console(file=io.StringIO(), width=80, height=24))
    assert shown(board) == ["reading and planning"]
    board.show(Reading(500, 1000))
    assert shown(board) == ["reading: 500B of 1kB"]
    board.show(Begun({"a-rnn": "rnn", "a-lstm": "lstm"}))
    board.show(Trained("a-rnn", Stepped(5, 10, 2.0, 0.1)))
    losses = {"train_nats": 2.0, "val_nats": 1.875, "lr": 0.1, "grad_norm": 1.0}
    rest = {"seconds": 1.0, "chars_per_second": 9.0, "best": True}
    board.show(Trained("a-rnn", Evaluated(5, 100, 1.0, **losses, **rest)))
    rows = [line.split() for line in shown(board)]
    assert rows[0] == "run done chars/s val nats best left".split()
    assert rows[1][:2] == ["a-rnn", "50%"]
    assert rows[1][3:5] == ["1.8750", "1.8750"]
    assert rows[2] == ["a-lstm", "waits"]
    board.show(result("a-rnn", "rnn"))
    assert shown(board)[1].split() == ["a-rnn", "done", "33.3k", "1.5000", "1.5000"]


def test_in_the_background_there_is_a_line_for_each_thing_worth_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    foreground = True
    for module in (comparing, live):
        monkeypatch.setattr(module, "in_foreground", lambda _: foreground)
    with comparing.reporter(as_json=False) as show:
        show(Begun({"a-rnn": "rnn"}))
        foreground = False
        before = len(sys.stderr.getvalue())
        show(Trained("a-rnn", PLAN))
        show(result("a-rnn", "rnn"))
        shown = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", sys.stderr.getvalue()[before:])
        lines = shown.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "run a-rnn, 1 of 1",
        "note",
        "done a-rnn in 1",
    ]


def test_a_low_terminal_shows_the_runs_around_the_one_that_trains() -> None:
    board = _Board(Console(file=io.StringIO(), width=80, height=8))
    board.show(Begun({f"a-{n}": str(n) for n in range(30)}))
    board.show(Trained("a-20", Stepped(5, 10, 2.0, 0.1)))
    assert [line.split()[0] for line in shown(board)[1:]] == [f"a-{n}" for n in range(18, 23)]


def test_what_a_plan_notices_is_told_on_a_terminal_too() -> None:
    shown = io.StringIO()
    board = _Board(Console(file=shown, width=80, height=24))
    board.show(Begun({"a-rnn": "rnn"}))
    board.show(Trained("a-rnn", PLAN))
    assert shown.getvalue().strip() == "a-rnn: --batch-size 32 became 4"
