"""What goes on inside a network while it reads a text: the states of its units, and its gates.

The Stepper reads. The gates of a layer follow from its inputs and its states, so they are computed
afterwards, in one product for the whole text.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.architecture import ModelConfig
from textgen.inference.folding import Array, FoldedModel
from textgen.inference.stepper import Stepper
from textgen.text.vocabulary import Vocabulary

READ = 1 << 15  # ids of a text that are read at most
KEPT = 1 << 26  # numbers of all states that are kept at most: 256 MiB; of wide models fewer ids
# in the order in which their rows are folded, before those of candidates
GATES: dict[str, tuple[str, ...]] = {
    "lstm": ("input", "forget", "output"),
    "gru": ("reset", "update"),
    "rnn": (),
}
KEEPING = {"lstm": "forget", "gru": "update"}  # the gate that the state before is multiplied by


@dataclass(frozen=True)
class Trace:
    """The states of a network after each of n characters, read from zero state.

    ids: (n,); matches: of each, (n, K) by MATCHED, V for none; grams: the rows of each, (n,);
    state: by the names of `ModelConfig.recurrent`, each (n, H).
    """

    model: FoldedModel
    ids: NDArray
    matches: NDArray[np.int64]
    grams: NDArray[np.int64]
    state: dict[str, Array]

    def values(self, layer: int) -> Array:
        """The units of a layer after each character, (n, H), from -1 to 1.

        Of an LSTM the tanh of its cell, as in Karpathy, Johnson & Fei-Fei 2015, "Visualizing and
        Understanding Recurrent Networks"; of a GRU and an RNN the hidden state.
        """
        if f"{layer}.cell" in self.state:
            return np.tanh(self.state[f"{layer}.cell"])
        return self.state[f"{layer}.hidden"]

    def gates(self, layer: int) -> dict[str, Array]:
        """The gates of a layer by the names of GATES, each (n, H), from 0 to 1."""
        half = np.float32(0.5)
        return {name: half * np.tanh(y) + half for name, y in self._halves(layer).items()}

    def log_kept(self, layer: int) -> Array | None:
        """ln of the gate of KEEPING, (n, H): of the share of the state that each character leaves.

        None for an RNN, which writes its whole state anew at each character.
        """
        gate = KEEPING.get(self.model.config.cell)
        # finite also where the gate itself is 0 in float32
        return None if gate is None else -np.logaddexp(0, -2 * self._halves(layer)[gate])

    def _halves(self, layer: int) -> dict[str, Array]:
        """Half of what the gates are the sigmoids of, each (n, H)."""
        names = GATES[self.model.config.cell]
        if not names:
            return {}
        folded, hidden = self.model.layers[layer], self.state[f"{layer}.hidden"]
        both = np.concatenate([np.zeros_like(hidden[:1]), hidden[:-1]])  # h_{t-1}
        if layer:
            both = np.concatenate([self._output(layer - 1), both], axis=1)
        elif self.model.grams is not None:
            both = np.concatenate([self.model.grams[self.grams], both], axis=1)
        rows = slice(len(names) * folded.hidden)
        table = folded.table[:, rows]
        halves = both @ folded.matrix[rows].T + (table if layer else table[self.ids])
        for added, matches in zip(folded.matches, self.matches.T, strict=not layer):
            there = matches < len(added)
            halves[there] += added[matches[there], rows]
        return dict(zip(names, np.split(halves, len(names), axis=1), strict=True))

    def _output(self, layer: int) -> Array:
        """What a layer gives to the next one, (n, H)."""
        hidden = self.state[f"{layer}.hidden"]
        return hidden + self._output(layer - 1) if self.model.config.skips[layer] else hidden


def trace(model: FoldedModel, ids: NDArray) -> Trace:
    """Read `ids` (n,) from zero state."""
    sizes = {name: (len(ids), axis.size) for name, axis in model.config.recurrent.items()}
    state = {name: np.empty(size, np.float32) for name, size in sizes.items()}
    none = len(model.bias)
    matches = np.full((len(ids), len(model.layers[0].matches)), none, np.int64)
    grams = np.zeros(len(ids), np.int64)
    stepper = Stepper(model)
    for n, i in enumerate(ids.tolist()):
        stepper.step(i)
        matches[n] = [none if match is None else match for match in stepper.matches]
        grams[n] = stepper.gram
        for name, part in stepper.recurrent.items():
            state[name][n] = part
    return Trace(model, ids, matches, grams, state)


def most(config: ModelConfig) -> int:
    """How many ids of a text are read at most."""
    return min(READ, KEPT // sum(axis.size for axis in config.recurrent.values()))


def first(blocks: Iterable[NDArray], number: int) -> NDArray:
    """The first ids of a text in `blocks`, and no more of it than one block is read."""

    def needed() -> Iterator[NDArray]:
        left = number
        for block in blocks:
            yield block[:left]
            left -= len(block)
            if left <= 0:
                return

    return np.concatenate([np.zeros(0, np.uint8), *needed()])


def completed(
    vocabulary: Vocabulary, ids: NDArray, backward: bool = False
) -> tuple[list[str], NDArray[np.int64]]:
    """The characters of `ids` (n,) in reading order, and the place in `ids` that completes each.

    A character of several bytes stands at the last of them; one that `ids` do not complete is left
    out. backward: whether `ids` run from the end of the text.
    """
    decode = vocabulary.decoder()
    places = range(len(ids))[:: -1 if backward else 1]
    found = [(text, n) for n in places if (text := decode(int(ids[n])))]
    return [text for text, _ in found], np.array([n for _, n in found], np.int64)
