"""Self-attention over packed rows: every row sees itself and nothing else, without padding and without a mask."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.dropout import dropout
from pubmedbert.model.linear import Linear


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (Vaswani et al. 2017, section 3.2; Devlin et al. 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.qkv = Linear(config.width, 3 * config.width)
        self.output = Linear(config.width, config.width)

    def forward(self, hidden: Tensor, lengths: Sequence[int], keep: Tensor | None = None) -> Tensor:
        """Attend within each row.

        Args:
            hidden: `[N, D]`, the rows one behind the other.
            lengths: tokens in each row; they add up to N.
            keep: `[M]` the places whose result is wanted; None for all.

        Returns:
            `[N, D]`, or `[M, D]`.
        """
        dropped = self.dropout if self.training else 0.0
        mixed = packed_attention(self.qkv(hidden), lengths, self.heads, dropped)  # [N, D]
        return self.output(mixed if keep is None else mixed[keep])  # type: ignore[no-any-return]


def packed_attention(qkv: Tensor, lengths: Sequence[int], heads: int, dropped: float = 0.0) -> Tensor:
    """Scaled dot-product attention within each row of a pack.

    Neighbouring rows of one length are a batch that is a view of the pack, so a pack sorted by length costs few calls
    and no padding. No score between two rows is ever computed: nothing can leak from one document to another.

    Args:
        qkv: `[N, 3 D]`: queries, keys and values side by side.
        lengths: tokens in each row, in the order of the pack; they add up to N.
        heads: H, a divisor of D.
        dropped: share of attention probabilities to drop.

    Returns:
        `[N, D]`.

    Raises:
        ValueError: the lengths do not add up to N.
    """
    if sum(lengths) != len(qkv):
        raise ValueError(f"row lengths add up to {sum(lengths)}, the pack holds {len(qkv)} tokens")
    width = qkv.shape[1] // 3
    runs = [(length, sum(1 for _ in run)) for length, run in groupby(lengths)]
    parts = []
    # One split, not a slice for each run: the gradient of every slice would be a whole pack of zeros.
    blocks = torch.split_with_sizes(qkv, [length * rows for length, rows in runs])
    for (length, rows), block in zip(runs, blocks, strict=True):  # [B*T, 3D]
        q, k, v = block.view(rows, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)  # 3 x [B, H, T, D/H]
        mixed = _attend(q, k, v, dropped)  # [B, H, T, D/H]
        parts.append(mixed.transpose(1, 2).reshape(rows * length, width))  # [B*T, D]
    return torch.cat(parts)  # [N, D]


def _attend(q: Tensor, k: Tensor, v: Tensor, dropped: float) -> Tensor:
    """Attention of `[B, H, T, D/H]` queries. With dropout torch's own kernel would compute it in the same steps."""
    if dropped == 0:
        return F.scaled_dot_product_attention(q, k, v)
    scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5  # [B, H, T, T]
    return dropout(scores.softmax(dim=3), dropped) @ v
