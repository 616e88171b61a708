"""How much arithmetic a pack needs, and how much this machine can do: the two sides of MFU."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.linear import product

SHAPES = ((1536, 768, 3072), (1536, 3072, 768), (2048, 2048, 2048))
"""Of the products that tell what a machine can do: the feed-forward of a BERT-base on 1,536 tokens, and a cube."""


def training_flops(
    config: ModelConfig, lengths: Sequence[int], masked: int, kept: Sequence[int] | None = None
) -> float:
    """FLOPs of forward and backward over a pack: what the exact computation needs, without recomputation.

    Every weight matrix costs two FLOPs a token forward and four backward (Kaplan et al. 2020, section 2.1); attention
    scores and mixing cost 4 T D a query and layer forward; the vocabulary head runs at M positions. Where only some of
    the last states are wanted, the last layer needs keys and values of all tokens, and the rest of the wanted ones.

    Args:
        config: shape of the model.
        lengths: tokens in each row.
        masked: M, positions to predict.
        kept: places in each row whose last state is wanted; None for all.
    """
    tokens, wanted = sum(lengths), sum(lengths if kept is None else kept)
    matrix = config.width**2  # weights of a projection
    rest = 2 * matrix + 2 * config.width * config.ffn  # of a layer without keys and values
    scores = sum(length**2 for length in lengths)
    last_scores = sum(
        length * queries for length, queries in zip(lengths, lengths if kept is None else kept, strict=True)
    )
    linear = (config.layers * 2 * matrix + (config.layers - 1) * rest) * tokens + rest * wanted
    attention = 2 * config.width * ((config.layers - 1) * scores + last_scores)
    head = (matrix + config.width * config.vocab_size) * masked
    return 6.0 * (linear + attention + head)


def peak_flops(rounds: int = 3, *, bf16: bool = False) -> float:
    """The best rate of matrix products of this machine in FLOP/s, over `SHAPES` and the libraries torch has.

    Args:
        rounds: how often each is tried.
        bf16: whether in bfloat16, else in fp32.
    """
    best, kind = 0.0, torch.bfloat16 if bf16 else torch.float32
    for rows, inner, columns in SHAPES:
        left, right = torch.ones(rows, inner, dtype=kind), torch.ones(columns, inner, dtype=kind)
        for multiply in (F.linear, product):
            for _ in range(rounds):
                started = time.perf_counter()
                multiply(left, right, None)
                best = max(best, 2.0 * rows * inner * columns / (time.perf_counter() - started))
    return best
