from __future__ import annotations

import json
import math

import pytest
from networks import model_config, training_config

from textgen.architecture import ModelConfig
from textgen.config import TrainingConfig
from textgen.events import (
    Evaluated,
    Event,
    Finished,
    Noticed,
    Planned,
    Reading,
    Sampled,
    Saved,
    Stepped,
)

PLANNED = Planned(
    run="tales",
    folder="runs/tales",
    model=model_config(20, "gru", (16, 8)),
    training=training_config(500, batch_size=4, bptt=16),
    device="cpu",
    parameters=1234,
    train_characters=8000,
    val_characters=800,
    step=0,
    notices=("a note",),
    chars_per_second=None,
)
EVALUATED = Evaluated(
    step=10,
    characters=640,
    passes=0.08,
    train_nats=1.5,
    val_nats=3 * math.log(2),
    lr=0.01,
    grad_norm=None,
    seconds=1.5,
    chars_per_second=426.7,
    best=True,
)
FINISHED = Finished(500, 10, 2 * math.log(2), "runs/tales", 60.0)
EVENTS = [
    Reading(10, 500),
    PLANNED,
    Stepped(3, 500, None, 0.01),
    EVALUATED,
    Sampled(10, "Æsop 🦊\n\x1b\udc80"),
    Saved(10, "runs/tales", 0.1),
    Noticed("mind the gap"),
    FINISHED,
]


def written(event: Event) -> dict[str, object]:
    """An event after it was written as JSON, in the strict sense, and read again."""
    line = json.dumps(event.to_json(), allow_nan=False)
    assert "\n" not in line
    assert line.isascii()
    return json.loads(line)


def test_no_kind_of_event_is_left_out_here() -> None:
    assert {type(event) for event in EVENTS} == {*Event.__subclasses__()}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_one_json_object_with_its_name_and_all_it_says(event: Event) -> None:
    fields = written(event)
    assert fields["event"] == type(event).__name__.lower()
    for name, value in vars(event).items():
        if not isinstance(value, ModelConfig | TrainingConfig):
            assert fields[name] == (list(value) if isinstance(value, tuple) else value)


def test_settings_can_be_read_back_from_the_plan() -> None:
    fields = written(PLANNED)
    model = {**fields["model"], "hidden": tuple(fields["model"]["hidden"])}
    assert ModelConfig(**model) == PLANNED.model
    assert TrainingConfig(**fields["training"]) == PLANNED.training


def test_bits_are_nats_in_another_unit() -> None:
    assert EVALUATED.val_bits == written(EVALUATED)["val_bits"] == pytest.approx(3)
    assert FINISHED.best_val_bits == written(FINISHED)["best_val_bits"] == pytest.approx(2)
