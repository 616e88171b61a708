"""Heads on the encoder: the vocabulary at masked positions, and the pooler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.encoder import Encoder
from pubmedbert.model.linear import Linear, linear


class VocabularyHead(nn.Module):
    """BERT's masked-language-model head: dense, GELU, norm, then the (tied) word embeddings and a bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder = None if config.tied else nn.Parameter(torch.zeros(config.vocab_size, config.width))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Score the vocabulary.

        Args:
            hidden: `[M, D]` states at the masked positions only.
            words: `[V, D]` word embeddings, used where the head is tied.

        Returns:
            `[M, V]` logits.
        """
        state = self.norm(F.gelu(self.dense(hidden)))  # [M, D]
        return linear(state, words if self.decoder is None else self.decoder, self.bias)


class Pooler(nn.Module):
    """The first token's state through a dense layer and tanh."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = Linear(config.width, config.width)

    def forward(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """`[N, D]` states of rows of the given lengths to `[B, D]`."""
        ends = torch.tensor(lengths, device=hidden.device).cumsum(0)  # [B]
        first = ends - torch.tensor(lengths, device=hidden.device)  # [B]
        return torch.tanh(self.dense(hidden[first]))


class Bert(nn.Module):
    """An encoder with the heads a checkpoint has.

    Args:
        config: its shape.
        vocabulary: whether it has a masked-language-model head.
        pooler: whether it has a pooler.
    """

    def __init__(self, config: ModelConfig, *, vocabulary: bool = True, pooler: bool = False) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.vocabulary = VocabularyHead(config) if vocabulary else None
        self.pooler = Pooler(config) if pooler else None

    def forward(self, tokens: Tensor, positions: Tensor, types: Tensor, lengths: Sequence[int]) -> Tensor:
        """Hidden states `[N, D]` of a pack; the arguments are those of `Encoder.forward`."""
        return self.encoder(tokens, positions, types, lengths)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Vocabulary logits `[M, V]` of the states `[M, D]` at the masked positions.

        Raises:
            ValueError: the model has no masked-language-model head.
        """
        if self.vocabulary is None:
            raise ValueError("this model has no masked-language-model head")
        return self.vocabulary(hidden, self.encoder.embeddings.words.weight)  # type: ignore[no-any-return]
