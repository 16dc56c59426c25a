"""A checkpoint: an archive of arrays, with a JSON record in its header.

Nothing here unpickles or needs torch, and a header is read without the arrays. A file is written
under a temporary name, flushed to disk and renamed, so a reader sees the old one or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import CheckpointError, TextgenError
from textgen.store.archive import NAME_ONE, Archive, Entry, damaged, open_archive, pack
from textgen.store.files import write_file
from textgen.store.record import SEALED, VERSION, NewerFormat, Record, from_json, to_json

if TYPE_CHECKING:  # info and ls do not import NumPy
    from numpy.typing import NDArray

_KEY = "textgen"  # the record's name in the header


@dataclass(frozen=True)
class Header:
    """All of a checkpoint but its arrays, of which it has the names, types and shapes."""

    archive: Archive
    version: int  # of the format that the file was written in
    record: Record

    @property
    def path(self) -> Path:
        return self.archive.path

    @property
    def name(self) -> str:
        """That of its run: of the folder, or an export's own."""
        file = Path(os.path.abspath(self.path))  # noqa: PTH100 (a link has its own name)
        return file.stem if self.record.kind == "export" else file.parent.name

    @property
    def folder(self) -> Path:
        """Where its run's folder lies, absolute or relative as the file was named."""
        if self.path.is_absolute():
            return self.path.parent.parent
        return Path(os.path.relpath(self.path.parent / ".."))

    @property
    def bytes(self) -> int:
        return self.archive.bytes

    @property
    def arrays(self) -> dict[str, Entry]:
        return self.archive.arrays


def read_header(path: Path) -> Header:
    """Read and check a checkpoint's header; CheckpointError says what is wrong with it."""
    archive = open_archive(path)
    if _KEY not in archive.metadata:
        what = f"is a safetensors file of another program: it has no {_KEY!r} record"
        raise CheckpointError(f"{path} {what}", NAME_ONE)
    try:
        version, record = from_json(archive.metadata[_KEY])
    except NewerFormat as newer:
        what = f"has format version {newer}; this textgen reads up to {VERSION}"
        raise CheckpointError(
            f"{path} {what}", "use the version of textgen that wrote it"
        ) from None
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
        raise damaged(path, f"its record does not hold together ({error})") from None
    except TextgenError as error:
        raise damaged(path, f"its record does not hold together ({error.message})") from None
    if version >= SEALED and archive.digests is None:
        raise damaged(path, "it lacks the digests of its arrays")
    return Header(archive, version, record)


def read_arrays(header: Header, *groups: str) -> dict[str, dict[str, NDArray]]:
    """The arrays named `group/name`, by group and name. Raises CheckpointError."""
    arrays: dict[str, dict[str, NDArray]] = {group: {} for group in groups}
    for key in header.arrays:
        group, _, name = key.partition("/")
        if group in arrays:
            arrays[group][name] = header.archive.read(key)
    return arrays


def write_checkpoint(
    path: Path,
    record: Record,
    groups: Mapping[str, Mapping[str, NDArray]],
    keep: Path | None = None,
) -> None:
    """Write arrays, by group and name, and the record; `keep` and errors as of `write_file`."""
    write_file(path, packed(record, groups), keep)


def packed(record: Record, groups: Mapping[str, Mapping[str, NDArray]]) -> list[bytes | memoryview]:
    """The parts of a checkpoint file; arguments as of `write_checkpoint`."""
    arrays = {f"{group}/{name}": a for group, named in groups.items() for name, a in named.items()}
    return pack(arrays, {_KEY: to_json(record)})
