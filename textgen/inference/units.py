"""Which units of a network follow what a person can name in a text, and which only seem to.

Both a unit and what it may follow change slowly: two such series that have nothing to do with each
other correlate by chance, more so than independent draws would. So chance is measured on the series
themselves: one is shifted along the other, round the end, by every number of characters, which
leaves what each of them is by itself as it was. For each shift the largest correlation of any unit
is kept (Westfall & Young 1993, "Resampling-Based Multiple Testing"), so that the best of hundreds
of units has to beat the best of hundreds by chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.01  # probability that anything is reported where nothing is followed, of even texts
SHORTEST = 1000  # characters; in fewer hardly anything can be told from chance
TOGETHER = 1 << 21  # numbers that are transformed at a time


class Following(NamedTuple):
    """A unit whose value goes with something; p: of so large a correlation by chance alone.

    p is that of any unit with anything that was tried, the shift by 0 among those counted.
    """

    what: str
    layer: int
    unit: int
    correlation: float
    p: float


def following(
    layers: Sequence[NDArray], features: Mapping[str, NDArray], alpha: float = ALPHA
) -> list[Following]:
    """The units that follow a feature, p <= `alpha`, the strongest correlation first.

    layers: the values of each one's units over n characters, (n, H); features: (n,) each. Those
    that do not vary are left out.
    """
    varying = {name: f for name, f in features.items() if len(f) and np.ptp(f) > 0}
    if not varying:
        return []
    length = len(next(iter(varying.values())))
    spectra = np.fft.rfft(_standardised(np.stack([*varying.values()]))).conj()
    largest = np.zeros((len(varying), length), np.float32)
    owned = []
    for block in _blocks(layers, max(1, TOGETHER // length)):
        transformed = np.fft.rfft(_standardised(block))
        own = np.empty((len(varying), len(block)))
        for f, spectrum in enumerate(spectra):
            shifted = np.fft.irfft(transformed * spectrum, length) / length  # (units, n)
            own[f] = shifted[:, 0]
            np.maximum(largest[f], abs(shifted).max(axis=0), out=largest[f])
        owned.append(own)
    correlations = np.concatenate(owned, axis=1)
    units = [(layer, unit) for layer, v in enumerate(layers) for unit in range(v.shape[1])]
    found = []
    for name, chance, row in zip(varying, np.sort(largest), correlations, strict=True):
        as_large = length - np.searchsorted(chance, abs(row).astype(np.float32))
        p = np.minimum(1, len(varying) * as_large / length)  # Bonferroni, over the features
        for k in np.flatnonzero(p <= alpha).tolist():
            found.append(Following(name, *units[k], float(row[k]), float(p[k])))
    return sorted(found, key=lambda each: -abs(each.correlation))


def _blocks(layers: Sequence[NDArray], size: int) -> Iterator[NDArray]:
    """The units of all layers, (units, n), so many at a time."""
    for values in layers:
        for begin in range(0, values.shape[1], size):
            yield values[:, begin : begin + size].T


def _standardised(series: NDArray) -> NDArray[np.float32]:
    """Rows of mean 0 and variance 1, or 0 throughout."""
    centred = series - series.mean(axis=1, dtype=np.float64, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    still = deviation < 1e-6 * np.maximum(1, abs(series).max(axis=1, keepdims=True))
    found: NDArray[np.float32] = (centred / np.where(still, np.inf, deviation)).astype(np.float32)
    return found
