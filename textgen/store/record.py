"""The JSON record of a checkpoint; older formats are brought up to date."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

import msgspec

from textgen.architecture import ModelConfig
from textgen.config import CorpusConfig, TrainingConfig
from textgen.events import Evaluated

VERSION = 3  # of the format; 0.1.0 wrote 1


@dataclass(frozen=True)
class Record:
    """Settings, vocabulary, progress and history of a run."""

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
    chosen: tuple[str, ...]  # settings that were given; the planner decided on the others
    history: tuple[Evaluated, ...]

    def __post_init__(self) -> None:
        if self.step < 0 or self.threads < 1 or self.train_characters < 1:
            raise ValueError("a count is out of range")

    @property
    def best(self) -> Evaluated | None:
        """The evaluation with the lowest validation loss."""
        return min(self.history, key=lambda e: e.val_nats, default=None)


class NewerFormat(ValueError):
    """A record of a later format, whose number is the argument."""


def to_json(record: Record) -> str:
    """The record as a checkpoint stores it."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(record)})


def from_json(text: str) -> tuple[int, Record]:
    """The format that a record was written in, and the record.

    Raises NewerFormat, or some other error for a record that does not hold together.
    """
    data = json.loads(text)
    version = data["version"]
    if type(version) is not int or version < 1:  # True is an int too
        raise ValueError(f"format version {version!r}")
    if version > VERSION:
        raise NewerFormat(version)
    data["corpus"].setdefault("backward", False)
    if version < 3:  # streams read on for ever, no weights were averaged
        data["training"] = {**data["training"], "block": 0, "floor": 0.01, "average": 0.0}
    if version == 1:  # had no choice of skips, and other names for the schedule's segment
        data["model"] = {**data["model"], "skip": True}
        training = data["training"]
        training["segment_start"] = training.pop("start")
        training["segment_progress"] = training.pop("progress")
    return version, msgspec.convert(data, Record)
