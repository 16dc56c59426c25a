"""From logits to a character: temperature, filters, and the draw.

Every draw is a function of (seed, number of the text, place in the text), so text i of a seed is
the same whatever else is written.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.config import SamplingOptions

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 256  # uniform numbers made at a time
GREEDY = 1e-6  # a temperature below it leaves only the likeliest,
EVEN = 1e30  # and above it all are as likely; 1 / temperature must not be rounded to 0
_BELOW_ONE = 1 - 2**-50  # the largest draw, so that none is rounded up to the whole


class Filter(NamedTuple):
    """Sets some probabilities to 0, never that of the likeliest character.

    one: of one text, p (V,) in float64, relative to the likeliest, in place, NumPy; many: of many
    texts, p (B, V), torch; off: the option's value at which nothing is filtered.
    """

    one: Callable[[NDArray[np.float64], Any], None]
    many: Callable[[Tensor, Any], Tensor]
    off: float


def _top_k(p: NDArray[np.float64], k: int) -> None:
    if k < len(p):
        p[p < np.partition(p, -k)[-k]] = 0.0


def _top_k_many(p: Tensor, k: int) -> Tensor:
    return p.masked_fill(p < p.topk(k, dim=1).values[:, -1:], 0.0) if k < p.shape[1] else p


def _top_p(p: NDArray[np.float64], share: float) -> None:
    order = np.argsort(-p, kind="stable")
    reached = np.cumsum(p[order])
    before = reached - p[order]
    p[order[1:][before[1:] >= share * reached[-1]]] = 0.0


def _top_p_many(p: Tensor, share: float) -> Tensor:
    likeliest, order = p.sort(dim=1, descending=True, stable=True)
    reached = likeliest.cumsum(dim=1)
    out = reached - likeliest >= share * reached[:, -1:]
    out[:, 0] = False
    return p.masked_fill(out.scatter(1, order, out), 0.0)


FILTERS = {  # by the name of their option, in the order in which they apply
    "top_k": Filter(_top_k, _top_k_many, 0),
    "top_p": Filter(_top_p, _top_p_many, 1.0),  # nucleus sampling, Holtzman et al. 2020
    "min_p": Filter(  # Nguyen et al. 2024; the likeliest is 1
        lambda p, share: np.putmask(p, p < share, 0.0),
        lambda p, share: p.masked_fill(p < share, 0.0),
        0.0,
    ),
}


class Sampler:
    """Draws characters as `options` say; never the id `never`.

    greedy: whether it takes the likeliest; inverse_temperature: else 1 / temperature.
    """

    def __init__(self, options: SamplingOptions, never: int | None = None) -> None:
        self.never = never
        values = ((filter, getattr(options, name)) for name, filter in FILTERS.items())
        self._filters = [(filter, value) for filter, value in values if value != filter.off]
        self._temperature = min(options.temperature, EVEN)
        self.greedy = options.temperature < GREEDY
        self.inverse_temperature = 1.0 if self.greedy else 1.0 / self._temperature

    def distribution(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the next character is drawn from: probabilities (V,) for logits (V,)."""
        if self.greedy:
            logits = self._allowed(logits)
            p = np.zeros(len(logits))
            p[logits.argmax()] = 1.0
            return p
        p = self._kept(logits)
        p /= p.sum()
        return p

    def draw(self, logits: NDArray[np.float32], u: float) -> int:
        """The id that `u`, uniform in [0, 1), picks from `distribution`, by inverting its sum."""
        if self.greedy:
            return int(self._allowed(logits).argmax())
        reached = self._kept(logits).cumsum()
        return int(reached.searchsorted(min(u, _BELOW_ONE) * reached[-1], side="right"))

    def _allowed(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.never is not None:
            logits = logits.copy()
            logits[self.never] = -np.inf
        return logits

    def _kept(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities relative to the likeliest, 0 for those filtered out; not normalised."""
        logits = self._allowed(logits)
        p: NDArray[np.float64] = np.multiply(
            logits - logits.max(), self.inverse_temperature, dtype=np.float64
        )
        np.exp(p, out=p)
        self.filter(p)
        return p

    def filter(self, p: NDArray[np.float64]) -> None:
        """Set what the options filter out to 0, in place, of probabilities (V,) of one text."""
        for filter, value in self._filters:
            filter.one(p, value)

    def draw_many(self, logits: Tensor, u: Tensor) -> Tensor:
        """`draw` for B texts: the ids (B,) that `u` (B,) picks for logits (B, V)."""
        if self.never is not None:
            logits = logits.clone()
            logits[:, self.never] = -math.inf
        if self.greedy:
            return logits.argmax(dim=1)
        p = ((logits - logits.amax(dim=1, keepdim=True)) / self._temperature).exp()
        for filter, value in self._filters:
            p = filter.many(p, value)
        reached = p.cumsum(dim=1)
        below = reached <= u[:, None] * reached[:, -1:]
        return below.sum(dim=1).clamp_(max=p.shape[1] - 1)


def draw_rows(
    samplers: Sequence[Sampler], logits: NDArray[np.float32], uniforms: Sequence[float]
) -> list[int]:
    """`Sampler.draw` for B texts, each with a sampler of its own: ids (B,) for logits (B, V).

    The same ids, bit for bit, for all that depends on a row is computed in that row.
    """
    never = samplers[0].never
    if never is not None:
        logits = logits.copy()
        logits[:, never] = -np.inf
    inverse_temperature = np.array([s.inverse_temperature for s in samplers])[:, None]
    shifted = logits - logits.max(axis=1, keepdims=True)
    p: NDArray[np.float64] = np.multiply(shifted, inverse_temperature, dtype=np.float64)
    np.exp(p, out=p)
    for sampler, row in zip(samplers, p, strict=True):
        sampler.filter(row)
    reached = p.cumsum(axis=1)
    wanted = np.minimum(uniforms, _BELOW_ONE) * reached[:, -1]
    ids: list[int] = (reached <= wanted[:, None]).sum(axis=1).tolist()
    for n, sampler in enumerate(samplers):
        if sampler.greedy:
            ids[n] = int(logits[n].argmax())
    return ids


def log_probability(logits: NDArray[np.float32], i: int) -> float:
    """ln p of id `i` under the model itself: temperature 1, nothing filtered; in nats."""
    shifted = logits - logits.max()
    return float(shifted[i] - np.log(np.exp(shifted).sum()))


class Uniforms:
    """The uniform numbers in [0, 1) of one text: a function of seed, number and place."""

    def __init__(self, seed: int, number: int = 0, place: int = 0) -> None:
        self.seed, self.number, self.place = seed, number, place
        self._block: list[float] = []

    def next(self) -> float:
        offset = self.place % DRAWS
        if offset == 0 or not self._block:
            key = np.random.SeedSequence((self.seed, self.number, self.place // DRAWS))
            self._block = np.random.Generator(np.random.Philox(key)).random(DRAWS).tolist()
        self.place += 1
        return self._block[offset]


def random_seed() -> int:
    """A seed to report, short enough to type again."""
    return secrets.randbelow(2**31)
