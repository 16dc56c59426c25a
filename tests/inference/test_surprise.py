from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from networks import build, model_config

from textgen.inference import evaluation, surprise
from textgen.inference.surprise import Character, characters, judge, lines, predictions
from textgen.model.network import CharModel
from textgen.text.vocabulary import Vocabulary


def constant(shares: list[float]) -> CharModel:
    """A network that always gives these probabilities."""
    network = CharModel(model_config(len(shares), "rnn", (4,), embedding=2))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor(shares).log())
    return network.eval()


def test_the_costs_are_those_of_the_exact_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("lstm", (16, 16))
    ids = np.random.default_rng(0).integers(0, 20, 300)
    expected = np.concatenate([*evaluation.nats(network, [ids])])
    monkeypatch.setattr(surprise, "CHUNK", 70)
    parts = [*predictions(network, [ids[:50], ids[50:]])]
    assert np.concatenate([part.nats for part in parts]) == pytest.approx(expected, abs=1e-5)
    assert [i for part in parts for i in part.ids] == ids[1:].tolist()
    assert all((a.ids[-1], a.likeliest.shape[1]) == (b.before[0], 3) for a, b in pairwise(parts))
    for part in parts:
        assert ((part.rank == 0) == (part.likeliest[:, 0] == part.ids)).all()


def test_accuracy_and_calibration_are_those_of_a_model_made_by_hand() -> None:
    network = constant([0.4, 0.2, 0.1, 0.1, 0.1, 0.06, 0.04])
    ids = np.array([0] + [0] * 5 + [1] * 2 + [5] * 2 + [6])
    found = judge(network, [ids])
    assert found.characters == 10
    assert found.accuracy == 0.5
    assert found.top5_accuracy == 0.7
    assert found.calibration_error == pytest.approx(0.1)
    shares = [0.4] * 5 + [0.2] * 2 + [0.06] * 2 + [0.04]
    assert found.perplexity == pytest.approx(math.prod(shares) ** -0.1)


def test_of_equal_characters_one_alone_is_the_likeliest() -> None:
    found = judge(constant([0.1] * 10), [np.arange(10).repeat(2)])
    assert found.accuracy == pytest.approx(1 / 19)
    assert found.top5_accuracy == pytest.approx(9 / 19)


def test_calibration_is_a_mean_over_bins_of_confidence() -> None:
    network = constant([0.5, 0.5])
    with torch.no_grad():
        network.embedding.weight.copy_(torch.tensor([[0.0, 0.0], [9.0, 9.0]]))
        for weight in network.layers[0].parameters():
            weight.zero_()
        network.layers[0].weight_ih_l0.fill_(1.0)
        network.head.weight[0] = math.log(9) / 4  # after a 1, 0 has 0.9, after a 0 one half
    ids = np.array([1, 0, 1, 1, 0, 0, 0, 0])  # after 1: 0 1 0; after 0: 1 0 0 0
    found = judge(network, [ids])
    assert found.calibration_error == pytest.approx((3 * abs(0.9 - 2 / 3) + 4 * 0.25) / 7, abs=1e-5)


def test_no_characters_have_figures_of_0() -> None:
    assert judge(constant([0.5, 0.5]), [np.array([1])]).accuracy == 0


def test_bytes_cost_what_their_character_costs() -> None:
    network = constant([1 / 256] * 256)
    ids = np.frombuffer("aé\n\xff猫".encode() + b"\xff", np.uint8)
    found = [*characters(Vocabulary("byte"), predictions(network, [ids]))]
    assert "".join(c.text for c in found) == "aé\nÿ猫\udcff"
    assert [round(c.bits) for c in found] == [0, 16, 8, 16, 24, 8]
    backward = predictions(network, [ids[::-1]])
    turned = [*characters(Vocabulary("byte"), backward, backward=True)]
    assert "".join(c.text for c in turned) == "aé\nÿ猫\udcff"
    assert [round(c.bits) for c in turned] == [8, 16, 8, 16, 24, 0]


def test_lines_have_their_bits_per_character() -> None:
    found = [*lines([Character(c, b, ()) for c, b in zip("ab\n\nc", (3, 2, 1, 7, 5), strict=True)])]
    assert [tuple(line) for line in found] == [(1, 2.0, 3, "ab"), (2, 7.0, 1, ""), (3, 5.0, 1, "c")]
