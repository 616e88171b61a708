"""Rows of two segments, for next-sentence prediction or for its input alone, as pure functions of (seed, epoch, index).

A segment of the table is split in two at one of its sentences. The second part then follows the first, or the second
part of a segment of another document takes its place. Both kinds of second parts are drawn alike, so that the content
tells them apart, and not that one starts with a title.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pubmedbert.shards.samples import (
    OTHER,
    RANDOM_NEXT,
    SPLIT,
    Bools,
    Ints,
    Rows,
    between_words,
    check_pieces,
    cut,
    uniform,
)


@dataclass(frozen=True)
class Text:
    """A split and its segments, as pairs are made from."""

    tokens: NDArray[np.unsignedinteger]
    """All tokens."""
    documents: Ints
    """`[docs + 1]` offsets of documents into the tokens."""
    sentences: Ints
    """`[sents + 1]` offsets of sentences."""
    continuation: Bools
    """`[V]` True for pieces that continue a word."""
    table: Ints
    """`[S, 2]` segments of at most `longest` tokens, in the order of the text."""
    longest: int
    """Most word pieces in the two segments of a row together, without [CLS] and [SEP]s."""


def pairs(text: Text, samples: Ints, seed: int, epoch: int, random_share: float = 0.5) -> Rows:
    """Rows of two segments (Devlin et al. 2019, section 3.1, task 2).

    Args:
        text: what they are made from.
        samples: `[B]` numbers of the segments whose first part starts the row.
        seed: of the run.
        epoch: of the data.
        random_share: how often the second part is another document's; 0 for two segments without a task.

    Returns:
        The rows; a row has one segment where no second part can be had, as of a segment of a single word.
    """
    first, end = text.table[samples].T
    middle = _middle(text, samples, seed, epoch)
    second = np.stack([middle, end], axis=1)  # [B, 2]
    random = uniform(seed, epoch, RANDOM_NEXT, samples) < random_share
    others, there_are = _other_document(text, samples, seed, epoch)
    random &= there_are & (middle - first < text.longest)
    if random.any():
        start, stop = _second_part(text, others[random], seed, epoch)
        limit = np.minimum(stop, start + text.longest - (middle - first)[random])
        stop = np.where(limit < stop, cut(start, limit, stop, text.sentences, text.tokens, text.continuation), stop)
        second[random] = np.stack([start, stop], axis=1)
    spans = np.stack([np.stack([first, middle], axis=1), second], axis=1)  # [B, 2, 2]
    label = np.where(second[:, 1] > second[:, 0], random.astype(np.int64), -1)
    return Rows(samples, spans, label)


def _middle(text: Text, samples: Ints, seed: int, epoch: int) -> Ints:
    """`[B]` where segments are split: at a sentence inside, else between words, else at the end."""
    first, end = text.table[samples].T
    low = np.searchsorted(text.sentences, first, side="right")
    inside = np.searchsorted(text.sentences, end, side="left") - low  # [B] sentences that start inside
    draw = uniform(seed, epoch, SPLIT, samples)
    at_sentence = text.sentences[low + (draw * inside).astype(np.int64)]
    half = first + (end - first + 1) // 2
    between = between_words(first, half, end, text.tokens, text.continuation)
    pieces = text.tokens[np.minimum(between, end - 1)]
    check_pieces(pieces, len(text.continuation))
    whole = np.where(text.continuation[pieces], end, between)  # a word is not cut
    return np.where(inside > 0, at_sentence, whole)


def _second_part(text: Text, samples: Ints, seed: int, epoch: int) -> tuple[Ints, Ints]:
    """`[B]`, `[B]` first token and end of the segments' second parts; of the whole segment where it has none."""
    first, end = text.table[samples].T
    middle = _middle(text, samples, seed, epoch)
    return np.where(middle < end, middle, first), end


def _other_document(text: Text, samples: Ints, seed: int, epoch: int) -> tuple[Ints, Bools]:
    """`[B]` a segment of another document, each as likely, and whether there is one."""
    document = np.searchsorted(text.documents, text.table[samples, 0], side="right")
    low = np.searchsorted(text.table[:, 0], text.documents[document - 1])  # the document's own segments: from low
    high = np.searchsorted(text.table[:, 0], text.documents[document])  # to high
    count = len(text.table) - (high - low)
    other = (uniform(seed, epoch, OTHER, samples) * count).astype(np.int64)
    return np.where(count > 0, np.where(other < low, other, other + high - low), samples), count > 0
