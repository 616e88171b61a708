"""What an objective is to the loop: terms of a loss over packs, each a sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pubmedbert.model.config import ModelConfig
from pubmedbert.shards.samples import Pack

_MEANS = ("loss", "accuracy")


@dataclass(frozen=True)
class Term:
    """One part of a loss over a pack."""

    total: Tensor
    """Sum over its places, in nats."""
    right: Tensor
    """Predictions that are right, a count."""
    count: int
    """Places in this pack."""
    weight: float
    """In the loss."""


class Objective(Protocol):
    """Losses, and the model they train. The step's loss is the weighted sum of the terms' means over its packs."""

    main: str
    """The term that `loss` and `eval_loss` report."""

    def build(self, config: ModelConfig) -> nn.Module:
        """A model of that shape with the heads it needs."""

    def initialise(self, model: nn.Module, seed: int) -> None:
        """Draw the model's first weights; equal seeds give equal weights."""

    def counts(self, pack: Pack) -> dict[str, int]:
        """Places of each term: known before the pass, so that gradients are of the mean over the whole batch."""

    def terms(self, model: nn.Module, pack: Pack, seed: int) -> dict[str, Term]:
        """The terms over a pack; `seed` decides all that is drawn in the pass (dropout, samples of a generator)."""

    def flops(self, model: nn.Module, pack: Pack) -> float:
        """FLOPs that forward and backward over a pack need."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the model to an existing folder in Hugging Face's layout."""

    def load(self, model: nn.Module, folder: Path) -> None:
        """Fill the model from a folder that `save` wrote."""


def evaluate_terms(target: Objective, model: nn.Module, packs: Sequence[Pack], seed: int = 0) -> dict[str, float]:
    """Means over packs without dropout: for each term its loss in nats and the share of right predictions.

    Args:
        target: whose terms are evaluated.
        model: that the objective built.
        packs: what to predict.
        seed: of what an objective draws in the pass.

    Returns:
        `NAME_loss` and `NAME_accuracy` of each term that has a place in the packs.
    """
    sums: dict[str, list[float]] = {}
    training = model.training
    model.eval()
    with torch.inference_mode():
        for pack in packs:
            for name, term in target.terms(model, pack, seed).items():
                so_far = sums.setdefault(name, [0.0, 0.0, 0.0])
                for place, value in enumerate((term.total.item(), term.right.item(), term.count)):
                    so_far[place] += value
    model.train(training)
    means = {name: (total / count, right / count) for name, (total, right, count) in sums.items() if count}
    return {f"{name}_{what}": value for name, pair in means.items() for what, value in zip(_MEANS, pair, strict=True)}
