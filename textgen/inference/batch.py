"""Many texts side by side, in torch: the same folded step as the stepper's, for B streams at once.

Ids, draws and filters stay on the device; the host sees a block of characters at a time. On a CUDA
device the block is one graph, replayed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from textgen.config import ModelConfig
from textgen.inference.sampling import GREEDY, SamplingConfig, Uniforms
from textgen.inference.stepper import Layer, Stepper

STREAMS = 64  # texts at a time; always this many, so that a text does not depend on their number
BELOW_ONE = 1 - 2**-20  # the largest draw: float32 must not round it up to 1
BLOCK = 32  # characters between two looks of the host


class BatchStepper:
    """logits (B, V) = stepper.step(ids (B,)), its state inside.

    dtype: that of the products; sums and the rest are float32.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, NDArray],
        device: torch.device,
        dtype: torch.dtype,
        streams: int = STREAMS,
    ) -> None:
        folded = Stepper(config, weights)
        cell = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[config.cell]
        self.layers = [_Batch(layer, cell, streams, device, dtype) for layer in folded.layers]
        widths = (0, *config.hidden)
        self._skips = [w == h for w, h in zip(widths, config.hidden, strict=False)]
        # float32 on a CPU, whose bf16 kernels are slow at so few rows
        self._head = torch.from_numpy(folded.head).to(
            device, torch.float32 if device.type == "cpu" else dtype
        )
        self._bias = torch.from_numpy(folded.bias).to(device)

    def step(self, ids: Tensor) -> Tensor:
        """Read the characters of `ids`; the logits of the next, float32."""
        x = self.layers[0].step(None, ids)
        for layer, skip in zip(self.layers[1:], self._skips[1:], strict=True):
            h = layer.step(x, None)
            x = h + x if skip else h
        return linear(x.to(self._head.dtype), self._head).float() + self._bias

    def reset(self) -> None:
        """Back to zero state, in place."""
        for layer in self.layers:
            layer.both.zero_()
            layer.memory.zero_()


def _product(matrix: Tensor, streams: int) -> Callable[[Tensor], Tensor]:
    """both (B, I+H) -> both @ matrix.T (B, G).

    `linear` lays a bf16 matrix out anew at every call; where torch offers its CPU library's own
    layout, that is done once. The values are the same.
    """
    if matrix.device.type == "cpu" and matrix.dtype == torch.bfloat16:
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(matrix, streams)
            pointwise = torch.ops.mkldnn._linear_pointwise
            pointwise(torch.zeros(streams, matrix.shape[1], dtype=matrix.dtype), packed, *_PLAIN)
        except (AttributeError, RuntimeError):  # not part of torch's promises
            pass
        else:
            return lambda both: pointwise(both, packed, *_PLAIN)
    return lambda both: linear(both, matrix)


_PLAIN: tuple[Any, ...] = (None, "none", [], "")  # no bias, nothing applied to the product


class _Batch:
    """A folded layer over B streams: `both` is [input, hidden] (B, I+H), `memory` float32 (B, H).

    memory: the cell state of an LSTM, the hidden state in full precision of a GRU.
    """

    def __init__(
        self,
        layer: Layer,
        cell: Callable[[Tensor, Tensor], Tensor],
        streams: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.product = _product(torch.from_numpy(2 * layer.matrix).to(device, dtype), streams)
        self.table = torch.from_numpy(2 * layer.table).to(device)  # (V, G), or (1, G)
        self.cell = cell
        self.both = torch.zeros(streams, layer.matrix.shape[1], device=device, dtype=dtype)
        self.below = self.both[:, : len(layer.input)]
        self.above = self.both[:, len(layer.input) :]
        self.memory = torch.zeros(streams, len(layer.hidden), device=device)

    def step(self, x: Tensor | None, ids: Tensor | None) -> Tensor:
        if x is not None:
            self.below.copy_(x)
        gates = self.product(self.both).float()  # (B, G)
        gates += self.table if ids is None else self.table.index_select(0, ids)
        h = self.cell(gates, self.memory)
        self.above.copy_(h)
        return h


# torch's sigmoid is several times faster than its tanh, which is 2 sigmoid(2x) - 1. The folded
# weights hold half of what goes into a sigmoid; doubled, all gates take the same function.


def _tanh(doubled: Tensor) -> Tensor:
    """Tanh of half of `doubled`, in place."""
    return doubled.sigmoid_().mul_(2.0).sub_(1.0)


def _lstm(gates: Tensor, cell: Tensor) -> Tensor:
    i, f, o, candidate = gates.sigmoid_().chunk(4, dim=1)
    cell.mul_(f).addcmul_(i, candidate.mul_(2.0).sub_(1.0))
    return _tanh(2.0 * cell).mul_(o)


def _gru(gates: Tensor, hidden: Tensor) -> Tensor:
    reset, update, candidate, recurrent = gates.chunk(4, dim=1)
    gates[:, : 2 * hidden.shape[1]].sigmoid_()
    candidate = _tanh(candidate.addcmul_(reset, recurrent))
    hidden.sub_(candidate).mul_(update).add_(candidate)
    return hidden


def _rnn(gates: Tensor, hidden: Tensor) -> Tensor:
    hidden.copy_(_tanh(gates))
    return hidden


def pick_dtype(device: torch.device) -> torch.dtype:
    """The widest units for a product: fp16 on a GPU, bf16 on a CPU that has it, else fp32.

    Decided by what the processor is, not by a clock, so that a seed writes the same on each day.
    """
    if device.type == "cuda":
        return torch.float16
    units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    wide = any(getattr(torch.cpu, unit, bool)() for unit in units)
    return torch.bfloat16 if device.type == "cpu" and wide else torch.float32


def choose(logits: Tensor, config: SamplingConfig, u: Tensor) -> Tensor:
    """`sampling.draw` for B streams: the ids (B,) that `u` (B,) picks for logits (B, V)."""
    if config.temperature < GREEDY:
        return logits.argmax(dim=1)
    top = logits.amax(dim=1, keepdim=True)
    p = ((logits - top) / config.temperature).exp()
    if config.top_k and config.top_k < p.shape[1]:
        p = p.masked_fill(p < p.topk(config.top_k, dim=1).values[:, -1:], 0.0)
    if config.top_p < 1.0:
        likeliest, order = p.sort(dim=1, descending=True, stable=True)
        reached = likeliest.cumsum(dim=1)
        out = reached - likeliest >= config.top_p * reached[:, -1:]
        out[:, 0] = False
        p = p.masked_fill(torch.empty_like(out).scatter_(1, order, out), 0.0)
    if config.min_p:
        p = p.masked_fill(p < config.min_p * p.amax(dim=1, keepdim=True), 0.0)
    reached = p.cumsum(dim=1)
    below = reached <= u[:, None] * reached[:, -1:]
    return below.sum(dim=1).clamp_(max=p.shape[1] - 1)


class Block:
    """Writes BLOCK characters of every stream at a time, as one CUDA graph where there is CUDA."""

    def __init__(self, stepper: BatchStepper, config: SamplingConfig) -> None:
        self._stepper = stepper
        self._config = config
        device = stepper.layers[0].both.device
        streams = len(stepper.layers[0].both)
        self.pending = torch.zeros(streams, dtype=torch.long, device=device)
        self.uniforms = torch.zeros(BLOCK, streams, device=device)
        self.ids = torch.zeros(BLOCK, streams, dtype=torch.long, device=device)
        self._run = self._graph() if device.type == "cuda" else self._steps

    def _steps(self) -> None:
        for t in range(BLOCK):
            logits = self._stepper.step(self.pending)
            self.pending.copy_(choose(logits, self._config, self.uniforms[t]))
            self.ids[t] = self.pending

    def _graph(self) -> Callable[[], None]:
        """Capture `_steps`; the steps themselves if that cannot be done."""
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # what is allocated and tuned lazily happens here
                self._steps()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._steps()
        except RuntimeError as error:
            torch.cuda.synchronize()
            warnings.warn(f"no CUDA graph, the steps run one by one: {error}", stacklevel=2)
            return self._steps
        finally:  # the trial changed the state
            self._stepper.reset()
            self.pending.zero_()
        return graph.replay

    def write(self, uniforms: NDArray[np.float32]) -> NDArray[np.int64]:
        """ids (BLOCK, B) drawn with `uniforms` (BLOCK, B)."""
        self.uniforms.copy_(torch.from_numpy(uniforms))
        self._run()
        return self.ids.to("cpu", copy=True).numpy()  # the next block overwrites it


@torch.inference_mode()
def write_many(
    config: ModelConfig,
    weights: Mapping[str, NDArray],
    prompt: NDArray,
    settings: SamplingConfig,
    sources: Sequence[Uniforms],
    device: torch.device,
    streams: int = STREAMS,
) -> Iterator[NDArray[np.int64]]:
    """Blocks of ids (BLOCK, len(sources)), one text for each source of draws, without end.

    prompt: the ids to go on from, at least one; sources: `streams` of them at most.
    """
    if device.type == "cuda":  # streams and graphs belong to the current device
        torch.cuda.set_device(device)
    stepper = BatchStepper(config, weights, device, pick_dtype(device), streams)
    block = Block(stepper, settings)
    ids = torch.from_numpy(prompt.astype(np.int64)).to(device)
    for i in ids[:-1]:
        stepper.step(i.expand(streams))
    block.pending.copy_(ids[-1].expand(streams))
    uniforms = np.zeros((BLOCK, streams), np.float32)
    while True:
        for column, source in enumerate(sources):
            uniforms[:, column] = [min(source.next(), BELOW_ONE) for _ in range(BLOCK)]
        yield block.write(uniforms)[:, : len(sources)]
