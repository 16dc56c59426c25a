"""The network's shape, and how its steps are done: measured for a budget of time, else by sizes.

The numbers come from the measurements in docs/trials.md.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from textgen.architecture import ModelConfig
from textgen.config import Choices
from textgen.text.corpus import Corpus
from textgen.training import speed
from textgen.training.batching import FASTER, HISTORY, Usual, fastest, lengthened
from textgen.training.memory import check_memory
from textgen.training.regularisation import READ_PER_PARAMETER
from textgen.training.speed import Trial, layer_seconds, measured_cost, precisions

TRAINING_SHARE = 0.93  # of the time; the rest is for validation, samples, saves and the end
WIDTH = 256  # the widest where nothing is measured
TRIED = 192  # the width where measuring begins
WIDTHS = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024)
Depths = tuple[tuple[int, int], ...]  # numbers of layers, and the width from which each is taken
DEPTHS: Depths = ((3, 224), (2, 128), (1, 0))
IN_TIME: Depths = ((3, 256), *DEPTHS[1:])  # where a third layer has to be worth its time
PARAMETERS_PER_CHARACTER = 5  # of the text, at most

Value = TypeVar("Value")
# The network without dropout, of so many layers and of such a width where none were chosen.
Shape = Callable[[int, int], ModelConfig]
# Shape, batch and precision, characters per second if measured, and what to report.
Settled = tuple[ModelConfig, Trial, float | None, list[str]]


def settled(
    choices: Choices,
    trial: Trial,
    usual: Usual,
    corpus: Corpus,
    began: float,
    *,
    base: ModelConfig | None = None,
) -> Settled:
    """By `choices`, and for what they leave open as they have a budget of time or not.

    trial, usual: see `first_trial`; began, base: see `plan`. Raises UsageError or OutOfMemory for
    what the memory does not hold.
    """
    history = taken(choices.history, HISTORY if choices.grams else usual.history)
    grams = taken(choices.grams, usual.grams if history else 0)
    decided = replace(choices, history=history, grams=grams)
    own: Shape = partial(_shape, decided, len(corpus.vocabulary))
    shape = own if base is None else lambda *_: base
    characters = trial.batch_size * trial.bptt // trial.accumulate
    layers = DEPTHS[0][0] if choices.hidden else 1
    check_memory(shape(layers, min(WIDTHS)), characters, trial.device)
    if choices.time is None:
        found = _expected(shape, trial, choices)
    else:
        found = _measured(shape, trial, choices, began)
    model, trial, *_ = found
    check_memory(model, trial.batch_size * trial.bptt // trial.accumulate, trial.device)
    return found


def taken(chosen: Value | None, planned: Value) -> Value:
    """What a person chose, else what is planned."""
    return planned if chosen is None else chosen


def _shape(choices: Choices, vocabulary_size: int, layers: int, width: int) -> ModelConfig:
    hidden = choices.hidden or (width,)
    if len(hidden) == 1:
        hidden *= choices.layers or layers
    embedding = taken(choices.embedding, 128)
    return ModelConfig(
        vocabulary_size,
        choices.cell,
        hidden,
        embedding,
        choices.skip,
        dropout=0.0,
        weight_drop=0.0,
        history=choices.history or 0,
        grams=choices.grams or 0,
    )


def _deepest(shape: Shape, fits: Callable[[ModelConfig], bool], depths: Depths) -> ModelConfig:
    """The widest layers that fit, and as many of them as are worth having at that width."""
    for layers, least in depths:
        shapes = [shape(layers, width) for width in WIDTHS]
        widest = max(filter(fits, shapes), key=lambda s: s.hidden, default=shapes[0])
        chosen = shapes[0] == shapes[-1] or widest.layers != layers
        if chosen or widest.hidden[0] >= least:
            break
    return widest


def _expected(shape: Shape, trial: Trial, choices: Choices) -> Settled:
    """By sizes alone, and torch's threads set by them."""
    most = PARAMETERS_PER_CHARACTER * trial.size
    model = _deepest(shape, lambda s: max(s.hidden) <= WIDTH and learnable(s) <= most, DEPTHS)
    width, precision = max(model.hidden), trial.precision
    if trial.device.type == "cpu":
        torch.set_num_threads(speed.expected_threads(width, trial.batch_size))
    if precision == "auto":
        precision = speed.expected_precision(width, trial.device)
    trial = lengthened(choices, model, trial, (choices.epochs or 0) * trial.size)
    return model, replace(trial, precision=precision), None, []


def _measured(shape: Shape, trial: Trial, choices: Choices, began: float) -> Settled:
    """By measuring, and torch's threads too.

    On a GPU the number of streams as well: that which suits the single layer decides on the width,
    and then that which suits the network is taken. On a CPU more of them gain next to nothing.
    began: see `plan`.
    """
    tried, first, gpu = shape(DEPTHS[0][0], TRIED), trial, trial.device.type == "cuda"
    candidates = precisions(trial.device) if trial.precision == "auto" else (trial.precision,)
    if gpu:
        trial = replace(trial, precision=candidates[0])
        trial, *_ = fastest(speed.layer_of(tried), trial, chosen=choices.batch_size is not None)
    costs = {p: layer_seconds(tried, replace(trial, precision=p)) for p in candidates}
    precision = min(costs, key=lambda p: costs[p] * (1.0 if p == candidates[0] else 1.1))
    trial, cost = replace(trial, precision=precision), costs[precision]
    while trial.device.type == "cpu" and (threads := torch.get_num_threads()) > 1:
        torch.set_num_threads(threads // 2)
        halved = layer_seconds(tried, trial, most=cost)
        if halved > cost / 1.1:
            torch.set_num_threads(threads)
            break
        cost = halved
    costs_of = measured_cost(tried, trial, cost)
    seconds = TRAINING_SHARE * (choices.time or 0.0)

    def suited(times: float) -> ModelConfig:
        """The shape, where characters are read so many times as fast as was measured."""

        def fits(model: ModelConfig) -> bool:
            enough = READ_PER_PARAMETER * learnable(model) <= times * seconds / costs_of(model)
            return enough and learnable(model) <= PARAMETERS_PER_CHARACTER * trial.size

        return _deepest(shape, fits, IN_TIME) if choices.hidden is None else tried

    model = suited(1.0)
    if gpu:
        first = replace(first, precision=precision)
        return model, *fastest(model, first, chosen=choices.batch_size is not None)
    left = seconds - TRAINING_SHARE * (time.monotonic() - began)
    longer = lengthened(choices, model, trial, left / costs_of(model))
    times = 1.0 if longer == trial else FASTER
    model = suited(times)
    return model, longer, times / costs_of(model), []


def learnable(model: ModelConfig) -> int:
    """Parameters without the characters' own rows: of those most are for rare ones."""
    return replace(model.bare, vocabulary_size=0).parameters
