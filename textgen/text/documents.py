"""Documents among ids: where they stand, which are equal, and how they are split in two parts.

The end symbol stands before the first of them and after each: END document END document END.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import CorpusError
from textgen.text.cutting import shown
from textgen.text.encoding import stored
from textgen.text.mapped import counts_of, release

FEWEST = 4  # documents of a corpus
_BLOCK = 1 << 17  # ids looked at, at a time
_MIXERS = np.array(  # of SplitMix64: Steele, Lea & Flood 2014
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64
)


class Places(NamedTuple):
    """Where documents stand among ids: after `begins`, up to `ends`, which hold the end symbol."""

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    def of(self, which: NDArray) -> "Places":
        return Places(self.begins[which], self.ends[which])


def places_of(ids: NDArray, end: int) -> Places:
    """Of all documents that are not empty."""
    found = []
    for begin in range(0, len(ids), _BLOCK):
        found.append(np.flatnonzero(ids[begin : begin + _BLOCK] == end) + begin)
        release(ids)
    ends = np.concatenate([np.zeros(0, np.int64), *found])
    filled = np.diff(ends) > 1
    return Places(ends[:-1][filled], ends[1:][filled])


def digests(ids: NDArray, places: Places) -> NDArray[np.uint64]:
    """64 bits of each document, by which equal ones are found: a sum over its characters."""
    sums = np.zeros(len(places.begins), np.uint64)
    for begin, block, inside, here in _blocks(ids, places):
        low = np.maximum(places.begins[here] + 1 - begin, 0)
        counts = np.minimum(places.ends[here] + 1 - begin, len(block)) - low
        at = (np.flatnonzero(inside) + begin - np.repeat(places.begins[here], counts)).view(
            np.uint64
        )
        mixed = block[inside].astype(np.uint64) * _MIXERS[0] + at * _MIXERS[1]
        for _ in range(2):
            mixed ^= mixed >> np.uint64(29)
            mixed *= _MIXERS[2]
        sums[here] += np.add.reduceat(mixed ^ (mixed >> np.uint64(32)), np.cumsum(counts) - counts)
    return sums


def laid_out(ids: NDArray, parts: list[Places], end: int, file: Path | None = None) -> NDArray:
    """The documents of each part one after the other, and the parts; `file` as in `stored`."""
    sizes = [1 + int((places.ends - places.begins).sum()) for places in parts]
    blocks = chain.from_iterable(_laid_out(ids, places, end) for places in parts)
    return stored(blocks, sum(sizes), ids.dtype, file)


def _laid_out(ids: NDArray, places: Places, end: int) -> Iterator[NDArray]:
    yield np.array([end], ids.dtype)
    for _, block, inside, _ in _blocks(ids, places):
        yield block[inside]


def _blocks(ids: NDArray, places: Places) -> Iterator[tuple[int, NDArray, NDArray, slice]]:
    """Of each block of ids: its place, the ids, which are of the documents, and which documents.

    A document's last id is its end symbol.
    """
    for begin in range(0, len(ids), _BLOCK):
        block = ids[begin : begin + _BLOCK]
        here = slice(
            int(places.ends.searchsorted(begin)),
            int(places.begins.searchsorted(begin + len(block) - 1)),
        )
        marks = np.zeros(len(block) + 1, np.int8)
        marks[np.maximum(places.begins[here] + 1 - begin, 0)] += 1
        marks[np.minimum(places.ends[here] + 1 - begin, len(block))] -= 1
        if here.start < here.stop:
            yield begin, block, marks[:-1].cumsum(dtype=np.int8) > 0, here
        release(ids)


class Split(NamedTuple):
    """Documents in two parts, each laid out: see `Encoded`."""

    ids: NDArray
    cut: int
    counts: NDArray[np.int64]
    documents: int
    duplicates: int
    notices: tuple[str, ...]


def split(
    ids: NDArray, training: int, counts: NDArray[np.int64], config: CorpusConfig, file: Path | None
) -> Split:
    """Hold documents out: those after the first `training` ids, or a share drawn from all.

    The draw does not depend on the seed of training, so that each run holds out the same ones.
    counts: how often each id occurs; file: as in `stored`. Raises CorpusError where there are too
    few.
    """
    end, where = len(counts) - 1, ", ".join(config.files)
    places = places_of(ids, end)
    hashes = digests(ids, places)
    _, first = np.unique(hashes, return_index=True)
    count, duplicates, notice = len(places.begins), len(places.begins) - len(first), ""
    share = f"{duplicates:,} of {count:,} documents"
    if duplicates and config.dedupe:
        notice = f"left out {share}, which stood there before"
        places, duplicates = places.of(np.sort(first)), 0
    count = len(places.begins)
    if config.val_file:
        held_out = places.begins >= training
    else:
        held_out = np.zeros(count, bool)
        number = min(max(1, round(config.val_fraction * count)), max(1, count - 1))
        held_out[np.random.default_rng(0).permutation(count)[:number]] = True
    if count < FEWEST or held_out.all() or not held_out.any():
        apart = f", {held_out.sum()} of them held out" if count >= FEWEST else ""
        found = f"{count} document{'s' * (count != 1)} (`documents={shown(config.documents)}`)"
        raise CorpusError(
            f"{where} holds {found}{apart}; expected {FEWEST} or more, in both parts",
            "cut it otherwise with `documents=line` or `documents=SEPARATOR`, or name more texts",
        )
    if duplicates:
        known = int(np.isin(hashes[held_out], hashes[~held_out]).sum())
        too = f", and {known:,} of {held_out.sum():,} held out are learned too" if known else ""
        notice = f"{share} ({duplicates / count:.1%}) are duplicates{too}; `dedupe` leaves"
        notice += " them out"
    parts = [places.of(which) for which in (~held_out, held_out)]
    laid = laid_out(ids, parts, end, file)
    cut = len(laid) - 1 - int((parts[1].ends - parts[1].begins).sum())
    notices = (notice,) if notice else ()
    counts = counts_of(laid, len(counts))
    return Split(laid, cut, counts, count, duplicates=duplicates, notices=notices)
