"""Rows of two segments, for next-sentence prediction or for its input alone, as pure functions of (seed, epoch, index).

A segment of the table is split in two at one of its sentences; one within a sentence stays whole, without a label. The
second part then follows the first, or text of another document takes its place. Both kinds of second parts are of about
the same length, start and end at sentences, none is a title, and one that ends its document is replaced by the end of
another: only the content tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.shards.samples import (
    OTHER,
    RANDOM_NEXT,
    SPLIT,
    Bools,
    Ints,
    Rows,
    cut,
    uniform,
)

CANDIDATES = 8
"""Other documents of which the one whose text has the best length is taken."""


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
        The rows; a row has one segment where no sentence starts inside its own.
    """
    first, end = text.table[samples].T
    middle = _middle(text, samples, seed, epoch)
    second = np.stack([middle, end], axis=1)  # [B, 2]
    random = (uniform(seed, epoch, RANDOM_NEXT, samples) < random_share) & (middle < end)
    chosen = np.flatnonzero(random)
    others, there_are = _other_documents(text, samples[chosen], seed, epoch)
    random[chosen] = there_are
    chosen, others = chosen[there_are], others[there_are]
    if len(chosen):
        room = text.longest - (middle - first)[chosen]
        second[chosen] = _replacement(text, second[chosen], others, room, seed, epoch)
    spans = np.stack([np.stack([first, middle], axis=1), second], axis=1)  # [B, 2, 2]
    label = np.where(second[:, 1] > second[:, 0], random.astype(np.int64), -1)
    return Rows(samples, spans, label)


def _middle(text: Text, samples: Ints, seed: int, epoch: int) -> Ints:
    """`[B]` where segments are split: at one of the sentences that start inside, at the end where none does."""
    first, end = text.table[samples].T
    low = _search(text.sentences, first, side="right")
    inside = _search(text.sentences, end) - low  # [B] sentences that start inside
    draw = uniform(seed, epoch, SPLIT, samples)
    return np.where(inside > 0, text.sentences[low + (draw * inside).astype(np.int64)], end)


def _replacement(text: Text, own: Ints, others: Ints, room: Ints, seed: int, epoch: int) -> Ints:
    """`[B, 2]` first token and end of text of other documents: of several, the one nearest in length to the original.

    Args:
        text: what rows are made from.
        own: `[B, 2]` first token and end of the parts that are replaced.
        others: `[B, CANDIDATES]` segments of other documents.
        room: `[B]` most tokens of each.
        seed: of the run.
        epoch: of the data.
    """
    own, room = own[:, None].repeat(CANDIDATES, 1).reshape(-1, 2), room.repeat(CANDIDATES)
    size, others = own[:, 1] - own[:, 0], others.ravel()
    document = _search(text.documents, text.table[others, 0], side="right")
    begin, end = text.documents[document - 1], text.documents[document]
    behind_title = text.sentences[_search(text.sentences, begin, side="right")]
    least = np.where(behind_title < end, behind_title, begin)
    ends = text.documents[_search(text.documents, own[:, 1])] == own[:, 1]
    start = np.where(ends, _tail(text, end, size, room), _inside(text, others, end, room, seed, epoch))
    start = np.maximum(start, least)
    limit = np.minimum(end, start + room)
    stop = np.where(limit < end, cut(start, limit, end, text.sentences, text.tokens, text.continuation), end)
    nearest = np.abs(stop - start - size).reshape(-1, CANDIDATES).argmin(1)
    chosen: Ints = np.stack([start, stop], axis=1).reshape(-1, CANDIDATES, 2)[np.arange(len(nearest)), nearest]
    return chosen


def _tail(text: Text, end: Ints, size: Ints, room: Ints) -> Ints:
    """`[B]` the sentences from which the ends of documents are nearest to a size, and have room."""
    number = _search(text.sentences, end - size)
    late, early = text.sentences[number], text.sentences[np.maximum(number - 1, 0)]
    nearer = (end - early <= room) & (end - size - early < late - (end - size))
    return np.where(nearer | (late == end), early, late)


def _inside(text: Text, others: Ints, end: Ints, room: Ints, seed: int, epoch: int) -> Ints:
    """`[B]` where segments are split, or a sentence before, so that what follows in their documents fills the room."""
    first, last = text.table[others].T
    middle = _middle(text, others, seed, epoch)
    limit = np.minimum(np.where(middle < last, middle, first), end - room)
    return text.sentences[np.maximum(_search(text.sentences, limit, side="right") - 1, 0)]


def _other_documents(text: Text, samples: Ints, seed: int, epoch: int) -> tuple[Ints, Bools]:
    """`[B, CANDIDATES]` segments of other documents, each as likely, and `[B]` whether there is one."""
    document = _search(text.documents, text.table[samples, 0], side="right")
    low = _search(text.table[:, 0], text.documents[document - 1])[:, None]  # the document's own segments: from
    high = _search(text.table[:, 0], text.documents[document])[:, None]  # low to high
    count = len(text.table) - (high - low)
    draws = samples[:, None] * CANDIDATES + np.arange(CANDIDATES)
    other = (uniform(seed, epoch, OTHER, draws) * count).astype(np.int64)
    found = np.where(other < low, other, other + high - low)
    return np.where(count > 0, found, samples[:, None]), count[:, 0] > 0


def _search(ordered: Ints, values: Ints, side: Literal["left", "right"] = "left") -> Ints:
    """`np.searchsorted`, several times as fast in tables that no cache holds: what is looked up is sorted first."""
    order = np.argsort(values)
    found = np.empty(len(values), np.int64)
    found[order] = np.searchsorted(ordered, values[order], side=side)
    return found
