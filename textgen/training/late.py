"""What was kept aside for a temperature, learned in the last part of a run.

It is the text next to what is held out, the newest of a log or a chat, so a model that never
learned it would lack most of all what comes next. Until then the temperature has been fitted.
"""

import math

import numpy as np
from numpy.typing import NDArray

from textgen.config import TrainingConfig
from textgen.training.mixed import some_streams
from textgen.training.schedule import progress
from textgen.training.streams import Chunk

LAST = 0.3  # the share of the schedule in which it is learned
MOST = 8  # of the streams one in so many reads it, at most


def late_streams(aside: int, size: int, steps: int, batch_size: int, per_step: int) -> int:
    """How many streams read what is kept aside, so that it is read as often as all, once at least.

    aside, size: characters of it and of the training text; per_step: that all streams learn.
    """
    times = max(1.0, steps * per_step / size)
    needed = times * aside / (LAST * steps * per_step) * batch_size
    return min(math.ceil(needed), batch_size // MOST)


def is_late(step: int, config: TrainingConfig) -> bool:
    """Whether `step`, counted from 0, is one of the last part."""
    return progress(step, config) >= 1 - LAST


class Late:
    """The streams that read what was kept aside, in place of the first ones of the others."""

    def __init__(self, aside: NDArray, config: TrainingConfig, end: int | None) -> None:
        """aside: as ids; end: the end symbol, if there is one."""
        self._count = config.late
        self._streams = some_streams(aside, config.late, config, end)

    def into(self, chunk: Chunk, step: int, part: slice) -> Chunk:
        """What the streams in `part` read in `step`, with these in place of the first of all."""
        first = part.start or 0
        count = min(self._count - first, len(chunk.fresh))
        if count <= 0:
            return chunk
        own = self._streams.chunk(step, slice(first, first + count))
        window = np.concatenate([own.window, chunk.window[:, count:]], axis=1)
        return Chunk(window, np.concatenate([own.fresh, chunk.fresh[count:]]))
