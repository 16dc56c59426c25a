"""How far back a model remembers, measured in two ways.

By what it predicts: a state that has seen only the last k characters, against one that has read on
from further back, on the same characters. By gradients: how much the loss of a character depends on
the input k characters before it. Through matches and n-grams there is no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.errors import CorpusError
from textgen.inference.parts import state_before
from textgen.model.network import State
from textgen.text.mapped import counts_of

if TYPE_CHECKING:
    from textgen.model.network import CharModel

LONGEST = 1024  # characters back
SHORTEST = 16  # characters back below which nothing is measured
PLACES = 128  # of the text, at which a state begins anew, unless fewer are asked for
SIDE_BY_SIDE = 64  # places read at a time
TRACED = 64  # places from which gradients are followed back
KEPT = 1 << 23  # activations or logits kept at a time, of a layer or of the head
USED, LEFT = 0.05, 0.01  # shares of what it knows that lie beyond the two reaches


@dataclass(frozen=True)
class Memory:
    """What a model of a text knows by how many characters it has seen, k = 1 to K.

    chance: nats per character of the frequencies of the characters alone; full: with the state of
    more than K characters; excess: how many nats per character more than `full` after only the last
    k to 9/8 k, (K,), a mean over the places; error: its standard error, (K,); gradient: the norm of
    the gradient of a character's loss by the embedded character k before it, the median over
    places, relative to the largest, (K,); places: at how many places.
    """

    chance: float
    full: float
    excess: NDArray[np.float64]
    error: NDArray[np.float64]
    gradient: NDArray[np.float64]
    places: int

    @property
    def longest(self) -> int:
        return len(self.excess)

    def nats(self, k: int) -> float:
        """Nats per character after only the last k characters."""
        return self.full + float(self.excess[k - 1])

    def beyond(self, k: int) -> float:
        """The share of `chance - full` that comes from beyond the last k characters."""
        return float(self.excess[k - 1]) / (self.chance - self.full)

    def reach(self, share: float) -> int | None:
        """The least k beyond which at most `share` comes; None where the model knows nothing.

        Of the excess as the nearest curve that never rises: more context is not worth less.
        """
        if self.full >= self.chance:
            return None
        inside = falling(self.excess) <= share * (self.chance - self.full)
        return int(inside.argmax()) + 1 if inside.any() else self.longest

    @property
    def gradient_reach(self) -> int:
        """The largest k at which the gradient is a hundredth of the largest or more."""
        return int(np.flatnonzero(self.gradient >= LEFT).max(initial=0)) + 1

    def in_words(self, counted: str = "characters") -> tuple[str, str]:
        """How far back it uses characters, or bytes, and how far back its gradient reaches."""
        uses, left = self.reach(USED), self.reach(LEFT)
        if uses is None or left is None:
            sentence = f"knows nothing of this text beside the frequencies of its {counted}"
        else:
            rest = f"1 % of what it knows comes from beyond {_about(left, self.longest)}"
            sentence = f"uses about {_about(uses, self.longest)} {counted}; {rest}"
        reach = _about(self.gradient_reach, self.longest)
        return sentence, f"the gradient is below 1 % beyond {reach}"


def _about(characters: int, longest: int) -> str:
    """Two digits: 1234 as 1,200."""
    unit = 10 ** max(0, len(str(characters)) - 2)
    return (
        f"{longest:,} or more" if characters >= longest else f"{round(characters / unit) * unit:,}"
    )


def remember(
    network: CharModel,
    ids: NDArray,
    places: int = PLACES,
    progress: Callable[[int, int], None] | None = None,
) -> Memory:
    """Measure the memory of `network` on the text `ids` (n,), in the order in which it reads.

    places: of the text, at which a state begins anew; the fewer, the larger the standard errors;
    progress: called with how much of all is done, and how much that is.
    Raises CorpusError for a text too short for that.
    """
    longest = LONGEST
    while 3 * longest > len(ids) and longest > SHORTEST:
        longest //= 2
    if 3 * longest > len(ids):
        what = f"the text has {len(ids):,} characters; expected {3 * SHORTEST} or more"
        raise CorpusError(what, "name a longer text")
    last = len(ids) - _read_on(longest) - 1
    begins = np.unique(np.linspace(longest, last, places).astype(np.int64))
    traced, done = begins[:: -(-len(begins) // TRACED)], 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(begins) + len(traced))

    cold, warm = [], []
    for some in np.array_split(begins, -(-len(begins) // SIDE_BY_SIDE)):
        before, after = _nats(network, ids, some, longest)
        cold.append(before)
        warm.append(after)
        tell(len(some))
    costs, full = np.concatenate(cold, axis=1), np.concatenate(warm, axis=1)
    excess = costs - full  # (9/8 K, places): the character's own difficulty falls out
    counts = counts_of(ids, network.config.vocabulary_size)
    shares = counts[counts > 0] / len(ids)
    return Memory(
        float(-(shares * np.log(shares)).sum()),
        float(full.mean()),
        *_mean_and_error(excess, int(np.ptp(begins))),
        gradient=_gradient(network, ids, traced, longest, tell),
        places=len(begins),
    )


def _read_on(longest: int) -> int:
    return longest + longest // 8


def _mean_and_error(excess: NDArray, apart: int) -> tuple[NDArray, NDArray]:
    """Over the places, of the contexts from k to 9/8 k: (9/8 K, places) -> (K,), (K,).

    apart: characters from the first place to the last. Where places overlap, the error is that of
    as many as would stand side by side.
    """
    sums = np.concatenate([np.zeros_like(excess[:1]), excess.cumsum(axis=0)])
    k = np.arange(1, len(excess) * 8 // 9 + 1)
    means = (sums[k + k // 8] - sums[k - 1]) / (k // 8 + 1)[:, None]
    independent = np.minimum(means.shape[1], 1 + apart / (k // 8 + 1))
    return means.mean(axis=1), means.std(axis=1) / np.sqrt(independent - 1)


def _nats(
    network: CharModel, ids: NDArray, begins: NDArray, longest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """-ln p of the 9/8 K characters from each place: state begun there, and carried on."""
    places = begins - longest
    state = state_before(network, ids, places)
    _, state = _read(network, _windows(ids, places, longest + 1), state)
    state = state.map(lambda part: torch.cat([torch.zeros_like(part), part]))
    both = np.concatenate([begins, begins])
    nats, _ = _read(network, _windows(ids, both, _read_on(longest) + 1), state)
    return nats[:, : len(begins)], nats[:, len(begins) :]


def _windows(ids: NDArray, begins: NDArray, length: int) -> Tensor:
    """(length, B), int64."""
    return torch.from_numpy(ids[begins + np.arange(length)[:, None]].astype(np.int64))


@torch.inference_mode()
def _read(network: CharModel, ids: Tensor, state: State) -> tuple[NDArray[np.float64], State]:
    """-ln p of ids[1:] (T, B), and the state after ids[:-1]."""
    chunk = max(1, KEPT // (ids.shape[1] * network.config.vocabulary_size))
    found = []
    for inputs, targets in zip(ids[:-1].split(chunk), ids[1:].split(chunk), strict=True):
        logits, state = network(inputs, state)
        costs = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        found.append(costs.view(targets.shape))
    return torch.cat(found).double().numpy(), state


def _gradient(
    network: CharModel, ids: NDArray, traced: NDArray, longest: int, tell: Callable[[int], None]
) -> NDArray:
    """The median norms by distance, (K,), relative to the largest.

    traced: the places from which they are taken; tell: called with how many more are done.
    """
    config = network.config
    wide = max(config.vocabulary_size, 4 * max(config.hidden))
    together = max(1, min(TRACED, KEPT // (wide * longest)))
    embedded: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    norms = []
    network.requires_grad_(False)
    hook = network.embedding.register_forward_hook(keep)
    try:
        for some in np.array_split(traced, -(-len(traced) // together)):
            window = _windows(ids, some, longest + 1)
            logits, _ = network(window[:-1], State.zeros(config, len(some)))
            cross_entropy(logits[-1], window[-1], reduction="sum").backward()
            found = embedded.pop().grad
            assert found is not None
            norms.append(found.norm(dim=-1).flip(0).double().numpy())
            tell(len(some))
    finally:
        hook.remove()
        network.requires_grad_(True)
    medians = np.median(np.concatenate(norms, axis=1), axis=1)
    relative: NDArray[np.float64] = medians / max(medians.max(), np.finfo(np.float64).tiny)
    return relative


def falling(values: NDArray) -> NDArray[np.float64]:
    """The curve that never rises nearest to `values` (n,), by least squares: (n,).

    Pooled adjacent violators: Ayer et al. 1955, "An Empirical Distribution Function for Sampling
    with Incomplete Information".
    """
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] < mean:
            other, more = blocks.pop()
            mean, size = (mean * size + other * more) / (size + more), size + more
        blocks.append((mean, size))
    return np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
