"""B streams that read the documents of a corpus side by side, T characters a step.

A pass takes the documents in a random order, each cut into chunks of T characters; what the last
chunk of a document has beyond its end symbol is padding, which is not learned. The list of chunks
is cut into B runs of equal length, one for each stream. All follows from one integer, the step.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from textgen.text.corpus import Corpus
from textgen.text.documents import places_of
from textgen.text.mapped import release
from textgen.training.streams import ALL, RELEASED, Chunk

PADDING = -1  # in a window: nothing to learn there
SHORT = 16  # characters of documents on average, up to which streams are more and chunks shorter


class DocumentStreams:
    """What B streams read of the documents in `ids`, T characters a step; see `Streams`.

    A document of n characters has n+1 targets, its characters and the end symbol `end`; its first
    input is the end symbol before it.
    """

    def __init__(self, ids: NDArray, batch_size: int, bptt: int, seed: int, end: int) -> None:
        self.ids = ids
        self.bptt = bptt
        self.seed = seed
        self._places = places_of(ids, end)
        lengths = self._places.ends - self._places.begins
        self._chunks = -(-lengths // bptt)  # of each document
        self._count = int(self._chunks.sum())
        self._runs = np.arange(batch_size + 1) * self._count // batch_size
        self._steps = -(-self._count // batch_size)  # of a pass
        self.filled = int(lengths.sum()) / (self._steps * batch_size * bptt)
        self._order = lru_cache(maxsize=2)(self._draw)

    def _draw(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The documents of a pass in order, and how many chunks there are up to each one's end."""
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 1, number]))
        order = random.permutation(len(self._chunks))
        return order, self._chunks[order].cumsum()

    def chunk(self, step: int, part: slice = ALL) -> Chunk:
        """What the streams, or a part of them, read in `step`, counted from 0.

        A stream is fresh where a document begins, and at the beginning of its run.
        """
        if step % RELEASED == 0:
            release(self.ids)
        number, done = divmod(step, self._steps)
        order, reached = self._order(number)
        place = self._runs[:-1][part] + done  # in the list of chunks
        over = place >= self._runs[1:][part]  # the run of this stream is a chunk shorter
        at = reached.searchsorted(np.minimum(place, self._count - 1), "right")
        document = order[at]
        before = np.minimum(place, self._count - 1) - (reached[at] - self._chunks[document])
        begins = self._places.begins[document] + before * self.bptt
        span = begins + np.arange(self.bptt + 1)[:, None]
        window = self.ids[np.minimum(span, len(self.ids) - 1)].astype(np.int64)
        window[(span > self._places.ends[document]) | over] = PADDING
        return Chunk(window, (before == 0) | (done == 0))


def filled_by(corpus: Corpus, batch_size: int, bptt: int) -> float:
    """The share of what B streams read in a pass that is no padding."""
    end = len(corpus.vocabulary) - 1
    return DocumentStreams(corpus.train, batch_size, bptt, 0, end).filled


def streams_for(corpus: Corpus) -> tuple[int, int]:
    """The number of streams and of characters a step that suit the documents' lengths."""
    return (128, 12) if are_short(corpus) else (64, 32)


def are_short(corpus: Corpus) -> bool:
    """Whether its documents are, on average."""
    return sum(map(len, (corpus.train, corpus.validation))) <= SHORT * corpus.documents
