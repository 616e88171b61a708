"""The batches of a run: which samples a step sees, as a function of the step alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pubmedbert.errors import InputError
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.read import Shards, Split, SplitName, continuation, special_ids
from pubmedbert.shards.samples import Ints, Pack, Special, batches, order, pack, segments
from pubmedbert.vocab.folder import load

FROZEN_SEED = 20200731
"""The seed of every evaluation mask, so that losses of different runs are of the same masks."""


@dataclass(frozen=True)
class Feed:
    """Packs for training steps and for the frozen evaluation."""

    split: Split
    """The documents it reads."""
    table: Ints
    """`[S, 2]` their segments."""
    special: Special
    """The special pieces."""
    recipe: Recipe
    """The run's settings."""

    def step(self, step: int) -> list[Pack]:
        """The packs of a training step, counted from 0: `recipe.rows` samples, in memory-sized packs."""
        count = len(self.table)
        first, end = step * self.recipe.rows, (step + 1) * self.recipe.rows
        packs = []
        for epoch in range(first // count, (end - 1) // count + 1):
            permutation = _order(count, self.recipe.seed, epoch)
            samples = permutation[max(first - epoch * count, 0) : end - epoch * count]
            packs += self._packs(samples, self.recipe.seed, epoch)
        return packs

    def frozen(self) -> list[Pack]:
        """Evaluation packs: the same rows and masks in every run on these shards."""
        samples = order(len(self.table), FROZEN_SEED, 0)[: self.recipe.evaluate_rows]
        return self._packs(samples, FROZEN_SEED, 0)

    def _packs(self, samples: Ints, seed: int, epoch: int) -> list[Pack]:
        return [
            pack(self.split.tokens, self.table, part, self.special, seed, epoch, self.recipe.mask_share)
            for part in batches(self.table, samples, self.recipe.pack_tokens)
        ]


def feed(shards: Shards, split: SplitName, recipe: Recipe) -> Feed:
    """Prepare a split for a run.

    Args:
        shards: what `pubmedbert shards` wrote.
        split: "train" or "heldout".
        recipe: the run's settings.

    Raises:
        InputError: the split has no text.
    """
    data = shards.split(split)
    special = special_pieces(shards.tokenizer_folder)
    table = segments(data.documents, data.sentences, recipe.length - 2, data.tokens, special.continuation)
    if not len(table):
        raise InputError(f"{shards.folder}: the {split} documents hold no text")
    return Feed(data, table, special, recipe)


def special_pieces(folder: Path) -> Special:
    """The special pieces of a tokenizer folder, and the ordinary ones a masked piece may become.

    Raises:
        InputError: not a tokenizer folder, or its vocabulary holds nothing but special pieces.
    """
    ids = load(folder).get_vocab()
    special = np.zeros(len(ids), bool)
    special[list(special_ids(folder))] = True
    if special.all():
        raise InputError(f"{folder}: the vocabulary holds nothing but special pieces")
    return Special(ids["[PAD]"], ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], continuation(folder), special)


def fingerprint(packs: list[Pack]) -> str:
    """A short hash of what is predicted and from what, however the rows are packed: equal hashes, comparable losses."""
    digest = hashlib.sha256()
    rows = (row for part in packs for row in part.rows())
    for row in sorted(rows, key=lambda row: [array.tobytes() for array in row]):
        for array in row:
            digest.update(len(array).to_bytes(8, "little") + array.tobytes())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> Ints:
    return order(count, seed, epoch)
