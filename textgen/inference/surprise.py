"""What a model expected at each character of a text: one exact pass, its state carried throughout.

From that come the figures of a text, and the places and lines that surprise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.inference.evaluation import CHUNK, LOGITS, Evaluation, overlapping
from textgen.model.network import CharModel, State

if TYPE_CHECKING:
    from textgen.text.vocabulary import Vocabulary

BINS = 15  # of confidence, equally wide
NAMED = 3  # likeliest characters that are kept
TOP = 5  # of the likeliest, for the second accuracy


@dataclass(frozen=True)
class Predicted:
    """n characters of a text, and what was expected before each.

    before: the ids before them, (n,); ids: their own, (n,); nats: -ln p of each, (n,); rank: how
    many ids were likelier, (n,); likeliest: (n, NAMED) ids, fewer where the vocabulary is smaller;
    confidence: p of the likeliest, (n,).
    """

    before: NDArray[np.int64]
    ids: NDArray[np.int64]
    nats: NDArray[np.float32]
    rank: NDArray[np.int64]
    likeliest: NDArray[np.int64]
    confidence: NDArray[np.float32]


@dataclass(frozen=True)
class Judgement(Evaluation):
    """accuracy, top5_accuracy: shares of characters that were the likeliest, or of the first five.

    calibration_error: the mean difference of confidence and accuracy over 15 equal bins of the
    confidence, weighted by their characters: the expected calibration error of Naeini, Cooper &
    Hauskrecht 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with the
    confidence in the likeliest class, as Guo et al. 2017, "On Calibration of Modern Neural
    Networks".
    """

    accuracy: float
    top5_accuracy: float
    calibration_error: float


def predictions(network: CharModel, blocks: Iterable[NDArray]) -> Iterator[Predicted]:
    """Every character of a text but the first, in order; blocks: as `evaluation.nats` has them."""
    state = State.zeros(network.config, 1)
    size = max(1, min(CHUNK, LOGITS // network.config.vocabulary_size))
    for chunk in overlapping(blocks, size):
        with torch.inference_mode():
            logits, state = network(torch.from_numpy(chunk[:-1])[:, None], state)
            logs = logits[:, 0].log_softmax(-1)  # (n, V)
            ids = torch.from_numpy(chunk[1:])[:, None]
            own = logs.gather(1, ids)
            earlier = torch.arange(logs.shape[1]) < ids  # of equals the lower id comes first
            rank = ((logs > own) | ((logs == own) & earlier)).sum(1)
            top, likeliest = logs.topk(min(NAMED, logs.shape[1]))
        found = (-own[:, 0], rank, likeliest, top[:, 0].exp())
        yield Predicted(chunk[:-1], chunk[1:], *(part.numpy() for part in found))


def judge(
    network: CharModel, blocks: Iterable[NDArray], progress: Callable[[int], None] | None = None
) -> Judgement:
    """The figures of a text, all 0 of no characters; `progress` is called with each part's size."""
    nats, first, five = 0.0, 0, 0
    counts, sure, right = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    for part in predictions(network, blocks):
        nats += float(part.nats.sum(dtype=np.float64))
        hit = part.rank == 0
        first, five = first + int(hit.sum()), five + int((part.rank < TOP).sum())
        bins = np.clip(np.ceil(part.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        counts += np.bincount(bins, minlength=BINS)
        sure += np.bincount(bins, part.confidence, minlength=BINS)
        right += np.bincount(bins, hit, minlength=BINS)
        if progress:
            progress(len(part.ids))
    characters = int(counts.sum())
    figures = nats, first, five, float(abs(sure - right).sum())
    mean, *shares = (figure / max(1, characters) for figure in figures)
    return Judgement(mean, characters, *shares)


class Character(NamedTuple):
    """A character, or what stands for bytes that are none; bits: what it cost, 0 for the first.

    expected: the likeliest characters in its place, the likeliest first, itself perhaps among them.
    """

    text: str
    bits: float
    expected: tuple[str, ...]


def characters(
    vocabulary: Vocabulary, parts: Iterable[Predicted], backward: bool = False
) -> Iterator[Character]:
    """The characters of a predicted text in reading order; of bytes what costs a whole character.

    backward: whether the text was read from its end; then memory grows with it.
    """
    decode = vocabulary.decoder()
    bits = 0.0
    expected: tuple[str, ...] | None = None
    for i, cost, likeliest in _in_reading_order(parts, backward):
        bits += cost / math.log(2)
        if expected is None:
            expected = tuple(vocabulary.decode([other]) for other in likeliest)
        if text := decode(i):
            yield Character(text, bits, expected)
            bits, expected = 0.0, None
    if text := decode(None):
        yield Character(text, bits, expected or ())


def _in_reading_order(
    parts: Iterable[Predicted], backward: bool
) -> Iterator[tuple[int, float, list[int]]]:
    if backward:
        yield from reversed([*_in_reading_order(parts, False)])
        return
    for number, part in enumerate(parts):
        if number == 0:
            yield int(part.before[0]), 0.0, []
        yield from zip(part.ids.tolist(), part.nats.tolist(), part.likeliest.tolist(), strict=True)


class Line(NamedTuple):
    """A line of a text, from number 1, its line end left out; bits: per character, line end too."""

    number: int
    bits_per_char: float
    characters: int
    text: str


def lines(of: Iterable[Character]) -> Iterator[Line]:
    """The lines of a text as they end."""
    number, bits, texts = 1, 0.0, list[str]()
    for character in of:
        bits += character.bits
        texts.append(character.text)
        if character.text == "\n":
            yield Line(number, bits / len(texts), len(texts), "".join(texts[:-1]))
            number, bits, texts = number + 1, 0.0, []
    if texts:
        yield Line(number, bits / len(texts), len(texts), "".join(texts))
