"""What a checkpoint says of its run, beside the arrays; older formats are brought up to date."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from textgen.architecture import ModelConfig
from textgen.config import CorpusConfig, TrainingConfig
from textgen.events import Evaluated

VERSION = 2  # of the format; 0.1.0 wrote 1


@dataclass(frozen=True)
class Record:
    """Settings, vocabulary, progress and history of a run; without all of them it is damaged."""

    kind: Literal["last", "best"]  # to resume from; the weights alone, to sample from
    model: ModelConfig
    training: TrainingConfig
    corpus: CorpusConfig
    vocabulary: str  # its characters in ascending order; empty at level byte
    fingerprint: str  # of the corpus
    train_characters: int
    val_characters: int
    step: int  # done so far
    seconds: float  # spent so far
    device: str
    threads: int
    chosen: tuple[str, ...]  # settings that a person gave; the planner decided on the others
    history: tuple[Evaluated, ...]

    def __post_init__(self) -> None:
        if self.step < 0 or self.threads < 1 or self.train_characters < 1:
            raise ValueError("a count is out of range")

    @property
    def best(self) -> Evaluated | None:
        """The evaluation with the lowest validation loss."""
        return min(self.history, key=lambda e: e.val_nats, default=None)


class NewerFormat(ValueError):
    """A record of a format that a later version wrote; its argument is the format's number."""


def to_json(record: Record) -> str:
    """The record as it stands in a checkpoint."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(record)})


def from_json(text: str) -> tuple[int, Record]:
    """The format that a record was written in, and the record.

    Raises NewerFormat; TypeError, KeyError, ValueError, RecursionError or UsageError for a record
    that does not hold together.
    """
    data = json.loads(text)
    version = data["version"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"format version {version!r}")
    if version > VERSION:
        raise NewerFormat(version)
    for older in range(version, VERSION):
        data = _UPGRADES[older](data)
    return version, msgspec.convert(data, Record)


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Skips were not a choice, and the schedule's segment was called `start` and `progress`."""
    training = dict(data["training"])
    training["segment_start"] = training.pop("start")
    training["segment_progress"] = training.pop("progress")
    return {**data, "model": {**data["model"], "skip": True}, "training": training}


_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
