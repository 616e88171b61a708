"""The beam search finds what trying everything finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pubmedbert.infer.masks import decode
from pubmedbert.infer.masks.decode import Blank, Order, Puzzle, search
from pubmedbert.infer.masks.packs import best

MASK = 0


class Oracle:
    """An engine whose logits are a function of the whole row, and of nothing else."""

    name, width, max_positions, vocab_size = "oracle", 0, 64, 8

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rows = 0

    def hidden(self, rows: Any, where: Any = None, seconds: Any = None) -> Any:
        raise NotImplementedError

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.rows += len(rows)
        scores = [self.at(row, place) for row, places in zip(rows, where, strict=True) for place in places]
        return np.array(scores, dtype=np.float32)

    def at(self, row: Sequence[int], place: int) -> NDArray[np.float64]:
        return np.random.default_rng([self.seed, *row, place]).normal(size=self.vocab_size) * 2


class Grammar:
    """Words of a first piece 1-4 and later pieces 4-7, without those that begin with one product."""

    def pieces(self, known: Sequence[int | None], index: int, glued: bool) -> NDArray[np.int64]:
        return np.arange(4, 8) if index or glued else np.arange(1, 5)

    def accept(self, word: Sequence[int]) -> bool:
        return math.prod(word) != 20


Every = Iterator[tuple[float, tuple[int, ...], tuple[tuple[int, ...], ...]]]


def everything(engine: Oracle, puzzle: Puzzle, order: Order) -> Every:
    """Objective, row and words of every solution, by plain recursion."""
    words = Grammar()

    def solve(row: list[int], objective: float) -> Every:
        todo = []
        for blank in puzzle.blanks:
            for index, place in enumerate(blank.places):
                if row[place] == MASK:
                    logits = engine.at(row, place)
                    logs = logits - np.log(np.exp(logits).sum())
                    pieces = words.pieces([], index, blank.glued)
                    todo.append((max(logs[pieces]), -place, blank, place, pieces, logs))
        if not todo:
            yield objective, tuple(row), tuple(tuple(row[place] for place in blank.places) for blank in puzzle.blanks)
            return
        _, _, blank, place, pieces, logs = max(todo) if order == "best-first" else todo[0]
        for piece in pieces.tolist():
            filled = [*row[:place], piece, *row[place + 1 :]]
            end = max(one.places[-1] for one in puzzle.blanks if one.start == blank.start) + 1
            word = list(takewhile(bool, filled[blank.start : end]))  # up to what is not filled yet
            if MASK in [filled[other] for other in blank.places] or not word or words.accept(word):
                yield from solve(filled, objective + logs[piece] / len(blank.places))

    return solve(list(puzzle.row), 0.0)


@st.composite
def puzzles(draw: st.DrawFn) -> Puzzle:
    row = [draw(st.integers(1, 7))]
    blanks: list[Blank] = []
    pieces = 0
    for _ in range(draw(st.integers(1, 3))):
        length = draw(st.integers(1, min(3, 4 - pieces))) if pieces < 4 else 0
        if length:
            touched = blanks[-1].start if blanks and blanks[-1].places[-1] == len(row) - 1 else len(row) - 1
            glued = draw(st.booleans())
            start = draw(st.sampled_from([touched, len(row)])) if glued else len(row)  # what is touched may be unknown
            blanks.append(Blank(tuple(range(len(row), len(row) + length)), glued, start))
            row += [MASK] * length
            pieces += length
        row += draw(st.lists(st.integers(1, 7), max_size=2))
    return Puzzle(tuple(row), tuple(blanks))


orders: st.SearchStrategy[Order] = st.sampled_from(["left-to-right", "best-first"])


@settings(max_examples=60)
@given(st.integers(0, 1000), st.lists(puzzles(), min_size=1, max_size=3), orders)
def test_a_wide_beam_is_exhaustive(seed: int, alternatives: list[Puzzle], order: Order) -> None:
    every = sorted(one for puzzle in alternatives for one in everything(Oracle(seed), puzzle, order))
    best_of_row = {row: objective for objective, row, _ in every}
    (found,) = search(Oracle(seed), [alternatives], Grammar(), beam=4**4 * 3, order=order)
    assert [one.objective for one in found] == pytest.approx(sorted(best_of_row.values(), reverse=True), abs=1e-4)
    assert sorted(one.row for one in found) == sorted(best_of_row)
    for one in found[:5]:
        means = [log / len(word) for log, word in zip(one.logs, one.words, strict=True)]
        assert sum(means) == pytest.approx(one.objective)


@settings(max_examples=40)
@given(st.integers(0, 1000), puzzles(), puzzles(), orders, st.integers(1, 6))
def test_a_narrow_beam(seed: int, one: Puzzle, other: Puzzle, order: Order, beam: int) -> None:
    together = search(Oracle(seed), [[one], [other]], Grammar(), beam=beam, order=order)
    assert together == [
        search(Oracle(seed), [[puzzle]], Grammar(), beam=beam, order=order)[0] for puzzle in (one, other)
    ]
    for puzzle, found in zip((one, other), together, strict=True):
        right = {words: objective for objective, _, words in everything(Oracle(seed), puzzle, order)}
        assert len(found) <= beam
        objectives = [solution.objective for solution in found]
        assert objectives == sorted(objectives, reverse=True)
        for solution in found:  # perhaps not the best, but scored rightly
            assert solution.objective == pytest.approx(right[solution.words], abs=1e-4)


def test_the_beam_bounds_the_work() -> None:
    engine = Oracle(0)
    puzzle = Puzzle((1, *[MASK] * 5), tuple(Blank((place,), glued=False, start=place) for place in range(1, 6)))
    search(engine, [[puzzle]], Grammar(), beam=3)
    assert engine.rows == 1 + 4 * 3


def test_a_wide_beam_makes_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what each hypothesis could go on with, no more is made than the beam takes; puzzles come in groups."""
    made = Mock(side_effect=decode._Step)
    monkeypatch.setattr(decode, "_Step", made)
    puzzle = Puzzle((1, *[MASK] * 4), tuple(Blank((place,), glued=False, start=place) for place in range(1, 5)))
    search(Oracle(0), [[puzzle] * 20], Grammar(), beam=8)
    assert made.call_count <= 20 * 4 * (8 + 8 + 1)
    solve = Mock(side_effect=decode._solve)
    monkeypatch.setattr(decode, "_solve", solve)
    monkeypatch.setattr(decode, "_AT_ONCE", 50)
    search(Oracle(0), [[puzzle] * 7, [puzzle] * 13], Grammar(), beam=8)
    assert [len(call.args[1]) for call in solve.call_args_list] == [6, 6, 6, 2]


def test_a_row_that_is_filled_in_two_ways_is_one_solution() -> None:
    def parted(*lengths: int) -> Puzzle:
        ends = [1 + sum(lengths[: number + 1]) for number in range(len(lengths))]
        places = [tuple(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)]
        blanks = tuple(Blank(each, number > 0, 1) for number, each in enumerate(places))
        return Puzzle((1, *[MASK] * sum(lengths)), blanks)

    (found,) = search(Oracle(3), [[parted(1, 2), parted(2, 1)]], Grammar(), beam=200)
    assert len({one.row for one in found}) == len(found) > 4
    assert {tuple(map(len, one.words)) for one in found} == {(1, 2), (2, 1)}


def test_nothing_to_solve() -> None:
    assert search(Oracle(0), [], Grammar(), beam=3) == []
    assert search(Oracle(0), [[]], Grammar(), beam=3) == [[]]


@given(st.lists(st.integers(-3, 3) | st.integers(-30, 30), min_size=1, max_size=300), st.integers(1, 40))
def test_the_best_of_some_values(values: list[int], count: int) -> None:
    found = best(np.array(values, dtype=np.float32), count)
    assert found.tolist() == sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]
