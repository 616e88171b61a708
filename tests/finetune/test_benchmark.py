"""The statistics of the stability tables: what chance gives is not called a finding."""

from __future__ import annotations

import random
from typing import Any

import pytest
from benchmarks.stability import holm, p_of_means, p_of_spreads, rows


def test_holm() -> None:
    """The example that textbooks give: sorted p times what is left, never falling."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_p_of_means_and_spreads() -> None:
    draw = random.Random(1)
    steady, shaky = ([draw.gauss(0.7, sd) for _ in range(10)] for sd in (0.01, 0.1))
    better = [score + 0.2 for score in steady]
    assert p_of_means(better, steady) < 0.001
    assert p_of_means(steady, steady) > 0.9
    assert p_of_spreads(steady, shaky) < 0.05
    assert p_of_spreads(steady, better) == pytest.approx(1.0)


def test_the_table() -> None:
    def result(scores: list[float], collapsed: int = 0) -> dict[str, Any]:
        seeds = [{"test": score, "collapsed": place < collapsed} for place, score in enumerate(scores)]
        about = {"mean": sum(scores) / len(scores), "sd": 0.1}
        return {"seeds": seeds, "test": about, "dev": about}

    plain, frozen, same = [0.5, 0.6, 0.7, 0.4], [0.8, 0.81, 0.79, 0.8], [0.6896] * 4
    first, second, third = rows({"plain": result(plain, 1), "frozen": result(frozen), "dead": result(same, 4)})
    assert first == "| plain | 55.0 | 10.0 | 55.0 | 1 of 4 |  |  |  |  |"
    assert second.startswith("| frozen | 80.0 | 10.0 | 80.0 | 0 of 4 | +25.0 [")
    assert third.split(" | ")[4:5] == ["4 of 4"]
    assert third.split(" | ")[7:] == ["-", "- |"]
    assert all(text.count("|") == 10 for text in (first, second, third))
