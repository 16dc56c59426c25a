"""What a step does where gradients are infinite, against torch's own way, which asks the host."""

from __future__ import annotations

import math

import pytest
import torch
from networks import build, training_config

from textgen.training.optimizers import ScaledRMSprop, ScaledSGD, optimizer_of

CPU = torch.device("cpu")
GRADIENTS = [math.inf, 1.0, -2.0, math.nan, 3.0, math.inf, 0.5]


def steps(
    optimizer: torch.optim.Optimizer, weight: torch.Tensor, gradients: list[float]
) -> list[float]:
    """The first weight after each step, whose gradients are these."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    found = []
    for gradient in gradients:
        optimizer.zero_grad()
        scaler.scale((weight * gradient).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        found.append(float(weight.detach()[0]))
    return found


@pytest.mark.parametrize("begin", [0, 1])
def test_rmsprop_leaves_out_the_steps_that_torch_leaves_out(begin: int) -> None:
    expected, found = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    how = {"lr": 0.1, "alpha": 0.95, "weight_decay": 0.1}
    ours = ScaledRMSprop([found], **how)
    ours.step = torch.no_grad()(ours.step)  # type: ignore[method-assign]
    gradients = GRADIENTS[begin:]
    assert steps(ours, found, gradients) == steps(
        torch.optim.RMSprop([expected], **how), expected, gradients
    )
    assert torch.isfinite(ours.state[found]["square_avg"]).all()


def test_the_host_is_not_asked_whether_a_gradient_is_infinite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.amp.GradScaler, "_maybe_opt_step", None)
    for kind in ("soap", "rmsprop", "sgd", "adamw", "adam"):
        network = build("gru", (8,))
        config = training_config(9, optimizer=kind, precision="fp16", lr=0.01)
        optimizer, scaler = optimizer_of(network, config, CPU), torch.amp.GradScaler("cpu")
        before = network.head.weight.detach().clone()
        for gradient in (math.inf, 1.0):
            for parameter in network.parameters():
                parameter.grad = torch.full_like(parameter, gradient)
            scaler.scale(torch.zeros(()))
            scaler.step(optimizer)
            scaler.update()
            changed = not torch.equal(network.head.weight, before)
            assert changed == (gradient == 1.0), kind


def test_the_momentum_of_sgd_is_zero_where_its_first_step_is_left_out() -> None:
    weights = torch.tensor([1.0, 2.0], requires_grad=True)
    how = {"lr": 0.1, "momentum": 0.9, "fused": True}
    ours = ScaledSGD([weights], **how)
    ours.step = torch.no_grad()(ours.step)  # type: ignore[method-assign]
    assert steps(ours, weights, [math.inf, 1.0, 1.0]) == pytest.approx([1.0, 0.9, 0.71])


@pytest.mark.parametrize("kind", ["soap", "adamw"])
def test_rows_of_n_grams_decay_most(kind: str) -> None:
    """More than matrices; those of characters and of matches do not."""
    network = build("gru", (8,), history=64, grams=50)
    config = training_config(9, optimizer=kind, lr=0.5, weight_decay=0.1)
    optimizer = optimizer_of(network, config, CPU)
    weights = dict(network.named_parameters())
    with torch.no_grad():
        for parameter in weights.values():
            parameter.fill_(1.0).grad = torch.zeros_like(parameter)
    optimizer.step()
    found = {name: float(weight.detach().flatten()[0]) for name, weight in weights.items()}
    assert found["grams.weight"] == pytest.approx(1 - 0.5 * 0.1 * 2.5)
    for name in ("head.weight", "layers.0.weight_hh_l0"):
        assert found[name] == pytest.approx(1 - 0.5 * 0.1)
    for name in ("embedding.weight", "matches.1.weight", "head.bias"):
        assert found[name] == 1.0
