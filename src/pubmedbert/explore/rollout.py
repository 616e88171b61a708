"""Attention rollout (Abnar and Zuidema 2020): how much of each input reaches each place, if states mix as attended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESIDUAL = 0.5
"""The share of a layer's output that is its input, by the residual connection (section 3 of the paper)."""


def rollout(attentions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Attention through all layers up to each.

    Args:
        attentions: `[layers, H, T, T]`; heads are averaged.

    Returns:
        `[layers, T, T]`: after each layer, the share of each input (third axis) in each place (second); rows add up
        to 1.
    """
    layers, _, length, _ = attentions.shape
    unit = np.eye(length, dtype=np.float32)
    rolled = np.empty((layers, length, length), np.float32)
    before = unit
    for layer, heads in enumerate(attentions):
        before = ((1 - RESIDUAL) * heads.mean(axis=0) + RESIDUAL * unit) @ before
        rolled[layer] = before
    return rolled
