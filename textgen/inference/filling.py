"""What stands between two texts, proposed by two models and ranked by both.

One model reads forward and writes on from the left text, the other reads backward and writes what
comes before the right one. A proposal is good where both find it likely: the forward model that it
follows the left text and is followed by the right one, the backward model the same from behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from textgen.bounds import Number
from textgen.config import SamplingOptions
from textgen.errors import UsageError
from textgen.inference.text_model import TextModel
from textgen.inference.writer import prologue
from textgen.model.network import CharModel, State

TRIES = 32  # texts that each model writes
JOINT = 24  # characters of the other text that must follow
KEPT = 48  # proposals of each model that both score
SIDE_BY_SIDE = 512  # texts that are scored at a time


@dataclass(frozen=True)
class Filling:
    """A text between; forward, backward: -ln p per character of it and of what it must meet."""

    text: str
    forward: float
    backward: float

    @property
    def nats_per_char(self) -> float:
        return (self.forward + self.backward) / 2


def fill(
    left: str, right: str, forward: TextModel, backward: TextModel, options: SamplingOptions
) -> list[Filling]:
    """Texts of 1 to `options.length` characters between `left` and `right`, the likeliest first.

    Raises UsageError for two models of the same direction, UnknownCharacters as `generate` does.
    """
    for model, reads, name in ((forward, "forward", "run"), (backward, "backward", "backward_run")):
        if model.backward != (reads == "backward"):
            what = f"`{name}` is {model.header.path}, which does not read {reads}"
            raise UsageError(what, "train one of each: textgen train, textgen train --backward")
    Number(1, 1000, whole=True, example="60").check("length", options.length)
    proposed = {
        *_cut(forward, left, right, options),
        *_cut(backward, right, left, options),
    }
    texts = sorted(proposed)
    scores = (
        _nats(forward, left, [text + right[:JOINT] for text in texts]),
        _nats(backward, right, [left[-JOINT:] + text for text in texts]),
    )
    found = [Filling(*each) for each in zip(texts, *scores, strict=True)]
    return sorted(found, key=lambda filling: filling.nats_per_char)


def _cut(model: TextModel, own: str, other: str, options: SamplingOptions) -> list[str]:
    """Texts written on from `own`, each cut where `other` is likeliest to follow."""
    written = model.generate_many(own, replace(options, stop=()), num=TRIES, streams=TRIES)
    pieces = set()
    for text in written:
        for n in range(1, len(text) + 1):
            pieces.add(text[-n:] if model.backward else text[:n])
    texts = sorted(pieces)
    met = other[-JOINT:] if model.backward else other[:JOINT]
    joined = [met + text if model.backward else text + met for text in texts]
    nats = np.array(_nats(model, own, joined))
    return [texts[i] for i in np.argsort(nats)[:KEPT]]


def _nats(model: TextModel, given: str, texts: list[str]) -> list[float]:
    """-ln p per character of each text, after `given` (before it, for a backward model)."""
    turn = -1 if model.backward else 1
    encode = model.vocabulary.encode
    network = model.network()
    first = encode(given)[::turn].astype(np.int64)
    first = np.array([*prologue(model.vocabulary, first), *first])
    ids = [encode(text)[::turn].astype(np.int64) for text in texts]
    found = np.zeros(len(texts))
    by_length = sorted(range(len(texts)), key=lambda i: len(ids[i]))
    with torch.inference_mode():
        state = State.zeros(network.config, 1)
        logits, state = network(torch.from_numpy(first.copy())[:, None], state)
        for begin in range(0, len(texts), SIDE_BY_SIDE):
            these = by_length[begin : begin + SIDE_BY_SIDE]
            found[these] = _means(network, state, logits[-1], [ids[i] for i in these])
    return found.tolist()


def _means(
    network: CharModel, state: State, logits: torch.Tensor, ids: list[NDArray]
) -> NDArray[np.float64]:
    """The mean of -ln p of each of `ids`, (n,) int64, after a state and the logits it gave."""
    lengths = torch.tensor([len(each) for each in ids])
    padded = torch.zeros((int(lengths.max()), len(ids)), dtype=torch.int64)
    for column, each in enumerate(ids):
        padded[: len(each), column] = torch.from_numpy(each.copy())
    spread = state.map(lambda part: part.expand(len(ids), -1).contiguous())
    after, _ = network(padded, spread)
    all_logits = torch.cat([logits.expand(1, len(ids), -1), after[:-1]])
    nats = -log_softmax(all_logits.float(), -1).gather(-1, padded[..., None])[..., 0]
    inside = torch.arange(len(padded))[:, None] < lengths
    return ((nats * inside).sum(0) / lengths).numpy()
