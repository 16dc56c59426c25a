"""The weights that a run begins with."""

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.architecture import ModelConfig
from textgen.model.network import CharModel
from textgen.text.mapped import counts_of


def first_network(
    model: ModelConfig, ids: NDArray, seed: int, *, counts: NDArray[np.int64] | None = None
) -> CharModel:
    """A network with weights drawn for the training text `ids`; counts: of each id, if known."""
    network = CharModel(model)
    if counts is None:
        counts = counts_of(ids, model.vocabulary_size)
    shares = torch.from_numpy(frequencies(counts))
    network.initialise(torch.Generator().manual_seed(seed), shares)
    return network


def frequencies(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each character's share of a text, counted once more than it occurs, so that none is 0."""
    shares: NDArray[np.float32] = np.divide(counts + 1, (counts + 1).sum(), dtype=np.float32)
    return shares
