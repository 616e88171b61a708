"""Linear layers on the faster of the two matrix products that torch has for a CPU, oneDNN's and MKL's.

For fp32 torch calls MKL. On an AMD EPYC with AVX-512 oneDNN was 1.2 to 1.4 times as fast in the shapes of a BERT-base,
but for the gradient of the weights, where the two are equal. On one with AVX2 alone they are equal to a tenth, but for
the gradient of the input: there oneDNN takes 1.4 to 1.9 times as long at the width of a BERT-base, and no longer at
that of `small` (`python -m benchmarks.products`, commit b7a4333). Results differ in the last bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether this torch has oneDNN's product."""
INPUT_BY_MKL = torch.backends.cpu.get_cpu_capability() == "AVX2"
"""Whether the gradient of the input is MKL's."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias`: `[N, I]`, `[O, I]` and `[O]` to `[N, O]`."""
    if not _suits(x, weight) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    return _Product.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class Linear(nn.Linear):
    """`torch.nn.Linear` that computes by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """`[N, I]` to `[N, O]`."""
        return linear(x, self.weight, self.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `linear` computes, without a gradient."""
    if not _suits(x, weight):
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]


def of_input(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the input, `[N, I]`, from that of the output, `[N, O]`, and the weight, `[O, I]`."""
    return gradient @ weight if INPUT_BY_MKL else product(gradient, weight.t(), None)


def of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of the weight, `[O, I]`, from that of the output, `[N, O]`, and the input, `[N, I]`."""
    return gradient.t() @ x


def _suits(x: Tensor, weight: Tensor) -> bool:
    fp32 = x.dtype == torch.float32 == weight.dtype
    return HAS_ONEDNN and x.device.type == "cpu" and fp32 and x.ndim == 2 and x.numel() > 0


class _Product(torch.autograd.Function):
    """The three products of a linear layer: the output, the gradient of the input and that of the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()  # [N, O]
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            of_input(gradient, weight) if for_x else None,
            of_weight(gradient, x) if for_weight else None,
            gradient.sum(dim=0) if for_bias else None,
        )
