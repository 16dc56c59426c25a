from __future__ import annotations

from pathlib import Path

import pytest
from conftest import WORDS, prose, train

import textgen
from textgen.errors import CorpusError, UsageError
from textgen.inference.novelty import Novelty


def test_what_was_asked_about_before_is_not_unique(lines: Path) -> None:
    novelty = Novelty(textgen.load(lines), unique=True, novel=False, given="")
    assert [novelty.is_new(text) for text in ("fox", "", "fox", "foxking", "", "crow")] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_what_stands_in_either_part_of_the_corpus_is_not_novel(lines: Path) -> None:
    model = textgen.load(lines)
    novelty = Novelty(model, unique=False, novel=True, given="")
    assert not any(novelty.is_new(a + b) for a in WORDS for b in WORDS)
    assert all(novelty.is_new(text) for text in ("fox", "foxfoxfox", "kingfo", "", "foxfo", "~"))
    given = Novelty(model, unique=False, novel=True, given="fox")
    assert [given.is_new(text) for text in ("king", "kin", "foxking")] == [False, True, True]


def test_a_model_that_reads_backward_compares_in_reading_order(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(a + b for a in WORDS for b in WORDS))
    train(file, tmp_path, steps=1, documents="line", backward=True)
    novelty = Novelty(textgen.load(tmp_path / "words"), unique=False, novel=True, given="fox")
    assert [novelty.is_new(text) for text in ("king", "gnik", "")] == [False, True, True]


def test_what_was_given_is_compared_in_the_normal_form_of_the_corpus(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(f"café {word}" for word in WORDS), encoding="utf-8")
    train(file, tmp_path, steps=1, documents="line", normalize="nfc")
    model = textgen.load(tmp_path / "words")
    novelty = Novelty(model, unique=False, novel=True, given="cafe\u0301 ")
    assert [novelty.is_new(text) for text in (WORDS[0], "~")] == [False, True]


def test_a_corpus_that_is_gone_or_not_cut_is_refused(
    lines: Path, trained: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.txt"
    file.write_text(prose(2000))
    train(file, tmp_path, steps=1, documents="line")
    file.unlink()
    with pytest.raises(CorpusError, match="`novel` compares with the text of the run: no such"):
        Novelty(textgen.load(tmp_path / "a"), unique=False, novel=True, given="")
    with pytest.raises(UsageError, match="not cut into documents"):
        Novelty(textgen.load(trained), unique=False, novel=True, given="")


def test_a_document_with_a_character_that_reads_as_unknown_is_found(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(a + b for a in WORDS for b in WORDS) + "\nfoxΩfoxking")
    train(file, tmp_path, steps=1, documents="line", min_count=2)
    model = textgen.load(tmp_path / "words")
    found = [Novelty(model, unique=False, novel=True, given=g) for g in ("foxΩfox", "foxΩ", "Ωfox")]
    assert [novelty.is_new("king") for novelty in found] == [False, True, True]
