"""Where a corpus uses a word as a sentence does: the occurrences whose states are nearest, found exactly.

A vector of the index is multiplied as whole numbers in fp32: up to 1,040 of them the sum stays below 2**24, so it is
exact and does not depend on the order of adding. Blocks of some MB are turned into fp32 and multiplied while they are
in the cache, at about the speed at which memory is read; nothing faster was found that needs no other library.
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
_BLOCK = 1024  # vectors that are fp32 at a time
_LINK = "https://pubmed.ncbi.nlm.nih.gov/{}/"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An occurrence of a word."""

    score: float
    """The cosine of both vectors, as the index holds them."""
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
    found = cosines(index.vectors, index.words["scale"], query, thread_count(threads))
    chosen = best(found, min(count, len(found)))
    return [_neighbour(index, int(number), float(found[number])) for number in chosen]


def cosines(
    vectors: NDArray[np.int8], factors: NDArray[np.float32], query: NDArray[np.float32], threads: int
) -> NDArray[np.float32]:
    """The cosine of each vector and a query that is rounded as they are.

    Args:
        vectors: `[N, D]`.
        factors: `[N]`, what makes each of length 1.
        query: `[D]`.
        threads: processor threads used.

    Returns:
        `[N]`.
    """
    whole, _ = quantise(query[None])
    asked = whole[0].astype(np.float32)  # [D]
    products = np.empty(len(vectors), np.float32)

    def part(first: int, end: int) -> None:
        block = np.empty((_BLOCK, vectors.shape[1]), np.float32)
        for start in range(first, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            np.copyto(block[: stop - start], vectors[start:stop])
            np.vecdot(block[: stop - start], asked, out=products[start:stop])

    bounds = np.linspace(0, len(vectors), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads, thread_name_prefix="search") as pool:
        list(pool.map(part, bounds[:-1], bounds[1:]))
    products *= factors
    products *= scales(whole)[0]
    return products


def _neighbour(index: Index, number: int, score: float) -> Neighbour:
    word = index.words[number]
    start, end, sentence = int(word["start"]), int(word["end"]), int(word["sentence"])
    text = index.sentence(sentence)
    doc_id = index.documents[int(index.sentences["document"][sentence])]
    link = _LINK.format(doc_id) if doc_id.isdecimal() else None
    return Neighbour(score, text[start:end], text, start, end, doc_id, link)
