"""A fine-tuned BERT: the encoder with a linear layer on its words or its texts (Gu et al. 2020, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.dropout import Dropout
from pubmedbert.model.encoder import Encoder
from pubmedbert.model.head import Head
from pubmedbert.model.heads import Pooler
from pubmedbert.model.linear import Linear


class Tuned(nn.Module):
    """An encoder and a linear classifier.

    Args:
        config: the encoder's shape.
        head: what it says.
    """

    def __init__(self, config: ModelConfig, head: Head) -> None:
        super().__init__()
        self.config = config
        self.head = head
        self.encoder = Encoder(config)
        self.pooler = Pooler(config) if head.has_pooler else None
        self.dropout = Dropout(config.dropout)
        self.classifier = Linear(config.width, len(head.labels))

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        types: Tensor,
        lengths: Sequence[int],
        where: Tensor | None = None,
        owners: Tensor | None = None,
    ) -> Tensor:
        """Score a pack.

        Args:
            tokens: `[N]` word-piece ids, the rows one behind the other.
            positions: `[N]` places within each row, from 0.
            types: `[N]` token types (segments).
            lengths: tokens in each row; they add up to N.
            where: `[M]` places in the pack to classify; all where it is None. Token level only.
            owners: `[B]` the number, from 0, of the example each row is a window of; None where each row is an example
                of its own. Text level only: the states of an example's windows are averaged before the classifier.

        Returns:
            Logits: `[M, C]` at token level; `[E, C]` at text level.
        """
        if self.head.level == "tokens":
            states = self.encoder(tokens, positions, types, lengths, where)  # [M, D]
        else:
            states = self._texts(tokens, positions, types, lengths)  # [B, D]
            if owners is not None:
                states = _means(states, owners)  # [E, D]
        return self.classifier(self.dropout(states))  # type: ignore[no-any-return]

    def _texts(self, tokens: Tensor, positions: Tensor, types: Tensor, lengths: Sequence[int]) -> Tensor:
        """A state for each row, `[B, D]`."""
        counts = torch.tensor(lengths, device=tokens.device)  # [B]
        if self.head.pooling in ("pooler", "cls"):
            firsts = counts.cumsum(0) - counts  # [B]
            states = self.encoder(tokens, positions, types, lengths, firsts)  # [B, D]
            return states if self.pooler is None else torch.tanh(self.pooler.dense(states))
        hidden = self.encoder(tokens, positions, types, lengths)  # [N, D]
        if self.head.pooling == "max":
            return torch.stack([row.amax(dim=0) for row in hidden.split(list(lengths))])
        rows = torch.repeat_interleave(torch.arange(len(counts), device=tokens.device), counts)  # [N]
        return _means(hidden, rows)


def _means(states: Tensor, owners: Tensor) -> Tensor:
    """The mean state of each owner: `[B, D]` to `[E, D]`."""
    counts = torch.bincount(owners)  # [E]
    sums = states.new_zeros(len(counts), states.shape[1]).index_add(0, owners, states)  # [E, D]
    return sums / counts[:, None]
