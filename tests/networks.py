"""Small networks to test with."""

from __future__ import annotations

import numpy as np
import torch

from textgen.config import ModelConfig
from textgen.model.network import CharModel

SHAPES = [(16,), (16, 16, 16), (24, 16), (16, 16, 8)]


def build(cell: str, hidden: tuple[int, ...], **options: float) -> CharModel:
    model = CharModel(ModelConfig(20, cell, hidden, embedding=10, **options))
    model.initialise(torch.Generator().manual_seed(3), torch.full((20,), 1 / 20))
    with torch.no_grad():  # biases too, so that a misplaced one shows
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(7)))
    return model


def weights(model: CharModel) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in model.named_parameters()}
