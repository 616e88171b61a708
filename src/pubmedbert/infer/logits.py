"""Logits of examples that are one row or several windows: each window is computed apart, so memory stays bounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pubmedbert.infer.rows import Row, batches, pack
from pubmedbert.model.tuned import Tuned

PACK_TOKENS = 1024
"""Most word pieces computed at once: larger packs leave the processor's caches."""


def example_logits(model: Tuned, examples: Sequence[Sequence[Row]]) -> list[NDArray[np.float64]]:
    """Logits of each example: `[W, C]` for its W words at token level, `[C]` at text level.

    The classifier is linear, so the mean of the windows' logits is that of their mean state.

    Args:
        model: in evaluation mode.
        examples: the windows of each; numbered from 0 in this order.
    """
    words = model.head.level == "tokens"
    shapes = [[sum(len(row.words) for row in rows)] if words else [] for rows in examples]
    logits = [np.zeros((*shape, len(model.head.labels))) for shape in shapes]
    rows = [row for example in examples for row in example]
    for chosen in batches([[row] for row in rows], PACK_TOKENS):
        packed = pack([rows[number] for number in chosen])
        arrays = (torch.from_numpy(array) for array in (packed.tokens, packed.positions, packed.types))
        with torch.inference_mode():
            where = torch.from_numpy(packed.where) if words else None
            scores = model(*arrays, packed.lengths, where).double().numpy()
        start = 0
        for number, row in enumerate(packed.rows):
            if words:
                logits[row.example][list(row.words)] = scores[start : start + len(row.words)]
                start += len(row.words)
            else:
                logits[row.example] += scores[number] / len(examples[row.example])
    return logits
