"""Work on a GPU as one CUDA graph: launched whole, instead of its hundreds of kernels in turn."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

EAGER = 3  # calls done kernel by kernel first, so that what is set up once is not captured

Step = Callable[..., Tensor]


class Graphed:
    """A step, captured after a few calls and replayed from then on.

    The host is one call ahead of the GPU, so that the GPU has work and a clock tells a step's time.
    The step itself is not kept: it and its owner would hold each other, and so their memory.

    device: the GPU that the step works on; generator: the one that the step draws from, which may
    be seeded anew between calls.
    """

    def __init__(self, device: torch.device, generator: torch.Generator | None = None) -> None:
        self._device, self._generator = device, generator
        self._calls = 0
        self._done: torch.cuda.Event | None = None  # of the last call
        self._beside = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Step, *inputs: Tensor, recover: Callable[[str], None]) -> Tensor:
        """`step(*inputs)`, always the same step.

        It works in place on memory that stays where it is, but for its result. recover: called with
        the reason when a capture failed half-way, after which each call runs kernel by kernel.
        Torch then leaves the generator as if the capture went on, so `recover` replaces it.
        """
        # streams and graphs belong to the current device, which may be another one
        with torch.cuda.device(self._device):
            self._calls += 1
            if self._calls == EAGER + 1:
                self._capture(step, inputs, recover)
            if self._graph is None:
                result = self._eager(step, inputs)
            else:
                result = self._replay(self._graph, inputs)
            before, self._done = self._done, torch.cuda.Event()
            self._done.record()
            if before is not None:
                before.synchronize()
            return result

    def _replay(self, graph: torch.cuda.CUDAGraph, inputs: tuple[Tensor, ...]) -> Tensor:
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        graph.replay()
        return self._result.clone()

    def _eager(self, step: Step, inputs: tuple[Tensor, ...]) -> Tensor:
        """One call on the stream that is captured later: backward remembers the stream."""
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            result = step(*inputs)
        torch.cuda.current_stream().wait_stream(self._beside)
        return result

    def _capture(
        self, step: Step, inputs: tuple[Tensor, ...], recover: Callable[[str], None]
    ) -> None:
        self._inputs = tuple(value.clone() for value in inputs)
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        # from 2.14 on a graph finds its generators by itself, and warns where it is told of one
        if self._generator is not None and torch.__version__ < "2.14":
            graph.register_generator_state(self._generator)
        try:
            # The outer context goes back to the stream from before also where the end of the
            # capture fails, which torch.cuda.graph does not.
            with (
                torch.cuda.stream(self._beside),
                torch.cuda.graph(graph, pool=pool, stream=self._beside),
            ):
                self._result = step(*self._inputs)
        except RuntimeError as error:
            with suppress(AttributeError, RuntimeError):  # where torch has ended it by itself
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
                torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
            recover(str(error).splitlines()[0])
        else:
            self._graph = graph
