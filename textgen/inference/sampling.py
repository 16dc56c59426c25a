"""From logits to text: temperature, filters, and the draw.

Every draw is a function of (seed, number of the text, place in the text), so text i of a seed is
the same whatever else is written, and a text that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.config import check_number

BLOCK = 256  # draws made at a time


@dataclass(frozen=True)
class SamplingConfig:
    """How the next character is chosen; the filters apply in the order of the fields."""

    temperature: float = 0.8  # divides the logits; 0 takes the likeliest character
    top_k: int = 0  # only the k likeliest; 0: off
    top_p: float = 1.0  # only the likeliest that together reach p (Holtzman et al. 2020); 1: off
    min_p: float = 0.0  # only those at least this share of the likeliest (Nguyen et al. 2024)

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0, example="0.8")
        check_number("top_k", self.top_k, 0, whole=True, example="40")
        check_number("top_p", self.top_p, 0, 1, example="0.95")
        check_number("min_p", self.min_p, 0, 1, example="0.05")


GREEDY = 1e-6  # a temperature below it leaves only the likeliest


def distribution(logits: NDArray[np.float32], config: SamplingConfig) -> NDArray[np.float64]:
    """What the next character is drawn from: probabilities (V,) for logits (V,).

    The likeliest character is never filtered out, so something always remains.
    """
    if config.temperature < GREEDY:
        p = np.zeros(len(logits))
        p[logits.argmax()] = 1.0
        return p
    p = _kept(logits, config)
    p /= p.sum()
    return p


def draw(logits: NDArray[np.float32], config: SamplingConfig, u: float) -> int:
    """The id that `u`, uniform in [0, 1), picks from `distribution`, by inverting its sum."""
    if config.temperature < GREEDY:
        return int(logits.argmax())
    reached = _kept(logits, config).cumsum()
    total = reached[-1]
    return int(reached.searchsorted(min(u, _BELOW_ONE) * total, side="right"))


_BELOW_ONE = 1 - 2**-50  # so that no draw is rounded up to the whole


def _kept(logits: NDArray[np.float32], config: SamplingConfig) -> NDArray[np.float64]:
    """Probabilities relative to the likeliest, 0 for those filtered out; they do not sum to 1."""
    p: NDArray[np.float64] = np.multiply(
        logits - logits.max(), 1.0 / config.temperature, dtype=np.float64
    )
    np.exp(p, out=p)
    if config.top_k and config.top_k < len(p):
        p[p < np.partition(p, -config.top_k)[-config.top_k]] = 0.0
    if config.top_p < 1.0:
        order = np.argsort(-p, kind="stable")
        reached = np.cumsum(p[order])
        before = reached - p[order]
        p[order[1:][before[1:] >= config.top_p * reached[-1]]] = 0.0
    if config.min_p:
        p[p < config.min_p] = 0.0  # the likeliest is 1
    return p


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
        offset = self.place % BLOCK
        if offset == 0 or not self._block:
            key = np.random.SeedSequence((self.seed, self.number, self.place // BLOCK))
            self._block = np.random.Generator(np.random.Philox(key)).random(BLOCK).tolist()
        self.place += 1
        return self._block[offset]


def random_seed() -> int:
    """A seed to tell the person, short enough to type again."""
    return secrets.randbelow(2**31)
