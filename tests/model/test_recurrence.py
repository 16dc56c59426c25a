from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import build
from torch import Tensor, nn

from textgen.model import network, recurrence
from textgen.model.network import State

CELLS = {"gru": (recurrence.gru, nn.GRU), "rnn": (recurrence.rnn, nn.RNN)}


def inputs(layer: nn.RNNBase, length: int, streams: int) -> list[Tensor]:
    """x, h and weights, to be differentiated by."""
    random = torch.Generator().manual_seed(1)
    shapes = [(length, streams, layer.input_size), (streams, layer.hidden_size)]
    shapes += [tuple(p.shape) for p in layer.parameters()]
    dtype = next(layer.parameters()).dtype
    found = [torch.randn(shape, generator=random, dtype=dtype) for shape in shapes]
    for weight in found[2:4]:
        weight /= weight.shape[1] ** 0.5
    return [tensor.requires_grad_() for tensor in found]


def torchs(layer: nn.RNNBase, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
    named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
    found: Tensor = torch.func.functional_call(layer, named, (x, h[None]))[0]
    return found


def gradients(states: Tensor, given: list[Tensor]) -> tuple[Tensor, ...]:
    direction = torch.randn(states.shape, generator=torch.Generator().manual_seed(2))
    return torch.autograd.grad((states * direction.to(states.dtype)).sum(), given)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradients_are_those_of_finite_differences(cell: str) -> None:
    own, module = CELLS[cell]
    given = inputs(module(2, 3).double(), 4, 2)
    assert torch.autograd.gradcheck(own, given)


@pytest.mark.parametrize(("wide", "hidden"), [(40, 40), (24, 56)])
@pytest.mark.parametrize(("length", "streams"), [(1, 1), (1, 5), (70, 3), (64, 32)])
@pytest.mark.parametrize("cell", CELLS)
def test_states_and_gradients_are_torchs(
    cell: str, length: int, streams: int, wide: int, hidden: int
) -> None:
    own, module = CELLS[cell]
    layer = module(wide, hidden)
    given = inputs(layer, length, streams)
    ours, theirs = own(*given), torchs(layer, *given)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for a, b in zip(gradients(ours, given), gradients(theirs, given), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * max(1.0, float(b.abs().max())), rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_and_gradients_may_lie_in_memory_in_any_order(cell: str) -> None:
    own, module = CELLS[cell]
    x, *others = inputs(module(6, 8), 9, 4)
    turned = x.detach().permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    expected, found = own(x, *others), own(turned, *others)
    torch.testing.assert_close(found, expected)
    weights = others[1:]
    summed = torch.autograd.grad(found.sum(), weights)  # a gradient of one number, expanded
    ones = torch.autograd.grad(expected, weights, torch.ones_like(expected))
    torch.testing.assert_close(summed, ones)


@pytest.mark.parametrize("cell", CELLS)
def test_half_precision_is_near_and_keeps_the_weights_gradients_in_full(cell: str) -> None:
    own, module = CELLS[cell]
    given = inputs(module(24, 32), 20, 8)
    exact = own(*given)
    with torch.autocast("cpu", torch.bfloat16):
        near = own(*given)
    assert near.dtype == torch.bfloat16
    assert (near - exact).norm() < 0.02 * exact.norm()
    for a, b in zip(gradients(near, given), gradients(exact, given), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.05 * b.norm()


@pytest.mark.parametrize("cell", CELLS)
def test_a_network_trains_as_with_torchs_cells(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, weight-drop and streams that begin anew: the same masks, the same gradients."""
    model = build(cell, (24, 24, 16), dropout=0.3, weight_drop=0.4).train()
    ids = torch.randint(20, (2, 30, 6), generator=torch.Generator().manual_seed(5))
    fresh = torch.tensor([True, False, False, True, False, False])

    def trained() -> tuple[Tensor, ...]:
        random = torch.Generator().manual_seed(6)
        first, second = model.masks(6, random), model.masks(6, random)
        _, state = model.loss(ids[0], ids[1], State.zeros(model.config, 6), first)
        loss, state = model.loss(ids[1], ids[0], state.detach().zeroed(fresh), second)
        parts = [state.parts[name] for name in sorted(state.parts)]
        return loss, *parts, *torch.autograd.grad(loss, list(model.parameters()))

    found = trained()
    monkeypatch.setattr(network, "_ON_CPU", {})
    for a, b in zip(found, trained(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_inputs_give_the_same_bits(cell: str) -> None:
    own: Callable[..., Tensor] = CELLS[cell][0]
    given = inputs(CELLS[cell][1](16, 24), 12, 4)
    first, second = own(*given), own(*given)
    assert torch.equal(first, second)
    for a, b in zip(gradients(first, given), gradients(second, given), strict=True):
        assert torch.equal(a, b)
