"""What training reports; each event can be one JSON object."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from textgen.architecture import ModelConfig
from textgen.config import TrainingConfig


class Event:
    """Base of all events."""

    def to_json(self) -> dict[str, Any]:
        name = type(self).__name__.lower()
        return {"event": name, **dataclasses.asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Reading(Event):
    """How many bytes of the text were read from disk, of how many."""

    done: int
    total: int


@dataclass(frozen=True)
class Planned(Event):
    """The settings that training will follow; step is above 0 when resumed."""

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
    chars_per_second: float | None  # as measured, if it was
    texts: int = 1
    documents: int = 0  # 0 where the text is not cut into any
    alphabet: dict[str, int] = field(default_factory=dict)  # distinct characters by script


@dataclass(frozen=True)
class Stepped(Event):
    """One step done."""

    step: int
    steps: int  # how many there will be, by the clock of a timed run
    loss: float | None  # nats/char of its chunk, None where reading it would stall a GPU
    lr: float


@dataclass(frozen=True)
class Evaluated(Event):
    """One line of metrics.jsonl.

    train_nats: mean since the last evaluation, dropout on; grad_norm: of the last step, before
    clipping; seconds: spent training in all; chars_per_second: since the last evaluation.
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
    """A text that the model wrote."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved(Event):
    """The run's checkpoints now hold this step.

    path: of `last`; seconds: that the save took.
    """

    step: int
    path: str
    seconds: float


@dataclass(frozen=True)
class Noticed(Event):
    """Something a person should know, in one line."""

    message: str


@dataclass(frozen=True)
class Finished(Event):
    """Training is done."""

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
