"""LAMB: Adam's update, scaled for each matrix to the matrix's own norm (You et al. 2020, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """LAMB with bias correction and decoupled weight decay.

    Args:
        params: groups; in one with `adapt = False` the update is Adam's own, as is usual for biases and norms.
        lr: learning rate.
        betas: decay of the first and the second moment.
        eps: added to the square root of the second moment.
        weight_decay: added to the update before its norm is taken.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "adapt": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        first, second, step = state["exp_avg"], state["exp_avg_sq"], state["step"].item()
        gradient = parameter.grad
        assert gradient is not None  # by `step`
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        update = (first / (1 - beta1**step)).div_((second / (1 - beta2**step)).sqrt_().add_(group["eps"]))
        update.add_(parameter, alpha=group["weight_decay"])
        parameter.addcmul_(update, _trust(parameter, update, adapt=group["adapt"]), value=-group["lr"])


def _trust(parameter: Tensor, update: Tensor, *, adapt: bool) -> Tensor:
    """The norm of the parameter over that of its update; 1 where either is zero."""
    one = torch.ones((), device=parameter.device)
    if not adapt:
        return one
    size, change = parameter.norm(), update.norm()
    return torch.where((size > 0) & (change > 0), size / change, one)
