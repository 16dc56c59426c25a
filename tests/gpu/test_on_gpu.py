"""What only a CUDA device can show; left out where there is none."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import train
from networks import build, training_config

import textgen
from textgen.errors import OutOfMemory
from textgen.events import Finished
from textgen.inference.folding import fold
from textgen.training.step import Learner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
AVAILABLE = torch.cuda.is_available
VISIBLE = {n: os.environ.get(n) for n in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")}
IDS = np.random.default_rng(0).integers(20, size=5000).astype(np.uint8)
KINDS = [*product(("soap", "adamw"), ("fp32", "fp16")), ("rmsprop", "fp16"), ("sgd", "fp16")]


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests see the GPU, which is hidden from all others."""
    monkeypatch.setattr(torch.cuda, "is_available", AVAILABLE)
    for name, value in VISIBLE.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


def learner(device: str = "cuda", **changes: object) -> Learner:
    settings: dict[str, object] = {"batch_size": 8, "bptt": 16, "lr": 0.003, **changes}
    network = build("lstm", (32, 32), dropout=0.2, weight_drop=0.2)
    return Learner(network, training_config(50, **settings), IDS, torch.device(device))


def advance(learner: Learner, steps: int) -> list[float]:
    return [float(learner.advance()) for _ in range(steps)]


@pytest.mark.parametrize(("optimizer", "precision"), KINDS)
def test_a_captured_step_comes_to_what_one_by_one_comes_to(optimizer: str, precision: str) -> None:
    captured, eager = (learner(optimizer=optimizer, precision=precision) for _ in range(2))
    eager._graphed = None
    np.testing.assert_allclose(advance(captured, 12), advance(eager, 12), rtol=1e-3)
    assert captured.notices == []
    assert captured._graphed is not None
    assert captured._graphed._graph is not None


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_a_device_other_than_the_first_learns() -> None:
    torch.cuda.set_device(0)
    first, second = learner("cuda:0"), learner("cuda:1")
    torch.cuda.set_device(0)
    np.testing.assert_allclose(advance(first, 12), advance(second, 12), rtol=1e-3)


def test_groups_of_streams_come_to_what_all_come_to_at_once() -> None:
    whole, parts = learner(), learner(accumulate=3)
    np.testing.assert_allclose(advance(whole, 8), advance(parts, 8), rtol=1e-3)


def test_a_run_is_trained_resumed_and_written_with(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, steps=20, device="cuda", precision="auto", dropout=0.1)
    events = list(textgen.resume("tales", checkpoints=tmp_path, steps=20))
    assert isinstance(events[-1], Finished)
    model = textgen.load(tmp_path / "tales")
    texts = ["".join(model.generate(length=50, seed=1, device=d)) for d in ("cpu", "cuda")]
    assert [len(text) for text in texts] == [50, 50]
    assert model.score("the fox said").nats_per_char > 0


def test_too_little_memory_is_said_with_what_helps() -> None:
    many = learner(batch_size=4096, bptt=64)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(OutOfMemory, match="too little memory") as caught:
            advance(many, 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "`accumulate=2`" in caught.value.hint


def test_folded_weights_of_a_gpu_are_those_of_the_cpu() -> None:
    here, there = learner("cpu"), learner()
    for name, array in here.weights().items():
        np.testing.assert_array_equal(array, there.weights()[name])
    model = fold(there.network.config, there.weights())
    assert model.head.dtype == np.float32
