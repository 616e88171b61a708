"""Occlusion: each word, or word piece, hidden in turn, and how the model's answer changes. No gradients are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.rows import Row
from pubmedbert.explore.view import ExploredModel
from pubmedbert.infer.masks.packs import log_normaliser

BATCH = 2048
"""Word pieces computed between two reports of progress; one row may be longer."""


@dataclass(frozen=True)
class Occlusion:
    """What hiding does to an answer."""

    answer: str
    """The piece, tag or class whose log-probability is followed."""
    before: float
    """Its log-probability (of a regression, the score) with nothing hidden, in nats."""
    places: list[list[int]]
    """The places of each of the U units, those of a word together, in the order of the row."""
    changes: NDArray[np.float64]
    """`[U]` what is added to `before` where a unit is hidden: below 0 where it had spoken for the answer."""


def occlude(
    model: ExploredModel,
    row: Row,
    *,
    place: int | None = None,
    answer: str | None = None,
    words: bool = True,
    advance: Callable[[int], object] | None = None,
) -> Occlusion:
    """Hide each unit of a row by [MASK].

    It takes a pass for each unit: seconds for a sentence.

    Args:
        model: what is asked.
        row: from `model.read`; what is masked in it stays so.
        place: where the answer is given: asked of a model that fills masks, which sees [MASK] there, and of one that
            tags words. None where texts are classified.
        answer: the piece, tag or class that is followed; None follows the most probable one.
        words: hide whole words; otherwise single word pieces.
        advance: told how many units are done, each time.

    Raises:
        InputError: `place` holds no word, or none is given; there is no such answer; the model has no head.
    """
    if model.kind == "encoder":
        raise InputError("this model has no head, so there is no answer that hiding a word could change")
    asks_place = model.vocabulary is not None or (model.tuned is not None and model.tuned.head.level == "tokens")
    if asks_place and place is None:
        raise InputError("occlusion follows the answer at the place of a word; name the place")
    if asks_place and (place is None or not 0 <= place < len(row.tokens) or row.tokens[place].special):
        raise InputError(f"occlusion follows the answer at the place of a word, which {place} is not")
    given = [place] if model.vocabulary and place is not None else []
    units = list(row.words().values()) if words else [[one] for places in row.words().values() for one in places]
    units = sorted(units)
    mask = model.tokenizer.mask_id
    plain = row.ids(mask, given)
    versions = [row.ids(mask, [*given, *unit]) for unit in units]
    first = _logs(model, row, [plain], place)[0]  # [C] or [V]
    target, name = _target(model, first, answer)
    changes = np.zeros(len(units))
    changed = [unit for unit, version in enumerate(versions) if version != plain]
    rows = max(1, BATCH // len(plain))
    for start in range(0, len(changed), rows):
        batch = changed[start : start + rows]
        logs = _logs(model, row, [versions[unit] for unit in batch], place)
        changes[batch] = [one[target] - first[target] for one in logs]
        if advance is not None:
            advance(len(batch))
    return Occlusion(name, float(first[target]), units, changes)


def _logs(
    model: ExploredModel, row: Row, rows: Sequence[Sequence[int]], place: int | None
) -> list[NDArray[np.float64]]:
    """Log-probabilities of all answers, `[V]` or `[C]`, for each version of a row."""
    if model.vocabulary is not None:
        assert place is not None
        states = model.encoder.hidden(rows, [[place]] * len(rows), [row.second] * len(rows))
        logits = model.vocabulary.logits(np.concatenate(states))  # [N, V]
        return [one.astype(np.float64) - log_normaliser(one) for one in logits]
    assert model.tuned is not None
    found = [model.tuned.log_shares(one) for one in model.tuned.logits(row, rows)]
    if model.tuned.head.level == "text":
        return found
    assert place is not None
    word = list(row.words()).index(row.tokens[place].word)
    return [one[word] for one in found]


def _target(model: ExploredModel, logs: NDArray[np.float64], answer: str | None) -> tuple[int, str]:
    """The number and the name of the answer that is followed."""
    if model.vocabulary is not None:
        pieces = model.tokenizer.pieces
        found = int(logs[: model.tokenizer.size].argmax()) if answer is None else pieces.token_to_id(answer)
        if found is None:
            raise InputError(f"{answer!r} is no word piece of this model")
        return found, str(pieces.id_to_token(found))
    assert model.tuned is not None
    labels = model.tuned.head.labels
    if answer is not None and answer not in labels:
        raise InputError(f"{answer!r} is no label of this model; it has {', '.join(labels)}")
    return (int(logs.argmax()), labels[int(logs.argmax())]) if answer is None else (labels.index(answer), answer)
