"""The mean of -ln p over targets: product with the head, softmax and loss."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import cross_entropy, log_softmax

FEW = 512  # characters of a vocabulary whose logits are small enough to be kept
ROWS = 128  # whose logits are computed at a time, else


def mean_nats(head: nn.Linear, x: Tensor, targets: Tensor) -> Tensor:
    """The mean of -ln p of targets (T, B) after the activations x (T, B, H): a scalar, float32."""
    rows, flat = x.flatten(0, 1), targets.flatten()
    if head.out_features <= FEW:
        return cross_entropy(head(rows).float(), flat)
    mean: Tensor = _Chunked.apply(rows, head.weight, head.bias, flat)
    return mean


class _Chunked(torch.autograd.Function):
    """Loss and gradients at once, a few rows after the other: their logits stay in the cache."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Any:
        """x (N, H), weight (V, H), bias (V,), targets (N,)."""
        device = x.device.type
        dtype = x.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            x_half, weight_half = x.to(dtype), weight.to(dtype)
            of_x = torch.empty(x.shape, device=x.device)
            of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
            total = torch.zeros((), device=x.device)
            for rows, gradient, column in zip(
                x_half.split(ROWS), of_x.split(ROWS), targets[:, None].split(ROWS), strict=True
            ):
                logits = (rows @ weight_half.t()).float() + bias
                found = log_softmax(logits, dim=1)
                total -= found.gather(1, column).sum()
                found.exp_().scatter_add_(1, column, found.new_full(column.shape, -1.0))
                of_bias += found.sum(0)
                found = found.to(dtype)
                gradient.copy_(found @ weight_half)
                of_weight += found.t() @ rows
        ctx.save_for_backward(of_x, of_weight, of_bias)
        return total / len(x)

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor) -> Any:
        share = of_loss / len(ctx.saved_tensors[0])
        return *(share * gradient for gradient in ctx.saved_tensors), None
