from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import oracle
import pytest
from networks import SHAPES, build, model_config, repeating, weights

from textgen.inference.activations import GATES, KEEPING, completed, first, most, trace
from textgen.inference.folding import fold
from textgen.text.vocabulary import Vocabulary

IDS = repeating(0, 60, 1)[:, 0].astype(np.uint8)


def gates_by_the_equations(cell: str, x, h, w_x, w_h, b_x, b_h) -> dict[str, np.ndarray]:
    """One character: x (I,), h (H,) before it; rows of the matrices in torch's order."""
    y = w_x @ x + b_x + w_h @ h + b_h
    n = len(h)
    order = {"lstm": {"input": 0, "forget": 1, "output": 3}, "gru": {"reset": 0, "update": 1}}
    return {name: oracle.sigmoid(y[k * n : (k + 1) * n]) for name, k in order[cell].items()}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("hidden", SHAPES)
def test_gates_are_those_of_the_equations(cell: str, hidden: tuple[int, ...]) -> None:
    model = build(cell, hidden, history=64, grams=50)
    w = {name: a.astype(np.float64) for name, a in weights(model).items()}
    found = trace(fold(model.config, weights(model)), IDS)
    _, states = oracle.run(model.config, w, IDS[:, None])
    names = [f"{way}_l0" for way in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    x = w["embedding.weight"][IDS]
    for t in range(len(IDS)):
        for k, match in enumerate(oracle.matches(IDS[: t + 1].tolist(), 64)):
            x[t] += 0 if match is None else w[f"matches.{k}.weight"][match]
    for layer in range(model.config.layers):
        after = np.array([row[layer][0] for row in states])  # (n, H)
        before = np.concatenate([np.zeros_like(after[:1]), after[:-1]])
        own = [w[f"layers.{layer}.{name}"] for name in names]
        expected = [
            gates_by_the_equations(cell, *pair, *own) for pair in zip(x, before, strict=True)
        ]
        gates = found.gates(layer)
        assert tuple(gates) == GATES[cell]
        for name, gate in gates.items():
            assert gate == pytest.approx(np.array([e[name] for e in expected]), abs=1e-5)
        kept = found.log_kept(layer)
        assert kept is not None
        assert np.exp(kept) == pytest.approx(gates[KEEPING[cell]], abs=1e-6)
        x = after + x if model.config.skips[layer] else after


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_values_are_the_states_of_the_equations(cell: str) -> None:
    model = build(cell, (16, 16, 16), history=64, grams=50)
    w = {name: a.astype(np.float64) for name, a in weights(model).items()}
    found = trace(fold(model.config, weights(model)), IDS)
    _, states = oracle.run(model.config, w, IDS[:, None])
    for layer in range(3):
        hidden = np.array([row[layer][0] for row in states])
        values = found.values(layer)
        assert abs(values).max() <= 1
        if cell == "lstm":
            assert values * found.gates(layer)["output"] == pytest.approx(hidden, abs=1e-5)
        else:
            assert values == pytest.approx(hidden, abs=1e-5)


def test_an_rnn_has_no_gates() -> None:
    model = build("rnn", (16,))
    found = trace(fold(model.config, weights(model)), IDS)
    assert found.gates(0) == {}
    assert found.log_kept(0) is None


def test_what_is_kept_is_told_apart_from_nothing_where_the_gate_rounds_to_0() -> None:
    model = build("lstm", (16,))
    own = weights(model)
    own["layers.0.bias_ih_l0"][16:32] = -40
    kept = trace(fold(model.config, own), IDS).log_kept(0)
    assert kept is not None
    assert kept == pytest.approx(-40, abs=6)


def test_no_more_of_a_text_is_read_than_is_needed() -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield np.arange(3)
        yield np.arange(3, 9)
        raise AssertionError

    assert first(blocks(), 5).tolist() == [0, 1, 2, 3, 4]
    assert first(iter([np.arange(3)]), 5).tolist() == [0, 1, 2]
    assert first([], 5).tolist() == []


def test_of_wide_models_less_is_read() -> None:
    assert most(model_config(20, "lstm", (224, 224, 224))) == 32768
    assert most(model_config(20, "lstm", (2048, 2048))) == 8192


def test_characters_stand_at_the_id_that_completes_them() -> None:
    letters = Vocabulary("char", "abc")
    assert completed(letters, np.array([2, 0, 1]))[0] == ["c", "a", "b"]
    texts, places = completed(letters, np.array([2, 0, 1]), backward=True)
    assert (texts, places.tolist()) == (["b", "a", "c"], [2, 1, 0])
    ids = np.frombuffer("aé猫".encode()[:-1] + b"z", np.uint8)
    texts, places = completed(Vocabulary("byte"), ids)
    assert "".join(texts) == "aé\udce7\udc8cz"
    assert places.tolist()[:2] == [0, 2]
    assert completed(Vocabulary("byte"), ids[:4])[0] == ["a", "é"]
