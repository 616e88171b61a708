"""Muon (Jordan et al. 2024): momentum, made orthogonal by five Newton-Schulz iterations, is the update of a matrix.

torch's iterates in bfloat16, whatever the model is in. A processor that has no instructions for it takes several times
as long for that as for all the rest of a step: one of `electra-mini` took 17 s on a core with AVX2 alone, 4.4 s in fp32
(docs/pretraining.md, "Optimizers").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch's Muon with the scale of AdamW (Liu et al. 2025, section 2.2), in the precision of the run.

    Args:
        params: matrices of hidden layers.
        lr: learning rate, one for these and for what AdamW updates.
        momentum: share of the momentum that stays, with Nesterov's step.
        weight_decay: decoupled.
        bf16: iterate in bfloat16, as torch does; otherwise in fp32.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float, *, bf16: bool
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._bf16 = bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        if self._bf16:
            super().step(closure)  # type: ignore[no-untyped-call]
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None  # by `step`
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonal(gradient.lerp(momentum, group["momentum"]), group["ns_coefficients"], group["ns_steps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Nearly the orthogonal matrix next to a matrix: its singular values, all but the smallest, become 0.7 to 1.2.

    An iteration is `x = p(x @ x.T) @ x` with `p(s) = a + b s + c s²`. All the polynomials are functions of one matrix,
    the first `x @ x.T`, and commute: they are multiplied with each other in the short dimension, and with `x` at the
    end, which for the feed-forward matrices of a BERT takes 0.56 of the arithmetic.

    Args:
        matrix: `[O, I]`, fp32.
        coefficients: a, b and c.
        steps: iterations, at least one.

    Returns:
        A new matrix, `[O, I]`.
    """
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    if 2 * x.shape[0] > x.shape[1]:  # nearly square: there is nothing to gain
        for _ in range(steps):
            x = _polynomial(x @ x.T, *coefficients) @ x
    else:
        square = x @ x.T
        factor = product = _polynomial(square, *coefficients)
        for _ in range(steps - 1):
            square = factor @ square @ factor
            factor = _polynomial(square, *coefficients)
            product = factor @ product
        x = product @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def _polynomial(square: Tensor, a: float, b: float, c: float) -> Tensor:
    """`a + b s + c s²` of a square matrix."""
    value: Tensor = torch.addmm(square, square, square, beta=b, alpha=c)
    value.diagonal().add_(a)
    return value
