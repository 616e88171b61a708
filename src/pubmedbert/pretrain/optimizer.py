"""AdamW with bias correction, and a learning rate that rises and falls linearly (Gu et al. 2020, section 3.1)."""

from __future__ import annotations

import torch
from torch import nn

from pubmedbert.pretrain.recipe import Recipe


def adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW for the model: matrices decay, biases and norms do not (Loshchilov & Hutter 2019).

    The fused kernel is asked for by name: on a CPU torch's default, `foreach`, is many times slower.
    """
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps, fused=True)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step, counted from 0: up over the warm-up, then down to zero after the last step."""
    warmup = recipe.warmup * recipe.steps
    if step + 1 <= warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * min(1.0, (recipe.steps - step) / max(recipe.steps - warmup, 1.0))
