"""What training tells whoever listens; each event is one JSON object when asked to be."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from textgen.architecture import ModelConfig
from textgen.config import TrainingConfig


class Event:
    """Base of all events."""

    def to_json(self) -> dict[str, Any]:
        name = type(self).__name__.lower()
        return {"event": name, **dataclasses.asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Planned(Event):
    """The settings that training will follow, before its first step.

    step: where it begins, above 0 when resumed; notices: what a person should know beforehand;
    chars_per_second: as measured, None where nothing was.
    """

    run: str
    folder: str
    model: ModelConfig
    training: TrainingConfig
    device: str
    parameters: int
    train_characters: int
    val_characters: int
    step: int
    notices: tuple[str, ...]
    chars_per_second: float | None

    @property
    def passes(self) -> float:
        """How many times the whole walk reads the training text."""
        return self.training.steps * self.training.chars_per_step / self.train_characters


@dataclass(frozen=True)
class Stepped(Event):
    """One step done.

    steps: how many there will be, as far as the clock of a timed run tells now; loss: nats/char of
    its chunk, None where reading it would stall a GPU.
    """

    step: int
    steps: int
    loss: float | None
    lr: float


@dataclass(frozen=True)
class Evaluated(Event):
    """One line of metrics.jsonl.

    train_nats: mean over the steps since the last evaluation, dropout on; val_nats: on the
    held-out text; grad_norm: of the last step, before clipping; seconds: spent training, in all
    sittings together; chars_per_second: since the last evaluation.
    """

    step: int
    characters: int
    passes: float
    train_nats: float
    val_nats: float
    lr: float
    grad_norm: float | None  # None where it overflowed
    seconds: float
    chars_per_second: float
    best: bool

    @property
    def val_bits(self) -> float:
        return self.val_nats / math.log(2)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "val_bits": self.val_bits}


@dataclass(frozen=True)
class Sampled(Event):
    """What the model writes now."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved(Event):
    """The run's checkpoints now hold this step."""

    step: int
    path: str
    seconds: float


@dataclass(frozen=True)
class Noticed(Event):
    """Something a person should know, in one line."""

    message: str


@dataclass(frozen=True)
class Finished(Event):
    """The walk is at its end."""

    step: int
    best_step: int
    best_val_nats: float
    path: str
    seconds: float

    @property
    def best_val_bits(self) -> float:
        return self.best_val_nats / math.log(2)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "best_val_bits": self.best_val_bits}
