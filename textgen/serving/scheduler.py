"""The one thread that writes: who is let in, who is written on, who leaves."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

import torch

from textgen.inference.batch import STREAMS
from textgen.serving.engine import Engine
from textgen.serving.text import FAILED, OVERDUE, Text

TURN = 0.02  # seconds of writing between two looks at who comes and who went
LOG = logging.getLogger("textgen.serving")


class Full(Exception):
    """There is no place for these texts, not even to wait in."""


class Scheduler:
    """Writes all open texts, `STREAMS` at most, from `start` to `stop`; the rest wait in order.

    queue: texts that may wait.
    """

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._waiting: deque[tuple[Engine, Text]] = deque()
        self._open: list[tuple[Engine, Text]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self.written = 0  # characters, since the start

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread, and with it all texts as they stand."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def end_all(self) -> None:
        """End all texts as they stand, at the end of the block."""
        self._ending = True

    @property
    def waiting(self) -> int:
        """Texts that wait for a place."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """Texts that hold a place."""
        return len(self._open)

    def submit(self, engine: Engine, texts: Sequence[Text]) -> None:
        """Write these texts, from any thread. Raises Full."""
        with self._changed:
            if len(self._open) + len(self._waiting) + len(texts) > STREAMS + self._queue:
                raise Full
            self._waiting.extend((engine, text) for text in texts)
            self._changed.notify()

    def _run(self) -> None:
        torch.set_flush_denormal(True)  # of each thread by itself
        while True:
            with self._changed:
                while not (self._open or self._waiting or self._stopping):
                    self._changed.wait()
                self._let_in()
                if self._stopping:
                    self._ending = True
                    self._open.extend(self._waiting)
                    self._waiting.clear()
            engines = {id(engine): engine for engine, _ in self._open}
            for engine in engines.values():
                self._write(engine)
            self._settle()
            if self._stopping:
                return

    def _let_in(self) -> None:
        """Places go to those who wait; who is gone or overdue leaves the queue."""
        now = time.monotonic()
        left: deque[tuple[Engine, Text]] = deque()
        for engine, text in self._waiting:
            if text.gone:
                continue
            if now > text.deadline:
                text.close(OVERDUE)
                text.hand_out(now)
            elif len(self._open) < STREAMS:
                self._open.append((engine, text))
                engine.texts.append(text)
            else:
                left.append((engine, text))
        self._waiting = left

    def _write(self, engine: Engine) -> None:
        before = sum(text.drawn for text in engine.texts)
        try:
            engine.write(TURN)
        except Exception:
            LOG.exception("writing failed")
            for text in engine.texts:
                text.close(FAILED)
        self.written += sum(text.drawn for text in engine.texts) - before

    def _settle(self) -> None:
        """Texts that are done, overdue or not waited for leave; hand out what is due.

        In this order, so that who has a whole answer finds its places free.
        """
        now = time.monotonic()
        for engine, text in tuple(self._open):
            if self._ending or now > text.deadline:
                text.close("length" if text.drawn else OVERDUE)
            if text.gone or text.end is not None:
                if text in engine.texts:
                    engine.remove(text)
                self._open.remove((engine, text))
            if not text.gone:
                text.hand_out(now)


def gone(texts: Iterable[Text]) -> None:
    """Say that nobody waits for these texts any more; from any thread."""
    for text in texts:
        text.gone = True
