"""Whether an int8 model may stand for the fp32 one: how often both give the same answer, and how their scores differ.

Word pieces at some hundreds of places in a text are hidden and asked for; `pubmedbert.infer.engines.mixed_precision`
has what becomes of a model that agrees too seldom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Engine
from pubmedbert.infer.lines import numbered
from pubmedbert.infer.tokenizer import PIECE_CHARACTERS, ModelTokenizer

BAR = 0.97
"""The least share of masks that must get the same best piece."""
SCORE_BAR = 0.05
"""The most that the score of the best piece may be off in the mean: a model with one answer to all would pass `BAR`."""
LEAST_MASKS = 200
"""Fewer say too little: at 200, the standard error of a share of 97% is 1.2%."""
MOST_MASKS = 1000
_EVERY = 7  # about one piece in seven is hidden at a time, as in pretraining
_CHUNK = 8  # rows whose logits are in memory at a time
_LINES = 2000  # read of a text, which may be long
_SENTENCES = Path(__file__).with_name("gate_sentences.txt")


@dataclass(frozen=True)
class Questions:
    """Rows with masks, and where they are."""

    rows: Sequence[Sequence[int]]
    where: Sequence[Sequence[int]]

    @property
    def masks(self) -> int:
        """How many there are."""
        return sum(map(len, self.where))

    def first(self, count: int) -> Questions:
        """The first few rows."""
        return Questions(self.rows[:count], self.where[:count])


@dataclass(frozen=True)
class Answers:
    """The best piece for each mask, and its probability, `[M]`."""

    tops: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How two models agree."""

    masks: int
    """Masks asked for."""
    top1: float
    """Share of masks that both fill with the same best piece."""
    score_error_mean: float
    """Mean difference of the probability of the reference's best piece."""
    score_error_max: float
    """The largest such difference."""

    @property
    def passes(self) -> bool:
        """Whether one may stand for the other."""
        return self.top1 >= BAR and self.score_error_mean <= SCORE_BAR

    def __str__(self) -> str:
        return (
            f"the same best piece at {self.top1:.1%} of {self.masks} masks, its score off by "
            f"{self.score_error_mean:.4f} in the mean and {self.score_error_max:.4f} at most"
        )


def ask(tokenizer: ModelTokenizer, text: Path | None, max_positions: int) -> Questions:
    """Questions on a text, the same ones each time.

    Args:
        tokenizer: the model's.
        text: a file with a sentence or a paragraph in each line; None for general biomedical sentences of our own.
        max_positions: the longest row; longer lines are cut.

    Raises:
        InputError: the file can't be read as UTF-8, or is too short to judge by.
    """
    source = _SENTENCES if text is None else text
    try:
        with source.open("rb") as stream:
            lines = islice(numbered(stream, str(source)), _LINES)
            encoded = [tokenizer.encode(line[: PIECE_CHARACTERS * max_positions]) for _, line in lines if line.strip()]
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    rows: list[list[int]] = []
    where: list[list[int]] = []
    masks = 0
    for start in range(0, _EVERY, 2):
        for row in encoded:
            row = [*row[: max_positions - 1], row[-1]] if len(row) > max_positions else row
            places = list(range(1 + start, len(row) - 1, _EVERY))
            if places and masks < MOST_MASKS:
                rows.append([tokenizer.mask_id if place in places else piece for place, piece in enumerate(row)])
                where.append(places)
                masks += len(places)
    if masks < LEAST_MASKS:
        raise InputError(f"{source} is too short to judge int8 by: it gives {masks} masks, {LEAST_MASKS} are wanted")
    return Questions(rows, where)


def answer(engine: Engine, questions: Questions) -> Answers:
    """Ask the model that others are compared with."""
    tops, scores = [], []
    for shares in _probabilities(engine, questions):
        tops.append(shares.argmax(axis=1))
        scores.append(shares.max(axis=1))
    return Answers(np.concatenate(tops), np.concatenate(scores))


def compare(reference: Answers, candidate: Engine, questions: Questions) -> Agreement:
    """How a model agrees with the reference's answers to the same questions."""
    same, errors, start = 0, [], 0
    for shares in _probabilities(candidate, questions):
        tops = reference.tops[start : start + len(shares)]
        same += int((shares.argmax(axis=1) == tops).sum())
        scores = np.take_along_axis(shares, tops[:, None], axis=1)[:, 0]
        errors.append(np.abs(scores - reference.scores[start : start + len(shares)]))
        start += len(shares)
    error = np.concatenate(errors)
    return Agreement(start, same / start, float(error.mean()), float(error.max()))


def _probabilities(engine: Engine, questions: Questions) -> Iterator[NDArray[np.float32]]:
    """Yield `[M, V]` for some rows at a time."""
    for start in range(0, len(questions.rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        logits = engine.logits(questions.rows[chunk], questions.where[chunk])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield powers / powers.sum(axis=1, keepdims=True)
