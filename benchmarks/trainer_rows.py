"""Our rows as the transformers Trainer's collators take them, so that both train on the same word pieces."""

from __future__ import annotations

from typing import Any

from pubmedbert.finetune.data import Encoded, Target


def trainer_row(encoded: Encoded, number: int, target: Target | None) -> dict[str, Any]:
    """An example that fits in one row.

    Args:
        encoded: the examples.
        number: which of them.
        target: its tag numbers, where the word pieces that continue a word have none, or its zeros and ones; None where
            it is only predicted.
    """
    row = encoded.rows[number][0]
    example: dict[str, Any] = {"input_ids": list(row.tokens), "attention_mask": [1] * len(row.tokens)}
    if not row.words:
        return example if target is None else example | {"labels": target.tolist()}
    labels = [-100] * len(row.tokens)
    for place, word in zip(row.where, row.words, strict=True):
        labels[place] = 0 if target is None else int(target[word])
    return example | {"labels": labels}
