"""Masked accuracy by how often a word occurs in training, and of words of several pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pubmedbert.model.heads import Bert
from pubmedbert.shards.samples import Bools, Floats, Ints, Pack

DECADES = 7
"""Bins are 0, 1-9, 10-99, ... and, last, from a million on."""
MANY_PIECES = 4
"""Words of so many pieces and more share a bin."""


@dataclass(frozen=True)
class Bin:
    """Masked words of one kind."""

    name: str
    words: int
    pieces: int
    accuracy: float
    """Share of the words all of whose pieces are predicted right."""
    piece_accuracy: float
    """Share of the pieces predicted right."""
    loss: float
    """Mean cross-entropy in nats a piece."""


@dataclass(frozen=True)
class Breakdown:
    """What a model predicts well, and what not."""

    by_frequency: list[Bin]
    """Words of one piece by how often the piece occurs in the training documents."""
    by_pieces: list[Bin]
    """Words by their number of pieces, all of which are masked at once."""


@dataclass(frozen=True)
class Places:
    """What was said at masked places, over all packs."""

    labels: Ints
    """`[M]` the pieces that stood there."""
    words: Ints
    """`[M]` the number of the masked word that each belongs to, ascending."""
    losses: Floats
    """`[M]` cross-entropy in nats."""
    right: Bools
    """`[M]` whether the most probable piece is the label."""


def break_down(places: Places, counts: Ints) -> Breakdown:
    """Sort masked words into bins; empty ones are left out.

    Args:
        places: what a model said.
        counts: `[V]` occurrences of each piece in the training documents.
    """
    if not len(places.labels):
        return Breakdown([], [])
    starts = np.flatnonzero(np.diff(places.words, prepend=-1))  # [W]
    pieces = np.diff(starts, append=len(places.words))  # [W]
    often = counts[places.labels[starts]]  # [W]
    decade = np.where(often > 0, np.floor(np.log10(np.maximum(often, 1))).astype(np.int64) + 1, 0)
    kind = np.minimum(decade, DECADES)  # [W]
    by_frequency = [
        _bin(_decade(number), places, starts, pieces, (pieces == 1) & (kind == number)) for number in range(DECADES + 1)
    ]
    by_pieces = [
        _bin(_size(number), places, starts, pieces, np.minimum(pieces, MANY_PIECES) == number)
        for number in range(1, MANY_PIECES + 1)
    ]
    return Breakdown([part for part in by_frequency if part.words], [part for part in by_pieces if part.words])


def look(model: Bert, packs: Iterable[Pack], continuation: Bools) -> Places:
    """What a model says at every masked place of packs, without dropout.

    Args:
        model: with a masked-language-model head.
        packs: rows, masks and labels.
        continuation: `[V]` True for pieces that continue a word.
    """
    labels, words, losses, right = [], [], [], []
    seen = 0
    training = model.training
    model.eval()
    with torch.inference_mode():
        for pack in packs:
            if not len(pack.where):
                continue
            logits = scores(model, pack)  # [M, V]
            expected = torch.from_numpy(pack.labels).to(logits.device)  # [M]
            losses.append(F.cross_entropy(logits, expected, reduction="none").double().cpu().numpy())
            right.append((logits.argmax(1) == expected).cpu().numpy())
            goes_on = continuation[pack.labels] & (np.diff(pack.where, prepend=-2) == 1)  # [M]
            words.append(seen + np.cumsum(~goes_on) - 1)
            seen = int(words[-1][-1]) + 1
            labels.append(pack.labels)
    model.train(training)
    if not labels:
        return Places(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
    return Places(np.concatenate(labels), np.concatenate(words), np.concatenate(losses), np.concatenate(right))


def scores(model: Bert, pack: Pack) -> Tensor:
    """`[M, V]` logits at the places of a pack."""
    device = model.encoder.embeddings.words.weight.device
    tokens, positions, types, where = (
        torch.from_numpy(values).to(device) for values in (pack.tokens, pack.positions, pack.types, pack.where)
    )
    return model.logits(model.encoder(tokens, positions, types, pack.lengths, keep=where)).float()


def _bin(name: str, places: Places, starts: Ints, pieces: Ints, chosen: Bools) -> Bin:
    """The bin of the `[W]` words chosen."""
    inside = np.repeat(chosen, pieces)  # [M]
    whole = np.logical_and.reduceat(places.right, starts)[chosen]
    words, count = int(chosen.sum()), int(inside.sum())
    if not words:
        return Bin(name, 0, 0, 0.0, 0.0, 0.0)
    right, loss = float(places.right[inside].mean()), float(places.losses[inside].mean())
    return Bin(name, words, count, float(whole.mean()), right, loss)


def _decade(number: int) -> str:
    if number == 0:
        return "0"
    if number == DECADES:
        return f"{10 ** (number - 1):,}+"
    return f"{10 ** (number - 1):,}-{10**number - 1:,}"


def _size(number: int) -> str:
    return "1 piece" if number == 1 else f"{number} pieces{' or more' if number == MANY_PIECES else ''}"
