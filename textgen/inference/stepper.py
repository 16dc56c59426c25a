"""One character at a time, in NumPy: the recurrent step written for a single stream.

The embedding, the first layer's input matrix and its biases are one table, looked up by id; every
other layer reads its input and its hidden state as one vector through one matrix. The sigmoid of a
gate is a tanh, sigmoid(x) = tanh(x/2)/2 + 1/2, its first half folded into the weights, so a layer
costs one product and two calls of tanh. Without torch, the first page is written before torch could
be imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from textgen.config import ModelConfig

Array = NDArray[np.float32]


class Stepper:
    """logits = stepper.step(id), with the state carried inside from character to character.

    config: the model's shape; weights: its arrays, by the names of CharModel's state_dict.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.head = np.ascontiguousarray(weights["head.weight"])  # (V, H)
        self.bias = weights["head.bias"]
        self._logits = np.empty(config.vocabulary_size, np.float32)
        cell: Callable[..., Layer] = {"lstm": _Lstm, "gru": _Gru, "rnn": _Rnn}[config.cell]
        self.layers = [
            cell(
                *(weights[f"layers.{number}.{name}"] for name in _NAMES),
                weights["embedding.weight"] if number == 0 else None,
            )
            for number in range(config.layers)
        ]
        below = (0, *config.hidden)
        self._upper = [
            (layer, width == hidden)
            for layer, width, hidden in zip(self.layers, below, config.hidden, strict=False)
        ][1:]

    def step(self, i: int) -> Array:
        """Read the character of id `i`; the logits (V,) of the next, valid until the next step."""
        x = self.layers[0].step(None, i)
        for layer, skip in self._upper:
            h = layer.step(x)
            x = h + x if skip else h
        np.dot(self.head, x, out=self._logits)
        self._logits += self.bias
        return self._logits

    @property
    def state(self) -> dict[str, Array]:
        """A copy of the state: `0.hidden`, `0.cell`, … each of shape (H,)."""
        return {name: part.copy() for name, part in self._parts()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        for name, part in self._parts():
            part[:] = state[name]

    def reset(self) -> None:
        """Back to zero state."""
        for _, part in self._parts():
            part[:] = 0.0

    def _parts(self) -> list[tuple[str, Array]]:
        return [
            (f"{number}.{name}", part)
            for number, layer in enumerate(self.layers)
            for name, part in layer.parts.items()
        ]


_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class Layer(ABC):
    """What the cells share: one matrix over [input, hidden], and what is added to its product.

    matrix: (G, I+H), or (G, H) in the first layer, whose input is in the table already.
    table: (V, G) in the first layer, else (1, G): the biases.
    """

    def __init__(
        self, matrix_in: Array, matrix: Array, bias: Array, embedding: Array | None
    ) -> None:
        width = 0 if embedding is not None else matrix_in.shape[1]
        hidden = matrix.shape[1]
        if embedding is None:
            self.matrix = np.ascontiguousarray(np.concatenate([matrix_in, matrix], axis=1))
            self.table = bias[None]
        else:
            self.matrix = np.ascontiguousarray(matrix)
            self.table = embedding @ matrix_in.T + bias
        both = np.zeros(width + hidden, np.float32)
        self.both, self.input, self.hidden = both, both[:width], both[width:]
        self.gates = np.empty(len(self.matrix), np.float32)
        self.parts = {"hidden": self.hidden}

    @abstractmethod
    def step(self, x: Array | None, row: int = 0) -> Array:
        """Read `x` (I,) from below or, in the first layer, the table's `row`; h (H,)."""

    def product(self, x: Array | None, row: int) -> Array:
        """The gates before their non-linearities, (G,)."""
        if x is not None:
            self.input[:] = x
        np.dot(self.matrix, self.both, out=self.gates)
        self.gates += self.table[row]
        return self.gates


class _Lstm(Layer):
    """Input, forget and output gate, candidate (Hochreiter & Schmidhuber 1997; Gers et al. 2000)"""

    def __init__(
        self, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, embedding: Array | None
    ) -> None:
        h = w_hh.shape[1]
        order = np.r_[0 : 2 * h, 3 * h : 4 * h, 2 * h : 3 * h]  # the three sigmoids side by side
        half = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), h)
        super().__init__(
            w_ih[order] * half[:, None],
            w_hh[order] * half[:, None],
            (b_ih + b_hh)[order] * half,
            embedding,
        )
        self.cell = np.zeros(h, np.float32)
        self.parts["cell"] = self.cell
        self.sigmoids = self.gates[: 3 * h]
        self.gate = np.split(self.gates, 4)

    def step(self, x: Array | None, row: int = 0) -> Array:
        np.tanh(self.product(x, row), out=self.gates)
        self.sigmoids *= 0.5
        self.sigmoids += 0.5
        i, f, o, candidate = self.gate
        candidate *= i
        self.cell *= f
        self.cell += candidate
        np.tanh(self.cell, out=self.hidden)
        self.hidden *= o
        return self.hidden


class _Gru(Layer):
    """Reset and update gate, candidate (Cho et al. 2014, the reset after the product)."""

    def __init__(
        self, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, embedding: Array | None
    ) -> None:
        h = w_hh.shape[1]
        half = np.repeat(np.array([0.5, 0.5, 1.0, 1.0], np.float32), h)
        none_in, none = np.zeros_like(w_ih[:h]), np.zeros_like(w_hh[:h])
        # reset, update, the candidate's input part, the candidate's recurrent part
        matrix_in = np.concatenate([w_ih, none_in]) * half[:, None]
        matrix = np.concatenate([w_hh[: 2 * h], none, w_hh[2 * h :]]) * half[:, None]
        bias = np.concatenate([b_ih[: 2 * h] + b_hh[: 2 * h], b_ih[2 * h :], b_hh[2 * h :]]) * half
        super().__init__(matrix_in, matrix, bias, embedding)
        self.sigmoids = self.gates[: 2 * h]
        self.gate = np.split(self.gates, 4)

    def step(self, x: Array | None, row: int = 0) -> Array:
        self.product(x, row)
        np.tanh(self.sigmoids, out=self.sigmoids)
        self.sigmoids *= 0.5
        self.sigmoids += 0.5
        reset, update, candidate, recurrent = self.gate
        recurrent *= reset
        candidate += recurrent
        np.tanh(candidate, out=candidate)
        self.hidden -= candidate
        self.hidden *= update
        self.hidden += candidate
        return self.hidden


class _Rnn(Layer):
    """A single tanh (Elman 1990)."""

    def __init__(
        self, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, embedding: Array | None
    ) -> None:
        super().__init__(w_ih, w_hh, b_ih + b_hh, embedding)

    def step(self, x: Array | None, row: int = 0) -> Array:
        np.tanh(self.product(x, row), out=self.hidden)
        return self.hidden
