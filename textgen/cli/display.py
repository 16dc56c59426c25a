"""Training events: live on a terminal, a line per evaluation elsewhere, or as JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log
from textwrap import shorten

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from textgen.cli.info import alphabet_line, settings_lines
from textgen.cli.live import drawn
from textgen.cli.sparkline import sparkline
from textgen.cli.terminal import (
    clock,
    harmless,
    looking,
    note,
    short,
    spelled,
    visible,
)
from textgen.events import Evaluated, Event, Finished, Noticed, Planned, Reading, Sampled, Stepped

Show = Callable[[Event], None]
REFRESH = 0.1  # seconds between two updates of the live figures
HIGH = 16  # rows of a terminal that has room for a curve
MOST = 400  # points of the curve


@contextmanager
def reporter(as_json: bool) -> Iterator[Show]:
    """The function to hand each event to, for as long as the context lasts."""
    if as_json:
        yield lambda event: print(json.dumps(event.to_json()), flush=True)
    elif looking(sys.stderr):
        with drawn(_Panel) as show:
            yield show
    else:
        yield _show_plain


def plan_lines(plan: Planned) -> list[tuple[str, str]]:
    """Names and values of the plan, to print."""
    rate = f", about {short(plan.chars_per_second)} chars/s" if plan.chars_per_second else ""
    device = f"{plan.device} in {plan.training.precision}{rate}"
    texts = f"{plan.texts:,} texts: " if plan.texts > 1 else ""
    texts += f"{plan.documents:,} documents: " if plan.documents else ""
    text = shorten(texts + alphabet_line(plan.alphabet), 72, placeholder=" ...")
    return [("run", plan.folder), ("text", text), *settings_lines(plan), ("on", device)]


def evaluation_line(event: Evaluated) -> str:
    """One evaluation, within 80 columns; a star marks the best so far."""
    return (
        f"step {event.step:>6,}  train {event.train_nats:.4f}  val {event.val_nats:.4f} nats"
        f" {event.val_bits:.3f} bits/char{' *' if event.best else '  '}"
        f" {short(event.chars_per_second):>5} chars/s"
    )


def finish_line(event: Finished) -> str:
    """The duration and the best evaluation."""
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


class _Panel:
    """The live display: the latest sample, speed and losses, a bar."""

    def __init__(self, console: Console) -> None:
        percentage = TextColumn("{task.percentage:>3.0f}%  {task.fields[left]}")
        columns = TextColumn("{task.fields[status]}"), BarColumn(bar_width=None), percentage
        self._console = console
        self._bar = Progress(*columns, console=console, expand=True)
        self._task = self._bar.add_task("", total=None, status="reading and planning", left="")
        self._sample = ""
        self._figures = Text()
        self._train_nats: float | None = None  # smoothed
        self._val_nats: float | None = None
        self._losses: list[tuple[int, float]] = []  # step and nats
        self._steps = 1
        self._began = self._updated = 0.0  # on time.monotonic
        self._planned = False

    @property
    def stays(self) -> bool:
        """A plan alone leaves no bar."""
        return self._planned and bool(self._bar.tasks[0].completed)

    def frame(self) -> Group:
        width, height = self._console.size
        figures = self._figures.wrap(self._console, width)
        curve = self._curve(width) if height >= HIGH else []
        # the bar, two borders, and a row above them
        room = height - len(figures) - len(curve) - 4
        text = Text(self._sample).wrap(self._console, max(1, width - 4))[: max(0, min(6, room))]
        below = Padding(Group(*curve, *figures), expand=True), self._bar
        if not self._sample or not text:
            return Group(*below)
        lines = Text("\n").join(text)  # a plain string would be read as markup
        return Group(
            Panel(lines, title="it writes", title_align="left", border_style="dim"), *below
        )

    def _curve(self, width: int) -> list[Text]:
        """The validation losses of this sitting over all steps, with the highest and the lowest."""
        columns = width - len("0.00 ") - 1
        if len(self._losses) < 2 or columns < 1 or self._console.options.ascii_only:
            return []
        losses = [loss for _, loss in self._losses]
        names = [f"{max(losses):.2f}", " val", f"{min(losses):.2f}"]
        points = [(min(1.0, step / self._steps), loss) for step, loss in self._losses]
        rows = sparkline(points, columns, len(names))
        pairs = zip(names, rows, strict=True)
        return [Text.assemble((f"{name:>4} ", "dim"), (row, "cyan")) for name, row in pairs]

    def paused(self, seconds: float) -> None:
        """Leave the time that the process was suspended out of the figures."""
        self._began += seconds

    def show(self, event: Event) -> None:
        match event:
            case Reading():
                total = max(1, event.total)
                status = "reading" if event.done < event.total else "planning"
                left = f"{short(event.done)}B of {short(event.total)}B"
                self._bar.update(
                    self._task, total=total, completed=event.done, status=status, left=left
                )
            case Planned():
                self._planned = True
                self._plan(event)
            case Stepped():
                self._step(event)
            case Evaluated():
                self._val_nats = event.val_nats
                # of a run that diverged and went back, those from there on are drawn anew
                self._losses = [point for point in self._losses if point[0] < event.step]
                self._losses.append((event.step, event.val_nats))
                if len(self._losses) > MOST:  # every other one
                    self._losses = self._losses[::-2][::-1]
                self._print(evaluation_line(event), "green" if event.best else "")
            case Sampled():
                self._sample = harmless(event.text).strip("\n")
            case Noticed():
                self._print(f"note: {event.message}", "yellow")
            case Finished():
                self._figures.plain = ""
                self._progress(event.step, event.step, "")
                self._print(finish_line(event), "bold green")

    def _plan(self, plan: Planned) -> None:
        table = Table.grid(padding=(0, 2))
        for name, value in plan_lines(plan):
            table.add_row(f"[bold]{name}[/]", Text(visible(value)))
        self._console.print(table)
        for notice in plan.notices:
            self._print(f"note: {notice}", "yellow")
        self._steps = plan.training.steps
        self._first, self._chars_per_step = plan.step, plan.training.chars_per_step
        self._began = time.monotonic()
        self._bar.update(self._task, total=plan.training.steps, completed=plan.step, left="")

    def _step(self, event: Stepped) -> None:
        self._steps = event.steps
        if event.loss is not None:
            before = event.loss if self._train_nats is None else self._train_nats
            self._train_nats = 0.95 * before + 0.05 * event.loss
        now = time.monotonic()
        if now - self._updated < REFRESH:
            return
        self._updated = now
        steps, seconds = event.step - self._first, max(now - self._began, 1e-9)
        figures = [f"{short(steps * self._chars_per_step / seconds)} chars/s"]
        for name, nats in (("train", self._train_nats), ("val", self._val_nats)):
            if nats is not None:
                figures.append(f"{name} {nats:.3f} nats {nats / log(2):.2f} bits")
        self._figures.plain = "  ".join([*figures, f"lr {event.lr:.1e}"])
        left = clock((event.steps - event.step) * seconds / max(1, steps))
        self._progress(event.step, event.steps, f"{left} left")

    def _progress(self, step: int, steps: int, left: str) -> None:
        status = f"step {step:,}"
        self._bar.update(self._task, total=steps, completed=step, status=status, left=left)

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(visible(spelled(line, {})), style=style))
