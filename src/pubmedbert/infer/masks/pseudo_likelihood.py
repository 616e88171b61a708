"""How likely given words are in place of a mask, however many pieces they have.

A target of n pieces stands in n places; the score of each piece is its log-probability with that piece masked and
some of the others, too. Which ones is the difference between the methods (`SCORINGS`); the pseudo-log-likelihood is
the sum. For a target of one piece all are the same: the probability that transformers reports.

- `word-l2r` (the default): the later pieces of the same word are masked, too. Kauf and Ivanova (2023) show that this is
  better than the original, which takes rare words for likely ones: given all pieces of "tyros ##ine" but one, that one
  is no surprise. For a single word it is the probability by the chain rule, the quantity of `decode`.
- `original`: nothing else is masked (Salazar et al. 2020).
- `l2r`: all later pieces are masked, those of later words, too: the chain rule over the whole target. It differs from
  `word-l2r` for targets of several words, whose other words give each other away there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.infer.engine import Engine
from pubmedbert.infer.masks.masked_text import MaskedText
from pubmedbert.infer.masks.packs import Asked, log_normaliser, scored
from pubmedbert.infer.tokenizer import ModelTokenizer

Scoring = Literal["word-l2r", "original", "l2r"]
SCORINGS: tuple[Scoring, ...] = ("word-l2r", "original", "l2r")

Target = tuple[int, ...]
_Wanted = dict[int, list[tuple[int, int]]]
"""By place in a row: the targets whose score wants a piece there, and that piece."""


def pseudo_log_likelihoods(
    engine: Engine,
    texts: Sequence[MaskedText],
    targets: Sequence[Target],
    tokenizer: ModelTokenizer,
    scoring: Scoring = "word-l2r",
) -> list[NDArray[np.float64]]:
    """Score every target at every mask; a text's other masks stay as they are.

    Args:
        engine: the model.
        texts: no longer than the model reads, with the longest target in place of any mask.
        targets: the pieces of each.
        tokenizer: of the model.
        scoring: the method; see above.

    Returns:
        For each text `[masks, targets]` pseudo-log-likelihoods: sums over the pieces of a target, in nats.
    """
    ends = [_word_ends(target, tokenizer) for target in targets]
    scores = [np.zeros((len(text.places), len(targets))) for text in texts]

    def asked() -> Iterator[Asked[tuple[NDArray[np.float64], _Wanted]]]:
        for text, found in zip(texts, scores, strict=True):
            for mask, place in enumerate(text.places):
                for row, wanted in _rows(text.row, place, targets, ends, scoring).items():
                    yield (found[mask], wanted), row, list(wanted)

    for (found, wanted), logits in scored(engine, asked()):
        for pieces, place in zip(wanted.values(), logits, strict=True):  # [V]
            normaliser = log_normaliser(place)
            for target, piece in pieces:
                found[target] += float(place[piece]) - normaliser
    return scores


def _rows(
    row: tuple[int, ...], place: int, targets: Sequence[Target], ends: Sequence[Sequence[int]], scoring: Scoring
) -> dict[tuple[int, ...], _Wanted]:
    """The rows that the targets at one mask need: targets share the rows in which they are masked alike."""
    mask = row[place]
    rows: dict[tuple[int, ...], _Wanted] = {}
    for number, target in enumerate(targets):
        for index, piece in enumerate(target):
            end = {"word-l2r": ends[number][index], "original": index + 1, "l2r": len(target)}[scoring]
            shown = (*target[:index], *[mask] * (end - index), *target[end:])
            filled = (*row[:place], *shown, *row[place + 1 :])
            rows.setdefault(filled, {}).setdefault(place + index, []).append((number, piece))
    return rows


def _word_ends(target: Target, tokenizer: ModelTokenizer) -> list[int]:
    """For each piece, where its word ends in the target: one past its last piece."""
    ends = [len(target)] * len(target)
    for index in reversed(range(len(target) - 1)):
        ends[index] = ends[index + 1] if tokenizer.continues(target[index + 1]) else index + 1
    return ends
