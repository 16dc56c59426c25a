from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from textgen.errors import CorpusError
from textgen.text import unpacking as unpacking_module
from textgen.text.decoding import Reader

TEXT = "One fox, and another; naïve, 日本.\n" * 40
DATA = TEXT.encode()


def refusal(path: Path) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        Reader().text(path)
    return caught.value


def zstd(data: bytes) -> bytes:
    module = pytest.importorskip("backports.zstd", reason="needs the extra zstd")
    return bytes(module.compress(data))


PACKED = [
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zst", zstd),
]


@pytest.mark.parametrize(("suffix", "pack"), PACKED)
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_parts_that_follow_each_other_are_one_text(
    tmp_path: Path,
    suffix: str,
    pack: Callable[[bytes], bytes],
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpacking_module, "_READ", size)
    path = tmp_path / f"text{suffix}"
    path.write_bytes(pack(DATA) + pack(b"") + pack(DATA))
    assert Reader().text(path) == TEXT * 2


@pytest.mark.parametrize(
    ("suffix", "pack", "place"),
    [*((*how, 0) for how in PACKED), (".bz2", bz2.compress, 5), (".bz2", bz2.compress, 30)],
)
def test_a_later_part_that_is_damaged_is_refused(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], place: int
) -> None:
    first, second = pack(DATA), bytearray(pack(DATA))
    second[place] ^= 1
    path = tmp_path / f"text{suffix}"
    path.write_bytes(first + second + pack(DATA))
    assert f"{path} is damaged after" in refusal(path).message


def test_zero_bytes_may_stand_between_and_after_the_parts_of_xz(tmp_path: Path) -> None:
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(DATA) + b"\0" * 8 + lzma.compress(DATA) + b"\0" * 4)
    assert Reader().text(path) == TEXT * 2


def greedy_xz() -> bytes:
    """A header that asks for a dictionary of 1.5 GiB."""
    packed = bytearray(lzma.compress(DATA))
    end = 12 + 4 * packed[12]  # of the block's header, but for its checksum
    packed[16] = 37
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    return bytes(packed)


def greedy_zst() -> bytes:
    """A header that asks for a window of 2 GiB."""
    pytest.importorskip("backports.zstd", reason="needs the extra zstd")
    return b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"


@pytest.mark.parametrize(
    ("name", "made", "command"),
    [
        ("a.xz", greedy_xz, "xz -dc"),
        ("a.tar.xz", greedy_xz, "tar -xOf"),
        ("a.zst", greedy_zst, "zstd -dc"),
    ],
)
def test_a_header_that_asks_for_much_memory_is_refused(
    tmp_path: Path, name: str, made: Callable[[], bytes], command: str
) -> None:
    path = tmp_path / name
    path.write_bytes(made())
    error = refusal(path)
    asked = "asks for more than 128 MiB of memory to be unpacked; expected a compressed text"
    assert error.message == f"{path} {asked}"
    assert f"{command} {path}" in error.hint


@pytest.mark.parametrize("preset", [0, 6, 9, 9 | lzma.PRESET_EXTREME])
def test_every_preset_of_xz_is_read(tmp_path: Path, preset: int) -> None:
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(DATA, preset=preset))
    assert Reader().text(path) == TEXT


def test_without_the_extra_for_zstd_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(unpacking_module, "import_module", missing)
    (tmp_path / "a.zst").write_bytes(b"x")
    assert "textgen-lstm[zstd]" in refusal(tmp_path / "a.zst").hint


@pytest.mark.parametrize("suffix", [".xz", ".bz2", ".gz"])
def test_a_module_that_python_was_built_without_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '_{name}'")

    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(dict(PACKED)[suffix](DATA))
    monkeypatch.setattr(unpacking_module, "import_module", missing)
    error = refusal(path)
    module = {".xz": "lzma", ".bz2": "bz2", ".gz": "gzip"}[suffix]
    assert error.message == f"{path} is compressed, and this Python was built without {module}"
    assert "unpack it first" in error.hint
