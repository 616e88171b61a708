"""Cross-entropy over a vocabulary, fused with the product that scores it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pubmedbert.model.linear import linear, of_input, of_weight, product

_CACHED = 1 << 19
"""Logits that are worked on at a time: 2 MB, which stay in a processor's cache."""


def vocabulary_loss(states: Tensor, words: Tensor, bias: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `states @ words.T + bias`.

    On a CPU the logits become their own gradient, block by block, and are written to memory twice in all.

    Args:
        states: `[M, D]`.
        words: `[V, D]`.
        bias: `[V]`.
        labels: `[M]` the pieces that are right.

    Returns:
        The sum of the losses in nats, and how many of the M best pieces are right.
    """
    if states.device.type != "cpu":
        logits = linear(states, words, bias).float()
        return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()
    total, right = _VocabularyLoss.apply(states, words, bias, labels)  # type: ignore[no-untyped-call]
    return total, right


class _VocabularyLoss(torch.autograd.Function):
    """The gradient of a row of logits is its softmax, less one at the label."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, words: Tensor, bias: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        ctx.dtypes = states.dtype, words.dtype, bias.dtype
        if torch.is_autocast_enabled("cpu"):
            states, words, bias = (x.to(torch.get_autocast_dtype("cpu")) for x in (states, words, bias))
        logits = product(states, words, bias)  # [M, V]
        rows = max(1, _CACHED // logits.shape[1])
        exact = torch.promote_types(logits.dtype, torch.float32)
        losses, right = states.new_empty(len(states), 1, dtype=exact), torch.empty(len(states), 1, dtype=torch.bool)
        blocks = zip(*(torch.split(x, rows) for x in (logits, labels[:, None], losses, right)), strict=True)
        for stored, label, loss, hit in blocks:  # [R, V], [R, 1], [R, 1], [R, 1]
            block = stored.to(exact)  # itself, but for bf16
            block.sub_(block.amax(1, keepdim=True))
            picked = block.gather(1, label)
            torch.eq(picked, 0, out=hit)
            if block is not stored:  # in bf16 pieces tie: the first of them is the best
                hit.logical_and_(stored.argmax(1, keepdim=True) == label)
            sums = block.exp_().sum(1, keepdim=True)
            torch.sub(sums.log(), picked, out=loss)
            block.mul_(sums.reciprocal_())
            block.scatter_add_(1, label, picked.fill_(-1))
            if block is not stored:
                stored.copy_(block)
        ctx.save_for_backward(states, words, logits)
        hits = right.sum()
        ctx.mark_non_differentiable(hits)
        return losses.sum(), hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        states, words, of_logits = ctx.saved_tensors
        factor = gradients[0]
        found = (of_input(of_logits, words), of_weight(of_logits, states), of_logits.sum(0, dtype=factor.dtype))
        of_states, of_words, of_bias = (x.to(dtype).mul_(factor) for x, dtype in zip(found, ctx.dtypes, strict=True))
        return of_states, of_words, of_bias, None
