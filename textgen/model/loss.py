"""The mean of -ln p over targets, for training: head, softmax and loss."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

FEW = 512  # characters of a vocabulary whose softmax is always computed whole
DRAWN = 256  # characters that stand for all that are no target


def mean_nats(
    head: nn.Linear,
    x: Tensor,
    targets: Tensor,
    generator: torch.Generator | None = None,
    beside: Tensor | None = None,
) -> Tensor:
    """The mean of -ln p of targets (T, B) after the activations x (T, B, H): a scalar, float32.

    Targets of -1 do not count. beside: other targets of the chunk, of streams that are computed
    elsewhere.

    The softmax over a larger vocabulary is estimated on a CPU, see `_some`; on a GPU it is not, for
    how many rows that takes depends on the text, which a CUDA graph cannot have.
    """
    rows: tuple[Tensor, Tensor] = head.weight, head.bias
    flat = targets.flatten()
    if len(head.weight) > FEW and x.device.type == "cpu":
        whole = flat if beside is None else torch.cat([flat, beside.flatten()])
        rows, places = _some(head, whole, generator)
        flat = places[: len(flat)]
    return cross_entropy(linear(x.flatten(0, 1), *rows).float(), flat, ignore_index=-1)


def share_of(mean: Tensor, weight: Tensor) -> Tensor:
    """What the mean over some targets adds to that over more; weight: their share of those, 0 to 1.

    Of padding alone the mean is no number, and it adds nothing.
    """
    return torch.where(weight > 0, mean, 0.0) * weight


def _some(
    head: nn.Linear, targets: Tensor, generator: torch.Generator | None
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Weights and biases of some of the head's rows, and the targets' places among them.

    The rows are those of the chunk's own characters and of a few others. These are drawn evenly
    from the rest, and each counts for as many as it stands for, so the softmax's sum is right on
    average, whatever the chunk holds: importance sampling, as in Bengio & Senécal 2003, "Quick
    Training of Probabilistic Neural Nets by Importance Sampling", with all targets kept. The loss
    comes out a little low, for a logarithm is concave.
    """
    own, places = targets.clamp(min=0).unique(return_inverse=True)
    places[targets < 0] = -1
    absent = torch.ones(head.out_features, dtype=torch.bool)
    absent = absent.index_fill_(0, own, False).nonzero()[:, 0]
    drawn = absent[torch.randperm(len(absent), generator=generator)[:DRAWN]]
    rows = torch.cat([own, drawn])
    each = torch.zeros(len(rows))
    if len(drawn):
        each[len(own) :] = math.log(len(absent) / len(drawn))
    return (head.weight[rows], head.bias[rows] + each), places
