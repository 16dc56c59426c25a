from __future__ import annotations

import pytest
from networks import SHAPES, build, model_config

from textgen.architecture import ModelConfig
from textgen.config import CELLS

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_names_shapes_and_their_order_are_those_of_torch(
    cell: str, hidden: tuple[int, ...]
) -> None:
    network = build(cell, hidden, history=64, grams=50)
    found = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
    assert list(network.config.shapes.items()) == found


@pytest.mark.parametrize("cell", CELLS)
def test_an_axis_has_one_size_wherever_it_occurs(cell: str) -> None:
    config = model_config(20, cell, (16, 8), embedding=10, history=64, grams=50)
    axes = {axis for named in config.weights.values() for axis in named}
    assert axes | {*config.recurrent.values()} == axes
    assert {*config.state.values()} - axes == {("history", 64)}
    gates = GATES[cell]
    assert {axis.name: axis.size for axis in axes} == {
        "vocabulary": 20,
        "embedding": 10,
        "hidden.0": 16,
        "hidden.1": 8,
        "gates.0": gates * 16,
        "gates.1": gates * 8,
        "grams": 50,
    }
    assert len(axes) == 7


def test_a_layer_reads_what_the_one_below_gives() -> None:
    weights = model_config(20, "gru", (16, 8), embedding=10, history=64, grams=50).weights
    below = {name: weights[name][1].name for name in weights if len(weights[name]) == 2}
    assert below == {
        "embedding.weight": "embedding",
        "matches.0.weight": "embedding",
        "matches.1.weight": "embedding",
        "grams.weight": "embedding",
        "layers.0.weight_ih_l0": "embedding",
        "layers.0.weight_hh_l0": "hidden.0",
        "layers.1.weight_ih_l0": "hidden.0",
        "layers.1.weight_hh_l0": "hidden.1",
        "head.weight": "hidden.1",
    }


def test_parameters_of_a_small_network_counted_by_hand() -> None:
    first, second = 4 * 3 * (4 + 3 + 2), 4 * 2 * (3 + 2 + 2)
    for history, grams, rows in ((0, 0, 5), (64, 0, 5 * 3), (64, 9, 5 * 3 + 9)):
        config = model_config(5, "lstm", (3, 2), embedding=4, history=history, grams=grams)
        assert config.parameters == 4 * rows + first + second + 5 * (2 + 1)


def test_a_character_costs_its_rows_and_no_more() -> None:
    def parameters(vocabulary_size: int) -> int:
        return model_config(vocabulary_size, "gru", (16, 8), embedding=10).parameters

    assert [parameters(n) - parameters(0) for n in (1, 7)] == [19, 7 * 19]


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("lstm", {"0.hidden": 16, "0.cell": 16, "1.hidden": 8, "1.cell": 8}),
        ("gru", {"0.hidden": 16, "1.hidden": 8}),
        ("rnn", {"0.hidden": 16, "1.hidden": 8}),
    ],
)
def test_a_stream_carries_these_parts_along(cell: str, parts: dict[str, int]) -> None:
    state = model_config(20, cell, (16, 8)).state
    assert [(name, axis.size) for name, axis in state.items()] == list(parts.items())


def test_skips_join_layers_of_equal_width_but_not_the_first() -> None:
    def skips(hidden: tuple[int, ...], skip: bool = True) -> tuple[bool, ...]:
        # an embedding as wide as the first layer makes no difference
        return model_config(20, "lstm", hidden, embedding=16, skip=skip).skips

    assert skips((16,)) == (False,)
    assert skips((16, 16, 8, 8, 16)) == (False, True, False, True, False)
    assert skips((16, 16, 16), skip=False) == (False, False, False)


def test_a_network_is_rebuilt_from_its_description_alone() -> None:
    config = model_config(20, "gru", (16, 8), embedding=10)
    assert ModelConfig(**vars(config)) == config
    assert config.layers == 2
