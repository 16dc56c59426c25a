"""What a model expected in a text: its figures, and the places and lines that surprise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from io import StringIO
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.inference.evaluation import Evaluation
from textgen.inference.predicted import Predicted, many_streams, of_documents, one_stream
from textgen.model.network import CharModel

if TYPE_CHECKING:
    from textgen.text.vocabulary import Vocabulary

BINS = 15  # of confidence, equally wide
NAMED = 3  # likeliest characters that are kept
TOP = 5  # of the likeliest, for the second accuracy


@dataclass(frozen=True)
class Judgement(Evaluation):
    """accuracy, top5_accuracy: shares of characters that were the likeliest, or of the first five.

    calibration_error: the mean difference of confidence and accuracy over 15 equal bins of the
    confidence, weighted by their characters: the expected calibration error of Naeini, Cooper &
    Hauskrecht 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with the
    confidence in the likeliest class, as Guo et al. 2017, "On Calibration of Modern Neural
    Networks".

    streams: how many parts of the text were read side by side; warm_up: the characters read before
    its own by the part that took longest to cost what it costs in one pass, 0 of one stream.
    """

    accuracy: float
    top5_accuracy: float
    calibration_error: float
    _: KW_ONLY
    streams: int
    warm_up: int


def predicted(
    network: CharModel,
    blocks: Iterable[NDArray],
    *,
    end: int | None = None,
    fast: bool = False,
    named: int = NAMED,
) -> Iterator[Predicted]:
    """Every character of a text but the first, in order; blocks: as `evaluation.nats` has them.

    end: the end symbol of a text that is cut into documents, each of which begins from zero state;
    fast: read a text that is not so cut in many streams; named: how many of the likeliest are kept.
    """
    if end is not None:
        return of_documents(network, blocks, end, named)
    return (many_streams if fast else one_stream)(network, blocks, named)


def judge(
    network: CharModel,
    blocks: Iterable[NDArray],
    progress: Callable[[int], None] | None = None,
    *,
    end: int | None = None,
    fast: bool = False,
) -> Judgement:
    """The figures of a text, all 0 of no characters; `progress` is called with each part's size.

    end, fast: as for `predicted`.
    """
    nats, first, five, how = 0.0, 0, 0, {"streams": 1, "warm_up": 0}
    counts, sure, right = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    for part in predicted(network, blocks, end=end, fast=fast, named=0):
        nats += float(part.nats.sum(dtype=np.float64))
        hit = part.rank == 0
        first, five = first + int(hit.sum()), five + int((part.rank < TOP).sum())
        bins = np.clip(np.ceil(part.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        counts += np.bincount(bins, minlength=BINS)
        sure += np.bincount(bins, part.confidence, minlength=BINS)
        right += np.bincount(bins, hit, minlength=BINS)
        how = {name: max(most, getattr(part, name)) for name, most in how.items()}
        if progress:
            progress(len(part.ids))
    characters = int(counts.sum())
    figures = nats, first, five, float(abs(sure - right).sum())
    mean, *shares = (figure / max(1, characters) for figure in figures)
    return Judgement(mean, characters, *shares, **how)


class Character(NamedTuple):
    """A character, or what stands for bytes that are none; bits: what it cost, 0 for the first.

    expected: the likeliest characters in its place, the likeliest first, itself perhaps among them;
    none of the first, which was not predicted.
    """

    text: str
    bits: float
    expected: tuple[str, ...]
    ends: bool = False  # a document

    @property
    def likelier(self) -> tuple[str, ...]:
        """Those of `expected` that stand before itself; of bytes, before its first one."""
        first = self.text.encode("utf-8", "surrogateescape")[:1]
        own = self.text, first.decode("utf-8", "surrogateescape")
        return tuple(takewhile(lambda character: character not in own, self.expected))


def mean_bits(of: Sequence[Character]) -> tuple[float, int]:
    """Bits per character of those that were predicted, 0 of none, and how many these are."""
    count = sum(map(is_predicted, of))
    return sum(character.bits for character in of) / max(1, count), count


def is_predicted(character: Character) -> bool:
    """Whether it is not the first one."""
    return bool(character.expected or character.bits)


ENDED = "\n"  # what the end of a document reads as


def characters(
    vocabulary: Vocabulary, parts: Iterable[Predicted], backward: bool = False
) -> Iterator[Character]:
    """The characters of a predicted text in reading order; of bytes what costs a whole character.

    A document ends with ENDED, which costs what its end symbol costs. backward: whether the text
    was read from its end; then memory grows with it.
    """
    decode, end = vocabulary.decoder(), vocabulary.end
    bits = 0.0
    expected: tuple[str, ...] | None = None

    def named(ids: list[int]) -> tuple[str, ...]:
        return tuple(ENDED if i == end else vocabulary.decode([i]) for i in ids)

    for i, cost, likeliest in _documents_ended(_in_reading_order(parts, backward), end, backward):
        if i == end:
            if text := decode(i):  # bytes of no whole character
                yield Character(text, bits, expected or ())
                bits, expected = 0.0, None
            yield Character(ENDED, cost / math.log(2), named(likeliest), ends=True)
            continue
        bits += cost / math.log(2)
        if expected is None:
            expected = named(likeliest)
        if text := decode(i):
            yield Character(text, bits, expected)
            bits, expected = 0.0, None
    if text := decode(None):
        yield Character(text, bits, expected or ())


_Cost = tuple[int, float, list[int]]  # an id, its -ln p, the likeliest ids


def _in_reading_order(parts: Iterable[Predicted], backward: bool) -> Iterator[_Cost]:
    if backward:
        yield from reversed([*_in_reading_order(parts, False)])
        return
    for number, part in enumerate(parts):
        if number == 0:
            yield int(part.before[0]), 0.0, []
        yield from zip(part.ids.tolist(), part.nats.tolist(), part.likeliest.tolist(), strict=True)


def _documents_ended(costs: Iterator[_Cost], end: int | None, backward: bool) -> Iterator[_Cost]:
    """Without the end symbol before the first document, and each document's own after it.

    The last document in the order of reading may be cut: then it has none.
    """
    if end is None:
        yield from costs
        return
    own = first = next(costs, None)  # read backward, what stands before a document is its end
    if backward and first and first[0] != end:
        yield first
        own = None
    for cost in costs:
        if cost[0] != end or not backward:
            yield cost
            continue
        if own:
            yield own
        own = cost


class Line(NamedTuple):
    """A line of a text, from number 1, its line end left out.

    bits_per_char: of its characters that were predicted, line end too; characters: how many.
    """

    number: int
    bits_per_char: float
    characters: int
    text: str


def lines(of: Iterable[Character]) -> Iterator[Line]:
    """The lines of a text, each with the character after it; a document's end is no line alone."""
    number, line = 1, _Line()
    for character in of:
        if line.ended and not (character.ends and not line.of_document):
            yield line.numbered(number)
            number, line = number + 1, _Line()
        line.add(character)
    if line.characters:
        yield line.numbered(number)


class _Line:
    """A line that grows; its characters are not kept, for there may be many."""

    def __init__(self) -> None:
        self.ended = self.of_document = False  # by a line end; by the end of a document
        self.characters = self._predicted = 0
        self._bits, self._text = 0.0, StringIO()

    def add(self, character: Character) -> None:
        if not self.ended:
            self._text.write(character.text)
        self.characters += 1
        self._predicted += is_predicted(character)
        self._bits += character.bits
        # bytes that are no UTF-8 may stand before a line end
        self.ended, self.of_document = character.text.endswith("\n"), character.ends

    def numbered(self, number: int) -> Line:
        mean = self._bits / max(1, self._predicted)
        return Line(number, mean, self._predicted, self._text.getvalue().removesuffix("\n"))
