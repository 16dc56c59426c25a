"""The recurrent steps written from the equations, in float64, one line each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from textgen.architecture import FACTOR, GRAM, ModelConfig
from textgen.config import MATCHED


def sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, w_x, w_h, b_x, b_h):
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    n = h.shape[-1]
    gates = x @ w_x.T + b_x + h @ w_h.T + b_h
    input_gate = sigmoid(gates[..., :n])
    forget_gate = sigmoid(gates[..., n : 2 * n])
    candidate = np.tanh(gates[..., 2 * n : 3 * n])
    output_gate = sigmoid(gates[..., 3 * n :])
    c = forget_gate * c + input_gate * candidate
    return output_gate * np.tanh(c), c


def gru_step(x, h, w_x, w_h, b_x, b_h):
    """Cho et al. 2014, with the reset gate applied after the recurrent product."""
    n = h.shape[-1]
    from_x, from_h = x @ w_x.T + b_x, h @ w_h.T + b_h
    reset = sigmoid(from_x[..., :n] + from_h[..., :n])
    update = sigmoid(from_x[..., n : 2 * n] + from_h[..., n : 2 * n])
    candidate = np.tanh(from_x[..., 2 * n :] + reset * from_h[..., 2 * n :])
    return (1 - update) * candidate + update * h


def rnn_step(x, h, w_x, w_h, b_x, b_h):
    """Elman 1990."""
    return np.tanh(x @ w_x.T + b_x + h @ w_h.T + b_h)


def matches(read: list[int], reach: int) -> list[int | None]:
    """What followed the last m of `read` where they stood before, among the last `reach`."""
    text, found = read[-reach:], []
    for m in MATCHED:
        begins = range(len(text) - m - 1, -1, -1)
        stood = (begin for begin in begins if text[begin : begin + m] == text[-m:])
        found.append(next((text[begin + m] for begin in stood), None))
    return found


def gram(read: list[int], rows: int) -> int:
    """The row for the last characters of `read`: their ids plus 1 as the digits of a number."""
    digits = [i + 1 for i in reversed(read[-GRAM:])]
    return sum(digit * FACTOR**place for place, digit in enumerate(digits)) % rows


def run(
    config: ModelConfig, weights: Mapping[str, NDArray], ids: NDArray
) -> tuple[NDArray, list[list[NDArray]]]:
    """logits (T, B, V), and each layer's hidden states over time, for ids (T, B), from zero."""
    w = {name: np.asarray(a, np.float64) for name, a in weights.items()}
    batch = ids.shape[1]
    hidden = [np.zeros((batch, n)) for n in config.hidden]
    cell = [np.zeros((batch, n)) for n in config.hidden]
    logits, trace = [], []
    for t, row in enumerate(ids):
        x = w["embedding.weight"][row]
        if config.history:
            for b in range(batch):
                for k, found in enumerate(matches(ids[: t + 1, b].tolist(), config.history)):
                    if found is not None:
                        x[b] += w[f"matches.{k}.weight"][found]
                if config.grams:
                    x[b] += w["grams.weight"][gram(ids[: t + 1, b].tolist(), config.grams)]
        for layer in range(config.layers):
            own = [
                w[f"layers.{layer}.{name}_l0"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            if config.cell == "lstm":
                hidden[layer], cell[layer] = lstm_step(x, hidden[layer], cell[layer], *own)
            elif config.cell == "gru":
                hidden[layer] = gru_step(x, hidden[layer], *own)
            else:
                hidden[layer] = rnn_step(x, hidden[layer], *own)
            joined = config.skip and layer > 0 and x.shape[-1] == hidden[layer].shape[-1]
            x = hidden[layer] + x if joined else hidden[layer]
        trace.append(list(hidden))
        logits.append(x @ w["head.weight"].T + w["head.bias"])
    return np.array(logits), trace
