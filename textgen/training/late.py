"""What was kept aside for a temperature, learned in the last part of a run.

It is the text next to what is held out, the newest of a log or a chat, and so the most like what
comes next. When it is learned, the temperature has been fitted, and stays.
"""

import math

import numpy as np
from numpy.typing import NDArray

from textgen.config import TrainingConfig
from textgen.text.corpus import Corpus
from textgen.training.mixed import some_streams
from textgen.training.schedule import progress
from textgen.training.streams import Chunk

LAST = 0.3  # the share of the schedule in which it is learned
MOST = 8  # of the streams one in so many reads it, at most; with fewer streams none does


def late_streams(config: TrainingConfig, corpus: Corpus, *, learned: bool = False) -> int:
    """How many streams read what is kept aside: it is read as often as the rest, once at least.

    learned: whether they have begun to before the schedule's current segment.
    """
    aside = len(corpus.parted(config.aside)[1])
    left = config.steps - config.segment_start
    steps, late = (left, left) if learned else (config.steps, min(left, LAST * config.steps))
    read = config.chars_per_step / config.batch_size  # by a stream in a step
    passes = config.passes(steps, len(corpus.train))
    most = config.own_streams // MOST
    return min(math.ceil(max(1.0, passes) * aside / (late * read)), most)


def is_late(step: int, config: TrainingConfig) -> bool:
    """Whether `step`, counted from 0, is one of the last part."""
    return progress(step, config) >= 1 - LAST


def has_learned(steps: int, config: TrainingConfig) -> bool:
    """Whether a run has learned what was kept aside by the end of so many steps."""
    return bool(config.late and steps) and is_late(steps - 1, config)


class Late:
    """The streams that read what was kept aside, in place of the first ones of the others."""

    def __init__(self, aside: NDArray, config: TrainingConfig, end: int | None) -> None:
        """aside: as ids; end: the end symbol, if there is one."""
        self._count = config.late
        self._streams = some_streams(aside, config.late, config, end)

    def into(self, chunk: Chunk, step: int, part: slice, *, fresh: bool) -> Chunk:
        """What the streams in `part` read in `step`, with these in place of the first of all.

        fresh: whether this is their first step, so that they carry the state of other text.
        """
        first = part.start or 0
        count = min(self._count - first, len(chunk.fresh))
        if count <= 0:
            return chunk
        own = self._streams.chunk(step, slice(first, first + count))
        window = np.concatenate([own.window, chunk.window[:, count:]], axis=1)
        return Chunk(window, np.concatenate([own.fresh | fresh, chunk.fresh[count:]]))
