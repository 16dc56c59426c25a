"""Training as it is seen: live on a terminal, a line per evaluation elsewhere, or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log
from typing import TYPE_CHECKING

from textgen.architecture import ModelConfig
from textgen.cli.terminal import clock, harmless, looking, note, quiet_interrupt, short, spelled
from textgen.config import TrainingConfig
from textgen.events import (
    Evaluated,
    Event,
    Finished,
    Noticed,
    Planned,
    Sampled,
    Stepped,
)

if TYPE_CHECKING:
    from rich.console import Console, Group

Show = Callable[[Event], None]
REFRESH = 0.1  # seconds between two looks of the live display


@contextmanager
def reporter(as_json: bool) -> Iterator[Show]:
    """The function to hand each event to, for as long as the context lasts."""
    if as_json:
        yield _show_json
    elif looking(sys.stderr):
        with _live() as show:
            yield show
    else:
        yield _show_plain


def _show_json(event: Event) -> None:
    print(json.dumps(event.to_json()), flush=True)


def plan_lines(plan: Planned) -> list[tuple[str, str]]:
    """The plan as a person reads it: names and values."""
    rate = f", about {short(plan.chars_per_second)} chars/s" if plan.chars_per_second else ""
    sizes = plan.train_characters, plan.val_characters
    return [
        ("run", plan.folder),
        *settings_lines(plan.model, plan.training, sizes),
        ("on", f"{plan.device} in {plan.training.precision}{rate}"),
    ]


def settings_lines(
    model: ModelConfig, training: TrainingConfig, sizes: tuple[int, int]
) -> list[tuple[str, str]]:
    """The settings as a person reads them; sizes: characters for training and validation."""
    widths = {*model.hidden}
    shape = f"{model.layers} x {model.hidden[0]}" if len(widths) == 1 else f"{model.hidden}"
    skip = "" if any(model.skips) else ", no skips"
    passes = training.steps * training.chars_per_step / sizes[0]
    return [
        (
            "chars",
            f"{sizes[0]:,} for training, {sizes[1]:,} for validation,"
            f" {model.vocabulary_size} distinct",
        ),
        (
            "model",
            f"{model.cell} {shape}, embedding {model.embedding}{skip},"
            f" {short(model.parameters)} parameters",
        ),
        (
            "drop",
            f"dropout {model.dropout:g}, weight-drop {model.weight_drop:g}, decay"
            f" {training.weight_decay:g}",
        ),
        (
            "steps",
            f"{training.steps:,} of {training.batch_size} x {training.bptt} characters,"
            f" {passes:.3g} passes over the text",
        ),
        (
            "rate",
            f"{training.optimizer} {training.lr:g}, {training.schedule}, warm-up"
            f" {training.warmup}, clip {training.clip:g}",
        ),
    ]


def evaluation_line(event: Evaluated) -> str:
    """One evaluation, within 80 columns; a star marks the best so far."""
    return (
        f"step {event.step:>6,}  train {event.train_nats:.4f}  val {event.val_nats:.4f} nats"
        f" {event.val_bits:.3f} bits/char{' *' if event.best else '  '}"
        f" {short(event.chars_per_second):>5} chars/s"
    )


def finish_line(event: Finished) -> str:
    """What came of it, in one line."""
    return (
        f"done in {clock(event.seconds)}, best at step {event.best_step:,}:"
        f" {event.best_val_nats:.4f} nats {event.best_val_bits:.3f} bits/char"
    )


def _show_plain(event: Event) -> None:
    match event:
        case Planned():
            for name, value in plan_lines(event):
                note(f"{name:<6} {value}")
            for notice in event.notices:
                note(f"note: {notice}")
        case Evaluated():
            note(evaluation_line(event))
        case Noticed():
            note(f"note: {event.message}")
        case Finished():
            note(finish_line(event))


@contextmanager
def _live() -> Iterator[Show]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    panel = _Panel(console)
    with (
        quiet_interrupt(),
        Live(
            console=console,
            refresh_per_second=8,
            redirect_stdout=False,
            get_renderable=panel.frame,
        ) as live,
    ):
        try:
            yield panel.show
        finally:
            live.transient = not panel.begun  # a plan alone leaves no bar


class _Panel:
    """What the live display shows: the latest sample, the running figures, a bar."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        self._console = console
        self._bar = Progress(
            TextColumn("{task.fields[status]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("", total=None, status="reading and planning", left="")
        self._sample = ""
        self._numbers = Text("", no_wrap=True, overflow="ellipsis")
        self._figures = _Figures()

    @property
    def begun(self) -> bool:
        """Whether a step was done."""
        return bool(self._bar.tasks[0].completed)

    def frame(self) -> Group:
        from rich.console import Group
        from rich.panel import Panel

        title = {"title": "it writes", "title_align": "left", "border_style": "dim"}
        sample = [Panel(self._sample, **title)] if self._sample else []  # type: ignore[arg-type]
        return Group(*sample, self._numbers, self._bar)

    def show(self, event: Event) -> None:
        match event:
            case Planned():
                self._plan(event)
            case Stepped():
                self._figures.step(event)
                if self._figures.due():
                    self._numbers.plain = self._figures.line()
                    self._progress(event.step, event.steps, self._figures.left())
            case Evaluated():
                self._print(evaluation_line(event), "green" if event.best else "")
                self._figures.val = event.val_nats
            case Sampled():
                lines = harmless(event.text).strip("\n").split("\n")
                self._sample = "\n".join(lines[:6])
            case Noticed():
                self._print(f"note: {event.message}", "yellow")
            case Finished():
                self._numbers.plain = ""
                self._progress(event.step, event.step, "")
                self._print(finish_line(event), "bold green")

    def _print(self, line: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(harmless(spelled(line, {})), style=style))

    def _plan(self, plan: Planned) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, value in plan_lines(plan):
            table.add_row(f"[bold]{name}[/]", Text(value))
        self._console.print(table)
        for notice in plan.notices:
            self._print(f"note: {notice}", "yellow")
        self._figures.begin(plan)
        self._bar.update(self._task, total=plan.training.steps, completed=plan.step)

    def _progress(self, step: int, steps: int, left: str) -> None:
        self._bar.update(
            self._task, total=steps, completed=step, status=f"step {step:,}", left=left
        )


class _Figures:
    """Running figures between evaluations: speed, smoothed loss, time left."""

    def __init__(self) -> None:
        self.loss: float | None = None
        self.val: float | None = None
        self._looked = 0.0

    def begin(self, plan: Planned) -> None:
        self.plan = plan
        self.began = time.monotonic()
        self.done, self.steps = plan.step, plan.training.steps
        self.lr = 0.0

    def step(self, event: Stepped) -> None:
        self.done, self.steps, self.lr = event.step, event.steps, event.lr
        if event.loss is not None:
            self.loss = event.loss if self.loss is None else 0.95 * self.loss + 0.05 * event.loss

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._looked < REFRESH:
            return False
        self._looked = now
        return True

    def line(self) -> str:
        training = self.plan.training
        steps = self.done - self.plan.step
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = steps * training.chars_per_step / seconds
        parts = [f"{short(rate)} chars/s"]
        for name, nats in (("train", self.loss), ("val", self.val)):
            if nats is not None:
                parts.append(f"{name} {nats:.3f} nats {nats / log(2):.2f} bits")
        return "  ".join([*parts, f"lr {self.lr:.1e}"])

    def left(self) -> str:
        """The time to the end at the pace so far."""
        seconds = time.monotonic() - self.began
        steps = max(1, self.done - self.plan.step)
        return f"{clock((self.steps - self.done) * seconds / steps)} left"
