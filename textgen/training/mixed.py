"""What a run reads: the streams over its text, and those over a second one that is mixed in."""

import numpy as np
from numpy.typing import NDArray

from textgen.config import TrainingConfig
from textgen.training.document_streams import DocumentStreams
from textgen.training.streams import ALL, Chunk, Streams


class MixedStreams:
    """Streams over two texts side by side: the last ones of each chunk read the second.

    Of the streams a share of `config.keep_mixing` does, one at least and all but one at most.
    """

    def __init__(
        self, ids: NDArray, mixed: NDArray, config: TrainingConfig, end: int | None
    ) -> None:
        size = config.batch_size
        self._size, self._own = size, config.own_streams
        self._parts = [
            some_streams(part, streams, config, end)
            for part, streams in ((ids, self._own), (mixed, size - self._own))
        ]

    def chunk(self, step: int, part: slice = ALL) -> Chunk:
        """What the streams, or a part of them, read in `step`, counted from 0."""
        first, last, _ = part.indices(self._size)
        ends = np.clip([[first, last]], [[0], [self._own]], [[self._own], [self._size]])
        parts = zip(self._parts, ends - [[0], [self._own]], strict=True)
        windows, fresh = zip(*(of.chunk(step, slice(*some)) for of, some in parts), strict=True)
        return Chunk(np.concatenate(windows, axis=1), np.concatenate(fresh))


def streams_over(
    ids: NDArray, config: TrainingConfig, mixed: NDArray | None = None, end: int | None = None
) -> Streams | DocumentStreams | MixedStreams:
    """The streams of a run.

    mixed: a second text, where one is read beside its own; end: the end symbol, if there is one.
    """
    if mixed is not None and config.batch_size > 1:
        return MixedStreams(ids, mixed, config, end)
    return some_streams(ids, config.batch_size, config, end)


def some_streams(
    ids: NDArray, count: int, config: TrainingConfig, end: int | None
) -> Streams | DocumentStreams:
    """So many over one text, which begins with the end symbol if it is cut into documents."""
    if end is not None and ids[0] == end:
        return DocumentStreams(ids, count, config.bptt, config.seed, end)
    return Streams(ids, count, config.bptt, config.seed, config.block)
