"""How fast training is: measured for a budget of time, else expected from sizes alone."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from textgen.architecture import ModelConfig
from textgen.config import Choices, TrainingConfig
from textgen.model.device import has_bf16_units
from textgen.model.network import CharModel
from textgen.training.step import Learner

THREAD_WORK = 3_250_000  # multiply-adds of a layer's step that keep one thread busy
HALF_FROM = 64  # the width from which half precision is faster, where the device has units for it


@dataclass(frozen=True)
class Trial:
    """What the time of a step depends on, besides the model; size: characters of the text."""

    batch_size: int
    bptt: int
    optimizer: str
    precision: str
    size: int
    device: torch.device


def measure(model: ModelConfig, trial: Trial) -> float:
    """Characters per second of training, the median of a few steps on random characters."""
    how = {"batch_size": trial.batch_size, "bptt": trial.bptt, "precision": trial.precision}
    how |= {"steps": 100, "lr": 1e-3, "warmup": 0, "weight_decay": 0.0, "sample_every": 0}
    config = TrainingConfig.of(Choices(optimizer=trial.optimizer, eval_every=100), **how)
    ids = np.random.default_rng(0).integers(model.vocabulary_size, size=min(trial.size, 1 << 16))
    learner = Learner(CharModel(model), config, ids, trial.device)
    seconds: list[float] = []
    begin = time.perf_counter()
    while len(seconds) < 5 or (time.perf_counter() - begin < 0.3 and len(seconds) < 50):
        started = time.perf_counter()
        float(learner.advance())  # reading the loss waits for the device
        seconds.append(time.perf_counter() - started)
        if len(seconds) >= 3 and time.perf_counter() - begin > 0.5:
            break
    return config.chars_per_step / statistics.median(seconds[1:])


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
