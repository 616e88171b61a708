"""Linear layers on oneDNN's matrix product, which torch has but calls for other number formats only.

For fp32 on a CPU torch calls MKL. On an AMD EPYC oneDNN was 1.2 to 1.4 times as fast in the shapes of a BERT-base, but
for the gradient of the weights, where the two are equal. Results differ in the last bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias`: `[N, I]`, `[O, I]` and `[O]` to `[N, O]`."""
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32 or x.ndim != 2
    if plain or not _HAS_ONEDNN or x.numel() == 0 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    return _Product.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class Linear(nn.Linear):
    """`torch.nn.Linear` that computes by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """`[N, I]` to `[N, O]`."""
        return linear(x, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """The three products of a linear layer: the output, the gradient of the input and that of the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()  # [N, O]
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t(), None) if of_x else None,  # [N, I]
            gradient.t() @ x if of_weight else None,  # [O, I]
            gradient.sum(dim=0) if of_bias else None,  # [O]
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
