"""What was kept aside for a temperature is learned in the last part of a run."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from networks import build, model_config, training_config

from textgen.inference.evaluation import validate
from textgen.model.network import CharModel
from textgen.text.corpus import Corpus
from textgen.text.vocabulary import Vocabulary
from textgen.training import judged
from textgen.training.late import LAST, MOST, Late, is_late, late_streams
from textgen.training.ranks import Alone
from textgen.training.step import Learner
from textgen.training.streams import Chunk

CPU = torch.device("cpu")
STEPS = 100
BEGIN = round(STEPS * (1 - LAST))
CONFIG = training_config(STEPS, batch_size=16, bptt=16, block=256, lr=0.02, aside=1000, late=2)


def changing(size: int) -> np.ndarray:
    """Ids below 10, one after the other but 1 in 20; in the last tenth 19 is in place of 9."""
    rng = np.random.default_rng(0)
    ids = np.cumsum(np.where(rng.random(size) < 0.05, 7, 1)) % 10
    ids[(ids == 9) & (np.arange(size) >= 0.9 * size)] = 19
    return ids.astype(np.uint8)


TEXT = changing(20_000)
IDS, ASIDE, AFTER = TEXT[:18_000], TEXT[18_000:19_000], TEXT[19_000:]


def learner(**changes: object) -> Learner:
    config = replace(CONFIG, **changes)
    return Learner(build("lstm", (24,)), config, IDS, CPU, aside=ASIDE)


def test_it_is_read_as_often_as_all_and_once_at_least() -> None:
    for steps in (100, 1000, 10_000):
        count = late_streams(8192, 10**6, steps, 64, 2048)
        read = count * 32 * LAST * steps / 8192
        passes = max(1, steps * 2048 / 10**6)
        assert passes <= read < passes + 32 * LAST * steps / 8192 or count == 64 // MOST
    assert late_streams(0, 10**6, 100, 64, 2048) == 0
    assert late_streams(8192, 10**6, 1, 64, 2048) == 64 // MOST
    assert late_streams(8192, 10**6, 100, 4, 2048) == 0


def test_the_last_part_is_that_of_the_schedule() -> None:
    assert [is_late(step, CONFIG) for step in (BEGIN - 1, BEGIN)] == [False, True]
    extended = replace(CONFIG, steps=2 * STEPS, segment_start=STEPS, segment_progress=0.5)
    assert [is_late(step, extended) for step in (STEPS, 2 * BEGIN)] == [False, True]


def test_the_first_streams_read_it() -> None:
    chunk = Chunk(np.full((17, 16), 99), np.zeros(16, bool))
    late, seen = Late(np.arange(630) % 90, CONFIG, None), set()
    for step in range(60):
        whole = late.into(chunk, step, slice(None))
        assert (whole.window[:, 2:] == 99).all()
        assert (np.diff(whole.window[:, :2], axis=0) % 90 == 1).all()
        seen |= set(whole.window[:, :2].flat)
        parts = [late.into(Chunk(c, f), step, p) for c, f, p in dealt(chunk, 1, 5)]
        assert np.concatenate([p.window for p in parts], axis=1).tolist() == whole.window.tolist()
        assert np.concatenate([p.fresh for p in parts]).tolist() == whole.fresh.tolist()
    assert seen == set(range(90))


def dealt(chunk: Chunk, *cuts: int) -> list[tuple[np.ndarray, np.ndarray, slice]]:
    ends = [0, *cuts, 16]
    parts = [slice(*pair) for pair in pairwise(ends)]
    return [(chunk.window[:, part], chunk.fresh[part], part) for part in parts]


def test_what_is_new_just_before_the_held_out_text_is_learned() -> None:
    never, late = learner(late=0), learner()
    for step in range(STEPS):
        assert (float(never.advance()) == float(late.advance())) == (step < BEGIN)
    losses = []
    for trained in (never, late):
        with trained.judged() as network:
            losses.append(validate(network, AFTER))
    assert losses[1] < losses[0] - 0.3


def test_the_temperature_stays_what_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[float] = []

    def fit(_: object) -> float:
        fitted.append(0.5 + len(fitted) / 100)
        return fitted[-1]

    monkeypatch.setattr(judged, "sharpness", fit)
    trained = learner()
    for _ in range(BEGIN):
        trained.advance()
    trained.weights()
    for _ in range(STEPS - BEGIN):
        trained.advance()
        average = trained.arrays()["model"]["head.bias"]
        np.testing.assert_allclose(trained.weights()["head.bias"], 0.5 * average, rtol=1e-6)
    assert fitted == [0.5]
    # a run that is extended is before its last part again
    trained.config = replace(CONFIG, steps=4 * STEPS, segment_start=STEPS, segment_progress=0.25)
    trained.advance()
    trained.weights()
    assert fitted == [0.5, 0.51]


@pytest.mark.parametrize("stop", [BEGIN - 1, BEGIN, BEGIN + 1])
def test_a_run_goes_on_exactly_around_where_it_begins(stop: int) -> None:
    first = learner()
    for _ in range(stop):
        first.advance()
    kept = first.arrays()
    second = learner()
    second.restore(kept, stop)
    np.testing.assert_equal(second.arrays(), kept)
    for _ in range(3):
        assert float(second.advance()) == float(first.advance())
    np.testing.assert_equal(second.arrays(), first.arrays())
    np.testing.assert_equal(second.weights(), first.weights())


def test_documents_that_were_kept_aside_are_learned_whole() -> None:
    vocabulary = Vocabulary("char", "ab", has_end=True)
    train = np.array([2, *([0, 0, 2] * 40), *([1, 1, 1, 2] * 3)])
    corpus = Corpus(train, train, vocabulary, "", documents=43)
    config = training_config(
        40, filled=0.5, aside=13, late=1, batch_size=8, bptt=4, lr=0.02, average=0.0
    )
    network = CharModel(model_config(3, "rnn", (4,)))
    trained = Learner.of(corpus, network, config, CPU, None, ranks=Alone())
    read = []
    for step in range(40):
        chunk = trained._read()
        read.append(1 in chunk.window)
        assert (chunk.window[:, 0] == 1).any() == (step >= 28)
        trained.advance()
    assert read == [step >= 28 for step in range(40)]
