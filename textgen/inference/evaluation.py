"""How well a model predicts a text: nats and bits per character, state carried throughout."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.model.network import CharModel, State

CHUNK = 512  # characters a stream reads at a time, no influence on the result; fewer where
LOGITS = 1 << 24  # so many logits at a time would be passed
WARM_UP = 128  # characters each stream but the first reads, unscored, before its part
PARTS = 64  # streams side by side, fewer where a part would have less than 256 characters


@dataclass(frozen=True)
class Evaluation:
    """nats_per_char: mean of -ln p(character | all before it); characters: how many were scored."""

    nats_per_char: float
    characters: int

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)


def nats(network: CharModel, blocks: Iterable[NDArray]) -> Iterator[NDArray[np.float32]]:
    """-ln p of every character but the first, in order, chunk by chunk: one exact pass.

    blocks: the text's ids in pieces of any length, on which neither result nor memory depends.
    """
    device = next(network.parameters()).device
    state = State.zeros(network.config, 1, device)
    for chunk in overlapping(blocks, _chunk(network, 1)):
        ids = torch.from_numpy(chunk).to(device)[:, None]
        loss, state = _loss(network, (ids[:-1], ids[1:]), state)
        yield loss[:, 0].cpu().numpy()


def evaluate(
    network: CharModel, blocks: Iterable[NDArray], progress: Callable[[int], None] | None = None
) -> Evaluation:
    """The mean of `nats`, 0 of no characters; `progress` is called with each chunk's length."""
    total, characters = 0.0, 0
    for chunk in nats(network, blocks):
        total += float(chunk.sum(dtype=np.float64))
        characters += len(chunk)
        if progress:
            progress(len(chunk))
    return Evaluation(total / max(1, characters), characters)


def validate(
    network: CharModel,
    ids: NDArray,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    most: int | None = None,
) -> float:
    """Nats per character of `ids` (n,), n >= 2, to about three decimals and many times faster.

    The text is cut in parts read side by side, each warmed up on the 128 characters before it.
    most: score so many characters at most, the beginning of each part: an even sample of the text.
    """
    device = next(network.parameters()).device
    streams = max(1, min(PARTS, len(ids) // 256))
    each = len(ids) if most is None else max(1, most // streams)
    state = State.zeros(network.config, streams, device)
    total, characters = 0.0, 0
    for inputs, targets in _side_by_side(ids, streams, each, _chunk(network, streams)):
        x, y = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        with autocast():
            loss, state = _loss(network, (x, y), state)
        total += float(loss.cpu().sum(dtype=torch.float64))
        characters += int((targets >= 0).sum())
    return total / characters


def _loss(network: CharModel, ids: tuple[Tensor, Tensor], state: State) -> tuple[Tensor, State]:
    """-ln p of each target (T, B), 0 where it is -1, without dropout; and the state after them."""
    inputs, targets = ids
    was_training = network.training
    try:
        with torch.no_grad():
            logits, state = network.eval()(inputs, state)
    finally:
        network.train(was_training)
    flat = logits.float().flatten(0, 1), targets.flatten()
    return cross_entropy(*flat, ignore_index=-1, reduction="none").view(targets.shape), state


def _chunk(network: CharModel, streams: int) -> int:
    return max(1, min(CHUNK, LOGITS // (streams * network.config.vocabulary_size)))


def overlapping(blocks: Iterable[NDArray], size: int) -> Iterator[NDArray[np.int64]]:
    """Pieces of up to size + 1 ids, int64, each beginning with the last id of the one before."""
    kept = np.zeros(0, np.int64)
    for block in blocks:
        for begin in range(0, len(block), size):
            kept = np.concatenate([kept, block[begin : begin + size].astype(np.int64)])
            if len(kept) > size:
                yield kept[: size + 1]
                kept = kept[size:]
    if len(kept) > 1:
        yield kept


def _side_by_side(
    ids: NDArray, streams: int, each: int, chunk: int
) -> Iterator[tuple[NDArray, NDArray]]:
    """Inputs and targets, (T, B) int64, T up to `chunk`; targets not to be scored are -1.

    each: of a stream's part so many characters are scored at most.
    """
    scored = len(ids) - 1
    bounds = np.arange(streams + 1) * scored // streams
    begins = np.maximum(bounds[:-1] - WARM_UP, 0)
    ends = np.minimum(bounds[1:], bounds[:-1] + each)
    longest = int((ends - begins).max())
    for offset in range(0, longest, chunk):
        span = np.arange(offset, min(offset + chunk, longest))[:, None]
        places = np.minimum(begins + span, scored - 1)
        outside = (begins + span < bounds[:-1]) | (begins + span >= ends)
        targets = np.where(outside, -1, ids[places + 1].astype(np.int64))
        yield ids[places].astype(np.int64), targets
