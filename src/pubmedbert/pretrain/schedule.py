"""What a step is made with: phase, rows, masked share and learning rate, as functions of how far the run is.

How far a run is goes from 0 to 1: the steps done of its `steps`, or the seconds trained of its `minutes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from pubmedbert.pretrain.recipe import Recipe

FIRST_STEP = 1.0
"""Seconds that a process takes its first step to need, or a thousandth of the run if that is less."""


@dataclass(frozen=True)
class Moment:
    """The settings of one step."""

    phase: int
    """Number of the phase, from 0."""
    length: int
    """Longest row."""
    rows: int
    """Rows in the step."""
    mask_share: float
    """Share of word pieces to predict."""
    lr: float
    """Learning rate."""


def moment(recipe: Recipe, before: float, after: float) -> Moment:
    """The settings of the step that takes the run from `before` to `after`.

    Args:
        recipe: of the run.
        before: share of the run that is done when the step starts.
        after: share that is done when it ends.
    """
    stages = recipe.stages()
    ends = list(accumulate(stage.share for stage in stages))
    phase = min(sum(end <= before + 1e-9 for end in ends), len(stages) - 1)
    stage = stages[phase]
    rate = recipe.lr * stage.lr * learning_rate(recipe, before, after)
    return Moment(phase, stage.length, _rows(recipe, stage.rows, before), mask_share(recipe, phase, before), rate)


def position(recipe: Recipe, step: int, seconds: float, last: float) -> tuple[float, float]:
    """How far the run is before and after a step.

    Args:
        recipe: of the run.
        step: steps done.
        seconds: trained so far.
        last: seconds of the step before, which the step at hand is expected to take too; 0 where there was none.
    """
    if recipe.minutes:
        budget = recipe.minutes * 60
        expected = last or min(FIRST_STEP, budget / 1000)
        return min(seconds / budget, 1.0), min((seconds + expected) / budget, 1.0)
    return step / recipe.steps, (step + 1) / recipe.steps


def complete(recipe: Recipe, step: int, seconds: float) -> bool:
    """Whether a run that has come so far is at its end."""
    return position(recipe, step, seconds, 0.0)[0] >= 1


def learning_rate(recipe: Recipe, before: float, after: float) -> float:
    """The learning rate as a share of its highest: up over the warm-up, and zero when the run ends.

    The linear schedule is that of Gu et al. 2020, section 3.1; wsd holds the rate until the last `decay` of the run
    (Hu et al. 2024, section 4).
    """
    if after <= recipe.warmup > 0:
        return after / recipe.warmup
    left = 1 - before
    falling = max(1 - recipe.warmup, 1e-9)
    if recipe.schedule == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * min(1.0, left / falling))
    if recipe.schedule == "wsd":
        falling = max(recipe.decay, 1e-9)
    return min(1.0, left / falling)


def mask_share(recipe: Recipe, phase: int, before: float) -> float:
    """The share of word pieces to predict in a phase, when so much of the run is done."""
    if recipe.phases and recipe.phases[phase].mask_share:
        return recipe.phases[phase].mask_share
    if not recipe.mask_share_end:
        return recipe.mask_share
    return recipe.mask_share + (recipe.mask_share_end - recipe.mask_share) * before


def _rows(recipe: Recipe, rows: int, before: float) -> int:
    if not recipe.rows_start or before >= recipe.ramp:
        return rows
    return round(recipe.rows_start + (rows - recipe.rows_start) * before / recipe.ramp)
