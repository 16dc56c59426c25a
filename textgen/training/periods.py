"""Whether a text repeats at one distance, as tables, tunes and data do, and prose does not.

Where it does, half as many streams that read twice as many characters in a step learn more, for the
gradient spans a period more. The numbers come from the measurements in docs/trials.md.
"""

import numpy as np
from numpy.typing import NDArray

WINDOWS = 256  # of the text, evenly spread, at most;
SPAN = 4096  # characters of each
SHORTEST, LONGEST = 33, 64  # periods that a reach of 64 characters spans and one of 32 does not
LEAST = 0.03  # the excess from which on a text is periodic


def periodic(ids: NDArray) -> bool:
    """Whether the text, shape (N,), repeats at a distance of 33 to 64 characters."""
    return excess(ids) >= LEAST


def excess(ids: NDArray) -> float:
    """By how much the best period's share of repeated characters exceeds the mean of all periods.

    The share at a period k is how many characters are equal to the one k before, of all: the
    autocorrelation of the text, up to a constant. The mean is over half the shortest period to
    twice the longest, for near and similar characters repeat at any of them. 0 for a text that is
    shorter than four of the longest.
    """
    if len(ids) < 4 * LONGEST:
        return 0.0
    span = min(SPAN, len(ids))
    begins = np.linspace(0, len(ids) - span, min(WINDOWS, len(ids) // span)).astype(np.int64)
    windows = ids[begins[:, None] + np.arange(span)]
    periods = np.arange(SHORTEST // 2, 2 * LONGEST + 1)
    shares = np.array([(windows[:, k:] == windows[:, :-k]).mean() for k in periods])
    best = shares[(periods >= SHORTEST) & (periods <= LONGEST)].max()
    return float(best - shares.mean())
