"""One pass from texts to ids: numbered as they first occur, then put in the vocabulary's order."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import CorpusError
from textgen.text.decoding import Reader
from textgen.text.vocabulary import END, Vocabulary

IN_MEMORY = 1 << 26  # bytes of ids above which they go to a file
CODE_POINTS = 0x110000
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the errors of a disk without room


@dataclass(frozen=True)
class Encoded:
    """Texts as ids, one after the other.

    ids: shape (N,), in the vocabulary's dtype; counts: how often each id occurs, shape (V,);
    lengths: of each text, the first `training` of them are to train on; fingerprint: SHA-256 of the
    bytes of all texts.
    """

    ids: NDArray
    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    lengths: tuple[int, ...]
    training: int
    fingerprint: str
    notices: tuple[str, ...]


class Numbered:
    """Symbols as numbers in the order of their first occurrence, in `file`.

    counts: how often each number occurs; codes: its symbol.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._numbers = np.full(CODE_POINTS, -1, np.int32)  # by symbol
        self._runs: list[tuple[np.dtype, int]] = []  # of numbers in the file, of one type each
        self.codes = np.zeros(0, np.uint32)
        self.counts = np.zeros(0, np.int64)

    def add(self, symbols: NDArray) -> None:
        numbers = self._numbers.take(symbols)
        if numbers.min(initial=0) < 0:
            new = np.unique(symbols[numbers < 0]).astype(np.uint32)
            self._numbers[new] = np.arange(len(self.codes), len(self.codes) + len(new))
            self.codes = np.concatenate([self.codes, new])
            self.counts = np.concatenate([self.counts, np.zeros(len(new), np.int64)])
            numbers = self._numbers.take(symbols)
        dtype = np.min_scalar_type(max(0, len(self.codes) - 1))
        block = numbers.astype(dtype)
        self.counts += np.bincount(block, minlength=len(self.codes))
        self._file.write(block.data)
        self._runs.append((dtype, len(block)))

    def ids(self, order: NDArray) -> Iterator[NDArray]:
        """`order[number]` of every number, in blocks."""
        self._file.seek(0)
        for dtype, count in self._runs:
            yield order.take(np.frombuffer(self._file.read(count * dtype.itemsize), dtype))


def number_texts(
    paths: list[Path], reader: Reader, numbered: Numbered
) -> tuple[tuple[int, ...], list[int]]:
    """Read all paths; the length of each text, and how many texts each path holds."""
    lengths: list[int] = []
    texts: list[int] = []
    for path in paths:
        before = len(lengths)
        for _, blocks in reader.texts(path):
            size = 0
            for symbols in blocks:
                numbered.add(symbols)
                size += len(symbols)
            lengths.append(size)
        texts.append(len(lengths) - before)
    return tuple(lengths), texts


def vocabulary_of(numbered: Numbered, config: CorpusConfig) -> Vocabulary:
    """The characters that occur `min_count` times or more, and the unknown symbol for others."""
    has_end = config.documents is not None
    if config.level == "byte":
        return Vocabulary("byte", has_end=has_end)
    kept = numbered.codes[(numbered.counts >= config.min_count) & (numbered.codes != END)]
    characters = np.sort(kept).astype("<u4").tobytes().decode("utf-32-le")
    return Vocabulary("char", characters, config.min_count > 1, has_end)


def in_order(
    numbered: Numbered, vocabulary: Vocabulary, file: Path | None
) -> tuple[NDArray, NDArray[np.int64]]:
    """The ids of all texts, and how often each occurs.

    file: where to write them; None: to memory, or if they are too many to a nameless file.
    """
    order = vocabulary.lookup(numbered.codes)
    if vocabulary.unknown is not None:
        order[order < 0] = vocabulary.unknown
    counts = np.zeros(len(vocabulary), np.int64)
    np.add.at(counts, order, numbered.counts)
    dtype = vocabulary.dtype
    blocks = numbered.ids(order.astype(dtype))
    return stored(blocks, int(counts.sum()), dtype, file), counts


def stored(
    blocks: Iterator[NDArray], size: int, dtype: np.dtype, file: Path | None = None
) -> NDArray:
    """The blocks as one array of `size`; `file` as above."""
    if size * dtype.itemsize <= IN_MEMORY and file is None:
        return np.concatenate([np.zeros(0, dtype), *blocks])
    with tempfile.TemporaryFile() if file is None else open(file, "w+b") as target:
        for block in blocks:
            target.write(block.data)
        target.flush()
        if file is not None:
            os.fsync(target.fileno())  # so that no power cut leaves a whole name on half a file
        return np.memmap(target, dtype, "r", shape=(size,))  # it outlives the open file


@contextmanager
def room_for(where: str | Path, hint: str) -> Iterator[None]:
    """Turn OSError into CorpusError: the ids cannot be written in `where`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise CorpusError(f"no room for the encoded text in {where}: {why}", hint) from None
