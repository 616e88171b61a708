"""Dropout whose coins cost little: a random word is tossed for 32 elements at a time.

On a CPU `torch.nn.functional.dropout` draws a 64-bit number for each activation, one after the other: that takes longer
than the GELU of the same tensor by a factor of tens. Here each bit of a word is the coin of an element of its own. A
fair coin is one random bit; `a & b` is tails twice, `a | b` heads at least once, so that words joined in the order of
the binary digits of p hold coins of probability p. Shifted to the left, a coin becomes the sign of a number, by which
vector instructions can choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DIGITS = 12
_STEPS = 1 << _DIGITS
"""A probability has so many binary digits, so it is a whole number of such steps."""


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p) (Srivastava et al. 2014).

    Args:
        x: any shape.
        p: from 0 to below 1, on a CPU taken to the nearest of 4,096 steps. `torch.manual_seed` decides what is dropped.

    Returns:
        A tensor of the shape of `x`.
    """
    if not on_cpu(x):
        return F.dropout(x, p)
    if steps(p) == 0:
        return x
    return _Dropped.apply(x, factors(x, p))  # type: ignore[no-any-return, no-untyped-call]


def dropout_add(x: Tensor, residual: Tensor, p: float) -> Tensor:
    """`residual + dropout(x, p)`, in one pass over the three on a CPU."""
    if not on_cpu(x) or steps(p) == 0:
        return residual + dropout(x, p)
    return _DroppedAdded.apply(x, residual, factors(x, p))  # type: ignore[no-any-return, no-untyped-call]


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of any shape to one of the same shape."""
        return dropout(x, self.p) if self.training else x

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """`residual + self(x)`."""
        return dropout_add(x, residual, self.p) if self.training else residual + x


def on_cpu(x: Tensor) -> bool:
    """Whether a tensor's coins are tossed here; those of other devices and number formats are torch's affair."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64, torch.bfloat16)


def steps(p: float) -> int:
    """The nearest of 4,096 steps to a probability, less than the whole."""
    return min(round(p * _STEPS), _STEPS - 1)


def scale(p: float) -> float:
    """What kept elements are multiplied by, for the p that is tossed."""
    return 1 / (1 - steps(p) / _STEPS)


def coins(shapes: Sequence[Sequence[int]], threshold: int) -> Iterator[Tensor]:
    """Numbers whose signs are coins: int32 of each shape, below zero with probability `threshold` / 4,096.

    All are tossed at once, as a toss is some thirty calls, and spread out one by one, so that they stay in the cache.
    """
    counts = [prod(shape) for shape in shapes]
    words = [-(-count // 32) for count in counts]
    shifts = torch.arange(32, dtype=torch.int32)[:, None]  # [32, 1]
    for shape, count, tossed in zip(shapes, counts, torch.split(_toss(sum(words), threshold), words), strict=True):
        yield torch.bitwise_left_shift(tossed, shifts).flatten()[:count].view(tuple(shape))


def factors(x: Tensor, p: float) -> Tensor:
    """0 or `scale(p)` for each element of a tensor, in fp32, in which 1 / (1 - p) is exact enough, or in fp64."""
    (kept,) = coins([x.shape], _STEPS - steps(p))
    kept.clamp_(-1, 0)  # all bits of an element are its sign
    bits = torch.tensor(scale(p), dtype=torch.float32).view(torch.int32)
    return torch.bitwise_and(kept, bits, out=kept).view(torch.float32).to(torch.promote_types(x.dtype, torch.float32))


def _toss(count: int, threshold: int) -> Tensor:
    """`[count]` int32 words, each of whose bits is 1 with probability `threshold` / 4,096."""
    digits = [threshold >> place & 1 for place in range(_DIGITS)]
    if not any(digits):
        return torch.zeros(count, dtype=torch.int32)
    digits = digits[digits.index(1) :]  # from the last that is 1: a fair coin
    pairs = -(-count // 2)
    seed = torch.randint(2**63 - 1, ()).item()
    draws = np.random.SFC64(int(seed)).random_raw(pairs * len(digits))
    joined, *planes = torch.from_numpy(draws.view(np.int64)).view(len(digits), pairs).unbind(0)
    for digit, plane in zip(digits[1:], planes, strict=True):
        joined = joined.bitwise_or_(plane) if digit else joined.bitwise_and_(plane)
    return torch.narrow(joined.view(torch.int32), 0, 0, count)


class _Dropped(torch.autograd.Function):
    """`x * factors`, whose gradient needs nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor) -> Tensor:
        ctx.save_for_backward(factors)
        return (x * factors).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factors,) = ctx.saved_tensors
        return (gradients[0] * factors).to(gradients[0].dtype), None


class _DroppedAdded(torch.autograd.Function):
    """`residual + x * factors`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, factors: Tensor) -> Tensor:
        ctx.save_for_backward(factors)
        ctx.dtype = x.dtype
        return torch.addcmul(residual, x.to(residual.dtype), factors.to(residual.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (factors,) = ctx.saved_tensors
        return (gradients[0] * factors).to(ctx.dtype), gradients[0], None
