from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from networks import build, model_config

from textgen.cli.shading import in_rows
from textgen.inference.evaluation import evaluate
from textgen.inference.surprise import Character, characters, judge, lines, predicted
from textgen.model.network import CharModel
from textgen.text.vocabulary import Vocabulary


def constant(shares: list[float]) -> CharModel:
    """A network that always gives these probabilities."""
    network = CharModel(model_config(len(shares), "rnn", (4,), embedding=2))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor(shares).log())
    return network.eval()


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
    found = [*characters(Vocabulary("byte"), predicted(network, [ids]))]
    assert "".join(c.text for c in found) == "aé\nÿ猫\udcff"
    assert [round(c.bits) for c in found] == [0, 16, 8, 16, 24, 8]
    backward = predicted(network, [ids[::-1]])
    turned = [*characters(Vocabulary("byte"), backward, backward=True)]
    assert "".join(c.text for c in turned) == "aé\nÿ猫\udcff"
    assert [round(c.bits) for c in turned] == [8, 16, 8, 16, 24, 0]


@pytest.mark.parametrize("backward", [False, True])
def test_a_document_ends_with_a_line_end_that_costs_what_its_end_costs(backward: bool) -> None:
    vocabulary = Vocabulary("char", "\nab", has_end=True)
    network = constant([0.25, 0.125, 0.125, 0.5])
    ids = np.array([3, 1, 2, 3, 2, 0, 1, 3])[:: -1 if backward else 1]
    found = [*characters(vocabulary, predicted(network, [ids], end=3), backward)]
    assert "".join(c.text for c in found) == "ab\nb\na\n"
    assert [c.bits for c in found] == pytest.approx([3, 3, 1, 3, 2, 3, 1])
    assert all(c.expected[:2] == ("\n", "\n") for c in found)
    assert [line.text for line in lines(found)] == ["ab", "b", "a"]


def test_the_end_of_a_document_after_a_line_end_is_no_line() -> None:
    a, line_end = Character("a", 3, ("x",)), Character("\n", 1, ("x",))
    ends = Character("\n", 5, ("x",), ends=True)
    found = [*lines([a, line_end, ends, line_end, ends, a, a, ends, line_end, a])]
    told = [(line.number, line.text, line.characters, line.bits_per_char) for line in found]
    assert told == [
        (1, "a", 3, 3),
        (2, "", 2, 3),
        (3, "aa", 3, 11 / 3),
        (4, "", 1, 1),
        (5, "a", 1, 3),
    ]


@pytest.mark.parametrize(
    ("text", "expected", "likelier"),
    [
        *(("a", "ebc", "ebc"), ("a", "eab", "e"), ("a", "aeb", ""), ("\n", "e\nb", "e")),
        ("é", "e\udcc3b", "e"),  # of bytes: its own first one
    ],
)
def test_what_was_likelier_stands_before_the_character_itself(
    text: str, expected: str, likelier: str
) -> None:
    assert Character(text, 9.0, (*expected,)).likelier == (*likelier,)


def test_bytes_of_no_character_end_with_their_document() -> None:
    network = constant([1 / 257] * 257)
    ids = np.array([256, 97, 0xC3, 256, 97, 256])
    found = [*characters(Vocabulary("byte", has_end=True), predicted(network, [ids], end=256))]
    assert "".join(c.text for c in found) == "a\udcc3\na\n"
    assert [round(c.bits) for c in found] == [8] * 5


def test_documents_have_the_figures_of_each_alone() -> None:
    network = build("gru", (16, 16))
    rng = np.random.default_rng(1)
    texts = [rng.integers(19, size=size) for size in rng.integers(1, 40, size=30)]
    alone = [judge(network, [np.array([19, *text, 19])]) for text in texts]
    shares = [one.characters / sum(one.characters for one in alone) for one in alone]
    ids, told = np.concatenate([[19], *(np.append(text, 19) for text in texts)]), []
    found = judge(network, np.array_split(ids, 3), told.append, end=19)
    assert found.characters == sum(told) == len(ids) - 1
    for figure in ("nats_per_char", "accuracy", "top5_accuracy"):
        mean = sum(getattr(one, figure) * n for one, n in zip(alone, shares, strict=True))
        assert getattr(found, figure) == pytest.approx(mean, abs=1e-6)
    assert found.nats_per_char == pytest.approx(evaluate(network, [ids], end=19).nats_per_char)


def test_lines_have_their_bits_per_character() -> None:
    found = [*lines([Character(c, b, ()) for c, b in zip("ab\n\nc", (3, 2, 1, 7, 5), strict=True)])]
    assert [tuple(line) for line in found] == [(1, 2.0, 3, "ab"), (2, 7.0, 1, ""), (3, 5.0, 1, "c")]


def test_a_line_ends_after_a_byte_that_is_no_utf8() -> None:
    characters = [Character(c, 2.0, ()) for c in ("a", "\udce9\n", "b")]
    assert [line.text for line in lines(characters)] == ["a\udce9", "b"]
    assert [len(row) for row in in_rows((c.text, None) for c in characters)] == [2, 1]


def test_a_document_that_is_cut_has_its_own_characters_alone() -> None:
    vocabulary = Vocabulary("char", "\nab", has_end=True)
    network = constant([0.25, 0.125, 0.125, 0.5])
    cut = np.array([1, 2, 0, 3])[::-1]  # read backward, from its end; its beginning is missing
    found = [*characters(vocabulary, predicted(network, [cut]), True)]
    assert "".join(c.text for c in found) == "ab\n"
    assert [c.bits for c in found] == pytest.approx([3, 3, 2])


def test_what_was_not_predicted_is_not_in_a_mean() -> None:
    network = constant([0.25, 0.25, 0.5])
    found = [*characters(Vocabulary("char", "\nab"), predicted(network, [np.array([1, 2, 0, 1])]))]
    told = [(number, round(bits, 6), *rest) for number, bits, *rest in lines(found)]
    assert told == [(1, 1.5, 2, "ab"), (2, 2.0, 1, "a")]
    one = [*characters(Vocabulary("char", "\nab"), predicted(network, [np.array([1, 2])]))]
    assert [(line.characters, round(line.bits_per_char, 6)) for line in lines(one)] == [(1, 1.0)]
