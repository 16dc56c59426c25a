from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import prose, train

import textgen
from textgen.inference import evaluation, parts
from textgen.inference.classification import UNKNOWN_BITS, bits, documents_of, lines_of
from textgen.inference.evaluation import evaluate

TEXTS = ["The fox said never.\n", "", "tail", "moon bread\nold wise saw\n"]


def test_each_text_costs_what_it_costs_alone(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = textgen.load(trained)
    newline = model.vocabulary.encode("\n")
    expected = []
    for text in TEXTS:
        ids = np.concatenate([newline, model.vocabulary.encode(text)])
        result = evaluate(model.network(), [ids])
        expected.append(result.nats_per_char * result.characters / math.log(2))
    assert bits(model, TEXTS) == pytest.approx(expected, rel=1e-5)
    assert [bits(model, [text])[0] for text in TEXTS] == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(parts, "CHUNK", 10)
    assert bits(model, TEXTS) == pytest.approx(expected, rel=1e-5)
    for module in (evaluation, parts):
        monkeypatch.setattr(module, "LOGITS", 100)
    assert bits(model, TEXTS) == pytest.approx(expected, rel=1e-5)


def test_who_waits_is_told_how_much_is_scored(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHUNK", 10)
    told: list[tuple[int, int]] = []
    bits(textgen.load(trained), TEXTS, lambda *how_many: told.append(how_many))
    characters = sum(map(len, TEXTS))
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == (characters, characters)


def test_what_the_model_never_saw_costs_20_bits(trained: Path) -> None:
    model = textgen.load(trained)
    plain, strange = bits(model, ["The fox", "The 猫fox"])
    assert strange == pytest.approx(plain + UNKNOWN_BITS, rel=1e-5)
    assert round(UNKNOWN_BITS) == 20


def test_a_model_that_reads_backward_pays_for_the_same_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(2000))
    train(tmp_path / "a.txt", tmp_path, steps=5, backward=True)
    model = textgen.load(tmp_path / "a")
    assert lines_of(model, ["ox\nfox\n"]) == ["\nox", "\nfox"]
    ids = model.vocabulary.encode("\nfox\n")[::-1]
    result = evaluate(model.network(), [ids])
    found = bits(model, lines_of(model, ["fox\n"]))
    assert found[0] == pytest.approx(result.nats_per_char * 4 / math.log(2), rel=1e-5)


def test_a_line_is_a_document_to_a_model_of_documents(lines: Path) -> None:
    model = textgen.load(lines)
    (text,) = lines_of(model, ["oldfox\n"])
    result = model.score("oldfox\n")
    assert bits(model, [text])[0] == pytest.approx(result.bits_per_char * 7, rel=1e-5)
    assert result.characters == 7


def test_a_text_is_cut_as_the_corpus_was(trained: Path, lines: Path, tmp_path: Path) -> None:
    model, text = textgen.load(lines), "oldfox\n\nfoxking\nfox"
    assert documents_of(model, [text]) == ["oldfox", "foxking", "fox"]
    whole = model.score(text)
    found = bits(model, documents_of(model, [text])).sum()
    assert found == pytest.approx(whole.bits_per_char * whole.characters, rel=1e-5)
    assert documents_of(textgen.load(trained), [text, "fox"]) == [text + "fox"]
    file = tmp_path / "a.txt"
    file.write_text("é one%%two\n%%" * 40, "utf-8")
    train(file, tmp_path, steps=1, documents="%%", level="byte")
    assert documents_of(textgen.load(tmp_path / "a"), ["é%%\nb%%%%c\n"]) == ["é", "\nb", "c\n"]
