"""The models that a server has, by name; one whose file was saved anew is loaded again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from textgen.errors import TextgenError, UsageError, readable
from textgen.inference.text_model import TextModel
from textgen.model.device import prepare_device
from textgen.serving.engine import Engine
from textgen.sharing.page import page_file
from textgen.store.files import stamp
from textgen.store.run import Run
from textgen.store.runs import checkpoint_at, find_checkpoint

LOOK = 1.0  # seconds between two looks at the files,
AGAIN = 60.0  # and between two tries of one that could not be loaded
LOG = logging.getLogger("textgen.serving")


class Loaded:
    """One version of a model, and what writes with it."""

    def __init__(self, path: Path) -> None:
        self.stamp = stamp(path)  # before it is read, so that a later change is seen
        self.model = TextModel(path)
        self.engine = Engine(self.model.folded)
        # an HTML page that writes, made while the file is known to be whole
        self.page = b"".join(page_file(self.model.header, False, "int8"))

    @property
    def version(self) -> str:
        """Tells one version of a run from another."""
        record = self.model.header.record
        return f"{record.identity[:12]}-{record.step}"


@dataclass
class Served:
    """A model as clients see it. source: a run's folder, or a checkpoint file."""

    name: str
    source: Path
    loaded: Loaded
    refused: tuple[int, ...] = ()  # stamp of a file that could not be loaded,
    again: float = 0.0  # and when, on `time.monotonic`, that is tried again
    said: str = ""  # why not, or why there is none

    def look(self) -> None:
        """Load the model again if its file is another than the one that was read."""
        try:
            path = checkpoint_at(self.source)
            there, now = stamp(path), time.monotonic()
            if there == self.loaded.stamp or (there == self.refused and now < self.again):
                return
            self.refused, self.again = there, now + AGAIN
            self.loaded = Loaded(path)
        except (TextgenError, OSError) as error:
            if str(error) != self.said:  # once, not at each look
                self.said = str(error)
                LOG.warning("%s stays as it is: %s", self.name, error)
        else:
            self.said = ""
            LOG.info("%s is now that of step %d", self.name, self.loaded.model.header.record.step)


class Models:
    """The models named, in that order. Raises as `find_checkpoint`, UsageError for equal names."""

    def __init__(self, names: Sequence[str], checkpoints: Path) -> None:
        prepare_device(torch.device("cpu"))
        self.served: dict[str, Served] = {}
        for given in names or (None,):
            path = find_checkpoint(given, checkpoints)
            run = path in Run(path.parent).checkpoints
            name = readable(path.resolve().parent.name if run else path.stem)
            if name in self.served:
                what = f"two models are named {name!r}; expected names that differ"
                raise UsageError(what, "rename a run's folder, or serve it on another port")
            source = path.parent if run and not str(given).endswith(path.name) else path
            self.served[name] = Served(name, source, Loaded(path))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="models", daemon=True)

    def start(self) -> None:
        """Begin to watch the files."""
        self._thread.start()

    def stop(self) -> None:
        self._closed.set()

    @property
    def first(self) -> Served:
        return next(iter(self.served.values()))

    def _watch(self) -> None:
        torch.set_flush_denormal(True)  # of each thread by itself
        while not self._closed.wait(LOOK):
            for served in self.served.values():
                try:
                    served.look()
                except Exception:
                    LOG.exception("%s stays as it is", served.name)
