"""The GRU and the simple RNN over a chunk on a CPU, where torch fuses the LSTM alone.

Equations, weights and results are those of `nn.GRU` and `nn.RNN` with one layer. All input products
of a chunk are one product, and so is the gradient of each matrix; in between, a character takes the
recurrent product and the gates. Under autocast the products are in half precision, the gates and
the state from character to character in the state's own.

T: characters of a chunk, B: streams, I: a layer's input width, H: its hidden width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gru(x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
    """The states (T, B, H) after each character of x (T, B, I), from the state h (B, H) on.

    weights: W_i (3H, I), W_h (3H, H), b_i (3H,), b_h (3H,), each with rows for r, z and n. With the
    reset gate applied after the product, as cuDNN has it, the GRU (Cho et al. 2014) is

        r = σ(W_ir x + b_ir + W_hr h + b_hr)
        z = σ(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h
    """
    return _run(_Gru, x, h, *weights)


def rnn(x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
    """As `gru`, with weights (H, I), (H, H), (H,), (H,): h' = tanh(W_i x + b_i + W_h h + b_h).

    Elman 1990, "Finding Structure in Time".
    """
    return _run(_Rnn, x, h, *weights)


def _run(cell: Any, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
    w_i, w_h, *biases = weights
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        x, w_i, w_h = x.to(half), w_i.to(half), w_h.to(half)
    states: Tensor = cell.apply(x, h, w_i, w_h, *biases)
    return states


class _Gru(torch.autograd.Function):
    """Gates stand side by side as q, r, z, n, with q = W_hn h + b_hn: (T, B, 4H).

    So what the recurrent product goes into, q, r, z, is one stretch of memory, and what the input
    product goes into, r, z, n, is another; in the gradients as well.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        w_i, w_h, b_i, b_h = weights
        length, width = len(x), h.shape[1]
        w_h, b_h = w_h.roll(width, 0), b_h.roll(width)  # rows for q, r, z
        gates = h.new_empty(length, len(h), 4 * width)
        gates[:] = torch.cat([b_h, h.new_zeros(width)]) + torch.cat([h.new_zeros(width), b_i])
        _add_product(gates.flatten(0, 1)[:, width:], x.flatten(0, 1), w_i.t())
        states, read = _states(h, length, x.dtype)
        q_r_z, r_z = gates[..., : 3 * width].unbind(), gates[..., width : 3 * width].unbind()
        q, r, z, n = (gate.unbind() for gate in gates.split(width, -1))
        exact, rounded = _each(states, read)
        transposed = w_h.t().contiguous()
        for t in range(length):
            _add_product(q_r_z[t], rounded[t], transposed)
            r_z[t].sigmoid_()
            _tanh(n[t].addcmul_(r[t], q[t]))
            torch.lerp(n[t], exact[t], z[t], out=exact[t + 1])
            _round(exact[t + 1], rounded[t + 1])
        ctx.save_for_backward(x, w_i, w_h, *(gates, states, read))
        return read[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, w_i, w_h, gates, states, read = ctx.saved_tensors
        width = states.shape[2]
        q, r, z, n = gates.split(width, -1)
        # d is first the derivative of h' by what goes into each gate, then times the gradient of h'
        d = torch.empty_like(gates)
        d_q, d_r, d_z, d_n = d.split(width, -1)
        torch.ops.aten.tanh_backward(1 - z, n, grad_input=d_n)
        torch.mul(d_n, r, out=d_q)
        torch.ops.aten.sigmoid_backward(d_n * q, r, grad_input=d_r)
        torch.ops.aten.sigmoid_backward(states[:-1] - n, z, grad_input=d_z)
        rounded = d if x.dtype == d.dtype else torch.empty_like(d, dtype=x.dtype)
        factors, (exact, multiplied) = d.unflatten(-1, (4, width)).unbind(), _each(d, rounded)
        of_q_r_z = rounded[..., : 3 * width].unbind()
        above, kept = grad.to(d.dtype).unbind(), z.unbind()
        d_h = torch.zeros_like(above[0])
        for t in reversed(range(len(x))):
            d_h += above[t]
            factors[t].mul_(d_h[:, None])
            _round(exact[t], multiplied[t])
            d_h *= kept[t]
            _add_product(d_h, of_q_r_z[t], w_h)
        flat = rounded.flatten(0, 1)
        of_h, of_i = flat[:, : 3 * width], flat[:, width:]
        d_w_h = (of_h.t() @ read[:-1].flatten(0, 1)).roll(-width, 0)
        d_b = d.sum((0, 1))
        d_x, d_w_i = _input_gradients(x, w_i, of_i)
        return d_x, d_h, d_w_i, d_w_h, d_b[width:], d_b[: 3 * width].roll(-width)


class _Rnn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        w_i, w_h, b_i, b_h = weights
        states, read = _states(h, len(x), x.dtype)
        states[1:] = b_i + b_h
        _add_product(states[1:].flatten(0, 1), x.flatten(0, 1), w_i.t())
        exact, rounded = _each(states, read)
        transposed = w_h.t().contiguous()
        for t in range(len(x)):
            _add_product(exact[t + 1], rounded[t], transposed)
            _tanh(exact[t + 1])
            _round(exact[t + 1], rounded[t + 1])
        ctx.save_for_backward(x, w_i, w_h, states, read)
        return read[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, w_i, w_h, states, read = ctx.saved_tensors
        d = 1 - states[1:].square()  # of h' by what goes into tanh; then times the gradient of h'
        rounded = d if x.dtype == d.dtype else torch.empty_like(d, dtype=x.dtype)
        (exact, multiplied), above = _each(d, rounded), grad.to(d.dtype).unbind()
        d_h = torch.zeros_like(above[0])
        for t in reversed(range(len(x))):
            exact[t].mul_(d_h.add_(above[t]))
            _round(exact[t], multiplied[t])
            d_h.zero_()
            _add_product(d_h, multiplied[t], w_h)
        flat = rounded.flatten(0, 1)
        d_b = d.sum((0, 1))
        d_x, d_w_i = _input_gradients(x, w_i, flat)
        return d_x, d_h, d_w_i, flat.t() @ read[:-1].flatten(0, 1), d_b, d_b


def _states(h: Tensor, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Room for the states (T+1, B, H), h the first, and for them in `dtype`; one if that is h's."""
    states = h.new_empty(length + 1, *h.shape)
    read = states if dtype == h.dtype else torch.empty_like(states, dtype=dtype)
    states[0] = read[0] = h
    return states, read


def _each(exact: Tensor, rounded: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Both, character by character; the same tensors where both are one."""
    steps = exact.unbind()
    return steps, steps if rounded is exact else rounded.unbind()


def _round(exact: Tensor, rounded: Tensor) -> None:
    if rounded is not exact:
        rounded.copy_(exact)


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    """into += a b, the product in the precision of a and b."""
    if into.dtype == a.dtype:
        into.addmm_(a, b)
    else:
        into += a @ b


def _tanh(x: Tensor) -> None:
    """tanh(x) = 2 σ(2x) - 1, in place; with AVX2 torch's own takes 1.4 times as long."""
    x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _input_gradients(x: Tensor, w_i: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Those of x (T, B, I) and of w_i; d: of what the input product goes into, (T B, ·)."""
    return (d @ w_i).view(x.shape), d.t() @ x.flatten(0, 1)
