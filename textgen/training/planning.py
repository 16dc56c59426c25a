"""What a person did not choose is chosen here: from the text's size, the budget and the machine."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch

from textgen.config import (
    OPTIMIZERS,
    PRECISIONS,
    ModelConfig,
    TrainingConfig,
    check_choice,
    check_number,
)
from textgen.errors import UsageError
from textgen.model.device import check_precision
from textgen.text.corpus import Corpus
from textgen.training.step import Trainer
from textgen.training.streams import fit

EVALUATED = 1 << 17  # characters of the held-out text that a validation during training reads
DEFAULT_TIME = 300.0  # seconds, when no budget is named


_BUDGETS = ("time", "epochs", "steps")


@dataclass(frozen=True)
class Choices:
    """What the person chose; None leaves it to the planner. The names are those of the flags."""

    time: float | None = None  # seconds
    epochs: float | None = None  # passes over the training text
    steps: int | None = None
    cell: str = "lstm"
    layers: int | None = None
    hidden: tuple[int, ...] | None = None
    embedding: int | None = None
    dropout: float | None = None
    weight_drop: float | None = None
    batch_size: int | None = None
    bptt: int | None = None
    optimizer: str = "adamw"
    lr: float | None = None
    schedule: str = "linear"
    warmup: int | None = None
    clip: float = 0.5
    weight_decay: float | None = None
    eval_every: int | None = None
    save_every: float = 30.0  # seconds
    sample_every: int | None = None
    seed: int = 0
    precision: str = "auto"

    @property
    def budget(self) -> str | None:
        """Which of time, epochs and steps was given."""
        return next((n for n in _BUDGETS if getattr(self, n) is not None), None)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Which of those that the planner could decide on were given."""
        open_ones = (field.name for field in fields(self) if field.default is None)
        return tuple(name for name in open_ones if getattr(self, name) is not None)

    def __post_init__(self) -> None:
        budgets = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(budgets) > 1:
            given = " and ".join("--" + name for name in budgets)
            raise UsageError(f"{given} are both given; expected one budget", f"keep --{budgets[0]}")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("precision", self.precision, ("auto", *PRECISIONS))
        for name, example in (("time", "5m"), ("epochs", "10")):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, 0, 1e9, open_ends=True, example=example)
        if self.steps is not None:
            check_number("steps", self.steps, 1, whole=True, example="2000")
        if self.layers is not None:
            check_number("layers", self.layers, 1, 64, whole=True, example="2")
            if self.hidden is not None and len(self.hidden) not in (1, self.layers):
                raise UsageError(
                    f"--layers is {self.layers}, --hidden names {len(self.hidden)} widths; expected"
                    " one width, or one per layer",
                    f"leave out --layers {self.layers}",
                )


@dataclass(frozen=True)
class Plan:
    """The settings decided on.

    chars_per_second: as measured, None where nothing was measured; chosen: see Choices.
    """

    model: ModelConfig
    training: TrainingConfig
    chars_per_second: float | None
    notices: tuple[str, ...]
    chosen: tuple[str, ...]


def plan(choices: Choices, corpus: Corpus, device: torch.device, began: float) -> Plan:
    """Decide on everything that `choices` leaves open.

    began: when the clock of `--time` began to run, on `time.monotonic`.
    Raises UsageError or DeviceError for choices that cannot be followed. Takes a few seconds where
    a measurement is needed: for `--time`, and to choose a precision.
    """
    size = len(corpus.train)
    notices = []
    model = _model(choices, corpus)
    training = _training(choices, choices.steps or 1)
    batch_size, bptt = fit(training.batch_size, training.bptt, size)
    if (batch_size, bptt) != (training.batch_size, training.bptt):
        notices.append(
            f"{size:,} characters are few: --batch-size {training.batch_size} --bptt"
            f" {training.bptt} became {batch_size} and {bptt}"
        )
        training = replace(training, batch_size=batch_size, bptt=bptt)

    rate = None
    if choices.precision == "auto":
        rates = {
            p: measure(model, replace(training, precision=p), size, device) for p in _auto(device)
        }
        fastest = max(rates, key=rates.__getitem__)
        precision = fastest if rates[fastest] > 1.1 * rates["fp32"] else "fp32"
        training = replace(training, precision=precision)
        rate = rates[precision]
    check_precision(training.precision, device)

    if choices.time is not None:
        rate = rate or measure(model, training, size, device)
        if device.type == "cpu":
            rate = _fewer_threads(model, training, size, device, rate)
        if choices.hidden is None:
            model = _widest(model, training, choices.time, size, device, rate)
            rate = measure(model, training, size, device)
    steps = steps_of(choices, training, size, rate, began)
    training = replace(training, steps=steps)
    model, training = regularised(model, training, size, choices.chosen)
    if choices.lr is None:
        training = replace(training, lr=_rate(choices.optimizer, max(model.hidden)))
    training = replace(
        training,
        warmup=_or(choices.warmup, min(20, math.ceil(steps / 20))),
        eval_every=_or(choices.eval_every, evaluation_interval(training, len(corpus.validation))),
    )
    training = replace(training, sample_every=_or(choices.sample_every, 2 * training.eval_every))
    return Plan(model, training, rate, tuple(notices), choices.chosen)


def steps_of(
    budget: Choices, training: TrainingConfig, size: int, rate: float | None, began: float
) -> int:
    """How many steps the budget pays for.

    size: characters of a pass; rate: characters per second, and began: when the clock began to
    run (`time.monotonic`), both for a budget of time.
    """
    if budget.time is not None and rate is not None:
        left = budget.time - (time.monotonic() - began)
        return max(1, int(TRAINING_SHARE * left * rate / training.chars_per_step))
    if budget.epochs is not None:
        return math.ceil(budget.epochs * size / training.chars_per_step)
    return budget.steps or training.steps


Number = TypeVar("Number", int, float)
TRAINING_SHARE = 0.93  # of the time; the rest is for validation, samples, saves and the end


def _or(chosen: Number | None, planned: Number) -> Number:
    return planned if chosen is None else chosen


def _model(choices: Choices, corpus: Corpus) -> ModelConfig:
    hidden = choices.hidden or (256,)
    if len(hidden) == 1:
        hidden *= choices.layers or 3
    return ModelConfig(
        vocabulary_size=len(corpus.vocabulary),
        cell=choices.cell,
        hidden=hidden,
        embedding=_or(choices.embedding, 128),
        dropout=_or(choices.dropout, 0.0),
        weight_drop=_or(choices.weight_drop, 0.0),
    )


def _training(choices: Choices, steps: int) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        batch_size=_or(choices.batch_size, 32),
        bptt=_or(choices.bptt, 64),
        optimizer=choices.optimizer,
        lr=_or(choices.lr, _rate(choices.optimizer, 256)),
        schedule=choices.schedule,
        warmup=_or(choices.warmup, 0),
        clip=choices.clip,
        weight_decay=_or(choices.weight_decay, 0.0),
        eval_every=_or(choices.eval_every, 1),
        save_every=choices.save_every,
        sample_every=_or(choices.sample_every, 0),
        seed=choices.seed,
        precision="fp32" if choices.precision == "auto" else choices.precision,
    )


def _rate(optimizer: str, width: int) -> float:
    """The peak learning rate: what is best at a width of 192, falling with its square root."""
    best = {"adamw": 0.01, "rmsprop": 0.003, "sgd": 1.0}[optimizer]
    return float(f"{best * min(1.0, 192 / width) ** 0.5:.2g}")


def _auto(device: torch.device) -> tuple[str, ...]:
    """The precisions worth measuring."""
    return {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16")}.get(device.type, ("fp32",))


def _fewer_threads(
    model: ModelConfig,
    training: TrainingConfig,
    size: int,
    device: torch.device,
    rate: float,
) -> float:
    """Halve torch's threads for as long as that is faster than `rate`; the new rate."""
    while (threads := torch.get_num_threads()) > 1:
        torch.set_num_threads(threads // 2)
        halved = measure(model, training, size, device)
        if halved < 1.1 * rate:
            torch.set_num_threads(threads)
            break
        rate = halved
    return rate


def _widest(
    model: ModelConfig,
    training: TrainingConfig,
    seconds: float,
    size: int,
    device: torch.device,
    rate: float,
) -> ModelConfig:
    """The widest layers that see enough text in the time, by two measured widths, and fit its size.

    rate: the characters per second at `model`'s own width.
    """

    def sized(width: int) -> ModelConfig:
        return replace(model, hidden=(width,) * model.layers)

    small, large = 128, model.hidden[0]
    cost = {small: 1 / measure(sized(small), training, size, device), large: 1 / rate}  # s/char
    square = max(0.0, (cost[large] / large - cost[small] / small) / (large - small))
    linear = max(0.0, cost[small] / small - square * small)
    chosen = sized(_WIDTHS[0])
    for width in _WIDTHS:
        characters = TRAINING_SHARE * seconds / (linear * width + square * width * width)
        # a character's own rows in embedding and head are not counted: most are for rare ones
        parameters = replace(sized(width), vocabulary_size=0).parameters
        if _READ_PER_PARAMETER * parameters <= characters and parameters <= _MOST * size:
            chosen = sized(width)
    return chosen


_WIDTHS = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024)
_READ_PER_PARAMETER = 3  # characters, each counted as often as it is read
_MOST = 5  # parameters for a character of the text


def regularised(
    model: ModelConfig, training: TrainingConfig, size: int, chosen: tuple[str, ...]
) -> tuple[ModelConfig, TrainingConfig]:
    """The more often a text of `size` characters is read, the more is dropped, and decays.

    A model that is small for its text learns less of it by heart, so what counts is the geometric
    mean of the passes and of what they would be if the model's size followed from the time.

    None is touched that was chosen, nor ever lowered. Only AdamW's decay is apart from the
    gradient and can be so high (Loshchilov & Hutter 2019, "Decoupled Weight Decay
    Regularization").
    """
    passes = training.steps * training.chars_per_step / size
    fitting = _READ_PER_PARAMETER * model.parameters / size
    count = math.sqrt(passes * fitting)
    dropout, weight_drop, decay = next(rest for most, *rest in _REGULARISATION if count <= most)
    if "dropout" not in chosen:
        model = replace(model, dropout=max(dropout, model.dropout))
    if "weight_drop" not in chosen:
        model = replace(model, weight_drop=max(weight_drop, model.weight_drop))
    if "weight_decay" not in chosen and training.optimizer == "adamw":
        training = replace(training, weight_decay=max(decay, training.weight_decay))
    return model, training


_REGULARISATION = (  # up to so many passes: dropout, weight-drop, weight decay
    (4, 0.0, 0.0, 0.1),
    (8, 0.05, 0.0, 0.2),
    (14, 0.1, 0.1, 0.3),
    (28, 0.1, 0.3, 0.3),
    (60, 0.2, 0.3, 0.3),
    (120, 0.3, 0.5, 0.3),
    (math.inf, 0.4, 0.5, 0.3),
)


def evaluation_interval(training: TrainingConfig, validation: int) -> int:
    """For twenty validations in all, fewer where they would take above about 5 % of the time."""
    steps = training.steps - training.start
    number = max(1, min(20, int(steps / (20 * evaluation_worth(training, validation)))))
    return math.ceil(steps / number)


def evaluation_worth(training: TrainingConfig, validation: int) -> float:
    """In how many steps' time a validation is done: forward alone is a third of a step."""
    return min(validation, EVALUATED) / (3 * training.chars_per_step)


def measure(model: ModelConfig, training: TrainingConfig, size: int, device: torch.device) -> float:
    """Characters per second that training does with these settings here, by a few steps' median."""
    ids = np.random.default_rng(0).integers(model.vocabulary_size, size=min(size, 1 << 16))
    trainer = Trainer(model, replace(training, steps=100), ids, device)
    seconds: list[float] = []
    begin = time.perf_counter()
    while len(seconds) < 5 or (time.perf_counter() - begin < 0.3 and len(seconds) < 50):
        started = time.perf_counter()
        float(trainer.advance())  # reading the loss waits for the device
        seconds.append(time.perf_counter() - started)
        if len(seconds) >= 3 and time.perf_counter() - begin > 0.5:
            break
    return training.chars_per_step / statistics.median(seconds[1:])
