from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from textgen.config import Choices, CorpusConfig
from textgen.text import statistics as statistics_module
from textgen.text.corpus import Corpus, read_corpus
from textgen.text.statistics import lines_of, oddest, rarest, script_of, scripts
from textgen.text.vocabulary import Vocabulary


def corpus_of(tmp_path: Path, text: str, level: str = "char") -> Corpus:
    """All but the last 2 characters to train on."""
    path = tmp_path / "text"
    path.write_text(text + "\n\n", encoding="utf-8")
    choices = Choices(level=level, val_fraction=1.5 / (len(text) + 2))
    return read_corpus(CorpusConfig.of(choices, (str(path),), None), cache=False)


@pytest.mark.parametrize(
    ("characters", "script"),
    [
        ("aZéß", "Latin"),
        ("жЯ", "Cyrillic"),
        ("あ", "Hiragana"),
        ("猫字", "Han"),
        ("नद", "Devanagari"),
        ("ب", "Arabic"),
        ("\u0301", "Mark"),
        ("059", "Digit"),
        (".,«", "Punctuation"),
        ("+€🦊", "Symbol"),
        (" \u00a0", "Space"),
        ("\n", "Line end"),
        ("\t\x07\u200d", "Control"),
    ],
)
def test_a_character_has_a_script_or_a_kind(characters: str, script: str) -> None:
    assert {script_of(c) for c in characters} == {script}


def test_an_alphabet_is_counted_by_script_the_most_first() -> None:
    assert scripts(Vocabulary("char", "\n .abcжя")) == {
        "Latin": 3,
        "Cyrillic": 2,
        "Line end": 1,
        "Space": 1,
        "Punctuation": 1,
    }
    assert scripts(Vocabulary("byte")) == {}


def test_the_rarest_and_the_oddest_are_named_with_their_counts(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, "abc " * 30 + "é\x07\ufffd\ufffd")
    assert rarest(corpus)[:3] == [("\x07", 1), ("é", 1), ("\n", 2)]
    assert oddest(corpus) == [("\x07", 1), ("\ufffd", 2)]


LINE, OTHER = "A line of thirty characters...\n", "Another line of thirty or more.\n"


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_lines_and_what_repeats_itself_are_measured(
    tmp_path: Path, level: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_module, "_BLOCK", block)
    text = LINE + OTHER + "\n" + LINE + "short\n" * 4 + "\n" + LINE + OTHER + "\n"
    found = lines_of(corpus_of(tmp_path, text, level))
    assert found is not None
    assert (found.examined, found.lines, found.longest) == (len(text), 12, 31)
    assert found.median == np.median([30, 31, 0, 30, 5, 5, 5, 5, 0, 30, 31, 0])
    assert found.repeated_lines == pytest.approx((30 + 30 + 31) / (30 * 3 + 31 * 2))
    assert found.repeated_paragraphs == pytest.approx(62 / (62 + 54 + 62))


def test_a_text_without_line_ends_has_no_lines(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, "ab" * 60)
    assert lines_of(corpus) is not None
    plain = Corpus(corpus.train, corpus.train, Vocabulary("char", "ab"), "")
    assert lines_of(plain) is None


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_a_line_ends_with_its_document(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_module, "_BLOCK", block)
    file = tmp_path / "text.txt"
    file.write_text((LINE + OTHER + "\n") * 20)
    own = CorpusConfig.of(Choices(documents="\n\n"), (str(file),), None)
    corpus = read_corpus(own, cache=False)
    found, documents = lines_of(corpus), (corpus.train == corpus.vocabulary.end).sum() - 1
    assert found is not None
    assert (found.lines, found.longest) == (2 * documents, 31)
    assert found.repeated_paragraphs > 0.8
    lines = read_corpus(
        CorpusConfig.of(Choices(documents="line", level="byte"), (str(file),), None), cache=False
    )
    of_lines = lines_of(lines)
    assert of_lines is not None
    assert of_lines.longest == 31


def test_the_last_line_counts_where_nothing_ends_it(tmp_path: Path) -> None:
    found = lines_of(corpus_of(tmp_path, LINE * 2 + "short\n" + 3 * LINE[:-1]))
    assert found is not None
    assert (found.lines, found.longest) == (4, 90)
    assert found.repeated_lines == pytest.approx(30 / (2 * 30 + 90))


def test_the_end_of_a_file_that_is_a_document_is_no_line(tmp_path: Path) -> None:
    for n in range(20):
        (tmp_path / f"{n}.txt").write_text("Hello\n")
    config = CorpusConfig.of(Choices(documents="file"), (str(tmp_path),), None)
    found = lines_of(read_corpus(config, cache=False))
    assert found is not None
    assert (found.lines, found.median, found.longest) == (18, 5, 5)


def test_a_line_that_never_ends_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_module, "_BLOCK", 100)
    looked, isin = [], np.isin

    def counted(block: np.ndarray, *rest: object) -> np.ndarray:
        looked.append(len(block))
        return isin(block, *rest)

    monkeypatch.setattr(statistics_module.np, "isin", counted)
    found = lines_of(corpus_of(tmp_path, LINE + "x" * 5000))
    assert found is not None
    assert found.longest == 5000
    assert sum(looked) == found.examined
