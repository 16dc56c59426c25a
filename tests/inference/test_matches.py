"""The matches of a stream: found in three ways, all as a plain search finds them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import model_config
from oracle import matches as searched

from textgen.config import MATCHED
from textgen.errors import UsageError
from textgen.inference.matches import Matcher
from textgen.model.matches import latest, latest_on_cpu, matches, read_on, with_matches


def texts(size: int, streams: int, length: int) -> np.ndarray:
    """Ids (length, streams), few enough that windows come back."""
    return np.random.default_rng(size).integers(0, size, (length, streams))


def expected(ids: np.ndarray, reach: int, size: int) -> list[list[int]]:
    found = [searched(ids[: t + 1].tolist(), reach) for t in range(len(ids))]
    return [[size if one is None else one for one in both] for both in found]


@pytest.mark.parametrize("reach", [8, 9, 20, 64, 500])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("chunks", [[300], [1] * 40 + [7] * 30 + [50], [100, 3, 97]])
def test_chunks_of_any_length_find_what_a_plain_search_does(
    size: int, reach: int, chunks: list[int]
) -> None:
    ids = texts(size, 3, sum(chunks))
    history, found = torch.zeros(3, reach), []
    for chunk in torch.from_numpy(ids).split(chunks):
        both, history = matches(chunk, history, size)
        found.append(torch.stack(both, dim=-1))
    whole = torch.cat(found)
    for b in range(3):
        assert whole[:, b].tolist() == expected(ids[:, b], reach, size)
    if reach >= 500:
        assert (whole < size).any(0).all()


@pytest.mark.parametrize("reach", [8, 20, 64])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_one_by_one_too(size: int, reach: int) -> None:
    ids = texts(size, 2, 400)
    history, matchers = torch.zeros(2, reach), [Matcher(reach, size) for _ in range(2)]
    found, on_cpu, single = [], [], []
    for row in ids:
        history = read_on(history, torch.from_numpy(row))
        found.append(torch.stack(latest(history, size), dim=-1).tolist())
        on_cpu.append(torch.stack(latest_on_cpu(history, size), dim=-1).tolist())
        read = [m.read(i) for m, i in zip(matchers, row.tolist(), strict=True)]
        single.append([[size if one is None else one for one in both] for both in read])
    for b in range(2):
        for several in (found, on_cpu, single):
            assert [f[b] for f in several] == expected(ids[:, b], reach, size)
        np.testing.assert_array_equal(matchers[b].history, history[b].numpy())


@pytest.mark.parametrize("cut", [0, 3, 5, 19, 20, 21, 150, 399])
def test_a_matcher_goes_on_from_its_history(cut: int) -> None:
    ids = texts(2, 1, 400)[:, 0].tolist()
    whole, first = Matcher(20, 2), Matcher(20, 2)
    for i in ids[:cut]:
        whole.read(i)
        first.read(i)
    second = Matcher(20, 2, first.history)
    assert [second.read(i) for i in ids[cut:]] == [whole.read(i) for i in ids[cut:]]


def test_a_matcher_keeps_no_more_than_it_needs() -> None:
    matcher = Matcher(20, 50)
    for i in np.random.default_rng(0).integers(0, 50, 5000).tolist():
        matcher.read(i)
    assert len(matcher._ids) < 60
    assert len(matcher._after) <= 40


def test_large_vocabularies_are_hashed() -> None:
    size = 1_000_000
    ids = np.concatenate([texts(size, 2, 40)] * 2)
    found, _ = matches(torch.from_numpy(ids), torch.zeros(2, 64), size)
    both = torch.stack(found, dim=-1)
    for b in range(2):
        assert both[:, b].tolist() == expected(ids[:, b], 64, size)


@pytest.mark.parametrize("size", [500, 5000, 200_000])
def test_windows_that_differ_in_their_last_character_alone_are_told_apart(size: int) -> None:
    rng = np.random.default_rng(0)
    same = rng.integers(0, size, 5)
    ids = np.concatenate([[*same, i, size - 1] for i in rng.permutation(100)])[:, None]
    found, _ = matches(torch.from_numpy(ids), torch.zeros(1, 2048), size)
    assert torch.stack(found, dim=-1)[:, 0].tolist() == expected(ids[:, 0], 2048, size)


@pytest.mark.parametrize("bad", [float("nan"), -7.0, 1e9, 99.0])
def test_what_is_no_history_names_no_rows(bad: float) -> None:
    ids = torch.tensor([[0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0]]).T
    history = torch.full((1, 20), bad)
    found, after = matches(ids, history, 2)
    for one in (*found, *latest(after, 2), *latest_on_cpu(after, 2)):
        assert 0 <= one.min() <= one.max() <= 2
    Matcher(20, 2, history[0].numpy()).read(1)


def test_no_match_adds_nothing() -> None:
    of_characters = torch.full((3, 2), 100.0)
    first, second = torch.arange(6.0).view(3, 2), 10 * torch.arange(6.0).view(3, 2)
    ids = [torch.tensor([0, 3, 2]), torch.tensor([3, 3, 1])]
    found = with_matches(of_characters, ids, [first, second])
    assert found.tolist() == [[100, 101], [100, 100], [124, 135]]


def test_a_history_shorter_than_a_match_is_refused() -> None:
    least = max(MATCHED) + 1
    expected = f"expected 0 or a whole number between {least} and 65,536"
    for history in (1, least - 1):
        with pytest.raises(UsageError, match=f"`history` is {history}; {expected}"):
            model_config(5, history=history)
    assert model_config(5, history=least).history == least
    assert model_config(5, history=0).state == model_config(5, history=0).recurrent
