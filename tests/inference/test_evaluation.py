from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import prose
from networks import build

from textgen.inference import evaluation, parts
from textgen.inference.evaluation import Evaluation, evaluate, nats, validate, validated


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
    monkeypatch.setattr(parts, "CHUNK", chunk)
    assert evaluate(model, [ids[:600]]).nats_per_char == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("streams", [2, 3, 7])
def test_several_streams_score_every_character_once(
    ids: np.ndarray, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PARTS", streams)
    cut = parts.parts_of(4000, 4000)
    assert len(cut.ends) == streams
    scored = [t for _, t in parts._side_by_side(np.arange(4000), cut, 512)]
    targets = np.sort(np.concatenate([t[t >= 0] for t in scored]))
    assert np.array_equal(targets, np.arange(1, 4000))
    model = build("lstm", (16, 16))
    expected = evaluate(model, [ids]).nats_per_char
    assert validate(model, ids) == pytest.approx(expected, abs=1e-4)


def test_a_sample_of_the_text_is_spread_evenly_over_it(
    ids: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(parts, "PARTS", 10)
        cut = parts.parts_of(40_000, 1000)
    scored = [t for _, t in parts._side_by_side(np.arange(1, 40_001), cut, 64)]
    targets = np.sort(np.concatenate([t[t >= 0] for t in scored]))
    begins = np.arange(10) * 39_999 // 10 + 2
    assert targets.tolist() == [n for begin in begins for n in range(begin, begin + 100)]
    assert max(len(t) for t in scored) == 64

    # half of the text is easy, half is hard: a sample sees both, its beginning only one
    model = build("lstm", (16,))
    hard, easy = ids, np.full(len(ids), int(model.head.bias.argmax()))
    mixed = np.concatenate([easy, hard])
    whole = validate(model, mixed)
    assert validate(model, easy) + 0.05 < whole < validate(model, hard)
    assert validate(model, mixed, most=len(ids) // 4) == pytest.approx(whole, abs=0.02)
    assert validate(model, mixed, most=10 * len(ids)) == whole


def test_a_model_in_training_is_left_in_training(ids: np.ndarray) -> None:
    model = build("lstm", (16,), dropout=0.5).train()
    assert evaluate(model, [ids]) == evaluate(model, [ids])  # no masks
    assert validate(model, ids) == validate(model, ids)
    assert model.training


def test_nats_come_in_order_and_their_mean_is_the_evaluation(ids: np.ndarray) -> None:
    model = build("lstm", (16,)).eval()
    chunks = list(nats(model, [ids]))
    assert [len(chunk) for chunk in chunks] == [512] * 7 + [415]
    mean = np.concatenate(chunks).mean(dtype=np.float64)
    assert evaluate(model, [ids]).nats_per_char == pytest.approx(mean)
    first = np.concatenate(list(nats(model, [ids[:700]])))
    np.testing.assert_allclose(first, np.concatenate(chunks)[:699], atol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 511, 512, 513, 2000])
def test_a_text_is_read_as_it_is_scored_however_it_is_cut(ids: np.ndarray, block: int) -> None:
    model = build("lstm", (16,)).eval()
    pulled = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal pulled
        for begin in range(0, len(ids), block):
            pulled += len(ids[begin : begin + block])
            yield ids[begin : begin + block]

    scored = []
    for chunk in nats(model, blocks()):
        scored.append(chunk)
        assert pulled <= sum(map(len, scored)) + 1 + block  # no more is held than was handed over
    np.testing.assert_allclose(
        np.concatenate(scored), np.concatenate(list(nats(model, [ids]))), atol=1e-6
    )


@pytest.mark.parametrize("size", [0, 1])
def test_without_a_second_character_nothing_is_scored(ids: np.ndarray, size: int) -> None:
    assert evaluate(build("rnn", (8,)), [ids[:size]]).characters == 0


END = 19


def documents(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(END, size=size) for size in rng.integers(1, 40, size=count)]


def joined(texts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([[END], *(np.append(text, END) for text in texts)]).astype(np.uint8)


@pytest.mark.parametrize("group", [1, 100, 1 << 20])
@pytest.mark.parametrize("side_by_side", [3, 256])
def test_each_document_is_scored_cold_with_its_end(
    group: int, side_by_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "GROUP", group)
    monkeypatch.setattr(parts, "SIDE_BY_SIDE", side_by_side)
    monkeypatch.setattr(parts, "CHUNK", 16)
    model, texts = build("lstm", (16, 16)), documents(30)
    alone = [evaluate(model, [joined([text])]) for text in texts]
    counts = np.array([one.characters for one in alone])
    expected = (np.array([one.nats_per_char for one in alone]) * counts).sum() / counts.sum()
    ids, told = joined(texts), []
    blocks = [joined([]), *np.array_split(ids, 7)]  # an empty document at first
    found = evaluate(model, blocks, told.append, end=END)
    assert found.nats_per_char == pytest.approx(expected, abs=1e-5)
    assert found.characters == sum(told) == sum(len(text) + 1 for text in texts)
    assert validate(model, ids, end=END) == pytest.approx(expected, abs=1e-5)


def test_documents_are_sampled_whole_and_evenly() -> None:
    texts = [np.full(9, n % END) for n in range(200)]
    sample = evaluation.sampled(joined(texts), END, most=500)
    found = np.split(sample[1:], np.flatnonzero(sample[1:] == END))[:-1]
    assert len(found) == 50
    assert all(len({*text.tolist()} - {END}) == 1 for text in found)
    assert len({int(text[-1]) for text in found}) == 19
    assert np.array_equal(evaluation.sampled(joined(texts), END, most=10**6), joined(texts))


def test_a_perplexity_is_a_number_whatever_a_text_costs() -> None:
    assert Evaluation(math.log(7), 1).perplexity == pytest.approx(7)
    assert 1e300 < Evaluation(1e5, 1).perplexity < math.inf


def test_of_long_documents_a_sample_is_of_the_beginnings() -> None:
    model, rng = build("gru", (8,)).eval(), np.random.default_rng(1)
    texts = [rng.integers(END, size=size) for size in (3000, 100, 5000)]
    scored = [texts[0][:600], np.append(texts[1], END), texts[2][:600]]  # of twice 900 / 3
    expected = [np.concatenate([*nats(model, [np.array([END, *text])])]).sum() for text in scored]
    total, count = validated(model, joined(texts), most=900, end=END)
    assert count == 600 + 101 + 600
    assert total == pytest.approx(sum(expected), rel=1e-5)
    assert validated(model, joined(texts[1:2] * 9), most=900, end=END)[1] == 9 * 101
