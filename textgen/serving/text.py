"""One text that is being written for a request."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.config import SamplingOptions
from textgen.inference.folding import Array
from textgen.inference.sampling import Sampler, Uniforms
from textgen.inference.stepper import Stepper
from textgen.inference.writer import GrowingText
from textgen.text.vocabulary import Vocabulary

PATIENCE = 0.05  # seconds between two pieces of one text
OVERDUE, FAILED = "overdue", "failed"  # how a text ends besides `stop` and `length`


@dataclass(frozen=True)
class Token:
    """A character, ln p of it, and the likeliest in its place with theirs.

    ln p is None of the first character of all, before which nothing was read.
    """

    text: str
    log_probability: float | None
    likeliest: dict[str, float] | None


@dataclass(frozen=True)
class Piece:
    """What was written since the last piece; end: how the text ended, or None.

    written: its characters, or bytes of a model of bytes.
    """

    text: str
    written: int = 0
    tokens: tuple[Token, ...] = ()
    end: str | None = None


class Text:
    """ids: what is read first, at least one; length: characters to write, 0 is none.

    vocabulary, options, in_order: see `Drawn`.
    seeded: whether the text must not depend on what is written beside it.
    scores: the number of likeliest characters that each token comes with; None: no tokens.
    given: how many of the last of `ids` are to be scored as well.
    deliver: takes each piece. Called in the thread that writes.
    """

    def __init__(
        self,
        ids: Sequence[int],
        vocabulary: Vocabulary,
        options: SamplingOptions,
        uniforms: Uniforms,
        *,
        deliver: Callable[[Piece], None],
        seconds: float,
        in_order: Callable[[str], str] = str,
        streamed: bool = False,
        scores: int | None = None,
        given: int = 0,
    ) -> None:
        self.sampler = Sampler(options, vocabulary.unknown)
        self.seeded = options.seed is not None
        self.pending = ids[0]
        self.ahead = deque(ids[1:])
        self.stepper: Stepper | None = None  # holds its state while it is written alone
        self.state: dict[str, Array] = {}  # before it is first written, and between the two
        self.deliver = deliver
        self.uniforms = uniforms
        self.begun: float | None = None  # when its first character was drawn
        self.gone = False  # set by another thread: nobody waits for it any more
        self.asked = time.monotonic()
        self.deadline = self.asked + seconds
        self.drawn = 0
        self._vocabulary = vocabulary
        self._growing = GrowingText(vocabulary, options)
        self._in_order, self._streamed = in_order, streamed
        self._held: list[str] = []
        self._sent = 0.0
        self._scores = scores
        self._tokens: list[Token] = []  # not handed out yet
        self._told = 0  # tokens handed out, of the prompt and of what was written
        self._counted = 0  # of what was written: handed out
        self._length = options.length
        self.end: str | None = None
        if given == len(ids):  # nothing was read before the first of them
            self._tokens.append(Token(self._shown(self.pending), None, None))
        self._given = given
        self._close_if_read()

    def _close_if_read(self) -> None:
        if not self._length and not self.ahead:
            self.end = "length"

    def read(self, logits: NDArray[np.float32]) -> None:
        """Go on to the next id that is read first; logits: after the one before it, (V,)."""
        self.pending = self.ahead.popleft()
        if self._given and len(self.ahead) < self._given and self._scores is not None:
            self._tokens.append(self._token(logits, self.pending))
        self._close_if_read()

    def take(self, logits: NDArray[np.float32], i: int) -> None:
        """Add the id that was drawn by `logits` (V,)."""
        self.begun = self.begun or time.monotonic()
        self.pending = i
        self.drawn += 1
        if self._scores is not None and i != self._vocabulary.end:
            self._tokens.append(self._token(logits, i))
        if piece := self._growing.add(i):
            self._held.append(piece)
        if self._growing.done:
            self.end = "stop" if self._growing.stopped else "length"

    def close(self, end: str) -> None:
        """End it as it stands."""
        self.end = self.end or end

    def hand_out(self, now: float) -> None:
        """Deliver what was written, if it is time to."""
        due = self._streamed and self._held and now - self._sent >= PATIENCE
        if self.end is None and not due:
            return
        text = self._in_order("".join(self._held))
        self._held.clear()
        self._sent = now
        written = self._growing.written - self._counted
        self._counted = self._growing.written
        self.deliver(Piece(_plain(text), written, self._due_tokens(), self.end))

    def _due_tokens(self) -> tuple[Token, ...]:
        if self._scores is None:
            return ()
        handed_out = self._given + self._growing.written
        tokens = tuple(self._tokens[: handed_out - self._told])
        del self._tokens[: len(tokens)]
        self._told += len(tokens)
        return tokens

    def _token(self, logits: NDArray[np.float32], i: int) -> Token:
        shifted = logits.astype(np.float64) - logits.max()
        shifted -= np.log(np.exp(shifted).sum())
        order = np.argsort(-shifted, kind="stable")[: self._scores]
        likeliest = {self._shown(int(n)): float(shifted[n]) for n in order}
        return Token(self._shown(i), float(shifted[i]), likeliest)

    def _shown(self, i: int) -> str:
        return "<end>" if i == self._vocabulary.end else self._vocabulary.decode([i])


def _plain(text: str) -> str:
    """`text` with U+FFFD for each byte that is not UTF-8: JSON has no such bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
