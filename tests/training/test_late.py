"""What was kept aside for a temperature is learned in the last part of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import prose
from networks import build, model_config, training_config

import textgen
from textgen.config import Choices
from textgen.errors import CheckpointError
from textgen.events import Evaluated, Event, Planned, Stepped
from textgen.inference.evaluation import validate
from textgen.model.network import CharModel
from textgen.store.checkpoint import read_arrays, read_header
from textgen.store.contents import reread_corpus
from textgen.text.corpus import Corpus
from textgen.text.vocabulary import Vocabulary
from textgen.training import judged, start
from textgen.training.calibration import further
from textgen.training.late import LAST, MOST, Late, has_learned, is_late, late_streams
from textgen.training.ranks import Alone
from textgen.training.step import Learner
from textgen.training.streams import Chunk, Streams

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


def text(size: int) -> Corpus:
    ids = np.arange(size, dtype=np.uint8) % 20
    return Corpus(ids, ids, Vocabulary("char", "abcdefghijklmnopqrst"), "")


def test_it_is_read_as_often_as_the_rest_and_once_at_least() -> None:
    large, usual = text(10**6), replace(CONFIG, batch_size=64, bptt=32, aside=8192)
    for steps in (1000, 3000, 10_000):
        count = late_streams(replace(usual, steps=steps), large)
        of_each = 32 * LAST * steps / 8192
        passes = max(1, steps * 2048 / 10**6)
        assert passes <= count * of_each < passes + of_each
    longer = replace(usual, steps=2000, segment_start=1000, segment_progress=0.5)
    assert late_streams(longer, large) == late_streams(replace(usual, steps=2000), large)
    # read from the segment's beginning on, as often as the rest from there
    count, of_each = late_streams(longer, large, learned=True), 32 * 1000 / 8192
    assert 2.048 <= count * of_each < 2.048 + of_each
    for other in ({"steps": 1}, {"steps": 10_000, "segment_start": 9990}):
        assert late_streams(replace(usual, **other), large) == 64 // MOST
    assert late_streams(replace(usual, aside=0), large) == 0
    assert late_streams(replace(usual, batch_size=4), large) == 0
    # of 64 streams 6 read the run's own text
    assert late_streams(replace(usual, keep_mixing=0.9), large) == 0
    half = replace(usual, steps=3000)
    assert late_streams(replace(half, keep_mixing=0.5), large) < late_streams(half, large)


def test_of_documents_those_count_that_are_kept_aside() -> None:
    vocabulary = Vocabulary("char", "ab", has_end=True)
    ids = np.array([2, *([*([0] * 6000), 2] * 30), *([0] * 300), 2])
    corpus = Corpus(ids, ids, vocabulary, "", documents=31)
    settings = replace(CONFIG, steps=1000, batch_size=64, bptt=32, filled=1.0, aside=3000)
    assert late_streams(settings, corpus) == 1
    assert late_streams(replace(settings, aside=6500), corpus) > 5


def test_the_last_part_is_that_of_the_schedule() -> None:
    assert [is_late(step, CONFIG) for step in (BEGIN - 1, BEGIN)] == [False, True]
    extended = replace(CONFIG, steps=2 * STEPS, segment_start=STEPS, segment_progress=0.5)
    assert [is_late(step, extended) for step in (STEPS, 2 * BEGIN)] == [False, True]


def test_the_first_streams_read_it() -> None:
    chunk = Chunk(np.full((17, 16), 99), np.zeros(16, bool))
    late, seen = Late(np.arange(630) % 90, CONFIG, None), set()
    for step in range(60):
        whole = late.into(chunk, step, slice(None), fresh=False)
        assert (whole.window[:, 2:] == 99).all()
        assert (np.diff(whole.window[:, :2], axis=0) % 90 == 1).all()
        seen |= set(whole.window[:, :2].flat)
        parts = [late.into(Chunk(c, f), step, p, fresh=False) for c, f, p in dealt(chunk, 1, 5)]
        assert np.concatenate([p.window for p in parts], axis=1).tolist() == whole.window.tolist()
        assert np.concatenate([p.fresh for p in parts]).tolist() == whole.fresh.tolist()
    assert seen == set(range(90))
    assert late.into(chunk, 1, slice(None), fresh=True).fresh.tolist() == [True] * 2 + [False] * 14


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

    monkeypatch.setattr(judged, "inverse_temperature", fit)
    trained = learner()
    for _ in range(BEGIN):
        trained.advance()
    trained.weights()
    for _ in range(STEPS - BEGIN):
        trained.advance()
        average = trained.arrays()["model"]["head.bias"]
        judged_by = further(0.5) * average
        np.testing.assert_allclose(trained.weights()["head.bias"], judged_by, rtol=1e-6)
    assert fitted == [0.5]
    # nor is a run that is extended as if it had not learned it
    trained.config = replace(CONFIG, steps=4 * STEPS, segment_start=STEPS, segment_progress=0.25)
    expected = Late(ASIDE, CONFIG, None).into(chunk_of(STEPS), STEPS, slice(None), fresh=False)
    np.testing.assert_equal(trained._read(), expected)
    trained.advance()
    trained.weights()
    assert fitted == [0.5]


def chunk_of(step: int) -> Chunk:
    return Streams(IDS, CONFIG.batch_size, CONFIG.bptt, CONFIG.seed, CONFIG.block).chunk(step)


@pytest.mark.parametrize("learned", [False, True])
def test_weights_that_have_learned_it_have_a_temperature(learned: bool) -> None:
    first, step = learner(), STEPS if learned else BEGIN - 2
    for _ in range(step):
        first.advance()
    second, best = learner(steps=STEPS + 9), first.weights()
    second.restart(best, step, learned=has_learned(step, CONFIG))
    np.testing.assert_allclose(second.weights()["head.bias"], best["head.bias"], rtol=1e-3)
    second.advance()  # what they have learned tells no temperature
    assert second.arrays()["temperature"]["sharpness"] == learned


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e-300, 5.0])
def test_a_temperature_that_no_run_has_is_refused(value: float) -> None:
    trained = learner()
    trained.advance()
    arrays = trained.arrays()
    arrays["temperature"]["sharpness"] = np.array(value)
    with pytest.raises(CheckpointError, match="temperature/sharpness is"):
        learner().restore(arrays, 1)


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
    for step in range(40):
        assert (1 in trained._read().window[:, 0]) == (step >= 28)
        trained.advance()


def extend(checkpoints: Path, until: Callable[[Event], bool]) -> None:
    """Train a run of 100 steps to its end, and extend it by 900, up to an event."""
    file = checkpoints / "text.txt"
    file.write_text(prose(40_000))
    shape = {"hidden": (8,), "embedding": 4, "batch_size": 16, "bptt": 16, "precision": "fp32"}
    list(textgen.train(file, checkpoints=checkpoints, steps=100, **shape))
    with closing(textgen.resume("text", checkpoints=checkpoints, steps=900)) as events:
        next(filter(until, events))


def test_a_best_of_an_extended_run_keeps_the_temperature_that_is_in_it(tmp_path: Path) -> None:
    """For its first segment may have learned what was kept aside."""
    extend(tmp_path, lambda event: isinstance(event, Evaluated))
    with closing(textgen.resume(tmp_path / "text" / "best.safetensors")) as events:
        for event in events:
            if isinstance(event, Stepped):
                break
    arrays = read_arrays(read_header(tmp_path / "text" / "last.safetensors"), "temperature")
    assert arrays["temperature"]["sharpness"] == 1


def test_a_run_that_was_extended_has_learned_it_still(tmp_path: Path) -> None:
    """Where its first end lies far before the last part of the longer schedule."""
    extend(tmp_path, lambda event: isinstance(event, Stepped) and event.step == 150)
    with closing(textgen.resume("text", checkpoints=tmp_path, steps=300)) as events:
        planned = next(events)
    assert isinstance(planned, Planned)
    corpus = reread_corpus(read_header(tmp_path / "text" / "last.safetensors"))
    counts = [late_streams(planned.training, corpus, learned=learned) for learned in (False, True)]
    assert counts[0] > counts[1] == planned.training.late


def test_streams_that_go_on_elsewhere_begin_from_zero_state(tmp_path: Path) -> None:
    """Where another number of them reads what was kept aside."""
    extend(tmp_path, lambda event: isinstance(event, Stepped) and event.step == 150)
    run, files = tmp_path / "text" / "last.safetensors", ((), None)
    late = read_header(run).record.training.late
    for steps, same in ((30, False), (None, True)):
        loop = start.resume(run, files, Choices(steps=steps), time.monotonic())
        now = loop.learner.config.late
        assert (now == late) == same
        moved = 0 if same else max(late, now)
        for part in loop.learner.state.parts.values():
            assert not part[:moved].any()
            assert part[moved:].any(dim=1).all()
