"""Training as it is seen: live on a terminal, a line per evaluation elsewhere, or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log

from textgen.cli.terminal import clock, harmless, looking, note, short
from textgen.events import (
    Evaluated,
    Event,
    Finished,
    Noticed,
    Planned,
    Sampled,
    Stepped,
)

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
    model, training = plan.model, plan.training
    widths = {*model.hidden}
    shape = f"{model.layers} x {model.hidden[0]}" if len(widths) == 1 else f"{model.hidden}"
    rate = f", about {short(plan.chars_per_second)} chars/s" if plan.chars_per_second else ""
    return [
        ("run", plan.folder),
        (
            "text",
            f"{plan.train_characters:,} characters to learn, {plan.val_characters:,} held out,"
            f" {model.vocabulary_size} distinct",
        ),
        (
            "model",
            f"{model.cell} {shape}, embedding {model.embedding},"
            f" {short(plan.parameters)} parameters",
        ),
        (
            "drop",
            f"dropout {model.dropout:g}, weight-drop {model.weight_drop:g}, decay"
            f" {training.weight_decay:g}",
        ),
        (
            "steps",
            f"{training.steps:,} of {training.batch_size} x {training.bptt} characters,"
            f" {plan.passes:.3g} passes over the text",
        ),
        (
            "rate",
            f"{training.optimizer} {training.lr:g}, {training.schedule}, warm-up"
            f" {training.warmup}, clip {training.clip:g}",
        ),
        ("on", f"{plan.device} in {training.precision}{rate}"),
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
    from rich.console import Console, Group
    from rich.live import Live
    from rich.panel import Panel
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[left]}"),
        console=console,
        expand=True,
    )
    task = bar.add_task("", total=None, status="reading and planning", left="")
    sample = Text("")
    numbers = Text("", no_wrap=True, overflow="ellipsis")

    def frame() -> Group:
        panel = Panel(sample, title="it writes", title_align="left", border_style="dim")
        return Group(*([panel] if sample.plain else []), numbers, bar)

    state = _Figures()
    with Live(
        console=console, refresh_per_second=8, redirect_stdout=False, get_renderable=frame
    ) as live:

        def show(event: Event) -> None:
            match event:
                case Planned():
                    table = Table.grid(padding=(0, 2))
                    for name, value in plan_lines(event):
                        table.add_row(f"[bold]{name}[/]", Text(value))
                    live.console.print(table)
                    for notice in event.notices:
                        live.console.print(Text(f"note: {harmless(notice)}", style="yellow"))
                    state.begin(event)
                    bar.update(task, total=event.training.steps, completed=event.step)
                case Stepped():
                    state.step(event)
                    if state.due():
                        numbers.plain = state.line()
                        bar.update(
                            task,
                            total=event.steps,
                            completed=event.step,
                            status=f"step {event.step:,}",
                            left=state.left(),
                        )
                case Evaluated():
                    style = "green" if event.best else ""
                    live.console.print(Text(evaluation_line(event), style=style))
                    state.val = event.val_nats
                case Sampled():
                    lines = harmless(event.text).strip("\n").split("\n")
                    sample.plain = "\n".join(lines[:6])
                case Noticed():
                    live.console.print(Text(f"note: {harmless(event.message)}", style="yellow"))
                case Finished():
                    numbers.plain = ""
                    bar.update(
                        task,
                        total=event.step,
                        completed=event.step,
                        status=f"step {event.step:,}",
                        left="",
                    )
                    live.console.print(Text(finish_line(event), style="bold green"))

        try:
            yield show
        finally:
            live.transient = not bar.tasks[0].completed  # a plan alone leaves no bar


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
