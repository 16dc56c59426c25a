"""Every setting, once: its default, its bounds and its help.

`Choices` and `SamplingOptions` hold what a person may choose. `CorpusConfig`, `ModelConfig` (in
`architecture`) and `TrainingConfig` hold what was decided for a run: they are stored in its
checkpoint, have no defaults, and are checked against the same bounds.
"""

import codecs
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from textgen.errors import CorpusError, UsageError

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")
SCHEDULES = ("linear", "cosine", "constant")
LEVELS = ("char", "byte")
NEWLINES = ("lf", "keep")
FORMS = ("none", "nfc", "nfkc")
PRECISIONS = ("fp32", "bf16", "fp16")
UNKNOWN = ("error", "skip", "replace")
BUDGETS = ("time", "epochs", "steps")
DEFAULT_TIME = 300.0  # seconds, the budget where none is given
SEEDS = 2**63  # seeds lie below it
MOST = 10**12  # steps, texts, and characters of a text that is written
MOST_LAYERS = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN = 40  # characters of a value that a message repeats


@dataclass(frozen=True)
class Number:
    """Finite numbers from `low` to `high`, without these two if `open_ends`."""

    low: float
    high: float = math.inf
    example: str = ""
    whole: bool = False
    open_ends: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise UsageError unless `value`, of the setting `name`, is one of them."""
        kinds = (int,) if self.whole else (int, float)
        with suppress(OverflowError):  # an int too large for a float
            if isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value):
                inside = self.low < value < self.high
                if inside or (not self.open_ends and value in (self.low, self.high)):
                    return
        hint = f"try `{name}={self.example}`" if self.example else f"give `{name}` {self}"
        raise UsageError(f"`{name}` is {_shown(value)}; expected {self}", hint)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        if self.high < math.inf:
            excluded = ", both excluded" if self.open_ends else ""
            high = f"{self.high:,}" if self.whole else f"{self.high:g}"
            return f"{kind} between {self.low:g} and {high}{excluded}"
        return f"{kind} above {self.low:g}" if self.open_ends else f"{kind}, {self.low:g} or more"


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of more than 40 digits"
    text = str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, name: str, value: object) -> None:
        if value not in self.words:
            raise UsageError(
                f"`{name}` is {value!r}; expected one of {', '.join(self.words)}",
                f"try `{name}={self.words[0]}`",
            )


def setting(help_text: str, bounds: Number | OneOf | None = None, default: Any = None) -> Any:
    """A dataclass field with its help and its bounds."""
    return field(default=default, metadata={"help": help_text, "bounds": bounds})


def help_of(owner: type, name: str) -> str:
    """The help of a field."""
    return str(next(f for f in fields(owner) if f.name == name).metadata["help"])


def check(config: Any, declared: type) -> None:
    """Raise UsageError unless the values of `config` are within the bounds of `declared`'s fields.

    None is not checked, and of a tuple each element is.
    """
    bounds = {f.name: f.metadata["bounds"] for f in fields(declared) if f.metadata.get("bounds")}
    for name in (f.name for f in fields(config) if f.name in bounds):
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                bounds[name].check(name, one)


def _whole(low: float, high: float, example: str) -> Number:
    return Number(low, high, whole=True, example=example)


def _above(low: float, high: float = math.inf, example: str = "") -> Number:
    return Number(low, high, open_ends=True, example=example)


_SHARE, _WIDTH = Number(0, 0.95, example="0.2"), _whole(1, 65536, "256")
_SEED = _whole(0, SEEDS - 1, "1")
TEXTS = _whole(1, MOST, "3")  # how many are written
_DEVICE = "auto, cpu, cuda, cuda:N or mps."


@dataclass(frozen=True)
class Choices:
    """What a person chose for training; None leaves it to the planner."""

    time: float | None = setting("Train this long: 90s, 3m, 1h30m.", _above(0, 1e9, "300"))
    epochs: float | None = setting("Train for this many passes.", _above(0, 1e9, "10"))
    steps: int | None = setting("Train for this many steps.", _whole(1, MOST, "2000"))
    cell: str = setting("Recurrent cell: lstm, gru or rnn.", OneOf(CELLS), "lstm")
    layers: int | None = setting("Number of layers.", _whole(1, MOST_LAYERS, "2"))
    hidden: tuple[int, ...] | None = setting("Hidden width: 256, or 128,64 per layer.", _WIDTH)
    embedding: int | None = setting("Embedding width.", _WIDTH)
    skip: bool = setting("Skip connections between layers of equal width.", default=True)
    dropout: float | None = setting("Dropout of activations, 0 to 0.95.", _SHARE)
    weight_drop: float | None = setting("Dropout of recurrent weights, 0 to 0.95.", _SHARE)
    batch_size: int | None = setting("Streams read in parallel.", _whole(1, 10**6, "32"))
    bptt: int | None = setting("Characters per step and stream.", _whole(1, 10**6, "64"))
    optimizer: str = setting("adamw, adam, rmsprop or sgd.", OneOf(OPTIMIZERS), "adamw")
    lr: float | None = setting("Peak learning rate.", _above(0, example="0.004"))
    schedule: str = setting("linear, cosine or constant.", OneOf(SCHEDULES), "linear")
    warmup: int | None = setting("Steps of warm-up to the peak.", _whole(0, MOST, "20"))
    clip: float = setting("Largest gradient norm.", _above(0, example="1.0"), 0.5)
    weight_decay: float | None = setting("Weight decay.", Number(0, example="0.01"))
    level: str = setting("Model each char or each byte.", OneOf(LEVELS), "char")
    encoding: str = setting("Encoding of the files.", default="utf-8")
    newlines: str = setting("lf turns CR and CRLF into LF; or keep.", OneOf(NEWLINES), "lf")
    normalize: str = setting("Unicode normal form: none, nfc or nfkc.", OneOf(FORMS), "none")
    min_count: int = setting("Rarer characters become unknown.", _whole(1, MOST, "2"), 1)
    cache: bool = setting("Keep the encoded text for the next run.", default=True)
    val_fraction: float = setting("End of the text held out.", _above(0, 1, "0.1"), 0.1)
    val_file: str | None = setting("Validate on this file instead.")
    eval_every: int | None = setting("Steps between validations.", _whole(1, MOST, "200"))
    save_every: float = setting("Time between saves.", _above(0, 1e9, "30"), 30.0)
    sample_every: int | None = setting("Steps between samples; 0: none.", _whole(0, MOST, "500"))
    seed: int = setting("The same seed trains the same model.", _SEED, 0)
    device: str = setting(_DEVICE, default="auto")
    precision: str = setting("auto, fp32, bf16 or fp16.", OneOf(("auto", *PRECISIONS)), "auto")

    def __post_init__(self) -> None:
        if isinstance(self.hidden, int):
            object.__setattr__(self, "hidden", (self.hidden,))
        given = [f"`{name}`" for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} are both given; expected one budget", f"keep {given[0]}"
            )
        check(self, Choices)
        if self.layers and self.hidden and len(self.hidden) not in (1, self.layers):
            raise UsageError(
                f"`layers` is {self.layers}, `hidden` names {len(self.hidden)} widths; expected"
                " one width, or one per layer",
                f"leave out `layers={self.layers}`",
            )
        if self.optimizer == "adam" and self.weight_decay:
            found = f"`optimizer` is adam, `weight_decay` is {self.weight_decay:g}"
            raise UsageError(f"{found}; expected no decay, or adamw", "try `optimizer=adamw`")

    @property
    def budget(self) -> str | None:
        return next((n for n in BUDGETS if getattr(self, n) is not None), None)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Which of the settings that the planner decides on are given."""
        planned = (f.name for f in fields(self) if f.default is None and f.name != "val_file")
        return tuple(name for name in planned if getattr(self, name) is not None)


@dataclass(frozen=True)
class SamplingOptions:
    """How text is written; the filters apply in the order of their fields."""

    temperature: float = setting("0: likeliest; 1: as learned.", Number(0, example="0.8"), 0.8)
    top_k: int = setting("Only the k likeliest; 0: off.", _whole(0, MOST, "40"), 0)
    top_p: float = setting("Only the likeliest that reach p; 1: off.", Number(0, 1, "0.95"), 1.0)
    min_p: float = setting("Only this share of the likeliest; 0: off.", Number(0, 1, "0.05"), 0.0)
    length: int = setting("Characters to write; 0: until stopped.", _whole(0, MOST, "500"), 500)
    stop: tuple[str, ...] = setting("End before this text; repeatable.", default=())
    unknown: str = setting("Unknown characters: error, skip or replace.", OneOf(UNKNOWN), "error")
    seed: int | None = setting("Repeats a text exactly; random if not given.", _SEED)
    device: str = setting(_DEVICE, default="auto")

    def __post_init__(self) -> None:
        check(self, SamplingOptions)
        several = isinstance(self.stop, tuple | list)
        if not several or not all(isinstance(text, str) and text for text in self.stop):
            found = "holds an empty text" if several and "" in self.stop else f"is {self.stop!r}"
            raise UsageError(f"`stop` {found}; expected texts to end before", "give `stop=TEXT`")


@dataclass(frozen=True)
class CorpusConfig:
    """Which text, and how it is read: see the fields of `Choices`."""

    files: tuple[str, ...]
    level: str
    encoding: str
    val_fraction: float
    val_file: str | None
    newlines: str
    normalize: str
    min_count: int

    @classmethod
    def of(cls, choices: Choices, files: tuple[str, ...], val_file: str | None) -> "CorpusConfig":
        chosen: dict[str, Any] = {f.name: getattr(choices, f.name, None) for f in fields(cls)}
        return cls(**chosen | {"files": files, "val_file": val_file})

    def __post_init__(self) -> None:
        check(self, Choices)
        for path in (*self.files, *([self.val_file] if self.val_file else [])):
            if _CONTROL.search(path):
                what = f"the path {path!r} holds a control character; expected none"
                raise CorpusError(what, "rename the file")
        for name, value in (("normalize", self.normalize), ("min_count", self.min_count)):
            if self.level == "byte" and value not in ("none", 1):
                raise UsageError(f"`{name}` is {value}; expected level char", "try `level=char`")
        if not _encodes_text(self.encoding):
            raise UsageError(
                f"`encoding` is {self.encoding!r}; expected the name of a text encoding",
                "try `encoding=utf-8`, or latin-1, cp1252, koi8-r, shift_jis",
            )


@cache
def _encodes_text(encoding: str) -> bool:
    """Whether a text comes back when it is decoded byte by byte, as files are in blocks.

    IDNA, Punycode and the codecs from bytes to bytes fail, each at another part of the text.
    """
    text = "One.. " * 16 + "o" * 80 + "\n"
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        parts = [decoder.decode(bytes((byte,))) for byte in text.encode(encoding)]
        return "".join(parts) + decoder.decode(b"", True) == text
    except (LookupError, ValueError):
        return False


@dataclass(frozen=True)
class TrainingConfig:
    """How many steps of what size, and by which rule: see the fields of `Choices`."""

    steps: int  # the last step's number
    batch_size: int  # B
    bptt: int  # T
    block: int  # characters that a stream reads on before it goes elsewhere; 0: all
    optimizer: str
    lr: float
    schedule: str
    floor: float  # where cosine and linear end, as a share of the peak
    average: float  # how far back the averaged weights reach, as a share of the steps; 0: none
    warmup: int
    clip: float
    weight_decay: float
    eval_every: int
    save_every: float  # seconds
    sample_every: int
    seed: int
    precision: str
    segment_start: int  # the step at which the schedule's current segment began, not 0 once a
    segment_progress: float  # run was extended or fitted to the clock; the share done by then

    @classmethod
    def of(cls, choices: Choices, **decided: Any) -> "TrainingConfig":
        chosen: dict[str, Any] = {f.name: getattr(choices, f.name, None) for f in fields(cls)}
        return cls(**chosen | {"segment_start": 0, "segment_progress": 0.0} | decided)

    def __post_init__(self) -> None:
        check(self, Choices)
        OneOf(PRECISIONS).check("precision", self.precision)
        for name in ("block", "segment_start"):
            Number(0, MOST, whole=True).check(name, getattr(self, name))
        for name in ("segment_progress", "floor", "average"):
            Number(0, 1).check(name, getattr(self, name))

    @property
    def chars_per_step(self) -> int:
        return self.batch_size * self.bptt
