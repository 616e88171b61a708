"""Dropout whose random bits cost little: sixteen bits an activation, drawn four at a time.

On a CPU `torch.nn.functional.dropout` draws a 64-bit number for each activation, one after the other: that takes longer
than the GELU of the same tensor by a factor of tens. Here one such draw serves four.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LOWEST = -(2**15)


class _Masked(torch.autograd.Function):
    """`x * mask`, whose gradient is `gradient * mask` and needs nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p) (Srivastava et al. 2014).

    Args:
        x: any shape.
        p: from 0 to below 1, taken to the nearest of 65,536 steps. The bits come from torch's generator, so
            `torch.manual_seed` decides them.

    Returns:
        A tensor of the shape of `x`.
    """
    steps = round(p * 2**16)
    if steps == 0:
        return x
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.dropout(x, p)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    mask = torch.ge(bits, _LOWEST + steps, out=torch.empty_like(x))  # 1.0 where it is kept
    return _Masked.apply(x, mask.mul_(1 / (1 - steps / 2**16)))  # type: ignore[no-any-return, no-untyped-call]


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of any shape to one of the same shape."""
        return dropout(x, self.p) if self.training else x
