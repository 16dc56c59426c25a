"""How sure a model may be of itself: a temperature, fitted on text that it has not learned.

A network that has read a text once or twice is too sure, and far too sure where the text goes on as
something else. Guo et al. 2017, "On Calibration of Modern Neural Networks", divide its logits z by
the one temperature T under which text that was kept aside costs least:

    p = softmax(z / T)

It is found as 1 / T, in which the loss is convex, and put into the weights of the head.

What is held out, or written, lies further from what was learned than that text, of which there is
little, so the temperature that suits it is nearer to a usual one: T of the text becomes

    1.04 T^0.7

by the best temperatures of fourteen texts (docs/trials.md).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from textgen.errors import CheckpointError
from textgen.store.archive import OTHER_FILE

FITTED = 4096  # characters that a temperature is fitted on, spread evenly over, or documents of
ASIDE = 8192  # characters that are kept aside, at most;
SHARE = 50  # they are one in so many of the training text,
FEWEST = 512  # and none if those would be fewer
LOGITS = 1 << 24  # logits that are kept while a temperature is fitted, at most
ROUNDS = 40  # of Newton's method; four or five are usual
SURE = (0.25, 4.0)  # 1 / T, from and to
USUAL, WEIGHT = 1.04, 0.7  # of T further on: a factor, and what is left of its logarithm


def kept_aside(size: int, vocabulary_size: int) -> int:
    """How many characters of a training text of `size` are kept aside: see `late`."""
    most = min(ASIDE, size // SHARE, LOGITS // vocabulary_size)
    return most if most >= FEWEST else 0


def inverse_temperature(predictions: Iterable[tuple[Tensor, Tensor]]) -> float:
    """1 / T for logits (n, V) and targets (n,), in pieces; 1 where none can be found.

    By Newton's method, and by bisection where a step leads out of where the minimum is known to be.
    """
    pieces = [(z, z.gather(1, target[:, None]).sum()) for z, target in predictions]
    found, low, high = 1.0, 0.0, math.inf  # the minimum lies between the last two
    for _ in range(ROUNDS):
        slope = curvature = 0.0
        for z, of_targets in pieces:
            p = torch.softmax(found * z, dim=1)
            mean = (p * z).sum(1)
            slope += float(mean.sum() - of_targets)
            curvature += float((p * (z - mean[:, None]) ** 2).sum())
        if not (math.isfinite(slope) and curvature > 0):
            return 1.0
        low, high = (low, found) if slope > 0 else (found, high)
        before, found = found, min(max(found - slope / curvature, SURE[0]), SURE[1])
        if not low <= found <= high:
            found = math.sqrt(low * high)
        if abs(found - before) < 1e-4:
            break
    return found


def further(sharp: float) -> float:
    """1 / T that suits what comes after the text on which 1 / T = `sharp` was found."""
    return math.pow(sharp, WEIGHT) / USUAL


def check_inverse_temperature(*kept: float) -> None:
    """Raise CheckpointError for a 1 / T that a checkpoint cannot have; 0 stands for none."""
    for found in kept:
        if found and not SURE[0] <= found <= SURE[1]:
            expected = f"0, or {SURE[0]:g} to {SURE[1]:g}"
            what = f"the checkpoint's temperature/sharpness is {found:g}, expected {expected}"
            raise CheckpointError(what, OTHER_FILE)


def sharpen(head: nn.Linear, by: float) -> None:
    """Multiply the logits of `head` by so much, in place."""
    with torch.no_grad():
        head.weight.mul_(by)
        head.bias.mul_(by)
