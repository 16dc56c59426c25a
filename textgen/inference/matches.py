"""Matches and n-grams of one stream, one by one, as `textgen.model.matches` has them."""

import numpy as np

from textgen.architecture import GRAM, gram_row
from textgen.config import MATCHED
from textgen.inference.folding import Array


class Matcher:
    """found = matcher.read(id): the ids of the matches, by MATCHED, None where there is none.

    reach: N; size: V; history: to begin from, (N,), None is empty. It keeps where each window of
    the last N characters stood last, so that its memory does not grow.
    """

    def __init__(self, reach: int, size: int, history: Array | None = None) -> None:
        self._reach = reach
        self._history = np.zeros(3 * reach, np.float32)  # up to `_end`, N at least
        self._end = reach
        self._ids: list[int] = []  # the last ones, N at least
        self._gone = 0  # how many are no longer kept
        self._after: dict[tuple[int, ...], int] = {}  # window -> place of what followed it
        if history is not None:
            known = history[(history > 0) & (history <= size)]
            self._ids = ids = (known.astype(np.int64) - 1).tolist()
            self._history[reach - len(known) : reach] = known
            for m in MATCHED:  # later places take the place of earlier ones
                windows = zip(*(ids[k:] for k in range(m)), strict=False)
                self._after.update(zip(windows, range(m, len(ids) + 1), strict=True))

    def read(self, i: int) -> list[int | None]:
        """Read the character of id `i`."""
        ids, reach = self._ids, self._reach
        if self._end == len(self._history):
            self._history[:reach] = self._history[-reach:]
            self._end = reach
        self._history[self._end] = i + 1
        self._end += 1
        ids.append(i)
        if len(ids) == 3 * reach:
            del ids[: 2 * reach - 1]  # but for the windows that go next
            self._gone += 2 * reach - 1
        return [self._read(m) for m in MATCHED]

    def _read(self, m: int) -> int | None:
        ids, after = self._ids, self._after
        end = self._gone + len(ids)
        if (begin := len(ids) - self._reach - 1) >= 0:  # of the window that is no longer in reach
            old = (*ids[begin : begin + m],)
            if after.get(old) == self._gone + begin + m:
                del after[old]
        if end < m:
            return None
        window = (*ids[-m:],)
        place = after.get(window)
        after[window] = end
        return None if place is None else ids[place - self._gone]

    def gram(self, rows: int) -> int:
        """The row, of so many, for the last characters."""
        return int(gram_row((i + 1 for i in self._ids[-GRAM:]), rows))

    @property
    def history(self) -> Array:
        """The last N ids plus 1, (N,) float32, 0 for none yet."""
        return self._history[self._end - self._reach : self._end].copy()
