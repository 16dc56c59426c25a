"""Many texts side by side, in torch: the stepper's folded step for B streams at once.

Ids, draws and filters stay on the device; the host sees a block of characters at a time.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from textgen.architecture import GRAM, gram_row
from textgen.inference.folding import Array, FoldedLayer, FoldedModel
from textgen.inference.sampling import Sampler, Uniforms
from textgen.model.graph import Graphed
from textgen.model.matches import latest, latest_on_cpu, read_on

STREAMS = 64  # texts at a time; always this many, so that a text does not depend on their number
BELOW_ONE = 1 - 2**-20  # the largest draw: float32 must not round it up to 1
BLOCK = 32  # characters of each text between two looks of the host


class BatchStepper:
    """logits (B, V) = stepper.step(ids (B,)), its state inside.

    dtype: that of the products; sums and the rest are float32; streams: the largest B. A step of
    fewer ids is one of the first texts alone.
    """

    def __init__(
        self, model: FoldedModel, device: torch.device, dtype: torch.dtype, streams: int = STREAMS
    ) -> None:
        cell = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[model.config.cell]
        self._layers = [_Layer(layer, cell, streams, (device, dtype)) for layer in model.layers]
        self._upper = list(zip(self._layers, model.config.skips, strict=True))[1:]
        carried = (parts for layer in self._layers for parts in layer.carried)
        self._carried = dict(zip(model.config.recurrent, carried, strict=True))
        # (V+1, G) each, the last row 0, of no match
        padded = (np.pad(2 * table, ((0, 1), (0, 0))) for table in model.layers[0].matches)
        self._matches = [torch.from_numpy(table).to(device) for table in padded]
        self._latest = latest_on_cpu if device.type == "cpu" else latest
        self._grams = None if model.grams is None else torch.from_numpy(model.grams).to(device)
        if self._matches:
            self._history = torch.zeros(streams, model.config.history, device=device)
            self._carried["history"] = (self._history,)
        # float32 on a CPU, whose bf16 kernels are slow at so few rows
        head = torch.from_numpy(model.head)
        self._head = head.to(device, torch.float32 if device.type == "cpu" else dtype)
        self._bias = torch.from_numpy(model.bias).to(device)

    def step(self, ids: Tensor) -> Tensor:
        """Read the characters of `ids`; the logits of the next, float32."""
        n, more, x = len(ids), [], None
        if self._matches:
            self._history[:n] = read_on(self._history[:n], ids)
            found = self._latest(self._history[:n], len(self._bias))
            more = [t.index_select(0, one) for t, one in zip(self._matches, found, strict=True)]
        if self._grams is not None:
            last = self._history[:n, -GRAM:].long().T
            x = self._grams.index_select(0, gram_row(last, len(self._grams)))
        x = self._layers[0].step(x, ids, n, more)
        for layer, skip in self._upper:
            h = layer.step(x, None, n)
            x = h + x if skip else h
        return linear(x.to(self._head.dtype), self._head).float() + self._bias

    @property
    def state(self) -> list[Tensor]:
        return [part.clone() for part in self._parts()]

    def restore(self, state: list[Tensor]) -> None:
        for part, saved in zip(self._parts(), state, strict=True):
            part.copy_(saved)

    def _parts(self) -> list[Tensor]:
        parts = [part for layer in self._layers for part in (layer.both, layer.memory)]
        return [*parts, self._history] if self._matches else parts

    def state_of(self, n: int) -> dict[str, Array]:
        """A copy of the state of text `n`, as `Stepper.state` gives it."""
        return {name: held[0][n].cpu().numpy().copy() for name, held in self._carried.items()}

    def put(self, n: int, state: Mapping[str, Array]) -> None:
        """Set the state of text `n`; what is not in `state` is zero."""
        for name, held in self._carried.items():
            for part in held:
                part[n] = torch.from_numpy(state[name]) if name in state else 0.0


def _product(matrix: Tensor, streams: int) -> Callable[[Tensor], Tensor]:
    """both (B, I+H) -> both @ matrix.T (B, G).

    `linear` lays a bf16 matrix out anew at every call; where torch offers it, that is done once.
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


class _Layer:
    """A folded layer over B streams: `both` is [input, hidden] (B, I+H), `memory` float32 (B, H):
    an LSTM's cell state, a GRU's hidden state in full precision.
    """

    def __init__(
        self,
        layer: FoldedLayer,
        cell: Callable[[Tensor, Tensor], Tensor],
        streams: int,
        of: tuple[torch.device, torch.dtype],
    ) -> None:
        device, dtype = of
        self._product = _product(torch.from_numpy(2 * layer.matrix).to(device, dtype), streams)
        self._table = torch.from_numpy(2 * layer.table).to(device)  # (V, G), or (1, G)
        self._cell = cell
        self.both = torch.zeros(streams, layer.matrix.shape[1], device=device, dtype=dtype)
        self._below, self._above = self.both[:, : layer.width], self.both[:, layer.width :]
        self.memory = torch.zeros(streams, layer.hidden, device=device)
        # where each part of the state is held, first in float32 if it is held twice
        lstm, above, memory = cell is _lstm, self._above, self.memory
        self.carried = ((above,), (memory,)) if lstm else ((memory, above),)

    def step(
        self, x: Tensor | None, ids: Tensor | None, n: int, more: Sequence[Tensor] = ()
    ) -> Tensor:
        if x is not None:
            self._below[:n].copy_(x)
        gates = self._product(self.both[:n]).float()  # (n, G)
        gates += self._table if ids is None else self._table.index_select(0, ids)
        for rows in more:
            gates += rows
        h = self._cell(gates, self.memory[:n])
        self._above[:n].copy_(h)
        return h


# torch's sigmoid is several times faster than its tanh, which is 2 sigmoid(2x) - 1. The folded
# weights hold half of what goes into a sigmoid; doubled, all gates take the same function.


def _tanh(doubled: Tensor) -> Tensor:
    """Tanh of half of `doubled`, in place."""
    return doubled.sigmoid_().mul_(2.0).sub_(1.0)


def _lstm(gates: Tensor, cell: Tensor) -> Tensor:
    i, f, o, g = gates.sigmoid_().chunk(4, dim=1)
    cell.mul_(f).addcmul_(i, g.mul_(2.0).sub_(1.0))
    return _tanh(2.0 * cell).mul_(o)


def _gru(gates: Tensor, hidden: Tensor) -> Tensor:
    r, z, n, recurrent = gates.chunk(4, dim=1)
    gates[:, : 2 * hidden.shape[1]].sigmoid_()
    n = _tanh(n.addcmul_(r, recurrent))
    hidden.sub_(n).mul_(z).add_(n)
    return hidden


def _rnn(gates: Tensor, hidden: Tensor) -> Tensor:
    hidden.copy_(_tanh(gates))
    return hidden


class BatchWriter:
    """Writes groups of texts that go on from one prompt; packed, and captured, once for all.

    prompt: the ids to go on from, at least one, shape (n,).
    """

    @torch.inference_mode()
    def __init__(self, stepper: BatchStepper, sampler: Sampler, prompt: NDArray) -> None:
        self._stepper = stepper
        self._sampler = sampler
        first = stepper.state[0]
        streams, self._device = len(first), first.device
        cuda = self._device.type == "cuda"
        self._graphed = Graphed(self._device) if cuda else None
        ids = torch.from_numpy(prompt.astype(np.int64)).to(self._device)
        for i in ids[:-1]:
            stepper.step(i.expand(streams))
        self._begin = stepper.state
        self._last = ids[-1].repeat(streams)
        self._pending = self._last.clone()

    @torch.inference_mode()
    def write(self, sources: Sequence[Uniforms], length: int) -> Iterator[NDArray[np.int64]]:
        """Blocks of ids (n, len(sources)), one text for each source of draws, `length` in all."""
        self._stepper.restore(self._begin)
        self._pending.copy_(self._last)
        uniforms = np.zeros((BLOCK, len(self._pending)), np.float32)
        for written in range(0, length, BLOCK):
            count = min(BLOCK, length - written)
            for column, source in enumerate(sources):
                uniforms[:count, column] = [min(source.next(), BELOW_ONE) for _ in range(count)]
            drawn = torch.from_numpy(uniforms).to(self._device)
            if self._graphed:
                ids = self._graphed(self._block, drawn, recover=_warn)
            else:
                ids = self._block(drawn[:count])
            yield ids[:count, : len(sources)].cpu().numpy()

    def _block(self, uniforms: Tensor) -> Tensor:
        """The next characters (n, B) of each text, drawn by `uniforms` (n, B)."""
        ids = []
        for u in uniforms:
            logits = self._stepper.step(self._pending)
            ids.append(self._sampler.draw_many(logits, u))
            self._pending.copy_(ids[-1])
        return torch.stack(ids)


def _warn(reason: str) -> None:
    warnings.warn(f"no CUDA graph, the steps run one by one: {reason}", stacklevel=2)
