"""How much of a text stands word for word in another: whether a model merely recites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textgen.errors import MissingLibrary

if TYPE_CHECKING:
    from textgen.inference.text_model import TextModel

COPIED = 30  # characters of a passage from which on it counts as copied


@dataclass(frozen=True)
class Copied:
    """longest: characters of the longest passage that stands in the known text, from `begin` on;
    share: of the characters, those in passages of 30 or more that do.
    """

    begin: int
    longest: int
    share: float


class KnownText:
    """A text to find passages of others in.

    Its suffix array has the places at which its suffixes begin, in the order of these: Manber &
    Myers 1993, "Suffix Arrays: A New Method for On-Line String Searches".
    """

    def __init__(self, ids: NDArray) -> None:
        """ids: shape (n,), unsigned. Raises MissingLibrary without pydivsufsort."""
        try:
            from pydivsufsort import divsufsort
        except ImportError:
            what = "passages of the training text are found with pydivsufsort"
            raise MissingLibrary(what, "novelty") from None
        self._ids = ids.copy()  # the library refuses what cannot be written, as a mapped file
        self._suffixes: NDArray[np.int64] = divsufsort(self._ids)

    def copied(self, ids: NDArray) -> Copied:
        """How much of `ids` (m,) is in the text."""
        lengths = self.lengths(ids)
        if not len(lengths):
            return Copied(0, 0, 0.0)
        begin = int(lengths.argmax())
        places = np.arange(len(ids))
        ends = np.maximum.accumulate(np.where(lengths >= COPIED, places + lengths, 0))
        return Copied(begin, int(lengths[begin]), float((places < ends).mean()))

    def copied_by(self, model: TextModel, text: str) -> tuple[Copied, str]:
        """How much a text that `model` wrote has of this one, and the longest passage."""
        turn = -1 if model.backward else 1
        ids = model.vocabulary.encode(text, "skip")[::turn]
        copied = self.copied(ids)
        passage = ids[copied.begin : copied.begin + copied.longest][::turn]
        return copied, model.vocabulary.decode(passage)

    def lengths(self, ids: NDArray) -> NDArray[np.int64]:
        """The longest passage from each place of `ids` (m,) that is in the text: characters, (m,).

        For all places at once the suffixes that begin so are narrowed down, character by character.
        """
        lengths = np.zeros(len(ids), np.int64)
        places = np.arange(len(ids))
        low, high = np.zeros_like(places), np.full_like(places, len(self._suffixes))
        depth = 0
        while len(places):
            character = ids[places + depth]
            low, high = (
                self._bound(low, high, character, depth),
                self._bound(low, high, character.astype(np.int64) + 1, depth),
            )
            found = low < high
            lengths[places[found]] = depth = depth + 1
            found &= places + depth < len(ids)
            places, low, high = places[found], low[found], high[found]
        return lengths

    def _bound(self, low: NDArray, high: NDArray, least: NDArray, depth: int) -> NDArray:
        """The first of the suffixes from `low` up to `high` with `least` or more at `depth`."""
        last = len(self._ids) - 1
        while (low < high).any():
            middle = (low + high) // 2
            at = self._suffixes[np.minimum(middle, last)].astype(np.int64) + depth
            # a suffix that has ended comes before all others
            below = (at > last) | (self._ids[np.minimum(at, last)] < least)
            open_ = low < high
            low = np.where(open_ & below, middle + 1, low)
            high = np.where(open_ & ~below, middle, high)
        return low
