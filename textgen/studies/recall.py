"""What a cell can keep: a symbol must be repeated d characters after it stood.

The text is made of tasks: one of eight symbols, then d - 2 times the same filler, a cue, and the
symbol again, d characters after it first stood. All distances are mixed, so a network knows the
symbol only if it kept it; else it is right by chance, one time in eight. After the tasks with long
time lags of Hochreiter & Schmidhuber 1997, "Long Short-Term Memory".
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.architecture import ModelConfig
from textgen.config import MOST, Choices, TrainingConfig
from textgen.model.device import restored
from textgen.model.network import CharModel, State
from textgen.studies.variants import width_for
from textgen.training.first import first_network
from textgen.training.speed import expected_threads
from textgen.training.step import Learner

SYMBOLS = 8
CHANCE = 1 / SYMBOLS
FILLER, CUE = SYMBOLS, SYMBOLS + 1  # ids
DISTANCES = (2, 4, 8, 16, 32, 64, 128)
LSTM = ModelConfig(  # others have as many parameters
    SYMBOLS + 2,
    "lstm",
    (64,),
    embedding=16,
    skip=False,
    dropout=0.0,
    weight_drop=0.0,
    history=0,
    grams=0,
)
BPTT = 144  # the gradient reaches across the longest task
STREAMS = 32
BLOCK = 4096  # characters that a stream reads on before it goes elsewhere
# for the RNN 0.01 and 0.003 recall less far
RATES = {"lstm": 0.01, "gru": 0.01, "rnn": 0.001}
LENGTH = 200_000  # characters of the text that is learned
ASKED = 200  # tasks of each distance that it is asked
BEFORE = 8  # distance of the task before each of these, whose symbol is to be forgotten


@dataclass(frozen=True)
class Recall:
    """How often a cell was right, by distance: a share of ASKED; and how it was trained."""

    cell: str
    width: int
    parameters: int
    accuracy: dict[int, float]
    steps: int
    seconds: float


def recall(
    cell: str,
    *,
    seconds: float = math.inf,
    steps: int = MOST,
    seed: int = 0,
    progress: Callable[[float], object] | None = None,
) -> Recall:
    """Train a layer of `cell` for so long or so many steps, whichever ends first, and ask it.

    Texts, first weights and masks depend on the seed alone; how many steps are done in `seconds` is
    a matter of the machine. progress: is called with the seconds spent so far.
    """
    model = network_of(cell)
    with restored():
        torch.set_num_threads(expected_threads(model.hidden[0], STREAMS))
        learner = _learner(model, seed)
        began = time.monotonic()
        while (spent := time.monotonic() - began) < seconds and learner.step < steps:
            learner.advance()
            if progress:
                progress(spent)
        with learner.judged() as network:
            accuracy = {distance: _accuracy(network, distance, seed) for distance in DISTANCES}
    shape = model.hidden[0], model.parameters
    return Recall(cell, *shape, accuracy, steps=learner.step, seconds=spent)


def network_of(cell: str) -> ModelConfig:
    """A layer of the cell with as many parameters as that of the LSTM."""
    of_cell = replace(LSTM, cell=cell)
    width = width_for(LSTM.parameters, lambda width: replace(of_cell, hidden=(width,)))
    return replace(of_cell, hidden=(width,))


def made_text(length: int, seed: int) -> NDArray[np.uint8]:
    """Tasks of random distances and symbols, of so many characters or a few more: ids (n,)."""
    random = np.random.default_rng((seed, 0))
    tasks: list[NDArray[np.uint8]] = []
    while length > 0:
        tasks.append(task(int(random.choice(DISTANCES)), int(random.integers(SYMBOLS))))
        length -= len(tasks[-1])
    return np.concatenate(tasks)


def task(distance: int, symbol: int) -> NDArray[np.uint8]:
    """Ids (distance + 1,): the symbol, fillers, the cue, and the symbol again."""
    return np.array([symbol, *[FILLER] * (distance - 2), CUE, symbol], np.uint8)


def _learner(model: ModelConfig, seed: int) -> Learner:
    ids = made_text(LENGTH, seed)
    choices = Choices(cell=model.cell, optimizer="adamw", schedule="constant", clip=0.5, seed=seed)
    how: dict[str, Any] = {"steps": MOST, "batch_size": STREAMS, "bptt": BPTT, "block": BLOCK}
    how |= {"floor": 1.0, "average": 0.15, "lr": RATES[model.cell], "warmup": 20}
    how |= {"weight_decay": 0.0, "eval_every": MOST, "sample_every": 0, "precision": "fp32"}
    config = TrainingConfig.of(choices, **how)
    return Learner(first_network(model, ids, seed), config, ids, torch.device("cpu"))


@torch.no_grad()
def _accuracy(network: CharModel, distance: int, seed: int) -> float:
    """The share of ASKED tasks, side by side, in which the right symbol is the likeliest."""
    random = np.random.default_rng((seed, distance))
    pairs = random.integers(SYMBOLS, size=(ASKED, 2))
    rows = [np.concatenate([task(BEFORE, old), task(distance, new)]) for old, new in pairs]
    ids = torch.from_numpy(np.stack(rows, axis=1).astype(np.int64))  # (T, ASKED)
    network.eval()
    logits, _ = network(ids[:-1], State.zeros(network.config, ASKED))
    network.train()
    return float((logits[-1, :, :SYMBOLS].argmax(-1) == ids[-1]).double().mean())
