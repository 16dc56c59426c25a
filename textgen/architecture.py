"""The one description of the network: its weights, its state, its skip connections.

Counting parameters, checking a file and building a state are loops over what stands here. Standard
library only, so that `info` and `ls` need nothing else.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from textgen.bounds import Number, check
from textgen.config import MATCHED, MOST_LAYERS, Choices
from textgen.errors import UsageError

GRAM = 3  # characters of an n-gram
FACTOR = 1_299_709  # of its hash: prime, and above the most rows, so that no place is lost


class Cell(NamedTuple):
    """gates: rows of a cell's matrices for each hidden unit; state: what it carries along."""

    gates: int
    state: tuple[str, ...]


CELL = {
    "lstm": Cell(4, ("hidden", "cell")),
    "gru": Cell(3, ("hidden",)),
    "rnn": Cell(1, ("hidden",)),
}


class Axis(NamedTuple):
    """An axis: `vocabulary`, `embedding`, `history`, `grams`; of layer N `hidden.N`, `gates.N`."""

    name: str
    size: int


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network: all that is needed to rebuild it from its weights."""

    vocabulary_size: int
    cell: str
    hidden: tuple[int, ...]  # width of each layer
    embedding: int
    skip: bool
    dropout: float  # on the input, between layers and on the output
    weight_drop: float  # on the recurrent matrices
    history: int  # characters back in which a match is looked for: see `model.matches`; 0: none
    grams: int  # rows for the last GRAM characters: see `model.matches`; 0: none

    def __post_init__(self) -> None:
        if not self.hidden:
            raise UsageError("`hidden` is empty; expected one width per layer", "try `hidden=256`")
        check(self, Choices)
        Number(1, MOST_LAYERS, whole=True).check("layers", self.layers)
        if not self.history:
            Number(0, 0, whole=True).check("grams", self.grams)

    @property
    def layers(self) -> int:
        return len(self.hidden)

    @property
    def weights(self) -> dict[str, tuple[Axis, ...]]:
        """The axes of every weight, by its name in CharModel's state_dict and in that order.

        Each layer is PyTorch's recurrent layer of one layer: input and recurrent matrix, gate by
        gate, and a bias for each. `matches.K.weight` has rows for what followed, by MATCHED;
        `grams.weight` by `gram_row`.
        """
        vocabulary = Axis("vocabulary", self.vocabulary_size)
        below = Axis("embedding", self.embedding)
        weights: dict[str, tuple[Axis, ...]] = {"embedding.weight": (vocabulary, below)}
        if self.history:
            weights |= {f"matches.{k}.weight": (vocabulary, below) for k in range(len(MATCHED))}
        if self.grams:
            weights["grams.weight"] = Axis("grams", self.grams), below
        for n, width in enumerate(self.hidden):
            hidden = Axis(f"hidden.{n}", width)
            gates = Axis(f"gates.{n}", CELL[self.cell].gates * width)
            weights[f"layers.{n}.weight_ih_l0"] = (gates, below)
            weights[f"layers.{n}.weight_hh_l0"] = (gates, hidden)
            weights[f"layers.{n}.bias_ih_l0"] = (gates,)
            weights[f"layers.{n}.bias_hh_l0"] = (gates,)
            below = hidden
        return {**weights, "head.weight": (vocabulary, below), "head.bias": (vocabulary,)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, by name."""
        return {name: tuple(a.size for a in axes) for name, axes in self.weights.items()}

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    @property
    def bare(self) -> "ModelConfig":
        """The same without matches and n-grams: their many rows are read one at a time."""
        return replace(self, history=0, grams=0)

    @property
    def state(self) -> dict[str, Axis]:
        """What a stream carries along: the state of its layers and, if any, its `history`."""
        history = {"history": Axis("history", self.history)} if self.history else {}
        return self.recurrent | history

    @property
    def recurrent(self) -> dict[str, Axis]:
        """The state of the layers: `0.hidden`, for an LSTM `0.cell` too, `1.hidden`, …"""
        return {
            f"{n}.{part}": Axis(f"hidden.{n}", width)
            for n, width in enumerate(self.hidden)
            for part in CELL[self.cell].state
        }

    @property
    def skips(self) -> tuple[bool, ...]:
        """For each layer whether its input is added to its output: not the first, equal widths."""
        below = (None, *self.hidden)
        return tuple(self.skip and a == b for a, b in zip(below, self.hidden, strict=False))


def gram_row(last: Iterable[Any], rows: int) -> Any:
    """The row for the last GRAM characters, the latest at the end: ids plus 1, 0 for none yet.

    A hash, by Horner's rule, of numbers or of arrays of them.
    """
    found: Any = 0
    for each in last:
        found = (found * FACTOR + each) % rows
    return found
