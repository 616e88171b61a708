"""How well an ELECTRA's discriminator finds what its generator replaced, beside the best constant answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pubmedbert.errors import InputError
from pubmedbert.model import electra_hf
from pubmedbert.model.electra import Electra
from pubmedbert.pretrain.electra import entropy, run
from pubmedbert.pretrain.evaluate import check_vocabulary, find, frozen_packs
from pubmedbert.pretrain.feed import fingerprint
from pubmedbert.progress import counted
from pubmedbert.shards.read import open_shards
from pubmedbert.shards.samples import Pack


@dataclass(frozen=True)
class Detection:
    """What a discriminator does on frozen masks and draws, beside a judge that always says "original"."""

    loss: float
    """Mean cross-entropy in nats per piece."""
    accuracy: float
    """Share of pieces judged right."""
    balanced_accuracy: float
    """Mean of the shares judged right among the replaced and among the original pieces; any constant answer: 0.5."""
    auc: float
    """Probability that a replaced piece scores higher than an original one; chance: 0.5."""
    replaced: float
    """Share of pieces that the generator replaced."""
    pieces: int
    """Pieces judged."""
    constant_loss: float
    """Loss of the best constant answer: the entropy of `replaced`."""
    constant_accuracy: float
    """Accuracy of always saying "original"."""


def detect(model: Electra, packs: Iterable[Pack]) -> Detection:
    """Judge a discriminator on the text that its generator fills, without dropout.

    Args:
        model: both.
        packs: frozen rows and masks.
    """
    training = model.training
    model.eval()
    with torch.inference_mode():
        found = [(part.scores.cpu(), part.replaced.cpu()) for part in (run(model, pack) for pack in packs)]  # [N] each
    model.train(training)
    scores, replaced = map(torch.cat, zip(*found, strict=True))
    return judge(scores.double(), replaced)


def evaluate_electra(name: str, shards_folder: Path, rows: int, length: int | None = None) -> tuple[Detection, str]:
    """Judge a discriminator on the held-out documents of shards.

    Args:
        name: a run, or a model folder that holds the generator, too.
        shards_folder: what `pubmedbert shards` wrote.
        rows: held-out rows.
        length: longest row in word pieces; 128 or, if that is less, all that the model reads, unless given.

    Returns:
        The figures, and the hash of the masks: only figures of equal hashes and equal generators compare.

    Raises:
        InputError: a number is out of its range, the model's vocabulary is not the shards', or nothing of the held-out
            rows is masked.
        ModelError: one of the two models can't be loaded.
    """
    shards = open_shards(shards_folder)
    shards.verify("heldout")
    folder, tokenizer, _ = find(name)
    check_vocabulary(tokenizer, shards)
    model = electra_hf.load_both(folder)
    _, packs = frozen_packs(shards, rows, length, model.config.max_positions, "electra")
    if not any(len(pack.where) for pack in packs):
        raise InputError("no word piece of the held-out rows is masked; evaluate more or longer rows")
    return detect(model, counted(packs, "judging held-out rows", "batches")), fingerprint(packs)


def judge(scores: Tensor, replaced: Tensor) -> Detection:
    """The figures of `[N]` logits against `[N]` truths.

    Raises:
        InputError: the truths are all of one kind, or a logit is no number.
    """
    share = replaced.double().mean().item()
    if share in (0, 1):
        raise InputError("the generator replaced no word piece, or all of them; evaluate more rows")
    if not scores.isfinite().all():
        raise InputError("the discriminator's answers are no numbers: its training has diverged")
    right = (scores > 0) == replaced
    return Detection(
        loss=F.binary_cross_entropy_with_logits(scores, replaced.double()).item(),
        accuracy=right.double().mean().item(),
        balanced_accuracy=sum(right[replaced == kind].double().mean().item() for kind in (True, False)) / 2,
        auc=_auc(scores.numpy(), replaced.numpy()),
        replaced=share,
        pieces=len(scores),
        constant_loss=entropy(replaced.double().mean()).item(),
        constant_accuracy=1 - share,
    )


def _auc(scores: NDArray[np.floating], replaced: NDArray[np.bool_]) -> float:
    """How often a replaced piece scores higher than an original one, ties being half (Hanley & McNeil 1982)."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2  # from 1; ties share the middle one
    bad, good = int(replaced.sum()), int((~replaced).sum())
    return float(rank[place][replaced].sum() - bad * (bad + 1) / 2) / (bad * good)
