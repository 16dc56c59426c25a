"""What a model expects at each character of a text: read in one stream, or in many side by side.

One stream is exact. So are documents, for each begins from zero state. A text that is cut into
parts is read in two rounds: first every part from zero state, but with the history that stands
before it; then each again from the state in which the part before it ended, for as long as that
changes what its characters cost. So a part is warmed up on the whole part before it, and where that
does not suffice, on more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textgen.inference.evaluation import groups, overlapping
from textgen.inference.parts import CHUNK, SIDE_BY_SIDE
from textgen.model.network import CharModel, State
from textgen.text.documents import places_of

STREAMS = 64  # parts of a text that are read side by side, at most
GROUP = 1 << 18  # characters that are cut into them at a time
SHORTEST = 1024  # characters of a part
AT_A_TIME = 64  # characters of each of several parts: what they need stays in the CPU's cache
LOGITS = 1 << 22  # logits at a time
AGREED = 1e-4  # nats per character by which two readings may differ on average,
FOR = 128  # over so many characters in a row or more


@dataclass(frozen=True)
class Predicted:
    """n characters of a text, and what was expected before each.

    before: the ids before them, (n,); ids: their own, (n,); nats: -ln p of each, (n,); rank: how
    many ids were likelier, (n,); likeliest: (n, named) ids, fewer where the vocabulary is smaller;
    confidence: p of the likeliest, (n,). streams: how many of them were read side by side; warm_up:
    how many characters the stream read twice that took longest.
    """

    before: NDArray[np.int64]
    ids: NDArray[np.int64]
    nats: NDArray[np.float32]
    rank: NDArray[np.int32]
    likeliest: NDArray[np.int32]
    confidence: NDArray[np.float32]
    streams: int = 1
    warm_up: int = 0

    @classmethod
    def blank(cls, ids: NDArray, named: int) -> Predicted:
        """Of the characters after the first of `ids`, to be filled in."""
        size = len(ids) - 1
        return cls(
            before=ids[:-1].astype(np.int64),
            ids=ids[1:].astype(np.int64),
            nats=np.zeros(size, np.float32),
            rank=np.zeros(size, np.int32),
            likeliest=np.zeros((size, named), np.int32),
            confidence=np.zeros(size, np.float32),
        )

    def fill(self, where: NDArray, expected: _Expected) -> None:
        self.nats[where], self.rank[where], self.likeliest[where], self.confidence[where] = expected

    def only(self, kept: NDArray[np.bool_]) -> Predicted:
        arrays = {name: value[kept] for name, value in vars(self).items() if np.ndim(value)}
        return replace(self, **arrays)


_Expected = tuple[NDArray, NDArray, NDArray, NDArray]  # nats, rank, likeliest, confidence


def one_stream(network: CharModel, blocks: Iterable[NDArray], named: int) -> Iterator[Predicted]:
    """One exact pass, the state carried throughout, chunk by chunk."""
    state = State.zeros(network.config, 1)
    named = min(named, network.config.vocabulary_size)
    for ids in overlapping(blocks, _chunk(network, 1)):
        expected, state = _expect(network, (ids[:-1, None], ids[1:, None]), state, named)
        found = Predicted.blank(ids, named)
        found.fill(np.arange(len(ids) - 1)[:, None], expected)
        yield found


def of_documents(
    network: CharModel, blocks: Iterable[NDArray], end: int, named: int
) -> Iterator[Predicted]:
    """Each document from zero state, with its end symbol; empty ones are left out.

    They are read side by side, those of about one length together, and come in their order.
    """
    named = min(named, network.config.vocabulary_size)
    for ids in groups(blocks, end):
        places = places_of(ids, end)
        found = Predicted.blank(ids, named)
        order = (places.ends - places.begins).argsort(kind="stable")
        for begin in range(0, len(order), SIDE_BY_SIDE):
            some = places.of(order[begin : begin + SIDE_BY_SIDE])
            _Parts(network, found, *some).read()
        inside = np.zeros(len(found.ids), bool)  # what no end symbol stands before is no document
        for start, stop in zip(*places, strict=True):
            inside[start:stop] = True
        if inside.any():
            yield found.only(inside)


def many_streams(network: CharModel, blocks: Iterable[NDArray], named: int) -> Iterator[Predicted]:
    """A text in parts side by side, as the module says, GROUP characters at a time."""
    state = State.zeros(network.config, 1)
    named = min(named, network.config.vocabulary_size)
    for ids in overlapping(blocks, GROUP):
        size = len(ids) - 1
        count = max(1, min(STREAMS, size // SHORTEST))
        begins = np.arange(count) * (size // count)
        found = Predicted.blank(ids, named)
        parts = _Parts(network, found, begins, np.append(begins[1:], size))
        parts.read(state)
        changed = parts.read_again(np.arange(1, count))
        for part in range(2, count):  # seldom: the state is one that does not forget
            if part - 1 in changed:
                changed |= parts.read_again(np.array([part]))
        state = parts.state.map(lambda tensor: tensor[-1:])
        yield replace(found, streams=count, warm_up=parts.warm_up)


class _Parts:
    """Parts of a text, from `begins` up to `ends`, whose results go into `found`.

    state: where each part was last read to its end; warm_up: as in Predicted.
    """

    def __init__(
        self, network: CharModel, found: Predicted, begins: NDArray, ends: NDArray
    ) -> None:
        self._network, self._found, self._begins, self._ends = network, found, begins, ends
        self.state = State.zeros(network.config, len(begins))
        self.warm_up = 0

    def read(self, first: State | None = None) -> None:
        """Read all, from zero state; with `first`, the first from it, others with a history."""
        for name, part in (first.parts if first else {}).items():
            self.state.parts[name][:1] = part
        if first and (reach := self._network.config.history):
            text = torch.from_numpy(self._found.before.astype(np.float32) + 1)
            known = torch.cat([first.parts["history"][0], text])
            self.state.parts["history"].copy_(known[self._begins[:, None] + np.arange(reach)])
        which, offset = np.arange(len(self._begins)), 0
        while len(which):
            where, expected = self._step(which, offset, self.state)
            self._found.fill(where, expected)
            offset += len(where)
            which = which[self._begins[which] + offset < self._ends[which]]

    def read_again(self, which: NDArray) -> set[int]:
        """Read parts from where those before them ended, each until its costs no longer change.

        The parts for which they did to the end, so that `state` was replaced.
        """
        state = self.state.map(Tensor.clone)
        for part in state.parts.values():
            part[which] = part[which - 1].clone()
        agreed, offset, changed = np.zeros(len(self._begins), np.int64), 0, set[int]()
        while len(which):
            where, expected = self._step(which, offset, state)
            differ = np.abs(expected[0] - self._found.nats[where]).mean(axis=0) > AGREED
            self._found.fill(where, expected)
            offset += len(where)
            agreed[which] = np.where(differ, 0, agreed[which] + len(where))
            self.warm_up = max(self.warm_up, offset)
            which = which[agreed[which] < FOR]
            over = which[self._begins[which] + offset >= self._ends[which]]
            for name, part in state.parts.items():
                self.state.parts[name][over] = part[over]
            changed |= {*over.tolist()}
            which = np.setdiff1d(which, over)
        return changed

    def _step(self, which: NDArray, offset: int, state: State) -> tuple[NDArray, _Expected]:
        """Read on in some parts, to the nearest end at most; where, (T, B), and what was expected.

        `state` holds those of all parts, and is changed in place.
        """
        begins = self._begins[which] + offset
        most = min(AT_A_TIME if len(which) > 1 else CHUNK, _chunk(self._network, len(which)))
        size = min(most, int((self._ends[which] - begins).min()))
        where = begins + np.arange(size)[:, None]
        ids = self._found.before[where], self._found.ids[where]
        named = self._found.likeliest.shape[1]
        before = state.map(lambda part: part[which])
        expected, after = _expect(self._network, ids, before, named)
        for name, part in after.parts.items():
            state.parts[name][which] = part
        return where, expected


@torch.inference_mode()
def _expect(
    network: CharModel, ids: tuple[NDArray, NDArray], state: State, named: int
) -> tuple[_Expected, State]:
    """What was expected instead of ids[1] (T, B) after ids[0] (T, B), and the state after that."""
    before, own = (torch.from_numpy(part) for part in ids)
    logits, state = network(before, state)
    logs, own = logits.log_softmax(-1), own[:, :, None]
    cost = logs.gather(2, own)
    earlier = torch.arange(logs.shape[2]) < own  # of equals the lower id comes first
    rank = ((logs > cost) | ((logs == cost) & earlier)).sum(2)
    likeliest = logs.topk(named).indices
    expected = -cost[:, :, 0], rank, likeliest, logs.amax(2).exp()
    nats, ranks, ids_of, confidence = (part.numpy() for part in expected)
    return (nats, ranks, ids_of, confidence), state


def _chunk(network: CharModel, streams: int) -> int:
    return max(1, min(CHUNK, LOGITS // (streams * network.config.vocabulary_size)))
