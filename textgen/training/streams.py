"""Cursors on a circle: B streams that read the corpus round and round.

The corpus is a circle of N ids. Stream b starts at b*N//B and reads on, T characters a step, so the
state it carries is that of the text just before, or zero; its position is one integer, the step.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COUNTED = 1 << 20  # ids counted at a time
RESETS = 0.01  # the share of chunks that begin from zero state, besides those past the end


class Chunk(NamedTuple):
    """window: ids, shape (T+1, B); fresh: which streams begin from zero state, shape (B,)."""

    window: NDArray[np.int64]
    fresh: NDArray[np.bool_]

    @property
    def inputs(self) -> NDArray[np.int64]:
        return self.window[:-1]

    @property
    def targets(self) -> NDArray[np.int64]:
        return self.window[1:]


class Streams:
    """B streams over `ids`, T characters a step; a pure function of the step."""

    def __init__(self, ids: NDArray, batch_size: int, bptt: int, seed: int) -> None:
        self.ids = ids
        self.bptt = bptt
        self.seed = seed
        self.starts = np.arange(batch_size, dtype=np.int64) * len(ids) // batch_size
        self._span = np.arange(bptt + 1, dtype=np.int64)[:, None]

    def positions(self, step: int) -> NDArray[np.int64]:
        """Where each stream stands in the corpus at the beginning of `step`, shape (B,)."""
        return (self.starts + step * self.bptt) % len(self.ids)

    def chunk(self, step: int) -> Chunk:
        """What the streams read in `step`, counted from 0.

        A stream is fresh in its first step, in the step after it passed the corpus's end, and in a
        seeded 1 of 100, so that the model also learns to begin, as in sampling and evaluation.
        """
        positions = self.positions(step)
        window = self.ids[(positions + self._span) % len(self.ids)].astype(np.int64)
        wrapped = positions < self.bptt if step else True
        coin = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        fresh = (coin.random(len(positions)) < RESETS) | wrapped
        return Chunk(window, fresh)


def fit(batch_size: int, bptt: int, size: int) -> tuple[int, int]:
    """The largest batch and chunk, halved in turn from those asked, that `size` ids can fill."""
    while batch_size * bptt > size and batch_size * bptt > 1:
        if batch_size >= bptt:
            batch_size = max(1, batch_size // 2)
        else:
            bptt = max(1, bptt // 2)
    return batch_size, bptt


def frequencies(ids: NDArray, vocabulary_size: int) -> NDArray[np.float32]:
    """Each character's share of a text, counted once more than it occurs, so that none is 0."""
    counts = np.ones(vocabulary_size, np.int64)
    for begin in range(0, len(ids), COUNTED):
        counts += np.bincount(ids[begin : begin + COUNTED], minlength=vocabulary_size)
    shares: NDArray[np.float32] = np.divide(counts, counts.sum(), dtype=np.float32)
    return shares
