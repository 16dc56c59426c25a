"""SOAP: AdamW in a basis in which the columns of a matrix's gradient are uncorrelated.

After Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam", on one side. The
gradient G of a matrix, shape (rows, D), has a covariance C, the moving average of GᵀG, shape
(D, D); the columns of Q are its eigenvectors, nearly. AdamW gets G Q in place of G, and what it
adds to the weights in that basis goes back by Qᵀ.

The first step gives C and Q. C takes in the gradients of the next steps and then every fourth, and
Q follows it by a step of orthogonal iteration, Q <- qr(C Q), after 2, 4, 8, ... steps and every 32.
So a step costs two products by Q beside what it costs with AdamW.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

TAKEN = 4  # steps from one gradient that the covariance takes in to the next;
TURNED = 32  # from one new basis to the next, once there were so many
WIDEST = 512  # of D; beyond, the products by Q take too long
KEPT = ("covariance", "basis")  # of each matrix, (D, D), besides AdamW's moments
REMEMBERED = 0.95  # of the covariance, where it takes in another gradient


class Soap(torch.optim.AdamW):
    """AdamW, but of the matrices that are `turned` each in its own basis.

    It keeps AdamW's moments, those of a matrix in its basis, and `KEPT` from `turn` after the first
    step on. A step's products by Q are computed in `precision`; the rest is in the weights' own.
    """

    precision = torch.float32

    def step(self) -> None:  # type: ignore[override]
        """A step, unless `found_inf`; the gradients stay as they are."""
        plain: list[tuple[Tensor, Tensor, Tensor | None]] = []
        for group, p in self._turned():
            if "basis" in self.state[p]:
                left = 1 - group["lr"] * group["weight_decay"] * self._applied()
                plain.append((p, p * left, p.grad))
                p.zero_()
                p.grad = self._product(p.grad, self.state[p]["basis"])
        inspect.unwrap(torch.optim.AdamW.step)(self)
        for p, decayed, gradient in plain:
            p.copy_(decayed.add_(self._product(p, self.state[p]["basis"].T)))
            p.grad = gradient

    def _product(self, rows: Tensor, basis: Tensor) -> Tensor:
        return (rows.to(self.precision) @ basis.to(self.precision)).to(rows.dtype)

    def _turned(self) -> list[tuple[dict[str, Any], Any]]:
        pairs = ((group, p) for group in self.param_groups for p in group["params"])
        return [(group, p) for group, p in pairs if turned(group, p)]

    def _applied(self) -> float | Tensor:
        """1, or 0 where a gradient is infinite and the step is left out."""
        found: Tensor | None = getattr(self, "found_inf", None)  # given by GradScaler
        return 1.0 if found is None else 1 - found

    def turn(self, step: int) -> None:
        """What follows a step, the `step`-th from 1: covariances take it in, bases follow them.

        The first step that a matrix does gives it its basis. All else is in place, so that a step
        that was captured goes on with it.
        """
        takes = step < TURNED or step % TAKEN == 0
        turns = step % TURNED == 0 or step.bit_count() == 1
        for _, p in self._turned():
            kept: dict[str, Any] = self.state[p]
            if not kept:
                continue  # no step was done yet: the first was left out
            if "basis" not in kept:
                _begin(kept, p.grad)
            elif takes:
                _take(kept["covariance"], p.grad)
                if turns:
                    _turn(kept)


def turned(group: Mapping[str, Any], parameter: Tensor) -> bool:
    """Whether a parameter of an optimizer's group has a basis: a matrix, unless it is too wide."""
    return group["turned"] and parameter.shape[1] <= WIDEST


def _begin(kept: dict[str, Tensor], gradient: Tensor) -> None:
    """The eigenvectors of the first covariance as a basis, in which AdamW begins anew."""
    kept["covariance"] = gradient.new_zeros(gradient.shape[1], gradient.shape[1])
    _take(kept["covariance"], gradient)
    found = torch.linalg.eigh(kept["covariance"].cpu()).eigenvectors.flip(1)  # largest value first
    kept["basis"] = found.contiguous().to(gradient.device)
    for name in ("step", "exp_avg", "exp_avg_sq"):
        kept[name].zero_()


def _take(covariance: Tensor, gradient: Tensor) -> None:
    """Take in a gradient, unless it is infinite."""
    taken = covariance.lerp(gradient.T @ gradient, 1 - REMEMBERED)
    covariance.copy_(torch.where(taken.isfinite().all(), taken, covariance))


def _turn(kept: dict[str, Tensor]) -> None:
    """A step of orthogonal iteration; the first moment is that of before, in the new basis."""
    basis = kept["basis"]
    product = (kept["covariance"] @ basis).cpu()  # it is small: quickest there
    new = torch.linalg.qr(product).Q.to(basis.device)
    kept["exp_avg"].copy_(kept["exp_avg"] @ (basis.T @ new))
    basis.copy_(new)
