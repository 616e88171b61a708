"""Joint filling of several places: a beam search over words of one or more pieces.

A masked language model gives the probability of a piece at one place, given all others. By the chain rule the joint
probability of several pieces is the product of these, each given the ones filled before it; what is not yet filled
stays [MASK]. The model was not trained to be consistent, so the product depends on the order of partial. Two orders:

- `left-to-right`. For the pieces of one word this is the PLL-word-l2r of Kauf and Ivanova (2023).
- `best-first`: next comes the place whose best piece is most probable, as in the confidence-based decoding of Jiang
  et al. (2020, X-FACTR); each hypothesis has its own order.

BERT does not say how many pieces a word has: a word of n pieces is searched for in n masks. So that words of different
length can be compared, the objective of a filling is the sum over its masks of the **mean** log-probability of the
mask's pieces, as Mask-Predict (Ghazvininejad et al. 2019) chooses among lengths. For words of one piece that is the
joint log-probability; for one mask, the logarithm of the geometric mean of its pieces' probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pubmedbert.infer.engine import Engine
from pubmedbert.infer.masks.packs import best, log_normaliser, scored

Order = Literal["left-to-right", "best-first"]
ORDERS: tuple[Order, ...] = ("left-to-right", "best-first")
_SPARE = 4  # times the beam: candidates of one hypothesis, some of which turn out to spell no word
_AT_ONCE = 2048  # hypotheses, of all puzzles that are solved together: each keeps its candidates until the step is done


@dataclass(frozen=True, slots=True)
class Blank:
    """A mask of the text, opened to the places of a word's pieces."""

    places: tuple[int, ...]
    """Ascending, in the row."""
    glued: bool
    """Whether the word continues what stands before it."""
    start: int
    """The place where the word begins that it is, or is the end of: its own first one where it continues nothing, or
    nothing that is known."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A row with [MASK] at all places of its blanks."""

    row: tuple[int, ...]
    blanks: tuple[Blank, ...]


@dataclass(frozen=True, slots=True)
class Solution:
    """Words for all blanks of a puzzle."""

    row: tuple[int, ...]
    """The row, filled."""
    words: tuple[tuple[int, ...], ...]
    """The ids of the pieces of each."""
    logs: tuple[float, ...]
    """Of each, the sum of its pieces' log-probabilities, in nats."""
    objective: float
    """The sum over blanks of the mean log-probability of a piece."""


class Words(Protocol):
    """What may be filled in."""

    def pieces(self, known: Sequence[int | None], index: int, glued: bool) -> NDArray[np.int64]:
        """The ids that may be piece `index` of a word, ascending; `known` holds those of its pieces already chosen."""

    def accept(self, word: Sequence[int]) -> bool:
        """Whether the pieces are a word, or the beginning of one, with what a glued one continues."""


@dataclass(frozen=True, slots=True)
class _Partial:
    """A puzzle, filled in as far as the search has come."""

    row: tuple[int, ...]
    logs: tuple[float, ...]
    objective: float
    open: tuple[tuple[int, int], ...]
    """What is left to fill, from left to right: blank, and piece of it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A partial filling and one piece more."""

    objective: float
    before: _Partial
    blank: int
    index: int
    piece: int
    log: float


def search(
    engine: Engine, problems: Sequence[Sequence[Puzzle]], words: Words, *, beam: int, order: Order = "left-to-right"
) -> list[list[Solution]]:
    """The best solutions of each problem; each step's hypotheses of many puzzles are computed together.

    With a beam at least as wide as the number of partial fillings the search is exhaustive.

    Args:
        engine: the model.
        problems: the puzzles that are alternatives of each other, as words of other lengths are; with rows no longer
            than the model reads.
        words: what may be filled in.
        beam: hypotheses kept for each puzzle after each step.
        order: of filling.

    Returns:
        At most `beam` solutions of each problem, the best objective first; equal ones in the order of the puzzles, and
        of the ids. Of solutions that fill a row alike, parted among the masks in other ways, there is the best.
    """
    puzzles = [puzzle for problem in problems for puzzle in problem]
    size = max(1, _AT_ONCE // beam)
    groups = (puzzles[start : start + size] for start in range(0, len(puzzles), size))
    solved = chain.from_iterable(_solve(engine, group, words, beam, order) for group in groups)
    return [_best([one for found in islice(solved, len(problem)) for one in found], beam) for problem in problems]


def _best(solutions: Sequence[Solution], count: int) -> list[Solution]:
    """The best of some solutions, each row once."""
    rows: dict[tuple[int, ...], Solution] = {}
    for one in sorted(solutions, key=lambda one: -one.objective):
        rows.setdefault(one.row, one)
    return list(islice(rows.values(), count))


def _solve(engine: Engine, puzzles: Sequence[Puzzle], words: Words, beam: int, order: Order) -> list[list[Solution]]:
    beams = [[_start(puzzle)] for puzzle in puzzles]
    while True:
        steps: dict[int, list[Iterator[_Step]]] = {
            number: [] for number, kept in enumerate(beams) if kept and kept[0].open
        }
        if not steps:
            break
        asked = [
            ((number, partial), partial.row, _places(puzzles[number], partial, order))
            for number in steps
            for partial in beams[number]
        ]
        for (number, partial), logits in scored(engine, asked):
            steps[number].append(_steps(puzzles[number], partial, logits, words, beam))
        for number, found in steps.items():
            beams[number] = list(islice(_grown(puzzles[number], found, words), beam))
    return [
        [Solution(one.row, _words(puzzle, one.row), one.logs, one.objective) for one in kept]
        for puzzle, kept in zip(puzzles, beams, strict=True)
    ]


def _words(puzzle: Puzzle, row: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row[place] for place in blank.places) for blank in puzzle.blanks)


def _start(puzzle: Puzzle) -> _Partial:
    places = tuple((number, index) for number, blank in enumerate(puzzle.blanks) for index in range(len(blank.places)))
    return _Partial(puzzle.row, (0.0,) * len(puzzle.blanks), 0.0, places)


def _places(puzzle: Puzzle, partial: _Partial, order: Order) -> list[int]:
    """Where a piece may be filled in next."""
    chosen = partial.open[:1] if order == "left-to-right" else partial.open
    return [puzzle.blanks[blank].places[index] for blank, index in chosen]


def _steps(puzzle: Puzzle, partial: _Partial, logits: NDArray[np.float32], words: Words, beam: int) -> Iterator[_Step]:
    """The best pieces for the place that is filled next, best first.

    Of the `[m, V]` logits given, that place has the best piece. The steps are made as they are asked for: few are.
    """
    chosen: tuple[float, int, NDArray[np.int64], NDArray[np.float64]] | None = None
    for number, (blank, index) in enumerate(partial.open[: len(logits)]):
        ids = words.pieces(_known(puzzle, partial, blank), index, puzzle.blanks[blank].glued)
        among = logits[number][ids]
        first = best(among, _SPARE * beam)
        logs = among[first].astype(np.float64) - log_normaliser(logits[number])
        if len(logs) and (chosen is None or logs[0] > chosen[0]):
            chosen = (float(logs[0]), number, ids[first], logs)
    if chosen is None:
        return iter(())
    _, number, pieces, logs = chosen
    blank, index = partial.open[number]
    share = len(puzzle.blanks[blank].places)
    return (
        _Step(partial.objective + log / share, partial, blank, index, piece, log)
        for piece, log in zip(map(int, pieces), map(float, logs), strict=True)
    )


def _known(puzzle: Puzzle, partial: _Partial, blank: int) -> list[int | None]:
    """The pieces of a blank, None for those that are still open."""
    still = {index for number, index in partial.open if number == blank}
    places = puzzle.blanks[blank].places
    return [None if index in still else partial.row[place] for index, place in enumerate(places)]


def _grown(puzzle: Puzzle, steps: Sequence[Iterator[_Step]], words: Words) -> Iterator[_Partial]:
    """The fillings after a step, best first, without those that complete a blank with what is no word."""
    for step in merge(*steps, key=lambda step: -step.objective):  # stable: equal ones stay in the order of their ids
        blank = puzzle.blanks[step.blank]
        row = list(step.before.row)
        row[blank.places[step.index]] = step.piece
        still = tuple(place for place in step.before.open if place != (step.blank, step.index))
        if all(number != step.blank for number, _ in still):
            word = row[blank.start : _known_end(puzzle, blank, still)]
            if word and not words.accept(word):
                continue
        logs = list(step.before.logs)
        logs[step.blank] += step.log
        yield _Partial(tuple(row), tuple(logs), step.objective, still)


def _known_end(puzzle: Puzzle, blank: Blank, still: Sequence[tuple[int, int]]) -> int:
    """One past the last place up to which the word that a blank is of is known, all of it where nothing is open."""
    run = [number for number, one in enumerate(puzzle.blanks) if one.start == blank.start]
    opened = (puzzle.blanks[number].places[index] for number, index in still if number in run)
    return min(opened, default=puzzle.blanks[run[-1]].places[-1] + 1)
