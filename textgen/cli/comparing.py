"""What is seen while variants train: a live table, a line per validation, or JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from textgen.cli.display import REFRESH, evaluation_line
from textgen.cli.info import settings_lines
from textgen.cli.live import drawn
from textgen.cli.terminal import clock, in_foreground, looking, note, short, spelled, visible
from textgen.events import Evaluated, Noticed, Planned, Reading, Stepped
from textgen.studies.comparison import Begun, Trained
from textgen.studies.figures import Result, Table

if TYPE_CHECKING:
    from textgen.studies.comparison import Report

Show = Callable[["Report | Reading"], None]
HEADINGS = ("run", "done", "chars/s", "val nats", "best", "left")


@contextmanager
def reporter(as_json: bool) -> Iterator[Show]:
    """The function to hand each report to, for as long as the context lasts."""
    if as_json:
        yield lambda report: print(json.dumps(facts_of(report)), flush=True)
    elif looking(sys.stderr):
        lines = _Lines().show
        with drawn(_Board) as draw:

            def show(report: Report | Reading) -> None:
                draw(report)
                if isinstance(report, Begun) or not in_foreground(sys.stderr):  # nothing is drawn
                    lines(report)

            yield show
    else:
        yield _Lines().show


def facts_of(report: Report | Reading) -> dict[str, Any]:
    """What `--json` prints: of an event of a run the event's own facts, and which run it is."""
    match report:
        case Trained(run, event):
            return {**event.to_json(), "run": run}
        case Begun():
            return {"event": "begun", "runs": dict(report.runs)}
        case Table():
            facts = {"event": "table", **dataclasses.asdict(report)}
            for row, kept in zip(facts["rows"], report.rows, strict=True):
                row["results"] = [result.run for result in kept.results]
                for name in ("rank_at_characters", "rank_at_time"):
                    rank = getattr(kept, name)
                    row[name] = rank and rank._asdict()
            return facts
        case Result():
            return {"event": "result", **dataclasses.asdict(report)}
    return report.to_json()


class _Lines:
    """A line on stderr for each run that begins, each validation and each result."""

    def __init__(self) -> None:
        self._runs: list[str] = []

    def show(self, report: Report | Reading) -> None:
        match report:
            case Begun():
                self._runs = list(report.runs)
            case Trained(run, Planned() as event):
                named = dict(settings_lines(event))
                number = f"{self._runs.index(run) + 1} of {len(self._runs)}"
                note(f"run {run}, {number}: {named['model']}")
                for notice in event.notices:
                    note(f"note: {notice}")
            case Trained(_, Evaluated() as event):
                note(evaluation_line(event))
            case Trained(_, Noticed() as event):
                note(f"note: {event.message}")
            case Result() if report.diverged:
                note(f"done {report.run}: {report.diverged}")
            case Result():
                note(f"done {report.run} in {clock(report.seconds)}")


@dataclass
class _Run:
    """What is known of a run: where it stands, and its losses so far."""

    state: str = "waits"
    left: str = ""
    rate: float | None = None
    nats: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        rate = "" if self.rate is None else short(self.rate)
        losses = [f"{self.nats[-1]:.4f}", f"{min(self.nats):.4f}"] if self.nats else ["", ""]
        return [self.state, rate, *losses, self.left]


class _Board:
    """The live table, a row for each run."""

    def __init__(self, console: Console) -> None:
        self.stays = True
        self._console = console
        self._runs: dict[str, _Run] = {}
        self._now = ""  # the run that trains
        self._status = "reading and planning"
        self._chars_per_step = 1
        self._first = self._began = self._updated = 0.0

    def frame(self) -> Grid | Text:
        if not self._runs:
            return Text(self._status)
        grid = Grid(box=None, pad_edge=False, expand=True)
        for number, heading in enumerate(HEADINGS):
            grid.add_column(heading, justify="right" if number else "left", no_wrap=True)
        names = list(self._runs)
        rows = max(1, self._console.height - 3)
        begin = max(0, min(names.index(self._now) - rows // 2, len(names) - rows))
        for name in names[begin : begin + rows]:
            style = "bold" if name == self._now else ""
            grid.add_row(Text(visible(name)), *self._runs[name].cells(), style=style)
        return grid

    def paused(self, seconds: float) -> None:
        """Leave the time that the process was suspended out of the figures."""
        self._began += seconds

    def show(self, report: Report | Reading) -> None:
        match report:
            case Reading(done, total):
                self._status = f"reading: {short(done)}B of {short(total)}B"
            case Begun(runs):
                self._runs = {name: _Run() for name in runs}
                self._now = next(iter(runs))
            case Trained(run, event):
                self._now = run
                self._event(self._runs[run], event)
            case Result():
                self._result(self._runs[report.run], report)
            case Table():
                self.stays = False  # the table of figures follows

    def _event(self, run: _Run, event: object) -> None:
        match event:
            case Planned():
                self._first, self._chars_per_step = event.step, event.training.chars_per_step
                self._began = time.monotonic()
                run.state = "begins"
                for notice in event.notices:
                    self._notice(notice)
            case Stepped():
                self._step(run, event)
            case Evaluated():
                run.nats.append(event.val_nats)
            case Noticed():
                self._notice(event.message)

    def _notice(self, message: str) -> None:
        if in_foreground(self._console.file):
            line = visible(spelled(f"{self._now}: {message}", {}))
            self._console.print(Text(line, style="yellow"))

    def _step(self, run: _Run, event: Stepped) -> None:
        now = time.monotonic()
        if event.step == event.steps:
            run.state, run.left = "measures", ""
        elif now - self._updated >= REFRESH:
            self._updated = now
            steps, seconds = event.step - self._first, max(now - self._began, 1e-9)
            run.rate = steps * self._chars_per_step / seconds
            run.state = f"{event.step / event.steps:.0%}"
            run.left = clock((event.steps - event.step) * seconds / max(1, steps))

    def _result(self, run: _Run, result: Result) -> None:
        run.state, run.left = "diverged" if result.diverged else "done", ""
        run.nats = [point.nats for point in result.curve]
        run.rate = result.chars_per_second if result.curve else None
