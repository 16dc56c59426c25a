"""The learning rate as a function of the step."""

import math

from textgen.config import TrainingConfig


def progress(step: int, config: TrainingConfig) -> float:
    """The share of the schedule done before `step`: a straight line to 1 in the last segment."""
    done = (step - config.segment_start) / max(1, config.steps - config.segment_start)
    return min(1.0, config.segment_progress + (1 - config.segment_progress) * done)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The learning rate for `step`, counted from 0: the schedule, and at first a warm-up to it.

    Cosine after Loshchilov & Hutter 2017, "SGDR", without restarts.
    """
    done = progress(step, config)
    match config.schedule:
        case "cosine":
            level = config.floor + (1 - config.floor) * (1 + math.cos(math.pi * done)) / 2
        case "linear":
            level = config.floor + (1 - config.floor) * (1 - done)
        case _:
            level = 1.0
    return config.lr * level * min(1.0, (step - config.segment_start + 1) / (rise(config) + 1))


def rise(config: TrainingConfig) -> int:
    """Steps of warm-up in the last segment: none where it begins in the middle of a schedule."""
    if config.segment_progress:
        return 0
    return min(config.warmup, (config.steps - config.segment_start) // 2)
