from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import prose
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import textgen
from textgen.config import CorpusConfig
from textgen.errors import CorpusError, UsageError
from textgen.events import Reading
from textgen.text import decoding as decoding_module
from textgen.text import encoding as encoding_module
from textgen.text import stream as stream_module
from textgen.text.corpus import Corpus, default_corpus, read_corpus
from textgen.text.decoding import Reader
from textgen.text.vocabulary import Vocabulary

TEXT = prose(200)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "corpus.txt"


def read(*files: Path, **settings: Any) -> Corpus:
    return read_corpus(corpus_config(*files, **settings))


def corpus_config(*files: Path, **settings: Any) -> CorpusConfig:
    others = {"level": "char", "encoding": "utf-8", "val_fraction": 0.1, "val_file": None}
    others |= {"newlines": "lf", "normalize": "none", "min_count": 1, "backward": False}
    others |= {"documents": None, "dedupe": False}
    return CorpusConfig(tuple(map(str, files)), **(others | settings))


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(np.concatenate([corpus.train, corpus.validation]))


def refusal(*files: Path, **settings: Any) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        read(*files, **settings)
    return caught.value


def blocks_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_module, "READ", size)


# Reading


def test_a_text_is_read_as_it_stands(file: Path) -> None:
    text = "Ünïcode, 日本語, \U0001f98a\t\n" + TEXT
    file.write_text(text, encoding="utf-8")
    corpus = read(file)
    assert text_of(corpus) == text
    assert corpus.vocabulary.characters == "".join(sorted(set(text)))
    assert corpus.notices == ()


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 22])
def test_a_byte_order_mark_is_left_out_and_said(
    file: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(block, monkeypatch)
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    corpus = read(file)
    assert text_of(corpus) == TEXT
    assert corpus.notices == (f"{file}: left out the byte-order mark at its start",)


@pytest.mark.parametrize("block", [3, 1 << 22])
def test_only_the_first_of_two_byte_order_marks_is_left_out(
    file: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(block, monkeypatch)
    file.write_text("\ufeff\ufeff" + TEXT, encoding="utf-8")
    assert text_of(read(file)) == "\ufeff" + TEXT


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 22])
@pytest.mark.parametrize(("newline", "name"), [("\r\n", "CRLF"), ("\r", "CR")])
def test_line_ends_of_other_systems_become_lf_and_it_is_said(
    file: Path, newline: str, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(block, monkeypatch)
    file.write_bytes(TEXT.replace("\n", newline).encode())
    corpus = read(file)
    assert text_of(corpus) == TEXT
    assert corpus.notices == (f"{file}: turned {name} line ends into LF",)


def test_mixed_line_ends_are_all_said(file: Path) -> None:
    file.write_bytes(b"one\rtwo\r\nthree\n" * 10)
    corpus = read(file)
    assert text_of(corpus) == "one\ntwo\nthree\n" * 10
    assert corpus.notices == (f"{file}: turned CR and CRLF line ends into LF",)


def test_a_carriage_return_at_the_very_end_is_kept_as_a_line_end(file: Path) -> None:
    file.write_bytes(TEXT.encode() + b"end\r")
    assert text_of(read(file)) == TEXT + "end\n"


@pytest.mark.parametrize("block", range(1, 12))
def test_characters_that_straddle_blocks_are_whole(
    file: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(block, monkeypatch)
    text = "aé€\U0001f98a" * 20
    file.write_text(text, encoding="utf-8")
    assert text_of(read(file)) == text


def whole_file(data: bytes, encoding: str) -> str:
    """What reading comes to, with the file in one piece."""
    text = data.decode(encoding).removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("seed", range(60))
def test_reading_in_blocks_is_reading_the_whole(
    file: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    blocks_of(rng.randint(1, 9), monkeypatch)
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
    pieces = ["\ufeff", "a", "b", "\n", "\r", "\r\n", "é", "€", "\U0001f98a"]
    data = "".join(rng.choices(pieces, k=200)).encode(encoding)
    file.write_bytes(data)
    corpus = read(file, encoding=encoding)
    text = whole_file(data, encoding)
    assert text_of(corpus) == text
    assert corpus.vocabulary.characters == "".join(sorted(set(text)))
    assert corpus.fingerprint == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "Wörter und 日本語\n" * 10),
        ("latin-1", "Les élèves, naïfs\n" * 10),
        ("cp1252", "“Quoted” – dashed\n" * 10),
        ("koi8-r", "Жили-были дед да баба\n" * 10),
        ("shift_jis", "吾輩は猫である\n" * 10),
    ],
)
def test_other_encodings_are_read_when_named(
    file: Path, encoding: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(5, monkeypatch)
    file.write_bytes(text.encode(encoding))
    assert text_of(read(file, encoding=encoding)) == text


def test_level_byte_keeps_every_byte(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(7, monkeypatch)
    data = b"\xef\xbb\xbf\r\n\r\0\xff" + bytes(range(256))
    file.write_bytes(data)
    corpus = read(file, level="byte")
    assert np.concatenate([corpus.train, corpus.validation]).tolist() == list(data)
    assert len(corpus.vocabulary) == 256
    assert corpus.notices == ()


def test_a_large_text_lives_in_a_memory_map_with_the_same_ids(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(TEXT, encoding="utf-8")
    small = read(file)
    monkeypatch.setattr(encoding_module, "IN_MEMORY", len(TEXT) - 1)
    large = read(file)
    assert isinstance(large.train, np.memmap)
    assert isinstance(large.validation, np.memmap)
    assert np.array_equal(large.train, small.train)
    assert np.array_equal(large.validation, small.validation)
    assert not isinstance(small.train, np.memmap)


def test_the_text_in_the_box_can_be_learned_from() -> None:
    corpus = read(default_corpus())
    assert len(corpus.train) > 10_000
    assert corpus.notices == ()


def test_each_file_is_read_once_so_it_cannot_change_in_between(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = tmp_path / "held-out.txt"
    for path in (file, held_out):
        path.write_text(TEXT, encoding="utf-8")
    opened = []

    def counted(path: Path, mode: str) -> Any:
        opened.append(path)
        return path.open(mode)

    monkeypatch.setattr(stream_module, "open", counted, raising=False)
    read(file, val_file=str(held_out))
    assert opened == [file, held_out]


# Parts


@pytest.mark.parametrize(("fraction", "learned"), [(0.1, 900), (0.25, 750), (0.5, 500)])
def test_the_end_of_the_text_is_held_out(file: Path, fraction: float, learned: int) -> None:
    text = prose(1000)
    file.write_text(text, encoding="utf-8")
    corpus = read(file, val_fraction=fraction)
    assert corpus.vocabulary.decode(corpus.train) == text[:learned]
    assert corpus.vocabulary.decode(corpus.validation) == text[learned:]


def test_a_tenth_is_held_out_if_nothing_else_is_said(file: Path) -> None:
    file.write_text(prose(1000), encoding="utf-8")
    corpus = read(file)
    assert (len(corpus.train), len(corpus.validation)) == (900, 100)


def test_a_validation_file_is_held_out_instead(file: Path, tmp_path: Path) -> None:
    file.write_text(TEXT, encoding="utf-8")
    other = tmp_path / "other.txt"
    other.write_text("held out: Ω", encoding="utf-8")
    corpus = read(file, val_file=str(other))
    assert corpus.vocabulary.decode(corpus.train) == TEXT
    assert corpus.vocabulary.decode(corpus.validation) == "held out: Ω"


def test_several_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    texts = [prose(100, seed) for seed in range(3)]
    files = [tmp_path / f"{n}.txt" for n in range(3)]
    for path, text in zip(files, texts, strict=True):
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    corpus = read(*files)
    assert text_of(corpus) == "".join(texts)
    assert corpus.lengths == (100, 100, 100)
    marks = f"{files[0]} and 2 more: left out the byte-order mark at its start"
    assert corpus.notices == (marks,)


def test_a_line_end_is_not_formed_across_two_files(tmp_path: Path) -> None:
    first, second = tmp_path / "1.txt", tmp_path / "2.txt"
    first.write_bytes(TEXT.encode() + b"\r")
    second.write_bytes(b"\n" + TEXT.encode())
    assert text_of(read(first, second)) == TEXT + "\n\n" + TEXT


# Fingerprints


def test_the_fingerprint_is_the_sha256_of_the_file(file: Path) -> None:
    data = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    file.write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert read(file).fingerprint == read(file, level="byte").fingerprint == expected


def test_every_file_counts_in_the_fingerprint(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.txt" for n in range(3)]
    for seed, path in enumerate(files):
        path.write_text(prose(100, seed), encoding="utf-8")
    found = read(*files[:2], val_file=str(files[2])).fingerprint
    assert found == hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


# Refusals


@pytest.mark.parametrize("seed", range(30))
def test_an_invalid_byte_is_named_by_file_line_and_offset(
    file: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    blocks_of(rng.randint(1, 9), monkeypatch)
    pieces = ["a", "\n", "\r\n", "é", "€", "\U0001f98a"]
    before = "".join(rng.choices(pieces, k=rng.randint(0, 300))).encode()
    file.write_bytes(before + b"\xff" + TEXT.encode())
    line = before.count(b"\n") + 1
    error = refusal(file)
    assert error.message == (
        f"{file}, line {line}, byte offset {len(before)}: 0xFF is not valid utf-8"
    )
    assert "`encoding=latin-1`" in error.hint
    assert "`level=byte`" in error.hint


def test_a_character_cut_off_at_the_end_is_an_invalid_byte(file: Path) -> None:
    file.write_bytes(b"one\ntwo\xe2\x82")
    assert "line 2, byte offset 7: 0xE2 is not valid utf-8" in refusal(file).message


def test_invalid_bytes_far_into_a_long_text_are_found(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(1000, monkeypatch)
    line = "é" * 49 + "\n"
    file.write_bytes(line.encode() * 3000 + b"\xc3(" + line.encode())
    assert "line 3001, byte offset 297000: 0xC3" in refusal(file).message


def test_text_that_is_not_in_the_encoding_named_is_refused_and_utf_8_suggested(file: Path) -> None:
    file.write_text(TEXT + "é", encoding="utf-8")
    error = refusal(file, encoding="ascii")
    assert f"byte offset {len(TEXT)}: 0xC3 is not valid ascii" in error.message
    assert "`encoding=utf-8`" in error.hint


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_decides_on_the_encoding_and_it_is_said(
    file: Path, encoding: str
) -> None:
    file.write_bytes(("\ufeff" + TEXT).encode(encoding))
    corpus = read(file)
    assert text_of(corpus) == TEXT
    assert corpus.notices == (f"{file}: read as {encoding[:6]}, as its byte-order mark says",)


def test_a_binary_file_is_refused_and_level_byte_suggested(file: Path) -> None:
    file.write_bytes(b"\x7fELF\x02\x01\x01\0\0\0" + TEXT.encode())
    error = refusal(file)
    assert "binary" in error.message
    assert "byte offset 7" in error.message
    assert "`level=byte`" in error.hint


def test_a_zero_byte_is_found_wherever_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(64, monkeypatch)
    file.write_bytes(TEXT.encode() + b"\0" + TEXT.encode())
    assert f"zero byte at byte offset {len(TEXT)}" in refusal(file).message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"a" * 500, "one distinct character, 'a' (U+0061 LATIN SMALL LETTER A)"),
        (b"\r\n" * 500, "one distinct character, '\\n' (U+000A)"),
        (b"ab" * 31 + b"c", "63 characters; expected 64 or more"),
    ],
    ids=["empty", "a byte-order mark alone", "one character", "line ends alone", "too short"],
)
def test_a_text_too_poor_to_learn_from_is_refused_with_why(
    file: Path, data: bytes, why: str
) -> None:
    file.write_bytes(data)
    error = refusal(file)
    assert error.message.startswith(str(file))
    assert why in error.message
    assert error.hint


def test_the_shortest_text_is_enough(file: Path) -> None:
    file.write_text("ab" * 32, encoding="utf-8")
    assert text_of(read(file)) == "ab" * 32


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_split_that_leaves_a_part_without_text_is_refused(file: Path, fraction: float) -> None:
    file.write_text(TEXT, encoding="utf-8")
    assert f"`val_fraction={fraction}` leaves" in refusal(file, val_fraction=fraction).message


def test_an_empty_validation_file_is_refused(file: Path, tmp_path: Path) -> None:
    file.write_text(TEXT, encoding="utf-8")
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert f"`val_file={empty}` leaves 200 characters for training and 0" in (
        refusal(file, val_file=str(empty)).message
    )


def test_of_a_validation_file_that_is_too_short_its_own_setting_is_named(
    file: Path, tmp_path: Path
) -> None:
    file.write_text(TEXT, encoding="utf-8")
    (tmp_path / "short.txt").write_text("T")
    error = refusal(file, val_file=str(tmp_path / "short.txt"))
    assert "`val_file" in error.hint
    assert "val_fraction" not in error.message + error.hint


def test_of_a_missing_file_the_one_with_the_nearest_name_is_suggested(
    file: Path, tmp_path: Path
) -> None:
    file.touch()
    error = refusal(tmp_path / "corpsu.txt")
    assert error.message.startswith(f"no such file: {tmp_path / 'corpsu.txt'}")
    assert error.hint == f"did you mean {file}"


def test_neither_a_folder_nor_a_name_unlike_it_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "moptions").touch()
    assert refusal(tmp_path / "optt").hint == f"see what is there: ls {tmp_path}"
    assert refusal(tmp_path / "none" / "of" / "x").hint == f"see what is there: ls {tmp_path}"
    assert (
        refusal(tmp_path / "opt" / ("x" * 999) / "y").hint
        == f"see what is there: ls {tmp_path / 'opt'}"
    )


def test_a_suggested_name_is_quoted_as_a_shell_needs(tmp_path: Path) -> None:
    (tmp_path / "two words.txt").touch()
    hint = refusal(tmp_path / "two word.txt").hint
    assert hint == f"did you mean '{tmp_path / 'two words.txt'}'"


def test_a_missing_file_unlike_any_other_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "no" / "x.txt") in refusal(tmp_path / "no" / "x.txt").message


def test_a_file_without_leave_to_read_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    file.write_text("text", encoding="utf-8")
    monkeypatch.setattr(stream_module, "open", forbidden, raising=False)
    error = refusal(file)
    assert error.message == f"no permission to read {file}"
    assert error.hint == f"chmod u+r {file}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_because_a_corpus_is_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        error = refusal(pipe)
    finally:
        os.close(writer)
    assert "is a pipe" in error.message
    assert f"cat {pipe} > corpus.txt" in error.hint


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs devices")
@pytest.mark.parametrize("level", ["char", "byte"])
def test_a_device_is_refused_before_it_is_opened(level: str) -> None:
    for name in ("/dev/zero", "/dev/null", "/dev/urandom"):
        assert refusal(Path(name), level=level).message == f"{name} is a device; expected a text"


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(CorpusError, match="symbolic links"):
        next(textgen.train(tmp_path / "one", checkpoints=tmp_path / "runs", steps=1))


# Rare characters


def test_rarer_characters_become_the_unknown_symbol(file: Path) -> None:
    file.write_text("ab" * 50 + "cc" + "d" + "ab" * 50, encoding="utf-8")
    corpus = read(file, min_count=2)
    assert corpus.vocabulary == Vocabulary("char", "abc", has_unknown=True)
    assert text_of(corpus) == "ab" * 50 + "cc" + "\ufffd" + "ab" * 50
    assert corpus.counts.tolist() == [100, 100, 2, 1]
    again = read_corpus(corpus_config(file, min_count=2), corpus.vocabulary, corpus.fingerprint)
    assert text_of(again) == text_of(corpus)


def test_a_text_of_rare_characters_alone_is_refused(file: Path) -> None:
    file.write_text(TEXT, encoding="utf-8")
    assert "`min_count=1000` leaves 0 distinct characters" in refusal(file, min_count=1000).message


@pytest.mark.parametrize("setting", [{"min_count": 2}, {"normalize": "nfc"}], ids=str)
def test_what_reads_characters_is_refused_at_level_byte(
    file: Path, setting: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="expected level char"):
        corpus_config(file, level="byte", **setting)


@pytest.mark.parametrize(
    ("characters", "block", "dtype"), [(700, 300, np.uint16), (70_000, 100_000, np.uint32)]
)
def test_more_characters_than_a_type_counts_widen_the_ids(
    file: Path, characters: int, block: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(block, monkeypatch)
    text = TEXT + "".join(map(chr, range(0x20000, 0x20000 + characters))) + TEXT
    file.write_text(text, encoding="utf-8")
    corpus = read(file)
    assert text_of(corpus) == text
    assert corpus.train.dtype == dtype
    counts = Counter(text)
    assert corpus.counts.tolist() == [counts[c] for c in corpus.vocabulary.characters]


def test_how_much_was_read_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(64, monkeypatch)
    file.write_text(TEXT, encoding="utf-8")
    told: list[Reading] = []
    read_corpus(corpus_config(file), progress=told.append)
    assert {event.total for event in told} == {len(TEXT)}
    assert told[0].done == 64
    assert told[-1].done == len(TEXT)


# Round trips

UNICODE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)


def content(corpus: Corpus) -> bytes:
    ids = np.concatenate([corpus.train, corpus.validation])
    return corpus.vocabulary.decode(ids).encode("utf-8", "surrogateescape")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=UNICODE, level=st.sampled_from(["char", "byte"]), block=st.integers(1, 500))
def test_ids_decode_to_the_text_they_were_made_from(
    tmp_path: Path, text: str, level: str, block: int
) -> None:
    written = TEXT + text  # which alone may be too short; a mark at its start would be left out
    (tmp_path / "text").write_bytes(written.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding_module, "READ", block)
        corpus = read(tmp_path / "text", level=level, newlines="keep")
    assert content(corpus) == written.encode()


@given(noise=st.binary(max_size=300))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_text_come_back(tmp_path: Path, noise: bytes) -> None:
    written = TEXT.encode() + noise
    (tmp_path / "noise").write_bytes(written)
    assert content(read(tmp_path / "noise", level="byte")) == written


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("name", ["fables.txt", "names.txt", "tunes.abc"])
def test_a_bundled_corpus_comes_back(name: str, level: str) -> None:
    file = default_corpus().with_name(name)
    assert content(read(file, level=level, newlines="keep")) == file.read_bytes()


# Encoding with the vocabulary of a model


def test_ids_follow_the_vocabulary_given(file: Path) -> None:
    file.write_text("ba" * 50, encoding="utf-8")
    config = corpus_config(file)
    corpus = read_corpus(config, Vocabulary("char", "\n abc"))
    assert corpus.train[:4].tolist() == [3, 2, 3, 2]


def test_a_character_that_the_vocabulary_given_lacks_is_refused(file: Path) -> None:
    file.write_text("ab" * 50 + "x", encoding="utf-8")
    with pytest.raises(CorpusError, match="not in the run's vocabulary"):
        read_corpus(corpus_config(file), Vocabulary("char", "ab"))


# Texts to score or to go on from


def test_a_text_is_read_as_a_corpus_is(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    assert Reader().text(file) == "one\ntwo\n"
    assert Reader(encoding="latin-1").text(file) == "ï»¿one\ntwo\n"


def test_at_level_byte_a_text_is_left_as_it_is(file: Path) -> None:
    data = b"\xef\xbb\xbfone\r\n\xff"
    file.write_bytes(data)
    assert Reader(level="byte").text(file).encode("utf-8", "surrogateescape") == data
