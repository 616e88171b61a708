"""The batches of a run: which samples a step reads, as a function of where the run is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pubmedbert.errors import InputError
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.pairs import Text, pairs
from pubmedbert.shards.read import Shards, Split, SplitName, continuation, special_ids
from pubmedbert.shards.samples import Ints, Masking, Pack, Rows, Special, batches, order, pack, segments, single
from pubmedbert.vocab.folder import load

FROZEN_SEED = 20200731
"""The seed of every evaluation mask, so that losses of different runs are of the same masks."""
_PHASE = 32
"""Each phase has its own epochs, this many bits apart, so that no phase repeats the masks of another."""


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass; reading and masking them is left to the rank that trains on them."""

    rows: Rows
    """What to read."""
    epoch: int
    """Of the data, with the number of the phase; it decides the masks."""

    @property
    def tokens(self) -> int:
        """Word pieces, [CLS] and [SEP]s included."""
        return int(self.rows.sizes.sum())


@dataclass(frozen=True, eq=False)
class Feed:
    """Packs for training steps and for the frozen evaluation."""

    split: Split
    """The documents it reads."""
    special: Special
    """The special pieces."""
    recipe: Recipe
    """The run's settings."""
    _texts: dict[int, Text] = field(default_factory=dict, repr=False)

    @property
    def table(self) -> Ints:
        """`[S, 2]` the segments of the run's first rows."""
        return self.text(self.recipe.stages()[0].length).table

    def text(self, length: int) -> Text:
        """The split in segments for rows of at most that length."""
        if length not in self._texts:
            split, inside = self.split, self.special.continuation
            longest = length - (3 if self.recipe.two_segments else 2)
            table = segments(split.documents, split.sentences, longest, split.tokens, inside)
            self._texts[length] = Text(split.tokens, split.documents, split.sentences, inside, table, longest)
        return self._texts[length]

    def batches(self, phase: int, first: int, count: int) -> list[Batch]:
        """A step: rows `first` to `first + count` of the run, read as rows of a phase, in memory-sized batches.

        Each batch comes from one epoch. The batches of a step are the same whatever the number of ranks.
        """
        length = self.recipe.stages()[phase].length
        samples = len(self.text(length).table)
        found = []
        for epoch in range(first // samples, (first + count - 1) // samples + 1):
            permutation = _order(samples, self.recipe.seed, epoch + (phase << _PHASE))
            chosen = permutation[max(first - epoch * samples, 0) : first + count - epoch * samples]
            found += self._batches(length, chosen, self.recipe.seed, epoch + (phase << _PHASE), self.recipe.packs)
        return found

    def read(self, batch: Batch, mask_share: float) -> Pack:
        """Read and mask a training batch."""
        masking = self.recipe.masking(mask_share)
        return pack(self.split.tokens, batch.rows, self.special, self.recipe.seed, batch.epoch, masking)

    def step(self, step: int) -> list[Pack]:
        """The packs of a step, counted from 0, of a run without phases, ramp and changing masks."""
        recipe = self.recipe
        return [self.read(batch, recipe.mask_share) for batch in self.batches(0, step * recipe.rows, recipe.rows)]

    def frozen(self, length: int = 0) -> list[Pack]:
        """Evaluation packs of rows of at most that length (0: the recipe's): the same rows and masks in every run."""
        length = length or self.recipe.evaluate_length or self.recipe.length
        samples = order(len(self.text(length).table), FROZEN_SEED, 0)[: self.recipe.evaluate_rows]
        share = self.recipe.evaluate_mask_share
        # An ELECTRA's generator fills [MASK]s only; other pieces would be replaced too badly to be hard to tell.
        masking = Masking(share, 1.0, 0.0) if self.recipe.objective == "electra" else Masking(share)
        return [
            pack(self.split.tokens, batch.rows, self.special, FROZEN_SEED, 0, masking)
            for batch in self._batches(length, samples, FROZEN_SEED, 0, 1)
        ]

    def _batches(self, length: int, samples: Ints, seed: int, epoch: int, multiple: int) -> list[Batch]:
        text = self.text(length)
        if self.recipe.two_segments:
            share = 0.5 if self.recipe.objective == "mlm+nsp" else 0.0
            rows = pairs(text, samples, seed, epoch, share)
        else:
            rows = single(text.table, samples)
        return [Batch(part, epoch) for part in batches(rows, self.recipe.pack_tokens, multiple)]


def feed(shards: Shards, split: SplitName, recipe: Recipe) -> Feed:
    """Prepare a split for a run.

    Args:
        shards: what `pubmedbert shards` wrote.
        split: "train" or "heldout".
        recipe: the run's settings.

    Raises:
        InputError: the split has no text.
    """
    found = Feed(shards.split(split), special_pieces(shards.tokenizer_folder), recipe)
    if not len(found.table):
        raise InputError(f"{shards.folder}: the {split} documents hold no text")
    return found


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
