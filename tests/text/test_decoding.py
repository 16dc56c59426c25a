from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textgen.config import Choices, CorpusConfig
from textgen.errors import CorpusError
from textgen.text import decoding as decoding_module
from textgen.text import normal
from textgen.text.decoding import Reader
from textgen.text.vocabulary import END

SCRIPTS = [
    "春眠不覚暁、処処聞啼鳥。\n",
    "بِسْمِ ٱللَّٰهِ\n",
    "नमस्ते दुनिया\n",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301\n",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "text"


def block_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_module, "READ", size)


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("block", [1, 3, 1 << 18])
def test_scripts_and_joined_emoji_come_as_they_are(
    file: Path, text: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    block_size(block, monkeypatch)
    file.write_text(text, encoding="utf-8")
    reader = Reader()
    assert reader.text(file) == text
    assert reader.notices == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(), block=st.integers(1, 9))
def test_with_newlines_kept_any_text_comes_as_it_is(tmp_path: Path, text: str, block: int) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as monkeypatch:
        block_size(block, monkeypatch)
        if "\0" not in text:
            assert Reader(newlines="keep").text(path) == text.removeprefix("\ufeff")
        raw = Reader(level="byte").text(path)
        assert raw.encode("utf-8", "surrogateescape") == text.encode()


@pytest.mark.parametrize("newlines", ["\r\n", "\r", "\n"])
def test_line_ends_are_kept_on_request(file: Path, newlines: str) -> None:
    text = f"one{newlines}two{newlines}"
    file.write_bytes(text.encode())
    reader = Reader(newlines="keep")
    assert reader.text(file) == text
    assert reader.notices == []


COMPOSING = "e\u0301\u0323a\u030aAカ\u3099ｶﾞ\u1100\u1161\u11a8각ﬁ\u09c7\u09be½\n \u0fb2\u0f71\u0f80"


@pytest.mark.parametrize("form", ["nfc", "nfkc"])
@pytest.mark.parametrize("seed", range(30))
def test_a_normal_form_in_blocks_is_that_of_the_whole(
    file: Path, form: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    block_size(rng.randint(1, 9), monkeypatch)
    text = "".join(rng.choices(COMPOSING, k=300))
    file.write_text(text, encoding="utf-8")
    whole = unicodedata.normalize("NFC" if form == "nfc" else "NFKC", text)
    assert Reader(normalize=form).text(file) == whole


def test_wherever_a_normal_form_is_cut_the_parts_are_the_whole() -> None:
    begins = normal._begins
    for code in (*range(0xD800), *range(0xE000, 0x20000)):
        character = chr(code)
        if begins(character):
            for before in "eカ\u1100가\u09c7":
                for form in ("NFC", "NFKC"):
                    joined = unicodedata.normalize(form, before + character)
                    apart = unicodedata.normalize(form, character)
                    assert joined == unicodedata.normalize(form, before) + apart, hex(code)


@pytest.mark.parametrize(
    ("encoding", "data"), [("unicode_escape", b"fox \\ud83d den"), ("utf-7", b"fox +2AE- den")]
)
def test_half_a_character_is_refused_where_an_encoding_can_write_it(
    file: Path, encoding: str, data: bytes
) -> None:
    file.write_bytes(data)
    with pytest.raises(CorpusError, match=rf"holds U\+D8.., .* in {encoding}"):
        Reader(encoding=encoding).text(file)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_byte_order_that_is_hinted_at_is_of_the_same_encoding(
    file: Path, encoding: str
) -> None:
    file.write_bytes("fox".encode(f"{encoding}-le"))
    with pytest.raises(CorpusError) as caught:
        Reader(encoding=encoding).text(file)
    assert f"`encoding={encoding}-le`" in caught.value.hint


@pytest.mark.parametrize("raw", [b"abc\xffdef", b"abc\0def"])
def test_a_hint_names_no_setting_where_a_model_has_them(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    config = CorpusConfig.of(Choices(), ("a.txt",))
    for fixed, reader in ((False, Reader.of(config)), (True, Reader.of_model(config))):
        with pytest.raises(CorpusError) as caught:
            reader.text(tmp_path / "a.txt")
        assert ("`level=byte`" in caught.value.hint) != fixed
        assert ("the model reads utf-8" in caught.value.hint) == fixed


def test_a_folder_of_other_files_is_told_what_the_model_reads(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\0\0")
    config = CorpusConfig.of(Choices(), ("a.txt",))
    for reader, hint in (
        (Reader.of(config), "`level=byte` models any file"),
        (Reader.of_model(config), "the model reads utf-8"),
    ):
        with pytest.raises(CorpusError, match="a folder without text, left out 1 binary") as caught:
            reader.text(tmp_path)
        assert caught.value.hint.startswith(hint)


def test_a_mark_decides_and_so_no_other_encoding_is_proposed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("上上\n上\n上".encode("utf-16") + b"\0")
    with pytest.raises(CorpusError, match=r"line 3, byte offset 14: 0x00 is not valid utf-16") as e:
        Reader().text(path)
    assert e.value.hint.startswith("get the file anew")
    assert "`encoding" not in e.value.hint


@pytest.mark.parametrize(
    ("documents", "how"),
    [
        ("…", {"normalize": "nfkc"}),
        ("e\u0301", {"normalize": "nfc"}),
        ("\r\n\r\n", {}),
    ],
)
def test_a_separator_is_read_as_the_text_is(
    tmp_path: Path, documents: str, how: dict[str, str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f"fox{documents}crow".encode())
    reader = Reader.of(CorpusConfig.of(Choices(documents=documents, **how), (str(path),)))
    found = np.concatenate([*reader.symbols(path)])
    assert (found == END).sum() == 3


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-be", "utf-16-le"])
def test_a_fault_far_into_a_text_of_wide_characters_has_its_line(file: Path, encoding: str) -> None:
    text = "\ufeff" + "a line of some thirty characters\n" * 20_000
    file.write_bytes(text.encode(encoding) + "\ud800".encode(encoding, "surrogatepass"))
    with pytest.raises(CorpusError, match=r"line 20001, byte offset"):
        Reader().text(file)


def test_a_text_without_a_mark_is_told_so_by_later_versions_of_python_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Decoder:
        def decode(self, data: bytes, final: bool) -> str:
            raise UnicodeDecodeError("utf-16", data, 0, 2, "Stream does not start with BOM")

    file.write_bytes("fox".encode("utf-16-le"))
    real = decoding_module.codecs.getincrementaldecoder
    monkeypatch.setattr(
        decoding_module.codecs,
        "getincrementaldecoder",
        lambda name: Decoder if name == "utf-16" else real(name),
    )
    with pytest.raises(CorpusError) as caught:
        Reader(encoding="utf-16").text(file)
    assert "`encoding=utf-16-le`" in caught.value.hint
