"""Where a corpus uses a word as a sentence does: the occurrences whose states are nearest, found exactly.

A vector of the index is multiplied as whole numbers in fp32: up to 1,040 of them the sum stays below 2**24, so it is
exact and does not depend on the order of adding; wider vectors are multiplied in fp64. Blocks of some MB are turned
into floats and multiplied while they are in the cache, at about the speed at which memory is read; nothing faster was
found that needs no other library. What makes a vector of length 1 is rounded to fp32, so those that could be among the
nearest by it are compared once more, in fp64.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.index_files import Index, scales
from pubmedbert.explore.rows import Row
from pubmedbert.explore.view import ExploredModel, View
from pubmedbert.infer.engine import thread_count
from pubmedbert.infer.engines.quantise import quantise
from pubmedbert.infer.masks.packs import best

NEIGHBOURS = 50
"""How many are found by default, as in exBERT."""
MOST_NEIGHBOURS = 1000
_BLOCK = 1024  # vectors that are floats at a time
_EXACT = 1040  # numbers in a vector, whose products in fp32 add up to less than 2**24
_DOUBT = 1e-6  # more than two cosines together are off in fp32
_LINK = "https://pubmed.ncbi.nlm.nih.gov/{}/"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An occurrence of a word."""

    score: float
    """The cosine of both vectors, rounded as the index holds them."""
    word: str
    sentence: str
    start: int
    """The word's first character in the sentence."""
    end: int
    doc_id: str
    """The PMID, where there is one."""
    link: str | None
    """The record on PubMed, where there is a PMID."""


def neighbours(
    index: Index, model: ExploredModel, view: View, place: int, *, count: int = NEIGHBOURS, threads: int | None = None
) -> list[Neighbour]:
    """The occurrences nearest to the word at a place.

    Args:
        index: made with this model.
        model: that of the view.
        view: with masks, it looks for what the model expects at a masked place.
        place: of any piece of the word.
        count: how many are wanted.
        threads: processor threads used; None is one for each core.

    Returns:
        They, the nearest first; equal ones in the order of the corpus.

    Raises:
        InputError: the index is of another model; no word stands at the place; `count` is out of range.
    """
    index.require(model.fingerprint, model.tokenizer.fingerprint)
    of_layer = view.heads[index.layer - 1] if index.of == "heads" else view.hidden[index.layer]
    return nearest(index, word_state(view.row, of_layer, place), count=count, threads=threads)


def word_state(row: Row, states: NDArray[np.float32], place: int) -> NDArray[np.float32]:
    """What a layer makes of the word at a place, `[D]`, the mean over its pieces, from `[T, D]`; as an index has words.

    Raises:
        InputError: no word stands there.
    """
    if not 0 <= place < len(row.tokens) or row.tokens[place].special:
        raise InputError(f"no word stands at place {place}; choose one of a word")
    state: NDArray[np.float32] = states[row.indexed_word(place)].mean(axis=0)
    return state


def nearest(
    index: Index, query: NDArray[np.float32], *, count: int = NEIGHBOURS, threads: int | None = None
) -> list[Neighbour]:
    """The occurrences nearest to what the index's layer makes of a word, `[D]`; see `neighbours`."""
    if not 1 <= count <= MOST_NEIGHBOURS:
        raise InputError(f"neighbours must be from 1 to {MOST_NEIGHBOURS}, not {count}")
    if not len(index.words):
        return []
    found = search(index.vectors, index.words["scale"], query, count, thread_count(threads))
    return [_neighbour(index, number, score) for number, score in found]


def search(
    vectors: NDArray[np.int8], factors: NDArray[np.float32], query: NDArray[np.float32], count: int, threads: int
) -> list[tuple[int, float]]:
    """The vectors nearest to a query that is rounded as they are.

    Args:
        vectors: `[N, D]`, at least one.
        factors: `[N]`, what makes each of length 1.
        query: `[D]`.
        count: how many are wanted.
        threads: processor threads used.

    Returns:
        The number of each and its cosine, the largest first; equal ones in their order.
    """
    asked, _ = quantise(query[None])
    sums = _sums(vectors, asked[0], threads)
    rough = sums.astype(np.float32)
    rough *= factors
    rough *= scales(asked)[0]
    last = best(rough, min(count, len(rough)))[-1]
    among = np.flatnonzero(rough >= rough[last] - _DOUBT)
    norms = _norms(vectors, among) * _norms(asked, np.arange(1))
    cosines: NDArray[np.float64] = np.divide(sums[among], norms, out=np.zeros(len(among)), where=norms > 0)
    chosen = best(cosines, min(count, len(among)))
    return list(zip(among[chosen].tolist(), cosines[chosen].tolist(), strict=True))


def _sums(vectors: NDArray[np.int8], asked: NDArray[np.int8], threads: int) -> NDArray[np.floating]:
    """The product of each of `[N, D]` vectors and one of `[D]`: `[N]` whole numbers, exact."""
    kind: type[np.floating] = np.float32 if len(asked) <= _EXACT else np.float64
    products: NDArray[np.floating] = np.empty(len(vectors), kind)
    factor = asked.astype(kind)

    def part(first: int, end: int) -> None:
        block = np.empty((_BLOCK, len(asked)), kind)
        for start in range(first, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            np.copyto(block[: stop - start], vectors[start:stop])
            np.vecdot(block[: stop - start], factor, out=products[start:stop])

    bounds = np.linspace(0, len(vectors), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads, thread_name_prefix="search") as pool:
        list(pool.map(part, bounds[:-1], bounds[1:]))
    return products


def _norms(vectors: NDArray[np.int8], among: NDArray[np.int64]) -> NDArray[np.float64]:
    """The lengths of some of `[N, D]` vectors, as exact as fp64 has them."""
    found = np.empty(len(among))
    for start in range(0, len(among), _BLOCK):
        block = vectors[among[start : start + _BLOCK]].astype(np.float64)
        found[start : start + _BLOCK] = np.sqrt(np.vecdot(block, block))
    return found


def _neighbour(index: Index, number: int, score: float) -> Neighbour:
    word = index.words[number]
    start, end, sentence = int(word["start"]), int(word["end"]), int(word["sentence"])
    text = index.sentence(sentence)
    doc_id = index.documents[int(index.sentences["document"][sentence])]
    link = _LINK.format(doc_id) if doc_id.isdecimal() else None
    return Neighbour(score, text[start:end], text, start, end, doc_id, link)
