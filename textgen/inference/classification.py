"""How many bits a text costs a model that reads it from its beginning."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from textgen.inference.evaluation import LOGITS, evaluate
from textgen.inference.text_model import TextModel
from textgen.inference.writer import first_id
from textgen.model.network import CharModel, State

LONG = 4096  # ids above which a text is read by itself
MOST = 512  # texts side by side
UNKNOWN_BITS = math.log2(0x110000)  # of a character the model never saw: any code point, evenly


def bits(model: TextModel, texts: Sequence[str]) -> NDArray[np.float64]:
    """The bits that each text costs, (n,); characters the model never saw cost 20 bits each.

    Texts begin after a line end, or with a model that reads backward end before one; of a model of
    documents each is a document, its end symbol too.
    """
    turn = -1 if model.backward else 1
    first = first_id(model.vocabulary)
    found = np.zeros(len(texts))
    ids = []
    for place, text in enumerate(texts):
        known = model.vocabulary.encode(text, "skip")[::turn].astype(np.int64)
        if model.vocabulary.level == "char":
            found[place] = UNKNOWN_BITS * (len(text) - len(known))
        closed = [] if model.vocabulary.end is None else [model.vocabulary.end]
        ids.append(np.array([first, *known, *closed], np.int64))
    network = model.network()
    for some in _groups([len(each) for each in ids], len(model.vocabulary)):
        found[some] += _nats(network, [ids[i] for i in some]) / math.log(2)
    return found


def lines_of(model: TextModel, text: str) -> list[str]:
    """The lines of a text, each with the line end that closes it in the order of reading."""
    lines = text.removesuffix("\n").split("\n")
    if model.vocabulary.end is not None:
        return lines
    return [f"\n{line}" if model.backward else f"{line}\n" for line in lines]


def _groups(lengths: Sequence[int], vocabulary_size: int) -> Iterator[list[int]]:
    """Places of texts of about one length, so many that their logits fit; long ones alone."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    while order:
        longest = lengths[order[0]]
        room = 1 if longest > LONG else min(MOST, LOGITS // (longest * vocabulary_size))
        some, order = order[: max(1, room)], order[max(1, room) :]
        yield some


def _nats(network: CharModel, ids: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """-ln p of each of `ids`, (n,) with n falling, but for the first of it."""
    longest = len(ids[0])
    if longest > LONG or longest == 1:
        results = [evaluate(network, [each]) for each in ids]
        return np.array([result.nats_per_char * result.characters for result in results])
    padded = np.full((longest, len(ids)), -1)
    for column, each in enumerate(ids):
        padded[: len(each), column] = each
    targets = torch.from_numpy(padded[1:].copy())
    with torch.inference_mode():
        inputs = torch.from_numpy(np.maximum(padded[:-1], 0))
        logits, _ = network(inputs, State.zeros(network.config, len(ids)))
        flat = logits.flatten(0, 1), targets.flatten()
        costs = cross_entropy(*flat, ignore_index=-1, reduction="none").view(targets.shape)
        found: NDArray[np.float64] = costs.sum(0, dtype=torch.float64).numpy()
    return found
