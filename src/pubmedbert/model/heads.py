"""Heads on the encoder: the vocabulary at masked positions, and the pooler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.encoder import Encoder
from pubmedbert.model.linear import Linear, linear
from pubmedbert.model.loss import vocabulary_loss


class VocabularyHead(nn.Module):
    """BERT's masked-language-model head: dense, GELU, norm, then the (tied) word embeddings and a bias.

    Args:
        config: the shape of the model below it.
        embedding: E, the width of the word embeddings where it is not D, the model's.
    """

    def __init__(self, config: ModelConfig, embedding: int | None = None) -> None:
        super().__init__()
        embedding = embedding or config.width
        self.dense = Linear(config.width, embedding)
        self.norm = nn.LayerNorm(embedding, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder = None if config.tied else nn.Parameter(torch.zeros(config.vocab_size, embedding))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Score the vocabulary.

        Args:
            hidden: `[M, D]` states at the masked positions only.
            words: `[V, E]` word embeddings, used where the head is tied.

        Returns:
            `[M, V]` logits.
        """
        return linear(self._states(hidden), words if self.decoder is None else self.decoder, self.bias)

    def loss(self, hidden: Tensor, words: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the scores, which cost less when they need not be given back.

        Args:
            hidden: `[M, D]` states at the masked positions only.
            words: `[V, E]` word embeddings, used where the head is tied.
            labels: `[M]` the pieces that stood there.

        Returns:
            The sum of the losses in nats, and how many of the M predictions are right.
        """
        return vocabulary_loss(self._states(hidden), words if self.decoder is None else self.decoder, self.bias, labels)

    def _states(self, hidden: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(hidden)))  # type: ignore[no-any-return]  # [M, E]


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
        next_sentence: whether it has the two classes of next-sentence prediction: 0 for a second segment that follows
            the first, 1 for another document's.
    """

    def __init__(
        self, config: ModelConfig, *, vocabulary: bool = True, pooler: bool = False, next_sentence: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.vocabulary = VocabularyHead(config) if vocabulary else None
        self.pooler = Pooler(config) if pooler else None
        self.next_sentence = Linear(config.width, 2) if next_sentence else None

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

    def loss(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, summed, and the count of right predictions, at masked positions.

        Args:
            hidden: `[M, D]` states at the masked positions.
            labels: `[M]` the pieces that stood there.

        Raises:
            ValueError: the model has no masked-language-model head.
        """
        if self.vocabulary is None:
            raise ValueError("this model has no masked-language-model head")
        return self.vocabulary.loss(hidden, self.encoder.embeddings.words.weight, labels)
