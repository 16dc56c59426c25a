"""One model, and the texts that are written with it side by side."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from textgen.inference.batch import STREAMS, BatchStepper
from textgen.inference.folding import FoldedModel
from textgen.inference.sampling import draw_rows
from textgen.inference.stepper import Stepper
from textgen.serving.text import Text

WIDTHS = (4, 8, 16, 32, STREAMS)  # texts that a step has room for
TRIED = 24  # steps by which widths are compared
TIMED = 5
CPU = torch.device("cpu")


class Engine:
    """Writes the texts of one model, a block at a time, in the thread that calls `write`.

    A matrix product may round a row otherwise in another place or beside more rows. That is found
    out here, on this machine, with these weights: in the widths of `exact` every row came to the
    same bits, whatever its place and the width. Texts with a seed are written in these widths
    alone, or where there are none each by itself. Texts without a seed go the way that was
    measured to be the fastest.
    """

    @torch.inference_mode()
    def __init__(self, model: FoldedModel) -> None:
        self._model = model
        self._batch = BatchStepper(model, CPU, torch.float32)
        self.texts: list[Text] = []  # the first of them hold the first rows of the batch
        self._rows: list[Text] = []
        self.exact = self._exact_widths()
        stepper = Stepper(model)
        self._alone = _fastest(lambda: stepper.step(0))  # seconds for a character
        self._beside = {width: _fastest(self._stepping(width)) for width in WIDTHS}

    def _stepping(self, width: int) -> Callable[[], object]:
        ids = torch.zeros(width, dtype=torch.long)
        return lambda: self._batch.step(ids)

    def _exact_widths(self) -> tuple[int, ...]:
        """The widths that agree bit for bit with the largest in each of their rows."""
        ids = np.random.default_rng(0).integers(0, len(self._model.bias), TRIED).tolist()
        agreeing = []
        expected: torch.Tensor | None = None
        for width in reversed(WIDTHS):
            for n in range(width):
                self._batch.put(n, {})
            logits = torch.stack([self._batch.step(torch.full((width,), i)) for i in ids])
            if expected is None:
                expected = logits[:, :1].clone()
            if bool((logits.view(torch.int32) == expected.view(torch.int32)).all()):
                agreeing.append(width)
            elif width == STREAMS:
                break
        return tuple(reversed(agreeing))

    @torch.inference_mode()
    def write(self, seconds: float) -> None:
        """Read and write on with all texts for about so long; texts that have ended leave."""
        beside = self._side_by_side()
        self._arrange(beside)
        begin = time.monotonic()
        until = begin + seconds
        alone = [text for text in self.texts if text.stepper is not None]
        if self._rows:  # their share is that of one
            self._write_rows(begin + seconds / (1 + len(alone)))
        for n, text in enumerate(alone):
            left = until - time.monotonic()
            self._write_alone(text, time.monotonic() + max(left, 0.0) / (len(alone) - n))

    @torch.inference_mode()
    def remove(self, text: Text) -> None:
        """Let go of a text, and of its row."""
        self.texts.remove(text)
        if text in self._rows:
            self._leave(text)

    def _side_by_side(self) -> list[Text]:
        """The texts that share a step; the others are written each by itself."""
        seeded = [text for text in self.texts if text.seeded]
        free = [text for text in self.texts if not text.seeded]
        if seeded and self.exact:
            return self.texts
        if not free or len(free) * self._alone < self._beside[_room(len(free), WIDTHS)]:
            return []
        return free

    def _arrange(self, beside: list[Text]) -> None:
        for text in self.texts:
            if text in beside and text not in self._rows:
                state = text.stepper.state if text.stepper else text.state
                text.stepper = None
                self._batch.put(len(self._rows), state)
                self._rows.append(text)
            elif text not in beside and text.stepper is None:
                if text in self._rows:
                    text.state = self._batch.state_of(self._rows.index(text))
                    self._leave(text)
                text.stepper = Stepper(self._model, text.state)

    def _leave(self, text: Text) -> None:
        """Take a text out of its row, which the text of the last row takes over."""
        row, last = self._rows.index(text), self._rows.pop()
        if last is not text:
            self._batch.put(row, self._batch.state_of(len(self._rows)))
            self._rows[row] = last

    def _write_rows(self, until: float) -> None:
        rows = self._rows
        allowed = self.exact if any(text.seeded for text in rows) else WIDTHS
        ids = torch.zeros(_room(len(rows), allowed), dtype=torch.long)
        pending = ids.numpy()
        while not all(text.end for text in rows):
            pending[: len(rows)] = [text.pending for text in rows]
            logits = self._batch.step(ids).numpy()
            drawing = []
            for row, text in enumerate(rows):
                if text.ahead:
                    text.read(logits[row])
                elif text.end is None:
                    drawing.append(row)
            if drawing:
                samplers = [rows[row].sampler for row in drawing]
                uniforms = [rows[row].uniforms.next() for row in drawing]
                for row, i in zip(
                    drawing, draw_rows(samplers, logits[drawing], uniforms), strict=True
                ):
                    rows[row].take(logits[row], i)
            if time.monotonic() >= until:
                break

    def _write_alone(self, text: Text, until: float) -> None:
        stepper = text.stepper
        assert stepper is not None
        while text.end is None:
            logits = stepper.step(text.pending)
            if text.ahead:
                text.read(logits)
            else:
                text.take(logits, text.sampler.draw(logits, text.uniforms.next()))
            if time.monotonic() >= until:
                break


def _room(count: int, widths: tuple[int, ...]) -> int:
    return next(width for width in widths if width >= count)


def _fastest(step: Callable[[], object]) -> float:
    """Seconds that a step takes."""
    times = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times)
