"""What a model can know before its first step: how often pieces occur, and beside which others."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

from pubmedbert.model.attention import SelfAttention
from pubmedbert.model.heads import Bert, VocabularyHead
from pubmedbert.shards.read import Split
from pubmedbert.shards.samples import Ints

MOST_TOKENS = 2**24
"""Pieces that are counted; more change little, and a run would wait for them."""
CONTEXTS = 2048
"""Neighbours that are counted: the most frequent pieces. Their number bounds memory, `[V, K]`, and time."""
_SMOOTHING = 0.75
"""Power of the neighbours' frequencies: without it rare ones count too much (Levy et al. 2015, section 3.2)."""
_SPREAD = 0.05
"""Standard deviation of the numbers of a word's vector."""
_IDENTITY = 0.8
"""What is added to the diagonals of a layer's value and output matrices, over the square root of the layers' number."""
CHUNK = 2**25
"""Pairs counted at once: 16 bytes for each of them."""


def start_at_unigram(model: nn.Module, counts: Ints) -> None:
    """Let vocabulary heads start as the unigram model: its log-probabilities, each piece counted once more."""
    seen = torch.from_numpy(counts.astype(np.float64)) + 1  # [V]
    for part in model.modules():
        if isinstance(part, VocabularyHead):
            part.bias.data.copy_((seen / seen.sum()).log())


def start_near_identity(model: Bert) -> None:
    """Let an untrained model add up the words of a row, and compare the sum with each word of the vocabulary.

    A number is added on the diagonals of the layers' value and output matrices, and of the head's dense matrix.
    """
    config = model.config
    for part in model.modules():
        if isinstance(part, SelfAttention):
            for matrix in (part.qkv.weight.data[2 * config.width :], part.output.weight.data):
                matrix.diagonal().add_(_IDENTITY / sqrt(config.layers))
        elif isinstance(part, VocabularyHead):
            part.dense.weight.data.diagonal().add_(1.0)


def start_at_neighbours(words: Tensor, split: Split, counts: Ints, window: int, seed: int) -> None:
    """Let word embeddings start as `word_vectors`; those of pieces without neighbours stay.

    Args:
        words: `[V, D]`, changed in place.
        split: the training documents.
        counts: `[V]` how often each piece occurs in them.
        window: how many pieces on each side are neighbours.
        seed: of the run.
    """
    vectors = word_vectors(split, counts, words.shape[1], window, seed).to(words)
    words.copy_(torch.where(vectors.any(dim=1, keepdim=True), _SPREAD * vectors, words))


def word_vectors(split: Split, counts: Ints, width: int, window: int, seed: int) -> Tensor:
    """`[V, D]` vectors whose products tell which pieces stand near each other: singular vectors of their PMI.

    Positive pointwise mutual information, singular values to the power of one half (Levy & Goldberg 2014, section 3),
    turned at random so that no dimension is more than another, each vector of length sqrt(D); 0 for pieces without
    neighbours.

    Args:
        split: the documents.
        counts: `[V]` how often each piece occurs in them.
        width: D.
        window: how many pieces on each side are neighbours.
        seed: of the turn.
    """
    together = torch.from_numpy(neighbours(split, counts, window))  # [V, K]
    rows = together.sum(1, keepdim=True)
    columns = together.sum(0) ** _SMOOTHING
    pmi = together.div_(rows.clamp_(min=1)).div_((columns / columns.sum()).clamp_(min=1e-30))
    pmi = pmi.clamp_(min=1).log_()  # what stands together less often than by chance counts as by chance
    values, vectors = torch.linalg.eigh((pmi.T @ pmi).double())  # [K], [K, K], the greatest last
    kept = min(width, len(values))
    root = values[-kept:].clamp(min=1e-9) ** 0.25  # of the singular values
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=generator))
    found: Tensor = pmi @ ((vectors[:, -kept:] / root) @ turn[:kept]).float()
    return found.mul_(sqrt(width) / found.norm(dim=1, keepdim=True).clamp_(min=1e-9))


def neighbours(split: Split, counts: Ints, window: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """`[V, K]` how often each piece stands within `window` pieces of each of the most frequent ones, in one document.

    Of a large split only documents evenly spread over it are read.
    """
    size, kept = len(counts), min(CONTEXTS, len(counts))
    column = np.full(size, -1, np.int64)
    column[np.argsort(-counts, kind="stable")[:kept]] = np.arange(kept)
    found = np.zeros(size * kept, np.float32)
    for tokens, document in _texts(split, CHUNK // (2 * window)):
        keys = []
        for distance in range(1, window + 1):
            left, right = tokens[:-distance], tokens[distance:]
            same = document[:-distance] == document[distance:]
            for piece, other in ((left, right), (right, left)):
                place = column[other]
                keep = same & (place >= 0)
                keys.append(piece[keep] * kept + place[keep])
        found += np.bincount(np.concatenate(keys), minlength=len(found))
    return found.reshape(size, kept)


def _texts(split: Split, together: int) -> Iterator[tuple[Ints, Ints]]:
    """Documents in chunks of about so many pieces: the pieces, and for each of them the number of its document."""
    sizes = np.diff(split.documents)
    chosen = np.arange(0, len(sizes), max(-(-len(split.tokens) // MOST_TOKENS), 1))
    ends = np.cumsum(sizes[chosen])
    for part in np.split(chosen, np.flatnonzero(np.diff(ends // max(together, 1))) + 1):
        texts = [split.tokens[split.documents[number] : split.documents[number + 1]] for number in part]
        yield np.concatenate(texts).astype(np.int64), np.repeat(part, sizes[part])
