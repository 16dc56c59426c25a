"""The network: embedding, matches and n-grams, recurrent layers, a head; its state is explicit.

T: characters of a chunk, B: streams, V: vocabulary, E: embedding, H: a layer's hidden width.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textgen.architecture import ModelConfig
from textgen.config import MATCHED
from textgen.model import recurrence
from textgen.model.device import check_torch
from textgen.model.loss import mean_nats
from textgen.model.matches import gram_rows, matches, with_matches


@dataclass(frozen=True)
class State:
    """What is carried from character to character, for B streams.

    parts: by the names of `ModelConfig.state`, in float32: those of a layer (B, H) with its own H,
    `history` (B, N), see `matches`.
    """

    parts: Mapping[str, Tensor]

    @classmethod
    def zeros(
        cls, config: ModelConfig, batch_size: int, device: torch.device | str = "cpu"
    ) -> "State":
        sizes = {name: (batch_size, axis.size) for name, axis in config.state.items()}
        return cls({name: torch.zeros(size, device=device) for name, size in sizes.items()})

    def layer(self, number: int) -> dict[str, Tensor]:
        return {n: part for n, part in self.parts.items() if n.startswith(f"{number}.")}

    def map(self, function: Callable[[Tensor], Tensor]) -> "State":
        return State({name: function(part) for name, part in self.parts.items()})

    def detach(self) -> "State":
        """The same values, cut off from the gradient: where backpropagation is truncated."""
        return self.map(Tensor.detach)

    def repeated(self, streams: int) -> "State":
        """The state of one stream, for so many."""
        return self.map(lambda part: part.expand(streams, -1).contiguous())

    def of(self, streams: slice) -> "State":
        """That of some of the streams, in the same memory."""
        return self.map(lambda part: part[streams])

    def copy_(self, other: "State") -> None:
        for name, part in self.parts.items():
            part.copy_(other.parts[name])

    def zeroed(self, fresh: Tensor) -> "State":
        """Zero for the streams where `fresh`, bool of shape (B,), is true."""
        return self.map(lambda part: part.masked_fill(fresh[:, None], 0.0))


@dataclass(frozen=True)
class Masks:
    """What dropout and weight-drop multiply by in a chunk; None where nothing is dropped.

    activations: of what the first layer reads and of each layer's output, (1, B, width); weights:
    of each layer's recurrent matrix, in its shape.
    """

    activations: tuple[Tensor | None, ...]
    weights: tuple[Tensor | None, ...]

    def of(self, streams: slice) -> "Masks":
        """Those of some of the streams; the weights' are of all."""
        some = (None if mask is None else mask[:, streams] for mask in self.activations)
        return Masks(tuple(some), self.weights)


# module, and the same computation as a function of explicit weights, for weight-drop
_CELLS: dict[str, tuple[Callable[..., nn.RNNBase], Callable[..., Any]]] = {
    "lstm": (nn.LSTM, torch.lstm),
    "gru": (nn.GRU, torch.gru),
    "rnn": (nn.RNN, torch.rnn_tanh),
}
# where torch has no fused kernel for them: of x, the state before it and explicit weights
_ON_CPU: dict[str, Callable[..., Tensor]] = {"gru": recurrence.gru, "rnn": recurrence.rnn}
LASTING = 2.0  # the bias of the gate that keeps the state, at the start, of a quarter of the units


class CharModel(nn.Module):
    """logits, state = model(ids, state).

    Where `ModelConfig.skips` says so, a layer's input is added to its output. The first layer reads
    the character's row of the embedding plus, where there are any, those of matches and n-gram.
    Dropout draws one mask per stream and holds it over the chunk (Gal & Ghahramani 2016, "A
    Theoretically Grounded Application of Dropout in Recurrent Neural Networks"); weight-drop draws
    one mask per chunk for each recurrent matrix (Merity et al. 2017, "Regularizing and Optimizing
    LSTM Language Models").
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises UsageError as `check_torch`."""
        super().__init__()
        check_torch()
        self.config = config
        module = _CELLS[config.cell][0]
        widths = (config.embedding, *config.hidden)
        with torch.random.fork_rng(devices=[]):  # these weights are replaced
            self.embedding = nn.Embedding(config.vocabulary_size, config.embedding)
            if config.history:
                size = config.vocabulary_size, config.embedding
                self.matches = nn.ModuleList(nn.Embedding(*size) for _ in MATCHED)
            if config.grams:
                self.grams = nn.Embedding(config.grams, config.embedding)
            self.layers = nn.ModuleList(
                module(width, hidden) for width, hidden in zip(widths, config.hidden, strict=False)
            )
            self.head = nn.Linear(config.hidden[-1], config.vocabulary_size)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, frequencies: Tensor) -> None:
        """Draw the weights; `frequencies`: the characters' shares of the text, above 0, shape (V,).

        Recurrent matrices are orthogonal (Saxe et al. 2014), input matrices Glorot-uniform (Glorot
        & Bengio 2010), gate by gate; the head's biases are the characters' log-frequencies. Of each
        layer a quarter of the units remembers for longer from the start: the gate that keeps their
        state (forget; of a GRU update) has a bias of 2. All other biases are 0, and what a match
        or an n-gram adds. docs/trials.md has what that is worth.
        """
        nn.init.normal_(self.embedding.weight, std=0.5, generator=generator)
        for rows in (*self._matches, *([self.grams.weight] if self.config.grams else ())):
            rows.zero_()
        for layer, hidden in zip(self.layers, self.config.hidden, strict=True):
            for name, parameter in layer.named_parameters():
                if name.startswith("bias"):
                    parameter.zero_()
                    continue
                draw = nn.init.xavier_uniform_ if "_ih" in name else nn.init.orthogonal_
                for gate in parameter.split(hidden):
                    draw(gate, generator=generator)
            if self.config.cell != "rnn":  # the second gate is the one that keeps
                layer.get_parameter("bias_ih_l0")[hidden : hidden + hidden // 4] = LASTING
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        self.head.bias.copy_(frequencies.log())

    def forward(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """ids (T, B) and the state before them -> logits (T, B, V) and the state after them.

        generator: draws the masks of dropout and weight-drop; None is the default one.
        """
        x, state = self._activations(ids, state, self.masks(ids.shape[1], generator))
        return self.head(x), state

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State,
        masks: Masks,
        generator: torch.Generator | None = None,
        beside: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The mean of -ln p of `targets` (T, B), for training, and the state after ids (T, B).

        generator: draws the rows of a softmax that is estimated, None is the default one; beside:
        the targets of streams that are computed elsewhere, which have rows in it too.
        """
        x, state = self._activations(ids, state, masks)
        return mean_nats(self.head, x, targets, generator, beside), state

    def masks(self, batch_size: int, generator: torch.Generator | None = None) -> Masks:
        """Those of a chunk of so many streams: in training they are drawn, else there are none."""
        weights: list[Tensor | None] = []
        activations = [self._dropout(self.config.embedding, batch_size, generator)]
        for layer, hidden in zip(self.layers, self.config.hidden, strict=True):
            weights.append(self._weight_drop(layer, generator))
            activations.append(self._dropout(hidden, batch_size, generator))
        return Masks(tuple(activations), tuple(weights))

    def _dropout(
        self, width: int, batch_size: int, generator: torch.Generator | None
    ) -> Tensor | None:
        keep = 1.0 - self.config.dropout
        if not self.training or keep == 1.0:
            return None
        return _mask((1, batch_size, width), keep, self.head.weight.device, generator)

    def _weight_drop(self, layer: Any, generator: torch.Generator | None) -> Tensor | None:
        if not (self.training and self.config.weight_drop):
            return None
        weight, keep = layer.weight_hh_l0, 1.0 - self.config.weight_drop
        return _mask(weight.shape, keep, weight.device, generator)

    @property
    def _matches(self) -> list[Tensor]:
        """The rows of the matches that are read, (V, E) each."""
        tables = self.matches if self.config.history else ()
        return [table.get_parameter("weight") for table in tables]

    def _activations(self, ids: Tensor, state: State, masks: Masks) -> tuple[Tensor, State]:
        """What goes into the head, (T, B, H), and the state after it."""
        of_embedding, *of_layers = masks.activations
        found: list[Tensor] = []
        if self.config.history:
            found, history = matches(ids, state.parts["history"], self.config.vocabulary_size)
        x = with_matches(self.embedding(ids), found, self._matches)
        if self.config.grams:
            x = x + self.grams(gram_rows(ids, state.parts["history"], self.config.grams))
        x = _dropped(x, of_embedding)  # (T, B, E)
        after: dict[str, Tensor] = {}
        for number, (layer, skip) in enumerate(zip(self.layers, self.config.skips, strict=True)):
            before = state.layer(number)
            weights = _weights(layer, masks.weights[number])
            out, final = self._run(layer, x, [*before.values()], weights)
            after.update(zip(before, final, strict=True))
            x = _dropped(out + x if skip else out, of_layers[number])  # (T, B, H)
        if found:
            after["history"] = history
        return x, State(after)

    def _run(
        self, layer: Any, x: Tensor, before: list[Tensor], weights: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer over a chunk: x (T, B, ·) -> (T, B, H), and its state (B, H) after it."""
        own = _ON_CPU.get(self.config.cell) if x.device.type == "cpu" else None
        parts = tuple(part[None] for part in before)
        hx: Any = parts if len(parts) == 2 else parts[0]
        if own is not None:
            out = own(x, before[0], *weights)
            final = [out[-1:]]
        elif weights[0] is layer.weight_ih_l0 and weights[1] is layer.weight_hh_l0:
            out, hx = layer(x, hx)
            final = list(hx) if len(parts) == 2 else [hx]
        else:
            out, *final = _functional(self.config.cell, x, hx, weights)
        return out, tuple(part[0].float() for part in final)


def _weights(layer: Any, mask: Tensor | None) -> list[Tensor]:
    """What a layer computes with; mask: of its recurrent matrix."""
    recurrent = layer.weight_hh_l0
    if mask is not None:
        recurrent = recurrent * mask
    return [layer.weight_ih_l0, recurrent, layer.bias_ih_l0, layer.bias_hh_l0]


def _functional(cell: str, x: Tensor, hx: Any, weights: list[Tensor]) -> tuple[Tensor, ...]:
    """What nn.LSTM, nn.GRU and nn.RNN compute, of explicit weights: output, final states."""
    # cuDNN would have the weights in one buffer, as its modules keep them
    unheard = warnings.catch_warnings(action="ignore", category=UserWarning)
    with unheard if x.is_cuda else nullcontext():
        how = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": True}
        how |= {"bidirectional": False, "batch_first": False}
        found: tuple[Tensor, ...] = _CELLS[cell][1](input=x, hx=hx, params=weights, **how)
    return found


def _dropped(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask.to(x.dtype)


def _mask(
    shape: tuple[int, ...], keep: float, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """1 / keep with a probability of `keep`, else 0; on a CPU far faster than bernoulli_."""
    return torch.empty(shape, device=device).uniform_(generator=generator).lt_(keep).div_(keep)
