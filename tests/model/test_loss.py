from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from textgen.model import loss
from textgen.model.loss import DRAWN, FEW, mean_nats


def example(vocabulary: int) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    head = torch.nn.Linear(12, vocabulary)
    targets = (vocabulary ** torch.rand(7, 43)).long() - 1  # some often, most seldom or never
    return head, torch.randn(7, 43, 12, requires_grad=True), targets


def gradients(head: torch.nn.Linear, x: torch.Tensor, mean: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(mean, [x, head.weight, head.bias]))


def exact(head: torch.nn.Linear, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(x).flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("vocabulary", [5, FEW])
def test_a_small_vocabulary_has_the_exact_loss(vocabulary: int) -> None:
    head, x, targets = example(vocabulary)
    found, expected = mean_nats(head, x, targets), exact(head, x, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(head, x, found), gradients(head, x, expected))


def test_all_that_is_absent_may_be_drawn_and_then_the_loss_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss, "DRAWN", 10_000)
    head, x, targets = example(2000)
    found, expected = mean_nats(head, x, targets), exact(head, x, targets)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(head, x, found), gradients(head, x, expected))


def test_a_vocabulary_of_which_nothing_is_absent_has_the_exact_loss() -> None:
    head, _, _ = example(FEW + 1)
    x, targets = torch.randn(1, FEW + 1, 12, requires_grad=True), torch.arange(FEW + 1)[None]
    torch.testing.assert_close(mean_nats(head, x, targets), exact(head, x, targets))


def test_on_average_a_large_vocabulary_has_the_exact_loss_and_gradients() -> None:
    head, x, targets = example(3000)
    generator = torch.Generator().manual_seed(0)
    expected = exact(head, x, targets)
    found = [mean_nats(head, x, targets, generator) for _ in range(400)]
    losses = torch.stack(found)
    error = losses.std() / len(found) ** 0.5
    assert losses.std() > 0
    assert (losses.mean() - expected).abs() < 4 * error + 1e-3
    drawn = [gradients(head, x, one) for one in found]
    for true, *parts in zip(gradients(head, x, expected), *drawn, strict=True):
        mean = torch.stack(parts).mean(0)
        assert (mean - true).norm() < 0.1 * true.norm()


def test_the_rows_of_few_characters_are_computed_and_the_same_for_the_same_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[int] = []
    plain = loss.linear

    def watched(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        rows.append(len(weight))
        return plain(x, weight, bias)

    monkeypatch.setattr(loss, "linear", watched)
    head, x, targets = example(3000)
    found = [mean_nats(head, x, targets, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert set(rows) == {len(targets.unique()) + DRAWN}
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("vocabulary", [5, 2000])
def test_padding_does_not_count(vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "DRAWN", 10_000)
    head, x, targets = example(vocabulary)
    targets[3:, ::2] = -1
    found = mean_nats(head, x, targets)
    expected = cross_entropy(head(x)[targets >= 0], targets[targets >= 0])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(head, x, found), gradients(head, x, expected))
