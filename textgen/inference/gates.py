"""How a layer uses its gates, and how long they let its state last."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.inference.activations import Trace

CLOSED, OPEN = 0.1, 0.9  # below, above: saturated, as in Karpathy, Johnson & Fei-Fei 2015
PLACES = 501  # of a text, from which a state is followed


@dataclass(frozen=True)
class Gate:
    """Over the units of a layer and a text: the mean, and the shares below CLOSED, above OPEN."""

    name: str
    mean: float
    closed: float
    open: float


@dataclass(frozen=True)
class LayerGates:
    """The gates of a layer; half_lives: of its units, in characters, (H,); None without gates."""

    gates: tuple[Gate, ...]
    half_lives: NDArray[np.float64] | None


def gates_of(trace: Trace) -> list[LayerGates]:
    """The gates of each layer over the text of `trace`."""
    found = []
    for layer in range(trace.model.config.layers):
        gates = tuple(
            Gate(name, float(g.mean()), float((g < CLOSED).mean()), float((g > OPEN).mean()))
            for name, g in trace.gates(layer).items()
        )
        log_kept = trace.log_kept(layer)
        found.append(LayerGates(gates, None if log_kept is None else half_lives(log_kept)))
    return found


def half_lives(log_kept: NDArray) -> NDArray[np.float64]:
    """After how many characters less than half of a unit's state is left: (H,).

    log_kept: ln of the share that each of n characters leaves, (n, H). What a place holds is
    multiplied by those shares one after the other; the median is taken over places in the first
    half of the text, and n / 2 stands for all that lasts longer.
    """
    length, units = log_kept.shape
    lost = np.zeros((length + 1, units))  # -ln of what is left of the state before the text
    np.cumsum(-log_kept, axis=0, dtype=np.float64, out=lost[1:])
    begins = np.linspace(0, length // 2, min(PLACES, length // 2 + 1)).astype(np.int64)
    found = np.empty(units)
    for unit, column in enumerate(lost.T.copy()):
        ends = np.searchsorted(column, column[begins] + math.log(2), side="right")
        found[unit] = np.median(np.minimum(ends - begins, max(1, length // 2)))
    return found


def lasting(characters: float, longest: int) -> str:
    """A half-life as it is shown; `longest`: n / 2, which stands for all that last longer."""
    return f">= {longest:,}" if characters >= longest else f"{characters:,.0f}"
