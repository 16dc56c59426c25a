from __future__ import annotations

import numpy as np
import oracle
import pytest
from networks import SHAPES, build, repeating, weights

from textgen.config import CELLS
from textgen.inference.folding import fold
from textgen.inference.stepper import Stepper


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_equations(cell: str, hidden: tuple[int, ...]) -> None:
    model = build(cell, hidden, history=64, grams=50)
    ids = repeating(0, 200, 1)
    expected, trace = oracle.run(model.config, weights(model), ids)
    stepper = Stepper(fold(model.config, weights(model)))
    for t, i in enumerate(ids[:, 0]):
        np.testing.assert_allclose(stepper.step(int(i)), expected[t, 0], atol=1e-4)
    for layer, hidden_state in enumerate(trace[-1]):
        np.testing.assert_allclose(stepper.state[f"{layer}.hidden"], hidden_state[0], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_goes_on_from_a_state_taken_out(cell: str) -> None:
    model = build(cell, (16, 16), history=64, grams=50)
    stepper = Stepper(fold(model.config, weights(model)))
    for i in (3, 1, 4, 1, 5, 9, 3, 1, 4, 1, 5):
        stepper.step(i)
    assert stepper.matches == [9, None]
    kept = stepper.state
    expected = stepper.step(9).copy()
    other = Stepper(fold(model.config, weights(model)), kept)
    assert np.array_equal(other.step(9), expected)


def test_steppers_of_one_model_share_its_weights_and_not_their_states() -> None:
    model = build("lstm", (16, 16))
    folded = fold(model.config, weights(model))
    first = Stepper(folded).step(7).copy()
    other = Stepper(folded)
    other.step(8)
    assert not np.array_equal(other.step(7), first)
    assert np.array_equal(Stepper(folded).step(7), first)
