from __future__ import annotations

import hashlib
import json
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

import textgen
from textgen.errors import CheckpointError
from textgen.store.archive import open_archive, pack
from textgen.store.checkpoint import read_header

ARRAYS = {
    "model/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "model/half": np.array([0.5], np.float16),
    "state/flags": np.array([True, False, True]),
    "state/none": np.zeros((0, 4)),
    "state/step": np.array(7),
}
METADATA = {"textgen": '{"version": 4}', "other": "Æ\n"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"".join(pack(ARRAYS, METADATA)))
    return path


def contents(path: Path) -> dict[str, object]:
    archive = open_archive(path)
    return {name: archive.read(name).tolist() for name in sorted(archive.arrays)}


def header_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def with_header(path: Path, text: str) -> None:
    """The file's arrays below another header, whose digest fits if it has one."""
    data = path.read_bytes()
    text = text.replace(json.loads(data[8 : header_end(data)])["__metadata__"]["digest"], "0" * 64)
    sealed = text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest(), 1).encode()
    path.write_bytes(len(sealed).to_bytes(8, "little") + sealed + data[header_end(data) :])


def header_of(path: Path) -> str:
    data = path.read_bytes()
    return data[8 : header_end(data)].decode()


def test_arrays_come_back_and_safetensors_reads_them_too(path: Path) -> None:
    archive, theirs = open_archive(path), load_file(path)
    assert archive.metadata.items() >= METADATA.items()
    assert archive.arrays.keys() == theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        for found in (archive.read(name), theirs[name]):
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert np.array_equal(found, array)
    assert archive.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    begin = header_end(path.read_bytes())
    assert all((begin + e.begin) % ARRAYS[n].itemsize == 0 for n, e in archive.arrays.items())


def test_what_safetensors_wrote_is_read(path: Path) -> None:
    path.write_bytes(save(ARRAYS, METADATA))
    archive = open_archive(path)
    assert archive.metadata == METADATA
    assert archive.digests is None
    for name, array in ARRAYS.items():
        assert np.array_equal(archive.read(name), array)


def test_every_changed_byte_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= (1, 0x20, 0xFF)[place % 3]
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            contents(path)


def test_every_length_that_is_too_short_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for length in reversed(range(len(whole))):
        os.truncate(path, length)
        with pytest.raises(CheckpointError):
            contents(path)


def test_changed_bytes_of_a_checkpoint_are_found_and_the_array_is_named(
    trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "best.safetensors"
    whole = (trained / "best.safetensors").read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        place = rng.randrange(len(whole))
        data = bytearray(whole)
        data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            textgen.load(path)
        if place >= header_end(whole):
            read_header(path)
            assert "the array model/" in caught.value.message


def test_only_what_is_asked_for_is_read(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    archive = open_archive(path)
    assert archive.read("model/a").tolist() == ARRAYS["model/a"].tolist()
    with pytest.raises(CheckpointError, match="the array state/flags is not what was written"):
        archive.read("state/flags")


def test_an_archive_stays_itself_when_another_takes_its_name(path: Path) -> None:
    archive, digest = open_archive(path), open_archive(path).sha256()
    other = path.with_name("y")
    other.write_bytes(b"".join(pack({"model/a": np.zeros(3)}, METADATA)))
    other.replace(path)
    assert archive.read("model/a").tolist() == ARRAYS["model/a"].tolist()
    assert archive.sha256() == digest != open_archive(path).sha256()


def many(unit: str) -> str:
    return "[" + ",".join([unit] * (7_900_000 // (len(unit) + 1))) + "]"


ENTRY = '"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HOSTILE: dict[str, Callable[[str], str]] = {
    "absurd offsets": lambda text: text.replace(",37]", f",{10**18}]"),
    "absurd shape": lambda text: text.replace("[2,3]", f"[{10**9},{10**9}]"),
    "huge ints": lambda text: text.replace("[2,3]", "[" + ",".join(["9" * 4000] * 1000) + "]"),
    "ints too long": lambda text: text.replace("[2,3]", "[" + "9" * 5000 + "]"),
    "negative shape": lambda text: text.replace("[2,3]", "[-2,-3]"),
    "booleans": lambda text: text.replace("[2,3]", "[true,6]"),
    "floats": lambda text: text.replace("[2,3]", "[2.0,3]"),
    "not a number": lambda text: text.replace("[2,3]", "[NaN,3]"),
    "infinite": lambda text: text.replace("[2,3]", "[1e999,3]"),
    "unknown type": lambda text: text.replace('"F32"', '"F8_E4M3"'),
    "type that is a list": lambda text: text.replace('"F32"', "[]"),
    "overlap": lambda text: f"{{{ENTRY},{ENTRY.replace('x', 'y')},{text[1:]}",
    "duplicate array": lambda text: f"{{{ENTRY},{ENTRY},{text[1:]}",
    "duplicate metadata": lambda text: f'{{"__metadata__":{{}},{text[1:]}',
    "deep lists": lambda text: "[" * 4_000_000,
    "deep objects": lambda text: '{"a":' * 90_000,
    "deep metadata": lambda text: text.replace('"version', '{\\"a\\":' * 90_000),
    "many lists": lambda text: many("[]"),
    "many objects": lambda text: many('{"a":1}'),
    "many numbers": lambda text: many("999"),
    "many texts": lambda text: many('"ab"'),
    "many keys": lambda text: "{" + ",".join(f'"{n}":0' for n in range(700_000)) + "}",
    "too long": lambda text: text + " " * 9_000_000,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_is_refused_at_little_cost(
    path: Path, change: Callable[[str], str]
) -> None:
    before = header_of(path)
    assert change(before) != before
    with_header(path, change(before))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError):
        contents(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000  # kB


@pytest.mark.parametrize(
    "header",
    [
        f'{{"x":{{"dtype":"F32","shape":[0,{2**62}],"data_offsets":[0,0]}}}}',
        '{"__metadata__":{"digest":"\\ud800"}}',
    ],
)
def test_a_file_without_digests_is_checked_too(path: Path, header: str) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(CheckpointError):
        contents(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="expected a file"):
            open_archive(path)


def test_digests_cannot_be_left_out(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    record = read_header(trained / "best.safetensors").archive.metadata["textgen"]
    path.write_bytes(save({"model/a": np.zeros(1)}, {"textgen": record}))
    with pytest.raises(CheckpointError, match="lacks the digests"):
        read_header(path)


def test_a_file_is_closed_when_nothing_refers_to_it(path: Path) -> None:
    archive = open_archive(path)
    descriptor = archive._handle._descriptor
    os.fstat(descriptor)
    del archive
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_names_that_could_not_be_read_back_are_refused() -> None:
    files = ["/d/{a}/{b}/{17}.txt"] * 33_400
    with pytest.raises(CheckpointError, match="few brackets"):
        pack({"a": np.zeros(1, np.float32)}, {"files": json.dumps(files)})


def test_a_header_that_could_not_be_read_back_is_refused() -> None:
    with pytest.raises(CheckpointError, match="names of files above all") as caught:
        pack({"a": np.zeros(2)}, {"files": "x" * 8_000_000})
    assert caught.value.hint == "name the folder that holds the files"
