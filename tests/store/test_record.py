from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from networks import model_config, training_config

from textgen.architecture import ModelConfig
from textgen.config import CorpusConfig, TrainingConfig
from textgen.errors import TextgenError
from textgen.events import Evaluated
from textgen.store.record import (
    VERSION,
    Ancestor,
    NewerFormat,
    Record,
    from_json,
    new_identity,
    to_json,
)

EVALUATED = Evaluated(20, 1280, 0.5, 2.5, 2.25, 0.01, 0.7, 1.5, 800.0, True)
RECORD = Record(
    kind="last",
    model=model_config(3, "gru", (8, 4), dropout=0.25),
    training=training_config(100, segment_start=40, segment_progress=0.4, seed=2**63 - 1),
    corpus=CorpusConfig(
        ("Æsop 🦊.txt", "b.txt"), "char", "latin-1", 0.2, None, "lf", "none", 1, None, False, False
    ),
    vocabulary="\nÆ🦊",
    fingerprint="0123abcd",
    train_characters=2560,
    val_characters=640,
    step=60,
    seconds=12.345,
    device="cuda:1",
    threads=3,
    chosen=("lr", "dropout"),
    history=(EVALUATED, replace(EVALUATED, step=40, val_nats=2.0, grad_norm=None)),
    identity="0123456789abcdef" * 2,
    ancestors=(
        Ancestor(
            "plays",
            "ab" * 16,
            7,
            CorpusConfig(("c",), "char", "utf-8", 0.1, None, "lf", "none", 1, None, False, False),
            "9",
        ),
    ),
)
DAMAGE = (KeyError, TypeError, ValueError, TextgenError)


def version_8(text: str) -> str:
    """The record as format 8 had it."""
    record = json.loads(text)
    del record["model"]["grams"]
    return json.dumps({**record, "version": 8})


def version_7(text: str) -> str:
    """The record as format 7 had it."""
    record = json.loads(version_8(text))
    del record["model"]["history"]
    return json.dumps({**record, "version": 7})


def version_6(text: str) -> str:
    """The record as format 6 had it."""
    record = json.loads(version_7(text))
    del record["training"]["late"]
    return json.dumps({**record, "version": 6})


def version_5(text: str) -> str:
    """The record as format 5 had it."""
    record = json.loads(version_6(text))
    del record["training"]["aside"]
    return json.dumps({**record, "version": 5})


def version_4(text: str) -> str:
    """The record as format 4 had it."""
    record = json.loads(version_5(text))
    for name in ("accumulate", "deterministic"):
        del record["training"][name]
    return json.dumps({**record, "version": 4})


def version_3(text: str) -> str:
    """The record as format 3 had it."""
    record = json.loads(version_4(text))
    for name in ("identity", "ancestors"):
        del record[name]
    for name in ("newlines", "normalize", "min_count", "documents", "dedupe", "backward"):
        del record["corpus"][name]
    del record["training"]["keep_mixing"]
    return json.dumps({**record, "version": 3})


def version_2(text: str) -> str:
    """The record as format 2 had it."""
    record = json.loads(version_3(text))
    for name in ("block", "floor", "average"):
        del record["training"][name]
    return json.dumps({**record, "version": 2})


def version_1(text: str) -> str:
    """The record as format 1 had it."""
    record = json.loads(version_2(text))
    del record["model"]["skip"]
    for name in ("start", "progress"):
        record["training"][name] = record["training"].pop(f"segment_{name}")
    return json.dumps({**record, "version": 1})


def places() -> Iterator[tuple[str | int, ...]]:
    """Where in a record each of its fields stands."""
    yield ("version",)
    parts = [((), Record), (("model",), ModelConfig), (("training",), TrainingConfig)]
    for path, part in [*parts, (("corpus",), CorpusConfig), (("history", 1), Evaluated)]:
        yield from ((*path, field.name) for field in fields(part))


def at(record: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        record = record[key]
    return record


def test_a_record_comes_back_as_it_was_written() -> None:
    assert from_json(to_json(RECORD)) == (VERSION, RECORD)
    first = replace(RECORD, kind="best", step=0, chosen=(), history=())
    assert from_json(to_json(first)) == (VERSION, first)


def test_numbers_come_back_to_the_last_bit() -> None:
    exact = replace(RECORD, seconds=0.1 + 0.2, training=replace(RECORD.training, lr=1 / 3))
    assert from_json(to_json(exact))[1] == exact


def test_what_is_written_is_plain_ascii_json_of_this_version() -> None:
    assert to_json(RECORD).isascii()
    assert json.loads(to_json(RECORD))["version"] == VERSION == 9


@pytest.mark.parametrize("path", list(places()), ids=lambda path: ".".join(map(str, path)))
def test_a_record_that_lacks_anything_is_refused(path: tuple[str | int, ...]) -> None:
    record = json.loads(to_json(RECORD))
    del at(record, path[:-1])[path[-1]]
    with pytest.raises(DAMAGE):
        from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "first"),
        (("step",), -1),
        (("step",), 1.5),
        (("threads",), 0),
        (("train_characters",), 0),
        (("chosen",), "lr"),
        (("chosen",), [1]),
        (("history",), {}),
        (("history", 0, "val_nats"), "2"),
        (("history", 0, "best"), 1),
        (("model", "skip"), 1),
        (("model", "hidden"), [8, "4"]),
        (("model", "history"), None),
        (("model", "history"), 3),
        (("training", "segment_progress"), 2),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_kind_is_refused(path: tuple[str | int, ...], value: object) -> None:
    record = json.loads(to_json(RECORD))
    at(record, path[:-1])[path[-1]] = value
    with pytest.raises(DAMAGE):
        from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("version", "older"),
    [
        *enumerate([version_1, version_2, version_3, version_4], 1),
        *enumerate([version_5, version_6, version_7, version_8], 5),
    ],
)
def test_a_record_of_an_older_format_is_brought_up_to_date(
    version: int, older: Callable[[str], str]
) -> None:
    found = from_json(older(to_json(RECORD)))
    as_it_was = {"block": 0, "floor": 0.01, "average": 0.0} if version < 3 else {}
    in_order = replace(RECORD, training=replace(RECORD.training, **as_it_was))
    if version < 4:
        in_order = replace(in_order, identity=found[1].identity, ancestors=())
    assert found == (version, in_order)
    assert from_json(to_json(found[1])) == (VERSION, in_order)


def test_the_files_of_an_older_run_have_the_same_identity() -> None:
    best = replace(RECORD, kind="best", step=40, seconds=9.0, history=(EVALUATED,))
    other = replace(RECORD, fingerprint="cdef")
    found = [from_json(version_3(to_json(record)))[1].identity for record in (RECORD, best, other)]
    assert found[0] == found[1] != found[2]
    assert new_identity() != new_identity()


LARGE = [10**26, 1e999, -1]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("step",), value) for value in LARGE),
        *((("threads",), value) for value in (10**12, 4097)),
        *((("seconds",), value) for value in (1e999, -1.0)),
        *((("training", name), value) for name in ("steps", "warmup") for value in LARGE),
        *((("training", name), 10**9) for name in ("batch_size", "bptt")),
        (("training", "lr"), 1e999),
        (("history", 0, "val_nats"), 1e999),
        (("history", 0, "grad_norm"), 1e999),
        (("history", 0, "seconds"), -1.0),
        (("history", 0, "step"), 40),
        (("corpus", "files"), ["a\0b"]),
        (("corpus", "files"), ["a\nb"]),
        (("corpus", "val_file"), "a\x1b[2Jb"),
        (("device",), "cuda:99999"),
        (("device",), "\n"),
        (("identity",), ""),
        (("identity",), "../x"),
        (("training", "late"), 65),
        (("training", "aside"), 1281),
        (("model", "hidden"), [8] * 65),
        (("model", "vocabulary_size"), 10**9),
        (("model", "vocabulary_size"), 0),
    ],
    ids=str,
)
def test_a_value_that_no_run_has_is_refused(path: tuple[str | int, ...], value: object) -> None:
    record = json.loads(to_json(RECORD))
    at(record, path[:-1])[path[-1]] = value
    with pytest.raises(DAMAGE):
        from_json(json.dumps(record).replace("Infinity", "1e999"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_in_json_is_refused(number: str) -> None:
    with pytest.raises(DAMAGE):
        from_json(to_json(RECORD).replace("12.345", number))


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(DAMAGE):
        from_json(to_json(RECORD)[:-1] + ', "step": 60}')


@pytest.mark.parametrize("path", [("model",), ("training", "start"), ("training", "progress")])
def test_a_record_of_format_1_is_whole_or_refused_too(path: tuple[str, ...]) -> None:
    record = json.loads(version_1(to_json(RECORD)))
    del at(record, path[:-1])[path[-1]]
    with pytest.raises(DAMAGE):
        from_json(json.dumps(record))


def test_a_record_that_only_claims_to_be_of_format_1_is_refused() -> None:
    record = json.loads(to_json(RECORD))
    with pytest.raises(DAMAGE):
        from_json(json.dumps({**record, "version": 1}))


@pytest.mark.parametrize("version", [VERSION + 1, 99, 10**30])
def test_a_newer_format_is_named_whatever_else_the_record_holds(version: int) -> None:
    with pytest.raises(NewerFormat) as caught:
        from_json(json.dumps({"version": version, "unheard-of": []}))
    assert caught.value.args == (version,)


@pytest.mark.parametrize("version", [0, -1, "1", "3", None, True, 1.0, 3.0, [3], {}], ids=repr)
@pytest.mark.parametrize("body", [to_json(RECORD), version_1(to_json(RECORD))], ids=["4", "1"])
def test_a_version_that_never_was_is_refused(body: str, version: object) -> None:
    with pytest.raises(DAMAGE) as caught:
        from_json(json.dumps({**json.loads(body), "version": version}))
    assert not isinstance(caught.value, NewerFormat)


def test_the_best_evaluation_is_the_first_of_the_lowest_loss() -> None:
    losses = (3.0, 1.0, 2.0, 1.0)
    history = tuple(replace(EVALUATED, step=n, val_nats=loss) for n, loss in enumerate(losses))
    assert replace(RECORD, history=history).best == history[1]
    assert replace(RECORD, history=()).best is None
