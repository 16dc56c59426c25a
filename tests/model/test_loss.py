from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from textgen.model import loss
from textgen.model.loss import FEW, mean_nats


def head_and_activations(vocabulary: int) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    head = torch.nn.Linear(12, vocabulary)
    x = torch.randn(7, 43, 12, requires_grad=True)  # 301 rows: two chunks and a rest
    return head, x, torch.randint(vocabulary, (7, 43))


def gradients(head: torch.nn.Linear, x: torch.Tensor, mean: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(3 * mean, [x, head.weight, head.bias]))


@pytest.mark.parametrize("vocabulary", [5, FEW, FEW + 1, 2000])
def test_loss_and_gradients_are_those_of_softmax_and_cross_entropy(vocabulary: int) -> None:
    head, x, targets = head_and_activations(vocabulary)
    expected = cross_entropy(head(x).flatten(0, 1), targets.flatten())
    found = mean_nats(head, x, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(head, x, found), gradients(head, x, expected))


def test_half_precision_is_as_near_as_it_is_without_chunks() -> None:
    head, x, targets = head_and_activations(2000)
    exact = gradients(head, x, mean_nats(head, x, targets))
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for half in (mean_nats(head, x.bfloat16(), targets), None):
            if half is None:
                half = cross_entropy(head(x.bfloat16()).float().flatten(0, 1), targets.flatten())
            found.append(gradients(head, x, half))
    for chunked, plain, true in zip(*found, exact, strict=True):
        assert chunked.dtype == true.dtype
        assert (chunked - true).norm() <= 1.2 * (plain - true).norm() + 1e-3 * true.norm()


def test_an_impossible_target_costs_much_and_is_no_infinity() -> None:
    head, x, targets = head_and_activations(FEW + 1)
    with torch.no_grad():
        head.bias[0] = 300.0
    targets.fill_(1)
    assert mean_nats(head, x, targets).item() == pytest.approx(300, abs=5)


def test_few_logits_exist_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    log_softmax = loss.log_softmax

    def watched(logits: torch.Tensor, dim: int) -> torch.Tensor:
        rows.append(len(logits))
        return log_softmax(logits, dim=dim)

    monkeypatch.setattr(loss, "log_softmax", watched)
    head, x, targets = head_and_activations(FEW + 1)
    mean_nats(head, x, targets)
    assert sum(rows) == 301
    assert max(rows) == loss.ROWS
