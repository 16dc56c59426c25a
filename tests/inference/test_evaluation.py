from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import prose
from networks import build

from textgen.inference import evaluation
from textgen.inference.evaluation import evaluate, validate


@pytest.fixture
def ids() -> np.ndarray:
    return np.frombuffer(prose(4000, seed=9).encode(), np.uint8) % 20


def test_one_stream_scores_the_text_in_one_pass(ids: np.ndarray) -> None:
    model = build("lstm", (16, 16))
    whole = evaluate(model, [ids])
    with torch.no_grad():
        x = torch.from_numpy(ids[:-1].astype(np.int64))[:, None]
        logits, _ = model.eval()(x, evaluation.State.zeros(model.config, 1))
    target = torch.from_numpy(ids[1:].astype(np.int64))
    expected = torch.nn.functional.cross_entropy(logits[:, 0], target)
    assert whole.nats_per_char == pytest.approx(expected.item(), abs=1e-5)
    assert whole.characters == 3999


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_the_size_of_the_chunks_does_not_matter(
    ids: np.ndarray, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("gru", (16,))
    expected = evaluate(model, [ids[:600]]).nats_per_char
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    assert evaluate(model, [ids[:600]]).nats_per_char == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("streams", [2, 3, 7])
def test_several_streams_score_every_character_once(ids: np.ndarray, streams: int) -> None:
    scored = [t for _, t in evaluation._side_by_side(np.arange(4000), streams, 512)]
    targets = np.sort(np.concatenate([t[t >= 0] for t in scored]))
    assert np.array_equal(targets, np.arange(1, 4000))
    model = build("lstm", (16, 16))
    expected = evaluate(model, [ids]).nats_per_char
    assert validate(model, ids, streams) == pytest.approx(expected, abs=1e-4)


def test_a_model_in_training_is_left_in_training(ids: np.ndarray) -> None:
    model = build("lstm", (16,), dropout=0.5).train()
    assert evaluate(model, [ids]) == evaluate(model, [ids])  # no masks
    assert validate(model, ids, 3) == validate(model, ids, 3)
    assert model.training
