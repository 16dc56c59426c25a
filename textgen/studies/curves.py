"""The losses of a run, against what they can be drawn against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textgen.config import COUNTED
from textgen.errors import RunError, readable
from textgen.store.checkpoint import read_header
from textgen.store.run import Run
from textgen.store.runs import find_file, find_run

if TYPE_CHECKING:
    from textgen.events import Evaluated
    from textgen.store.record import Record


class Axis(NamedTuple):
    """field: of `Evaluated`; label: of the axis; unit: how much of the field is 1 on the axis."""

    field: str
    label: str
    unit: float = 1.0


AXES = {
    "steps": Axis("step", "steps"),
    "characters": Axis("characters", "characters read"),
    "time": Axis("seconds", "minutes of training", 60.0),
}


@dataclass(frozen=True)
class Curve:
    """A run's name, as it is shown, and its record at its newest save."""

    name: str
    record: Record

    @property
    def evaluations(self) -> tuple[Evaluated, ...]:
        return self.record.history

    def along(self, axis: str) -> list[float]:
        """Where the evaluations stand on one of AXES."""
        field, _, unit = AXES[axis]
        return [getattr(event, field) / unit for event in self.evaluations]


def curve(run: str | None, checkpoints: Path) -> Curve:
    """The curve of a run, or of a checkpoint file; None: of the latest run.

    Raises RunError where there is no such run, or none of its losses was kept.
    """
    header = read_header(find_file(run, checkpoints) or find_run(run, checkpoints).newest)
    if not header.record.history:
        if header.record.kind == "export":
            what = f"{header.path} was exported without losses; expected one or more"
            raise RunError(what, "name the run that it was exported from")
        what = f"{header.path} was not validated yet; expected one loss or more"
        raise RunError(what, f"train on: textgen resume {Run(header.path.parent).typed}")
    return Curve(readable(header.name), header.record)


def unit_of(curves: Iterable[Curve]) -> str:
    """What the losses are per; of models of characters and of bytes `character, or byte`."""
    levels = {curve.record.corpus.level for curve in curves}
    return ", or ".join(unit for level, unit in COUNTED.items() if level in levels)
