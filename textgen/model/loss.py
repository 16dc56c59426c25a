"""The mean of -ln p over targets, for training: head, softmax and loss."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

FEW = 512  # characters of a vocabulary whose softmax is always computed whole
DRAWN = 256  # characters that stand for all that are no target


def mean_nats(
    head: nn.Linear, x: Tensor, targets: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """The mean of -ln p of targets (T, B) after the activations x (T, B, H): a scalar, float32.

    The softmax over a larger vocabulary is estimated on a CPU, see `_some`; on a GPU it is not, for
    how many rows that takes depends on the text, which a CUDA graph cannot have.
    """
    weight, bias, flat = head.weight, head.bias, targets.flatten()
    if len(weight) > FEW and x.device.type == "cpu":
        weight, bias, flat = _some(weight, bias, flat, generator)
    return cross_entropy(linear(x.flatten(0, 1), weight, bias).float(), flat)


def _some(
    weight: Tensor, bias: Tensor, targets: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The head's rows for the chunk's own characters and a few others, and the targets in them.

    The others are drawn evenly from the rest, and each counts for as many as it stands for, so the
    softmax's sum is right on average, whatever the chunk holds: importance sampling, as in Bengio &
    Senécal 2003, "Quick Training of Probabilistic Neural Nets by Importance Sampling", with all
    targets kept. The loss comes out a little low, for a logarithm is concave.
    """
    own, places = targets.unique(return_inverse=True)
    absent = torch.ones(len(weight), dtype=torch.bool).index_fill_(0, own, False).nonzero()[:, 0]
    drawn = absent[torch.randperm(len(absent), generator=generator)[:DRAWN]]
    rows = torch.cat([own, drawn])
    each = torch.zeros(len(rows))
    if len(drawn):
        each[len(own) :] = math.log(len(absent) / len(drawn))
    return weight[rows], bias[rows] + each, places
