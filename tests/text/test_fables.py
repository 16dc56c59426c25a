from __future__ import annotations

import lzma
import re

from textgen.text.corpus import default_corpus

TEXT = default_corpus().read_text(encoding="utf-8")


def test_there_is_enough_to_learn_from() -> None:
    assert len(TEXT) >= 150_000


def test_every_fable_has_a_title_a_tale_and_a_moral() -> None:
    fables = TEXT.strip("\n").split("\n\n\n")
    assert len(fables) > 200
    assert sum('"' in fable for fable in fables) > 0.95 * len(fables)
    for fable in fables:
        title, *tale, moral = fable.split("\n\n")
        assert re.fullmatch(r"[A-Z][A-Z' ,\n-]+", title), title
        assert tale, title
        assert moral.startswith("Moral: "), title


def test_no_sentence_stands_twice() -> None:
    sentences = [" ".join(s.split()) for s in re.split(r"(?<=[.!?])[\"']?\s+", TEXT)]
    long = [s for s in sentences if len(s) > 40]
    assert len(long) > 1000
    assert len(set(long)) == len(long)


def test_it_is_written_not_filled_in_from_templates() -> None:
    packed = lzma.compress(TEXT.encode(), preset=9)
    assert len(packed) >= 0.30 * len(TEXT)
