"""A safetensors file with digests: what is read is what was written, or the damaged part is named.

The header's metadata holds the SHA-256 of each array and one of the header itself, computed with
zeros in its own place. Files of earlier versions have none and are read without that check.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from textgen.errors import CheckpointError
from textgen.store.files import open_regular

if TYPE_CHECKING:  # info and ls do not import NumPy
    from numpy.typing import NDArray

OTHER_FILE = "use the run's other checkpoint (last, previous or best), or a copy"
NAME_ONE = "name a checkpoint that textgen train wrote"
_DIGESTS, _OWN = "digests", "digest"  # in the metadata: of the arrays, of the header
_ZEROS = "0" * 64
_LONGEST_HEADER = 8_000_000  # bytes
_PART = 1 << 20  # bytes that are read at once
# of JSON in a header, so that what is built of it stays below 100 MB: about 40,000 evaluations
_MOST = {"[": 200_000, "{": 100_000, ",": 1_000_000, '"': 1_000_000}
_TYPES = {  # NumPy's names of the types of arrays
    "F64": "<f8", "I64": "<i8", "U64": "<u8", "F32": "<f4", "I32": "<i4", "U32": "<u4",
    "F16": "<f2", "I16": "<i2", "U16": "<u2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {numpy: name for name, numpy in _TYPES.items()}


class Entry(NamedTuple):
    """An array in the file: `begin` and `end` are bytes, counted from the first array."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Damaged(CheckpointError):
    """A file that is not as textgen wrote it."""


class _Handle:
    """An open file, closed when nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_regular(path)
        self._lock = Lock()
        self.size = os.fstat(self._descriptor).st_size

    def __del__(self) -> None:
        if "_descriptor" in vars(self):
            os.close(self._descriptor)

    def read(self, at: int, length: int) -> bytes:
        """Up to so many bytes from there on; threads and forks that read too change nothing."""
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, length, at)
        with self._lock:
            os.lseek(self._descriptor, at, os.SEEK_SET)
            return os.read(self._descriptor, length)

    def parts(self, at: int = 0, length: int | None = None) -> Iterator[bytes]:
        """So many bytes from there on, or all, in parts; fewer where the file ends before."""
        end = self.size if length is None else at + length
        while at < end and (part := self.read(at, min(end - at, _PART))):
            yield part
            at += len(part)


@dataclass(frozen=True)
class Archive:
    """A file's header, and the file itself, held open: a later one of the same name is another."""

    path: Path
    bytes: int
    arrays: dict[str, Entry]
    metadata: dict[str, str]
    digests: dict[str, str] | None  # of each array; None in files of earlier versions
    _begin: int = field(compare=False, repr=False)
    _handle: _Handle = field(compare=False, repr=False)

    def read(self, name: str) -> NDArray:
        """An array, checked against its digest. Raises Damaged."""
        import numpy as np

        entry, done = self.arrays[name], 0
        array = np.empty(entry.shape, _TYPES[entry.dtype])
        raw = array.reshape(-1).view(np.uint8).data
        try:
            for part in self._handle.parts(self._begin + entry.begin, len(raw)):
                raw[done : done + len(part)] = part
                done += len(part)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        if done != len(raw):
            raise damaged(self.path, f"it ends within the array {name}")
        if self.digests is not None and hashlib.sha256(raw).hexdigest() != self.digests[name]:
            raise damaged(self.path, f"the array {name} is not what was written")
        return array

    def check(self) -> None:
        """Read all arrays, one after the other. Raises Damaged."""
        for name in self.arrays:
            self.read(name)

    def sha256(self) -> str:
        """SHA-256 of the whole file, as `sha256sum` prints it."""
        digest = hashlib.sha256()
        for part in self._handle.parts():
            digest.update(part)
        return digest.hexdigest()


def open_archive(path: Path) -> Archive:
    """Open a file and check its header; CheckpointError says what is wrong with it."""
    try:
        handle = _Handle(path)
        header = _header(path, handle)
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    begin = 8 + len(header)
    try:
        entries = simple_json(header.decode())
    except (ValueError, RecursionError):
        raise _not_safetensors(path, "its header is not JSON") from None
    if not isinstance(entries, dict):
        raise _not_safetensors(path, "its header is not a JSON object")
    metadata = entries.pop("__metadata__", {})
    try:
        arrays = dict(_in_order(entries))
        metadata = {str(name): str(text) for name, text in metadata.items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        raise _not_safetensors(path, "its header does not describe arrays") from None
    promised = max((entry.end for entry in arrays.values()), default=0)
    if promised != handle.size - begin:
        found = f"the file holds {handle.size - begin:,}"
        raise damaged(path, f"its header promises {promised:,} bytes of arrays, {found}")
    digests = _digests(path, header, metadata, arrays)
    return Archive(path, handle.size, arrays, metadata, digests, _begin=begin, _handle=handle)


def _header(path: Path, handle: _Handle) -> bytes:
    """The JSON header of a file."""
    if handle.size == 0:
        raise CheckpointError(f"{path} is empty; expected a checkpoint", OTHER_FILE)
    length = int.from_bytes(handle.read(0, 8), "little")
    if handle.size < 8 or length > _LONGEST_HEADER:
        raise _not_safetensors(path, "it does not begin with the length of a header")
    if 8 + length > handle.size:
        what = f"its header needs {8 + length:,} bytes, the file has {handle.size:,}"
        raise CheckpointError(f"{path} is truncated: {what}", OTHER_FILE)
    return b"".join(handle.parts(8, length))


def _in_order(entries: dict[str, Any]) -> Iterator[tuple[str, Entry]]:
    """The arrays as they follow each other; ValueError unless they do, each as long as it says."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda e: e[1]["data_offsets"]):
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not all(type(n) is int and 0 <= n < 2**63 for n in (*shape[:9], begin, end)):
            raise ValueError
        if math.prod(filter(None, shape[:9])) >= 2**60:  # beside a zero it promises no bytes
            raise ValueError
        if (
            len(shape) > 8
            or begin != at
            or end - begin != math.prod(shape) * int(_TYPES[dtype][2:])
        ):
            raise ValueError
        at = end
        yield name, Entry(dtype, tuple(shape), begin, end)


def _digests(
    path: Path, header: bytes, metadata: dict[str, str], arrays: Iterable[str]
) -> dict[str, str] | None:
    """The digests of the arrays, after a check of the header's own; Damaged if it misfits."""
    if not metadata.keys() & {_DIGESTS, _OWN}:
        return None
    own = metadata.get(_OWN, "").encode(errors="replace")
    if _sealed(header.replace(own, _ZEROS.encode(), 1)) != header or len(own) != 64:
        raise damaged(path, "its header is not what was written")
    try:
        digests: dict[str, str] = simple_json(metadata[_DIGESTS])
        return {name: digests[name] for name in arrays}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged(path, "it lacks the digests of its arrays") from None


def _sealed(header: bytes) -> bytes:
    """The header with its digest in the place of the zeros."""
    return header.replace(_ZEROS.encode(), hashlib.sha256(header).hexdigest().encode(), 1)


def pack(arrays: Mapping[str, NDArray], metadata: dict[str, str]) -> list[bytes | memoryview]:
    """The parts of a safetensors file with digests; arrays may have any strides."""
    import numpy as np

    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # the wide types first, so that each array begins at a multiple of its item size
    ordered = dict(sorted(ordered.items(), key=lambda item: -item[1].itemsize))
    raw = {name: a.reshape(-1).view(np.uint8).data for name, a in ordered.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in raw.items()}
    own = {_OWN: _ZEROS, _DIGESTS: json.dumps(digests)}
    entries: dict[str, Any] = {"__metadata__": own | metadata}
    end = 0
    for name, array in ordered.items():
        begin, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<").str]
        entries[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"))  # in ASCII
    header = _sealed(f"{text}{' ' * (-len(text) % 8)}".encode())
    if len(header) > _LONGEST_HEADER or _holds_too_much(text):
        what = f"a checkpoint's header would take {len(header):,} bytes, names of files above all"
        expected = f"expected {_LONGEST_HEADER:,} at most, and few brackets, commas and quotes"
        raise CheckpointError(f"{what}; {expected}", "name the folder that holds the files")
    return [len(header).to_bytes(8, "little"), header, *raw.values()]


def simple_json(text: str) -> Any:
    """JSON of bounded size, without duplicate keys, NaN or Infinity.

    Raises ValueError, or RecursionError for what is nested too deeply.
    """
    if _holds_too_much(text):
        raise ValueError("it holds too much")
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _holds_too_much(text: str) -> bool:
    return any(text.count(sign) > most for sign, most in _MOST.items())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def missing(path: Path) -> CheckpointError:
    """The error for a checkpoint that does not exist."""
    return CheckpointError(f"no such checkpoint: {path}", "textgen ls shows the runs there are")


def damaged(path: Path, why: str) -> Damaged:
    """The error for a checkpoint that is not as textgen wrote it."""
    return Damaged(f"{path} is damaged: {why}", OTHER_FILE)


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"cannot read {path}: {error.strerror or error}", OTHER_FILE)


def _not_safetensors(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a safetensors file: {why}", NAME_ONE)
