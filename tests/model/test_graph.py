"""The capturing of a step, with a make-believe CUDA: it records on capture, runs on replay."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from networks import model_config, training_config
from torch import Tensor
from torch.torch_version import TorchVersion

from textgen.model.graph import EAGER, Graphed
from textgen.training.first import first_network
from textgen.training.step import Learner

GPU = torch.device("cuda:1")


class Stream:
    """A stream of a device."""

    def __init__(self, device: torch.device | None) -> None:
        self.device = device

    def wait_stream(self, other: Stream) -> None:
        assert other.device == self.device == GPU


class Event:
    """What a call is waited for by."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.call: int | None = None

    def record(self) -> None:
        assert self.cuda.current == GPU
        self.call, self.cuda.calls = self.cuda.calls, self.cuda.calls + 1

    def synchronize(self) -> None:
        assert self.call is not None
        self.cuda.waits.append(self.call)


class Cuda:
    """What stands in for torch.cuda. fails: with what a capture ends, if it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.fails = fails
        self.capturing = False
        self.recorded: Callable[[], None] | None = None
        self.replays = 0
        self.generators: list[torch.Generator] = []
        self.current: torch.device | None = None
        self.stream: Stream | None = None
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream(self.current))
        monkeypatch.setattr(torch.cuda, "stream", self.on_stream)
        monkeypatch.setattr(torch.cuda, "device", self.on_device)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
        self.pools: list[tuple[str, int, tuple[int, int]]] = []
        for done in ("endAllocateTo", "release"):
            tell = partial(self.tell, done)
            monkeypatch.setattr(torch._C, f"_cuda_{done}Pool", tell, raising=False)
        self.waits: list[int] = []  # the numbers of the calls, as they were waited for
        self.calls = 0
        monkeypatch.setattr(torch.cuda, "Event", lambda: Event(self))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)

    @contextmanager
    def on_device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device
        yield
        self.current = before

    @contextmanager
    def on_stream(self, stream: Stream) -> Iterator[None]:
        assert stream.device == self.current
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def graph(self, _: Cuda, pool: tuple[int, int], stream: Stream) -> Iterator[None]:
        """Like torch's, it stays on `stream` where the end of a capture fails."""
        assert stream is self.stream
        assert pool == (0, 7)
        self.capturing, before = True, self.stream
        self.stream = Stream(self.current)
        yield
        self.capturing = False
        if self.fails:
            raise RuntimeError(self.fails)
        self.stream = before

    def tell(self, done: str, device: int, pool: tuple[int, int]) -> None:
        self.pools.append((done, device, pool))

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.generators.append(generator)

    def replay(self) -> None:
        assert self.recorded is not None
        self.replays += 1
        self.recorded()


def learner() -> Learner:
    ids = np.random.default_rng(0).integers(5, size=999).astype(np.uint8)
    model = model_config(5, hidden=(8, 8), embedding=4, dropout=0.2)
    config = training_config(9, batch_size=3, bptt=5)
    network = first_network(model, ids, seed=0)
    return Learner(network, config, ids, torch.device("cpu"))


@pytest.mark.parametrize("version", ["2.13.1", "2.14.0"])
def test_a_step_is_captured_once_and_replayed_on_new_inputs(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    cuda = Cuda(monkeypatch)
    total, result = torch.zeros(2), torch.zeros(2)
    ran = 0

    def step(x: Tensor) -> Tensor:
        nonlocal ran
        ran += 1
        assert cuda.current == GPU

        def kernels() -> None:
            total.add_(x)
            result.copy_(total)

        if cuda.capturing:
            cuda.recorded = kernels
        else:
            kernels()
        return result

    generator = torch.Generator()
    graphed = Graphed(GPU, generator)
    results = []
    for n in range(8):
        results.append(graphed(step, torch.tensor([1.0, n]), recover=pytest.fail))
        assert cuda.waits == list(range(n))  # one call is under way, and no more
    expected = torch.tensor([[n + 1, n * (n + 1) / 2] for n in range(8)])
    torch.testing.assert_close(torch.stack(results[EAGER:]), expected[EAGER:])
    assert ran == EAGER + 1
    assert cuda.replays == 8 - EAGER
    assert cuda.generators == ([generator] if version < "2.14" else [])


def test_training_goes_on_where_a_capture_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch, fails="this cannot be captured\nat all")
    monkeypatch.setattr(Learner, "_scaler", lambda _: torch.amp.GradScaler("cpu"))

    expected, failing = learner(), learner()
    update = failing._update

    def half(*inputs: Tensor) -> Tensor:
        """What a failed capture leaves behind: a step that was begun, and computed nothing."""
        if failing.step == EAGER and failing.scaler is scaler:
            failing.scaler.unscale_(failing.optimizer)
            return inputs[0]
        return update(*inputs)

    scaler, generator = failing.scaler, failing.generator
    monkeypatch.setattr(failing, "_update", half)
    failing._graphed = Graphed(GPU, failing.generator)
    for _ in range(9):
        assert torch.equal(expected.advance(), failing.advance())
    for name, array in expected.weights().items():
        np.testing.assert_array_equal(array, failing.weights()[name])
    assert failing.notices == ["no CUDA graph, so each step takes longer: this cannot be captured"]
    assert failing.generator is not generator  # torch's own still takes itself to be captured
    assert cuda.pools == [("endAllocateTo", 1, (0, 7)), ("release", 1, (0, 7))]
    assert cuda.stream is None


def test_memory_of_a_captured_step_is_let_go_of_with_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Cuda(monkeypatch, fails="not captured here")
    owner = learner()
    owner._graphed = Graphed(GPU, owner.generator)
    for _ in range(EAGER + 2):
        owner.advance()
    kept = weakref.ref(owner)
    gc.disable()
    try:
        del owner
        assert kept() is None
    finally:
        gc.enable()
