"""How many streams are read side by side, and the learning rate that goes with their number.

The numbers come from the measurements in docs/trials.md.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch

from textgen.architecture import ModelConfig
from textgen.config import Choices
from textgen.errors import OutOfMemory, UsageError
from textgen.text.corpus import Corpus
from textgen.training import document_streams
from textgen.training.periods import periodic
from textgen.training.speed import Trial, measure
from textgen.training.streams import fit

USUAL = (64, 32)  # streams, and characters that each reads in a step
PERIODIC = (32, 64)  # the same for a text with long periods
CLIP, PERIODIC_CLIP = 0.5, 0.2  # largest gradient norm; the second with soap
# characters of a whole run, from which on each stream reads twice as many in a step
MANY = {USUAL: 400_000, PERIODIC: 1_000_000}
FASTER = 1.15  # so many times as many characters in a second, then; one measurement varies by 0.1
DECAYING = ("soap", "adamw")  # optimizers for which a weight decay is planned
# rate at a width of 160
PEAK = {"soap": 0.018, "adamw": 0.018, "adam": 0.018, "rmsprop": 0.014, "sgd": 3.0}
TUNING_RATE = 0.3  # of it, where the weights are there already
POWER = 0.4  # of the streams' number, with which the best learning rate grows
REACH = (0.25, 16)  # of the usual number: where that was measured
LENGTH_POWER = 0.68  # the same of a chunk's length, from the usual one to twice that
EACH = 4096  # characters of the text for each stream, at least
HISTORY = 2048  # characters back that matches are looked for in
GRAMS = (1021, 2039, 4093, 8191, 16381)  # rows for n-grams: primes, over which the hash spreads
PER_ROW = 16  # characters of the text for each of them, at least
CRITICAL = 16384  # characters of a step with which twice as many have to be read in all


class Usual(NamedTuple):
    """What suits a text.

    batch_size, bptt: streams and characters of a chunk that `peak` is meant for; history:
    characters back that matches are looked for in, none where documents are short, for a match
    lies in one; grams: rows for n-grams, none for a text with a period, where they gain nothing.
    """

    batch_size: int
    bptt: int
    clip: float
    history: int
    grams: int


def peak(
    optimizer: str, width: int, share: float = 1.0, length: float = 1.0, *, tuning: bool = False
) -> float:
    """The peak learning rate: what is best at a width of 160, falling with its square root.

    share, length: the streams and the characters of a chunk, each by the usual number; tuning:
    whether the weights are there already.
    """
    rate = PEAK[optimizer] * min(1.0, 160 / width) ** 0.5 * (TUNING_RATE if tuning else 1.0)
    least, most = REACH
    rate *= min(most, max(least, share)) ** POWER * min(2.0, max(1.0, length)) ** LENGTH_POWER
    return float(f"{rate:.2g}")


def first_trial(
    choices: Choices, corpus: Corpus, device: torch.device
) -> tuple[Trial, Usual, list[str]]:
    """Steps as chosen or usual, as large as the text can fill; what is usual; what to report.

    With a period the learning rate does not grow with the length of a chunk.
    """
    size = len(corpus.train)
    usual = document_streams.streams_for(corpus) if corpus.documents else USUAL
    repeats = not corpus.documents and periodic(corpus.train)
    streams, bptt = PERIODIC if repeats and choices.bptt is None else usual
    wanted = choices.batch_size or streams, choices.bptt or bptt
    streams, bptt = fit(*wanted, size)
    if choices.keep_mixing and streams == 1:
        what = "`keep_mixing` is given, and there is one stream; expected two or more to share"
        raise UsageError(what, "try `batch_size=16`, or leave out `keep_mixing`")
    notices = []
    if (streams, bptt) != wanted:
        few = f"{size:,} characters are few: `batch_size={wanted[0]}` `bptt={wanted[1]}` became"
        notices.append(f"{few} {streams} and {bptt}")
    filled = document_streams.filled_by(corpus, streams, bptt) if corpus.documents else None
    optimizer = choices.optimizer or ("soap" if device.type == "cpu" else "adamw")
    trial = Trial(streams, bptt, optimizer, choices.precision, size=size, device=device)
    trial = replace(trial, filled=filled, accumulate=choices.accumulate or 1)
    short = corpus.documents and document_streams.are_short(corpus)
    history = 0 if short else HISTORY
    grams = max((rows for rows in GRAMS if PER_ROW * rows <= size), default=GRAMS[0])
    suited = Usual(*fit(*usual, size), CLIP, history, grams)
    if repeats:
        clip = PERIODIC_CLIP if optimizer == "soap" else CLIP
        suited = suited._replace(bptt=2 * PERIODIC[1], clip=clip, grams=0)
    return trial, suited, notices


def lengthened(choices: Choices, model: ModelConfig, trial: Trial, characters: float) -> Trial:
    """The trial with chunks twice as long, if a run of so many characters gains by it.

    It was measured for LSTMs with SOAP on a CPU. A step costs less for each character then, and in
    a long run there are enough of them.
    """
    usual = choices.batch_size is None and choices.bptt is None and trial.filled is None
    measured = model.cell == "lstm" and trial.optimizer == "soap" and trial.device.type == "cpu"
    pays = characters >= MANY.get((trial.batch_size, trial.bptt), math.inf)
    longer = replace(trial, bptt=2 * trial.bptt)
    return longer if usual and measured and pays and longer.chars_per_step <= trial.size else trial


def fastest(model: ModelConfig, trial: Trial, *, chosen: bool) -> tuple[Trial, float, list[str]]:
    """The trial with the streams that learn fastest, characters per second, and what to report.

    Streams are doubled while that pays, up to one for EACH characters of the text. Where the memory
    does not hold a step, there are half as many; or, where their number was chosen, twice as many
    groups of them. Raises OutOfMemory where not even one stream fits.
    """
    (trial, rate), notices = _fitting(model, trial, chosen)
    while not chosen and not notices and 2 * trial.batch_size * EACH <= trial.size:
        doubled = replace(trial, batch_size=2 * trial.batch_size)
        (tried, faster), notices = _fitting(model, doubled, chosen)
        if notices or worth(tried, faster) <= worth(trial, rate):
            break
        trial, rate = tried, faster
    return trial, rate, notices


def worth(trial: Trial, rate: float) -> float:
    """How fast a model learns that reads `rate` characters per second, up to a factor.

    In steps of B characters it has to read 1 + B / CRITICAL times as many for a loss, after
    McCandlish et al. 2018, "An Empirical Model of Large-Batch Training".
    """
    return rate / (1 + trial.batch_size * trial.bptt / CRITICAL)


def _fitting(
    model: ModelConfig, trial: Trial, chosen: bool
) -> tuple[tuple[Trial, float], list[str]]:
    """The trial as the memory holds it, characters per second, and a notice if it was changed."""
    tried = trial
    while True:
        try:
            rate = measure(model, tried)
        except OutOfMemory:
            if tried.accumulate >= tried.batch_size:
                raise
        else:
            break
        if tried.device.type == "cuda":
            torch.cuda.empty_cache()
        if chosen:
            tried = replace(tried, accumulate=2 * tried.accumulate)
        else:
            tried = replace(tried, batch_size=tried.batch_size // 2)
    if tried == trial:
        return (tried, rate), []
    instead = f"{tried.accumulate} groups of them" if chosen else str(tried.batch_size)
    what = f"{trial.device} has too little memory for {trial.batch_size} streams: taking {instead}"
    return (tried, rate), [what]
