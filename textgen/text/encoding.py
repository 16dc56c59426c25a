"""One pass from texts to ids: numbered as they first occur, then put in the vocabulary's order."""

import errno
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
from textgen.text.disk import sync
from textgen.text.vocabulary import END, Vocabulary

IN_MEMORY = 1 << 26  # bytes of ids above which they go to a file
CODE_POINTS = 0x110000
PAIRED = 1 << 16  # bytes from which counting them in pairs is faster
_PIECE = 1 << 18  # ids that are made at once
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the errors of a disk without room


@dataclass(frozen=True)
class Encoded:
    """Texts as ids, one after the other.

    ids: shape (N,), in the vocabulary's dtype; counts: how often each id occurs, shape (V,);
    lengths: of each text, the first `training` of them are to train on; fingerprint: SHA-256 of the
    bytes of all texts; documents, duplicates: as in `Corpus`. Where there are documents, `ids` are
    those of both parts, each laid out, and `cut` is where the second one begins.
    """

    ids: NDArray
    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    lengths: tuple[int, ...]
    training: int
    fingerprint: str
    notices: tuple[str, ...]
    documents: int = 0
    duplicates: int = 0
    cut: int = 0


class Numbered:
    """Symbols as numbers, in `file`: ASCII, or bytes, by their codes, others as they come up."""

    def __init__(self, file: IO[bytes], level: str) -> None:
        self._file = file
        self._codes = np.arange(256 if level == "byte" else 128, dtype=np.uint32)  # by number
        self._numbers = np.full(CODE_POINTS, -1, np.int32)  # by symbol
        self._numbers[self._codes] = self._codes
        self._counts = np.zeros(len(self._codes), np.int64)  # by number
        self._runs: list[tuple[np.dtype, int]] = []  # of numbers in the file, of one type each

    @property
    def codes(self) -> NDArray[np.uint32]:
        """The symbols that occur, shape (n,)."""
        return self._codes[self._counts > 0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each of `codes` occurs, shape (n,)."""
        return self._counts[self._counts > 0]

    def add(self, symbols: NDArray) -> None:
        """The next symbols, uint32, or uint8 where each is its own number."""
        numbers = symbols if symbols.dtype == np.uint8 else self._numbered(symbols)
        found = _occurrences(numbers)[: len(self._codes)]
        self._counts[: len(found)] += found
        self._file.write(numbers.data)
        if self._runs and self._runs[-1][0] == numbers.dtype:
            self._runs[-1] = numbers.dtype, self._runs[-1][1] + len(numbers)
        else:
            self._runs.append((numbers.dtype, len(numbers)))

    def _numbered(self, symbols: NDArray) -> NDArray:
        numbers = self._numbers.take(symbols)
        if numbers.min(initial=0) < 0:
            new = np.unique(symbols[numbers < 0]).astype(np.uint32)
            self._numbers[new] = np.arange(len(self._codes), len(self._codes) + len(new))
            self._codes = np.concatenate([self._codes, new])
            self._counts = np.concatenate([self._counts, np.zeros(len(new), np.int64)])
            numbers = self._numbers.take(symbols)
        return numbers.astype(np.min_scalar_type(len(self._codes) - 1))

    def ids(self, vocabulary: Vocabulary) -> Iterator[NDArray]:
        """Of all symbols, in blocks; the unknown symbol for what the vocabulary lacks."""
        order = _ids_of(self._codes, vocabulary).astype(vocabulary.dtype)
        table = np.resize(order, 256).tobytes() if order.dtype == np.uint8 else None
        self._file.seek(0)
        pieces = ((d, min(_PIECE, n - i)) for d, n in self._runs for i in range(0, n, _PIECE))
        for dtype, count in pieces:
            block = self._file.read(count * dtype.itemsize)
            if table and dtype == np.uint8:  # several times as fast as `take`
                yield np.frombuffer(block.translate(table), np.uint8)
            else:
                yield order.take(np.frombuffer(block, dtype))


def _ids_of(codes: NDArray[np.uint32], vocabulary: Vocabulary) -> NDArray[np.int32]:
    """Of symbols: the unknown symbol, or else -1, for what the vocabulary lacks."""
    order = vocabulary.lookup(codes)
    if vocabulary.unknown is not None:
        order[order < 0] = vocabulary.unknown
    return order


def _occurrences(numbers: NDArray) -> NDArray[np.int64]:
    """How often each number occurs, up to the largest one or beyond."""
    if numbers.dtype != np.uint8 or len(numbers) < PAIRED:
        return np.bincount(numbers)
    even = len(numbers) // 2 * 2
    pairs = np.bincount(numbers[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    found: NDArray[np.int64] = pairs.sum(0) + pairs.sum(1)  # whichever byte of a pair comes first
    found[numbers[even:]] += 1
    return found


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
    if config.level == "byte":
        return Vocabulary.of(config, "")
    kept = numbered.codes[(numbered.counts >= config.min_count) & (numbered.codes != END)]
    characters = np.sort(kept).astype("<u4").tobytes().decode("utf-32-le")
    return Vocabulary.of(config, characters)


def in_order(
    numbered: Numbered, vocabulary: Vocabulary, file: Path | None
) -> tuple[NDArray, NDArray[np.int64]]:
    """The ids of all texts, and how often each occurs.

    file: where to write them; None: to memory, or if they are too many to a nameless file.
    """
    order = _ids_of(numbered.codes, vocabulary)
    counts = np.zeros(len(vocabulary), np.int64)
    np.add.at(counts, order, numbered.counts)
    return stored(numbered.ids(vocabulary), int(counts.sum()), vocabulary.dtype, file), counts


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
            sync(target.fileno())  # so that no power cut leaves a whole name on half a file
        return np.memmap(target, dtype, "r", shape=(size,))  # it outlives the open file


@contextmanager
def room_for(where: Path | None, hint: str) -> Iterator[None]:
    """Turn OSError into CorpusError: the ids cannot be written in `where`.

    None is the folder for temporary files, which is only looked for when it is written to.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        folder = where or tempfile.tempdir or "a temporary folder"
        raise CorpusError(f"no room for the encoded text in {folder}: {why}", hint) from None
