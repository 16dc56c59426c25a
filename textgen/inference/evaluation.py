"""How well a model predicts a text: nats and bits per character, state carried throughout.

Of a text cut into documents each begins from zero state, and its end symbol counts.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.errors import CorpusError
from textgen.inference.parts import (
    LOGITS,
    Parts,
    chunk_size,
    document_parts,
    loss_of,
    losses,
    parts_of,
    read,
)
from textgen.model.network import CharModel, State
from textgen.text.documents import laid_out, places_of

GROUP = 1 << 20  # ids of documents that are scored at a time
TEXTS = 512  # side by side, of about one length
SHORT = 256  # characters of a document that are scored at least, where a sample is


@dataclass(frozen=True)
class Evaluation:
    """nats_per_char: mean of -ln p(character | all before it); characters: how many were scored."""

    nats_per_char: float
    characters: int

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """Per character; beyond what a float can be, the largest."""
        return math.exp(min(self.nats_per_char, math.log(sys.float_info.max)))


def nats(network: CharModel, blocks: Iterable[NDArray]) -> Iterator[NDArray[np.float32]]:
    """-ln p of every character but the first, in order, chunk by chunk: one exact pass.

    blocks: the text's ids in pieces of any length, on which neither result nor memory depends.
    """
    device = next(network.parameters()).device
    state = State.zeros(network.config, 1, device)
    for chunk in overlapping(blocks, chunk_size(network, 1)):
        ids = torch.from_numpy(chunk).to(device)[:, None]
        loss, state = loss_of(network, (ids[:-1], ids[1:]), state)
        yield loss[:, 0].cpu().numpy()


def evaluate(
    network: CharModel,
    blocks: Iterable[NDArray],
    progress: Callable[[int], None] | None = None,
    end: int | None = None,
) -> Evaluation:
    """The mean of `nats`, 0 of no characters; `progress` is called with the length of each part.

    end: the end symbol of a text that is cut into documents; memory grows with the longest one.
    """
    total, characters = 0.0, 0
    parts: Iterator[tuple[float, int]]
    if end is None:
        parts = ((float(c.sum(dtype=np.float64)), len(c)) for c in nats(network, blocks))
    else:
        parts = chain.from_iterable(
            _of_documents(network, group, end) for group in groups(blocks, end)
        )
    for nats_of, count in parts:
        total, characters = total + nats_of, characters + count
        if progress:
            progress(count)
    return Evaluation(total / max(1, characters), characters)


def nats_of_each(
    network: CharModel,
    texts: Sequence[NDArray],
    state: State | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """-ln p of each of `texts`, ids (n,), but for its first id: sums, computed side by side.

    state: of one stream, in which each text begins; zero state by default. progress: called with
    how many ids are scored, and how many there are.
    """
    device = next(network.parameters()).device
    state = state or State.zeros(network.config, 1, device)
    found, done, total = np.zeros(len(texts)), 0, sum(len(text) - 1 for text in texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
    while order:
        longest = len(texts[order[0]])
        room = LOGITS // (longest * network.config.vocabulary_size)
        some, order = order[: max(1, min(TEXTS, room))], order[max(1, min(TEXTS, room)) :]
        size, after = chunk_size(network, len(some)), state.repeated(len(some))
        for begin in range(0, longest - 1, size):
            window = np.full((min(size + 1, longest - begin), len(some)), -1)
            for column, i in enumerate(some):
                part = texts[i][begin : begin + size + 1]
                window[: len(part), column] = part
            ids = torch.from_numpy(window).to(device)
            loss, after = loss_of(network, (ids[:-1].clamp(min=0), ids[1:]), after)
            found[some] += loss.sum(0, dtype=torch.float64).cpu().numpy()
            if progress is not None:
                done += int((window[1:] >= 0).sum())
                progress(done, total)
    return found


def validate(
    network: CharModel,
    ids: NDArray,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    most: int | None = None,
    end: int | None = None,
) -> float:
    """Nats per character of `ids` (n,), n >= 2, to about three decimals and many times faster.

    The text is cut in parts read side by side, each warmed up on the 128 characters before it,
    with the history before those.
    most: score about so many characters, the beginning of each part: an even sample of the text.
    end: the end symbol of a text that is cut into documents, all of which are scored, with `most`
        at their beginnings alone where they are much longer than so many characters allow.
    """
    total, count = validated(network, ids, autocast, most, end=end)
    return total / count


def validated(
    network: CharModel,
    ids: NDArray,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    most: int | None = None,
    *,
    end: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> tuple[float, int]:
    """The sum of -ln p, and of how many characters, of which `validate` is the mean.

    share: which of how many shares of the text is scored; all of them together are all of it.
    """
    which, of = share
    if end is not None:
        found = list(_of_documents(network, ids, end, autocast, share=share, most=most))
        return float(sum(total for total, _ in found)), sum(count for _, count in found)
    parts = parts_of(len(ids), len(ids) if most is None else most)
    streams = len(parts.ends)
    ours = slice(which * streams // of, (which + 1) * streams // of)
    parts = Parts(*(places[ours] for places in parts))
    total = _total(network, ids, parts, autocast) if len(parts.ends) else 0.0
    return total, int((parts.ends - parts.first).sum())


def sampled(ids: NDArray, end: int, most: int) -> NDArray:
    """Documents of `ids` at even distances, of about `most` characters in all, one at least."""
    places = places_of(ids, end)
    which = np.arange(0, len(places.begins), max(1.0, len(ids) / most)).astype(np.int64)
    return laid_out(ids, [places.of(which)], end)


def groups(blocks: Iterable[NDArray], end: int) -> Iterator[NDArray]:
    """The blocks put together to about GROUP ids, cut where a document ends."""
    kept: list[NDArray] = []
    size = 0
    pieces = (block[at : at + GROUP] for block in blocks for at in range(0, len(block), GROUP))
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= GROUP and (found := np.flatnonzero(piece == end)).size:
            last = found[-1]
            yield np.concatenate([*kept[:-1], piece[: last + 1]])
            kept = [piece[last:]]
            size = len(kept[0])
    if kept:
        yield np.concatenate(kept)


def _of_documents(
    network: CharModel,
    ids: NDArray,
    end: int,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    *,
    share: tuple[int, int] = (0, 1),
    most: int | None = None,
) -> Iterator[tuple[float, int]]:
    """The sum of -ln p, and of how many characters, of some documents in `ids` after others."""
    longest = len(ids)
    if most is not None:  # twice what each may have on average
        longest = max(SHORT, 2 * most // max(1, int(np.count_nonzero(ids == end)) - 1))
    for begins, first, ends in document_parts(ids, end, share):
        parts = Parts(begins, first, np.minimum(ends, begins + longest))
        yield _total(network, ids, parts, autocast), int((parts.ends - parts.first).sum())


def _total(
    network: CharModel,
    ids: NDArray,
    parts: Parts,
    autocast: Callable[[], AbstractContextManager[object]],
) -> float:
    """The sum of -ln p of parts of a text, read side by side from zero state."""
    total = 0.0
    for logits, targets in read(network, ids, parts, autocast):
        total += float(losses(logits, targets).cpu().sum(dtype=torch.float64))
    return total


def overlapping(blocks: Iterable[NDArray], size: int) -> Iterator[NDArray[np.int64]]:
    """Pieces of up to size + 1 ids, int64, each beginning with the last id of the one before."""
    kept = np.zeros(0, np.int64)
    for block in blocks:
        for begin in range(0, len(block), size):
            kept = np.concatenate([kept, block[begin : begin + size].astype(np.int64)])
            if len(kept) > size:
                yield kept[: size + 1]
                kept = kept[size:]
    if len(kept) > 1:
        yield kept


def too_short(name: str) -> CorpusError:
    """The error for a text without a character that could be scored."""
    what = f"{name} has no character after its first one; expected 2 or more"
    return CorpusError(what, "name a longer text")
