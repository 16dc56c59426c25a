"""One character at a time, in NumPy: the recurrent step written for a single stream.

Without torch, the first page is written before torch could be imported. The equations, and what of
them is folded into the weights, stand in `folding`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from textgen.inference.folding import Array, FoldedLayer, FoldedModel
from textgen.inference.matches import Matcher


class Stepper:
    """logits = stepper.step(id), its state inside; `state`: to begin from, None is zero."""

    def __init__(self, model: FoldedModel, state: Mapping[str, Array] | None = None) -> None:
        self._head, self._bias = model.head, model.bias
        self._logits = np.empty(len(model.bias), np.float32)
        cell = {"lstm": _Lstm, "gru": _Gru, "rnn": _Layer}[model.config.cell]
        self._layers = [cell(layer) for layer in model.layers]
        self._upper = list(zip(self._layers, model.config.skips, strict=True))[1:]
        parts = [part for layer in self._layers for part in layer.state]
        self.recurrent = dict(zip(model.config.recurrent, parts, strict=True))  # of now, not copied
        for name, part in self.recurrent.items():
            if state:
                part[:] = state[name]
        reach, before = model.config.history, (state or {}).get("history")
        self._matcher = Matcher(reach, len(model.bias), before) if reach else None
        self.matches: list[int | None] = []  # the ids of the last step's
        self._grams = model.grams
        self.gram = 0  # the row of the last step's, where there are any

    def step(self, i: int) -> Array:
        """Read the character of id `i`; the logits (V,) of the next, valid until the next step."""
        x: Array | None = None
        if self._matcher:
            self.matches = self._matcher.read(i)
            if self._grams is not None:
                self.gram = self._matcher.gram(len(self._grams))
                x = self._grams[self.gram]
        x = self._layers[0].step(x, i, self.matches)
        for layer, skip in self._upper:
            h = layer.step(x)
            x = h + x if skip else h
        np.dot(self._head, x, out=self._logits)
        self._logits += self._bias
        return self._logits

    @property
    def state(self) -> dict[str, Array]:
        """A copy of the state: `0.hidden`, `0.cell`, … each of shape (H,); `history`, (N,)."""
        history = {"history": self._matcher.history} if self._matcher else {}
        return {name: part.copy() for name, part in self.recurrent.items()} | history


class _Layer:
    """The state of one layer, and its step: an RNN's; state: its parts, hidden first, each (H,)."""

    sigmoids = 0  # how many of the gates are sigmoids

    def __init__(self, folded: FoldedLayer) -> None:
        self._matrix, self._table, self._matches = folded.matrix, folded.table, folded.matches
        both = np.zeros(folded.width + folded.hidden, np.float32)
        self._both, self._input, self._hidden = both, both[: folded.width], both[folded.width :]
        self._gates = np.empty(len(folded.matrix), np.float32)
        self._gate = np.split(self._gates, len(self._gates) // folded.hidden)
        self._sigmoids = self._gates[: self.sigmoids * folded.hidden]
        self._cell = np.zeros(folded.hidden, np.float32)
        self.state: tuple[Array, ...] = (self._hidden,)

    def _product(self, x: Array | None, row: int, matches: Sequence[int | None]) -> Array:
        """The gates before their non-linearities, (G,)."""
        if x is not None:
            self._input[:] = x
        np.dot(self._matrix, self._both, out=self._gates)
        self._gates += self._table[row]
        for table, match in zip(self._matches, matches, strict=True):
            if match is not None:
                self._gates += table[match]
        return self._gates

    def step(self, x: Array | None, row: int = 0, matches: Sequence[int | None] = ()) -> Array:
        """Read `x` (I,) from below or, in the first layer, the rows of id and matches; h (H,)."""
        np.tanh(self._product(x, row, matches), out=self._hidden)
        return self._hidden


class _Lstm(_Layer):
    sigmoids = 3

    def __init__(self, folded: FoldedLayer) -> None:
        super().__init__(folded)
        self.state = (self._hidden, self._cell)

    def step(self, x: Array | None, row: int = 0, matches: Sequence[int | None] = ()) -> Array:
        np.tanh(self._product(x, row, matches), out=self._gates)
        self._sigmoids *= 0.5
        self._sigmoids += 0.5
        i, f, o, g = self._gate
        g *= i
        self._cell *= f
        self._cell += g
        np.tanh(self._cell, out=self._hidden)
        self._hidden *= o
        return self._hidden


class _Gru(_Layer):
    sigmoids = 2

    def step(self, x: Array | None, row: int = 0, matches: Sequence[int | None] = ()) -> Array:
        self._product(x, row, matches)
        np.tanh(self._sigmoids, out=self._sigmoids)
        self._sigmoids *= 0.5
        self._sigmoids += 0.5
        r, z, n, recurrent = self._gate
        recurrent *= r
        n += recurrent
        np.tanh(n, out=n)
        self._hidden -= n
        self._hidden *= z
        self._hidden += n
        return self._hidden
