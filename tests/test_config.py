from __future__ import annotations

from dataclasses import MISSING, Field, fields, replace
from typing import Any, get_type_hints

import numpy as np
import pytest
from networks import model_config, training_config

from textgen.architecture import ModelConfig
from textgen.bounds import Number, OneOf
from textgen.config import Choices, CorpusConfig, SamplingOptions, TrainingConfig
from textgen.errors import UsageError

INF, NAN = float("inf"), float("nan")
SETTINGS = [
    (owner, f, str(get_type_hints(owner)[f.name]))
    for owner in (Choices, SamplingOptions)
    for f in fields(owner)
]
NUMBERS = [row for row in SETTINGS if "int" in row[2] or "float" in row[2]]
FILES = CorpusConfig(
    ("a.txt",), "char", "utf-8", 0.1, None, "lf", "none", 1, None, dedupe=False, backward=False
)


def refused(owner: Any, name: str, value: object) -> UsageError:
    """What is said against one value; it names the setting, and what to type instead."""
    with pytest.raises(UsageError) as caught:
        owner(**{name: value})
    assert f"`{name}`" in caught.value.message
    assert f"`{name}" in caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("owner", "name", "good", "bad"),
    [
        (Choices, "time", [1e-3, 1, 9e8], [0, -1, 1e9]),
        (Choices, "epochs", [0.1, 1], [0, -1, 1e9]),
        (Choices, "steps", [1, 10**12], [0, -1, 2.0, 10**25]),
        (Choices, "layers", [1, 64], [0, 65, 1.0]),
        (Choices, "embedding", [1, 65536], [0, 65537, 8.5]),
        (Choices, "dropout", [0, 0.0, 0.95], [-0.01, 0.96, 1]),
        (Choices, "weight_drop", [0, 0.95], [-0.01, 0.96]),
        (Choices, "batch_size", [1, 10**6], [0, 1.5, 10**25]),
        (Choices, "bptt", [1, 10**6], [0, 1.5, 10**25]),
        (Choices, "lr", [1e-9, 1, 50.0], [0, -0.1]),
        (Choices, "warmup", [0, 5], [-1, 0.5, 10**25]),
        (Choices, "clip", [1e-9, 1], [0, -1]),
        (Choices, "weight_decay", [0, 0.5], [-0.1]),
        (Choices, "val_fraction", [0.001, 0.999], [0, 1, -0.1]),
        (Choices, "eval_every", [1], [0, 1.5, 10**25]),
        (Choices, "save_every", [0.1, 30], [0, -1, 1e25]),
        (Choices, "sample_every", [0, 1], [-1, 0.5, 10**25]),
        (Choices, "seed", [0, 2**63 - 1], [-1, 2**63, 0.5]),
        (SamplingOptions, "temperature", [0, 0.8, 1e30], [-0.1]),
        (SamplingOptions, "top_k", [0, 1], [-1, 1.5, 10**25]),
        (Choices, "history", [0, 7, 65536], [-1, 1, 6, 65537, 8.5]),
        (SamplingOptions, "top_p", [0, 1], [-0.1, 1.1]),
        (SamplingOptions, "min_p", [0, 1], [-0.1, 1.1]),
        (SamplingOptions, "length", [0, 500], [-1, 1.5, 10**25]),
        (SamplingOptions, "seed", [0, 2**63 - 1], [-1, 2**63]),
    ],
)
def test_a_number_is_taken_within_its_bounds_and_refused_outside(
    owner: Any, name: str, good: list[float], bad: list[object]
) -> None:
    for value in good:
        assert getattr(owner(**{name: value}), name) == value
    for value in [*bad, NAN, INF, -INF, True, "1", [1]]:
        refused(owner, name, value)


@pytest.mark.parametrize("name", ["layers", "embedding", "seed"])
def test_a_number_too_long_for_the_processor_is_refused_like_any_other(name: str) -> None:
    refused(Choices, name, 10**400)


@pytest.mark.parametrize(
    ("owner", "name", "words"),
    [
        (Choices, "cell", "lstm gru rnn"),
        (Choices, "optimizer", "soap adamw adam rmsprop sgd"),
        (Choices, "schedule", "linear cosine constant"),
        (Choices, "level", "char byte"),
        (Choices, "precision", "auto fp32 bf16 fp16"),
        (SamplingOptions, "unknown", "error skip replace"),
    ],
)
def test_a_word_is_one_of_those_offered(owner: Any, name: str, words: str) -> None:
    for word in words.split():
        assert getattr(owner(**{name: word}), name) == word
    for other in ("", words.split()[0].upper(), 1, ["lstm"]):
        assert all(word in refused(owner, name, other).message for word in words.split())


@pytest.mark.parametrize(("owner", "field", "kind"), NUMBERS, ids=lambda x: getattr(x, "name", ""))
def test_every_number_has_help_bounds_and_an_example_within_them(
    owner: Any, field: Field, kind: str
) -> None:
    bounds, text = field.metadata["bounds"], field.metadata["help"]
    assert isinstance(bounds, Number)
    assert text.endswith(".")
    assert bounds.whole == ("int" in kind)
    if bounds.example:
        example = (int if bounds.whole else float)(bounds.example)
        owner(**{field.name: (example,) if "tuple" in kind else example})


def test_one_width_may_be_typed_as_the_hint_says() -> None:
    assert refused(Choices, "hidden", (0,)).hint == "try `hidden=256`"
    assert Choices(hidden=256).hidden == (256,)


def test_every_setting_has_help_and_a_default_that_is_among_its_words() -> None:
    for _, field, kind in SETTINGS:
        assert field.metadata["help"]
        assert field.default is not MISSING
        if isinstance(field.metadata["bounds"], OneOf):
            planned = (None,) if "None" in kind else ()
            assert field.default in (*field.metadata["bounds"].words, *planned)


@pytest.mark.parametrize("config", [ModelConfig, TrainingConfig, CorpusConfig])
def test_what_was_decided_for_a_run_has_no_default(config: Any) -> None:
    for field in fields(config):
        assert (field.default, field.default_factory) == (MISSING, MISSING), field.name


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (training_config, "lr", 0),
        (training_config, "batch_size", 0),
        (training_config, "optimizer", "lion"),
        (training_config, "precision", "auto"),  # to be decided on before
        (training_config, "segment_start", -1),
        (training_config, "segment_start", 0.5),
        (training_config, "segment_progress", 1.01),
        (model_config, "cell", "transformer"),
        (model_config, "hidden", ()),
        (model_config, "hidden", (8, 0)),  # each of several is checked
        (model_config, "dropout", 1),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "level", "word"),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "val_fraction", 1),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "encoding", "base64"),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "encoding", "undefined"),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "encoding", "idna"),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "encoding", "punycode"),
        (lambda _, **changes: CorpusConfig(**vars(FILES) | changes), "encoding", "utf\0"),
    ],
)
def test_what_was_decided_is_checked_against_the_same_bounds(
    make: Any, name: str, value: object
) -> None:
    with pytest.raises(UsageError, match=f"^`{name}`"):
        make(9, **{name: value})


@pytest.mark.parametrize("name", "utf-8 utf-8-sig utf-16 utf-32-be utf-7 cp500 gb18030".split())
def test_an_encoding_of_texts_is_taken(name: str) -> None:
    assert replace(FILES, encoding=name).encoding == name


@pytest.mark.parametrize("stop", ["end", [""], ("a", "")])
def test_stop_texts_are_several_and_not_empty(stop: Any) -> None:
    assert "expected texts to end before" in refused(SamplingOptions, "stop", stop).message


def test_one_budget_is_enough() -> None:
    for given in ({"time": 5.0, "epochs": 2.0}, {"epochs": 2.0, "steps": 3}):
        with pytest.raises(UsageError) as caught:
            Choices(**given)
        assert all(f"`{name}`" in caught.value.message for name in given)
        assert caught.value.hint == f"keep `{next(iter(given))}`"
    assert [Choices(time=5.0).budget, Choices(steps=3).budget, Choices().budget] == [
        "time",
        "steps",
        None,
    ]


def test_layers_and_widths_agree_or_are_refused() -> None:
    for hidden in ((8, 8), (8, 8, 8, 8)):
        with pytest.raises(UsageError, match=f"`layers` is 3, `hidden` names {len(hidden)}"):
            Choices(layers=3, hidden=hidden)
    assert Choices(layers=3, hidden=(8,)).layers == Choices(layers=3, hidden=(8, 9, 8)).layers


def test_adam_has_no_decay() -> None:
    with pytest.raises(UsageError, match=r"`optimizer` is adam, `weight_decay` is 0\.1") as caught:
        Choices(optimizer="adam", weight_decay=0.1)
    assert "`optimizer=adamw`" in caught.value.hint
    assert Choices(optimizer="adam", weight_decay=0.0).weight_decay == 0
    assert Choices(optimizer="adamw", weight_decay=0.1).weight_decay == 0.1


def test_chosen_are_those_given_of_what_the_planner_decides_on() -> None:
    given = Choices(lr=0.1, dropout=0.0, cell="gru", clip=2.0, val_file="x", seed=3)
    assert given.chosen == ("dropout", "lr", "clip")
    assert Choices().chosen == ()


def test_a_step_reads_a_chunk_of_every_stream() -> None:
    assert training_config(1, batch_size=3, bptt=7).chars_per_step == 21


def test_a_validation_file_leaves_no_share_to_choose() -> None:
    with pytest.raises(UsageError, match="`val_file` and `val_fraction` are both given"):
        Choices(val_file="held.txt", val_fraction=0.3)
    assert Choices(val_file="held.txt").val_file == "held.txt"


def test_a_number_that_is_a_text_is_shown_as_one() -> None:
    with pytest.raises(UsageError, match="`steps` is '3'; expected a whole number"):
        Choices(steps="3")


def test_a_message_repeats_no_more_than_the_beginning_of_a_long_word() -> None:
    with pytest.raises(UsageError) as caught:
        SamplingOptions(unknown="x" * 10_000)
    assert len(caught.value.message) < 120


def test_stops_that_are_one_text_are_refused_with_what_to_write() -> None:
    with pytest.raises(UsageError, match="`stop` is 'end'; expected texts") as caught:
        SamplingOptions(stop="end")  # type: ignore[arg-type]
    assert caught.value.hint == "give several: `stop=['end']`"


@pytest.mark.parametrize(
    "name", ["seed", "cell", "device", "save_every", "val_fraction", "schedule", "cache"]
)
def test_none_is_no_value_of_what_has_a_default(name: str) -> None:
    with pytest.raises(UsageError, match=f"`{name}` is None; expected"):
        Choices(**{name: None})


@pytest.mark.parametrize("hidden", [(), (None,), (64, None)])
def test_a_network_has_a_layer_and_each_has_a_width(hidden: Any) -> None:
    with pytest.raises(UsageError, match=r"`hidden` is (\(\)|None); expected"):
        Choices(hidden=hidden)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (np.int64(64), (64,)),
        ([64, np.int64(32)], (64, 32)),
        ((np.int32(64), 32), (64, 32)),
    ],
)
def test_widths_are_numbers_of_numpy_or_a_list_too(given: Any, meant: tuple[int, ...]) -> None:
    hidden = Choices(hidden=given).hidden
    assert hidden == meant
    assert all(type(width) is int for width in hidden or ())


@pytest.mark.parametrize("name", ["hidden", "lr", "cell", "level", "seed", "steps"])
def test_an_array_is_no_setting(name: str) -> None:
    refused(Choices, name, np.array([128, 64]))


def test_a_value_that_is_too_deep_to_be_shown_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    error = refused(SamplingOptions, "temperature", value)
    assert error.message.startswith("`temperature` is nested too deeply; expected a finite number")
