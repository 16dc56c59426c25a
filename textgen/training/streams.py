"""B streams that read the corpus side by side, T characters a step.

The corpus is a circle of N ids, cut in each pass at other places into blocks of about equal size,
which are dealt to the streams in an order that leaps about. So what the streams read at any moment,
and all that they have read of a pass, is an even sample of the corpus, and the state that each
carries is that of the text just before, or zero. All positions follow from one integer, the step.

The blocks are F of them, a Fibonacci number, and the one before it is f. Block k in order is k f
modulo F in the text, so the way from one to the next is the golden part of it, nearly, and any
number of them that follow each other lie evenly (Swierczkowski 1958, "On Successive Settings of an
Arc on the Circumference of a Circle").
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.text.mapped import release

RELEASED = 64  # steps after which memory of a text that is read from its file is given back
BLOCK = 1024  # characters that a stream reads on, about, before it goes elsewhere
ALL = slice(None)  # streams
RESETS = 0.01  # the share of chunks that begin from zero state, besides where a text or block does


class Chunk(NamedTuple):
    """window: ids, shape (T+1, B), -1 for padding; fresh: which begin from zero state, (B,)."""

    window: NDArray[np.int64]
    fresh: NDArray[np.bool_]

    @property
    def inputs(self) -> NDArray[np.int64]:
        return self.window[:-1]

    @property
    def targets(self) -> NDArray[np.int64]:
        return self.window[1:]


class Streams:
    """What B streams over `ids` read, T characters a step; a pure function of the step.

    block: characters of a block, up to a factor of 1.3. With 0 nothing is dealt, as it was in older
    runs: stream b starts at b*N//B and reads on round the circle.
    """

    def __init__(self, ids: NDArray, batch_size: int, bptt: int, seed: int, block: int) -> None:
        self.ids = ids
        self.bptt = bptt
        self.seed = seed
        self._span = np.arange(bptt + 1, dtype=np.int64)[:, None]
        self._streams = np.arange(batch_size, dtype=np.int64)
        self._stride, self._blocks = fibonacci(len(ids) / block) if block else (0, 0)
        self._chunks = -(-len(ids) // (max(1, self._blocks) * bptt))  # of a block
        self._begin = lru_cache(maxsize=batch_size + 2)(self._draw)

    def positions(self, step: int) -> NDArray[np.int64]:
        """Where each stream stands in the corpus at the beginning of `step`, shape (B,)."""
        if not self._blocks:
            starts = self._streams * len(self.ids) // len(self._streams)
            return (starts + step * self.bptt) % len(self.ids)
        turn, read = self._turns(step)
        passes, number = np.divmod(turn * len(self._streams) + self._streams, self._blocks)
        first = int(passes.min())
        here = range(first, int(passes.max()) + 1)
        of_pass: NDArray[np.int64] = np.array([self._begin(which) for which in here])
        begins: NDArray[np.int64] = of_pass.take(passes - first)
        place = number * self._stride % self._blocks
        each, rest = divmod(len(self.ids), self._blocks)  # place * len(ids) may not fit in 64 bits
        begins += place * each + place * rest // self._blocks
        return (begins + read * self.bptt) % len(self.ids)

    def _turns(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many blocks each stream has left behind, and chunks of the one it is in.

        They begin at different places of their blocks, so as not to change them all at once.
        """
        return np.divmod(step + self._streams * self._chunks // len(self._streams), self._chunks)

    def _draw(self, number: int) -> int:
        """Where the first block of a pass begins."""
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 1, number]))
        return int(random.integers(len(self.ids)))

    def chunk(self, step: int, part: slice = ALL) -> Chunk:
        """What the streams, or a part of them, read in `step`, counted from 0.

        A stream is fresh in its first step, where a block begins, in the step after it passed the
        corpus's end, and in a seeded 1 of 100, so that the model also learns to begin, as in
        sampling and evaluation.
        """
        if step % RELEASED == 0:
            release(self.ids)
        positions = self.positions(step)
        window = self.ids[(positions[part] + self._span) % len(self.ids)].astype(np.int64)
        fresh = positions < self.bptt if step else np.ones(len(positions), bool)
        if self._blocks:
            fresh |= self._turns(step)[1] == 0
        coin = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        return Chunk(window, (fresh | (coin.random(len(positions)) < RESETS))[part])


def in_turn(groups: int, streams: int) -> list[slice]:
    """The groups of streams that are computed one after the other, of about equal size."""
    count = min(groups, streams)
    return [slice(*pair) for pair in pairwise(n * streams // count for n in range(count + 1))]


def fibonacci(count: float) -> tuple[int, int]:
    """The Fibonacci number that is next to `count`, by their ratio, after the one before it."""
    before, number = 1, 1
    while number * (before + number) < count * count:
        before, number = number, before + number
    return before, number


def fit(batch_size: int, bptt: int, size: int) -> tuple[int, int]:
    """The largest batch and chunk, halved in turn from those asked, that `size` ids can fill."""
    while batch_size * bptt > size and batch_size * bptt > 1:
        if batch_size >= bptt:
            batch_size = max(1, batch_size // 2)
        else:
            bptt = max(1, bptt // 2)
    return batch_size, bptt
