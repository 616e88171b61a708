"""Rows of many texts through the engine together, as many at once as memory is meant to hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pubmedbert.infer.engine import Engine, check_finite

PACK_TOKENS = 8192
"""Most word pieces computed at once."""
PACK_MASKS = 512
"""Most masks computed at once: their logits are `[M, V]`. One row may go beyond it."""

T = TypeVar("T")
Asked = tuple[T, Sequence[int], Sequence[int]]
"""Who asks, the ids of a row with [CLS] and [SEP], and the places in it to score."""


def scored(engine: Engine, asked: Iterable[Asked[T]]) -> Iterator[tuple[T, NDArray[np.float32]]]:
    """Yield who asked and the `[m, V]` logits of the m places, in the order of asking.

    Raises:
        InputError: the model computes what is no number.
    """
    for pack in _packs(asked):
        logits = engine.logits([row for _, row, _ in pack], [places for _, _, places in pack])  # [M, V]
        check_finite(logits)
        start = 0
        for who, _, places in pack:
            yield who, logits[start : start + len(places)]
            start += len(places)


def log_normaliser(logits: NDArray[np.float32]) -> float:
    """What to subtract from the `[V]` logits of a place to have natural logarithms of probabilities."""
    top = float(logits.max())
    return top + float(np.log(np.exp(logits - np.float32(top)).sum(dtype=np.float64)))


def best(values: NDArray[np.float32] | NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Where the `count` largest of some values are, largest first; equal ones in their order.

    Sorting a vocabulary takes longer than a layer of the model. So values are put into groups: where `count` groups
    have a largest value of at least x, so have `count` values, and only values of at least x need sorting.
    """
    size = max(1, min(64, len(values) // (4 * count)))  # of a group
    groups = len(values) // size
    if count < groups:
        largest = values[: size * groups].reshape(size, groups).max(axis=0)
        among = np.flatnonzero(values >= np.partition(largest, groups - count)[groups - count])
    else:
        among = np.arange(len(values))
    order: NDArray[np.int64] = among[np.argsort(-values[among], kind="stable")[:count]]
    return order


def _packs(asked: Iterable[Asked[T]]) -> Iterator[list[Asked[T]]]:
    pack: list[Asked[T]] = []
    tokens = masks = 0
    for one in asked:
        _, row, places = one
        if pack and (tokens + len(row) > PACK_TOKENS or masks + len(places) > PACK_MASKS):
            yield pack
            pack, tokens, masks = [], 0, 0
        pack.append(one)
        tokens, masks = tokens + len(row), masks + len(places)
    if pack:
        yield pack
