from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, prose

import textgen
from textgen.errors import CorpusError
from textgen.store.checkpoint import read_header
from textgen.text import decoding as decoding_module
from textgen.text import stream as stream_module
from textgen.text.decoding import Reader
from textgen.text.sources import Sources, size_on_disk, special, title
from textgen.text.stream import File, Stream

TEXT = "One fox, and another; naïve, 日本.\n" * 40
DATA = TEXT.encode()


def zstd(data: bytes) -> bytes:
    module = pytest.importorskip("backports.zstd", reason="needs the extra zstd")
    return bytes(module.compress(data))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


def text_of(path: Path, reader: Reader | None = None) -> str:
    return (reader or Reader()).text(path)


def refusal(path: Path, reader: Reader | None = None) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        text_of(path, reader)
    return caught.value


def tar_of(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def zip_of(path: Path, name: str) -> bytearray:
    """A ZIP file of one member, and its bytes, to be damaged."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, DATA)
    return bytearray(path.read_bytes())


# Folders


def test_a_folder_is_all_its_texts_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.md", "c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    assert text_of(tmp_path) == "b.txt\nc\na/z.txt\na/b/c.md\n"


def test_what_is_left_out_of_a_folder_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".hidden").write_text("hidden")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0\0")
    (tmp_path / "none.txt").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "text").write_text("text\n")
    reader = Reader()
    assert text_of(tmp_path, reader) == "text\n"
    assert reader.notices == [
        f"{tmp_path}: left out 2 hidden, 1 a broken link, 1 empty, 1 binary,"
        " 1 a link to a folder read already"
    ]


def test_a_folder_that_holds_its_runs_is_read_without_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(1500))
    where = {"checkpoints": tmp_path / "checkpoints", **SMALL}
    for run in ("one", "two"):
        list(textgen.train(tmp_path, run=run, steps=3, eval_every=1, **where))
    files = (where["checkpoints"] / run / "last.safetensors" for run in ("one", "two"))
    first, second = (read_header(file).record.fingerprint for file in files)
    assert first == second
    list(textgen.resume("one", checkpoints=where["checkpoints"], steps=3))
    variants = {**where, "hidden": None, "layers": 1, "cell": ["rnn", "gru"], "steps": 3}
    for seeds in (1, 2):
        list(textgen.compare(tmp_path, run="c", seeds=seeds, **variants))
    reader = Reader(level="byte")
    assert [name for name, _ in reader.texts(tmp_path)] == [str(tmp_path / "a.txt")]


def test_at_level_byte_a_folder_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff")
    (tmp_path / "b").write_bytes(b"b")
    assert text_of(tmp_path, Reader(level="byte")).encode("utf-8", "surrogateescape") == b"\0\xffb"


def test_what_may_not_be_looked_at_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT)
    is_file = Path.is_file

    def forbidden(path: Path) -> bool:
        if path.name == "b.txt":
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", forbidden)
    assert text_of(tmp_path) == TEXT
    sources = Sources()
    assert [file.name for file in sources.files(tmp_path)] == ["a.txt"]
    assert sources.skipped["unreadable"] == 1


def test_a_disk_that_fails_later_on_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT * 300)
    read = Stream.read

    def failing(stream: Stream, size: int) -> bytes:
        if stream.count:
            raise OSError(5, "Input/output error")
        return read(stream, size)

    monkeypatch.setattr(Stream, "read", failing)
    assert refusal(path).message == f"cannot read {path}: Input/output error"


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0\0")
    error = refusal(tmp_path)
    assert error.message == (
        f"{tmp_path} is a folder without text, left out 1 binary; expected a text file in it"
    )
    assert "level=byte" in error.hint
    (tmp_path / "picture.png").rename(tmp_path / ".picture.png")
    error = refusal(tmp_path)
    assert "left out 1 hidden" in error.message
    assert "level=byte" not in error.hint  # hidden files are left out there too


def test_of_mixed_encodings_the_file_and_the_offset_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ünï", encoding="utf-8")
    (tmp_path / "b.txt").write_text("naïve", encoding="latin-1")
    message = refusal(tmp_path).message
    assert message == f"{tmp_path / 'b.txt'}, line 1, byte offset 2: 0xEF is not valid utf-8"


# Compressed files and archives


@pytest.mark.parametrize("suffix", PACKED)
def test_a_compressed_file_is_read_as_its_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(PACKED[suffix](DATA))
    assert text_of(path) == TEXT


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_compressed_file_that_is_cut_off_is_refused(
    tmp_path: Path, suffix: str, share: float
) -> None:
    noise = random.Random(1).randbytes(50_000).hex().encode()
    packed = PACKED[suffix](noise)
    path = tmp_path / f"text{suffix}"
    path.write_bytes(packed[: int(share * len(packed))])
    assert refusal(path).message.startswith(f"{path} is damaged after ")


@pytest.mark.parametrize("suffix", [*PACKED, ".zip", ".tar.gz"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, suffix: str) -> None:
    if suffix == ".zst":
        zstd(b"")
    path = tmp_path / f"text{suffix}"
    path.write_bytes(DATA)
    assert f"{path} is damaged after 0 bytes" in refusal(path).message


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz"])
def test_the_members_of_an_archive_are_texts_in_its_order(tmp_path: Path, suffix: str) -> None:
    packed = tar_of({"b.txt": DATA, "a/.hidden": b"x", "a.txt": b"end\n"})
    path = tmp_path / f"texts{suffix}"
    pack = {".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.xz": lzma.compress}.get(suffix)
    path.write_bytes(pack(packed) if pack else packed)
    named = [
        (name, b"".join(block.tobytes() for block in blocks))
        for name, blocks in Reader(level="byte").texts(path)
    ]
    assert named == [(f"{path}:b.txt", DATA), (f"{path}:a.txt", b"end\n")]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("cut", [False, True])
def test_an_archive_that_is_damaged_in_its_middle_is_refused(
    tmp_path: Path, suffix: str, cut: bool
) -> None:
    """tarfile takes a damaged header, but for the first, for the end."""
    packed = bytearray(tar_of({"a.txt": DATA, "b.txt": DATA}))
    header = packed.index(b"b.txt")
    packed[header + 3] ^= 1
    data = bytes(packed[: header + 300] if cut else packed)
    path = tmp_path / f"texts{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == ".tar.gz" else data)
    assert refusal(path).message.startswith(f"{path} is damaged after ")


def test_the_checksum_of_a_compressed_archive_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "texts.tar.gz"
    packed = bytearray(gzip.compress(tar_of({"a.txt": DATA})))
    packed[-8] ^= 1  # of the checksum
    path.write_bytes(packed)
    assert refusal(path).message.startswith(f"{path} is damaged after ")


def test_a_link_in_an_archive_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "texts.zip"
    link = zipfile.ZipInfo("a.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "../elsewhere.txt")
        archive.writestr("b.txt", DATA)
    assert text_of(path) == TEXT


@pytest.mark.parametrize(
    ("offset", "value", "how"),
    [
        (46, 0xFF, " is damaged after 0 bytes"),
        (46, 0, " is damaged after 0 bytes"),  # an empty name
        (6, 99, " is made for a later version of unzip"),
    ],
)
def test_a_zip_file_whose_directory_cannot_be_read_is_named(
    tmp_path: Path, offset: int, value: int, how: str
) -> None:
    path = tmp_path / "texts.zip"
    data = zip_of(path, "ï.txt")
    data[data.index(b"PK\1\2") + offset] = value  # the name, or the version that is needed
    path.write_bytes(data)
    assert refusal(path).message.startswith(f"{path}{how}")


def test_the_members_of_a_zip_file_are_texts_in_sorted_order(tmp_path: Path) -> None:
    path = tmp_path / "texts.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.txt", DATA)
        archive.writestr("a.txt", "one\n")
    assert text_of(path) == "one\n" + TEXT


@pytest.mark.parametrize(
    ("offset", "value", "how"), [(6, 1, "encrypted"), (8, 99, "compressed in a way")]
)
def test_a_member_that_cannot_be_unpacked_is_not_called_damaged(
    tmp_path: Path, offset: int, value: int, how: str
) -> None:
    path = tmp_path / "texts.zip"
    data = zip_of(path, "a.txt")
    data[offset] = data[data.index(b"PK\1\2") + offset + 2] = value  # in both of its headers
    path.write_bytes(data)
    assert refusal(path).message.startswith(f"{path}:a.txt is {how}")


def test_a_damaged_member_of_a_zip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.zip"
    data = zip_of(path, "a.txt")
    path.write_bytes(data.replace(b"naive", b"nbive").replace(b"One fox", b"One fux", 1))
    assert refusal(path).message.startswith(f"{path}:a.txt is damaged after ")


@pytest.mark.parametrize(
    ("suffix", "command"),
    [(".gz", "gzip -dc"), (".xz", "xz -dc"), (".tar.gz", "tar -xOf"), (".zip", "unzip -p")],
)
def test_a_file_that_unpacks_to_far_more_than_a_text_does_is_stopped(
    tmp_path: Path, suffix: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "FREE", 1 << 20)
    path, much = tmp_path / f"bomb{suffix}", b"a" * (1 << 25)
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", much)
    else:
        data = tar_of({"a.txt": much}) if "tar" in suffix else much
        path.write_bytes(PACKED[Path(suffix).suffix or suffix](data))
    error = refusal(path)
    assert "unpacks to more than 200 times its size" in error.message
    assert int(error.message.split("stopped at ")[1].split()[0].replace(",", "")) < len(much) / 2
    assert f"{command} {path} > corpus.txt" in error.hint


def test_what_all_members_of_a_zip_file_unpack_to_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "FREE", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.txt", b"a" * (1 << 19))
    assert "unpacks to more than 200 times its size (stopped at 1," in refusal(path).message


def test_numbers_in_the_header_of_an_archive_that_are_none_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "texts.tar"
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.size": "z"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, headers in (("a.txt", {}), ("b.txt", sparse)):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = 3, headers
            archive.addfile(member, io.BytesIO(b"fox"))
    assert refusal(path).message.startswith(f"{path} is damaged after ")


def test_a_text_that_asks_for_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    class Greedy:
        def read(self, size: int) -> bytes:
            raise MemoryError

    (tmp_path / "a.xz").write_bytes(b"")
    with File(tmp_path / "a.xz", None) as packed:
        stream = Stream("a.xz", Greedy(), packed, ".xz")
        with pytest.raises(CorpusError, match="asks for more than 128 MiB of memory"):
            stream.read(1)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_a_file_without_a_name_is_as_good_as_a_pipe(tmp_path: Path) -> None:
    with open(tmp_path / "text", "w+b") as file:
        assert special(Path(f"/proc/self/fd/{file.fileno()}")) == ""
        (tmp_path / "text").unlink()  # as bash does with what a here-document holds
        assert special(Path(f"/proc/self/fd/{file.fileno()}")) == "a pipe"


# Files that change


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("text.gz" if packed else "text")
    path.write_bytes(gzip.compress(DATA) if packed else DATA)
    blocks = Reader().symbols(path)
    next(blocks)
    os.utime(path, (1, 1))
    with pytest.raises(CorpusError, match="changed while it was read"):
        next(blocks)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("-", "stdin"),
        ("plays.txt", "plays"),
        ("a/plays.tar.gz", "plays"),
        ("plays.txt.xz", "plays"),
        ("plays.tgz", "plays"),
        ("plays", "plays"),
    ],
)
def test_a_text_is_called_by_its_name_without_endings(path: str, name: str) -> None:
    assert title(Path(path)) == name


def test_the_folder_one_is_in_has_a_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plays").mkdir()
    monkeypatch.chdir(tmp_path / "plays")
    assert title(Path()) == "plays"


def test_a_name_that_no_file_can_have_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(DATA)
    assert size_on_disk(tmp_path) == len(DATA)
    for name in ("none", "x" * 5000, "nul\0"):
        assert size_on_disk(tmp_path / name) == 0


def test_a_zip_file_does_not_say_itself_how_much_it_may_unpack_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "FREE", 1 << 10)
    monkeypatch.setattr(decoding_module, "READ", 1 << 12)
    path = tmp_path / "text.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "a" * 30_000_000)
        # what is read beyond the member, as far as its forged size goes
        archive.writestr(".hidden", random.Random(0).randbytes(20_000), zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02") + 20  # the packed size, in the directory
    raw[place : place + 4] = (4_000_000_000).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(CorpusError, match=r"times its size|damaged"):
        Reader().text(path)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_file_of_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text("b" * 300_000)
    before = File.read

    def read(self: File, size: int = -1) -> bytes:
        if self.path.name == "b.txt" and (at_once or self.count):
            raise OSError(5, "Input/output error")
        return before(self, size)

    monkeypatch.setattr(File, "read", read)
    with pytest.raises(CorpusError, match=r"cannot read .*b\.txt: Input/output error"):
        Reader().text(tmp_path)


def test_a_file_of_the_name_of_stdin_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-").write_text("the fox\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"another")))
    assert text_of(Path()) == "the fox\n"


@pytest.mark.parametrize("suffix", [".xz", ".bz2", ".zst"])
def test_the_mark_of_a_text_may_be_cut_by_the_streams_of_its_file(
    tmp_path: Path, suffix: str
) -> None:
    raw = TEXT.encode("utf-16")
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKED[suffix](raw[:1]) + PACKED[suffix](raw[1:]))
    assert text_of(path) == TEXT
