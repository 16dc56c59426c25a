from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import build, model_config, training_config
from torch.nn.functional import cross_entropy

from textgen.inference.evaluation import validate
from textgen.model.network import CharModel
from textgen.text.corpus import Corpus
from textgen.text.vocabulary import Vocabulary
from textgen.training.calibration import ASIDE, SURE, further, inverse_temperature, kept_aside
from textgen.training.ranks import Alone
from textgen.training.step import Learner

CPU = torch.device("cpu")


def predictions(temperature: float, pieces: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits, and targets drawn from their softmax at another temperature."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(pieces):
        logits = 3 * torch.randn(5000, 12, generator=generator)
        p = torch.softmax(logits / temperature, dim=1)
        found.append((logits, torch.multinomial(p, 1, generator=generator)[:, 0]))
    return found


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.4, 3.0])
def test_the_temperature_that_targets_were_drawn_at_is_found(temperature: float) -> None:
    pieces = predictions(temperature)
    found = inverse_temperature(pieces)
    assert 1 / found == pytest.approx(temperature, rel=0.03)
    z, targets = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    losses = [float(cross_entropy(z * found * by, targets)) for by in (0.99, 1.0, 1.01)]
    assert losses[1] == min(losses)


@pytest.mark.parametrize("seed", range(6))
def test_the_temperature_of_a_model_that_is_far_too_sure_is_found(seed: int) -> None:
    """Where Newton's method alone goes back and forth over the minimum."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(128, 256, generator=generator)
    likeliest, others = torch.randint(256, (2, 128), generator=generator)
    z[torch.arange(128), likeliest] += 10
    wrong = torch.rand(128, generator=generator) < 0.4
    targets = torch.where(wrong, others, likeliest)
    found = inverse_temperature([(z, targets)])
    losses = [float(cross_entropy(z * found * by, targets)) for by in (0.99, 1.0, 1.01)]
    assert losses[1] == min(losses)


@pytest.mark.parametrize(
    ("fitted", "used"), [(0.9, 0.966), (1.0, 1.04), (1.2, 1.182), (1.6, 1.445)]
)
def test_further_on_a_temperature_is_nearer_to_the_usual_one(fitted: float, used: float) -> None:
    assert 1 / further(1 / fitted) == pytest.approx(used, abs=5e-4)


def test_nothing_is_fitted_where_nothing_can_be() -> None:
    targets = torch.zeros(10, dtype=torch.int64)
    assert inverse_temperature([]) == 1
    assert inverse_temperature([(torch.zeros(10, 4), targets)]) == 1
    assert inverse_temperature([(torch.full((10, 4), torch.nan), targets)]) == 1
    always_right = torch.nn.functional.one_hot(targets, 4).float()
    assert inverse_temperature([(always_right, targets)]) == SURE[1]
    assert inverse_temperature([(-always_right, targets)]) == SURE[0]


@pytest.mark.parametrize(
    ("size", "vocabulary", "aside"),
    [
        (10_000, 65, 0),
        (50_000, 65, 1000),
        (10**6, 65, ASIDE),
        (10**9, 6000, 2796),
        (10**9, 10**5, 0),
    ],
)
def test_a_small_share_of_the_text_is_kept_aside(size: int, vocabulary: int, aside: int) -> None:
    assert kept_aside(size, vocabulary) == aside


def test_what_is_kept_aside_stands_next_to_what_is_held_out() -> None:
    text, characters = np.arange(10), Vocabulary("char", "".join(map(chr, range(65, 75))))
    corpus = Corpus(text[:8], text[8:], characters, "")
    assert [part.tolist() for part in corpus.parted(3)] == [[0, 1, 2, 3, 4], [5, 6, 7]]
    assert [len(part) for part in corpus.parted(0)] == [8, 0]
    backward = Corpus(text[:8][::-1], text[8:][::-1], characters, "", backward=True)
    assert [part.tolist() for part in backward.parted(3)] == [[4, 3, 2, 1, 0], [7, 6, 5]]


def test_documents_are_kept_aside_whole() -> None:
    vocabulary = Vocabulary("char", "ab", has_end=True)
    train = np.array([2, 0, 2, 1, 1, 2, 0, 1, 2])
    corpus = Corpus(train, train, vocabulary, "", documents=3)
    for aside in (4, 5, 6):  # what does not fit whole is learned
        assert [part.tolist() for part in corpus.parted(aside)] == [
            [2, 0, 2, 1, 1, 2],
            [2, 0, 1, 2],
        ]
    assert [part.tolist() for part in corpus.parted(3)] == [train.tolist(), [2]]
    config = training_config(9, filled=0.5, aside=3, batch_size=2, bptt=2)
    network = CharModel(model_config(3, "rnn", (4,)))
    learner = Learner.of(corpus, network, config, CPU, None, ranks=Alone())
    learner.advance()
    with learner.judged():
        pass


def shifting(size: int, seed: int) -> np.ndarray:
    """A chain of ids that goes to the next one, but of the last tenth more often to another."""
    rng = np.random.default_rng(seed)
    often = np.where(np.arange(size) < 0.9 * size, 0.95, 0.5)
    steps = np.where(rng.random(size) < often, 1, rng.integers(0, 20, size))
    return np.cumsum(steps).astype(np.uint8) % 20


def test_a_model_is_as_sure_as_text_that_it_did_not_learn_allows() -> None:
    ids = shifting(40_000, seed=1)
    ids, aside, after = ids[:36_000], ids[36_000:38_000], ids[38_000:]
    config = training_config(60, batch_size=16, bptt=16, lr=0.02)
    plain, fitted = (
        Learner(build("lstm", (24,)), config, ids, CPU, aside=kept) for kept in (None, aside)
    )
    for _ in range(60):
        assert float(plain.advance()) == float(
            fitted.advance()
        )  # it does not change what is learned
    with plain.judged() as network:
        before = validate(network, after)
    with fitted.judged() as network:
        assert validate(network, after) < before - 0.1
    raw, weights = plain.weights(), fitted.weights()
    by = weights["head.bias"][0] / raw["head.bias"][0]
    assert by < 0.9
    for name, array in raw.items():
        factor = by if name.startswith("head.") else 1
        np.testing.assert_allclose(weights[name], array * factor, rtol=1e-5)
    for group, arrays in plain.arrays().items():  # a checkpoint holds weights without it
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, fitted.arrays()[group][name])


def test_it_is_fitted_anew_after_each_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from textgen.training import judged

    calls = []
    monkeypatch.setattr(judged, "inverse_temperature", lambda found: calls.append(found) or 0.5)
    ids = shifting(4000, seed=2)
    one = Learner(build("gru", (16,)), training_config(9), ids[:3000], CPU, aside=ids[3000:])
    for steps in range(1, 4):
        one.advance()
        with one.judged():
            pass
        one.weights()
        assert len(calls) == steps
