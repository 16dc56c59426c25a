"""A text in parts that are read side by side, and what a network makes of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.model.network import CharModel, State
from textgen.text.documents import places_of

CHUNK = 512  # characters a stream reads at a time, no influence on the result; fewer where
LOGITS = 1 << 24  # so many logits at a time would be passed
SIDE_BY_SIDE = 256  # documents at most
WARM_UP = 128  # characters each stream but the first reads, unscored, before its part
PARTS = 64  # streams side by side, fewer where a part would have less than 256 characters


class Parts(NamedTuple):
    """Where each part begins to be read; from where up to where the next character is scored."""

    begins: NDArray[np.int64]
    first: NDArray[np.int64]
    ends: NDArray[np.int64]


def parts_of(size: int, most: int) -> Parts:
    """A text of `size` characters cut evenly, of which `most` are scored at most, about."""
    streams = max(1, min(PARTS, size // 256))
    bounds = np.arange(streams + 1) * (size - 1) // streams
    begins, ends = bounds[:-1] - WARM_UP, bounds[:-1] + -(-most // streams)
    return Parts(np.maximum(begins, 0), bounds[:-1], np.minimum(ends, bounds[1:]))


def document_parts(ids: NDArray, end: int, share: tuple[int, int] = (0, 1)) -> Iterator[Parts]:
    """Documents to be read side by side; share: see `validated`.

    They are of about one length, so that little is read for nothing.
    """
    places = places_of(ids, end)
    order = (places.ends - places.begins).argsort(kind="stable")[share[0] :: share[1]]
    for begin in range(0, len(order), SIDE_BY_SIDE):
        begins, ends = places.of(order[begin : begin + SIDE_BY_SIDE])
        yield Parts(begins, begins, ends)


def read(
    network: CharModel,
    ids: NDArray,
    parts: Parts,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (T, B, V) and targets (T, B), -1 for what is not scored, chunk by chunk.

    From zero state; of a part that is warmed up the history before it is known.
    """
    device, streams = next(network.parameters()).device, len(parts.begins)
    warmed_up = np.where(parts.begins < parts.first, parts.begins, 0)
    state = state_before(network, ids, warmed_up).map(lambda part: part.to(device))
    for inputs, targets in _side_by_side(ids, parts, chunk_size(network, streams)):
        x, y = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        with autocast():
            logits, state = _logits(network, x, state)
        yield logits, y


def predictions(
    network: CharModel,
    ids: NDArray,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    most: int | None = None,
    end: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (n, V), float32, and targets (n,) of `ids`; how they are read: see `validate`."""
    of_text = [parts_of(len(ids), len(ids) if most is None else most)]
    for parts in of_text if end is None else document_parts(ids, end):
        for logits, targets in read(network, ids, parts, autocast):
            scored = targets >= 0
            yield logits[scored].float(), targets[scored]


def loss_of(network: CharModel, ids: tuple[Tensor, Tensor], state: State) -> tuple[Tensor, State]:
    """-ln p of each target (T, B), 0 where it is -1, without dropout; and the state after them."""
    inputs, targets = ids
    logits, state = _logits(network, inputs, state)
    return losses(logits, targets), state


def _logits(network: CharModel, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    was_training = network.training
    try:
        with torch.no_grad():
            return network.eval()(inputs, state)  # type: ignore[no-any-return]
    finally:
        network.train(was_training)


def state_before(network: CharModel, ids: NDArray, begins: NDArray) -> State:
    """The zero state of streams that begin at `begins` (B,) of a text, and the history there."""
    state = State.zeros(network.config, len(begins))
    if reach := network.config.history:
        places = begins[:, None] + np.arange(-reach, 0)
        known = ids[np.maximum(places, 0)].astype(np.float32) + 1
        known[places < 0] = 0
        state.parts["history"].copy_(torch.from_numpy(known))
    return state


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target (T, B), 0 where it is -1."""
    flat = logits.float().flatten(0, 1), targets.flatten()
    return cross_entropy(*flat, ignore_index=-1, reduction="none").view(targets.shape)


def chunk_size(network: CharModel, streams: int) -> int:
    """Characters that each of so many streams reads at a time."""
    return max(1, min(CHUNK, LOGITS // (streams * network.config.vocabulary_size)))


def _side_by_side(ids: NDArray, parts: Parts, chunk: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Inputs and targets, (T, B) int64, T up to `chunk`; targets not to be scored are -1."""
    begins, first, ends = parts
    longest = int((ends - begins).max())
    for offset in range(0, longest, chunk):
        span = np.arange(offset, min(offset + chunk, longest))[:, None]
        places = np.minimum(begins + span, len(ids) - 2)
        outside = (begins + span < first) | (begins + span >= ends)
        targets = np.where(outside, -1, ids[places + 1].astype(np.int64))
        yield ids[places].astype(np.int64), targets
