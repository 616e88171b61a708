"""Guards of a run: steps that would harm it are skipped, and a run that learns nothing is told so.

A spike may be the fault of its rows, so that step is skipped. Where the next rows have one, too, the weights are at
fault, which skipping would leave as they are: those steps are taken, their gradients clipped, and lead them back, or
the run goes back to its last checkpoint.

What a guard knows comes from the lines of metrics.jsonl, so a resumed run judges as one that was never stopped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

from pubmedbert.pretrain.recipe import Recipe

WINDOW = 128
"""Good steps that a median is taken over."""
ENOUGH = 32
"""Good steps before anything is called a spike."""
NEAR = 0.05
"""A run this close to the unigram loss, in nats, is stuck at it."""


class Verdict(NamedTuple):
    """What a guard says of a step."""

    reason: str
    """What is wrong with it; empty where it is good."""
    skip: bool
    """Whether the weights are not to follow it."""


class Guard:
    """Judges the steps of a run.

    Args:
        recipe: of the run.
        lines: of its metrics so far.
    """

    def __init__(self, recipe: Recipe, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self._spike = recipe.spike
        self._most_skips = recipe.most_skips
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self.in_a_row = 0
        """Steps that were bad since the last good one."""
        self.warned = False
        """Whether the run was found stuck."""
        for line in lines:
            self.warned |= "stuck" in line
            if "skipped" in line or "spike" in line:
                self.in_a_row += 1
            elif "rolled_back_from" in line:
                self.in_a_row = 0
            elif "grad_norm" in line:
                self._good(line.get("loss"), line["grad_norm"])

    def judge(self, loss: float | None, norm: float) -> Verdict:
        """Whether a step is good, and what is to be done with it if not.

        Args:
            loss: of the step; none where nothing was to be predicted in it, which tells nothing of other steps.
            norm: of its gradient, before clipping.
        """
        finite = math.isfinite(loss or 0.0) and math.isfinite(norm)
        reason = self._spiked(loss, norm) if finite else "not finite"
        verdict = Verdict(reason, skip=not finite or (bool(reason) and not self.in_a_row))
        if reason:
            self.in_a_row += 1
        else:
            self._good(loss, norm)
        return verdict

    @property
    def exhausted(self) -> bool:
        """Whether so many steps were bad in a row that the run had better go back."""
        return self.in_a_row >= self._most_skips

    def stuck(self, loss: float, unigram: float, done: float, warmup: float) -> bool:
        """Whether a run well past its warm-up still predicts no better than word frequencies do; said once.

        Args:
            loss: held-out.
            unigram: the loss of the unigram model on the same masks.
            done: share of the run.
            warmup: share of the run in which the learning rate rises.
        """
        found = not self.warned and done >= max(2 * warmup, 0.1) and loss > unigram - NEAR
        self.warned |= found
        return found

    def _spiked(self, loss: float | None, norm: float) -> str:
        if loss is None or not self._spike or len(self._norms) < ENOUGH:
            return ""
        for name, value, recent in (("gradient", norm, self._norms), ("loss", loss, self._losses)):
            if value > self._spike * (usual := median(recent)):
                return f"{name} of {value:.3g}, usually {usual:.3g}"
        return ""

    def _good(self, loss: float | None, norm: float) -> None:
        self.in_a_row = 0
        if loss is not None:
            self._losses.append(loss)
            self._norms.append(norm)
