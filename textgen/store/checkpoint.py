"""One safetensors file holds it all: arrays, and in its header, as JSON, everything else.

Nothing here unpickles, and nothing needs torch: arrays are NumPy's, and a header is read without
touching them. A file is written under a temporary name in its folder, flushed to disk and renamed,
so a reader sees the old one or the new one, never half of either.
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

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEY = "textgen"  # the header's entry that is ours
OTHER_FILE = "use the run's other checkpoint (last or best), or a copy"
_LONGEST_HEADER = 100_000_000  # bytes, the limit that safetensors itself sets


@dataclass(frozen=True)
class Header:
    """Everything in a checkpoint but its arrays, of which it has the names, types and shapes.

    version: of the format that the file was written in.
    """

    path: Path
    bytes: int
    arrays: dict[str, tuple[str, tuple[int, ...]]]
    version: int
    record: Record


def read_header(path: Path) -> Header:
    """Read and check a checkpoint's header; the arrays stay on disk.

    Raises CheckpointError: no file, empty, truncated, not safetensors, another program's, of a
    newer format, or with a record that does not hold together.
    """
    size, header = _read_json(path)
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    try:
        arrays = {n: (str(e["dtype"]), tuple(map(int, e["shape"]))) for n, e in entries.items()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise _not_safetensors(path, "its header does not describe arrays") from None
    if size["data"] != end:
        raise damaged(
            path, f"its header promises {end:,} bytes of arrays, the file holds {size['data']:,}"
        )
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file of another program: it has no {_KEY!r} record",
            "name a checkpoint that textgen train wrote",
        )
    version, record = _read_record(path, metadata[_KEY])
    return Header(path, size["file"], arrays, version, record)


def _read_record(path: Path, text: str) -> tuple[int, Record]:
    try:
        return from_json(text)
    except NewerFormat as newer:
        raise CheckpointError(
            f"{path} has format version {newer}; this textgen reads up to {VERSION}",
            "use the version of textgen that wrote it",
        ) from None
    except (TypeError, KeyError, ValueError, RecursionError, TextgenError) as error:
        raise damaged(path, f"its record does not hold together ({error})") from None


def _read_json(path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The safetensors layout: 8 bytes of length, little-endian, a JSON header, the arrays."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise CheckpointError(f"{path} is empty; expected a checkpoint", OTHER_FILE)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > _LONGEST_HEADER:
                raise _not_safetensors(path, "it does not begin with the length of a header")
            if 8 + length > size:
                raise CheckpointError(
                    f"{path} is truncated: its header needs {8 + length:,} bytes, the file has"
                    f" {size:,}",
                    OTHER_FILE,
                )
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise CheckpointError(
            f"no such checkpoint: {path}", "textgen ls shows the runs there are"
        ) from None
    except (ValueError, RecursionError):
        raise _not_safetensors(path, "its header is not JSON") from None
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}", OTHER_FILE
        ) from None
    if not isinstance(header, dict):
        raise _not_safetensors(path, "its header is not a JSON object")
    return {"file": size, "data": size - 8 - length}, header


def damaged(path: Path, why: str) -> CheckpointError:
    """What to raise for a checkpoint that is not as textgen wrote it."""
    return CheckpointError(f"{path} is damaged: {why}", OTHER_FILE)


def _not_safetensors(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a safetensors file: {why}", "name a checkpoint that textgen train wrote"
    )


def read_arrays(header: Header, *groups: str) -> dict[str, dict[str, NDArray]]:
    """The arrays whose names begin with `group/`, by group and by the rest of the name."""
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
    """Write arrays, by group and name, and the record; replaces `path` in one go.

    Raises OSError, with whatever stood at `path` untouched.
    """
    arrays = {f"{group}/{name}": a for group, named in groups.items() for name, a in named.items()}
    write_file(path, pack(arrays, {_KEY: to_json(record)}))


def pack(arrays: Mapping[str, NDArray], metadata: dict[str, str]) -> bytes:
    """A safetensors file; arrays may have any strides."""
    import numpy as np
    from safetensors.numpy import save

    return save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one go: temporary name, flush to disk, rename."""
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
