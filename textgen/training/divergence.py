"""Training that goes wrong: what tells it, and what to do about it."""

import math

from textgen.config import TrainingConfig
from textgen.errors import Diverged

SETBACKS = 3  # times that a diverged run goes back to its last save
LOWER = 3  # what the rate is divided by each time


def worst(vocabulary_size: int) -> float:
    """Nats per character that no training gets to which goes well: guessing has 1 less."""
    return 1 + math.log(vocabulary_size)


def lower(lr: float) -> float:
    """The rate to try after `lr`."""
    return float(f"{lr / LOWER:.2g}")


def diverged(what: str, step: int, config: TrainingConfig) -> Diverged:
    """The error for what was found after so many steps."""
    found = f"`lr={config.lr:g}` and `clip={config.clip:g}`"
    hint = f"start over with a lower learning rate: `lr={lower(config.lr):g}` `overwrite`"
    if config.lr <= 1 < config.lr * config.weight_decay:  # a step takes more than a weight
        found = f"`lr={config.lr:g}` and `weight_decay={config.weight_decay:g}`"
        hint = "start over with a lower decay: `weight_decay=0.1` `overwrite`"
    return Diverged(f"{what} at step {step:,}, with {found}", hint)
