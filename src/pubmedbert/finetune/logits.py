"""Logits of a model that is being fine-tuned: each window is computed apart, so memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pubmedbert.infer.labels.logits import gather
from pubmedbert.infer.labels.rows import Row, batches, pack
from pubmedbert.model.tuned import Tuned

PACK_TOKENS = 1024
"""Most word pieces computed at once: larger packs leave the processor's caches."""


def example_logits(
    model: Tuned, examples: Sequence[Sequence[Row]], done: Callable[[float], None] = lambda _: None
) -> list[NDArray[np.float64]]:
    """Logits of each example: `[W, C]` for its W words at token level, `[C]` at text level.

    Args:
        model: in evaluation mode.
        examples: the windows of each; numbered from 0 in this order.
        done: called after each pack, with the share of the rows that are computed.
    """
    return gather(model.head, examples, _scored(model, [row for rows in examples for row in rows], done))


def _scored(
    model: Tuned, rows: Sequence[Row], done: Callable[[float], None]
) -> Iterator[tuple[Row, NDArray[np.float64]]]:
    """Each row with its logits, in any order."""
    words, computed = model.head.level == "tokens", 0
    for chosen in batches([[row] for row in rows], PACK_TOKENS):
        packed = pack([rows[number] for number in chosen])
        arrays = (torch.from_numpy(array) for array in (packed.tokens, packed.positions, packed.types))
        with torch.inference_mode():
            where = torch.from_numpy(packed.where) if words else None
            scores = model(*arrays, packed.lengths, where).double().numpy()
        computed += len(packed.rows)
        done(computed / len(rows))
        start = 0
        for number, row in enumerate(packed.rows):
            if words:
                yield row, scores[start : start + len(row.words)]
                start += len(row.words)
            else:
                yield row, scores[number]
