"""Weights as the samplers read them, folded once for each loaded model.

With W input and U recurrent matrices, b the sum of a gate's two biases, σ the sigmoid and ⊙ the
product element by element, the LSTM is (Hochreiter & Schmidhuber 1997; its forget gate: Gers,
Schmidhuber & Cummins 2000)

    i_t = σ(W_i x_t + U_i h_{t-1} + b_i)            input gate
    f_t = σ(W_f x_t + U_f h_{t-1} + b_f)            forget gate
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)         candidate
    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)            output gate
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                 cell
    h_t = o_t ⊙ tanh(c_t)                           hidden

the GRU (Cho et al. 2014, the reset gate applied after the product, as cuDNN has it)

    r_t = σ(W_r x_t + U_r h_{t-1} + b_r)            reset gate
    z_t = σ(W_z x_t + U_z h_{t-1} + b_z)            update gate
    n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + b_m))
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

and the RNN (Elman 1990) h_t = tanh(W x_t + U h_{t-1} + b).

What is folded: W and U stand side by side, so that one product with [x_t, h_{t-1}] gives all gates.
In the first layer x_t is a row of the embedding plus one for each match (`textgen.model.matches`),
so W x_t + b is a sum of rows of tables: one of the characters, with b, one for each of MATCHED. A
row for the n-gram, of which there are too many for a table, is the x_t of the product; without any
the first layer has none. And σ(x) = tanh(x/2)/2 + 1/2, whose x/2 is folded into the weights, so
that a layer takes one product and two calls of tanh.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.architecture import ModelConfig

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FoldedLayer:
    """matrix: (G, I+H), or (G, H) in a first layer whose whole input is in the tables.

    table: (V, G) in the first layer, else (1, G), the biases; hidden: H; matches: (V, G) for each
    of MATCHED, added for a match, in the first layer of a model that reads them. G is 4H for an
    LSTM and a GRU, H for an RNN.
    """

    matrix: Array
    table: Array
    hidden: int
    matches: tuple[Array, ...] = ()

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1]) - self.hidden


@dataclass(frozen=True)
class FoldedModel:
    """head: (V, H) and its bias: (V,); grams: (R, E), the rows for n-grams, if it reads any."""

    config: ModelConfig
    layers: tuple[FoldedLayer, ...]
    head: Array
    bias: Array
    grams: Array | None


def fold(config: ModelConfig, weights: Mapping[str, Array]) -> FoldedModel:
    """Fold `weights`, by the names of CharModel's state_dict."""
    layers = []
    for n, hidden in enumerate(config.hidden):
        w, u, b_w, b_u = (weights[f"layers.{n}.{name}"] for name in _NAMES)
        w, u, b = _FOLDS[config.cell](w, u, b_w, b_u)
        matches: tuple[Array, ...] = ()
        if n == 0:
            table = weights["embedding.weight"] @ w.T + b
            matrix = np.concatenate([w, u], axis=1) if config.grams else u
            names = [name for name in config.weights if name.startswith("matches")]
            matches = tuple(weights[name] @ w.T for name in names)
        else:
            matrix, table = np.concatenate([w, u], axis=1), b[None]
        layers.append(FoldedLayer(np.ascontiguousarray(matrix), table, hidden, matches))
    head = np.ascontiguousarray(weights["head.weight"])
    grams = weights.get("grams.weight")
    return FoldedModel(config, tuple(layers), head, weights["head.bias"], grams)


_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _lstm(w: Array, u: Array, b_w: Array, b_u: Array) -> tuple[Array, Array, Array]:
    """Torch's i, f, g, o become i, f, o, g: the three sigmoids side by side."""
    h = u.shape[1]
    order = np.r_[0 : 2 * h, 3 * h : 4 * h, 2 * h : 3 * h]
    half = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), h)
    return w[order] * half[:, None], u[order] * half[:, None], (b_w + b_u)[order] * half


def _gru(w: Array, u: Array, b_w: Array, b_u: Array) -> tuple[Array, Array, Array]:
    """Torch's r, z, n become r, z, n's part of x, n's part of h."""
    h = u.shape[1]
    half = np.repeat(np.array([0.5, 0.5, 1.0, 1.0], np.float32), h)
    none_w, none_u = np.zeros_like(w[:h]), np.zeros_like(u[:h])
    w = np.concatenate([w, none_w]) * half[:, None]
    u = np.concatenate([u[: 2 * h], none_u, u[2 * h :]]) * half[:, None]
    b = np.concatenate([b_w[: 2 * h] + b_u[: 2 * h], b_w[2 * h :], b_u[2 * h :]]) * half
    return w, u, b


def _rnn(w: Array, u: Array, b_w: Array, b_u: Array) -> tuple[Array, Array, Array]:
    return w, u, b_w + b_u


_FOLDS: dict[str, Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _rnn,
}
