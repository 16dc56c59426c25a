"""Small networks to test with."""

from __future__ import annotations

import numpy as np
import torch

from textgen.architecture import ModelConfig
from textgen.config import TrainingConfig
from textgen.model.network import CharModel


def model_config(
    vocabulary_size: int,
    cell: str = "lstm",
    hidden: tuple[int, ...] = (256, 256),
    **changes: object,
) -> ModelConfig:
    others = {
        "embedding": 128,
        "skip": True,
        "dropout": 0.0,
        "weight_drop": 0.0,
        "history": 0,
        "grams": 0,
    }
    return ModelConfig(vocabulary_size, cell, hidden, **(others | changes))


def training_config(steps: int, **changes: object) -> TrainingConfig:
    others = {
        "batch_size": 32,
        "bptt": 64,
        "accumulate": 1,
        "block": 4096,
        "filled": None,
        "optimizer": "adamw",
        "lr": 0.01,
        "schedule": "linear",
        "floor": 0.01,
        "average": 0.15,
        "aside": 0,
        "late": 0,
        "warmup": 20,
        "clip": 0.5,
        "weight_decay": 0.01,
        "eval_every": 200,
        "save_every": 30.0,
        "sample_every": 0,
        "keep_mixing": 0.0,
        "seed": 0,
        "precision": "fp32",
        "deterministic": False,
        "segment_start": 0,
        "segment_progress": 0.0,
    }
    return TrainingConfig(steps, **(others | changes))


SHAPES = [(16,), (16, 16, 16), (24, 16), (16, 16, 8)]


def build(cell: str, hidden: tuple[int, ...], **options: float) -> CharModel:
    model = CharModel(model_config(20, cell, hidden, embedding=10, **options))
    model.initialise(torch.Generator().manual_seed(3), torch.full((20,), 1 / 20))
    noise = torch.Generator().manual_seed(7)
    with torch.no_grad():  # biases too, so that a misplaced one shows
        for name, parameter in model.named_parameters():
            if "bias" in name or "match" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return model


def repeating(seed: int, length: int, streams: int) -> np.ndarray:
    """Ids (length, streams) that come back after 23, but for a tenth of them."""
    rng = np.random.default_rng(seed)
    again = np.resize(rng.integers(20, size=(23, streams)), (length, streams))
    return np.where(rng.random(again.shape) < 0.1, rng.integers(20, size=again.shape), again)


def weights(model: CharModel) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in model.named_parameters()}
