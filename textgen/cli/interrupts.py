"""Ctrl-C, kill and a closed terminal, handled between two steps, or at once."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
    SIGNALS.append(signal.SIGHUP)  # ignored under nohup, and so it stays
T = TypeVar("T")
ECHO = 1.0  # seconds in which a second signal is a duplicate, forwarded by a wrapper


class Interrupts:
    """A context in which a signal is only recorded, in `signal`; a second one ends the process."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._noted = 0.0
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context the first signal ends the process, and what it began is undone.

        So does at its begin one that came before.
        """
        with self._heeded():
            if self.signal is not None:
                sys.exit(self.exit_code)
            yield

    @contextmanager
    def _heeded(self) -> Iterator[None]:
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def until_stopped(self, pieces: Iterator[T]) -> Iterator[T]:
        """`pieces` up to the one at which a signal came."""
        for piece in pieces:
            yield piece
            if self.signal is not None:
                return

    def stoppable(self, texts: Iterator[T]) -> Iterator[T]:
        """`texts`; one that is not there yet is given up at a signal."""
        while True:
            with self._heeded():
                text = next(texts, None)
            if text is None:
                return
            yield text

    def _note(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self._at_once:
            self._at_once, self.signal, self._noted = False, number, now
            sys.exit(128 + number)
        elif self.signal is None:
            self.signal, self._noted = number, now
        elif now - self._noted > ECHO:
            sys.exit(128 + number)

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP, 0 for none."""
        return 0 if self.signal is None else 128 + self.signal
