from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, prose

import textgen
from textgen.config import SamplingOptions
from textgen.errors import UnknownCharacters
from textgen.inference.backward import drawn_by, in_reading_order, turned
from textgen.inference.text_model import TextModel


@pytest.fixture(scope="module", params=["char", "byte"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    folder = tmp_path_factory.mktemp("backward")
    text = folder / "tales.txt"
    text.write_text(prose(6000).replace("e", "é"))
    choices = {**SMALL, "steps": 60, "level": request.param, "backward": True}
    list(textgen.train(text, checkpoints=folder, **choices))
    return textgen.load(folder / "tales")


@pytest.mark.parametrize("text", ["", "abc", "né\n🦊", "\udcff\udc80x"])
def test_turning_twice_gives_the_text(text: str) -> None:
    assert in_reading_order(turned(text, "byte"), "byte") == text
    assert in_reading_order(turned(text, "char"), "char") == text


def test_the_corpus_is_read_from_its_end(tmp_path: Path) -> None:
    from textgen.config import CorpusConfig
    from textgen.text.corpus import read_corpus

    text = prose(2000)
    path = tmp_path / "a.txt"
    path.write_text(text)
    forward, backward = (
        read_corpus(
            CorpusConfig(
                (str(path),), "char", "utf-8", 0.1, None, "lf", "none", 1, None, False, way
            )
        )
        for way in (False, True)
    )
    assert np.array_equal(forward.train[::-1], backward.train)
    assert np.array_equal(forward.validation[::-1], backward.validation)
    assert forward.vocabulary.decode(backward.train[::-1]) == text[:1800]


def test_a_text_is_written_in_reading_order_by_what_follows_it(model: TextModel) -> None:
    """Against the network, which reads the ids from the end."""
    import torch

    from textgen.model.network import State

    options = SamplingOptions(temperature=0, length=40)
    [text] = model.generate(" thé", options)
    ids = model.vocabulary.encode(" thé")[::-1].astype(np.int64)
    network, written = model.network(), []
    with torch.no_grad():
        state = State.zeros(network.config, 1)
        logits, state = network(torch.from_numpy(ids.copy())[:, None], state)
        while len(written) < 40:
            written.append(int(logits[-1, 0].argmax()))
            logits, state = network(torch.tensor([[written[-1]]]), state)
    assert text == model.vocabulary.decode(written[::-1])
    assert list(model.generate_many(" thé", options, num=2)) == [text, text]


def test_a_position_goes_on_before_what_was_written(model: TextModel) -> None:
    [whole] = model.generate("fox", length=60, seed=3)
    first = model.generate("fox", length=30, seed=3)
    [later] = first
    [earlier] = model.generate(position=first.position, length=30)
    if model.vocabulary.level == "char":  # bytes of one character may fall apart
        assert earlier + later == whole
    assert first.written == 30


def test_stops_are_texts_in_reading_order(model: TextModel) -> None:
    [text] = model.generate(length=300, seed=1)
    whole = (text[n : n + 3] for n in range(100, 297))  # without bytes that are no character
    stop = next(part for part in whole if part.isprintable())
    [cut] = model.generate(length=300, seed=1, stop=(stop,))
    assert text.endswith(cut)
    assert cut == text[text.rindex(stop) + len(stop) :]
    options = SamplingOptions(stop=("ab",))
    assert drawn_by(model.vocabulary, options, backward=True).options.stop == ("ba",)


def test_a_text_and_its_file_score_as_the_turned_ids(model: TextModel, tmp_path: Path) -> None:
    text = prose(1500, seed=7).replace("e", "é")
    path = tmp_path / "held.txt"
    path.write_text(text)
    ids = model.vocabulary.encode(text)[::-1]
    expected = model.score(ids)
    assert model.score(text) == expected
    assert model.score(path) == expected


def test_an_unknown_character_is_named_by_its_place_in_reading_order(tmp_path: Path) -> None:
    text = tmp_path / "tales.txt"
    text.write_text(prose(3000))
    list(textgen.train(text, checkpoints=tmp_path, **{**SMALL, "steps": 2, "backward": True}))
    model = textgen.load(tmp_path / "tales")
    with pytest.raises(UnknownCharacters, match="at character 2"):
        model.generate("a🦊cd")
