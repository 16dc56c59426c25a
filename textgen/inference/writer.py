"""Writing: an iterator of text that knows its position, and can be saved and continued."""

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.config import MOST_LAYERS, SEEDS, SamplingOptions
from textgen.errors import CheckpointError
from textgen.inference.folding import Array, FoldedModel
from textgen.inference.sampling import Sampler, Uniforms, log_probability
from textgen.inference.stepper import Stepper
from textgen.store.archive import Damaged, open_archive, pack, simple_json
from textgen.store.files import unfit, write_file
from textgen.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Position:
    """Where a writer stands: enough to go on exactly.

    arrays: the state after every character but the last; pending: the id of the last, not read yet;
    seed, number, place: of the next draw; digest: gives the SHA-256 of the checkpoint file;
    identity: of the run; vocabulary: its digest. A state of an earlier version has neither.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    pending: int
    seed: int
    number: int
    place: int
    digest: Callable[[], str]
    identity: str = ""
    vocabulary: str = ""

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file.

        Raises OSError, or CheckpointError as `check_target`, with what stood there untouched.
        """
        path = Path(path)
        check_target(path)
        record = {name: value for name, value in vars(self).items() if name != "arrays"}
        record["digest"] = self.digest()
        write_file(path, pack(self.arrays, {_KEY: json.dumps(record)}))

    @classmethod
    def load(cls, path: str | Path) -> "Position":
        """Raises CheckpointError if `path` is no saved state, or is damaged."""
        path = Path(path)
        try:
            archive = open_archive(path)
            record = simple_json(archive.metadata[_KEY])
            record["digest"] = partial(str, record["digest"])
            if len(archive.arrays) > 2 * MOST_LAYERS + 1 or archive.bytes > _LARGEST:
                raise ValueError
            arrays = {name: archive.read(name) for name in archive.arrays}
            position = cls(arrays, **record)
            numbers = (position.pending, position.seed, position.number, position.place)
            texts = (position.identity, position.vocabulary)
            sealed = archive.digests is not None or texts == ("", "")
            finite = all(a.dtype == np.float32 and np.isfinite(a).all() for a in arrays.values())
            if not all(type(n) is int and 0 <= n < SEEDS for n in numbers):
                raise ValueError
            if not (sealed and finite and all(type(text) is str for text in texts)):
                raise ValueError
        except Damaged:
            raise
        except (CheckpointError, KeyError, TypeError, ValueError, RecursionError) as error:
            if not os.path.lexists(path):
                raise CheckpointError(f"no such file: {path}", _HINT) from None
            why = f": {error.message}" if isinstance(error, CheckpointError) else ""
            raise CheckpointError(f"{path} is not a saved state{why}", _HINT) from None
        return position


def check_target(path: Path) -> None:
    """Raise CheckpointError if a state must not be saved there: only a saved state is replaced."""
    if found := unfit(path, "saved state", _is_state):
        hint = "name a file that does not exist, or a saved state, where you may write"
        raise CheckpointError(f"cannot save the state in {path}: it is {found}", hint)


def _is_state(path: Path) -> bool:
    try:
        return _KEY in open_archive(path).metadata
    except CheckpointError:
        return False


_KEY = "textgen-state"
_LARGEST = 64_000_000  # bytes of a saved state: of the widest and deepest model 34 MB
_HINT = "make one with: textgen sample --save-state FILE"


class GrowingText:
    """Decides what of the characters drawn is text, for one text: decoding, stops, length.

    It ends after `length` characters (bytes at level byte; 0: never), with the end symbol, or
    before the first stop text; of those that overlap the one that begins first counts. drawn: ids
    so far; written: how many of them are in the text handed out; done: whether it ended; stopped:
    whether by the end symbol or a stop text.
    """

    def __init__(self, vocabulary: Vocabulary, options: SamplingOptions) -> None:
        self._decode = vocabulary.decoder()
        self._bytes = vocabulary.level == "byte"
        self._length = options.length
        self._stop = options.stop
        self._end = vocabulary.end
        self._held = ""  # may still turn out to be the beginning of a stop text
        self.drawn = self.written = 0
        self.done = self.stopped = False
        self.holds = bool(self._stop) or self._bytes  # whether text may be held back

    def add(self, i: int) -> str:
        """Take the next id; the text that can be handed out now, often one character."""
        self.drawn += 1
        text = self._held + self._decode(i)
        if self.drawn == self._length or i == self._end:
            self.done, self.stopped = True, i == self._end
            text += self._decode(None)
        if self._stop:
            text = self._before_stop(text)
        if text:
            self.written += len(text.encode("utf-8", "surrogateescape") if self._bytes else text)
        return text

    def _before_stop(self, text: str) -> str:
        """What of `text` is before a stop text, or cannot begin one; the rest is held back."""
        decided = len(text) - (0 if self.done else self._undecided(text))
        end = min((p for p in map(text.find, self._stop) if p >= 0), default=len(text) + 1)
        if end <= decided:
            self._held, self.done, self.stopped = "", True, True
            return text[:end]
        self._held = text[decided:]
        return text[:decided]

    def _undecided(self, text: str) -> int:
        """The length of the longest end of `text` that begins a stop text."""
        longest = min(len(text), max(map(len, self._stop)) - 1)
        ends = range(longest, 0, -1)
        return next((n for n in ends if any(s.startswith(text[-n:]) for s in self._stop)), 0)


class Writer(Iterator[str]):
    """Iterate over it for the text, in pieces that are never empty; it may be left at any time.

    prompt: ids to read first; position: to go on from, instead of from zero state; digest: of the
    checkpoint and identity: of its run, for `position`; score: whether `nats_per_char` is wanted.
    """

    def __init__(
        self,
        model: FoldedModel,
        vocabulary: Vocabulary,
        options: SamplingOptions,
        uniforms: Uniforms,
        *,
        prompt: NDArray,
        position: Position | None = None,
        digest: Callable[[], str] = str,
        identity: str = "",
        score: bool = False,
    ) -> None:
        self._model = model
        self._sampler = Sampler(options, vocabulary.unknown)
        self._uniforms = uniforms
        self._digest, self._identity = digest, identity
        self._vocabulary, self._end = vocabulary.digest, vocabulary.end
        self._score = score
        self._log_probability = 0.0
        self._text = GrowingText(vocabulary, options)
        self._stepper = Stepper(model, position.arrays if position else None)
        before = [position.pending] if position else prologue(vocabulary, prompt)
        self._pending = self._read(self._stepper, [*before, *prompt.tolist()])
        # where all that was drawn was handed out last (state, pending id, place, characters), and
        # what was drawn since
        self._settled: tuple[dict[str, Array], int, int, int] | None = None
        self._since: list[int] = []
        self._pieces = self._write()

    @staticmethod
    def _read(stepper: Stepper, ids: list[int]) -> int:
        """Read all of `ids` but the last, which is returned."""
        for i in ids[:-1]:
            stepper.step(i)
        return ids[-1]

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        self._pieces.close()

    @property
    def written(self) -> int:
        """Characters handed out so far (bytes at level byte)."""
        return self._text.written

    @property
    def nats_per_char(self) -> float:
        """-ln p at temperature 1, unfiltered: mean over what was drawn, a stop text included."""
        return -self._log_probability / max(1, self._text.drawn)

    @property
    def position(self) -> Position:
        """Where the text handed out ends: what is held back, or was a stop text, is not part."""
        state, pending, place = self._stepper.state, self._pending, self._uniforms.place
        if self._settled is not None and self._text.written < self._text.drawn:
            state, pending, place, before = self._settled
            count = self._text.written - before
            stepper = Stepper(self._model, state)
            pending = self._read(stepper, [pending, *self._since[:count]])
            state, place = stepper.state, place + count
        draws = self._uniforms
        return Position(
            state,
            pending,
            draws.seed,
            draws.number,
            place,
            digest=self._digest,
            identity=self._identity,
            vocabulary=self._vocabulary,
        )

    def _write(self) -> Generator[str]:
        text = self._text
        while not text.done:
            if text.holds and text.written == text.drawn:
                state, place = self._stepper.state, self._uniforms.place
                self._settled, self._since = (state, self._pending, place, text.written), []
            logits = self._stepper.step(self._pending)
            self._pending = self._sampler.draw(logits, self._uniforms.next())
            if self._pending == self._end:  # what comes next is another document
                self._settled, self._stepper = None, Stepper(self._model)
            if self._score:
                self._log_probability += log_probability(logits, self._pending)
            if text.holds:
                self._since.append(self._pending)
            if piece := text.add(self._pending):
                yield piece


def prologue(vocabulary: Vocabulary, prompt: NDArray) -> list[int]:
    """Ids to read before those of `prompt`: of a document the end symbol, else none if any."""
    return [vocabulary.first] if vocabulary.has_end or not len(prompt) else []
