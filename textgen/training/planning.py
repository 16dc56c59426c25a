"""What a person did not choose is chosen here: from the text's size, the budget and the machine.

The numbers come from the measurements in docs/trials.md.
"""

import math
import time
from dataclasses import dataclass, replace

import torch

from textgen.architecture import ModelConfig
from textgen.config import DEFAULT_TIME, Choices, TrainingConfig, own_streams
from textgen.errors import DeviceError
from textgen.inference.parts import PARTS, WARM_UP
from textgen.model.device import check_precision, prepare_device
from textgen.model.loss import DRAWN, FEW
from textgen.store.record import Record
from textgen.text.corpus import Corpus
from textgen.training import speed
from textgen.training.batching import DECAYING, first_trial, peak
from textgen.training.calibration import FEWEST, kept_aside
from textgen.training.fitting import TRAINING_SHARE, learnable, settled, taken
from textgen.training.late import MOST, late_streams
from textgen.training.memory import check_memory
from textgen.training.regularisation import regularisation
from textgen.training.schedule import progress, rise
from textgen.training.speed import measure
from textgen.training.streams import BLOCK

EVALUATED = 1 << 14  # characters of the held-out text that a validation during training scores
PRESENT = 1000  # distinct characters of a step, about, where the vocabulary is much larger
FLOOR, AVERAGE = 0.15, 0.15  # see TrainingConfig; without averaging the rate had to end near 0


@dataclass(frozen=True)
class Plan:
    """The settings decided on."""

    model: ModelConfig
    training: TrainingConfig
    chars_per_second: float | None  # as measured, if it was
    notices: tuple[str, ...]
    chosen: tuple[str, ...]  # see Choices
    time: float | None  # the budget of seconds, if it is one of time


def plan(
    choices: Choices,
    corpus: Corpus,
    device: torch.device,
    began: float,
    base: ModelConfig | None = None,
    *,
    learned: bool = False,
) -> Plan:
    """Decide on everything that `choices` leaves open; the default budget is 5 minutes.

    Only a budget of time measures; with steps or epochs nothing is decided by a clock. began: when
    the budget's clock began to run, on `time.monotonic`; base: the network, where its weights are
    there already; learned: whether these have learned the text, so that none is kept aside. Raises
    UsageError or DeviceError.
    """
    if choices.budget is None:
        choices = replace(choices, time=DEFAULT_TIME)
    prepare_device(device, choices.deterministic)
    if choices.precision != "auto":
        check_precision(choices.precision, device)
    first, usual, notices = first_trial(choices, corpus, device)
    if base is not None:
        choices = replace(choices, hidden=base.hidden)
    shape, trial, rate, said = settled(choices, first, usual, corpus, began, base=base)
    size, per_step = trial.size, trial.chars_per_step
    own = own_streams(trial.batch_size, choices.keep_mixing)
    whole = size * trial.batch_size / own
    steps = steps_of(choices, per_step, whole, rate, began)
    shares = trial.batch_size / usual.batch_size, trial.bptt / usual.bptt
    tuning = base is not None
    counts = shape.bare.parameters, steps * per_step / whole, size
    dropout, weight_drop, decay = regularisation(*counts, tuning=tuning)
    aside = _aside(size, corpus) if own >= MOST and not learned else 0
    worth = evaluation_worth(shape, per_step, corpus, aside, device)
    eval_every = taken(choices.eval_every, evaluation_interval(steps, worth))
    training = TrainingConfig.of(
        choices,
        steps=steps,
        batch_size=trial.batch_size,
        bptt=trial.bptt,
        accumulate=trial.accumulate,
        block=0 if corpus.documents else BLOCK,
        filled=trial.filled,
        optimizer=trial.optimizer,
        floor=FLOOR,
        average=AVERAGE,
        aside=aside,
        lr=taken(choices.lr, peak(trial.optimizer, max(shape.hidden), *shares, tuning=tuning)),
        clip=taken(choices.clip, usual.clip),
        warmup=taken(choices.warmup, min(20, math.ceil(steps / 20))),
        weight_decay=taken(choices.weight_decay, decay if trial.optimizer in DECAYING else 0.0),
        eval_every=eval_every,
        sample_every=taken(choices.sample_every, _sample_interval(steps, eval_every)),
        precision=trial.precision,
    )
    training = replace(training, late=late_streams(training, corpus))
    dropout, weight_drop = taken(choices.dropout, dropout), taken(choices.weight_drop, weight_drop)
    model = replace(shape, dropout=dropout, weight_drop=weight_drop)
    return Plan(model, training, rate, (*notices, *said), chosen=choices.chosen, time=choices.time)


def _aside(size: int, corpus: Corpus) -> int:
    """How many characters are kept aside; of documents none, where those that fit are too short."""
    aside = kept_aside(size, len(corpus.vocabulary))
    return aside if len(corpus.parted(aside)[1]) >= FEWEST else 0


def extended(
    record: Record,
    budget: Choices,
    corpus: Corpus,
    device: torch.device,
    began: float,
    *,
    learned: bool,
) -> Plan:
    """The settings of a run that goes on: to its planned end, or for `budget` from where it is.

    The learning rate becomes that of a run of the whole length; dropout and decay that were not
    chosen rise to what the planner would take for it. learned: see `late_streams`.
    """
    model, training, size = record.model, record.training, len(corpus.train)
    if record.step < training.segment_start:  # of a best, saved after its schedule was bent
        done = max(0.0, progress(record.step, training))
        training = replace(training, segment_start=record.step, segment_progress=done)
    training = replace(
        training,
        accumulate=taken(budget.accumulate, training.accumulate),
        deterministic=training.deterministic or budget.deterministic,
    )
    prepare_device(device, training.deterministic)
    notices: tuple[str, ...] = ()
    check_memory(model, training.batch_size * training.bptt // training.accumulate, device)
    try:
        check_precision(training.precision, device)
    except DeviceError as error:
        training = replace(training, precision="fp32")
        notices = (f"{error.message}; going on in fp32",)
    if budget.budget is None:
        return Plan(model, training, None, notices, chosen=record.chosen, time=None)
    timed = budget.time is not None
    rate = measure(model, speed.trial_of(training, size, device)) if timed else None
    per_step, whole = training.chars_per_step, size * training.batch_size / training.own_streams
    more = steps_of(budget, per_step, whole, rate, began)
    steps = record.step + more
    counts = model.bare.parameters, training.passes(steps, size), size
    planned = regularisation(*counts, tuning=bool(record.ancestors))
    names = ("dropout", "weight_drop", "weight_decay")
    now = (model.dropout, model.weight_drop, training.weight_decay)
    dropout, weight_drop, decay = (
        before if name in record.chosen else max(before, then)
        for name, before, then in zip(names, now, planned, strict=True)
    )
    if "eval_every" not in record.chosen:
        worth = evaluation_worth(model, per_step, corpus, training.aside, device)
        training = replace(training, eval_every=evaluation_interval(more, worth))
    if "sample_every" not in record.chosen:
        training = replace(training, sample_every=_sample_interval(more, training.eval_every))
    if record.step - training.segment_start >= rise(training):  # else the warm-up goes on
        done = record.step / steps
        training = replace(training, segment_start=record.step, segment_progress=done)
    decay = decay if training.optimizer in DECAYING else training.weight_decay
    training = replace(training, steps=steps, weight_decay=decay)
    if training.late:
        training = replace(training, late=late_streams(training, corpus, learned=learned))
    model = replace(model, dropout=dropout, weight_drop=weight_drop)
    return Plan(model, training, rate, notices, chosen=record.chosen, time=budget.time)


def steps_of(budget: Choices, per_step: int, size: float, rate: float | None, began: float) -> int:
    """How many steps the budget pays for; `size`: characters of a pass, `rate`: per second."""
    if budget.time is not None and rate is not None:
        left = budget.time - (time.monotonic() - began)
        return max(1, int(TRAINING_SHARE * left * rate / per_step))
    if budget.epochs is not None:
        return math.ceil(budget.epochs * size / per_step)
    return budget.steps or 1


def evaluation_interval(steps: int, worth: float) -> int:
    """For twenty validations in all, fewer where they would take above about 1.1 % of the time.

    A run of 200 steps has two all the same: something is to be seen on the way. worth: see
    `evaluation_worth`.
    """
    affordable = int(steps / (90 * worth))
    number = min(20, max(1, min(2, steps // 100), affordable))
    return math.ceil(steps / number)


def _sample_interval(steps: int, eval_every: int) -> int:
    return eval_every * (2 if steps > 2 * eval_every else 1)


def evaluation_worth(
    model: ModelConfig, per_step: int, corpus: Corpus, aside: int, device: torch.device
) -> float:
    """In how many steps' time a validation is done: forward alone is a third of a step.

    Its softmax is over the whole vocabulary, that of a step may be over a part. aside: characters
    that are kept aside, half of which are scored, half read before.
    """
    read = min(len(corpus.validation), EVALUATED + PARTS * WARM_UP) + aside
    rows = model.vocabulary_size
    trained = min(rows, PRESENT + DRAWN) if rows > FEW and device.type == "cpu" else rows
    layers, row = learnable(model), model.hidden[-1]  # multiply-adds for a character
    return read / (3 * per_step) * (layers + rows * row) / (layers + trained * row)
