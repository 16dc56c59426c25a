from __future__ import annotations

import numpy as np
import pytest
import torch

from textgen.config import CELLS
from textgen.studies import recall as recalling
from textgen.studies.recall import CUE, DISTANCES, FILLER, SYMBOLS, made_text, network_of, recall


def test_the_text_repeats_each_symbol_after_its_distance() -> None:
    text = made_text(20_000, seed=3)
    symbols = np.flatnonzero(text < SYMBOLS)
    first, second = symbols[::2], symbols[1::2]
    assert (text[first] == text[second]).all()
    assert {*(second - first).tolist()} == {*DISTANCES}
    assert (text[second - 1] == CUE).all()
    assert np.count_nonzero(text == CUE) == len(first)
    assert np.count_nonzero(text == FILLER) == (second - first - 2).sum()
    assert {*text[first].tolist()} == {*range(SYMBOLS)}
    assert np.array_equal(made_text(20_000, seed=3), text)
    assert not np.array_equal(made_text(20_000, seed=4)[:500], text[:500])


def test_the_cells_have_as_many_parameters() -> None:
    counts = [network_of(cell).parameters for cell in CELLS]
    assert max(counts) / min(counts) <= 1.02


class Oracle(torch.nn.Module):
    """Knows the symbol that stood so many characters back, up to `reach`."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.config, self.reach = network_of("lstm"), reach

    def forward(self, ids: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        logits = torch.zeros(*ids.shape, SYMBOLS + 2)
        for column in range(ids.shape[1]):
            for back in range(1, min(self.reach, len(ids)) + 1):
                if (symbol := int(ids[-back, column])) < SYMBOLS:
                    logits[-1, column, symbol] = 1.0
                    break
        return logits, state


@pytest.mark.parametrize("reach", [4, 32])
def test_an_oracle_is_right_as_far_as_it_sees_and_by_chance_beyond(reach: int) -> None:
    for distance in DISTANCES:
        found = recalling._accuracy(Oracle(reach), distance, seed=0)  # type: ignore[arg-type]
        if distance <= reach:
            assert found == 1.0
        else:
            assert 0.02 < found < 0.25


def test_training_learns_the_shortest_first_and_repeats_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"LENGTH": 20_000, "STREAMS": 16, "BPTT": 32}.items():
        monkeypatch.setattr(recalling, name, value)
    found = recall("lstm", steps=160, seed=1)
    assert found.steps == 160
    assert found.accuracy.keys() == {*DISTANCES}
    assert found.accuracy[2] > 0.3 > found.accuracy[128]
    assert recall("lstm", steps=160, seed=1).accuracy == found.accuracy


def test_seconds_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalling, "LENGTH", 10_000)
    spent: list[float] = []
    found = recall("rnn", seconds=0.2, progress=spent.append)
    assert found.seconds >= 0.2 > max(spent)
    assert found.steps == len(spent)
