"""A checkpoint: one safetensors file of arrays, with a JSON record in its header.

Nothing here unpickles or needs torch, and a header is read without the arrays. A file is written
under a temporary name, flushed to disk and renamed, so a reader sees the old one or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import CheckpointError, TextgenError
from textgen.store.record import VERSION, NewerFormat, Record, from_json, to_json

if TYPE_CHECKING:  # info and ls do not import NumPy
    from numpy.typing import NDArray

_KEY = "textgen"  # the record's name in the header
_LONGEST_HEADER = 100_000_000  # bytes, the limit of safetensors itself
OTHER_FILE = "use the run's other checkpoint (last or best), or a copy"
SEE_RUNS = "textgen ls shows the runs there are"
_NAME_ONE = "name a checkpoint that textgen train wrote"


@dataclass(frozen=True)
class Header:
    """All of a checkpoint but its arrays, of which it has the names, types and shapes."""

    path: Path
    bytes: int
    arrays: dict[str, tuple[str, tuple[int, ...]]]
    version: int  # of the format that the file was written in
    record: Record


def read_header(path: Path) -> Header:
    """Read and check a checkpoint's header; CheckpointError says what is wrong with it."""
    size, begin, entries = _read_json(path)
    metadata = entries.pop("__metadata__", None)
    try:
        arrays = {n: (str(e["dtype"]), tuple(map(int, e["shape"]))) for n, e in entries.items()}
        promised = max((int(e["data_offsets"][1]) for e in entries.values()), default=0)
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise _not_safetensors(path, "its header does not describe arrays") from None
    if promised != size - begin:
        found = f"the file holds {size - begin:,}"
        raise damaged(path, f"its header promises {promised:,} bytes of arrays, {found}")
    if not isinstance(metadata, dict) or _KEY not in metadata:
        what = f"is a safetensors file of another program: it has no {_KEY!r} record"
        raise CheckpointError(f"{path} {what}", _NAME_ONE)
    try:
        version, record = from_json(metadata[_KEY])
    except NewerFormat as newer:
        what = f"has format version {newer}; this textgen reads up to {VERSION}"
        raise CheckpointError(
            f"{path} {what}", "use the version of textgen that wrote it"
        ) from None
    except (TypeError, KeyError, ValueError, RecursionError, TextgenError) as error:
        raise damaged(path, f"its record does not hold together ({error})") from None
    return Header(path, size, arrays, version, record)


def _read_json(path: Path) -> tuple[int, int, dict[str, Any]]:
    """Size of the file, offset of its arrays (both bytes), and the JSON header before them."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise CheckpointError(f"{path} is empty; expected a checkpoint", OTHER_FILE)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > _LONGEST_HEADER:
                raise _not_safetensors(path, "it does not begin with the length of a header")
            begin = 8 + length
            if begin > size:
                what = f"its header needs {begin:,} bytes, the file has {size:,}"
                raise CheckpointError(f"{path} is truncated: {what}", OTHER_FILE)
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise missing(path) from None
    except (ValueError, RecursionError):
        raise _not_safetensors(path, "its header is not JSON") from None
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}", OTHER_FILE
        ) from None
    if not isinstance(header, dict):
        raise _not_safetensors(path, "its header is not a JSON object")
    return size, begin, header


def missing(path: Path) -> CheckpointError:
    """The error for a checkpoint that does not exist."""
    return CheckpointError(f"no such checkpoint: {path}", SEE_RUNS)


def damaged(path: Path, why: str) -> CheckpointError:
    """The error for a checkpoint that is not as textgen wrote it."""
    return CheckpointError(f"{path} is damaged: {why}", OTHER_FILE)


def _not_safetensors(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a safetensors file: {why}", _NAME_ONE)


def read_arrays(header: Header, *groups: str) -> dict[str, dict[str, NDArray]]:
    """The arrays named `group/name`, by group and name."""
    from safetensors import SafetensorError, safe_open

    arrays: dict[str, dict[str, NDArray]] = {group: {} for group in groups}
    try:
        with safe_open(header.path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                group, _, name = key.partition("/")
                if group in arrays:
                    arrays[group][name] = file.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise damaged(header.path, str(error)) from None
    return arrays


def write_checkpoint(
    path: Path, record: Record, groups: Mapping[str, Mapping[str, NDArray]]
) -> None:
    """Write arrays, by group and name, and the record. Raises OSError as `write_file` does."""
    arrays = {f"{group}/{name}": a for group, named in groups.items() for name, a in named.items()}
    write_file(path, pack(arrays, {_KEY: to_json(record)}))


def pack(arrays: Mapping[str, NDArray], metadata: dict[str, str]) -> bytes:
    """A safetensors file; arrays may have any strides."""
    import numpy as np
    from safetensors.numpy import save

    return save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file atomically. Raises OSError; the old file is then untouched."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
