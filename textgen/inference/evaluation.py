"""How well a model predicts a text: nats and bits per character, state carried throughout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from textgen.model.network import CharModel, State

CHUNK = 512  # characters a stream reads at a time, no influence on the result; fewer where
LOGITS = 1 << 24  # so many logits at a time would be passed
WARM_UP = 256  # characters each stream but the first reads, unscored, before its part


@dataclass(frozen=True)
class Evaluation:
    """nats_per_char: mean of -ln p(character | all before it); characters: how many were scored."""

    nats_per_char: float
    characters: int

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)


@torch.no_grad()
def evaluate(
    model: CharModel,
    ids: NDArray,
    streams: int = 1,
    *,
    autocast: Callable[[], torch.autocast] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score every character of `ids` but the first, from zero state.

    ids: shape (n,), n >= 2.
    streams: 1 is exact: one pass that carries its state from the first character to the last.
        More cut the text in equal parts read side by side, each warmed up on the 256 characters
        before it: many times faster, and the same to about three decimals.
    progress: called with the number of characters read after each chunk.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    state = State.zeros(model.config, streams, device)
    try:
        sums = []
        chunk = max(1, min(CHUNK, LOGITS // (streams * model.config.vocabulary_size)))
        for inputs, targets in _chunks(ids, streams, chunk):
            x = torch.from_numpy(inputs).to(device)
            y = torch.from_numpy(targets).to(device)
            with autocast() if autocast else torch.autocast(device.type, enabled=False):
                logits, state = model(x, state)
            loss = cross_entropy(
                logits.float().flatten(0, 1), y.flatten(), ignore_index=-1, reduction="sum"
            )
            sums.append(loss)
            if progress:
                progress(x.numel())
    finally:
        model.train(was_training)
    scored = len(ids) - 1
    return Evaluation(math.fsum(torch.stack(sums).tolist()) / scored, scored)


def _chunks(ids: NDArray, streams: int, chunk: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Inputs and targets, (T, B) int64, T up to `chunk`; targets not to be scored are -1."""
    scored = len(ids) - 1
    bounds = np.arange(streams + 1) * scored // streams
    begins = np.maximum(bounds[:-1] - WARM_UP, 0)
    ends = bounds[1:]
    longest = int((ends - begins).max())
    for offset in range(0, longest, chunk):
        span = np.arange(offset, min(offset + chunk, longest))[:, None]
        places = np.minimum(begins + span, scored - 1)
        outside = (begins + span < bounds[:-1]) | (begins + span >= ends)
        targets = np.where(outside, -1, ids[places + 1].astype(np.int64))
        yield ids[places].astype(np.int64), targets
