"""Self-attention over packed rows: every row sees itself and nothing else, without padding and without a mask."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (Vaswani et al. 2017, section 3.2; Devlin et al. 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Attend within each row.

        Args:
            hidden: `[N, D]`, the rows one behind the other.
            lengths: tokens in each row; they add up to N.

        Returns:
            `[N, D]`.
        """
        dropout = self.dropout if self.training else 0.0
        return self.output(packed_attention(self.qkv(hidden), lengths, self.heads, dropout))  # type: ignore[no-any-return]


def packed_attention(qkv: Tensor, lengths: Sequence[int], heads: int, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention within each row of a pack.

    Neighbouring rows of one length are a batch that is a view of the pack, so a pack sorted by length costs few calls
    and no padding. No score between two rows is ever computed: nothing can leak from one document to another.

    Args:
        qkv: `[N, 3 D]`: queries, keys and values side by side.
        lengths: tokens in each row, in the order of the pack; they add up to N.
        heads: H, a divisor of D.
        dropout: share of attention probabilities to drop.

    Returns:
        `[N, D]`.

    Raises:
        ValueError: the lengths do not add up to N.
    """
    if sum(lengths) != len(qkv):
        raise ValueError(f"row lengths add up to {sum(lengths)}, the pack holds {len(qkv)} tokens")
    width = qkv.shape[1] // 3
    parts = []
    start = 0
    for length, run in groupby(lengths):
        rows = sum(1 for _ in run)
        block = qkv[start : start + rows * length]  # [B*T, 3D]
        q, k, v = block.view(rows, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)  # 3 x [B, H, T, D/H]
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)  # [B, H, T, D/H]
        parts.append(mixed.transpose(1, 2).reshape(rows * length, width))  # [B*T, D]
        start += rows * length
    return torch.cat(parts)  # [N, D]
