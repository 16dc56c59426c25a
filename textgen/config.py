"""Every setting, once: its default, its bounds and its help.

`Choices` and `SamplingOptions` hold what a person may choose. `CorpusConfig`, `ModelConfig` (in
`architecture`) and `TrainingConfig` hold what was decided for a run: they are stored in its
checkpoint, have no defaults, and are checked against the same bounds.
"""

import codecs
import re
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self

from textgen.bounds import Number, OneOf, above, check, check_texts, setting, whole
from textgen.errors import CorpusError, UsageError

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = ("soap", "adamw", "adam", "rmsprop", "sgd")
SCHEDULES = ("linear", "cosine", "constant")
COUNTED = {"char": "character", "byte": "byte"}  # what is counted, by level
NEWLINES, FORMS = ("lf", "keep"), ("none", "nfc", "nfkc")
PRECISIONS = ("fp32", "bf16", "fp16")
UNKNOWN = ("error", "skip", "replace")
BUDGETS = ("time", "epochs", "steps")
DEFAULT_TIME = 300.0  # seconds, the budget where none is given
SEEDS = 2**63  # seeds lie below it
MOST = 10**12  # steps, texts, and characters of a text that is written
MOST_LAYERS = 64
MATCHED = (3, 6)  # characters that stood together before, for what followed to be read too
NOT_PLANNED = ("val_file", "documents")  # settings whose default, None, is a choice too
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_SHARE, _WIDTH = Number(0, 0.95, example="0.2"), whole(1, 65536, "256")
_SEED, _GROUPS, _MIXED = whole(0, SEEDS - 1, "1"), whole(1, 10**6, "2"), Number(0, 0.9, "0.1")
_HISTORY = Number(max(MATCHED) + 1, 65536, "2048", whole=True, or_zero=True)
_ROWS = whole(0, 1 << 20, "16381")
TEXTS = whole(1, MOST, "3")  # how many are written
_DEVICE = "auto, cpu, cuda, cuda:N or mps."


@dataclass(frozen=True)
class Choices:
    """What a person chose for training; None leaves it to the planner."""

    time: float | None = setting("Train this long: 90s, 3m, 1h30m.", above(0, 1e9, "300"))
    epochs: float | None = setting("Train for this many passes.", above(0, 1e9, "10"))
    steps: int | None = setting("Train for this many steps.", whole(1, MOST, "2000"))
    cell: str = setting("Recurrent cell: lstm, gru or rnn.", OneOf(CELLS), "lstm")
    layers: int | None = setting("Number of layers.", whole(1, MOST_LAYERS, "2"))
    hidden: tuple[int, ...] | None = setting("Hidden width: 256, or 128,64 per layer.", _WIDTH)
    embedding: int | None = setting("Embedding width.", _WIDTH)
    skip: bool = setting("Skip connections between layers of equal width.", default=True)
    history: int | None = setting("Characters back to find matches in; 0: none.", _HISTORY)
    grams: int | None = setting("Rows for the last 3 characters; 0: none.", _ROWS)
    dropout: float | None = setting("Dropout of activations, 0 to 0.95.", _SHARE)
    weight_drop: float | None = setting("Dropout of recurrent weights, 0 to 0.95.", _SHARE)
    batch_size: int | None = setting("Streams read in parallel.", whole(1, 10**6, "32"))
    bptt: int | None = setting("Characters per step and stream.", whole(1, 10**6, "64"))
    accumulate: int | None = setting("Groups of streams a step computes in turn.", _GROUPS)
    optimizer: str | None = setting("soap, adamw, adam, rmsprop or sgd.", OneOf(OPTIMIZERS))
    lr: float | None = setting("Peak learning rate.", above(0, example="0.004"))
    schedule: str = setting("linear, cosine or constant.", OneOf(SCHEDULES), "linear")
    warmup: int | None = setting("Steps of warm-up to the peak.", whole(0, MOST, "20"))
    clip: float | None = setting("Largest gradient norm.", above(0, example="1.0"))
    weight_decay: float | None = setting("Weight decay.", Number(0, example="0.01"))
    level: str = setting("Model each char or each byte.", OneOf((*COUNTED,)), "char")
    encoding: str = setting("Encoding of the files.", default="utf-8")
    newlines: str = setting("lf turns CR and CRLF into LF; or keep.", OneOf(NEWLINES), "lf")
    normalize: str = setting("Unicode normal form: none, nfc or nfkc.", OneOf(FORMS), "none")
    min_count: int = setting("Rarer characters become unknown.", whole(1, MOST, "2"), 1)
    documents: str | None = setting("line, file, or the text between two documents.")
    dedupe: bool = setting("Leave out documents that stood there before.", default=False)
    cache: bool = setting("Keep the encoded text for the next run.", default=True)
    val_fraction: float = setting("Share held out for validation.", above(0, 1, "0.1"), 0.1)
    val_file: str | None = setting("Validate on this file instead.")
    backward: bool = setting("Read from the end to the beginning.", default=False)
    eval_every: int | None = setting("Steps between validations.", whole(1, MOST, "200"))
    save_every: float = setting("Time between saves.", above(0, 1e9, "30"), 30.0)
    sample_every: int | None = setting("Steps between samples; 0: none.", whole(0, MOST, "500"))
    keep_mixing: float = setting("Share of streams on the old run's text.", _MIXED, 0.0)
    seed: int = setting("Of first weights, order and masks.", _SEED, 0)
    device: str = setting(_DEVICE, default="auto")
    precision: str = setting("auto, fp32, bf16 or fp16.", OneOf(("auto", *PRECISIONS)), "auto")
    deterministic: bool = setting("Only kernels that repeat their bits, if slower.", default=False)

    def __post_init__(self) -> None:
        if self.hidden is not None:
            several = isinstance(self.hidden, tuple | list)
            object.__setattr__(self, "hidden", (*self.hidden,) if several else (self.hidden,))
        given = [f"`{name}`" for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            what = f"{' and '.join(given)} are both given; expected one budget"
            raise UsageError(what, f"keep {given[0]}")
        check(self, Choices)
        if self.val_file is not None and self.val_fraction != Choices.val_fraction:
            what = "`val_file` and `val_fraction` are both given; expected one"
            raise UsageError(what, "leave out `val_fraction`")
        if self.layers and self.hidden and len(self.hidden) not in (1, self.layers):
            what = f"`layers` is {self.layers}, `hidden` names {len(self.hidden)} widths"
            hint = f"leave out `layers={self.layers}`"
            raise UsageError(f"{what}; expected one width, or one per layer", hint)
        if self.grams and self.history == 0:
            what = f"`grams` is {self.grams}, `history` is 0; expected a history to find them in"
            raise UsageError(what, "leave out `history`, or try `grams=0`")
        if self.optimizer == "adam" and self.weight_decay:
            found = f"`optimizer` is adam, `weight_decay` is {self.weight_decay:g}"
            raise UsageError(f"{found}; expected no decay, or adamw", "try `optimizer=adamw`")

    @property
    def budget(self) -> str | None:
        return next((n for n in BUDGETS if getattr(self, n) is not None), None)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Which of the settings that the planner decides on are given."""
        planned = (f.name for f in fields(self) if f.default is None and f.name not in NOT_PLANNED)
        return tuple(name for name in planned if getattr(self, name) is not None)


@dataclass(frozen=True)
class SamplingOptions:
    """How text is written; the filters apply in the order of their fields."""

    temperature: float = setting("0: likeliest; 1: as learned.", Number(0, example="0.8"), 0.8)
    top_k: int = setting("Only the k likeliest; 0: off.", whole(0, MOST, "40"), 0)
    top_p: float = setting("Only the likeliest that reach p; 1: off.", Number(0, 1, "0.95"), 1.0)
    min_p: float = setting("Only this share of the likeliest; 0: off.", Number(0, 1, "0.05"), 0.0)
    length: int = setting("Characters to write; 0: until stopped.", whole(0, MOST, "500"), 500)
    stop: tuple[str, ...] = setting("End before this text; repeatable.", default=())
    unknown: str = setting("Unknown characters: error, skip or replace.", OneOf(UNKNOWN), "error")
    seed: int | None = setting("Repeats a text exactly; random if not given.", _SEED)
    device: str = setting(_DEVICE, default="auto")

    def __post_init__(self) -> None:
        check(self, SamplingOptions)
        check_texts("stop", self.stop, "texts to end before")


@dataclass(frozen=True)
class ServingOptions:
    """Where a server listens, whom it answers, and how much it does for one request."""

    host: str = setting("Address to listen on.", default="127.0.0.1")
    port: int = setting("Port to listen on; 0: any free one.", whole(0, 65535, "8013"), 8013)
    api_key: str | None = setting("Answer only those who send this key.")
    allow_origin: tuple[str, ...] = setting("Let this origin's pages call; repeatable.", default=())
    max_body: int = setting("Most bytes of a request.", whole(1, 10**9, "1000000"), 1_000_000)
    max_prompt: int = setting("Most characters of a prompt.", whole(0, MOST, "8192"), 8192)
    max_tokens: int = setting("Most characters of a text.", whole(1, MOST, "8192"), 8192)
    max_n: int = setting("Most texts for a prompt.", whole(1, 64, "16"), 16)
    queue: int = setting("Most texts that wait for a place.", whole(0, 10**6, "256"), 256)
    seconds: float = setting("Longest time that a request takes.", above(0, 1e9, "120"), 120.0)
    log_prompts: bool = setting("Write prompts into the log.", default=False)

    def __post_init__(self) -> None:
        check(self, ServingOptions)
        check_texts("allow_origin", self.allow_origin, "origins of pages")
        key, what = self.api_key or "", ""
        if not (key.isascii() and key.isprintable()):
            what = "holds characters that a header cannot carry; expected printable ASCII"
        elif key != key.strip():
            what = "begins or ends with a space, which a header loses; expected none there"
        elif not key and self.api_key is not None:
            what = "is empty, so that everybody would be answered; expected a key"
        if what:
            raise UsageError(f"`api_key` {what}", 'try `api_key="$(openssl rand -hex 16)"`')


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
    documents: str | None
    dedupe: bool
    backward: bool

    @classmethod
    def of(cls, choices: Choices, files: tuple[str, ...], val_file: str | None = None) -> Self:
        chosen: dict[str, Any] = {f.name: getattr(choices, f.name, None) for f in fields(cls)}
        return cls(**chosen | {"files": files, "val_file": val_file})

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the files for training, and of the one for validation."""
        return self.files + ((self.val_file,) if self.val_file else ())

    def __post_init__(self) -> None:
        check(self, Choices)
        for path in self.paths:
            if CONTROL.search(path):
                what = f"the path {path!r} holds a control character; expected none"
                raise CorpusError(what, "rename the file")
        for name, value in (("normalize", self.normalize), ("min_count", self.min_count)):
            if self.level == "byte" and value not in ("none", 1):
                raise UsageError(f"`{name}` is {value}; expected level char", "try `level=char`")
        if self.documents == "":
            what = "`documents` is empty; expected line, file or a text that stands between them"
            raise UsageError(what, "try `documents=line`")
        if self.dedupe and self.documents is None:
            what = "`dedupe` leaves out documents, and the text is not cut into any"
            raise UsageError(what, "say where: `documents=line`")
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
    accumulate: int  # groups of streams, one after the other, whose gradients a step adds up
    block: int  # characters that a stream reads on before it goes elsewhere; 0: all
    filled: float | None  # of documents: the share of a step's characters that is no padding
    optimizer: str
    lr: float
    schedule: str
    floor: float  # where cosine and linear end, as a share of the peak
    average: float  # how far back the averaged weights reach, as a share of the steps; 0: none
    aside: int  # characters of the training text that are kept aside, for a temperature
    late: int  # streams that learn them in the end; 0: none does
    warmup: int
    clip: float
    weight_decay: float
    eval_every: int
    save_every: float  # seconds
    sample_every: int
    keep_mixing: float  # of the streams: the share that reads the text of the run it came from
    seed: int
    precision: str
    deterministic: bool
    segment_start: int  # the step at which the schedule's current segment began, not 0 once a
    segment_progress: float  # run was extended or fitted to the clock; the share done by then

    @classmethod
    def of(cls, choices: Choices, **decided: Any) -> "TrainingConfig":
        chosen: dict[str, Any] = {f.name: getattr(choices, f.name, None) for f in fields(cls)}
        chosen |= {"accumulate": choices.accumulate or 1, "aside": 0, "late": 0}
        chosen |= {"segment_start": 0, "segment_progress": 0.0}
        return cls(**chosen | decided)

    def __post_init__(self) -> None:
        check(self, Choices)
        OneOf(PRECISIONS).check("precision", self.precision)
        for name in ("block", "aside", "segment_start"):
            Number(0, MOST, whole=True).check(name, getattr(self, name))
        Number(0, self.batch_size, whole=True).check("late", self.late)
        for name in ("segment_progress", "floor", "average"):
            Number(0, 1).check(name, getattr(self, name))
        if self.filled is not None:
            Number(0, 1).check("filled", self.filled)

    @property
    def chars_per_step(self) -> int:
        """Characters that a step learns, on average."""
        return max(1, round(self.batch_size * self.bptt * (self.filled or 1)))

    @property
    def own_streams(self) -> int:
        """How many streams read the run's own text; the others read the one that is mixed in."""
        return own_streams(self.batch_size, self.keep_mixing)

    def passes(self, steps: int, size: int) -> float:
        """How often so many steps read the run's own text of `size` characters."""
        own = self.own_streams / self.batch_size
        return steps * self.chars_per_step * own / size


def own_streams(count: int, keep_mixing: float) -> int:
    """Of `count` streams those of a run's own text; one at least is mixed in, if any share is."""
    if not keep_mixing or count == 1:
        return count
    return count - max(1, min(count - 1, round(keep_mixing * count)))
