"""The bootstrap: exact where it can be, calibrated where it can't, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean, stdev

import numpy as np
import pytest

from pubmedbert.finetune.bootstrap import interval, paired
from pubmedbert.finetune.metrics import Gold, score


def noisy(gold: Sequence[str], accuracy: float, seed: int) -> list[Gold]:
    draw = random.Random(seed)
    return [label if draw.random() < accuracy else draw.choice("abc") for label in gold]


@pytest.fixture(scope="module")
def gold() -> list[str]:
    draw = random.Random(99)
    return [draw.choice("abc") for _ in range(200)]


def test_the_difference_is_that_of_the_scores(gold: list[str]) -> None:
    first = [noisy(gold, 0.8, seed) for seed in (1, 2, 3)]
    second = [noisy(gold, 0.6, seed) for seed in (4, 5)]
    for metric in ("accuracy", "macro_f1", "micro_f1"):
        options = {"labels": "abc", "negative": None if metric == "accuracy" else "c"}
        found = paired(metric, gold, first, second, resamples=500, **options)  # type: ignore[arg-type]
        means = [fmean(score(metric, gold, run, **options) for run in side) for side in (first, second)]  # type: ignore[arg-type]
        assert found.difference == pytest.approx(means[0] - means[1])
        assert found.low < found.difference < found.high
        assert found.low > 0
        assert found.p < 0.01
        assert (found.resamples, found.drawn) == (500, 200)


def test_resampling_by_counts_is_resampling_examples(gold: list[str]) -> None:
    """The quick way with counts gives what scoring every resample gives."""
    gold = gold[:30]
    first, second = noisy(gold, 0.9, 1), noisy(gold, 0.7, 2)
    found = paired("macro_f1", gold, [first], [second], labels="abc", resamples=200, seed=5)
    random_state = np.random.default_rng(5)
    differences = []
    for drawn in random_state.integers(30, size=(200, 30)):
        scores = [
            score("macro_f1", [gold[i] for i in drawn], [run[i] for i in drawn], labels="abc")
            for run in (first, second)
        ]
        differences.append(scores[0] - scores[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))
    extreme = sum(abs(value - found.difference) >= abs(found.difference) - 1e-12 for value in differences)
    assert found.p == (1 + extreme) / 201


def test_tags_are_resampled_by_sentence() -> None:
    gold = [["B-X", "O"], ["O", "B-X"]] * 20
    nothing = [["O", "O"]] * 40
    found = paired("entity_f1", gold, [gold], [nothing], resamples=100)
    assert (found.difference, found.low, found.high) == (1.0, 1.0, 1.0)


def test_the_same_predictions_do_not_differ(gold: list[str]) -> None:
    run = noisy(gold, 0.7, 1)
    found = paired("accuracy", gold, [run], [run, run], resamples=300)
    assert (found.difference, found.low, found.high, found.p) == pytest.approx((0, 0, 0, 1), abs=1e-12)


def test_sides_are_symmetric_and_seeds_repeat(gold: list[str]) -> None:
    first, second = [noisy(gold, 0.75, 1)], [noisy(gold, 0.7, 2)]
    one, other = (paired("accuracy", gold, *sides, resamples=999) for sides in ((first, second), (second, first)))
    assert one == paired("accuracy", gold, first, second, resamples=999)
    assert one != paired("accuracy", gold, first, second, resamples=999, seed=1)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert one.p == other.p


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_correlations(metric: str) -> None:
    draw = np.random.default_rng(3)
    gold = draw.integers(0, 5, size=20).astype(float)
    near, far = (gold + draw.normal(scale=scale, size=20) for scale in (0.3, 4.0))
    found = paired(metric, gold.tolist(), [near.tolist()], [far.tolist()], resamples=2_000)
    assert found.difference == pytest.approx(
        score(metric, gold.tolist(), near.tolist()) - score(metric, gold.tolist(), far.tolist())
    )
    assert 0 < found.low < found.difference < found.high
    assert found.p < 0.05
    constant = paired(metric, gold.tolist(), [near.tolist()], [[1.0] * 20], resamples=50)
    assert constant.difference == pytest.approx(score(metric, gold.tolist(), near.tolist()))


def test_p_is_calibrated() -> None:
    """Two equally good models come out different at 5% about one time in twenty."""
    gold: list[Gold] = ["a"] * 100
    draw = random.Random(7)
    runs = [[["a" if draw.random() < 0.7 else "b" for _ in gold] for _ in range(2)] for _ in range(300)]
    found = sum(paired("accuracy", gold, [a], [b], resamples=200).p < 0.05 for a, b in runs) / 300
    assert 0.02 < found < 0.09


def test_seeds_are_drawn_too() -> None:
    """Two sets of seeds of one recipe, whose seeds differ far more than the examples would have them."""
    gold: list[Gold] = ["a"] * 400
    draw = random.Random(8)

    def side() -> list[list[Gold]]:
        shares = [min(1.0, max(0.0, draw.gauss(0.7, 0.08))) for _ in range(10)]
        return [["a" if draw.random() < share else "b" for _ in gold] for share in shares]

    found = [paired("accuracy", gold, side(), side(), resamples=300) for _ in range(60)]
    assert sum(not one.low <= 0 <= one.high for one in found) <= 9, "one in twenty, and some more with ten seeds"
    assert sum(one.p < 0.05 for one in found) <= 9


def test_examples_of_a_document_are_drawn_together() -> None:
    """Ten copies of every example tell no more than one."""
    gold: list[Gold] = ["a"] * 60
    first: list[Gold] = [*["a"] * 40, *["b"] * 20]
    one = paired("accuracy", gold, [first], [gold], resamples=800)
    copies = [item for item in first for _ in range(10)]
    names = [str(number // 10) for number in range(600)]
    many = paired("accuracy", gold * 10, [copies], [gold * 10], documents=names, resamples=800)
    assert many.drawn == 60
    assert many.difference == pytest.approx(one.difference)
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.2)
    apart = paired("accuracy", gold * 10, [copies], [gold * 10], resamples=800)
    assert apart.high - apart.low < 0.5 * (many.high - many.low)


def test_many_examples_are_resampled_in_blocks() -> None:
    gold: list[Gold] = ["a"] * 15_000
    first: list[Gold] = [*["a"] * 9_000, *["b"] * 6_000]
    found = paired("accuracy", gold, [first], [gold], resamples=600)
    assert found.difference == pytest.approx(-0.4)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx((0.4 * 0.6 / 15_000) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("first", "second", "resamples", "message"),
    [
        ([], [["a"]], 10, "at least one seed"),
        ([["a"]], [["a"]], 0, "resamples"),
        ([["a", "a"]], [["a"]], 10, "1 examples and 2"),
    ],
)
def test_bad_calls(first: list[list[Gold]], second: list[list[Gold]], resamples: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired("accuracy", ["a"], first, second, resamples=resamples)


def test_interval() -> None:
    steady, shaky = [0.80, 0.81, 0.80, 0.79, 0.80], [0.70, 0.85, 0.60, 0.80, 0.75]
    found = interval(steady, shaky)
    assert found == interval(steady, shaky)
    assert found.mean.value == pytest.approx(fmean(steady) - fmean(shaky))
    assert found.sd.value == pytest.approx(stdev(steady) - stdev(shaky))
    assert found.sd_ratio is not None
    assert found.sd_ratio.value == pytest.approx(stdev(steady) / stdev(shaky))
    assert found.mean.low < found.mean.value < found.mean.high
    assert found.sd.high < 0
    assert found.sd_ratio.low < found.sd_ratio.value < found.sd_ratio.high < 1


def test_an_interval_without_spread_has_no_ratio() -> None:
    found = interval([0.6896] * 10, [0.4, 0.6])  # whose standard deviation is 1e-16 by rounding
    assert found.sd_ratio is None
    assert found.sd.value < 0
    with pytest.raises(ValueError, match="two seeds"):
        interval([0.5], [0.4, 0.6])
    with pytest.raises(ValueError, match="resamples"):
        interval([0.5, 0.6], [0.4, 0.6], resamples=0)
