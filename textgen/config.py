"""Settings: frozen, checked once where they are built, stored in the checkpoint as plain JSON.

Every field carries the name of its flag, so that one message serves both the Python API and the
command line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from textgen.errors import UsageError

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = ("adamw", "rmsprop", "sgd")
SCHEDULES = ("linear", "cosine", "constant")
LEVELS = ("char", "byte")
PRECISIONS = ("fp32", "bf16", "fp16")


def flag(name: str) -> str:
    """How a field is spelled on the command line: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")


def check_number(
    name: str,
    value: float,
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    open_ends: bool = False,
    example: str = "",
) -> None:
    """Raise UsageError unless `value` is finite and within [low, high] (open_ends: strictly)."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if whole:
        fits = is_number and isinstance(value, int) and low <= value <= high
    elif open_ends:
        fits = is_number and math.isfinite(value) and low < value < high
    else:
        fits = is_number and math.isfinite(value) and low <= value <= high
    if fits:
        return
    kind = "a whole number" if whole else "a finite number"
    if math.isinf(high):
        expected = f"{kind} above {low:g}" if open_ends else f"{kind}, {low:g} or more"
    else:
        expected = f"{kind} between {low:g} and {high:g}" + (", both excluded" if open_ends else "")
    hint = f"try {flag(name)} {example}" if example else f"give {flag(name)} {expected}"
    raise UsageError(f"{flag(name)} is {value}; expected {expected}", hint)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError unless `value` is one of `choices`."""
    if value not in choices:
        raise UsageError(
            f"{flag(name)} is {value!r}; expected one of {', '.join(choices)}",
            f"try {flag(name)} {choices[0]}",
        )


@dataclass(frozen=True)
class CorpusConfig:
    """Which text, and how it is read."""

    files: tuple[str, ...]
    level: str = "char"  # what one symbol is: a code point or a byte
    encoding: str = "utf-8"
    val_fraction: float = 0.1  # the end of the text held out for validation
    val_file: str | None = None  # validate on this file instead

    def __post_init__(self) -> None:
        check_choice("level", self.level, LEVELS)
        check_number("val_fraction", self.val_fraction, 0, 1, open_ends=True, example="0.1")
        try:
            "".encode(self.encoding)
        except (LookupError, UnicodeError):
            raise UsageError(
                f"--encoding is {self.encoding!r}; expected the name of a text encoding",
                "try --encoding utf-8, or latin-1, cp1252, koi8-r, shift_jis",
            ) from None


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network: all that is needed to rebuild it from its weights."""

    vocabulary_size: int
    cell: str = "lstm"
    hidden: tuple[int, ...] = (256, 256)  # width of each layer
    embedding: int = 128  # width of a character's vector
    dropout: float = 0.0  # on the input, between layers and on the output
    weight_drop: float = 0.0  # on the recurrent matrices (Merity et al. 2017)

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, CELLS)
        if not self.hidden:
            raise UsageError("--hidden is empty; expected one width per layer", "try --hidden 256")
        for width in self.hidden:
            check_number("hidden", width, 1, 65536, whole=True, example="256")
        check_number("embedding", self.embedding, 1, 65536, whole=True, example="64")
        for name in ("dropout", "weight_drop"):
            value = getattr(self, name)
            check_number(name, value, 0, 0.95, example="0.2")

    @property
    def layers(self) -> int:
        return len(self.hidden)

    @property
    def gates(self) -> int:
        """How many rows of a cell's matrices belong to one hidden unit."""
        return {"lstm": 4, "gru": 3, "rnn": 1}[self.cell]

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        total = self.vocabulary_size * self.embedding
        width = self.embedding
        for hidden in self.hidden:
            total += self.gates * hidden * (width + hidden + 2)
            width = hidden
        return total + (width + 1) * self.vocabulary_size


@dataclass(frozen=True)
class TrainingConfig:
    """The walk: how many steps, of what size, by which rule."""

    steps: int  # the walk ends after this many
    batch_size: int = 32  # B, parallel streams
    bptt: int = 64  # T, characters per step and stream, the reach of the gradient
    optimizer: str = "adamw"
    lr: float = 0.01  # the peak learning rate
    schedule: str = "linear"
    warmup: int = 20  # steps of linear rise to the peak
    clip: float = 0.5  # the largest gradient norm
    weight_decay: float = 0.01
    eval_every: int = 200  # steps between validations
    save_every: float = 30.0  # seconds between saves
    sample_every: int = 0  # steps between samples shown; 0: none
    seed: int = 0
    precision: str = "fp32"
    # the schedule's last knot: at step `start` the share `progress` of it was done; they are not 0
    # once a run was extended, or its number of steps was fitted to the clock
    start: int = 0
    progress: float = 0.0

    def __post_init__(self) -> None:
        check_number("steps", self.steps, 1, whole=True, example="2000")
        check_number("batch_size", self.batch_size, 1, whole=True, example="32")
        check_number("bptt", self.bptt, 1, whole=True, example="64")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_number("lr", self.lr, 0, open_ends=True, example="0.004")
        check_choice("schedule", self.schedule, SCHEDULES)
        check_number("warmup", self.warmup, 0, whole=True, example="100")
        check_number("clip", self.clip, 0, open_ends=True, example="1.0")
        check_number("weight_decay", self.weight_decay, 0, example="0.01")
        check_number("eval_every", self.eval_every, 1, whole=True, example="200")
        check_number("save_every", self.save_every, 0, open_ends=True, example="30s")
        check_number("sample_every", self.sample_every, 0, whole=True, example="500")
        check_number("seed", self.seed, 0, 2**63 - 1, whole=True, example="1")
        check_choice("precision", self.precision, PRECISIONS)
        check_number("start", self.start, 0, whole=True)
        check_number("progress", self.progress, 0, 1)

    @property
    def chars_per_step(self) -> int:
        return self.batch_size * self.bptt
