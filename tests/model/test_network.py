from __future__ import annotations

import math

import numpy as np
import oracle
import pytest
import torch
from networks import SHAPES, build, model_config, repeating, weights

from textgen.config import CELLS
from textgen.model.network import CharModel, State, _dropped


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_equations_layer_by_layer(cell: str, hidden: tuple[int, ...]) -> None:
    model = build(cell, hidden, history=64, grams=50).eval()
    ids = repeating(0, 50, 3)
    expected, trace = oracle.run(model.config, weights(model), ids)
    state = State.zeros(model.config, 3)
    with torch.no_grad():
        for t in range(50):
            logits, state = model(torch.from_numpy(ids[t : t + 1]), state)
            np.testing.assert_allclose(logits[0], expected[t], atol=1e-5)
            for layer, hidden_state in enumerate(trace[t]):
                np.testing.assert_allclose(state.parts[f"{layer}.hidden"], hidden_state, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_carrying_the_state_makes_chunks_equal_to_one_pass(cell: str) -> None:
    model = build(cell, (16, 16), history=64, grams=50).eval()
    ids = torch.from_numpy(repeating(1, 60, 2))
    with torch.no_grad():
        whole, end = model(ids, State.zeros(model.config, 2))
        state = State.zeros(model.config, 2)
        parts = []
        for chunk in ids.split([1, 22, 30, 7]):
            logits, state = model(chunk, state)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)
    for part, last in zip(state.parts.values(), end.parts.values(), strict=True):
        torch.testing.assert_close(part, last, atol=1e-5, rtol=0)


def test_zeroed_clears_the_fresh_streams_and_no_others() -> None:
    state = State({"0.hidden": torch.ones(3, 4), "0.cell": torch.ones(3, 4)})
    cleared = state.zeroed(torch.tensor([True, False, True]))
    for part in cleared.parts.values():
        assert part.sum(dim=1).tolist() == [0, 4, 0]


def test_one_dropout_mask_is_held_over_the_chunk_and_differs_between_streams() -> None:
    model = build("lstm", (64,), dropout=0.5)
    masks = model.masks(2, torch.Generator().manual_seed(0))
    out = _dropped(torch.ones(30, 2, 64), masks.activations[1])
    assert (out == out[0]).all()
    assert not torch.equal(out[0, 0], out[0, 1])
    assert set(out.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["dropout", "weight_drop"])
def test_masks_follow_the_generator_and_vanish_in_evaluation(cell: str, kind: str) -> None:
    model = build(cell, (16, 16), history=64, grams=50, **{kind: 0.4})
    ids = torch.arange(20)[:, None]
    state = State.zeros(model.config, 1)

    def run(seed: int) -> torch.Tensor:
        return model(ids, state, torch.Generator().manual_seed(seed))[0]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    model.eval()
    expected, _ = oracle.run(model.config, weights(model), ids.numpy())
    np.testing.assert_allclose(run(1).detach(), expected, atol=1e-5)


def test_weight_drop_drops_recurrent_weights_and_scales_the_rest() -> None:
    model = build("rnn", (200,), weight_drop=0.5)
    with torch.no_grad():
        model.layers[0].weight_hh_l0.fill_(0.001)
        model.layers[0].weight_ih_l0.zero_()
        for bias in (model.layers[0].bias_ih_l0, model.layers[0].bias_hh_l0):
            bias.zero_()
    before = State({"0.hidden": torch.ones(1, 200)})
    _, after = model(torch.zeros(1, 1, dtype=torch.long), before, torch.manual_seed(0))
    kept = torch.atanh(after.parts["0.hidden"].detach()) / 0.002  # how many weights each unit kept
    assert kept.mean().item() == pytest.approx(100, abs=3)
    assert kept.std().item() == pytest.approx(math.sqrt(200 / 4), rel=0.3)


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_are_as_promised(cell: str) -> None:
    model = CharModel(model_config(20, cell, (32,), embedding=10))
    frequencies = torch.arange(1, 21) / 210
    model.initialise(torch.Generator().manual_seed(0), frequencies)
    layer = model.layers[0]
    for gate in layer.weight_hh_l0.split(32):
        torch.testing.assert_close(gate @ gate.T, torch.eye(32), atol=1e-5, rtol=0)
    bound = math.sqrt(6 / (10 + 32))
    assert layer.weight_ih_l0.abs().max() <= bound
    assert layer.weight_ih_l0.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    biases = layer.bias_ih_l0.detach()
    lasting = [2.0] * 8 + [0.0] * 24
    expected = {"rnn": [[0.0] * 32], "gru": [[0.0] * 32, lasting, [0.0] * 32]}
    expected["lstm"] = [*expected["gru"], [0.0] * 32]
    assert [gate.tolist() for gate in biases.split(32)] == expected[cell]
    assert layer.bias_hh_l0.eq(0).all()
    torch.testing.assert_close(model.head.bias.exp(), frequencies)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_quarter_of_the_units_starts_to_remember(cell: str) -> None:
    """Untrained, their share of the state outlasts that of the others."""
    model = CharModel(model_config(20, cell, (64,), embedding=10))
    with torch.no_grad():
        model.initialise(torch.Generator().manual_seed(0), torch.full((20,), 0.05))
        model.embedding.weight.zero_()
        model.layers[0].weight_hh_l0.zero_()
        part = "0.cell" if cell == "lstm" else "0.hidden"
        before = State.zeros(model.config, 1)
        before.parts[part].fill_(1.0)
        _, after = model(torch.zeros(8, 1, dtype=torch.long), before)
    left = after.parts[part][0]
    torch.testing.assert_close(left[:16], torch.full((16,), (1 + math.exp(-2)) ** -8.0))
    torch.testing.assert_close(left[16:], torch.full((48,), 2.0**-8))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("hidden", SHAPES)
def test_parameters_are_counted_right(cell: str, hidden: tuple[int, ...]) -> None:
    model = build(cell, hidden)
    assert model.config.parameters == sum(p.numel() for p in model.parameters())
