"""Losses of a run as event files for TensorBoard."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import MissingLibrary, UsageError
from textgen.events import Evaluated, Event, Noticed, Planned

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = ("train_nats", "val_nats", "lr", "grad_norm", "chars_per_second")  # of `Evaluated`


class Board:
    """Writes each evaluation that it is handed to an event file in a folder of the run's name.

    A run that is resumed writes another file there. TensorBoard leaves out what was written before
    of the steps that are done again, by one that was resumed or went back after it diverged.
    """

    def __init__(self, folder: Path) -> None:
        """Raises MissingLibrary without TensorBoard, UsageError for a file."""
        try:
            from tensorboard.compat.proto import event_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise MissingLibrary(
                "event files are written with tensorboard", "tensorboard"
            ) from None
        if folder.exists() and not folder.is_dir():
            what = f"{folder} is a file; expected a folder for event files"
            raise UsageError(what, "name another: --tensorboard FOLDER")
        self._protocol: Any = event_pb2
        self._records: Callable[..., Any] = RecordWriter
        self._folder = folder
        self._first = 0  # step from which on this file counts
        self._last = -1  # step that was written last
        self._file: Any = None
        self._failed = False

    def show(self, event: Event) -> Noticed | None:
        """Write what is worth it; a notice, once, if that fails, and from then on nothing."""
        if isinstance(event, Planned):
            self._folder /= event.run
            self._first = event.step + 1 if event.step else 0
        elif isinstance(event, Evaluated) and not self._failed:
            try:
                self._write(event)
            except OSError as error:
                self._failed = True
                why = error.strerror or error
                what = f"cannot write events for TensorBoard in {self._folder}: {why}"
                return Noticed(f"{what}; training goes on without")
        return None

    def close(self) -> None:
        """Close the file; a failure was told before."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _write(self, event: Evaluated) -> None:
        if self._file is None:
            self._begin()
        elif event.step <= self._last:
            self._count_from(event.step)
        self._last = event.step
        found = self._protocol.Event(wall_time=time.time(), step=event.step)
        for name in FIELDS:
            if (value := getattr(event, name)) is not None:
                found.summary.value.add(tag=name, simple_value=value)
        self._append(found)
        self._file.flush()

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        place = f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        path = self._folder / f"events.out.tfevents.{place}"
        self._file = open(path, "xb")  # noqa: SIM115 (closed by `close`)
        self._append(self._protocol.Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._count_from(self._first)

    def _count_from(self, step: int) -> None:
        """Have TensorBoard leave out what was written before of this step and those after it."""
        start = self._protocol.SessionLog(status=self._protocol.SessionLog.START)
        self._append(self._protocol.Event(wall_time=time.time(), step=step, session_log=start))

    def _append(self, event: Any) -> None:
        self._records(self._file).write(event.SerializeToString())
