from __future__ import annotations

import inspect
from typing import Annotated, Any

import pytest
import typer

from textgen.cli.several import chosen, with_settings
from textgen.cli.train import train
from textgen.config import Choices
from textgen.errors import UsageError
from textgen.studies.variants import VARIED


@with_settings(more=Annotated[int | None, typer.Option()])
def command(context: typer.Context, **_: Any) -> None:
    """Do nothing."""


def test_a_command_has_the_flags_of_train_that_make_sense_for_it() -> None:
    flags, of_train = (inspect.signature(f).parameters for f in (command, train))
    assert {*of_train} - {*flags} == {"base", "keep_mixing", "dry_run", "tensorboard"}
    assert {*flags} - {*of_train} == {"more"}
    assert all(flags[name].default is None for name in VARIED)
    same = {*flags} & {*of_train} - {*VARIED}
    assert all(flags[name].default == of_train[name].default for name in same)


def test_one_value_is_that_value_and_several_are_a_list() -> None:
    given = {"cell": "rnn, gru", "layers": "2", "lr": "0.1,2e-3", "hidden": "64,128"}
    given |= {"skip": (False, True, False), "schedule": "linear", "warmup": None, "time": "1m30s"}
    assert chosen(given) == {
        "cell": ["rnn", "gru"],
        "layers": 2,
        "lr": [0.1, 0.002],
        "hidden": [64, 128],
        "skip": [False, True],
        "time": 90.0,
    }


def test_what_was_not_given_is_left_to_the_planner() -> None:
    given = {**vars(Choices()), "save_every": "30s", "skip": ()}
    assert chosen(given | dict.fromkeys({*VARIED} - {"skip"})) == {}


@pytest.mark.parametrize(
    ("name", "text", "kind", "example"),
    [("layers", "1,x", "whole numbers", "2"), ("lr", "0.1,", "numbers", "0.004")],
)
def test_what_is_no_number_is_named(name: str, text: str, kind: str, example: str) -> None:
    message = f"`{name}` is '{text}'; expected {kind} with commas"
    with pytest.raises(UsageError, match=message) as caught:
        chosen({name: text})
    assert caught.value.hint == f"try `{name}={example}`"
