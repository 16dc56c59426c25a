"""The rows of n-grams: found in three ways, all as a plain count of digits finds them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import model_config
from oracle import gram

from textgen.architecture import GRAM, gram_row
from textgen.config import Choices
from textgen.errors import UsageError
from textgen.inference.matches import Matcher
from textgen.model.matches import gram_rows, read_on

ROWS = 101


def expected(ids: np.ndarray) -> list[int]:
    return [gram(ids[: t + 1].tolist(), ROWS) for t in range(len(ids))]


@pytest.mark.parametrize("size", [1, 3, 5000])
@pytest.mark.parametrize("chunks", [[60], [1] * 40 + [7, 13], [30, 2, 28]])
def test_chunks_of_any_length_have_the_same_rows(size: int, chunks: list[int]) -> None:
    ids = np.random.default_rng(size).integers(0, size, (60, 3))
    history, matcher = torch.zeros(3, 20), Matcher(20, size)
    found, last, single = [], [], []
    for chunk in torch.from_numpy(ids).split(chunks):
        found.append(gram_rows(chunk, history, ROWS))
        for row in chunk:
            history = read_on(history, row)
            last.append(gram_row(history[:, -GRAM:].long().T, ROWS).tolist())
            matcher.read(int(row[0]))
            single.append(matcher.gram(ROWS))
    rows = torch.cat(found)
    assert rows.tolist() == last
    for b in range(3):
        assert rows[:, b].tolist() == expected(ids[:, b])
    assert single == expected(ids[:, 0])


def test_a_matcher_knows_the_row_before_a_stream_is_long() -> None:
    matcher = Matcher(20, 9)
    for n in range(1, 2 * GRAM):
        matcher.read(n)
        assert matcher.gram(ROWS) == gram([*range(1, n + 1)], ROWS)


@pytest.mark.parametrize("bad", [-3.0, float("nan"), float("inf"), 3e38])
def test_what_is_no_history_still_names_a_row(bad: float) -> None:
    rows = gram_rows(torch.tensor([[0], [1]]), torch.full((1, 20), bad), ROWS)
    assert 0 <= rows.min() <= rows.max() < ROWS


def test_rows_need_a_history_to_be_found_in() -> None:
    with pytest.raises(UsageError, match="`grams` is 5, `history` is 0; expected a history"):
        Choices(grams=5, history=0)
    with pytest.raises(UsageError, match="`grams` is 5; expected a whole number between 0 and 0"):
        model_config(5, grams=5)
    assert Choices(grams=0, history=0).grams == 0
    assert model_config(5, history=8, grams=5).bare == model_config(5)
