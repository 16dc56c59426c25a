"""How fast training is: measured for a budget of time, else expected from sizes alone."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from textgen.architecture import ModelConfig
from textgen.config import Choices, TrainingConfig
from textgen.errors import OutOfMemory
from textgen.model.device import has_bf16_units
from textgen.model.graph import EAGER
from textgen.model.network import CharModel
from textgen.training.launch import launch
from textgen.training.step import Learner

LEAST = 8  # steps that are measured; of half as many the fastest is slow in one run of ten
THREAD_WORK = 3_250_000  # multiply-adds of a layer's step that keep one thread busy
FEW = 256  # characters of a vocabulary whose head takes next to no time
HEAD_WIDTH = 128  # where the head's time is measured: half of it is its product's, half softmax's
NARROW = 32  # the width where the time of rows is measured
HALF_FROM = 64  # the width from which half precision is faster, where the device has units for it


@dataclass(frozen=True)
class Trial:
    """What the time of a step depends on, besides the model.

    size: characters of the text; filled, accumulate: see TrainingConfig.
    """

    batch_size: int
    bptt: int
    optimizer: str
    precision: str
    size: int
    device: torch.device
    filled: float | None = None
    accumulate: int = 1

    @property
    def chars_per_step(self) -> int:
        """Characters that a step learns, on average."""
        return max(1, round(self.batch_size * self.bptt * (self.filled or 1)))


def trial_of(config: TrainingConfig, size: int, device: torch.device) -> Trial:
    """That of a run's steps; size: characters of its text."""
    names = ("batch_size", "bptt", "optimizer", "precision", "filled", "accumulate")
    return Trial(**{name: getattr(config, name) for name in names}, size=size, device=device)


def measure(model: ModelConfig, trial: Trial, least: float = 0.0) -> float:
    """Characters per second of training, by the fastest of a few steps on random characters.

    Many processes are taken to be as fast as one with its share of the streams. Below `least` it
    does not matter how slow they are: two steps will do.

    Whatever else runs on the machine can make a step slower, never faster.
    """
    same = ("bptt", "accumulate", "precision")
    how: dict[str, Any] = {name: getattr(trial, name) for name in same}
    how["batch_size"] = -(-trial.batch_size // launch().size)  # of one rank, where there are many
    how |= {"steps": 100, "block": 0, "lr": 1e-3, "floor": 0.1, "average": 0.1}
    how |= {"warmup": 0, "weight_decay": 0.0, "sample_every": 0}
    config = TrainingConfig.of(Choices(optimizer=trial.optimizer, clip=1.0, eval_every=100), **how)
    random = np.random.default_rng(0).random(min(trial.size, 1 << 16))
    ids = (model.vocabulary_size**random).astype(np.int64) - 1  # some often, most seldom (Zipf)
    learner = Learner(CharModel(model), config, ids, trial.device)
    characters = trial.batch_size * trial.bptt * (trial.filled or 1)
    seconds: list[float] = []
    first = EAGER + 1 if trial.device.type == "cuda" else 0  # the steps before one is replayed
    begin = time.perf_counter()
    while len(seconds) < first + LEAST or (time.perf_counter() - begin < 0.1 and len(seconds) < 50):
        started = time.perf_counter()
        float(learner.advance())  # reading the loss waits for the device
        seconds.append(time.perf_counter() - started)
        spent = time.perf_counter() - begin
        settled = spent > 1 or characters < least * min(seconds[1:], default=0.0)
        if settled and len(seconds) >= first + 2:
            break
    return characters / min(seconds[1:])


def layer_of(model: ModelConfig, share: int = 1) -> ModelConfig:
    """A layer alone, as wide as the widest of `model` divided by `share`.

    What is below it is as wide, and the vocabulary so small that the head counts for nothing.
    No match or n-gram is looked for.
    """
    width = max(1, max(model.hidden) // share)
    few = min(model.vocabulary_size, FEW)
    return replace(model.bare, vocabulary_size=few, hidden=(width,), embedding=width)


def layer_seconds(
    model: ModelConfig, trial: Trial, share: int = 1, most: float = math.inf
) -> float:
    """Seconds per character of `layer_of` a model; above `most` a rough figure."""
    return 1 / measure(layer_of(model, share), trial, 1 / most)


def measured_cost(
    model: ModelConfig, trial: Trial, seconds: float
) -> Callable[[ModelConfig], float]:
    """Seconds per character of any network of such layers and such a vocabulary.

    seconds: `layer_seconds` of `model`. A layer's are linear in its width plus linear in its
    weights, the head's are linear in its weights.
    """
    high = max(model.hidden)
    low = max(1, high // 2)
    of_low = seconds / 2 if high == 1 else layer_seconds(model, trial, 2)
    weights = max(0.0, (seconds / high - of_low / low) / (high - low)) if high > 1 else 0.0
    linear = max(0.0, of_low / low - weights * low)
    once = _row_seconds(model, trial) if model.history and trial.device.type == "cpu" else 0.0
    head = _head_seconds(model, trial) if model.vocabulary_size > FEW else 0.0

    def cost(model: ModelConfig) -> float:
        below, total = model.embedding, once
        for width in model.hidden:
            total += linear * width + weights * width * (below + width) / 2
            below = width
        return total + head * (1 + below / HEAD_WIDTH) / 2

    return cost


def _row_seconds(model: ModelConfig, trial: Trial) -> float:
    """Seconds per character of finding matches and n-grams, and of learning their rows."""
    few = min(model.vocabulary_size, FEW)
    narrow = replace(model, vocabulary_size=few, hidden=(NARROW,))
    return max(0.0, 1 / measure(narrow, trial) - 1 / measure(narrow.bare, trial))


def _head_seconds(model: ModelConfig, trial: Trial) -> float:
    """Seconds per character of a head of HEAD_WIDTH, with fewer streams where these do not fit."""
    narrow = replace(model.bare, hidden=(HEAD_WIDTH,), embedding=HEAD_WIDTH)
    few = replace(narrow, vocabulary_size=FEW)
    try:
        return max(0.0, 1 / measure(narrow, trial) - 1 / measure(few, trial))
    except OutOfMemory:
        if trial.batch_size == 1:
            raise
    if trial.device.type == "cuda":
        torch.cuda.empty_cache()
    half = trial.batch_size // 2
    fewer = replace(trial, batch_size=half, accumulate=min(trial.accumulate, half))
    return _head_seconds(model, fewer)


def precisions(device: torch.device) -> tuple[str, ...]:
    """The precisions worth measuring: half precision only where the device has units for it."""
    if device.type == "cuda":
        return ("fp32", "fp16")
    return ("fp32", "bf16") if device.type == "cpu" and has_bf16_units() else ("fp32",)


def expected_precision(width: int, device: torch.device) -> str:
    """The fastest precision, by the layers' width and what the device is."""
    return precisions(device)[-1] if width >= HALF_FROM else "fp32"


def expected_threads(width: int, batch_size: int) -> int:
    """How many CPU threads a step keeps busy, by the layers' width; more wait for each other."""
    return max(1, min(torch.get_num_threads(), 8 * batch_size * width * width // THREAD_WORK))
