from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace

import pytest
from networks import model_config, training_config
from rich.console import Console

from textgen.cli import display
from textgen.cli.display import _Panel, evaluation_line, plan_lines, reporter
from textgen.events import (
    Evaluated,
    Event,
    Finished,
    Noticed,
    Planned,
    Reading,
    Sampled,
    Saved,
    Stepped,
)

PLAN = Planned(
    run="tales",
    folder="runs/tales",
    model=model_config(97, "gru", (256, 256), weight_drop=0.3),
    training=training_config(4000, precision="bf16"),
    device="cuda:1",
    parameters=0,
    train_characters=1_024_000,
    val_characters=99_000,
    step=0,
    notices=("`batch_size=32` became 4",),
    chars_per_second=45_600.0,
    texts=3,
    alphabet={"Latin": 60, "Digit": 10},
)
EVALUATED = Evaluated(1200, 9, 0.5, 1.25, math.log(4), 0.01, 0.7, 1.5, 45_600.0, True)
FINISHED = Finished(4000, 1200, math.log(4), "runs/tales", 3700.0)
STORY = [
    PLAN,
    Stepped(1, 4000, 2.0, 0.01),
    EVALUATED,
    Sampled(1200, "\nOnce a fox\x1b[2J\nsaid\n3\n4\n5\n6\n7\n"),
    Saved(1200, "runs/tales/last.safetensors", 0.1),
    Noticed("mind `lr=0.1`"),
    FINISHED,
]


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=40, highlight=False)


def shown(console: Console) -> str:
    """What was drawn, without its colours; a move of the cursor begins a line."""
    drawn: str = console.file.getvalue()  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "\n", re.sub(r"\x1b\[[0-9;]*m", "", drawn))


def frame(panel: _Panel) -> str:
    """The live part of the display as it is now."""
    console = screen()
    console.print(panel.frame())
    return shown(console)


def play(monkeypatch: pytest.MonkeyPatch, events: list[Event]) -> Console:
    """The screen after a reporter on a terminal was handed `events`."""
    console = screen()
    for module in ("rich.console", "textgen.cli.live"):
        monkeypatch.setattr(f"{module}.Console", lambda **_: console, raising=False)
    monkeypatch.setattr(display, "looking", lambda stream: True)
    with reporter(False) as show:
        for event in events:
            show(event)
    return console


# Lines


def test_the_plan_says_what_will_be_done_in_lines_of_80_columns() -> None:
    lines = dict(plan_lines(PLAN))
    told = {
        "run": ["runs/tales"],
        "text": ["3 texts: Latin 60, Digit 10"],
        "chars": ["1,024,000", "99,000", "70 distinct"],
        "model": ["gru 2 x 256", "embedding 128", f"{PLAN.model.parameters / 1e3:.3g}k parameters"],
        "drop": ["dropout 0,", "weight-drop 0.3", "decay 0.01"],
        "steps": ["4,000 of 32 x 64", "8 passes"],
        "rate": ["adamw 0.01", "linear", "warm-up 20", "clip 0.5"],
        "on": ["cuda:1 in bf16", "45.6k chars/s"],
    }
    assert lines.keys() == told.keys()
    for name, facts in told.items():
        assert all(fact in lines[name] for fact in facts), lines[name]
        assert len(f"{name:<6} {lines[name]}") <= 80


def test_what_is_kept_aside_has_a_line_of_its_own() -> None:
    training = replace(PLAN.training, aside=8192, late=2, weight_decay=0.25)
    lines = dict(plan_lines(replace(PLAN, training=training)))
    assert lines["aside"] == "8,192 characters, for a temperature; learned last"
    assert all(len(f"{name:<6} {line}") <= 80 for name, line in lines.items())


def test_the_plan_tells_widths_that_differ_and_skips_that_are_not_there() -> None:
    def model_line(hidden: tuple[int, ...], skip: bool) -> str:
        return dict(plan_lines(replace(PLAN, model=model_config(9, "rnn", hidden, skip=skip))))[
            "model"
        ]

    assert "rnn (24, 16)" in model_line((24, 16), True)
    assert "no skips" in model_line((24, 16), True)
    assert "no skips" in model_line((16, 16), False)
    assert "skip" not in model_line((16, 16), True)
    assert "chars/s" not in dict(plan_lines(replace(PLAN, chars_per_second=None)))["on"]


def test_an_evaluation_fits_a_line_of_80_columns_and_stays_in_its_columns() -> None:
    numbers = [(1, 0.0001, 0.5), (999, 1.5, 999.4), (1200, 4.6, 45_600), (999_999, 9.8765, 1e9)]
    lines = [
        evaluation_line(
            replace(EVALUATED, step=step, val_nats=nats, train_nats=nats, chars_per_second=rate)
        )
        for step, nats, rate in numbers
    ]
    assert max(map(len, lines)) <= 80
    for word in ("train", "val", "nats", "bits/char", "*", "chars/s"):
        assert len({line.index(word) for line in lines[:3]}) == 1, word
    longest = replace(
        EVALUATED, step=9_999_999, train_nats=12.3456, val_nats=12.3456, chars_per_second=1.23e6
    )
    assert len(evaluation_line(longest)) <= 80


def test_an_evaluation_tells_nats_bits_and_whether_it_is_the_best() -> None:
    line = evaluation_line(EVALUATED)
    assert line == ("step  1,200  train 1.2500  val 1.3863 nats 2.000 bits/char * 45.6k chars/s")
    assert evaluation_line(replace(EVALUATED, best=False)) == line.replace("*", " ")


# In a pipe, and as JSON


def test_in_a_pipe_there_is_a_line_for_each_thing_worth_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reporter(False) as show:
        for event in STORY:
            show(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        *(f"{name:<6} {value}" for name, value in plan_lines(PLAN)),
        "note: --batch-size 32 became 4",
        evaluation_line(EVALUATED),
        "note: mind --lr 0.1",
        "done in 1:01:40, best at step 1,200: 1.3863 nats 2.000 bits/char",
    ]


def test_as_json_every_event_is_a_line_even_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "looking", lambda stream: True)
    with reporter(True) as show:
        for event in STORY:
            show(event)
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == json.loads(
        json.dumps([event.to_json() for event in STORY])
    )
    assert err == ""


# On a terminal


def test_on_a_terminal_every_event_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    console = play(monkeypatch, STORY)
    lines = [line.rstrip() for line in shown(console).splitlines()]
    for name, value in plan_lines(PLAN):
        assert f"{name:<5}  {value}" in lines
    for line in (
        "note: --batch-size 32 became 4",
        evaluation_line(EVALUATED),
        "note: mind --lr 0.1",
        "done in 1:01:40, best at step 1,200: 1.3863 nats 2.000 bits/char",
    ):
        assert lines.count(line) == 1
    assert any("it writes" in line for line in lines)
    assert any("step 4,000" in line and "100%" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "\x1b[2J" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_sample_is_shown_in_six_lines_and_cannot_draw_on_the_terminal() -> None:
    panel = _Panel(screen())
    assert "it writes" not in frame(panel)
    panel.show(STORY[3])
    inside = [line.strip("│ ") for line in frame(panel).splitlines()[1:7]]
    assert inside == ["Once a fox\u241b[2J", "said", "3", "4", "5", "6"]
    assert "7" not in frame(panel)
    panel.show(Sampled(2400, "anew"))
    assert "Once" not in frame(panel)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (40, 6), (80, 24)])
def test_on_a_small_terminal_the_sample_makes_room_for_the_figures(
    clock: Clock, width: int, height: int
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
    panel = _Panel(console)
    panel.show(PLAN)
    panel.show(Sampled(1, "It was the fox who said so to the crow. " * 20))
    panel.show(EVALUATED)
    clock.now += 1
    panel.show(Stepped(1201, 4000, 2.0, 0.01))
    console.file = io.StringIO()
    console.print(panel.frame())
    text = shown(console)
    assert "step 1,201" in text
    assert "lr 1.0e-02" in " ".join(text.split())
    assert len([line for line in text.splitlines() if line]) < max(height, 7)
    assert ("it writes" in text) == (height >= 10)


@pytest.mark.parametrize("width", [40, 80])
def test_the_validation_losses_are_drawn_over_all_steps(clock: Clock, width: int) -> None:
    panel = _Panel(Console(file=io.StringIO(), force_terminal=True, width=width, height=24))
    panel.show(PLAN)
    panel.show(Sampled(1, "It was the fox who said so to the crow. " * 20))
    assert "val" not in frame(panel)
    for step, nats in ((400, 3.0), (1200, 2.0), (2000, 1.5)):
        panel.show(replace(EVALUATED, step=step, val_nats=nats))
    panel._console.file = io.StringIO()
    panel._console.print(panel.frame())
    lines = [line.rstrip() for line in shown(panel._console).splitlines()]
    at = next(n for n, line in enumerate(lines) if line.startswith("3.00 "))
    assert [line[:5] for line in lines[at : at + 3]] == ["3.00 ", " val ", "1.50 "]
    assert len(lines[at + 2]) == 5 + (width - 6) // 2 + 1  # 2,000 of 4,000 steps
    assert lines[at + 2].endswith("▁")
    assert len(lines[at]) < len(lines[at + 1]) < len(lines[at + 2])
    assert max(map(len, lines)) <= width


def test_what_is_measured_again_after_going_back_is_drawn_anew(clock: Clock) -> None:
    panel = _Panel(Console(file=io.StringIO(), force_terminal=True, width=80, height=24))
    panel.show(PLAN)
    for step, nats in ((400, 3.0), (800, 9.0), (400, 2.5), (800, 2.0)):
        panel.show(replace(EVALUATED, step=step, val_nats=nats))
        frame(panel)
    assert panel._losses == [(400, 2.5), (800, 2.0)]
    panel.show(Stepped(801, 2000, 2.0, 0.01))  # which is fewer steps in all
    assert len(panel._curve(80)[2].plain.rstrip()) == len("0.00 ") + 29 + 1


@pytest.mark.parametrize(("height", "encoding"), [(15, "utf-8"), (24, "ascii"), (24, "utf-8")])
def test_a_low_terminal_and_one_of_ascii_have_no_curve(
    clock: Clock, height: int, encoding: str
) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    panel = _Panel(Console(file=file, force_terminal=True, width=80, height=height))
    for event in (PLAN, EVALUATED, replace(EVALUATED, step=1300)):
        panel.show(event)
    panel._console.print(panel.frame())
    file.seek(0)
    assert ("▁" in file.read()) == (height == 24 and encoding == "utf-8")


def test_the_time_that_the_process_was_suspended_is_left_out(clock: Clock) -> None:
    panel = _Panel(screen())
    panel.show(Reading(1, 2))
    panel.paused(60)
    panel.show(PLAN)
    clock.now += 3600
    panel.paused(3599)
    panel.show(Stepped(1, 4000, 2.0, 0.01))
    assert "2.05k chars/s" in frame(panel)


@pytest.mark.parametrize(
    "text", ["[bold]Exeunt[/bold]", "[/x]", "[red]", "a :heart: beat", "[1] x"]
)
def test_a_sample_is_shown_as_it_is_whatever_it_means_to_rich(text: str) -> None:
    panel = _Panel(screen())
    panel.show(Sampled(1, text))
    assert f"│ {text} " in frame(panel)


def test_the_figures_between_evaluations_are_those_of_this_sitting(clock: Clock) -> None:
    panel = _Panel(screen())
    panel.show(replace(PLAN, step=1000))
    for step in range(1001, 1101):
        clock.now += 0.5
        panel.show(Stepped(step, 2000, math.log(2), 0.0123))
    panel.show(EVALUATED)
    clock.now += 0.5
    panel.show(Stepped(1101, 2000, math.log(2), 0.0123))
    text = " ".join(frame(panel).split())
    assert "4.1k chars/s train 0.693 nats 1.00 bits val 1.386 nats 2.00 bits lr 1.2e-02" in text
    assert "step 1,101" in text
    assert "55% 7:30 left" in text  # 899 steps of half a second


def test_the_loss_shown_is_smoothed_and_a_step_without_one_leaves_it(clock: Clock) -> None:
    panel = _Panel(screen())
    panel.show(PLAN)
    found = []
    for step, loss in enumerate([None, 3.0, None, 1.0, None, *[1.0] * 200], 1):
        clock.now += 1
        panel.show(Stepped(step, 4000, loss, 0.01))
        if step < 6 or step == 205:
            match = re.search(r"train (\S+) nats", frame(panel))
            found.append(float(match[1]) if match else None)
    assert found[:3] == [None, 3.0, 3.0]
    assert 2.5 < found[3] == found[4] < 3.0
    assert found[5] == pytest.approx(1.0, abs=2e-3)


def test_the_figures_are_drawn_a_few_times_a_second_not_at_every_step(clock: Clock) -> None:
    panel = _Panel(screen())
    panel.show(PLAN)
    drawn = set()
    for step in range(1, 1001):
        clock.now += 0.001
        panel.show(Stepped(step, 4000, 2.0, 0.01))
        drawn.add(panel._bar.tasks[0].completed)
    assert 8 <= len(drawn) <= 12


def test_the_plan_of_a_dry_run_leaves_no_bar_and_a_run_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    erased = []
    for events in (STORY[:1], STORY[:2]):
        text: str = play(monkeypatch, events).file.getvalue()  # type: ignore[attr-defined]
        end = text[text.rindex("\x1b[?25h") :]  # after the cursor is shown again
        erased.append("\x1b[1A\x1b[2K" in end)
    assert erased == [True, False]


def test_how_much_of_the_text_was_read_is_shown_in_bytes(clock: Clock) -> None:
    panel = _Panel(screen())
    panel.show(Reading(2_500_000, 10_000_000))
    assert "reading" in frame(panel)
    assert "25%  2.5MB of 10MB" in frame(panel)
    panel.show(Reading(10_000_000, 10_000_000))
    assert "planning" in frame(panel)
    assert not panel.stays
    panel.show(PLAN)
    assert "MB" not in frame(panel)


def test_of_very_many_validations_some_are_drawn(clock: Clock, monkeypatch) -> None:
    monkeypatch.setattr(display, "MOST", 4)
    panel = _Panel(screen())
    for step in range(1, 8):
        panel.show(replace(EVALUATED, step=step))
    assert [step for step, _ in panel._losses] == [1, 5, 7]
