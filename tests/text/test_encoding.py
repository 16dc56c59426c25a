"""Texts as numbers: what occurs, how often, and the ids that come of it."""

import io

import numpy as np
import pytest

from textgen.text.encoding import PAIRED, Numbered, in_order
from textgen.text.vocabulary import END, Vocabulary


def symbols(text: str) -> np.ndarray:
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def drawn(characters: str, size: int) -> str:
    return "".join(np.random.default_rng(size).choice([*characters], size))


@pytest.mark.parametrize(
    "alphabets",
    [
        ["the quick\n"],  # ASCII alone
        ["abc", "abсдé", "cde"],
        ["abc", "".join(map(chr, range(0x100, 0x1E0))), "abz"],  # numbers of two bytes
    ],
)
@pytest.mark.parametrize("size", [1001, PAIRED, 2 * PAIRED + 1])
def test_every_symbol_is_counted_and_gets_its_id(alphabets: list[str], size: int) -> None:
    blocks = [drawn(characters, size) for characters in alphabets]
    numbered = Numbered(io.BytesIO(), "char")
    for block in blocks:
        numbered.add(symbols(block))
    text = "".join(blocks)
    assert {chr(c): int(n) for c, n in zip(numbered.codes, numbered.counts, strict=True)} == {
        character: text.count(character) for character in set(text)
    }
    vocabulary = Vocabulary("char", "".join(sorted(set(text))))
    ids, counts = in_order(numbered, vocabulary, None)
    assert ids.dtype == vocabulary.dtype
    assert vocabulary.decode(ids) == text
    assert counts.tolist() == [text.count(character) for character in vocabulary.characters]


def test_bytes_and_ends_of_documents_are_counted() -> None:
    data = np.random.default_rng(0).integers(0, 256, 2 * PAIRED + 1).astype(np.uint8)
    numbered = Numbered(io.BytesIO(), "byte")
    for block in (np.array([END], np.uint32), data, np.array([END], np.uint32)):
        numbered.add(block)
    ids, counts = in_order(numbered, Vocabulary("byte", has_end=True), None)
    assert ids.tolist() == [256, *data.tolist(), 256]
    assert counts.tolist() == [*np.bincount(data, minlength=256).tolist(), 2]


def test_what_the_vocabulary_lacks_is_the_unknown_symbol() -> None:
    numbered = Numbered(io.BytesIO(), "char")
    numbered.add(symbols("abcab" * PAIRED))
    ids, counts = in_order(numbered, Vocabulary("char", "ab", has_unknown=True), None)
    assert ids[:5].tolist() == [0, 1, 2, 0, 1]
    assert counts.tolist() == [2 * PAIRED, 2 * PAIRED, PAIRED]


def test_many_small_texts_take_no_room_each() -> None:
    file = io.BytesIO()
    numbered = Numbered(file, "char")
    for _ in range(1000):
        for text in ("ab", "é", "b"):
            numbered.add(symbols(text))
    numbered.add(symbols("c" * 300_000))
    assert len(numbered._runs) == 1
    vocabulary = Vocabulary("char", "abcé")
    blocks = [*numbered.ids(vocabulary)]
    assert max(map(len, blocks)) <= 1 << 18
    assert vocabulary.decode(np.concatenate(blocks)) == "abéb" * 1000 + "c" * 300_000
