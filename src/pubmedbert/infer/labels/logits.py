"""Logits of examples that are one row or several windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pubmedbert.infer.labels.rows import Row
from pubmedbert.model.head import Head


def gather(
    head: Head, examples: Sequence[Sequence[Row]], scored: Iterable[tuple[Row, NDArray[np.floating]]]
) -> list[NDArray[np.float64]]:
    """Logits of each example from those of its windows.

    The classifier is linear, so the mean of the windows' logits is that of their mean state.

    Args:
        head: of the model.
        examples: the windows of each; numbered from 0 in this order.
        scored: every window with its logits: `[W, C]` for the W words it classifies at token level, `[C]` at text
            level.

    Returns:
        `[W, C]` for all words of an example, or `[C]`.
    """
    words = head.level == "tokens"
    shapes = [[sum(len(row.words) for row in rows)] if words else [] for rows in examples]
    logits = [np.zeros((*shape, len(head.labels))) for shape in shapes]
    for row, scores in scored:
        if words:
            logits[row.example][list(row.words)] = scores
        else:
            logits[row.example] += scores.astype(np.float64) / len(examples[row.example])
    return logits
