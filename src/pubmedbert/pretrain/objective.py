"""The masked-language-model objective on packs, and the unigram model it must beat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pubmedbert.model.heads import Bert
from pubmedbert.shards.samples import Ints, Pack


def masked_loss(model: Bert, pack: Pack) -> tuple[Tensor, Tensor]:
    """Cross-entropy at the masked positions of a pack (Devlin et al. 2019, section 3.1, task 1).

    The vocabulary head runs at the M masked positions only, about a seventh of the N tokens.

    Args:
        model: with a masked-language-model head.
        pack: rows, masks and labels.

    Returns:
        The sum of the losses in nats, and how many of the M predictions are right.
    """
    device = model.encoder.embeddings.words.weight.device
    tokens = torch.from_numpy(pack.tokens).to(device)  # [N]
    hidden = model(
        tokens, torch.from_numpy(pack.positions).to(device), torch.zeros_like(tokens), pack.lengths
    )  # [N, D]
    logits = model.logits(hidden[torch.from_numpy(pack.where).to(device)])  # [M, V]
    labels = torch.from_numpy(pack.labels).to(device)  # [M]
    return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()


def unigram_loss(counts: Ints, packs: list[Pack]) -> float:
    """Loss in nats per masked piece of a model that knows only how often each piece occurs.

    A run whose loss stays near this value has learned nothing from context.

    Args:
        counts: `[V]` occurrences in the training split; one is added to each.
        packs: whose labels are predicted.
    """
    if not any(len(part.labels) for part in packs):
        return float("nan")
    logp = np.log(counts + 1.0) - np.log(np.sum(counts + 1.0))
    labels = np.concatenate([part.labels for part in packs])
    return float(-logp[labels].mean())
