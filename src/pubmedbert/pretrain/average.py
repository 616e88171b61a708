"""An exponential average of the weights: steadier than the last ones, and what a run evaluates and exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average of a model's weights over its updates (Polyak & Juditsky 1992; Izmailov et al. 2018).

    Args:
        model: whose weights are averaged; the average starts from them.
        decay: weight of the past at each update. Early in a run it is less, so that the first weights are forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = list(model.parameters())
        self._decay = decay
        self._means = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take the weights after so many updates into the average."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(self._means, list(self._parameters), 1 - decay)

    @torch.no_grad()
    def restore(self) -> None:
        """Take the model's weights as the average."""
        torch._foreach_copy_(self._means, list(self._parameters))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the averaged weights, for the time of a block."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        try:
            self._fill(self._means)
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, values: list[Tensor]) -> None:
        """Copies: the optimizer holds views of the model's own memory."""
        torch._foreach_copy_(list(self._parameters), values)
