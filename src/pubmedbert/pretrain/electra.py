"""ELECTRA's objective: the generator fills the masks, the discriminator says what it changed (Clark et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import shake_128
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model import electra, electra_hf
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.encoder import initialise
from pubmedbert.model.flops import training_flops
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.term import Term
from pubmedbert.shards.samples import Floats, Pack


@dataclass(frozen=True)
class Pass:
    """What the two models say of a pack."""

    shares: Tensor
    """`[M, V]` the generator's log-probabilities at the masked places."""
    labels: Tensor
    """`[M]` the pieces that stood there."""
    scores: Tensor
    """`[N]` the discriminator's logits of the text that the generator filled."""
    replaced: Tensor
    """`[N]` True where a piece differs from the one that stood there. One that was drawn right is an original."""


class Electra:
    """Replaced-token detection (Clark et al. 2020, section 2) as an `Objective`.

    Args:
        recipe: its generator's share, and the weight of the discriminator's loss.
    """

    main = "mlm"

    def __init__(self, recipe: Recipe) -> None:
        self.share = recipe.generator
        self.weight = recipe.detection_weight

    def build(self, config: ModelConfig) -> electra.Electra:
        """A discriminator of that shape and its generator."""
        return electra.Electra(config, self.share)

    def initialise(self, model: nn.Module, seed: int) -> None:
        """BERT's initial weights in both."""
        initialise(model, _electra(model).config, seed)

    def counts(self, pack: Pack) -> dict[str, int]:
        """Masked pieces, and all pieces, [CLS] and [SEP] among them as in the authors' code."""
        tokens = len(pack.tokens)
        return {"mlm": len(pack.where), "rtd": tokens, "constant": tokens}

    def terms(self, model: nn.Module, pack: Pack, seed: int) -> dict[str, Term]:
        """The generator's cross-entropy at the masked places, and the discriminator's at all places.

        No gradient goes through the drawing: the generator learns from the masked words alone (section 2). "constant"
        is for comparison: a judge who knows how many pieces of the pack are replaced, but not which.
        """
        torch.manual_seed(seed)
        found = run(_electra(model), pack)
        total = F.nll_loss(found.shares, found.labels, reduction="sum")
        right = (found.shares.argmax(1) == found.labels).sum()
        detection = F.binary_cross_entropy_with_logits(found.scores, found.replaced.float(), reduction="sum")
        detected = ((found.scores > 0) == found.replaced).sum()
        tokens, originals = len(pack.tokens), (~found.replaced).sum()
        constant = tokens * entropy(originals / tokens)
        return {
            "mlm": Term(total, right, len(pack.where), 1.0),
            "rtd": Term(detection, detected, tokens, self.weight),
            "constant": Term(constant, originals, tokens, 0.0),
        }

    def flops(self, model: nn.Module, pack: Pack) -> float:
        """Of both models."""
        rows = np.searchsorted(np.cumsum(pack.lengths), pack.where, side="right")  # [M]
        masked = np.bincount(rows, minlength=len(pack.lengths)).tolist()
        return flops(_electra(model), pack.lengths, masked)

    def save(self, model: nn.Module, folder: Path) -> None:
        """The discriminator as `transformers.ElectraForPreTraining`, and in `generator/` an `ElectraForMaskedLM`."""
        electra_hf.save(_electra(model), folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Fill both models."""
        electra_hf.load(_electra(model), folder)


def run(model: electra.Electra, pack: Pack) -> Pass:
    """Fill the masks of a pack by the generator and read the result with the discriminator.

    Args:
        model: both.
        pack: rows, masks and labels.
    """
    device = model.discriminator.encoder.embeddings.words.weight.device
    tokens, positions, types, where, labels = (
        torch.from_numpy(values).to(device)
        for values in (pack.tokens, pack.positions, pack.types, pack.where, pack.labels)
    )
    logits = model.generator(tokens, positions, types, pack.lengths, where)  # [M, V]
    shares = logits.float().log_softmax(1)
    drawn = electra.sample(shares.detach().exp(), torch.from_numpy(draws(pack)).to(device))  # [M]
    filled = tokens.index_put((where,), drawn)  # [N]
    replaced = torch.zeros_like(tokens, dtype=torch.bool).index_put((where,), drawn != labels)  # [N]
    scores = model.discriminator(filled, positions, types, pack.lengths).float()  # [N]
    return Pass(shares, labels, scores, replaced)


def draws(pack: Pack) -> Floats:
    """`[M]` uniform numbers in [0, 1), one for each masked place, in steps of 2^-40.

    They are a hash of a row's sample number and of the row as it was masked, so a function of (seed, epoch, index): the
    same however rows are packed or dealt out to ranks, and frozen where the masks are.
    """
    parts = [np.zeros(0, np.uint64)]
    for sample, (tokens, _, labels) in zip(pack.samples, pack.rows(), strict=True):
        row = np.concatenate([[sample], tokens, labels]).astype("<i8")
        parts.append(np.frombuffer(shake_128(row.tobytes()).digest(8 * len(labels)), "<u8") >> np.uint64(24))
    return np.concatenate(parts) / 2.0**40


def flops(model: electra.Electra, lengths: Sequence[int], masked: Sequence[int]) -> float:
    """FLOPs of forward and backward over a pack, counted as in `pubmedbert.model.flops`.

    Args:
        model: both.
        lengths: tokens in each row.
        masked: places in each row that the generator predicts.
    """
    wide, narrow, vocabulary = model.config.width, model.generator.config.width, model.config.vocab_size
    discriminator = training_flops(model.config, lengths, 0) + 6.0 * sum(lengths) * (wide + 1) * wide
    generator = training_flops(model.generator.config, lengths, 0, masked)
    generator += 6.0 * sum(masked) * (narrow + vocabulary) * wide
    return discriminator + generator + (6.0 * sum(lengths) * wide * narrow if wide != narrow else 0.0)


def entropy(share: Tensor) -> Tensor:
    """Of two classes, in nats: the loss of the best constant answer."""
    return -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share))


def _electra(model: nn.Module) -> electra.Electra:
    return cast(electra.Electra, model)
