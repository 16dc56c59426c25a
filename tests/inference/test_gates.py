from __future__ import annotations

import numpy as np
import pytest
from networks import build, weights

from textgen.inference.activations import trace
from textgen.inference.folding import fold
from textgen.inference.gates import gates_of, half_lives


@pytest.mark.parametrize(("gate", "characters"), [(0.3, 1), (0.7, 2), (0.9, 7), (0.99, 69)])
def test_a_gate_that_stays_has_the_half_life_of_its_logarithm(gate: float, characters: int) -> None:
    assert half_lives(np.full((1000, 2), np.log(gate))).tolist() == [characters, characters]


def test_a_half_life_is_that_of_the_product_of_the_gates() -> None:
    gates = np.random.default_rng(0).uniform(0.5, 1, (400, 5))
    gates[::50, 3] = 1e-9  # one that forgets all now and then
    gates[:, 4] = 1  # and one that never does
    found = half_lives(np.log(gates))
    for unit, column in enumerate(gates.T[:4]):
        lives = []
        for begin in range(201):
            left, n = 1.0, 0
            while left >= 0.5 and n < 200:
                left, n = left * column[begin + n], n + 1
            lives.append(n)
        assert found[unit] == np.median(lives)
    assert found[4] == 200


def test_the_shares_are_of_values_below_a_tenth_and_above_nine() -> None:
    model = build("lstm", (16, 8))
    own = weights(model)
    own["layers.1.weight_ih_l0"][:] = own["layers.1.weight_hh_l0"][:] = 0
    own["layers.1.bias_hh_l0"][:] = 0
    # of 8 units 2 input gates at 0.05, 5 at 0.95; all forget gates at 0.75
    values = [0.05] * 2 + [0.95] * 5 + [0.5] + [0.75] * 8 + [0.5] * 16
    own["layers.1.bias_ih_l0"][:] = np.log(values) - np.log1p(-np.array(values))
    found = gates_of(trace(fold(model.config, own), np.arange(20)))
    assert [gate.name for gate in found[0].gates] == ["input", "forget", "output"]
    entry, forget, output = found[1].gates
    assert (entry.closed, entry.open) == (2 / 8, 5 / 8)
    assert entry.mean == pytest.approx(np.mean(values[:8]), abs=1e-6)
    assert (forget.mean, forget.closed, forget.open) == (pytest.approx(0.75), 0, 0)
    assert output.mean == pytest.approx(0.5)
    assert found[1].half_lives is not None
    assert found[1].half_lives.tolist() == [3] * 8  # 0.75 ** 3 < 1 / 2


def test_the_update_gate_of_a_gru_keeps_and_an_rnn_keeps_nothing() -> None:
    model = build("gru", (16,))
    own = weights(model)
    own["layers.0.weight_ih_l0"][:] = own["layers.0.weight_hh_l0"][:] = 0
    own["layers.0.bias_hh_l0"][:] = 0
    own["layers.0.bias_ih_l0"][16:32] = np.log(9)  # sigmoid: 0.9
    (layer,) = gates_of(trace(fold(model.config, own), np.arange(20)))
    assert layer.half_lives is not None
    assert layer.half_lives.tolist() == [7] * 16
    rnn = build("rnn", (16,))
    (layer,) = gates_of(trace(fold(rnn.config, weights(rnn)), np.arange(20)))
    assert layer.gates == ()
    assert layer.half_lives is None
