from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import build, training_config

from textgen.config import OPTIMIZERS
from textgen.errors import CheckpointError, OutOfMemory
from textgen.store.contents import LARGEST_WEIGHT
from textgen.training.arrays import Arrays
from textgen.training.document_streams import DocumentStreams
from textgen.training.first import first_network
from textgen.training.ranks import Alone
from textgen.training.step import AGREED, Learner

IDS = np.random.default_rng(0).integers(20, size=500).astype(np.uint8)
CPU = torch.device("cpu")
RATES = {"soap": 0.01, "adamw": 0.01, "adam": 0.01, "rmsprop": 0.003, "sgd": 0.5}


def learner(optimizer: str = "adamw", cell: str = "lstm", **changes: object) -> Learner:
    settings = {"batch_size": 4, "bptt": 8, "warmup": 2, "lr": RATES[optimizer], **changes}
    config = training_config(50, optimizer=optimizer, **settings)
    network = build(cell, (12, 12), dropout=0.2, weight_drop=0.2)
    return Learner(network, config, IDS, CPU)


def advance(learner: Learner, steps: int) -> list[float]:
    return [float(learner.advance()) for _ in range(steps)]


@pytest.fixture(scope="module")
def saved() -> Arrays:
    """What is kept of three steps."""
    trained = learner()
    advance(trained, 3)
    return trained.arrays()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_another_learner_goes_on_from_the_arrays_to_the_last_bit(optimizer: str, cell: str) -> None:
    first = learner(optimizer, cell)
    advance(first, 3)
    kept = first.arrays()
    losses = advance(first, 4)
    second = learner(optimizer, cell)
    advance(second, 1)  # whatever it did before
    second.restore(kept, 3)
    np.testing.assert_equal(second.arrays(), kept)
    assert advance(second, 4) == losses
    np.testing.assert_equal(second.arrays(), first.arrays())
    assert second.take_losses() == first.take_losses()
    assert (second.step, second.lr) == (7, first.lr)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_changes_every_weight(optimizer: str) -> None:
    trained = learner(optimizer)
    before = trained.weights()
    advance(trained, 3)
    for name, array in trained.weights().items():
        assert (array != before[name]).any(), name


def test_what_follows_matches_is_learned_and_gone_on_from() -> None:
    def learner() -> Learner:
        network = build("lstm", (12, 12), history=20)
        return Learner(
            network, training_config(50, batch_size=4, bptt=8), np.resize(IDS[:13], 2000), CPU
        )

    first, second = learner(), learner()
    before = first.weights()
    advance(first, 20)
    for name, array in first.weights().items():
        assert (array != before[name]).any(), name
    assert first.state.parts["history"].min() > 0
    second.restore(first.arrays(), 20)
    assert advance(first, 9) == advance(second, 9)


def test_what_is_kept_before_the_first_step_can_be_gone_on_from() -> None:
    first, second = learner(), learner()
    kept = first.arrays()
    assert kept["optimizer"] == {}
    advance(second, 1)
    second.restore(kept, 0)
    assert advance(first, 3) == advance(second, 3)


def remove(arrays: Arrays, group: str, name: str) -> None:
    del arrays[group][name]


def cut(arrays: Arrays, group: str, name: str) -> None:
    arrays[group][name] = arrays[group][name][..., :-1]


def wrap(arrays: Arrays, group: str, name: str) -> None:
    arrays[group][name] = arrays[group][name][None]


def add(arrays: Arrays, group: str, name: str) -> None:
    assert name not in arrays[group]
    arrays[group][name] = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("edit", "group", "name"),
    [
        (remove, "optimizer", "0.exp_avg"),
        (remove, "optimizer", "7.exp_avg_sq"),
        (remove, "optimizer", "3.step"),
        (cut, "optimizer", "0.exp_avg"),
        (wrap, "optimizer", "2.step"),
        (add, "optimizer", "0.momentum_buffer"),
        (add, "optimizer", "99.exp_avg"),
        (remove, "state", "1.cell"),
        (cut, "state", "0.hidden"),
        (add, "state", "2.hidden"),
        (remove, "model", "head.bias"),
        (wrap, "model", "embedding.weight"),
        (add, "model", "surplus"),
        (remove, "losses", "count"),
        (wrap, "losses", "sum"),
        (add, "losses", "since"),
        (add, "scaler", "scale"),
    ],
)
def test_an_array_that_is_missing_misshapen_or_too_many_is_named_and_nothing_is_taken_up(
    saved: Arrays, edit: Callable[[Arrays, str, str], None], group: str, name: str
) -> None:
    arrays = {g: dict(named) for g, named in saved.items()}
    edit(arrays, group, name)
    other = learner()
    before = other.arrays()
    with pytest.raises(CheckpointError) as caught:
        other.restore(arrays, 3)
    assert f"{group}/{name} " in caught.value.message
    assert caught.value.hint
    assert other.step == 0
    np.testing.assert_equal(other.arrays(), before)


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_moments_of_another_optimizer_are_refused(saved: Arrays, optimizer: str) -> None:
    with pytest.raises(CheckpointError, match="optimizer/"):
        learner(optimizer).restore(saved, 3)


def test_the_arrays_are_copies(saved: Arrays) -> None:
    other = learner()
    other.restore(saved, 3)
    before = {group: {n: a.copy() for n, a in named.items()} for group, named in saved.items()}
    kept = other.arrays()
    advance(other, 2)
    np.testing.assert_equal(saved, before)
    np.testing.assert_equal(kept, before)


def test_adam_is_adamw_without_decay() -> None:
    adam, adamw = learner("adam", weight_decay=0.0), learner("adamw", weight_decay=0.0)
    decayed = learner("adamw", weight_decay=0.5)
    assert advance(adam, 5) == advance(adamw, 5) != advance(decayed, 5)
    np.testing.assert_equal(adam.arrays(), adamw.arrays())


@pytest.mark.parametrize("optimizer", ["soap", "adamw", "rmsprop", "sgd"])
def test_only_matrices_decay(optimizer: str) -> None:
    """The first step of two learners that differ in their decay alone."""
    plain, decayed = learner(optimizer, weight_decay=0.0), learner(optimizer, weight_decay=0.4)
    for one in (plain, decayed):
        advance(one, 1)
    after, others = plain.weights(), decayed.weights()
    changed = {name for name in after if (after[name] != others[name]).any()}
    assert changed == {
        "layers.0.weight_ih_l0",
        "layers.0.weight_hh_l0",
        "layers.1.weight_ih_l0",
        "layers.1.weight_hh_l0",
        "head.weight",
    }


def test_adamw_shrinks_by_rate_times_decay_what_adam_would_have_come_to() -> None:
    plain, decayed = learner(weight_decay=0.0), learner(weight_decay=0.4)
    before, lr = plain.weights()["head.weight"], plain.lr
    for one in (plain, decayed):
        advance(one, 1)
    shrunk = plain.weights()["head.weight"] - decayed.weights()["head.weight"]
    np.testing.assert_allclose(shrunk, 0.4 * lr * before, atol=1e-7)


def test_ranks_agree_now_and_then() -> None:
    agreed = []

    class Counting(Alone):
        def agree(self, network: torch.nn.Module) -> None:
            agreed.append(trained.step)

    network = build("lstm", (12, 12))
    trained = Learner(network, training_config(150, batch_size=4), IDS, CPU, ranks=Counting())
    advance(trained, 2 * AGREED)
    assert agreed == [AGREED, 2 * AGREED]


def test_taken_losses_are_the_mean_since_they_were_taken_last() -> None:
    trained = learner()
    assert trained.take_losses() == 0.0
    for steps in (3, 1, 5):
        losses = advance(trained, steps)
        assert trained.take_losses() == pytest.approx(np.mean(losses), rel=1e-12)
    assert trained.take_losses() == 0.0


def test_the_network_it_is_given_is_the_one_it_trains() -> None:
    network = build("gru", (12,))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trained = Learner(network, training_config(9, batch_size=4, bptt=8), IDS, CPU)
    advance(trained, 1)
    assert trained.network is network
    for name, parameter in network.named_parameters():
        assert not torch.equal(parameter, before[name]), name
        np.testing.assert_array_equal(trained.weights()[name], parameter.detach())


def test_the_first_weights_follow_the_seed_and_the_texts_characters() -> None:
    config = build("gru", (12,)).config
    first, same, other = (first_network(config, IDS, seed) for seed in (1, 1, 2))
    states = [network.state_dict() for network in (first, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["embedding.weight"], states[2]["embedding.weight"])
    shares = (np.bincount(IDS, minlength=20) + 1) / (len(IDS) + 20)
    np.testing.assert_allclose(states[0]["head.bias"].exp(), shares, rtol=1e-5)


def test_steps_leave_no_tensors_behind() -> None:
    def tensors() -> int:
        gc.collect()
        return sum(type(o) is torch.Tensor for o in gc.get_objects())

    trained = learner()
    advance(trained, 2)
    before, total = tensors(), trained.loss_sum
    advance(trained, 20)
    assert tensors() == before
    assert trained.loss_sum is total
    assert (total.shape, total.dtype) == ((), torch.float64)


def test_the_gradient_is_clipped_and_its_norm_from_before_is_told() -> None:
    steps = {}
    for clip in (1e-4, 1e9):
        trained = learner("sgd", clip=clip, weight_decay=0.0)
        before, lr = trained.weights(), trained.lr
        advance(trained, 1)
        after = trained.weights()
        length = np.sqrt(sum(((after[n] - before[n]) ** 2).sum() for n in after))
        steps[clip] = (float(trained.grad_norm), length / lr)
    (norm, clipped), (same, whole) = steps[1e-4], steps[1e9]
    assert norm == same == pytest.approx(whole, rel=1e-2)
    assert clipped == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -2 * LARGEST_WEIGHT])
@pytest.mark.parametrize("averaged", [False, True])
def test_a_weight_that_could_not_be_read_back_is_noticed(value: float, averaged: bool) -> None:
    trained = learner(average=0.5)
    assert trained.is_finite()
    weights = trained._judged.weights if averaged else trained.network.state_dict()
    weights["head.bias"][3] = value
    assert not trained.is_finite()


def test_no_optimizer_or_cell_loads_the_compiler() -> None:
    """Its import takes two seconds, which is a thirtieth of a minute's training."""
    program = """
import sys
import numpy as np, torch
from networks import model_config, training_config
from textgen.config import CELLS, OPTIMIZERS
from textgen.model.device import prepare_device
from textgen.training.first import first_network
from textgen.training.step import Learner
prepare_device(torch.device("cpu"), deterministic=True)
ids = np.arange(200, dtype=np.uint8) % 7
for optimizer in OPTIMIZERS:
    for cell in CELLS:
        config = training_config(9, batch_size=2, bptt=8, optimizer=optimizer)
        network = first_network(model_config(7, cell, (8,), embedding=4), ids, 0)
        learner = Learner(network, config, ids, torch.device("cpu"))
        learner.advance()
        arrays = learner.arrays()
        learner.restore(arrays, 1)
        learner.advance()
        assert "torch._dynamo" not in sys.modules, (optimizer, cell)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


def test_the_average_reaches_back_over_its_share_of_the_steps() -> None:
    one = learner(average=0.25)
    seen, expected = [], {}
    for step in range(1, 21):
        advance(one, 1)
        live = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
        newest = 1 / max(1.0, 0.25 * step)
        for name, tensor in live.items():
            before = expected.get(name, tensor)
            expected[name] = before + newest * (tensor - before)
        seen.append(live)
        for name, weights in one.weights().items():
            np.testing.assert_allclose(weights, expected[name], atol=1e-6)
    assert all(torch.equal(expected[n], seen[3][n]) is False for n in expected)
    arrays = one.arrays()
    assert set(arrays["model"]) == set(arrays["live"])
    for name, tensor in seen[-1].items():
        np.testing.assert_array_equal(arrays["live"][name], tensor)


def test_the_network_is_judged_by_the_average_and_trained_without_it() -> None:
    one, other = learner(average=0.5), learner(average=0.0)
    for _ in range(3):
        assert advance(one, 4) == advance(other, 4)
        live = other.weights()
        with one.judged() as network:
            for name, tensor in network.state_dict().items():
                np.testing.assert_array_equal(tensor, one.weights()[name])
                assert not np.array_equal(tensor, live[name])
        for name, tensor in one.network.state_dict().items():
            np.testing.assert_array_equal(tensor, live[name])
    assert other.arrays()["live"] == {}
    with other.judged() as network:
        assert network is other.network


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_groups_of_streams_come_to_what_all_come_to_at_once(cell: str) -> None:
    """Of unequal sizes, with dropout and weight-drop, and more groups than streams."""
    whole = learner("sgd", cell, batch_size=5, average=0.0)
    losses = advance(whole, 6)
    for groups in (2, 3, 99):
        parts = learner("sgd", cell, batch_size=5, average=0.0, accumulate=groups)
        assert advance(parts, 6) == pytest.approx(losses, rel=1e-5)
        for group, named in whole.arrays().items():
            for name, array in named.items():
                found = parts.arrays()[group][name]
                np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_groups_count_by_what_they_learn_not_by_their_padding() -> None:
    lines = np.array([9, *[1, 2, 9] * 20, *[3, 4, 5, 6, 7, 8, 1, 2, 9] * 9], np.uint8)
    losses = []
    for groups in (1, 2, 4):
        config = training_config(9, batch_size=4, bptt=6, filled=0.7, accumulate=groups)
        network = first_network(build("gru", (12,)).config, lines, 0)
        trained = Learner(network, config, lines, CPU)
        trained.streams = DocumentStreams(lines, 4, 6, 0, 9)
        losses.append(advance(trained, 12))  # the tenth ends a pass, and two streams before
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_groups_go_on_exactly_where_they_were_saved() -> None:
    first, second = learner(accumulate=3), learner(accumulate=3)
    advance(first, 3)
    second.restore(first.arrays(), 3)
    assert advance(first, 3) == advance(second, 3)
    np.testing.assert_equal(first.arrays(), second.arrays())


@pytest.mark.parametrize(("groups", "more"), [(1, 2), (3, 6)])
def test_too_little_memory_is_said_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, groups: int, more: int
) -> None:
    def exhausted(self: Learner, chunk: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(Learner, "_update", exhausted)
    with pytest.raises(OutOfMemory, match="4 streams of 8 characters") as caught:
        learner(accumulate=groups).advance()
    assert f"`accumulate={more}`" in caught.value.hint


@pytest.mark.parametrize(("step", "settled"), [(69, None), (70, 1.0)])
def test_weights_saved_as_the_last_part_begins_have_their_temperature(
    step: int, settled: float | None
) -> None:
    """All ranks know it then, not the one alone that took the weights up."""
    config = training_config(100, batch_size=16, bptt=8, aside=64, late=2, average=0.15)
    ids = np.random.default_rng(0).integers(20, size=4000).astype(np.uint8)
    learner = Learner(build("lstm", (12, 12)), config, ids, CPU, aside=ids[:64])
    learner.restart(learner.weights(), step)
    assert learner._judged.settled == settled
    assert learner.arrays()["temperature"]["sharpness"] == (settled or 0.0)
