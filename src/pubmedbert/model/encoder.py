"""The BERT encoder: post-norm layers over packed rows (Devlin et al. 2019, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model.attention import SelfAttention
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.dropout import Dropout
from pubmedbert.model.linear import Linear


class Embeddings(nn.Module):
    """Word, position and token-type embeddings, summed and normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.width, padding_idx=config.pad_id)
        self.positions = nn.Embedding(config.max_positions, config.width)
        self.types = nn.Embedding(config.token_types, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """Embed `[N]` tokens at `[N]` positions of `[N]` types as `[N, D]`."""
        total = self.words(tokens) + self.positions(positions) + self.types(types)  # [N, D]
        return self.dropout(self.norm(total))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and feed-forward, each followed by dropout, the residual and the norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.up = Linear(config.width, config.ffn)
        self.down = Linear(config.ffn, config.width)
        self.ffn_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden: Tensor, lengths: Sequence[int], keep: Tensor | None = None) -> Tensor:
        """`[N, D]` to `[N, D]`, rows of the given lengths; or to `[M, D]`, only the places to keep."""
        asked = hidden if keep is None else hidden.index_select(0, keep)  # [M, D]
        attended = self.attention(hidden, lengths) if keep is None else self.attention(hidden, lengths, asked, keep)
        hidden = self.attention_norm(self.dropout.add(attended, asked))
        return self.ffn_norm(self.dropout.add(self.down(F.gelu(self.up(hidden))), hidden))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A BERT encoder over a pack of rows.

    Args:
        config: its shape.
        embeddings: to be used in place of its own.
    """

    def __init__(self, config: ModelConfig, embeddings: Embeddings | None = None) -> None:
        super().__init__()
        self.config = config
        self.embeddings = embeddings or Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(
        self, tokens: Tensor, positions: Tensor, types: Tensor, lengths: Sequence[int], keep: Tensor | None = None
    ) -> Tensor:
        """Encode a pack.

        Args:
            tokens: `[N]` word-piece ids, the rows one behind the other.
            positions: `[N]` places within each row, from 0.
            types: `[N]` token types (segments).
            lengths: tokens in each row; they add up to N. Rows sorted by length are fastest.
            keep: `[M]` the places whose last state is wanted, ascending; None for all. All of the last layer but keys
                and values is computed there alone, which changes no result.

        Returns:
            `[N, D]` hidden states of the last layer, or `[M, D]`.
        """
        hidden = self.embeddings(tokens, positions, types)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, lengths, keep if number == last else None)
        return hidden  # type: ignore[no-any-return]


def initialise(module: nn.Module, config: ModelConfig, seed: int) -> None:
    """Draw BERT's initial weights: normal with `initializer_range`, zero biases, unit norms, zero [PAD] embedding.

    Args:
        module: the model to fill in place.
        config: its shape.
        seed: equal seeds give equal weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=config.initializer_range, generator=generator)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx])
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
