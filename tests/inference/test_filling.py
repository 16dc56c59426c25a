from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, prose, train

import textgen
from textgen.config import SamplingOptions
from textgen.errors import UnknownCharacters, UsageError
from textgen.inference import filling
from textgen.inference.evaluation import nats
from textgen.inference.filling import JOINT, _nats, fill
from textgen.inference.text_model import TextModel

OPTIONS = SamplingOptions(length=8, seed=0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextModel, TextModel]:
    folder = tmp_path_factory.mktemp("filling")
    text = folder / "tales.txt"
    text.write_text(prose(6000))
    for run, backward in (("forward", False), ("backward", True)):
        choices = {**SMALL, "steps": 150, "lr": 0.02, "backward": backward}
        list(textgen.train(text, checkpoints=folder, run=run, **choices))
    return textgen.load(folder / "forward"), textgen.load(folder / "backward")


def test_texts_are_scored_as_by_an_exact_pass(models: tuple[TextModel, TextModel]) -> None:
    given, texts = "The fox ", ["said", "a", "went then the moon"]
    for model in models:
        turn = -1 if model.backward else 1
        found = _nats(model, given, texts)
        for text, mean in zip(texts, found, strict=True):
            whole = text + given if model.backward else given + text
            ids = model.vocabulary.encode(whole)[::turn]
            [exact] = nats(model.network(), [ids])
            assert mean == pytest.approx(float(np.mean(exact[-len(text) :])), abs=1e-5)


def test_fillings_fit_between_and_are_ranked_by_both(
    models: tuple[TextModel, TextModel],
) -> None:
    left, right = "The fox sa", " the moon."
    found = fill(left, right, *models, OPTIONS)
    texts = [filling.text for filling in found]
    assert len(texts) == len({*texts}) >= 10
    assert all(1 <= len(text) <= OPTIONS.length for text in texts)
    sums = [filling.nats_per_char for filling in found]
    assert sums == sorted(sums)
    best = found[0]
    forward = _nats(models[0], left, [best.text + right[:JOINT]])[0]
    backward = _nats(models[1], right, [left[-JOINT:] + best.text])[0]
    assert (best.forward, best.backward) == pytest.approx((forward, backward), abs=1e-5)
    assert found == fill(left, right, *models, OPTIONS)


def test_either_side_may_be_empty(models: tuple[TextModel, TextModel]) -> None:
    assert fill("", "said the fox.", *models, OPTIONS)
    assert fill("The fox", "", *models, OPTIONS)


def test_two_models_of_one_direction_are_refused(models: tuple[TextModel, TextModel]) -> None:
    forward, backward = models
    with pytest.raises(UsageError, match="does not read backward"):
        fill("a", "b", forward, forward, OPTIONS)
    with pytest.raises(UsageError, match="does not read forward"):
        fill("a", "b", backward, backward, OPTIONS)
    with pytest.raises(UsageError, match="`length`"):
        fill("a", "b", forward, backward, SamplingOptions(length=0))
    with pytest.raises(UnknownCharacters):
        fill("🦊", "b", forward, backward, OPTIONS)


@pytest.fixture(scope="module")
def composing(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextModel, TextModel]:
    """Models of a text in the normal form nfc."""
    folder = tmp_path_factory.mktemp("composing")
    text = folder / "cafe.txt"
    text.write_text("café au lait\n" * 20, encoding="utf-8")
    for run, backward in (("forward", False), ("backward", True)):
        train(text, folder, run=run, steps=2, normalize="nfc", backward=backward)
    return textgen.load(folder / "forward"), textgen.load(folder / "backward")


def test_each_model_reads_the_texts_in_its_own_normal_form(
    composing: tuple[TextModel, TextModel],
) -> None:
    composed, apart = "café", "cafe\u0301"
    expected = fill(composed, composed, *composing, OPTIONS)
    assert fill(apart, apart, *composing, OPTIONS) == expected


def test_what_only_one_model_knows_is_not_proposed(
    models: tuple[TextModel, TextModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_cut", lambda *_: ["fox", "f🦊x"])
    assert [found.text for found in filling.fill("a ", " b", *models, OPTIONS)] == ["fox"]


def test_what_a_model_never_saw_is_told_of_the_text_it_stands_in(
    models: tuple[TextModel, TextModel],
) -> None:
    options = SamplingOptions(length=5, seed=1)
    with pytest.raises(UnknownCharacters, match=r"^the text after has .* at character 3"):
        fill("The fox", " a\t", *models, options)
    skipping = replace(options, unknown="skip")
    found = fill("The\t fox ", "\tsaid", *models, skipping)
    assert [f.text for f in found] == [f.text for f in fill("The fox ", "said", *models, skipping)]


def test_a_text_is_put_in_a_normal_form_before_it_is_cut(
    composing: tuple[TextModel, TextModel],
) -> None:
    left = "cafe\u0301" + "a" * (JOINT - 1)  # the accent is the first of what is cut
    expected = fill("café" + "a" * (JOINT - 1), "a", *composing, OPTIONS)
    assert fill(left, "a", *composing, OPTIONS) == expected


def test_what_a_model_writes_need_not_be_in_a_normal_form(
    models: tuple[TextModel, TextModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_cut", lambda *_: ["se"])
    for model in models:  # whose normal form joins that to a character which they lack
        monkeypatch.setattr(model, "normalized", lambda text: text.replace("se", "ẽ"))
    assert [found.text for found in filling.fill("a ", " b", *models, OPTIONS)] == ["se"]
