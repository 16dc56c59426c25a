"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from textgen.config import TrainingConfig

FLOOR = 0.01  # where cosine and linear end, as a share of the peak


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate for `step`, counted from 0: a linear rise over `warmup` steps, then the schedule.

    Cosine after Loshchilov & Hutter 2017, "SGDR", without restarts. An extended run rises and
    falls again between `start` and `steps`.
    """
    step -= config.start
    length = config.steps - config.start
    warmup = min(config.warmup, length // 2)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, length - warmup))
    match config.schedule:
        case "cosine":
            remaining = (1 + math.cos(math.pi * done)) / 2
        case "linear":
            remaining = 1 - done
        case _:
            return config.lr
    return config.lr * (FLOOR + (1 - FLOOR) * remaining)
