from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, training_config

from textgen.config import Choices
from textgen.text.corpus import Corpus
from textgen.text.vocabulary import Vocabulary
from textgen.training.document_streams import PADDING, DocumentStreams, filled_by, streams_for
from textgen.training.planning import plan
from textgen.training.step import Learner
from textgen.training.streams import Chunk

END = 19


def laid_out(lengths: list[int]) -> np.ndarray:
    """Documents of such lengths, of characters other than END."""
    ids = [END]
    for number, length in enumerate(lengths):
        ids += [(number + n) % END for n in range(length)] + [END]
    return np.array(ids, np.uint8)


def pass_of(streams: DocumentStreams, number: int) -> list[Chunk]:
    return [streams.chunk(number * streams._steps + step) for step in range(streams._steps)]


LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=30)


@settings(deadline=None)
@given(lengths=LENGTHS, batch_size=st.integers(1, 9), bptt=st.integers(1, 9))
def test_a_pass_learns_each_character_and_each_end_once(
    lengths: list[int], batch_size: int, bptt: int
) -> None:
    ids = laid_out(lengths)
    streams = DocumentStreams(ids, batch_size, bptt, seed=3, end=END)
    for number in (0, 1, 5):
        chunks = pass_of(streams, number)
        learned = np.concatenate([c.targets[c.targets != PADDING] for c in chunks])
        assert Counter(learned.tolist()) == Counter(ids[1:].tolist())
        assert learned.size / (len(chunks) * batch_size * bptt) == pytest.approx(streams.filled)


@settings(deadline=None)
@given(lengths=LENGTHS, batch_size=st.integers(1, 9), bptt=st.integers(1, 9))
def test_a_stream_reads_documents_through_from_zero_state(
    lengths: list[int], batch_size: int, bptt: int
) -> None:
    ids = laid_out(lengths)
    chunks = pass_of(DocumentStreams(ids, batch_size, bptt, seed=3, end=END), 1)
    texts = [bytes(ids[a : b + 1]) for a, b in pairwise(np.flatnonzero(ids == END))]
    for b in range(batch_size):
        read = b""  # since the state was zero
        for step, chunk in enumerate(chunks):
            column = chunk.window[:, b]
            learned = bytes(column[1:][column[1:] != PADDING].tolist())
            if not learned:  # this run is a chunk shorter than others
                assert step == len(chunks) - 1
                continue
            if chunk.fresh[b]:
                assert step == 0 or read[-1] == END
                read = bytes([column[0]])
                assert step == 0 or read[0] == END
            assert column[0] == read[-1]
            read += learned
            assert any(read in text for text in texts)


def test_passes_are_in_different_orders_and_follow_from_the_step_alone() -> None:
    ids = laid_out([7] * 40)
    one, other = (DocumentStreams(ids, 4, 8, seed=1, end=END) for _ in range(2))
    first, second = pass_of(one, 0), pass_of(one, 1)
    assert not all(np.array_equal(a.window, b.window) for a, b in zip(first, second, strict=True))
    for step in (15, 3, 9):
        np.testing.assert_equal(other.chunk(step), one.chunk(step))


def test_padding_changes_neither_loss_nor_weights() -> None:
    """One document in a chunk much longer than it, and in a chunk that just fits."""
    ids, found = laid_out([7]), []
    for bptt in (8, 20):
        config = training_config(9, batch_size=1, bptt=bptt, filled=8 / bptt, average=0.0)
        learner = Learner(build("lstm", (12, 12)), config, ids, torch.device("cpu"))
        losses = [float(learner.advance()) for _ in range(3)]
        found.append((losses, learner.weights()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for name, weights in found[0][1].items():
        np.testing.assert_allclose(weights, found[1][1][name], atol=1e-4)


@pytest.mark.parametrize(("length", "history"), [(6, 0), (300, 2048)])
@pytest.mark.parametrize("bptt", [None, 8])
def test_matches_are_read_but_in_short_documents(
    length: int, history: int, bptt: int | None
) -> None:
    vocabulary = Vocabulary("char", "abcdefghijklmnopqrs", has_end=True)
    ids, others = laid_out([length] * 50), laid_out([length] * 5)
    corpus = Corpus(ids, others, vocabulary, "", documents=55)
    choices, cpu = Choices(steps=5, bptt=bptt), torch.device("cpu")
    assert plan(choices, corpus, cpu, 0.0).model.history == history
    assert plan(replace(choices, history=9), corpus, cpu, 0.0).model.history == 9
    assert plan(replace(choices, grams=5), corpus, cpu, 0.0).model.grams == 5


@pytest.mark.parametrize(("length", "expected"), [(6, (128, 12)), (300, (64, 32))])
def test_short_documents_are_read_in_more_and_shorter_chunks(
    length: int, expected: tuple[int, int]
) -> None:
    ids = laid_out([length] * 50)
    vocabulary = Vocabulary("char", "abcdefghijklmnopqrs", has_end=True)
    corpus = Corpus(ids, laid_out([length] * 5), vocabulary, "", documents=55)
    assert streams_for(corpus) == expected
    assert filled_by(corpus, 10, length + 1) == 1
    assert filled_by(corpus, 10, 2 * length + 2) == 0.5
