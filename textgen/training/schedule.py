"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from textgen.config import TrainingConfig

FLOOR = 0.01  # where cosine and linear end, as a share of the peak


def progress(step: int, config: TrainingConfig) -> float:
    """The share of the schedule done before `step`: a straight line from the last knot to 1."""
    walked = (step - config.start) / max(1, config.steps - config.start)
    return min(1.0, config.progress + (1 - config.progress) * walked)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate for `step`, counted from 0: the schedule, and at first a linear rise to it.

    Cosine after Loshchilov & Hutter 2017, "SGDR", without restarts. A run that is extended rises
    and falls once more.
    """
    done = progress(step, config)
    match config.schedule:
        case "cosine":
            level = FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2
        case "linear":
            level = FLOOR + (1 - FLOOR) * (1 - done)
        case _:
            level = 1.0
    return config.lr * level * min(1.0, (step - config.start + 1) / (rise(config) + 1))


def rise(config: TrainingConfig) -> int:
    """For how many steps from the last knot the rate rises: at a beginning, not in mid-walk."""
    return min(config.warmup, (config.steps - config.start) // 2) if config.progress == 0 else 0
