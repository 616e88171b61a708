"""Training samples from shards: segments, order, masks and packs, as pure functions of (seed, epoch, index).

Nothing here keeps state. A sample's text, its place in an epoch and its mask can be computed on their own, so a run
resumes anywhere at once and sees the same batches whatever the number of workers or ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Streams of random numbers that must not meet.
_ORDER, _WORD, _BOUNDARY, _ACTION, _REPLACEMENT = range(5)


@dataclass(frozen=True)
class Special:
    """The special pieces a sample is built with, and what may stand in for a masked piece."""

    pad: int
    """Id of [PAD]."""
    cls: int
    """Id of [CLS]."""
    sep: int
    """Id of [SEP]."""
    mask: int
    """Id of [MASK]."""
    continuation: Bools
    """`[V]` True for pieces that continue a word ("##...")."""
    special: Bools
    """`[V]` True for special pieces, [UNK] among them: never predicted, never drawn as a replacement."""

    @property
    def replacements(self) -> Ints:
        """Ids a masked piece may be replaced by: the vocabulary without its special pieces."""
        return np.flatnonzero(~self.special)


@dataclass(frozen=True)
class Pack:
    """Rows one behind the other, sorted by length: what the encoder reads, and what it must predict."""

    tokens: Ints
    """`[N]` word-piece ids after masking."""
    positions: Ints
    """`[N]` places within each row."""
    lengths: list[int]
    """Tokens in each of the B rows."""
    where: Ints
    """`[M]` places in the pack that are to be predicted."""
    labels: Ints
    """`[M]` the pieces that stood there."""

    def rows(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Each row on its own: its tokens, the places to predict in it and the pieces that stood there."""
        ends = np.cumsum(self.lengths)
        bounds = np.searchsorted(self.where, ends)
        for tokens, where, labels, end, length in zip(
            np.split(self.tokens, ends[:-1]),
            np.split(self.where, bounds[:-1]),
            np.split(self.labels, bounds[:-1]),
            ends,
            self.lengths,
            strict=True,
        ):
            yield tokens, where - (end - length), labels


def segments(
    documents: Ints, sentences: Ints, longest: int, tokens: NDArray[np.unsignedinteger], continuation: Bools
) -> Ints:
    """Cut documents into segments of whole sentences, as many as fit.

    A segment starts where the one before ended and takes sentences while they fit; a sentence that alone is too long
    is cut, between words unless a single word is too long. No segment crosses a document.

    Args:
        documents: `[docs + 1]` offsets of documents into the tokens.
        sentences: `[sents + 1]` offsets of sentences; every document starts with one.
        longest: most word pieces in a segment, without [CLS] and [SEP].
        tokens: all tokens.
        continuation: `[V]` True for pieces that continue a word.

    Returns:
        `[S, 2]` first token and end of each segment, in the order of the text.
    """
    if longest < 1:
        raise ValueError(f"a segment needs room for at least one word piece, not {longest}")
    starts, ends = documents[:-1].copy(), documents[1:]
    found = []
    while True:
        open_ = starts < ends
        if not open_.any():
            break
        first, last = starts[open_], ends[open_]
        limit = np.minimum(first + longest, last)
        boundary = sentences[np.searchsorted(sentences, limit, side="right") - 1]
        cut = _between_words(first, limit, last, tokens, continuation)
        stop = np.where(boundary > first, boundary, cut)
        found.append(np.stack([first, stop], axis=1))
        starts[open_] = stop
    if not found:
        return np.zeros((0, 2), np.int64)
    table = np.concatenate(found)
    return table[np.argsort(table[:, 0], kind="stable")]


def order(count: int, seed: int, epoch: int) -> Ints:
    """The permutation of `count` samples in an epoch."""
    return np.argsort(_uniform(seed, epoch, _ORDER, np.arange(count)), kind="stable")


def mask(
    tokens: Ints, lengths: Sequence[int], samples: Ints, special: Special, seed: int, epoch: int, share: float = 0.15
) -> tuple[Ints, Ints]:
    """Whole-word masking (Gu et al. 2020, section 2.1.2): whole words, 80% [MASK], 10% random, 10% kept.

    In each row words are taken in random order until they hold `share` of the row's pieces. The word that crosses the
    line is taken with just the probability that makes the expected share exact, so short rows are not rounded.

    Args:
        tokens: `[N]` pieces of B rows, with [CLS] first and [SEP] last in each.
        lengths: tokens in each row.
        samples: `[B]` the rows' sample numbers, which with seed and epoch decide the mask.
        special: the special pieces.
        seed: of the run.
        epoch: of the data.
        share: of the word pieces to predict.

    Returns:
        `[N]` the tokens after masking, and `[M]` the places to predict, ascending.
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)  # [N]
    place = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # [N]
    keys = _mix(_mix(samples.astype(np.uint64))[rows] + place.astype(np.uint64))  # [N]
    ordinary = ~special.special[tokens]  # [N]
    follows = np.concatenate([[False], ordinary[:-1]])  # [N] a "##" piece after a special one starts a word itself
    starts = ordinary & ~(special.continuation[tokens] & follows)  # [N] first piece of each of the W words
    if not starts.any():
        return tokens.copy(), np.zeros(0, np.int64)
    chosen = _choose(np.flatnonzero(starts), ordinary, rows, keys, seed, epoch, share)  # [W]
    where = np.flatnonzero(ordinary & chosen[np.cumsum(starts) - 1])
    action = _uniform(seed, epoch, _ACTION, keys[where])
    draw = _uniform(seed, epoch, _REPLACEMENT, keys[where])
    random = special.replacements[(draw * len(special.replacements)).astype(np.int64)]
    masked = tokens.copy()
    masked[where] = np.where(action < 0.8, special.mask, np.where(action < 0.9, random, tokens[where]))
    return masked, where


def pack(
    tokens: NDArray[np.unsignedinteger],
    table: Ints,
    samples: Ints,
    special: Special,
    seed: int,
    epoch: int,
    share: float = 0.15,
) -> Pack:
    """Read, frame, sort and mask the given samples.

    Args:
        tokens: all tokens of the split, as in the shards.
        table: `[S, 2]` its segments.
        samples: `[B]` numbers of the segments wanted.
        special: the special pieces.
        seed: of the run.
        epoch: of the data.
        share: of the word pieces to predict.

    Returns:
        The rows sorted by length (then by sample), masked.
    """
    spans = table[samples]  # [B, 2]
    by_length = np.lexsort((samples, spans[:, 1] - spans[:, 0]))
    samples, spans = samples[by_length], spans[by_length]
    lengths = [int(length) + 2 for length in spans[:, 1] - spans[:, 0]]
    parts = [[special.cls, *tokens[first:end].tolist(), special.sep] for first, end in spans.tolist()]
    flat = np.fromiter((piece for part in parts for piece in part), np.int64, sum(lengths))
    masked, where = mask(flat, lengths, samples, special, seed, epoch, share)
    positions = np.concatenate([np.arange(length) for length in lengths])
    return Pack(masked, positions, lengths, where, flat[where])


def batches(table: Ints, samples: Ints, most_tokens: int) -> Iterator[Ints]:
    """Split the samples of one step into packs of at most `most_tokens` tokens (and at least one row)."""
    sizes = table[samples, 1] - table[samples, 0] + 2
    by_length = samples[np.lexsort((samples, sizes))]
    first, total = 0, 0
    for i, size in enumerate((table[by_length, 1] - table[by_length, 0] + 2).tolist()):
        if total + size > most_tokens and i > first:
            yield by_length[first:i]
            first, total = i, 0
        total += size
    if first < len(by_length):
        yield by_length[first:]


def _between_words(
    first: Ints, limit: Ints, last: Ints, tokens: NDArray[np.unsignedinteger], continuation: Bools
) -> Ints:
    """Move each cut at `limit` back to the start of a word; a word that fills the whole segment is cut after all."""
    cut = limit.copy()
    inside = np.flatnonzero(limit < last)
    while len(inside := inside[(cut[inside] > first[inside]) & continuation[tokens[cut[inside]]]]):
        cut[inside] -= 1
    return np.where(cut > first, cut, limit)


def _choose(
    starts: Ints, ordinary: Bools, rows: Ints, keys: NDArray[np.uint64], seed: int, epoch: int, share: float
) -> Bools:
    """`[W]` which words are masked: random order within the row, up to the row's budget of pieces."""
    piece_count = np.add.reduceat(ordinary.astype(np.int64), starts)  # [W] pieces of each word
    row = rows[starts]  # [W]
    budget = share * np.bincount(rows, weights=ordinary)  # [B]
    shuffled = np.lexsort((_uniform(seed, epoch, _WORD, keys[starts]), row))
    sizes = piece_count[shuffled]
    before = np.cumsum(sizes) - sizes
    row_first = np.searchsorted(row[shuffled], row[shuffled], side="left")
    room = budget[row[shuffled]] - (before - before[row_first])  # pieces still to be taken when a word's turn comes
    draw = _uniform(seed, epoch, _BOUNDARY, keys[starts][shuffled])
    chosen = np.zeros(len(starts), bool)
    chosen[shuffled] = draw * sizes < room
    return chosen


def _uniform(seed: int, epoch: int, stream: int, keys: NDArray[np.integer]) -> Floats:
    """Counter-based uniform draws in [0, 1): one for each key, the same wherever and whenever they are made."""
    base = _mix(np.array([seed], np.int64).view(np.uint64))
    base = _mix(base ^ np.uint64(epoch))
    base = _mix(base ^ np.uint64(stream))
    return (_mix(base ^ keys.astype(np.uint64)) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele et al. 2014): each input bit moves every output bit."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
