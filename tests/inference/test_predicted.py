from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from networks import build, model_config

from textgen.inference import evaluation, predicted
from textgen.inference.predicted import Predicted, many_streams, of_documents, one_stream
from textgen.model.network import CharModel


def joined(parts: list[Predicted], field: str) -> np.ndarray:
    return np.concatenate([getattr(part, field) for part in parts])


def assert_same(found: list[Predicted], expected: list[Predicted], tolerance: float) -> None:
    for field in ("before", "ids", "rank"):
        assert (joined(found, field) == joined(expected, field)).mean() > 1 - tolerance
    for field in ("nats", "confidence"):
        one, other = joined(found, field), joined(expected, field)
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_the_costs_are_those_of_the_exact_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("lstm", (16, 16))
    ids = np.random.default_rng(0).integers(0, 20, 300)
    expected = np.concatenate([*evaluation.nats(network, [ids])])
    monkeypatch.setattr(predicted, "CHUNK", 70)
    parts = [*one_stream(network, [ids[:50], ids[50:]], 3)]
    assert joined(parts, "nats") == pytest.approx(expected, abs=1e-5)
    assert joined(parts, "ids").tolist() == ids[1:].tolist()
    assert all((a.ids[-1], a.likeliest.shape[1]) == (b.before[0], 3) for a, b in pairwise(parts))
    for part in parts:
        assert ((part.rank == 0) == (part.likeliest[:, 0] == part.ids)).all()


@pytest.mark.parametrize("side_by_side", [3, 256])
def test_documents_are_predicted_as_alone_and_come_in_order(
    side_by_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "GROUP", 100)
    monkeypatch.setattr(predicted, "SIDE_BY_SIDE", side_by_side)
    network, end = build("lstm", (16, 16)), 19
    rng = np.random.default_rng(1)
    texts = [rng.integers(end, size=size) for size in rng.integers(0, 40, size=30)]
    alone = [one_stream(network, [np.array([end, *text, end])], 3) for text in texts if len(text)]
    ids = np.concatenate([[end], *(np.append(text, end) for text in texts)])
    found = [*of_documents(network, np.array_split(ids, 7), end, 3)]
    assert len(found) > 3
    assert_same(found, [part for parts in alone for part in parts], 1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("size", [2, 150, 1999, 2000, 4321])
def test_many_streams_find_what_one_finds(
    cell: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted, "GROUP", 2000)
    monkeypatch.setattr(predicted, "SHORTEST", 150)
    network = build(cell, (16, 16))
    ids = np.random.default_rng(2).integers(0, 20, size)
    found = [*many_streams(network, np.array_split(ids, 3), 3)]
    assert_same(found, [*one_stream(network, [ids], 3)], 2e-3)
    assert {part.streams for part in found if len(part.ids) == 2000} == (
        {13} if size > 2000 else set()
    )
    assert all((part.warm_up > 0) == (part.streams > 1) for part in found)


def latch() -> CharModel:
    """A network that for ever expects the last of 1 and 2 that it read, and takes 0 as it comes."""
    network = CharModel(model_config(3, "rnn", (1,), embedding=1))
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        network.embedding.weight.copy_(torch.tensor([[0.0], [9.0], [-9.0]]))
        network.layers[0].weight_ih_l0.fill_(1.0)
        network.layers[0].weight_hh_l0.fill_(3.0)
        network.head.weight.copy_(torch.tensor([[0.0], [3.0], [-3.0]]))
    return network.eval()


@pytest.mark.parametrize("turned_at", [[5], [5, 1000, 1990]])
def test_what_is_never_forgotten_costs_what_it_costs_in_one_pass(
    turned_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted, "GROUP", 1500)
    monkeypatch.setattr(predicted, "SHORTEST", 150)
    ids = np.zeros(2500, np.int64)
    ids[turned_at] = np.arange(len(turned_at)) % 2 + 1
    found = [*many_streams(latch(), [ids], 3)]
    assert_same(found, [*one_stream(latch(), [ids], 3)], 1e-5)
    assert found[0].warm_up == 150  # the whole of a part, and that of the next, and so on


@pytest.mark.parametrize("first", [True, False])
def test_what_no_end_symbol_bounds_is_no_document(first: bool) -> None:
    network, end = build("lstm", (16, 16)), 19
    ids = np.random.default_rng(1).integers(end, size=30)
    whole = np.concatenate([[end], ids[:12], [end], ids[12:]])
    whole = whole if first else whole[1:]
    found = [*of_documents(network, [whole], end, 3)]
    alone = [*one_stream(network, [np.array([end, *ids[:12], end])], 3)] if first else []
    assert [part.ids.tolist() for part in found] == [part.ids.tolist() for part in alone]
    if first:
        assert_same(found, alone, 1e-5)
