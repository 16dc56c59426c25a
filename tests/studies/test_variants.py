from __future__ import annotations

from itertools import combinations, product

import pytest

from textgen.architecture import ModelConfig
from textgen.config import CELLS, Choices
from textgen.errors import UsageError
from textgen.studies.variants import VARIED, of_equal_size, variants_of


def test_one_setting_gives_a_variant_for_each_value() -> None:
    found = variants_of({"cell": ["rnn", "gru"], "steps": 5, "lr": [0.1]})
    assert [v.label for v in found] == ["rnn", "gru"]
    assert [v.choices for v in found] == [Choices(cell=c, steps=5, lr=0.1) for c in ("rnn", "gru")]


def test_two_settings_give_a_grid_of_named_variants() -> None:
    found = variants_of({"batch_size": [16, 64], "skip": [True, False]})
    labels = ["batch-size 16, skip", "batch-size 16, no-skip"]
    assert [v.label for v in found][:2] == labels
    assert found[1].suffix == "batch-size-16-no-skip"
    assert [(v.choices.batch_size, v.choices.skip) for v in found] == [
        *product((16, 64), (True, False))
    ]


def test_widths_of_layers_are_one_value() -> None:
    found = variants_of({"hidden": [(12, 8), (10,)]})
    assert [v.label for v in found] == ["hidden 12,8", "hidden 10"]
    assert found[0].suffix == "hidden-12x8"


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"cell": "rnn"}, "none: 0 settings", "`cell=rnn,gru,lstm`"),
        ({"cell": []}, "none: 0 settings", "`cell=rnn,gru,lstm`"),
        (
            {"cell": ["rnn", "gru"], "lr": [1.0, 2.0], "layers": [1, 2]},
            "3 settings have several values; expected one or two",
            "keep `cell` and `lr`",
        ),
        ({"seed": [1, 2]}, "`seed` has 2 values; expected one", "give one value"),
        ({"lr": [0.1, 0.2, 0.1]}, "names 0.1 twice", "leave one out"),
        ({"cell": ["rnn", "tree"]}, "`cell` is 'tree'", "`cell=lstm`"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    settings: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        variants_of(settings)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_what_may_vary_are_settings() -> None:
    assert {*VARIED} <= {*vars(Choices())}


WIDER = {"lstm": 1, "gru": 2, "rnn": 3}


def counted(network: ModelConfig) -> int:
    """Parameters by the cells' equations, another way than the package counts."""
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[network.cell]
    total, below = network.vocabulary_size * network.embedding, network.embedding
    for width in network.hidden:
        total += gates * width * (below + width + 2)
        below = width
    return total + network.vocabulary_size * (below + 1)


@pytest.mark.parametrize(
    ("vocabulary", "width"), [(65, 224), (65, 448), (98, 128), (5965, 160), (256, 96)]
)
def test_networks_agree_in_parameters_within_two_percent(vocabulary: int, width: int) -> None:
    shapes = [*product(CELLS, (1, 2, 3))]
    chosen = [Choices(cell=cell, layers=layers) for cell, layers in shapes]
    planned = [
        ModelConfig(vocabulary, cell, (WIDER[cell] * width,) * layers, 128, True, 0.0, 0.0, 0, 0)
        for cell, layers in shapes
    ]
    found = of_equal_size(planned, chosen)
    for one, other in combinations(found, 2):
        assert abs(counted(one) / counted(other) - 1) <= 0.02
    smallest = min(map(counted, planned))
    assert all(abs(counted(network) / smallest - 1) <= 0.01 for network in found)
    assert [(n.cell, n.layers) for n in found] == shapes


def test_rows_for_matches_and_n_grams_do_not_make_layers_narrow() -> None:
    with_rows = ModelConfig(5965, "lstm", (160, 160), 128, True, 0.0, 0.0, 2048, 16381)
    planned = [with_rows.bare, with_rows]
    assert of_equal_size(planned, [Choices(history=0), Choices()]) == planned


def test_the_depth_is_that_of_the_smallest_where_none_is_chosen() -> None:
    planned = [ModelConfig(50, "rnn", (300,) * 3, 64, True, 0.0, 0.0, 0, 0)]
    planned += [ModelConfig(50, "lstm", (100,) * 2, 64, True, 0.0, 0.0, 0, 0)]
    found = of_equal_size(planned, [Choices(cell="rnn"), Choices(cell="lstm")])
    assert [network.layers for network in found] == [2, 2]
    assert found[1] == planned[1]
