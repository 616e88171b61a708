"""How much arithmetic a pack needs, and how much this machine can do: the two sides of MFU."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from pubmedbert.model.config import ModelConfig


def training_flops(config: ModelConfig, lengths: Sequence[int], masked: int) -> float:
    """FLOPs of forward and backward over a pack: what the exact computation needs, without recomputation.

    Every weight matrix costs two FLOPs a token forward and four backward (Kaplan et al. 2020, section 2.1);
    attention scores and mixing cost 4 T D a token and layer forward; the vocabulary head runs at M positions.

    Args:
        config: shape of the model.
        lengths: tokens in each row.
        masked: M, positions to predict.
    """
    tokens = sum(lengths)
    layer = 4 * config.width**2 + 2 * config.width * config.ffn  # weights in a layer's matrices
    attention = 4 * config.width * sum(length**2 for length in lengths)
    head = config.width**2 + config.width * config.vocab_size
    return 3.0 * (config.layers * (2 * layer * tokens + attention) + 2 * head * masked)


def peak_flops(rounds: int = 3) -> float:
    """The best fp32 matrix-multiplication rate of this machine in FLOP/s, over three shapes a BERT-base uses."""
    best = 0.0
    for rows, inner, columns in ((1536, 768, 3072), (1536, 3072, 768), (2048, 2048, 2048)):
        left, right = torch.ones(rows, inner), torch.ones(inner, columns)
        for _ in range(rounds):
            started = time.perf_counter()
            left @ right
            best = max(best, 2.0 * rows * inner * columns / (time.perf_counter() - started))
    return best
