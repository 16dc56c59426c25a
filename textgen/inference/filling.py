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

from textgen.bounds import Number
from textgen.config import SamplingOptions
from textgen.errors import UsageError
from textgen.inference.evaluation import nats_of_each
from textgen.inference.parts import chunk_size
from textgen.inference.text_model import TextModel
from textgen.inference.writer import prologue
from textgen.model.network import State
from textgen.text.vocabulary import knows

TRIES = 32  # texts that each model writes
JOINT = 24  # characters of the other text that must follow
KEPT = 48  # proposals of each model that both score


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
    forwards = forward, "forward", "run", ""
    backwards = backward, "backward", "backward_run", " --backward"
    for model, reads, name, trained in (forwards, backwards):
        if model.backward != (reads == "backward"):
            what = f"`{name}` is {model.header.path}, which does not read {reads}"
            raise UsageError(what, f"name one that does, or train it: textgen train{trained}")
        for text, where in ((left, "the text before"), (right, "the text after")):
            model.vocabulary.encode(model.normalized(text), options.unknown, where)
    Number(1, 1000, whole=True, example="60").check("length", options.length)
    before, after = forward.normalized(left), forward.normalized(right)
    left, right = backward.normalized(left), backward.normalized(right)
    proposed = {
        *_cut(forward, before, after, options),
        *_cut(backward, right, left, options),
    }
    both = [forward.vocabulary, backward.vocabulary]
    texts = sorted(text for text in proposed if all(knows(v, text) for v in both))
    scores = (
        _nats(forward, before, [text + after[:JOINT] for text in texts], options.unknown),
        _nats(backward, right, [left[-JOINT:] + text for text in texts], options.unknown),
    )
    found = [Filling(*each) for each in zip(texts, *scores, strict=True)]
    return sorted(found, key=lambda filling: filling.nats_per_char)


def _cut(model: TextModel, own: str, other: str, options: SamplingOptions) -> list[str]:
    """Texts written on from `own`, each cut where `other` is likeliest to follow.

    Both are in the model's normal form.
    """
    written = model.generate_many(own, replace(options, stop=()), num=TRIES, streams=TRIES)
    pieces = set()
    for text in written:
        for n in range(1, len(text) + 1):
            pieces.add(text[-n:] if model.backward else text[:n])
    texts = sorted(pieces)
    met = other[-JOINT:] if model.backward else other[:JOINT]
    joined = [met + text if model.backward else text + met for text in texts]
    nats = np.array(_nats(model, own, joined, options.unknown))
    return [texts[i] for i in np.argsort(nats)[:KEPT]]


def _nats(model: TextModel, given: str, texts: list[str], unknown: str = "error") -> list[float]:
    """-ln p per character of each text, after `given` (before it, for a backward model).

    All are read as they are: a character that a model wrote may be none of its normal form.
    """
    turn = -1 if model.backward else 1
    network = model.network()

    def encode(text: str) -> NDArray[np.int64]:
        return model.vocabulary.encode(text, unknown)[::turn].astype(np.int64)

    first = encode(given)
    first = np.array([*prologue(model.vocabulary, first), *first])
    ids = [np.array([first[-1], *encode(text)]) for text in texts]
    with torch.inference_mode():
        state = State.zeros(network.config, 1)
        for begin in range(0, len(first) - 1, chunk := chunk_size(network, 1)):
            part = torch.from_numpy(first[:-1, None][begin : begin + chunk])
            _, state = network(part, state)
    sums = nats_of_each(network, ids, state)
    return [nats / (len(each) - 1) for nats, each in zip(sums.tolist(), ids, strict=True)]
