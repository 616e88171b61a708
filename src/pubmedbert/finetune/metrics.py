"""Every metric, defined once: what is counted, how it is averaged, and the sentence that reports print.

All F1s are of one kind: an example holds things (entities, tagged words, labels), each of a class. Counted are the
things that gold and prediction share, those predicted and those in gold; the metrics differ in what the things are, and
in whether classes are pooled (micro) or averaged (macro). Counts add up over examples: the bootstrap is fast by that.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.spans import entities

Gold = Sequence[str] | str | float | tuple[str, ...]
"""Of an example, in gold and predictions alike: tags, a class, a number, or the classes that hold."""
Counts = NDArray[np.int64]
Thing = tuple[str, Hashable]
"""A class, and what tells the things of one class in one example apart."""


@dataclass(frozen=True)
class Metric:
    """A metric and its definition."""

    name: str
    title: str
    definition: str
    """One sentence, with its source, that is printed wherever a score is."""
    unit: str = "%"
    """What 100 times the score is in."""
    things: Callable[[Any], set[Thing]] | None = field(default=None, repr=False)
    """What an example holds; None for a correlation."""
    average: Literal["micro", "macro"] = "micro"


def _entities(tags: Sequence[str]) -> set[Thing]:
    return {(kind, (start, end)) for kind, start, end in entities(tags)}


def _words(tags: Sequence[str]) -> set[Thing]:
    return {(tag, place) for place, tag in enumerate(tags) if tag != "O"}


def _label(label: str) -> set[Thing]:
    return {(label, None)}


def _labels(labels: Sequence[str]) -> set[Thing]:
    return {(label, None) for label in labels}


_ALL = (
    Metric(
        "entity_f1",
        "entity F1",
        "F1 over entities pooled from all sentences, where an entity is right if type, first and last word are "
        "(conlleval; Tjong Kim Sang & Buchholz 2000).",
        things=_entities,
    ),
    Metric(
        "word_macro_f1",
        "macro word F1",
        "The F1 over words of each class, averaged over the classes that are in gold or predicted, O left out (Gu et "
        "al. 2020 for EBM PICO; Nye et al. 2018).",
        things=_words,
        average="macro",
    ),
    Metric(
        "micro_f1",
        "micro F1",
        "F1 pooled over all classes but the negative one, whose right predictions count for nothing; where no class is "
        "negative it equals accuracy (Krallinger et al. 2017; Segura-Bedmar et al. 2013).",
        things=_label,
    ),
    Metric("accuracy", "accuracy", "The share of examples whose class is right (Gu et al. 2020).", things=_label),
    Metric(
        "macro_f1",
        "macro F1",
        "The F1 of each class but the negative one, if there is one, averaged over the classes that are in gold or "
        "predicted (Sokolova & Lapalme 2009).",
        things=_label,
        average="macro",
    ),
    Metric(
        "multilabel_f1",
        "micro F1",
        "F1 pooled over all pairs of document and label, of which those that hold count as positive (Gu et al. 2020 "
        "for HoC, at the level of abstracts).",
        things=_labels,
    ),
    Metric(
        "pearson",
        "Pearson correlation",
        "Pearson's correlation of predicted and gold values, 0 where the predictions are constant (Gu et al. 2020 for "
        "BIOSSES).",
        unit="×100",
    ),
    Metric(
        "spearman",
        "Spearman correlation",
        "Spearman's rank correlation of predicted and gold values, ties at their mean rank, 0 where the predictions "
        "are constant (Spearman 1904).",
        unit="×100",
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""The metrics by name."""


def score(
    metric: str,
    gold: Sequence[Gold],
    predicted: Sequence[Gold],
    *,
    labels: Sequence[str] = (),
    negative: str | None = None,
) -> float:
    """The score of predictions, from 0 to 1, or from -1 to 1 for a correlation.

    Args:
        metric: a name in `METRICS`.
        gold: of each example; tags for `entity_f1` and `word_macro_f1`, a number for a correlation, the labels that
            hold for `multilabel_f1`, one label for the others.
        predicted: the same of the predictions.
        labels: the classes that a macro average is over; those in gold unless given.
        negative: the class left out of `micro_f1` and `macro_f1`.

    Raises:
        ValueError: there is nothing to score, or gold and predictions differ in length.
        InputError: no such metric, or no such tag.
    """
    if of(metric).things is None:
        return float(correlation(metric, *values(gold, predicted)))
    return float(from_counts(counts(metric, gold, predicted, labels=labels, negative=negative).sum(axis=0)))


def details(
    metric: str,
    gold: Sequence[Gold],
    predicted: Sequence[Gold],
    *,
    labels: Sequence[str] = (),
    negative: str | None = None,
) -> dict[str, object]:
    """What a score is made of, ready for JSON; arguments and errors are those of `score`.

    Returns:
        `examples`, and but for correlations `classes`: precision, recall, F1 and support (the number in gold) of each;
        for F1s that pool the classes the same of them all under `overall`.
    """
    found: dict[str, object] = {"examples": len(gold)}
    if of(metric).things is None:
        values(gold, predicted)
        return found
    classes, things = _by_class(metric, gold, predicted, labels, negative)
    totals = np.zeros((len(classes) or 1, 3), np.int64)
    for _, place, kind in things:
        totals[place, kind] += 1
    if of(metric).average == "micro" and metric != "accuracy":
        found["overall"] = _rates(totals.sum(axis=0))
    return found | {"classes": {name: _rates(totals[place]) for name, place in classes.items()}}


def counts(
    metric: str,
    gold: Sequence[Gold],
    predicted: Sequence[Gold],
    *,
    labels: Sequence[str] = (),
    negative: str | None = None,
) -> Counts:
    """The sufficient statistics of each example; arguments and errors are those of `score`.

    Returns:
        [E, 3 C]: things that are right, predicted and in gold, of each class; C is 1 where classes are pooled.

    Raises:
        ValueError: also for a correlation, which has none.
    """
    classes, things = _by_class(metric, gold, predicted, labels, negative)
    pooled = of(metric).average == "micro"
    table = np.zeros((len(gold), 1 if pooled else len(classes) or 1, 3), np.int64)  # without any class the score is 0
    for example, place, kind in things:
        table[example, 0 if pooled else place, kind] += 1
    return table.reshape(len(table), -1)


def from_counts(totals: NDArray[Any]) -> NDArray[np.float64]:
    """The score that sums of counts over examples make.

    Args:
        totals: [..., 3 C].

    Returns:
        [...]: F1 averaged over the classes that are in gold or predicted (as scikit-learn does); 0 where none is.
    """
    right, guessed, wanted = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)  # [..., C] each
    f1 = 2 * right / np.maximum(guessed + wanted, 1)  # 0 where a class is in neither
    mean: NDArray[np.float64] = f1.sum(axis=-1) / np.maximum((guessed + wanted > 0).sum(axis=-1), 1)
    return mean


def values(gold: Sequence[Gold], predicted: Sequence[Gold]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gold and predicted numbers as two arrays [E].

    Raises:
        ValueError: there are none, or gold and predictions differ in length.
    """
    _check_lengths(gold, predicted)
    return np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)


def correlation(metric: str, gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The correlation along the last axis.

    Args:
        metric: "pearson" or "spearman".
        gold: [..., E].
        predicted: [..., E].

    Returns:
        [...]: 0 where a side is constant or holds NaN, which is what training that collapsed comes to.
    """
    from scipy import stats

    if metric == "spearman":
        gold, predicted = stats.rankdata(gold, axis=-1), stats.rankdata(predicted, axis=-1)
    if gold.shape[-1] < 2:
        return np.zeros(gold.shape[:-1])
    with warnings.catch_warnings():  # of constant input, for which the result is defined here
        warnings.simplefilter("ignore")
        found = stats.pearsonr(gold, predicted, axis=-1).statistic
    return np.nan_to_num(np.asarray(found, dtype=np.float64), nan=0.0)


def of(name: str) -> Metric:
    """The metric of a name.

    Raises:
        InputError: there is none.
    """
    if name not in METRICS:
        raise InputError(f"there is no metric {name!r}; there are {', '.join(METRICS)}")
    return METRICS[name]


def _by_class(
    metric: str, gold: Sequence[Gold], predicted: Sequence[Gold], labels: Sequence[str], negative: str | None
) -> tuple[dict[str, int], Iterator[tuple[int, int, int]]]:
    """The classes with their places, and all things that count.

    Of each thing there is the example, the place of its class, and 0 for right, 1 for predicted or 2 for in gold.
    """
    things, average = of(metric).things, of(metric).average
    if things is None:
        raise ValueError(f"{metric} has no counts")
    _check_lengths(gold, predicted, tags=things in (_entities, _words))
    pairs = [(things(wanted), things(guessed)) for wanted, guessed in zip(gold, predicted, strict=True)]
    if average == "macro":
        held = {kind for wanted, _ in pairs for kind, _ in wanted}
        classes = [*labels, *sorted(held - set(labels))]  # a class that only gold has counts as missed
    else:  # what is predicted outside the labels is wrong all the same
        seen = {kind for pair in pairs for side in pair for kind, _ in side}
        classes = [*labels, *sorted(seen - set(labels))]
    left_out = {"O"} if things is _words else set() if metric == "accuracy" else {negative}
    column = {name: place for place, name in enumerate(name for name in classes if name not in left_out)}
    found = (
        (example, column[name], kind)
        for example, (wanted, guessed) in enumerate(pairs)
        for kind, side in enumerate((wanted & guessed, guessed, wanted))
        for name, _ in side
        if name in column
    )
    return column, found


def _check_lengths(gold: Sequence[Any], predicted: Sequence[Any], *, tags: bool = False) -> None:
    if not len(gold):
        raise ValueError("there are no examples to score")
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} examples and {len(predicted)} predictions")
    if tags:
        for number, (wanted, guessed) in enumerate(zip(gold, predicted, strict=True), 1):
            if len(wanted) != len(guessed):
                raise ValueError(f"example {number} has {len(wanted)} words and {len(guessed)} predicted tags")


def _rates(row: Counts) -> dict[str, float | int]:
    right, guessed, wanted = (int(number) for number in row)
    return {
        "precision": right / max(guessed, 1),
        "recall": right / max(wanted, 1),
        "f1": 2 * right / max(guessed + wanted, 1),
        "support": wanted,
    }
