"""One step of the network as an ONNX model: ids and state in, logits and state out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from textgen.architecture import GRAM, ModelConfig, gram_row
from textgen.errors import MissingLibrary
from textgen.model.matches import latest, read_on, rows_of
from textgen.sharing.output import begins_with
from textgen.sharing.weights import described, published
from textgen.store.checkpoint import Header
from textgen.store.contents import read_weights

_PRODUCER = "textgen"
_BEGIN = b"\x12\x07" + _PRODUCER.encode()  # the second field of a model in protobuf
_SEARCHED = 64  # bytes at a file's begin that hold it


class Step(nn.Module):
    """logits (B, V), state = step(ids (B,), *state), each part (B, H), but `history` (B, N).

    The equations stand in `textgen.inference.folding`; of torch's own layers the exporter takes a
    hundred times as long.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._config, self._weights = config, dict(weights)

    def forward(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        weights, config = self._weights, self._config
        x = weights["embedding.weight"][ids]
        parts = dict(zip(config.state, state, strict=True))
        if config.history:
            parts["history"] = read_on(parts["history"], ids)
            for k, found in enumerate(latest(parts["history"], config.vocabulary_size)):
                x = x + rows_of(found, weights[f"matches.{k}.weight"])
        if config.grams:
            last = parts["history"][:, -GRAM:].long().unbind(1)
            x = x + weights["grams.weight"][gram_row(last, config.grams)]
        for n, skip in enumerate(config.skips):
            w, u, b_w, b_u = (weights[f"layers.{n}.{name}_l0"] for name in _NAMES)
            h, c = parts[f"{n}.hidden"], parts.get(f"{n}.cell")
            h, c = _step(linear(x, w, b_w), linear(h, u, b_u), h, c, config.cell)
            parts[f"{n}.hidden"] = h
            if c is not None:
                parts[f"{n}.cell"] = c
            x = h + x if skip else h
        return linear(x, weights["head.weight"], weights["head.bias"]), *parts.values()


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _step(
    x: Tensor, u: Tensor, h: Tensor, c: Tensor | None, cell: str
) -> tuple[Tensor, Tensor | None]:
    """The next hidden state and cell; x: W x + b, u: U h + b, gate after gate, (B, G)."""
    if cell == "rnn":
        return torch.tanh(x + u), None
    if c is None:
        (r, z, n), (u_r, u_z, u_n) = x.chunk(3, 1), u.chunk(3, 1)
        r, z = torch.sigmoid(r + u_r), torch.sigmoid(z + u_z)
        n = torch.tanh(n + r * u_n)
        return n + z * (h - n), None
    i, f, g, o = (x + u).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def onnx_file(header: Header, anonymous: bool) -> list[bytes]:
    """The parts of an ONNX file. Raises CheckpointError, MissingLibrary without ONNX."""
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError:
            raise MissingLibrary(f"an ONNX model needs the package {package}", "onnx") from None
    config = header.record.model
    weights = {name: torch.from_numpy(array) for name, array in read_weights(header).items()}
    state = {name: torch.zeros(2, axis.size) for name, axis in config.state.items()}
    batch = {0: torch.export.Dim("batch")}
    record = published(header.record, anonymous=anonymous)
    about = {**described(header), "trained_on": record.corpus.files}
    with _quiet():
        program = torch.onnx.export(
            Step(config, weights).eval(),
            (torch.zeros(2, dtype=torch.int64), *state.values()),
            input_names=["ids", *state],
            output_names=["logits", *(f"{name}.next" for name in state)],
            dynamic_shapes=(batch, tuple(batch for _ in state)),
            verbose=False,
        )
    assert program is not None
    program.model.producer_name = _PRODUCER
    program.model.metadata_props["textgen"] = json.dumps(about)
    proto = program.model_proto
    for owner in (proto.graph, *proto.functions):
        for node in owner.node:  # torch notes in which file of this machine each was made
            node.ClearField("metadata_props")
    return [proto.SerializeToString()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from warning of its own parts and of packages that are not needed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def is_onnx(path: Path) -> bool:
    """Whether a file was made by `onnx_file`. Raises OSError."""
    return begins_with(path, _BEGIN, _SEARCHED)
