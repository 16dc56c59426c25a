"""Damaged and malicious files: how they are made, and what must come of opening one."""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, train
from hypothesis import given, settings
from hypothesis import strategies as st

import textgen
from textgen.errors import TextgenError
from textgen.inference.writer import Position
from textgen.store import checkpoint
from textgen.store.checkpoint import read_arrays, read_header, write_checkpoint
from textgen.store.contents import read_resumed

# the same examples each time, none kept on disk, and no clock
FIXED = settings(derandomize=True, database=None, deadline=None)
ROOM = 100 * 2**20  # bytes that opening a file may take, above the libraries
TINY = SMALL | {"hidden": (1,), "embedding": 1}
SECONDS = 1.0  # of processor time, for one file
# values that a record may be made to hold
NASTY: tuple[Any, ...] = (
    *(None, True, "", "x" * 5000, "\0", "/dev/zero", "../..", [], {}, [[[[[]]]]], {"a": {}}),
    *(-1, 0, 1, 10**9, 10**12, 10**20, 2**63, -(2**63), 10**400),
    *(1e-320, 1e38, 1e308, float("nan"), float("inf"), -float("inf"), 0.5),
)
PLAUSIBLE: tuple[Any, ...] = (2, 3, 20, 0.25, 0.75, "cpu", "abc", ["a"], False)
Values = dict[str, Any]
Strategy = st.SearchStrategy[Any]


@dataclass
class Victim:
    """A file that a test damages: its bytes, and how it is read.

    read gives all that a program takes from it, or raises. seen: of all verdicts so far, how many
    were refusals, how many loaded values, and how long the slowest took.
    """

    path: Path
    read: Callable[[Path], Values]
    whole: bytes = field(init=False)
    values: Values = field(init=False)
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0  # seconds of processor time

    def __post_init__(self) -> None:
        self.whole, self.values = self.path.read_bytes(), self.read(self.path)

    def open(self, data: bytes) -> Values | None:
        """What the file holds with these bytes; None if it is refused, as a TextgenError."""
        self.path.write_bytes(data)
        return self.reread()

    def reread(self) -> Values | None:
        begin, refusal = time.process_time(), None
        gc.disable()  # what the tests before left is not of this read
        try:
            values = self.read(self.path)
        except TextgenError as error:
            refusal = error.message
        finally:
            gc.enable()
            self.slowest = max(self.slowest, time.process_time() - begin)
        if refusal is None:
            self.accepted += 1
            return values
        assert len(refusal.splitlines()) == 1
        self.refused += 1
        return None

    def judge(self, data: bytes) -> None:
        """Fail unless these bytes are refused, or mean the same as the whole file."""
        values = self.open(data)
        if values is not None:
            assert same(values, self.values), "changed values were loaded"

    def __str__(self) -> str:
        found = f"{self.refused} refused, {self.accepted} loaded, {self.slowest:.3f} s at most"
        return f"{self.path.name}: {self.refused + self.accepted} mutations, {found}"


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    return bool(one == other)


def read_checkpoint(path: Path) -> Values:
    """What sampling takes from a checkpoint, and all that resuming does."""
    model = textgen.load(path)
    header = model.header
    arrays = read_resumed(header) if header.record.kind == "last" else {}
    assert isinstance("".join(model.generate(length=2, seed=1)), str)
    return {"record": header.record, "weights": model.weights, "arrays": arrays}


def read_state(model: Path) -> Callable[[Path], Values]:
    """What going on from a saved state takes from it."""
    loaded = textgen.load(model)

    def read(path: Path) -> Values:
        position = Position.load(path)
        loaded.check_position(position)
        list(loaded.generate(length=2, position=position))
        values = {k: v for k, v in vars(position).items() if k not in ("arrays", "digest")}
        return values | {"arrays": dict(position.arrays), "digest": position.digest()}

    return read


@dataclass
class Files:
    """A run of the smallest size, and a state saved from it."""

    run: Path

    def victims(self, folder: Path) -> Iterator[Victim]:
        """Copies of its files in `folder`, to damage."""
        for name in ("last.safetensors", "best.safetensors", "state"):
            copy = folder / name
            copy.write_bytes((self.run / name).read_bytes())
            read = read_state(self.run / "best.safetensors")
            yield Victim(copy, read if name == "state" else read_checkpoint)


def small_files(folder: Path) -> Files:
    """Train the smallest model on three letters."""
    corpus = folder / "abc.txt"
    corpus.write_text("abcab\n" * 100, encoding="utf-8")
    train(corpus, folder, **TINY, steps=2)
    writer = textgen.load(folder / "abc").generate("ab", length=3, seed=1)
    list(writer)
    writer.position.save(folder / "abc" / "state")
    return Files(folder / "abc")


def try_values(strategy: Strategy, count: int, check: Callable[[Any], object]) -> None:
    """Check so many values of a strategy."""

    def one(value: Any) -> None:
        check(value)

    settings(FIXED, max_examples=count)(given(strategy)(one))()


def flips(data: bytes, step: int) -> Iterator[bytes]:
    """Each `step`-th byte changed, one at a time."""
    rng = random.Random(step)
    for place in range(0, len(data), step):
        changed = bytearray(data)
        changed[place] ^= rng.randint(1, 255)
        yield bytes(changed)


def truncations(data: bytes, step: int) -> Iterator[bytes]:
    """The file cut off, at each `step`-th length."""
    return (data[:length] for length in range(0, len(data), step))


@st.composite
def mangled(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with a few parts of it overwritten, removed, repeated or moved."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(changed)))
        end = min(len(changed), begin + draw(st.sampled_from((1, 2, 8, 50, 1000))))
        match draw(st.sampled_from(("overwrite", "remove", "repeat", "swap"))):
            case "overwrite":
                changed[begin:end] = draw(st.binary(min_size=end - begin, max_size=end - begin))
            case "remove":
                del changed[begin:end]
            case "repeat":
                changed[begin:begin] = changed[begin:end]
            case "swap":
                part = changed[begin:end]
                del changed[begin:end]
                place = draw(st.integers(0, len(changed)))
                changed[place:place] = part
    return bytes(changed)


def header_of(data: bytes) -> Any:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(data: bytes, header: Any) -> bytes:
    """The same arrays below another header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all that JSON data holds."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


@st.composite
def edited(draw: st.DrawFn, value: Any) -> Any:
    """JSON data with one or two values replaced by nasty ones, or removed."""
    changed = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(list(places(changed))))
        place = changed
        for key in way:
            place = place[key]
        if draw(st.booleans()) or draw(st.booleans()):
            place[last] = draw(st.sampled_from(NASTY + PLAUSIBLE))
        else:
            del place[last]
    return changed


def write_forged(path: Path, source: Path, record: str) -> None:
    """Write a checkpoint as textgen does, digests and all, but with another record, in JSON."""
    header = read_header(source)
    groups = {name.partition("/")[0] for name in header.arrays}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "to_json", lambda _: record)
        write_checkpoint(path, header.record, read_arrays(header, *groups))


def absurd(data: bytes) -> Iterator[bytes]:
    """Headers that promise more than there is, or are made to be slow to read."""
    for length in (2**64 - 1, 2**63, 10**12, 99_999_999):
        yield length.to_bytes(8, "little") + data[8:]
    header = header_of(data)
    name = next(key for key in header if key != "__metadata__")
    for shape in ([2**40, 2**40], [10**18], [-1], [0], [1] * 10_000, [2**64], [1.5], ["1"], None):
        yield with_header(data, header | {name: header[name] | {"shape": shape}})
    for offsets in ([0, 2**62], [2**62, 2**63], [-8, 8], [8, 0], [0], [0, 0, 0], None):
        yield with_header(data, header | {name: header[name] | {"data_offsets": offsets}})
    for dtype in ("F64", "I64", "BOOL", "F8", "", None, 7):
        yield with_header(data, header | {name: header[name] | {"dtype": dtype}})
    yield with_header(data, header | {f"model/{n}": header[name] for n in range(20_000)})
    for text in ("[" * 10**6, '{"a":' * 10**5, "9" * 10**6, f'{{"a": {"9" * 10**5}}}', " " * 10**6):
        yield len(text).to_bytes(8, "little") + text.encode() + data[-64:]


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fail if the process takes more than ROOM above what it has; Linux only."""
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        yield
        return
    peak.write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    yield
    taken = _status("VmHWM") - before
    print(f"\nmemory: {taken / 2**20:.1f} MiB above the libraries")
    assert taken <= ROOM


def _status(name: str) -> int:
    """A size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
