"""The network: embedding, a stack of recurrent layers, a linear head; its state is explicit.

T: characters of a chunk, B: streams, V: vocabulary, E: embedding, H: a layer's hidden width.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textgen.architecture import ModelConfig
from textgen.model import recurrence
from textgen.model.loss import mean_nats


@dataclass(frozen=True)
class State:
    """What the recurrent layers carry from character to character, for B streams.

    parts: by the names of `ModelConfig.state`, each (B, H) with its layer's own H, in float32.
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

    def copy_(self, other: "State") -> None:
        for name, part in self.parts.items():
            part.copy_(other.parts[name])

    def zeroed(self, fresh: Tensor) -> "State":
        """Zero for the streams where `fresh`, bool of shape (B,), is true."""
        return self.map(lambda part: part.masked_fill(fresh[:, None], 0.0))


# module, and the same computation as a function of explicit weights, for weight-drop
_CELLS: dict[str, tuple[Callable[..., nn.RNNBase], Callable[..., Any]]] = {
    "lstm": (nn.LSTM, torch.lstm),
    "gru": (nn.GRU, torch.gru),
    "rnn": (nn.RNN, torch.rnn_tanh),
}
# where torch has no fused kernel for them: of x, the state before it and explicit weights
_ON_CPU: dict[str, Callable[..., Tensor]] = {"gru": recurrence.gru, "rnn": recurrence.rnn}


class CharModel(nn.Module):
    """logits, state = model(ids, state).

    Where `ModelConfig.skips` says so, a layer's input is added to its output. Dropout draws one
    mask per stream and holds it over the chunk (Gal & Ghahramani 2016, "A Theoretically Grounded
    Application of Dropout in Recurrent Neural Networks"); weight-drop draws one mask per chunk for
    each recurrent matrix (Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models").
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        module = _CELLS[config.cell][0]
        widths = (config.embedding, *config.hidden)
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding)
        self.layers = nn.ModuleList(
            module(width, hidden) for width, hidden in zip(widths, config.hidden, strict=False)
        )
        self.head = nn.Linear(config.hidden[-1], config.vocabulary_size)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, frequencies: Tensor) -> None:
        """Draw the weights; `frequencies`: the characters' shares of the text, above 0, shape (V,).

        Recurrent matrices are orthogonal (Saxe et al. 2014), input matrices Glorot-uniform (Glorot
        & Bengio 2010), gate by gate; the head's biases are the characters' log-frequencies, all
        others 0. docs/recipe.md has what that is worth, and why a forget gate's bias is not 1.
        """
        nn.init.normal_(self.embedding.weight, std=0.5, generator=generator)
        for layer, hidden in zip(self.layers, self.config.hidden, strict=True):
            for name, parameter in layer.named_parameters():
                if name.startswith("bias"):
                    parameter.zero_()
                    continue
                draw = nn.init.xavier_uniform_ if "_ih" in name else nn.init.orthogonal_
                for gate in parameter.split(hidden):
                    draw(gate, generator=generator)
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        self.head.bias.copy_(frequencies.log())

    def forward(
        self, ids: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """ids (T, B) and the state before them -> logits (T, B, V) and the state after them.

        generator: draws the masks of dropout and weight-drop; None is the default one.
        """
        x, state = self._activations(ids, state, generator)
        return self.head(x), state

    def loss(
        self, ids: Tensor, targets: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """The mean of -ln p of `targets` (T, B), for training, and the state after ids (T, B)."""
        x, state = self._activations(ids, state, generator)
        return mean_nats(self.head, x, targets, generator), state

    def _activations(
        self, ids: Tensor, state: State, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """What goes into the head, (T, B, H), and the state after it."""
        drop = self._dropout(ids.shape[1], generator)
        x = drop(self.embedding(ids))  # (T, B, E)
        after: dict[str, Tensor] = {}
        for number, (layer, skip) in enumerate(zip(self.layers, self.config.skips, strict=True)):
            before = state.layer(number)
            out, final = self._run(layer, x, [*before.values()], generator)  # (T, B, H)
            after.update(zip(before, final, strict=True))
            x = drop(out + x if skip else out)
        return x, State(after)

    def _dropout(
        self, batch_size: int, generator: torch.Generator | None
    ) -> Callable[[Tensor], Tensor]:
        keep = 1.0 - self.config.dropout
        if not self.training or keep == 1.0:
            return lambda x: x

        def drop(x: Tensor) -> Tensor:
            return x * _mask((1, batch_size, x.shape[-1]), keep, x.device, generator).to(x.dtype)

        return drop

    def _run(
        self, layer: Any, x: Tensor, before: list[Tensor], generator: torch.Generator | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer over a chunk: x (T, B, ·) -> (T, B, H), and its state (B, H) after it."""
        own = _ON_CPU.get(self.config.cell) if x.device.type == "cpu" else None
        dropped = self.training and self.config.weight_drop
        parts = tuple(part[None] for part in before)
        hx: Any = parts if len(parts) == 2 else parts[0]
        weights = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]
        if dropped:
            keep = 1.0 - self.config.weight_drop
            weights[1] = weights[1] * _mask(weights[1].shape, keep, x.device, generator)
        if own is not None:
            out = own(x, before[0], *weights)
            final = [out[-1:]]
        elif dropped:
            out, *final = _functional(self.config.cell, x, hx, weights)
        else:
            out, hx = layer(x, hx)
            final = list(hx) if len(parts) == 2 else [hx]
        return out, tuple(part[0].float() for part in final)


def _functional(cell: str, x: Tensor, hx: Any, weights: list[Tensor]) -> tuple[Tensor, ...]:
    """What nn.LSTM, nn.GRU and nn.RNN compute, of explicit weights: output, final states."""
    with warnings.catch_warnings():
        if x.is_cuda:  # cuDNN would have the weights in one buffer, as its modules keep them
            warnings.simplefilter("ignore", UserWarning)
        how = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": True}
        how |= {"bidirectional": False, "batch_first": False}
        found: tuple[Tensor, ...] = _CELLS[cell][1](input=x, hx=hx, params=weights, **how)
    return found


def _mask(
    shape: tuple[int, ...], keep: float, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """1 / keep with a probability of `keep`, else 0; on a CPU far faster than bernoulli_."""
    return torch.empty(shape, device=device).uniform_(generator=generator).lt_(keep).div_(keep)
