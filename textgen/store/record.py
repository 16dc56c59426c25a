"""The JSON record of a checkpoint; older formats are brought up to date."""

import dataclasses
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import msgspec

from textgen.architecture import ModelConfig
from textgen.bounds import Number
from textgen.config import MOST, CorpusConfig, TrainingConfig
from textgen.events import Evaluated
from textgen.store.archive import simple_json

VERSION = 9  # of the format; 0.1.0 wrote 1
SEALED = 4  # from this format on a file holds digests
LONGEST_HISTORY = 20_000  # evaluations, so that a header stays as short as its reader demands
_COUNT = Number(0, MOST, whole=True)
_AMOUNT = Number(0)
_CHARACTERS = Number(1, 0x110000, whole=True)  # the code points of Unicode
_BOUNDS = {
    "step": _COUNT,
    "train_characters": Number(1, 1e18, whole=True),
    "val_characters": Number(0, 1e18, whole=True),
    "seconds": _AMOUNT,
    "threads": Number(1, 4096, whole=True),
}
_DEVICE = re.compile(r"cpu|(cuda|mps)(:\d{1,3})?", re.ASCII)
_IDENTITY = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True)
class Ancestor:
    """A run whose weights another one began with, and the text it was trained on."""

    run: str  # its name
    identity: str
    step: int
    corpus: CorpusConfig
    fingerprint: str


@dataclass(frozen=True)
class Record:
    """Settings, vocabulary, progress and history of a run."""

    # to resume from; the weights alone, to sample from; the same for others, without paths
    kind: Literal["last", "best", "export"]
    model: ModelConfig
    training: TrainingConfig
    corpus: CorpusConfig
    vocabulary: str  # its characters in ascending order; empty at level byte
    fingerprint: str  # of the corpus
    train_characters: int
    val_characters: int
    step: int  # done so far
    seconds: float  # spent so far
    device: str
    threads: int
    chosen: tuple[str, ...]  # settings that were given; the planner decided on the others
    history: tuple[Evaluated, ...]
    identity: str  # of the run, the same in each of its files
    ancestors: tuple[Ancestor, ...]  # the runs that its weights came from, the first one first

    def __post_init__(self) -> None:
        """Raises UsageError or ValueError for a value that no run has."""
        for name, bounds in _BOUNDS.items():
            bounds.check(name, getattr(self, name))
        Number(0, self.train_characters // 2, whole=True).check("aside", self.training.aside)
        _CHARACTERS.check("vocabulary_size", self.model.vocabulary_size)
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"device {self.device!r}")
        if not _IDENTITY.fullmatch(self.identity):
            raise ValueError(f"identity {self.identity!r}")
        if not all(a.step < b.step for a, b in pairwise(self.history)):
            raise ValueError("the steps of its history are not in order")
        for event in self.history:
            _COUNT.check("step", event.step)
            for name in ("characters", "passes", "train_nats", "val_nats", "lr", "seconds"):
                _AMOUNT.check(name, getattr(event, name))
            _AMOUNT.check("chars_per_second", event.chars_per_second)
            _AMOUNT.check("grad_norm", event.grad_norm or 0)

    @property
    def best(self) -> Evaluated | None:
        """The evaluation with the lowest validation loss."""
        return min(self.history, key=lambda e: e.val_nats, default=None)

    @property
    def finished(self) -> bool:
        """Whether all of its steps are done, and the last of them was validated."""
        evaluated = bool(self.history) and self.history[-1].step >= self.step
        return self.step >= self.training.steps and evaluated


def new_identity() -> str:
    """Of a run that begins."""
    return secrets.token_hex(16)


class NewerFormat(ValueError):
    """A record of a later format, whose number is the argument."""


def to_json(record: Record) -> str:
    """The record as a checkpoint stores it."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(record)})


def from_json(text: str) -> tuple[int, Record]:
    """The format that a record was written in, and the record.

    Raises NewerFormat, or some other error for a record that does not hold together.
    """
    data = simple_json(text)
    version = data["version"]
    if type(version) is not int or version < 1:  # True is an int too
        raise ValueError(f"format version {version!r}")
    if version > VERSION:
        raise NewerFormat(version)
    if version < 7:  # what was kept aside was never learned
        data["training"] = {"late": 0, **data["training"]}
    if version < 6:  # all of the text was learned
        data["training"] = {"aside": 0, **data["training"]}
    if version < 5:  # a step computed all streams at once, with torch's usual kernels
        data["training"] = {"accumulate": 1, "deterministic": False, **data["training"]}
    if version < 4:  # texts were read in one way
        read = {"newlines": "lf", "normalize": "none", "min_count": 1, "backward": False}
        read |= {"documents": None, "dedupe": False}
        data["corpus"] = {**read, **data["corpus"]}
        data["training"] = {"filled": None, **data["training"]}
    if version < 3:  # streams read on for ever, no weights were averaged
        data["training"] = {**data["training"], "block": 0, "floor": 0.01, "average": 0.0}
    if version == 1:  # had no choice of skips, and other names for the schedule's segment
        data["model"] = {**data["model"], "skip": True}
        training = data["training"]
        training["segment_start"] = training.pop("start")
        training["segment_progress"] = training.pop("progress")
    if version < 4:  # had no identity, and began at random
        data["training"] = {**data["training"], "keep_mixing": 0.0}
        data["ancestors"] = []
        data["identity"] = _derived_identity(data)
    if version < 8:  # no match was looked for
        data["model"] = {"history": 0, **data["model"]}
    if version < 9:  # n-grams had no rows
        data["model"] = {"grams": 0, **data["model"]}
    return version, msgspec.convert(data, Record)


def _derived_identity(data: dict[str, Any]) -> str:
    """The identity for a record that has none: from what all files of a run have in common."""
    shared = [data[name] for name in ("fingerprint", "vocabulary", "model")]
    text = json.dumps([*shared, data["training"]["seed"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
