from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_corpus import corpus_config

from textgen.errors import CorpusError
from textgen.text import cache as cache_module
from textgen.text import corpus as corpus_module
from textgen.text import documents as documents_module
from textgen.text import encoding as encoding_module
from textgen.text.corpus import Corpus, read_corpus
from textgen.text.documents import Places, digests, laid_out, places_of

NAMES = [f"name-{n * n}" for n in range(40)]


def written(path: Path, documents: list[str], between: str = "\n") -> Path:
    path.write_text(between.join(documents) + "\n", encoding="utf-8")
    return path


def read(*files: Path, documents: str = "line", **settings: Any) -> Corpus:
    return read_corpus(corpus_config(*files, documents=documents, **settings))


def parts_of(corpus: Corpus) -> tuple[list[str], list[str]]:
    """The documents of both parts."""
    end, found = corpus.vocabulary.end, []
    for ids in (corpus.train, corpus.validation):
        assert ids[0] == ids[-1] == end
        texts = np.split(ids[1:], np.flatnonzero(ids[1:] == end))[:-1]
        found.append([corpus.vocabulary.decode(text) for text in texts])
    return found[0], found[1]


def all_of(corpus: Corpus) -> list[str]:
    train, held_out = parts_of(corpus)
    return train + held_out


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_the_split_keeps_documents_whole(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "_BLOCK", block)
    corpus = read(written(tmp_path / "a", NAMES), val_fraction=0.25)
    train, held_out = parts_of(corpus)
    assert sorted(train + held_out) == sorted(NAMES)
    assert len(held_out) == 10
    assert held_out != NAMES[30:]
    assert corpus.documents == 40
    assert corpus.duplicates == 0
    both = np.concatenate([corpus.train, corpus.validation])
    assert corpus.counts.tolist() == np.bincount(both, minlength=len(corpus.vocabulary)).tolist()


def test_each_reading_holds_out_the_same(tmp_path: Path) -> None:
    file = written(tmp_path / "a", NAMES)
    assert parts_of(read(file)) == parts_of(read(file))


def test_a_validation_file_is_cut_too(tmp_path: Path) -> None:
    files = written(tmp_path / "a", NAMES), written(tmp_path / "b", ["held", "out"])
    assert parts_of(read(files[0], val_file=str(files[1]))) == (NAMES, ["held", "out"])


def test_files_and_what_a_separator_divides_are_documents(tmp_path: Path) -> None:
    tales = ["one\ntwo", "three\n\nfour", "five", "six", "seven" * 20]
    for number, tale in enumerate(tales):
        (tmp_path / f"{number}.txt").write_text(tale)
    assert sorted(all_of(read(tmp_path, documents="file"))) == sorted(tales)
    file = written(tmp_path / "all", tales, "\n%\n")
    assert sorted(all_of(read(file, documents=r"\n%\n"))) == sorted(tales)


def test_at_level_byte_the_end_symbol_is_not_a_byte(tmp_path: Path) -> None:
    corpus = read(written(tmp_path / "a", ["é", *NAMES]), level="byte")
    assert len(corpus.vocabulary) == 257
    assert corpus.vocabulary.end == 256
    assert sorted(all_of(corpus)) == sorted(["é", *NAMES])


def test_with_min_count_there_is_an_unknown_symbol_beside_the_end_symbol(tmp_path: Path) -> None:
    corpus = read(written(tmp_path / "a", ["é", *NAMES]), min_count=2)
    assert corpus.vocabulary.unknown == len(corpus.vocabulary) - 2
    assert corpus.vocabulary.end == len(corpus.vocabulary) - 1
    assert "\ufffd" in all_of(corpus)


@pytest.mark.parametrize("block", [5, 1 << 20])
def test_duplicates_are_told_and_left_out_on_request(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "_BLOCK", block)
    file = written(tmp_path / "a", [*NAMES, *NAMES[5:10], "eman"])
    corpus = read(file)
    assert (corpus.documents, corpus.duplicates) == (46, 5)
    assert "5 of 46 documents (10.9%) are duplicates" in corpus.notices[0]
    corpus = read(file, dedupe=True)
    assert (corpus.documents, corpus.duplicates) == (41, 0)
    assert corpus.notices == ("left out 5 of 46 documents, which stood there before",)
    assert Counter(all_of(corpus)) == Counter([*NAMES, "eman"])


def test_held_out_documents_that_are_learned_too_are_counted(tmp_path: Path) -> None:
    file, other = written(tmp_path / "a", [*NAMES, *NAMES[:20]]), tmp_path / "b"
    corpus = read(file, val_fraction=0.5)
    train, held_out = parts_of(corpus)
    known = sum(name in train for name in held_out)
    assert 0 < known < 20
    told = f"20 of 60 documents (33.3%) are duplicates, and {known} of 30 held out are learned too"
    assert corpus.notices == (f"{told}; `dedupe` leaves them out",)
    apart = read(file, val_file=str(written(other, ["x", "y"])), val_fraction=0.1)
    told = "20 of 62 documents (32.3%) are duplicates; `dedupe` leaves them out"
    assert apart.notices == (told,)


def test_a_digest_depends_on_the_characters_and_their_order_alone() -> None:
    ids = np.array([9, 1, 2, 9, 2, 1, 9, 1, 2, 9, 1, 9, 3, 0, 9], np.uint8)
    found = digests(ids, places_of(ids, 9))
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 4
    assert digests(ids.astype(np.int64), Places(np.array([6]), np.array([9])))[0] == found[0]


def test_a_large_part_is_laid_out_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.array([9, 1, 2, 9, 9, 2, 1, 9, 1, 9], np.uint8)
    places = places_of(ids, 9)
    monkeypatch.setattr(encoding_module, "IN_MEMORY", 0)
    part = laid_out(ids, [places.of(np.array([0, 2]))], 9)
    assert isinstance(part, np.memmap)
    assert part.tolist() == [9, 1, 2, 9, 1, 9]


def test_the_cache_keeps_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus_module, "WORTH", 0.0)
    monkeypatch.setattr(cache_module, "AT_REST", -1.0)
    file = written(tmp_path / "a", [*NAMES, *NAMES[:4]])
    before = read(file)
    read(file, dedupe=True)
    monkeypatch.setattr(corpus_module, "_encode", None)
    for dedupe in (False, True):
        after = read(file, dedupe=dedupe)
        assert after.vocabulary == before.vocabulary
        assert after.documents == 44 - 4 * dedupe
    assert parts_of(read(file)) == parts_of(before)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("one\n" * 30, {"documents": "%"}, r"`documents=%` does not occur in .*; expected it"),
        ("one\n" * 30, {"documents": "\t"}, r"`documents=\\t` does not occur in "),
        ("\n" * 99, {"documents": "line"}, r"holds empty documents alone \(`documents=line`\)"),
        ("one two\n" * 30, {"documents": "file"}, r"holds 1 document .* expected 4 or more"),
        (f"{'a' * 90}\nb\nc\n", {}, r"holds 3 documents \(`documents=line`\); expected 4 or more"),
        ("one two\n" * 30, {"dedupe": True}, r"holds 1 document .* expected 4 or more"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    tmp_path: Path, text: str, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / "a", **settings)


def test_a_part_without_documents_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "b"
    empty.write_text("\n\n")
    with pytest.raises(CorpusError, match=r"holds 40 documents .*, 0 of them held out"):
        read(written(tmp_path / "a", NAMES), val_file=str(empty))
