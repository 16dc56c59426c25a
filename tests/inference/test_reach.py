from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import build, model_config

from textgen.errors import CorpusError
from textgen.inference import reach
from textgen.inference.reach import falling, remember
from textgen.model.network import CharModel, State

KINDS = 6  # characters of the made text


def echo(order: int, length: int = 6000) -> np.ndarray:
    """Random characters, of which nine in ten repeat the one `order` before."""
    rng = np.random.default_rng(order)
    ids = rng.integers(0, KINDS, length)
    for place in np.flatnonzero(rng.random(length) < 0.9):
        if place >= order:
            ids[place] = ids[place - order]
    return ids.astype(np.uint8)


def shift_register(order: int) -> CharModel:
    """An RNN that hands each character on from slot to slot, and predicts that of the last one."""
    width = KINDS * order
    network = CharModel(model_config(KINDS, "rnn", (width,), embedding=KINDS))
    small = 0.03  # where tanh is nearly linear
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.embedding.weight.copy_(torch.eye(KINDS))
        layer = network.layers[0]
        layer.weight_ih_l0[:KINDS] = small * torch.eye(KINDS)
        layer.weight_hh_l0[KINDS:] = torch.eye(width)[:-KINDS]
        network.head.weight[:, -KINDS:] = 3.9 / small * torch.eye(KINDS)  # e^3.9 = 0.9 : 0.1 / 5
    return network.eval()


@pytest.mark.parametrize("order", [1, 2, 5, 12, 40])
def test_the_order_of_a_model_made_by_hand_is_found_exactly(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "LONGEST", 64)
    found = remember(shift_register(order), echo(order))
    assert found.reach(reach.USED) == found.reach(reach.LEFT) == order
    assert abs(found.excess[order - 1 :]).max() < 1e-5
    assert found.chance == pytest.approx(np.log(KINDS), abs=0.03)
    assert found.gradient_reach == order
    assert found.gradient.argmax() == order - 1
    assert np.delete(found.gradient, order - 1).max() == 0


@pytest.mark.parametrize("apart", [0.05, 0.3, 2])
def test_the_error_is_that_of_means_over_places_that_overlap(apart: float) -> None:
    """Against the spread of the means themselves, over texts of independent costs."""
    longest, places, rng = 64, 40, np.random.default_rng(0)
    k = np.array([1, 8, 64])
    begins = np.linspace(0, apart * places * longest / 8, places).astype(np.int64)
    reads = np.arange(longest + longest // 8)[:, None] + begins
    found = []
    for _ in range(400):
        costs = rng.standard_normal(reads.max() + 1)
        found.append(reach._mean_and_error(costs[reads], int(begins[-1])))
    means, errors = (np.array([each[n] for each in found])[:, k - 1] for n in (0, 1))
    true = means.std(axis=0)
    np.testing.assert_allclose(np.sqrt((errors**2).mean(axis=0)), true, rtol=0.25)


def test_costs_are_those_of_states_that_saw_so_many_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "KEPT", 20 * 2 * 3 * 7)  # read in pieces of 7 characters
    network = build("lstm", (16, 16))
    ids = np.random.default_rng(0).integers(0, 20, 200)
    begins = np.array([40, 77, 111])
    cold, warm = reach._nats(network, ids, begins, 32)
    assert cold.shape == warm.shape == (36, 3)
    for column, begin in enumerate(begins):
        for k in (1, 5, 36):
            for since, costs in ((begin, cold), (begin - 32, warm)):
                read = torch.from_numpy(ids[since : begin + k])[:, None]
                with torch.no_grad():
                    logits, _ = network(read, State.zeros(network.config, 1))
                expected = -logits[-1, 0].log_softmax(-1)[ids[begin + k]]
                assert costs[k - 1, column] == pytest.approx(expected.item(), abs=1e-5)


def test_a_gradient_is_the_norm_by_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("gru", (16,)).double()
    ids = np.random.default_rng(0).integers(0, 20, 80)
    zeros = reach.State.zeros
    monkeypatch.setattr(
        reach.State, "zeros", lambda *of: zeros(*of).map(lambda part: part.double())
    )
    found = reach._gradient(network, ids, np.array([30]), 8, tell=lambda _: None)
    kept = network.embedding.weight.detach().clone()
    assert all(parameter.requires_grad for parameter in network.parameters())

    def cost(back: int, change: torch.Tensor) -> float:
        rows = network.embedding(torch.from_numpy(ids[30:38])).detach()
        rows[8 - back] += change
        network.embedding.weight = torch.nn.Parameter(rows)
        with torch.no_grad():
            logits, _ = network(torch.arange(8)[:, None], zeros(network.config, 1).map(double))
        network.embedding.weight = torch.nn.Parameter(kept)
        return float(-logits[-1, 0].log_softmax(-1)[ids[38]])

    def double(part: torch.Tensor) -> torch.Tensor:
        return part.double()

    def norm(back: int) -> float:
        steps = 1e-5 * torch.eye(10, dtype=torch.float64)
        slopes = [(cost(back, step) - cost(back, -step)) / 2e-5 for step in steps]
        return float(np.linalg.norm(slopes))

    norms = np.array([norm(k) for k in range(1, 9)])
    assert found == pytest.approx(norms / norms.max(), rel=1e-5)


def test_a_short_text_is_measured_less_far_and_one_too_short_is_refused() -> None:
    network = build("rnn", (16,))
    ids = np.random.default_rng(0).integers(0, 20, 100)
    assert remember(network, ids).longest == 32
    assert remember(network, ids[:48]).longest == 16
    with pytest.raises(CorpusError, match="has 47 characters; expected 48 or more"):
        remember(network, ids[:47])


def test_who_waits_is_told_how_much_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SIDE_BY_SIDE", 8)
    told: list[tuple[int, int]] = []
    ids = np.random.default_rng(0).integers(0, 20, 400)
    found = remember(build("rnn", (16,)), ids, 20, lambda *how_many: told.append(how_many))
    assert told == sorted(told)
    assert len(told) > found.places // 8
    assert told[-1][0] == told[-1][1] > found.places


def test_a_model_that_knows_nothing_has_no_reach() -> None:
    found = remember(build("lstm", (16,)), np.random.default_rng(0).integers(0, 20, 400))
    assert found.full > found.chance
    assert found.reach(0.05) is None


def test_the_falling_curve_is_the_nearest_one() -> None:
    assert falling(np.array([3.0, 1.0, 2.0, 2.0, 0.0, 0.5])).tolist() == pytest.approx(
        [3, 5 / 3, 5 / 3, 5 / 3, 0.25, 0.25]
    )
