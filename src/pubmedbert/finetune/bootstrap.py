"""Is one model better than another, or one recipe steadier? Answers by the bootstrap.

`paired` resamples the test set (Berg-Kirkpatrick et al. 2012; Efron & Tibshirani 1993, chapters 13 and 16) and the
seeds of either side, `interval` only the seeds of a recipe. Neither covers what it does not resample: `paired` tells
what another test set of this kind and size and other seeds would show, not another training set; with one seed a side
it tells of these very runs. `interval` tells of other seeds on this very test set. Sentences of one document are not
independent, so whole documents are drawn where they are known; else intervals over sentences are somewhat too narrow.
With few seeds they are so as well. Of many comparisons some come out significant by chance: p is not corrected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pubmedbert.finetune import metrics
from pubmedbert.finetune.metrics import Gold

Array = NDArray[np.float64]
_BLOCK = 4_000_000  # numbers drawn at a time: 32 MB


@dataclass(frozen=True)
class Comparison:
    """Two models on one test set."""

    difference: float
    """First minus second, each the mean over its seeds; as `metrics.score` gives them, not in percent."""
    low: float
    """Of the 95% percentile interval of the difference."""
    high: float
    p: float
    """Two-sided achieved significance level: how often so large a difference comes about by resampling alone."""
    resamples: int
    drawn: int
    """Documents or, where they are not known, examples of the test set."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedComparison:
    """Two sets of scores, one score a seed."""

    mean: Estimate
    """First mean minus second."""
    sd: Estimate
    """First standard deviation minus second (n - 1)."""
    sd_ratio: Estimate | None
    """First standard deviation over second; None where one of them is 0."""
    resamples: int


def paired(
    metric: str,
    gold: Sequence[Gold],
    first: Sequence[Sequence[Gold]],
    second: Sequence[Sequence[Gold]],
    *,
    labels: Sequence[str] = (),
    negative: str | None = None,
    documents: Sequence[str] = (),
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by the paired bootstrap: every resample of the examples is scored for all runs of both.

    Each resample also draws the seeds of either side anew, each side by itself, for no seed has a partner.

    The null distribution is the bootstrap's, moved to a difference of 0 (Berg-Kirkpatrick et al. 2012, section 2), with
    one added to both counts so that p is never 0.

    Args:
        metric: a name in `metrics.METRICS`.
        gold: of each example.
        first: the predictions of one model, for each seed those of all examples.
        second: those of the other; it may have another number of seeds.
        labels: as for `metrics.score`.
        negative: as for `metrics.score`.
        documents: of each example; examples of one are drawn together. Nothing where they are not known; correlations
            take no notice.
        resamples: how many.
        seed: of the resampling.

    Raises:
        ValueError: a model has no seed, there are no examples, lengths differ, or there is no resample to be made.
        InputError: no such metric, or no such tag.
    """
    if not first or not second:
        raise ValueError("both models need the predictions of at least one seed")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    runs = [*first, *second]
    drawn = len(gold)
    if metrics.of(metric).things is None:
        rounds = _correlations(metric, gold, runs, resamples, seed)
    else:
        tables = [metrics.counts(metric, gold, run, labels=labels, negative=negative) for run in runs]
        table = _of_documents(np.concatenate(tables, axis=1), documents)
        rounds, drawn = _f1s(table, len(runs), resamples, seed), len(table)
    observed, *blocks = rounds
    sides = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])  # [S]: mean minus mean
    difference = float(observed[0] @ sides)
    resampled = (np.concatenate(blocks) * _seeds(len(first), len(second), resamples, seed)).sum(axis=1)  # [R]
    low, high = np.percentile(resampled, [2.5, 97.5])
    # Equal differences may differ in the last bit: they must not fall on either side by chance.
    extreme = np.count_nonzero(np.abs(resampled - difference) >= abs(difference) - 1e-12)
    return Comparison(difference, float(low), float(high), (1 + int(extreme)) / (1 + resamples), resamples, drawn)


def interval(
    first: Sequence[float], second: Sequence[float], *, resamples: int = 10_000, seed: int = 0
) -> SeedComparison:
    """Compare the scores of two sets of seeds, which are resampled each by itself (no seed has a partner).

    With five seeds the intervals are rough, and too narrow rather than too wide; with ten they are passable.

    Args:
        first: a score for each seed.
        second: the same of another recipe or model.
        resamples: how many.
        seed: of the resampling.

    Raises:
        ValueError: a side has fewer than two seeds, or there is no resample to be made.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a standard deviation needs the scores of at least two seeds")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    random = np.random.default_rng(seed)
    moments: list[Array] = []
    for values in (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)):
        draws = values[random.integers(len(values), size=(resamples, len(values)))]  # [R, S]
        draws = np.vstack([draws.mean(axis=1), draws.std(axis=1, ddof=1)])
        found = np.column_stack([[values.mean(), values.std(ddof=1)], draws])  # [2, 1 + R], observed first
        found[1] *= np.ptp(values) > 0  # of equal scores it is 0, but for rounding
        moments.append(found)
    (mean_a, sd_a), (mean_b, sd_b) = moments
    ratio = None
    if sd_a[0] > 0 and sd_b[0] > 0:  # a resample of one seed only has no ratio to tell
        told = (sd_a > 0) & (sd_b > 0)
        ratio = _estimate(sd_a[told] / sd_b[told])
    return SeedComparison(_estimate(mean_a - mean_b), _estimate(sd_a - sd_b), ratio, resamples)


def _of_documents(table: NDArray[Any], documents: Sequence[str]) -> Array:
    """Counts `[E, S K]` of examples added up to those of documents, `[documents, S K]`."""
    if not documents:
        return table.astype(np.float64)  # sums stay far below 2^53, so exact
    _, places = np.unique(np.asarray(documents), return_inverse=True)  # [E]
    sums = np.zeros((int(places.max()) + 1, table.shape[1]))
    np.add.at(sums, places, table)
    return sums


def _seeds(first: int, second: int, resamples: int, seed: int) -> Array:
    """Weights `[R, S]` of the runs: how often each was drawn, as a share of its side; below 0 on the second side."""
    random = np.random.default_rng([seed, 1])
    sides = [random.multinomial(count, np.full(count, 1 / count), size=resamples) / count for count in (first, second)]
    return np.concatenate([sides[0], -sides[1]], axis=1)


def _f1s(table: Array, runs: int, resamples: int, seed: int) -> Iterator[Array]:
    """Scores [1, S] of counts `[E, S K]` as they are, then [R, S] of each block of resamples."""
    examples, columns = table.shape
    shape = (-1, runs, columns // runs)
    yield metrics.from_counts(table.sum(axis=0).reshape(shape))
    for drawn in _resamples(examples, resamples, seed):
        weights = np.stack([np.bincount(row, minlength=examples) for row in drawn]).astype(np.float64)  # [R, E]
        yield metrics.from_counts((weights @ table).reshape(shape))


def _correlations(
    metric: str, gold: Sequence[Gold], runs: Sequence[Sequence[Gold]], resamples: int, seed: int
) -> Iterator[Array]:
    """The same of correlations, which have to be computed anew from the values of each resample."""
    pairs = [metrics.values(gold, run) for run in runs]
    yield np.array([[metrics.correlation(metric, wanted, guessed) for wanted, guessed in pairs]])
    for drawn in _resamples(len(gold), resamples, seed):
        scores = [metrics.correlation(metric, wanted[drawn], guessed[drawn]) for wanted, guessed in pairs]
        yield np.stack(scores, axis=1)


def _resamples(examples: int, resamples: int, seed: int) -> Iterator[NDArray[Any]]:
    """Blocks [R, E] of which examples each resample holds."""
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // examples)
    for start in range(0, resamples, block):
        yield random.integers(examples, size=(min(block, resamples - start), examples))


def _estimate(values: Array) -> Estimate:
    """Of what was observed, which comes first, and its resamples."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))
