from __future__ import annotations

import random

import numpy as np
import pytest
from networks import model_config

from textgen.architecture import ModelConfig
from textgen.inference.activations import trace
from textgen.inference.folding import fold
from textgen.inference.units import following
from textgen.text.features import features

LETTERS = "abcdefghij \n“”()"
UNITS = 24


def made_text(lines: int, seed: int) -> str:
    """Lines of random letters, with quotations and nested brackets in between."""
    rng = random.Random(seed)

    def letters(most: int) -> str:
        return "".join(rng.choices("abcdefghij  ", k=rng.randint(2, most)))

    parts = []
    for _ in range(lines):
        kind = rng.randrange(4)
        parts.append(letters(40))
        if kind == 0:
            parts.append(f"“{letters(20)}\n{letters(20)}”")
        if kind == 1:
            parts.append(f"({letters(12)}({letters(8)}){letters(6)})")
        parts.append("\n" if rng.random() < 0.8 else "\n\n")
    return "".join(parts)


def planted() -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """An LSTM of random weights, but for three units that are made by hand.

    Unit 5 is set by “ and cleared by ”, unit 9 counts the characters of a line, unit 17 counts
    brackets up and down.
    """
    config = model_config(len(LETTERS), "lstm", (UNITS,), embedding=len(LETTERS))
    rng = np.random.default_rng(1)
    own = {n: rng.normal(0, 0.7, shape).astype(np.float32) for n, shape in config.shapes.items()}
    own["embedding.weight"] = np.eye(len(LETTERS), dtype=np.float32)
    shut, wide, at = -30.0, 30.0, {c: n for n, c in enumerate(LETTERS)}

    def plant(unit: int, **gates: tuple[dict[str, float], float]) -> None:
        """gates: what goes into each at some characters, and at all others."""
        for gate, (some, others) in enumerate(gates[n] for n in ("i", "f", "g", "o")):
            row = gate * UNITS + unit
            for name in ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                own[f"layers.0.{name}"][row] = 0
            into = own["layers.0.weight_ih_l0"][row]
            into[:] = others
            into[[at[c] for c in some]] = [*some.values()]

    marks, pair = {"“": wide, "”": wide}, {"(": wide, ")": wide}
    cleared, always = {"“": shut, "”": shut}, ({}, wide)
    plant(5, i=(marks, shut), f=(cleared, wide), g=({"“": wide}, 0), o=always)
    plant(9, i=({"\n": shut}, wide), f=({"\n": shut}, wide), g=({}, 0.01), o=always)
    plant(17, i=(pair, shut), f=always, g=({"(": 0.3, ")": -0.3}, 0), o=always)
    return config, own


def values_on(text: str) -> np.ndarray:
    config, own = planted()
    ids = np.array([LETTERS.index(c) for c in text])
    return trace(fold(config, own), ids).values(0)


TEXT = made_text(120, seed=0)


def test_the_planted_units_are_found_first() -> None:
    found = following([values_on(TEXT)], features(TEXT))
    best = {each.what: each for each in reversed(found)}
    assert found[0].unit == 5
    assert {each.unit for each in found[:3]} == {5, 9, 17}
    assert (best["inside quotes"].unit, best["place in the line"].unit) == (5, 9)
    assert best["depth of brackets"].unit == 17
    assert best["inside quotes"].correlation == pytest.approx(1, abs=1e-3)
    assert best["inside quotes"].p == pytest.approx(5 / len(TEXT))  # the shift by 0, 5 features
    assert "capitals" not in best  # there is none in the text


def test_units_that_read_another_text_follow_nothing() -> None:
    other = made_text(140, seed=1)[: len(TEXT)]
    assert following([values_on(other)], features(TEXT)) == []


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_units_follow_nothing(seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(values_on(TEXT))
    assert following([shuffled], features(TEXT)) == []


def test_correlations_and_chances_are_those_of_every_shift_by_itself() -> None:
    rng = np.random.default_rng(3)
    layers = [rng.normal(size=(150, 3)), rng.normal(size=(150, 4)).cumsum(axis=0)]
    wanted = {"one": rng.normal(size=150).cumsum(), "two": layers[1][:, 2] + rng.normal(size=150)}
    found = following(layers, {**wanted, "constant": np.ones(150)}, alpha=1)
    units = np.concatenate(layers, axis=1).T
    shifts = {
        what: [[np.corrcoef(np.roll(series, s), u)[0, 1] for u in units] for s in range(150)]
        for what, series in wanted.items()
    }
    assert len(found) == 2 * 7
    for what, layer, unit, correlation, p in found:
        assert correlation == pytest.approx(shifts[what][0][3 * layer + unit], abs=1e-5)
        largest = abs(np.array(shifts[what])).max(axis=1)
        assert p == pytest.approx(min(1, 2 * np.mean(largest >= abs(correlation) - 1e-6)))
    assert sorted(found, key=lambda each: -abs(each.correlation)) == found


def test_what_never_changes_is_followed_by_nobody_and_follows_nothing() -> None:
    series = np.random.default_rng(0).normal(size=2000)
    assert following([np.zeros((2000, 3))], {"this": series}) == []
    assert following([series[:, None]], {"constant": np.full(2000, 0.1)}) == []
    assert following([series[:, None]], {}) == []
