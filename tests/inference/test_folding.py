from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from networks import SHAPES, build, weights
from numpy.typing import NDArray

from textgen.config import CELLS
from textgen.inference.batch import BatchStepper
from textgen.inference.folding import FoldedLayer, fold
from textgen.inference.stepper import Stepper

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
RNG = np.random.default_rng


def unfolded(cell: str, layer: FoldedLayer, x: NDArray | int, h: NDArray, c: NDArray) -> NDArray:
    """A layer's next hidden state by its folded weights, as their description has it; float64."""
    inputs = [h] if isinstance(x, int) else [x, h]
    row = layer.table[x if isinstance(x, int) else 0]
    product = layer.matrix.astype(np.float64) @ np.concatenate(inputs) + row
    if cell == "rnn":
        return np.tanh(product)
    first, second, third, fourth = product.reshape(4, -1)
    one, two = np.tanh(first) / 2 + 0.5, np.tanh(second) / 2 + 0.5
    if cell == "lstm":  # i, f, o, g
        return (np.tanh(third) / 2 + 0.5) * np.tanh(two * c + one * np.tanh(fourth))
    return (1 - two) * np.tanh(third + one * fourth) + two * h  # r, z, n of x, n of h


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_folded_weights_give_what_the_equations_give(cell: str, hidden: tuple[int, ...]) -> None:
    model = build(cell, hidden)
    rng = RNG(1)
    own = {  # biases that differ from each other, so that none can stand for another
        name: rng.normal(0, 0.5, array.shape).astype(np.float32) if "bias" in name else array
        for name, array in weights(model).items()
    }
    folded = fold(model.config, own)
    step = {"lstm": oracle.lstm_step, "gru": oracle.gru_step, "rnn": oracle.rnn_step}[cell]
    for n, layer in enumerate(folded.layers):
        of_layer = [own[f"layers.{n}.{name}"].astype(np.float64) for name in NAMES]
        for i in range(20):
            h, c = rng.uniform(-1, 1, hidden[n]), rng.normal(0, 2, hidden[n])
            below = own["embedding.weight"][i] if n == 0 else rng.normal(0, 1, hidden[n - 1])
            states = (h, c) if cell == "lstm" else (h,)
            expected = step(below, *states, *of_layer)
            found = unfolded(cell, layer, i if n == 0 else below, h, c)
            np.testing.assert_allclose(
                found, expected[0] if cell == "lstm" else expected, atol=1e-6
            )


@pytest.mark.parametrize(("cell", "blocks"), [("lstm", 4), ("gru", 4), ("rnn", 1)])
def test_the_first_layer_looks_up_its_input_and_the_others_take_it_in_one_product(
    cell: str, blocks: int
) -> None:
    model = build(cell, (16, 24))
    first, second = fold(model.config, weights(model)).layers
    assert (first.matrix.shape, first.table.shape, first.width) == (
        (blocks * 16, 16),
        (20, blocks * 16),
        0,
    )
    assert (second.matrix.shape, second.table.shape, second.width) == (
        (blocks * 24, 16 + 24),
        (1, blocks * 24),
        16,
    )
    for layer in (first, second):
        assert layer.matrix.flags.c_contiguous
        assert layer.matrix.dtype == layer.table.dtype == np.float32


@pytest.mark.parametrize("cell", CELLS)
def test_folding_leaves_the_weights_as_they_were(cell: str) -> None:
    model = build(cell, (16, 16))
    before = {name: array.copy() for name, array in weights(model).items()}
    stepper = Stepper(fold(model.config, weights(model)))
    for i in range(5):
        stepper.step(i)
    np.testing.assert_equal(weights(model), before)


@pytest.mark.parametrize("cell", CELLS)
def test_without_skips_no_layers_input_is_added_to_its_output(cell: str) -> None:
    plain, joined = build(cell, (16, 16, 16), skip=False), build(cell, (16, 16, 16))
    np.testing.assert_equal(weights(plain), weights(joined))
    ids = RNG(2).integers(20, size=(60, 4))
    expected, trace = oracle.run(plain.config, weights(plain), ids)
    others, _ = oracle.run(joined.config, weights(joined), ids)
    assert np.abs(others - expected).max() > 0.1

    folded = fold(plain.config, weights(plain))
    many = BatchStepper(folded, torch.device("cpu"), torch.float32, streams=4)
    one = Stepper(folded)
    for t in range(60):
        np.testing.assert_allclose(one.step(int(ids[t, 0])), expected[t, 0], atol=1e-4)
        np.testing.assert_allclose(many.step(torch.from_numpy(ids[t])), expected[t], atol=1e-4)
        np.testing.assert_allclose(one.state["2.hidden"], trace[t][2][0], atol=1e-5)
