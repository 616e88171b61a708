"""Training samples from shards: segments, order, masks and packs, as pure functions of (seed, epoch, index).

Nothing here keeps state. A sample's text, its place in an epoch and its mask can be computed on their own, so a run
resumes anywhere at once and sees the same batches whatever the number of workers or ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Streams of random numbers that must not meet.
_ORDER, _WORD, _BOUNDARY, _ACTION, _REPLACEMENT = range(5)
SPLIT, RANDOM_NEXT, OTHER = range(5, 8)
"""Streams of `pubmedbert.shards.pairs`."""


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
class Masking:
    """How much of a row is to be predicted, and what stands there instead (Devlin et al. 2019, appendix A.1)."""

    share: float = 0.15
    """Of the word pieces that are predicted."""
    as_mask: float = 0.8
    """Of those, the share that becomes [MASK]."""
    as_random: float = 0.1
    """Of those, the share that becomes a random piece; the rest stays."""


@dataclass(frozen=True)
class Rows:
    """Rows not yet read: which tokens of the shards each is made of."""

    samples: Ints
    """`[B]` sample numbers, which with seed and epoch decide all that is drawn for a row."""
    spans: Ints
    """`[B, K, 2]` first token and end of the K segments, one or two; an empty second one is left out."""
    random_next: Ints
    """`[B]` 1 where the second segment is of another document, 0 where it follows the first, -1 where there is none."""

    @property
    def sizes(self) -> Ints:
        """`[B]` tokens of each row with its [CLS] and [SEP]s."""
        lengths = self.spans[:, :, 1] - self.spans[:, :, 0]  # [B, K]
        sizes: Ints = 1 + np.where(lengths > 0, lengths + 1, 0).sum(axis=1)
        return sizes

    def __getitem__(self, chosen: Ints | slice) -> Rows:
        return Rows(self.samples[chosen], self.spans[chosen], self.random_next[chosen])


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
    types: Ints
    """`[N]` 1 in the second segment of a row and its [SEP], 0 elsewhere."""
    samples: Ints
    """`[B]` the rows' sample numbers."""
    random_next: Ints
    """`[B]` as in `Rows`."""

    @property
    def first(self) -> Ints:
        """`[B]` the place of each row's [CLS]."""
        lengths: Ints = np.array(self.lengths)
        starts: Ints = np.cumsum(lengths) - lengths
        return starts

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
    first, last = documents[:-1], documents[1:]  # of what is not cut yet: fewer documents in each pass
    found = []
    while len(open_ := np.flatnonzero(first < last)):
        first, last = first[open_], last[open_]
        stop = cut(first, np.minimum(first + longest, last), last, sentences, tokens, continuation)
        found.append(np.stack([first, stop], axis=1))
        first = stop
    if not found:
        return np.zeros((0, 2), np.int64)
    table = np.concatenate(found)
    return table[np.argsort(table[:, 0], kind="stable")]


def order(count: int, seed: int, epoch: int) -> Ints:
    """The permutation of `count` samples in an epoch."""
    return np.argsort(uniform(seed, epoch, _ORDER, np.arange(count)), kind="stable")


def mask(
    tokens: Ints,
    lengths: Sequence[int],
    samples: Ints,
    special: Special,
    seed: int,
    epoch: int,
    masking: Masking = Masking(),
) -> tuple[Ints, Ints]:
    """Whole-word masking (Gu et al. 2020, section 2.1.2): whole words, by default 80% [MASK], 10% random, 10% kept.

    In each row words are taken in random order until they hold the share of the row's pieces. The word that crosses the
    line is taken with just the probability that makes the expected share exact, so short rows are not rounded.

    Args:
        tokens: `[N]` pieces of B rows, framed by special pieces.
        lengths: tokens in each row.
        samples: `[B]` the rows' sample numbers, which with seed and epoch decide the mask.
        special: the special pieces.
        seed: of the run.
        epoch: of the data.
        masking: how much is predicted.

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
    chosen = _choose(np.flatnonzero(starts), ordinary, rows, keys, seed, epoch, masking.share)  # [W]
    where = np.flatnonzero(ordinary & chosen[np.cumsum(starts) - 1])
    action = uniform(seed, epoch, _ACTION, keys[where])
    draw = uniform(seed, epoch, _REPLACEMENT, keys[where])
    random = special.replacements[(draw * len(special.replacements)).astype(np.int64)]
    masked = tokens.copy()
    other = np.where(action < masking.as_mask + masking.as_random, random, tokens[where])
    masked[where] = np.where(action < masking.as_mask, special.mask, other)
    return masked, where


def single(table: Ints, samples: Ints) -> Rows:
    """Rows of one segment each: `[B]` of the `[S, 2]` segments."""
    return Rows(samples, table[samples][:, None], np.full(len(samples), -1))


def pack(
    tokens: NDArray[np.unsignedinteger],
    rows: Rows,
    special: Special,
    seed: int,
    epoch: int,
    masking: Masking = Masking(),
) -> Pack:
    """Read, frame, sort and mask rows: [CLS], then each segment with a [SEP] behind it.

    Args:
        tokens: all tokens of the split, as in the shards.
        rows: what to read.
        special: the special pieces.
        seed: of the run.
        epoch: of the data.
        masking: how much is predicted.

    Returns:
        The rows sorted by length (then by sample), masked.

    Raises:
        InputError: a piece is outside the vocabulary.
    """
    rows = rows[np.lexsort((rows.samples, rows.sizes))]
    lengths = rows.sizes.tolist()
    frame = (np.array([special.cls]), np.array([special.sep]))
    pieces, types = [], []
    for spans in rows.spans.tolist():
        pieces.append(frame[0])
        for kind, (first, end) in enumerate(spans):
            if end > first:
                pieces += [tokens[first:end], frame[1]]
                types += [kind, end - first + 1 + (kind == 0)]  # [CLS] is of the first segment
    flat: Ints = np.concatenate(pieces).astype(np.int64)
    check_pieces(flat, len(special.special))
    masked, where = mask(flat, lengths, rows.samples, special, seed, epoch, masking)
    positions = np.concatenate([np.arange(length) for length in lengths])
    kinds: Ints = np.repeat(types[::2], types[1::2])
    return Pack(masked, positions, lengths, where, flat[where], kinds, rows.samples, rows.random_next)


def batches(rows: Rows, most_tokens: int, multiple: int = 1) -> Iterator[Rows]:
    """Split the rows of one step into packs of at most `most_tokens` tokens (and at least one row).

    Args:
        rows: of the step.
        most_tokens: in a pack.
        multiple: of what number there shall be packs, as long as there are rows. From 2 they are about equally large;
            with 1 rows of about the same length go together, in as few packs as can be, of which the last is small.
    """
    rows = rows[np.lexsort((rows.samples, rows.sizes))]
    if multiple > 1:
        yield from _even(rows, most_tokens, multiple)
        return
    first, total = 0, 0
    for i, size in enumerate(rows.sizes.tolist()):
        if total + size > most_tokens and i > first:
            yield rows[first:i]
            first, total = i, 0
        total += size
    if first < len(rows.samples):
        yield rows[first:]


def pack_count(tokens: float, most_tokens: int, multiple: int, rows: int) -> int:
    """In how many packs of equal size so many tokens in so many rows go."""
    least = math.ceil(tokens / most_tokens)
    return max(1, min(rows, math.ceil(least / multiple) * multiple))


def deal(sizes: Sequence[int], count: int) -> list[int]:
    """Deal things out evenly: the largest first, each to the one of `count` that has the least so far.

    Returns:
        Of each thing, the number of the one that has it.
    """
    loads = [(0, number) for number in range(count)]
    owners = [0] * len(sizes)
    for thing in sorted(range(len(sizes)), key=lambda thing: -sizes[thing]):
        load, owners[thing] = loads[0]
        heapreplace(loads, (load + sizes[thing], owners[thing]))
    return owners


def _even(rows: Rows, most_tokens: int, multiple: int) -> Iterator[Rows]:
    """Deal rows out to a multiple of so many packs, none of them empty."""
    sizes, last = rows.sizes, len(rows.samples)
    count = pack_count(int(sizes.sum()), most_tokens, multiple, last)
    while True:
        owners = np.array(deal(sizes.tolist(), count), np.int64)
        if count >= last or np.bincount(owners, sizes).max() <= most_tokens:
            break
        count = min(last, multiple * math.ceil(max(count + 1, 1.05 * count) / multiple))
    parts = (rows[np.flatnonzero(owners == number)] for number in range(count))
    yield from (part for part in parts if len(part.samples))


def cut(
    first: Ints, limit: Ints, last: Ints, sentences: Ints, tokens: NDArray[np.unsignedinteger], continuation: Bools
) -> Ints:
    """Where to end pieces of text that start at `first`, at most at `limit`: behind a sentence, else behind a word.

    A word that alone is too long is cut at the limit.

    Args:
        first: `[B]` first tokens.
        limit: `[B]` the furthest ends, all behind `first`.
        last: `[B]` the ends of the text.
        sentences: `[sents + 1]` offsets of sentences.
        tokens: all tokens.
        continuation: `[V]` True for pieces that continue a word.
    """
    boundary = sentences[np.searchsorted(sentences, limit, side="right") - 1]
    return np.where(boundary > first, boundary, between_words(first, limit, last, tokens, continuation))


def between_words(
    first: Ints, limit: Ints, last: Ints, tokens: NDArray[np.unsignedinteger], continuation: Bools
) -> Ints:
    """Move each cut at `limit` back to the start of a word; a word that fills the whole segment is cut after all."""
    ends = limit.copy()
    inside = np.flatnonzero(limit < last)
    check_pieces(tokens[ends[inside]], len(continuation))
    while len(inside := inside[(ends[inside] > first[inside]) & continuation[tokens[ends[inside]]]]):
        ends[inside] -= 1
    return np.where(ends > first, ends, limit)


def check_pieces(pieces: NDArray[np.integer], vocabulary: int) -> None:
    """Refuse pieces outside the vocabulary.

    Raises:
        InputError: the greatest is.
    """
    if len(pieces) and (top := pieces.max()) >= vocabulary:
        outside = f"outside the vocabulary of {vocabulary:,}"
        raise InputError(f"the shards are damaged: they hold the piece {top}, {outside}; make them again")


def _choose(
    starts: Ints, ordinary: Bools, rows: Ints, keys: NDArray[np.uint64], seed: int, epoch: int, share: float
) -> Bools:
    """`[W]` which words are masked: random order within the row, up to the row's budget of pieces."""
    piece_count = np.add.reduceat(ordinary.astype(np.int64), starts)  # [W] pieces of each word
    row = rows[starts]  # [W]
    budget = share * np.bincount(rows, weights=ordinary)  # [B]
    shuffled = np.lexsort((uniform(seed, epoch, _WORD, keys[starts]), row))
    sizes = piece_count[shuffled]
    before = np.cumsum(sizes) - sizes
    row_first = np.searchsorted(row[shuffled], row[shuffled], side="left")
    room = budget[row[shuffled]] - (before - before[row_first])  # pieces still to be taken when a word's turn comes
    draw = uniform(seed, epoch, _BOUNDARY, keys[starts][shuffled])
    chosen = np.zeros(len(starts), bool)
    chosen[shuffled] = draw * sizes < room
    return chosen


def uniform(seed: int, epoch: int, stream: int, keys: NDArray[np.integer]) -> Floats:
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
