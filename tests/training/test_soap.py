"""The optimizer that works in another basis, against AdamW in that basis, and its turns."""

from __future__ import annotations

import math

import pytest
import torch
from networks import build, training_config
from torch import Tensor

from textgen.training.optimizers import first_moments, moments_of, optimizer_of
from textgen.training.soap import TAKEN, TURNED, WIDEST, Soap

CPU = torch.device("cpu")
HOW = {"lr": 0.1, "betas": (0.7, 0.99), "weight_decay": 0.3}
ROWS, D = 6, 5


def soap(weight: Tensor) -> Soap:
    made = Soap([{"params": [weight], "turned": weight.dim() == 2}], fused=True, **HOW)
    made.step = torch.no_grad()(made.step)  # type: ignore[method-assign]
    return made


def orthogonal(generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(D, D, generator=generator)).Q


def advance(optimizer: Soap, weight: Tensor, gradient: Tensor, step: int) -> None:
    weight.grad = gradient
    optimizer.step()
    optimizer.turn(step)


def trained(mixing: Tensor, steps: int, seed: int = 0) -> tuple[Soap, Tensor]:
    """After steps whose gradients are rows of independent numbers times `mixing`, (D, D)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.zeros(ROWS, D, requires_grad=True)
    optimizer = soap(weight)
    for step in range(1, steps + 1):
        advance(optimizer, weight, torch.randn(ROWS, D, generator=generator) @ mixing, step)
    return optimizer, weight


def test_in_a_basis_that_stays_it_is_adamw_of_the_turned_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    basis, start = orthogonal(generator), torch.randn(ROWS, D, generator=generator)
    weight, turned = start.clone().requires_grad_(), (start @ basis).requires_grad_()
    ours, plain = soap(weight), torch.optim.AdamW([turned], **HOW)
    for step in range(5):
        gradient = torch.randn(ROWS, D, generator=generator)
        weight.grad, turned.grad = gradient, gradient @ basis
        ours.step()
        plain.step()
        if step == 0:  # until then it has no basis: as AdamW in its own
            torch.testing.assert_close(ours.state[weight]["exp_avg"], 0.3 * gradient)
            with torch.no_grad():
                weight.copy_(turned @ basis.T)
            for name in ("exp_avg", "exp_avg_sq"):
                ours.state[weight][name].copy_(plain.state[turned][name])
            ours.state[weight]["basis"] = basis
        torch.testing.assert_close(weight, turned @ basis.T)
        assert weight.grad is gradient


def test_the_basis_becomes_that_of_the_covariance() -> None:
    generator = torch.Generator().manual_seed(1)
    axes, spread = orthogonal(generator), torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5])
    optimizer, weight = trained(torch.diag(spread) @ axes, 10 * TURNED)
    kept = optimizer.state[weight]
    aligned = (axes @ kept["basis"]).abs()
    assert (aligned.diagonal() > 0.95).all()
    torch.testing.assert_close(kept["basis"].T @ kept["basis"], torch.eye(D), atol=1e-5, rtol=0)


def test_a_turn_leaves_the_momentum_where_it_points() -> None:
    optimizer, weight = trained(torch.randn(D, D), TURNED - 1)
    kept = optimizer.state[weight]
    weight.grad = torch.randn(ROWS, D)
    basis, before = kept["basis"].clone(), kept["exp_avg"] @ kept["basis"].T
    optimizer.turn(TURNED)
    assert not torch.equal(kept["basis"], basis)
    torch.testing.assert_close(kept["exp_avg"] @ kept["basis"].T, before)


def test_bases_are_turned_often_at_first_and_covariances_taken_in_more_often() -> None:
    optimizer, weight = trained(torch.randn(D, D), 1)
    turned, taken = [], []
    for step in range(2, 2 * TURNED + 1):
        before = [optimizer.state[weight][name].clone() for name in ("basis", "covariance")]
        advance(optimizer, weight, torch.randn(ROWS, D), step)
        after = [optimizer.state[weight][name] for name in ("basis", "covariance")]
        for steps, then, now in zip((turned, taken), before, after, strict=True):
            steps += [] if torch.equal(then, now) else [step]
    assert turned == [2, 4, 8, 16, TURNED, 2 * TURNED]
    assert taken == [*range(2, TURNED), *range(TURNED, 2 * TURNED + 1, TAKEN)]


@pytest.mark.parametrize("precision", ["bf16", "fp32", "fp16"])
def test_products_by_a_basis_are_in_bf16_where_the_forward_pass_is(precision: str) -> None:
    moved = []
    for products in ("fp32", precision):
        network = build("lstm", (8,))
        before = network.head.weight.detach().clone()
        config = training_config(9, optimizer="soap", precision=products, lr=0.01)
        optimizer, generator = optimizer_of(network, config, CPU), torch.Generator().manual_seed(4)
        assert isinstance(optimizer, Soap)
        for step in range(1, 4):
            for p in network.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
            optimizer.turn(step)
        moved.append((network.head.weight.detach() - before).flatten())
    assert torch.equal(*moved) == (precision != "bf16")
    assert torch.cosine_similarity(*moved, dim=0) > 0.999


def test_where_the_first_step_is_left_out_the_second_gives_the_basis() -> None:
    weight = torch.zeros(ROWS, D, requires_grad=True)
    optimizer = soap(weight)
    weight.grad = torch.full((ROWS, D), math.inf)
    optimizer.turn(1)
    assert not optimizer.state[weight]
    advance(optimizer, weight, torch.randn(ROWS, D), 2)
    assert "basis" in optimizer.state[weight]


def test_a_vector_is_adamws() -> None:
    ours, theirs = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer, plain = soap(ours), torch.optim.AdamW([theirs], fused=True, **HOW)
    for step in range(1, 5):
        theirs.grad = torch.randn(3)
        plain.step()
        advance(optimizer, ours, theirs.grad, step)
    assert torch.equal(ours, theirs)
    assert set(optimizer.state[ours]) == {"step", "exp_avg", "exp_avg_sq"}


def test_a_matrix_that_is_too_wide_is_adamws() -> None:
    network = build("lstm", (8,))
    wide = torch.nn.Parameter(torch.ones(2, WIDEST + 1))
    network.wide, config = wide, training_config(9, optimizer="soap", lr=0.01)
    optimizer = optimizer_of(network, config, CPU)
    assert isinstance(optimizer, Soap)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.turn(1)
    kept = moments_of(optimizer)
    assert {name: moment.shape for name, moment in kept.items()} == {
        name: moment.shape for name, moment in first_moments(optimizer, config).items()
    }
    assert "basis" not in optimizer.state[wide]
    assert "basis" in optimizer.state[network.head.weight]


@pytest.mark.parametrize("begin", [0, 5])
def test_a_step_whose_gradients_are_infinite_changes_nothing(begin: int) -> None:
    network = build("lstm", (8,))
    config = training_config(9, optimizer="soap", precision="fp16", lr=0.01, weight_decay=0.5)
    optimizer, scaler = optimizer_of(network, config, CPU), torch.amp.GradScaler("cpu")
    assert isinstance(optimizer, Soap)
    kept: dict[str, Tensor] = {}
    for step in range(begin + 1):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        infinite = step == begin
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, math.inf if infinite else step + 1.0)
        scaler.scale(torch.zeros(()))
        scaler.step(optimizer)
        scaler.update()
        optimizer.turn(step + 1)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name]) == infinite, name
        kept = optimizer.state[network.head.weight]
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_inputs_that_vary_together_are_learned_sooner_than_by_adamw() -> None:
    """Least squares whose inputs are nearly one and the same."""
    generator = torch.Generator().manual_seed(2)
    mixing = 1.0 + 0.1 * torch.randn(D, D, generator=generator)
    goal = torch.randn(ROWS, D, generator=generator)
    losses = {}
    for kind in (Soap, torch.optim.AdamW):
        drawn = torch.Generator().manual_seed(3)
        weight = torch.zeros(ROWS, D)
        optimizer = kind([{"params": [weight], "turned": True}], fused=True, **HOW)
        step_of = torch.no_grad()(optimizer.step)
        for step in range(1, 301):
            inputs = torch.randn(64, D, generator=drawn) @ mixing
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 301)
            optimizer.param_groups[0]["weight_decay"] = 0.0
            weight.grad = (weight - goal) @ inputs.T @ inputs / 64
            step_of()
            if isinstance(optimizer, Soap):
                optimizer.turn(step)
        losses[kind] = float((weight - goal).square().mean())
    assert losses[Soap] < losses[torch.optim.AdamW] / 100
