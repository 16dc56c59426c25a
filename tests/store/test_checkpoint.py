from __future__ import annotations

import ast
import errno
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save, save_file

import textgen
from textgen.errors import CheckpointError
from textgen.store.checkpoint import read_arrays, read_header, write_checkpoint
from textgen.store.record import VERSION

KEY = "textgen"
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run's best weights, to do harm to."""
    path = tmp_path / "best.safetensors"
    path.write_bytes((trained / "best.safetensors").read_bytes())
    return path


def header_length(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def with_header(data: bytes, header: bytes) -> bytes:
    """The same arrays below another header."""
    return len(header).to_bytes(8, "little") + header + data[8 + header_length(data) :]


def sealed(header: dict[str, Any]) -> bytes:
    """The header as JSON, with a digest that fits."""
    header["__metadata__"]["digest"] = "0" * 64
    text = json.dumps(header).encode()
    return text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1)


def edit_record(path: Path, edit: Edit) -> None:
    """Change the record inside a checkpoint, and nothing else."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + header_length(data)])
    record = json.loads(header["__metadata__"][KEY])
    edit(record)
    header["__metadata__"][KEY] = json.dumps(record)
    path.write_bytes(with_header(data, sealed(header)))


def refusal(path: Path) -> CheckpointError:
    """What both ways to open the file say against it."""
    with pytest.raises(CheckpointError) as caught:
        textgen.load(path)
    with pytest.raises(CheckpointError):
        read_header(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def use(path: Path) -> None:
    """Open a checkpoint and write with it."""
    list(textgen.load(path).generate(length=3, seed=0))


# Reading back what was written


def test_arrays_and_record_come_back_as_they_were_written(trained: Path, tmp_path: Path) -> None:
    record = replace(read_header(trained / "last.safetensors").record, fingerprint="Æsop 🦊 \n")
    matrix = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    groups = {
        "model": {"a.weight": matrix, "transposed": matrix.T, "half": matrix.astype(np.float16)},
        "state": {"step": np.array(7), "none": np.zeros((0, 4)), "flags": np.array([True, False])},
    }
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, record, groups)
    header = read_header(path)
    assert header.record == record
    assert header.bytes == path.stat().st_size
    assert header.arrays["model/transposed"][1] == (5, 3)
    arrays = read_arrays(header, "model", "state")
    for group, named in groups.items():
        assert arrays[group].keys() == named.keys()
        for name, array in named.items():
            assert arrays[group][name].dtype == array.dtype
            assert np.array_equal(arrays[group][name], array)


def test_only_the_groups_asked_for_are_read(trained: Path) -> None:
    header = read_header(trained / "last.safetensors")
    assert any(name.startswith("optimizer/") for name in header.arrays)
    assert read_arrays(header, "state").keys() == {"state"}


def test_the_settings_come_back_as_they_were_trained_with(trained: Path) -> None:
    header = read_header(trained / "last.safetensors")
    assert header.record.model.hidden == (12, 12)
    assert header.record.training.steps == header.record.step == 60
    assert Path(header.record.corpus.files[0]).name == "tales.txt"


def test_a_header_is_read_without_numpy_or_torch(trained: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from textgen.store.checkpoint import read_header;"
        "read_header(Path(sys.argv[1])); print({'numpy', 'torch', 'safetensors'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program, str(trained / "last.safetensors")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_arrays_are_no_part_of_the_header(checkpoint: Path) -> None:
    before = read_header(checkpoint)
    data = checkpoint.read_bytes()
    end = 8 + header_length(data)
    checkpoint.write_bytes(data[:end] + bytes(len(data) - end))
    assert read_header(checkpoint) == before


# Damage


@pytest.mark.parametrize(
    ("length", "why"),
    [
        (lambda data: 0, "is empty"),
        (lambda data: 1, "not a safetensors file"),
        (lambda data: 7, "not a safetensors file"),
        (lambda data: 8, "is truncated"),
        (lambda data: 9, "is truncated"),
        (lambda data: header_length(data) // 2, "is truncated"),
        (lambda data: 8 + header_length(data) - 1, "is truncated"),
        (lambda data: 8 + header_length(data), "is damaged"),
        (lambda data: 8 + header_length(data) + 1, "is damaged"),
        (lambda data: (len(data) + header_length(data)) // 2, "is damaged"),
        (lambda data: len(data) - 1, "is damaged"),
    ],
)
def test_a_checkpoint_cut_short_is_refused(
    checkpoint: Path, length: Callable[[bytes], int], why: str
) -> None:
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: length(data)])
    assert why in refusal(checkpoint).message


def test_a_checkpoint_cut_short_anywhere_is_refused(checkpoint: Path) -> None:
    data = checkpoint.read_bytes()
    rng = random.Random(0)
    for length in sorted((rng.randrange(len(data)) for _ in range(200)), reverse=True):
        os.truncate(checkpoint, length)
        refusal(checkpoint)


def test_a_checkpoint_with_bytes_after_its_end_is_refused(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    assert "is damaged" in refusal(checkpoint).message


@pytest.mark.parametrize(
    "data",
    [
        b"Once upon a time there was a fox.\n",
        b"\0" * 8,
        b"\0" * 5000,
        b"\xff" * 5000,
        b"PK\x03\x04\x14\0\x08\x08" + bytes(5000),
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (2).to_bytes(8, "little") + b"\xff\xff",
        (11).to_bytes(8, "little") + b'{"a": "b"} ',
        (13).to_bytes(8, "little") + b'{"a": {"b":1}',
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    assert "not a safetensors file" in refusal(path).message


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "x.safetensors"
    for _ in range(20):
        path.write_bytes(rng.randbytes(rng.randint(1, 300)))
        refusal(path)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "x.safetensors").message


@pytest.mark.parametrize("seed", range(10))
def test_a_header_with_wrong_bytes_is_refused_or_harmless(checkpoint: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = checkpoint.read_bytes()
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(8 + header_length(whole))
            data[place] = rng.choice([rng.randrange(256), data[place] ^ 1 << rng.randrange(8)])
        checkpoint.write_bytes(data)
        with suppress(CheckpointError):
            use(checkpoint)


ARRAY = '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, %s]}}'


@pytest.mark.parametrize(
    "header",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        ARRAY % (1, "9" * 5000),
        ARRAY % (1, "1e999"),
        ARRAY % ("1e999", 4),
        ARRAY % (1, "NaN"),
        ARRAY % ('"x"', 4),
        '{"a": []}',
        '{"a": null}',
    ],
    ids=[
        "nested lists",
        "nested objects",
        "a number of 5000 digits",
        "an infinite end",
        "an infinite shape",
        "an end that is no number",
        "a shape that is no number",
        "an array that is a list",
        "an array that is nothing",
    ],
)
def test_a_malicious_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header(bytes(8), header.encode()))
    assert "not a safetensors file" in refusal(path).message


# Other programs, other versions


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_another_programs_safetensors_file_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": np.zeros((2, 2), np.float32)}, path, metadata)
    assert "of another program" in refusal(path).message


def test_a_newer_format_is_refused_with_the_way_to_upgrade(checkpoint: Path) -> None:
    edit_record(checkpoint, lambda record: record.update(version=VERSION + 1))
    error = refusal(checkpoint)
    assert f"format version {VERSION + 1}" in error.message
    assert "the version of textgen that wrote it" in error.hint


# Records that do not hold together


@pytest.mark.parametrize("record", ["", "[]", "null", "3", "{}", "{", "[" * 100_000])
def test_a_record_that_is_no_record_is_refused(checkpoint: Path, record: str) -> None:
    checkpoint.write_bytes(save({"a": np.zeros(1)}, {KEY: record}))
    assert "is damaged" in refusal(checkpoint).message


@pytest.mark.parametrize("field", ["version", "model", "training", "corpus"])
def test_a_record_without_one_of_its_parts_is_refused(checkpoint: Path, field: str) -> None:
    edit_record(checkpoint, lambda record: record.pop(field))
    assert "is damaged" in refusal(checkpoint).message


@pytest.mark.parametrize("value", [None, 3, "x", [], [1], {}, {"surplus": 1}])
@pytest.mark.parametrize("field", ["model", "training", "corpus"])
def test_settings_of_the_wrong_kind_are_refused(
    checkpoint: Path, field: str, value: object
) -> None:
    edit_record(checkpoint, lambda record: record.update({field: value}))
    assert "is damaged" in refusal(checkpoint).message


@pytest.mark.parametrize("value", [None, "x", [], float("nan"), float("inf")])
def test_a_version_that_is_no_number_is_refused(checkpoint: Path, value: object) -> None:
    edit_record(checkpoint, lambda record: record.update(version=value))
    assert "is damaged" in refusal(checkpoint).message


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("model", "cell", "transformer"),
        ("model", "hidden", 12),
        ("model", "hidden", []),
        ("model", "hidden", [12, -1]),
        ("model", "embedding", "6"),
        ("model", "dropout", float("nan")),
        ("training", "steps", "60"),
        ("training", "lr", float("inf")),
        ("training", "batch_size", 0),
        ("training", "segment_start", "x"),
        ("corpus", "level", 5),
        ("corpus", "encoding", "no-such-encoding"),
        ("corpus", "val_fraction", 2),
        ("corpus", "files", 5),
        ("corpus", "files", [5]),
        ("corpus", "val_file", 5),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(
    checkpoint: Path, part: str, field: str, value: object
) -> None:
    edit_record(checkpoint, lambda record: record[part].update({field: value}))
    assert "is damaged" in refusal(checkpoint).message


@pytest.mark.parametrize("characters", [5, None, "", "abc", {}])
def test_a_vocabulary_that_does_not_fit_is_refused(checkpoint: Path, characters: object) -> None:
    edit_record(checkpoint, lambda record: record.update(vocabulary=characters))
    with pytest.raises(CheckpointError, match="is damaged"):
        textgen.load(checkpoint)


@pytest.mark.parametrize(
    "disorder",
    [
        lambda characters: characters[::-1],
        lambda characters: characters[0] * len(characters),
        lambda characters: characters[:-1] + "\ud800",
        list,
    ],
    ids=["backwards", "one character many times", "a lone surrogate", "a list"],
)
def test_a_vocabulary_out_of_order_is_refused(
    checkpoint: Path, disorder: Callable[[str], object]
) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["vocabulary"] = disorder(record["vocabulary"])

    edit_record(checkpoint, edit)
    with pytest.raises(CheckpointError, match="is damaged"):
        textgen.load(checkpoint)


def test_weights_of_another_shape_than_the_record_says_are_refused(checkpoint: Path) -> None:
    edit_record(checkpoint, lambda record: record["model"].update(hidden=[12, 24]))
    with pytest.raises(CheckpointError, match=r"has shape .*, expected"):
        textgen.load(checkpoint)


@pytest.mark.parametrize(("dtype", "size"), [("I32", 4), ("BF16", 2), ("F8_E4M3", 1)])
def test_weights_of_another_type_are_refused(checkpoint: Path, dtype: str, size: int) -> None:
    data = checkpoint.read_bytes()
    end = 8 + header_length(data)
    header = json.loads(data[8:end])
    for name, entry in header.items():
        if name != "__metadata__":
            entry["dtype"] = dtype
            entry["data_offsets"] = [offset * size // 4 for offset in entry["data_offsets"]]
    arrays = bytes((len(data) - end) * size // 4)
    checkpoint.write_bytes(with_header(data[:end] + arrays, sealed(header)))
    with pytest.raises(CheckpointError):
        textgen.load(checkpoint)


def test_weights_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    header = read_header(checkpoint)
    weights = read_arrays(header, "model")
    weights["model"]["head.bias"][3] = np.nan
    write_checkpoint(checkpoint, header.record, weights)
    with pytest.raises(CheckpointError, match="is damaged"):
        textgen.load(checkpoint)


# Writing


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_checkpoint_whole_and_nothing_beside_it(
    checkpoint: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checkpoint.read_bytes()
    record = read_header(checkpoint).record
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(checkpoint, record, {"model": {"a": np.zeros(9)}})
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_first_write_that_fails_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_header(trained / "last.safetensors").record
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path / "x.safetensors", record, {"model": {"a": np.zeros(9)}})
    assert list(tmp_path.iterdir()) == []


# Pickles


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("dump", [pickle.dump, torch.save])
def test_a_pickle_is_refused_without_being_run(tmp_path: Path, dump: Callable[..., None]) -> None:
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as file:
        dump(Bomb(tmp_path / "exploded"), file)
    assert "not a safetensors file" in refusal(path).message
    assert list(tmp_path.iterdir()) == [path]


def test_no_module_can_load_a_pickle() -> None:
    forbidden = {"pickle", "_pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}
    modules = sorted(Path(textgen.__file__).parent.rglob("*.py"))
    assert len(modules) > 20
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not forbidden & {alias.name for alias in node.names}, module
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in forbidden, module
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("np", "load")}, module
            elif isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", module


def test_a_checkpoint_has_the_name_of_its_run_wherever_it_is_named_from(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    for path in (trained / "best.safetensors", Path("best.safetensors")):
        assert read_header(path).name == "tales"
