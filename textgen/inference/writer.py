"""Writing: an iterator of text that remembers where it is, and can be put away and taken up."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.errors import CheckpointError
from textgen.inference.sampling import SamplingConfig, Uniforms, draw, log_probability
from textgen.inference.stepper import Stepper
from textgen.store.checkpoint import pack, write_file
from textgen.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Position:
    """Where a writer stands: enough to go on exactly.

    arrays: the recurrent state after every character read so far; pending: the id of the last
    character, not read yet; seed, number, place: those of the next draw.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    pending: int
    seed: int
    number: int
    place: int
    digest: str

    def save(self, path: Path) -> None:
        """Write to one safetensors file. Raises OSError, with what stood there untouched."""
        record = {
            "pending": self.pending,
            "seed": self.seed,
            "number": self.number,
            "place": self.place,
            "digest": self.digest,
        }
        write_file(path, pack(self.arrays, {_KEY: json.dumps(record)}))

    @classmethod
    def load(cls, path: Path) -> Position:
        """Raises CheckpointError if `path` is no saved state."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                record = json.loads((file.metadata() or {})[_KEY])
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return cls(arrays, **record)
        except FileNotFoundError:
            raise CheckpointError(f"no such file: {path}", _HINT) from None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            raise CheckpointError(f"{path} is not a saved state", _HINT) from None


_KEY = "textgen-state"
_HINT = "make one with: textgen sample --save-state FILE"


class Writer(Iterator[str]):
    """Iterate over it for the text, piece by piece; it may be left at any time.

    Its pieces are never empty. At level byte a piece may be several bytes; with `stop`, a piece is
    held back while it may still turn out to be the beginning of a stop text.
    """

    def __init__(
        self,
        stepper: Stepper,
        vocabulary: Vocabulary,
        config: SamplingConfig,
        uniforms: Uniforms,
        prompt: NDArray,
        *,
        length: int,
        stop: Sequence[str] = (),
        position: Position | None = None,
        digest: str = "",
        score: bool = False,
    ) -> None:
        self._stepper = stepper
        self._vocabulary = vocabulary
        self._config = config
        self._uniforms = uniforms
        self._digest = digest
        self._score = score
        self.log_probability = 0.0  # of what was written, nats, at temperature 1, if `score`
        self.written = 0  # characters (bytes at level byte)
        ids = [int(i) for i in prompt]
        if position is not None:
            stepper.state = position.arrays
            ids.insert(0, position.pending)
        elif not ids:
            ids = [first_id(vocabulary)]
        for i in ids[:-1]:
            stepper.step(i)
        self._pending = ids[-1]
        self._pieces = self._write(length, tuple(stop))

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Write no more."""
        self._pieces.close()

    @property
    def position(self) -> Position:
        """Where it stands after what has been drawn so far."""
        u = self._uniforms
        return Position(self._stepper.state, self._pending, u.seed, u.number, u.place, self._digest)

    def _ids(self, length: int) -> Iterator[int]:
        while length == 0 or self.written < length:
            logits = self._stepper.step(self._pending)
            i = draw(logits, self._config, self._uniforms.next())
            if self._score:
                self.log_probability += log_probability(logits, i)
            self._pending = i
            self.written += 1
            yield i

    def _write(self, length: int, stop: tuple[str, ...]) -> Generator[str]:
        decode = self._vocabulary.decoder()
        cut = Stops(stop)
        for i in self._ids(length):
            if piece := cut.ready(decode(i)):
                yield piece
            if cut.reached:
                return
        if piece := cut.ready(decode(None)) + cut.held:
            yield piece


class Stops:
    """Lets text through up to the first stop text, as soon as it is sure not to be part of one.

    held: what may still turn out to be the beginning of a stop text; reached: whether one came.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self.held = ""
        self.reached = False

    def ready(self, text: str) -> str:
        """What of the text so far, `text` at its end, can be written now."""
        if not self._stop:
            return text
        text = self.held + text
        end = min((p for p in map(text.find, self._stop) if p >= 0), default=None)
        if end is not None:
            self.held, self.reached = "", True
            return text[:end]
        undecided = self._undecided(text)
        self.held = text[len(text) - undecided :]
        return text[: len(text) - undecided]

    def _undecided(self, text: str) -> int:
        """The length of the longest end of `text` that begins a stop text."""
        longest = min(len(text), max(map(len, self._stop)) - 1)
        ends = range(longest, 0, -1)
        return next((n for n in ends if any(s.startswith(text[-n:]) for s in self._stop)), 0)


def first_id(vocabulary: Vocabulary) -> int:
    """What stands before the first character: a line end where there is one."""
    newline = "\n" in vocabulary.characters or vocabulary.level == "byte"
    return int(vocabulary.encode("\n")[0]) if newline else 0
