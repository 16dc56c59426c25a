from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.errors import UnknownCharacters
from textgen.text.vocabulary import END, Unknown, Vocabulary

SMALL = Vocabulary("char", " abcdef")
BYTES = Vocabulary("byte")


def vocabulary_of(text: str) -> Vocabulary:
    return Vocabulary("char", "".join(sorted(set(text))))


def codes_of(text: str, level: str) -> np.ndarray:
    if level == "byte":
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def any_text(rng: random.Random, length: int) -> str:
    """Code points from every plane, the surrogates left out."""
    highest = rng.choice([0x7F, 0xFF, 0xD7FF, 0x10FFFF])
    codes = (rng.randint(0, highest) for _ in range(length))
    return "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)


@pytest.mark.parametrize("seed", range(20))
def test_any_text_comes_back_as_it_went_in(seed: int) -> None:
    text = any_text(random.Random(seed), 500)
    vocabulary = vocabulary_of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("seed", range(20))
def test_at_level_byte_any_bytes_come_back_as_they_went_in(seed: int) -> None:
    data = random.Random(seed).randbytes(500)
    ids = BYTES.encode(data.decode("utf-8", "surrogateescape"))
    assert ids.tolist() == list(data)
    assert BYTES.decode(ids).encode("utf-8", "surrogateescape") == data


def test_an_id_is_the_place_of_its_character() -> None:
    text = any_text(random.Random(1), 300)
    vocabulary = vocabulary_of(text)
    assert vocabulary.encode(text).tolist() == [vocabulary.characters.index(c) for c in text]


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")],
)
def test_ids_take_the_smallest_type_that_holds_them_all(size: int, dtype: str) -> None:
    vocabulary = Vocabulary("char", "".join(chr(0x10000 + i) for i in range(size)))
    ids = vocabulary.encode(vocabulary.characters)
    assert vocabulary.dtype == ids.dtype == dtype
    assert ids[-1] == size - 1


def test_level_byte_has_256_symbols_in_one_byte_each() -> None:
    assert len(BYTES) == 256
    assert BYTES.encode("é€").dtype == np.uint8


@pytest.mark.parametrize("unknown", ["error", "skip", "replace"])
@pytest.mark.parametrize("vocabulary", [SMALL, BYTES])
def test_no_text_is_no_ids(vocabulary: Vocabulary, unknown: str) -> None:
    ids = vocabulary.encode("", unknown)
    assert (len(ids), ids.dtype) == (0, vocabulary.dtype)
    assert vocabulary.decode(ids) == ""


def test_an_unknown_character_is_named_with_its_first_place_and_how_often_it_comes() -> None:
    with pytest.raises(UnknownCharacters) as caught:
        SMALL.encode("ab€b€c€", what="the prompt")
    assert caught.value.message == (
        "the prompt has a character the model never saw:"
        " '€' (U+20AC EURO SIGN) at character 3 and 2 more"
    )
    assert "`unknown=skip`" in caught.value.hint
    assert "`unknown=replace`" in caught.value.hint


def test_several_unknown_characters_are_each_named_the_commonest_first() -> None:
    with pytest.raises(UnknownCharacters) as caught:
        SMALL.encode("xazbz")
    assert caught.value.message == (
        "the text has 2 characters the model never saw:"
        " 'z' (U+007A LATIN SMALL LETTER Z) at character 3 and 1 more;"
        " 'x' (U+0078 LATIN SMALL LETTER X) at character 1"
    )


def test_of_many_unknown_characters_five_are_named_and_the_rest_counted() -> None:
    with pytest.raises(UnknownCharacters) as caught:
        SMALL.encode("0123456789")
    assert caught.value.message.startswith("the text has 10 characters the model never saw")
    assert caught.value.message.count("U+") == 5
    assert caught.value.message.endswith("; 5 other characters")


@pytest.mark.parametrize("stranger", ["\0", "!", "g", "é", "\U0010ffff", "\udcff"])
def test_a_character_is_unknown_wherever_it_lies_among_the_known(stranger: str) -> None:
    with pytest.raises(UnknownCharacters, match=f"U\\+{ord(stranger):04X}"):
        SMALL.encode("a" + stranger)


def test_skip_leaves_unknown_characters_out() -> None:
    assert SMALL.decode(SMALL.encode("xaxx bx", "skip")) == "a b"
    assert len(SMALL.encode("xyz", "skip")) == 0


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        (" abe", "AbBa", "abba"),
        (" ABE", "abba", "ABBA"),
        (" abe", "béa", "bea"),
        (" abe", "BÉA", "bea"),
        (" abeé", "É", "é"),
        (" fi", "\ufb01", "fi"),
        (" abe", "a€b", "a b"),
        ("abe", "a€b", "ab"),
        ("abe", "a\udcffb", "ab"),
    ],
    ids=[
        "lower case",
        "upper case",
        "no accent",
        "neither case nor accent",
        "case before accent",
        "ligature",
        "space",
        "nothing where there is no space",
        "a byte that is not UTF-8",
    ],
)
def test_replace_takes_the_nearest_known_form(known: str, text: str, expected: str) -> None:
    vocabulary = vocabulary_of(known)
    assert vocabulary.decode(vocabulary.encode(text, "replace")) == expected


@pytest.mark.parametrize("unknown", ["error", "skip", "replace"])
@pytest.mark.parametrize("has_unknown", [False, True])
def test_each_id_has_the_place_of_its_character(unknown: str, has_unknown: bool) -> None:
    vocabulary = Vocabulary("char", " AEaest", has_unknown=has_unknown)
    text = "tea" if unknown == "error" else "tæa\ufb06É猫st\u0301"
    alone = [len(vocabulary.encode(character, unknown)) for character in text]
    expected = [place for place, count in enumerate(alone) for _ in range(count)]
    assert vocabulary.places(text, unknown).tolist() == expected
    assert len(expected) == len(vocabulary.encode(text, unknown))


def test_the_unknown_symbol_is_the_last_id_and_takes_what_is_replaced() -> None:
    vocabulary = Vocabulary("char", " abe", has_unknown=True)
    assert (len(vocabulary), vocabulary.unknown, SMALL.unknown) == (5, 4, None)
    assert vocabulary.encode("aÉx", "replace").tolist() == [1, 4, 4]
    assert vocabulary.encode("aÉx", "skip").tolist() == [1]
    with pytest.raises(UnknownCharacters):
        vocabulary.encode("aÉx")
    assert vocabulary.decode([1, 4, 2]) == "a\ufffdb"


@settings(deadline=None)
@given(text=st.text(min_size=1))
def test_any_text_of_its_own_characters_comes_back(text: str) -> None:
    vocabulary = vocabulary_of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("seed", range(5))
def test_replace_keeps_known_characters_and_writes_no_other(seed: int) -> None:
    text = any_text(random.Random(seed), 500)
    replaced = SMALL.decode(SMALL.encode(text, "replace"))
    assert set(replaced) <= set(SMALL.characters)
    assert SMALL.decode(SMALL.encode("a" + text + "f", "replace")) == "a" + replaced + "f"


def test_what_is_unknown_is_said_only_where_something_is() -> None:
    def unknown(vocabulary: Vocabulary, text: str) -> str:
        lacking = Unknown(vocabulary)
        for begin in range(0, len(text), 3):
            lacking.add(codes_of(text[begin : begin + 3], vocabulary.level))
        return str(lacking)

    assert unknown(SMALL, "a bad café").startswith("a character the model never saw: 'é'")
    assert unknown(SMALL, "a bad cafe") == ""
    assert unknown(BYTES, "a bad café") == ""
    assert unknown(SMALL, "a € bad € b€€").endswith("SIGN) at character 3 and 3 more")


def test_a_character_of_several_bytes_is_written_once_it_is_whole() -> None:
    decode = BYTES.decoder()
    assert [decode(byte) for byte in "a€b".encode()] == ["a", "", "", "€", "b"]
    assert decode(None) == ""


def test_bytes_that_never_become_a_character_are_written_back_unchanged() -> None:
    decode = BYTES.decoder()
    pieces = [decode(byte) for byte in b"\xe2\x82"] + [decode(None)]
    assert "".join(pieces).encode("utf-8", "surrogateescape") == b"\xe2\x82"


@pytest.mark.parametrize(
    "vocabulary", [Vocabulary("char", " abcdef", True, True), Vocabulary("byte", has_end=True)]
)
def test_the_end_symbol_is_the_last_and_never_shown(vocabulary: Vocabulary) -> None:
    assert vocabulary.end == len(vocabulary) - 1
    ids = [*vocabulary.encode("abc"), vocabulary.end, *vocabulary.encode("def"), vocabulary.end]
    assert vocabulary.decode(ids) == "abcdef"
    assert vocabulary.lookup(np.array([97, END], np.uint32))[1] == vocabulary.end
    assert SMALL.end is None


def test_bytes_held_back_come_at_the_end_symbol() -> None:
    vocabulary = Vocabulary("byte", has_end=True)
    decode = vocabulary.decoder()
    assert decode(0xC3) == ""
    assert decode(256) == "\udcc3"


@pytest.mark.parametrize("has_unknown", [False, True])
def test_the_end_symbol_stays_where_unknown_characters_are_replaced(has_unknown: bool) -> None:
    vocabulary = Vocabulary("char", " abcdef", has_unknown, has_end=True)
    symbols = np.array([END, *map(ord, "Aé"), END], np.uint32)
    ids = vocabulary.encode_symbols(symbols, "replace")
    assert ids[0] == ids[-1] == vocabulary.end
    assert vocabulary.decode(ids) == ("\ufffd\ufffd" if has_unknown else "ae")
    assert vocabulary.encode_symbols(symbols, "skip").tolist() == [vocabulary.end] * 2


@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_at_level_byte_half_a_character_is_refused(unknown: str) -> None:
    with pytest.raises(
        UnknownCharacters, match=r"^the prompt has half of a character at character 3"
    ):
        BYTES.encode("ab\ud800c", unknown, "the prompt")
