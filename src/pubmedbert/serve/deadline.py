"""What a model computes ends when nobody waits for it: the clients have left, or were told that there is no answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 2048
"""Most word pieces computed between two looks at the clock; one row may be longer."""
_GRACE = 1.0
"""Seconds after which an answer is late here: the service, whose clock counts, has said so by then."""


class Deadline:
    """When what is computed at the moment is no longer waited for; never, until it is set."""

    def __init__(self) -> None:
        self._end = math.inf
        self.given_up: Callable[[], bool] = lambda: False
        """Whether all clients have left."""

    def set(self, end: float) -> None:
        """It is then, by `time.monotonic()`."""
        self._end = end + _GRACE

    def check(self, *_: object) -> None:
        """Stop what is late, or not waited for.

        Raises:
            InputError: it is.
        """
        if time.monotonic() > self._end or self.given_up():
            raise InputError("no answer in time; send fewer or shorter texts, or fewer targets")


class PunctualEngine:
    """An engine that looks at the clock before each of its calls, which are short ones; otherwise as `Engine`."""

    def __init__(self, engine: Engine, deadline: Deadline) -> None:
        self._engine = engine
        self._deadline = deadline
        self.name = engine.name
        self.width = engine.width
        self.max_positions = engine.max_positions
        self.vocab_size = engine.vocab_size

    def hidden(
        self,
        rows: Sequence[Sequence[int]],
        where: Sequence[Sequence[int]] | None = None,
        seconds: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """States; see `Encoder.hidden`."""
        self._deadline.check()
        return self._engine.hidden(rows, where, seconds)

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Scores of the vocabulary; see `Engine.logits`."""
        import numpy as np

        found = []
        for chunk in chunks(rows, CHUNK):
            self._deadline.check()
            found.append(self._engine.logits(rows[chunk], where[chunk]))
        return np.concatenate(found) if len(found) > 1 else found[0]


def chunks(rows: Sequence[Sequence[int]], most: int) -> list[slice]:
    """Rows in order, at most so many word pieces together where there is more than one."""
    ends, total = [0], 0
    for number, row in enumerate(rows):
        if total and total + len(row) > most:
            ends.append(number)
            total = 0
        total += len(row)
    return [slice(start, end) for start, end in zip(ends, [*ends[1:], len(rows)], strict=True)]
