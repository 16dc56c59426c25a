"""Calls of textgen that a process makes by itself, or each process that torchrun started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

import textgen
from textgen.events import Stepped
from textgen.training.launch import launch
from textgen.training.step import Learner


def job(into: Path, *names: object, stop: int = 0, call: str = "train", **how: object) -> dict:
    """stop: a step to leave at, 0: none; how: `diverges` is a step whose loss is once no number."""
    return {"call": call, "names": [*map(str, names)], "into": str(into), "stop": stop, "how": how}


def do(job: dict[str, Any]) -> None:
    """Keep the losses of the steps; a loss is read by the first process alone."""
    how = dict(job["how"])
    if "hidden" in how:
        how["hidden"] = tuple(how["hidden"])
    advance = Learner.advance
    Learner.advance = diverging(advance, how.pop("diverges", 0))  # type: ignore[method-assign]
    events = getattr(textgen, job["call"])(*job["names"], checkpoints=job["into"], **how)
    losses = []
    for event in events:
        if isinstance(event, Stepped):
            losses.append(event.loss)
            if event.step == job["stop"]:
                break
    events.close()
    Learner.advance = advance  # type: ignore[method-assign]
    if launch().rank == 0:
        losses_of(Path(job["into"])).write_text(json.dumps(losses), encoding="utf-8")


def losses_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.losses")


def diverging(advance: Any, step: int) -> Any:
    failed: list[int] = []

    def fails_once(learner: Learner) -> torch.Tensor:
        loss: torch.Tensor = advance(learner)
        if learner.step == step and not failed and launch().rank == 0:
            failed.append(step)
            return torch.tensor(float("nan"))
        return loss

    return fails_once


if __name__ == "__main__":
    for wanted in json.loads(sys.argv[1]):
        do(wanted)
