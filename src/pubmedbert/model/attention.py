"""Self-attention over packed rows: every row sees itself and nothing else, without padding and without a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, groupby
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.dropout import coins, on_cpu, scale, steps
from pubmedbert.model.linear import Linear, linear

_CACHED = 1 << 20
"""Scores that are worked on at a time in training: 4 MB, which stay in a processor's cache."""


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (Vaswani et al. 2017, section 3.2; Devlin et al. 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.qkv = Linear(config.width, 3 * config.width)
        self.output = Linear(config.width, config.width)

    def forward(
        self, hidden: Tensor, lengths: Sequence[int], asked: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        """Attend within each row.

        Args:
            hidden: `[N, D]`, the rows one behind the other.
            lengths: tokens in each row; they add up to N.
            asked: `[M, D]` the states of the places whose result is wanted: queries are made of no others. None for
                all places.
            keep: `[M]` these places, ascending.

        Returns:
            `[N, D]`, or `[M, D]`.

        Raises:
            ValueError: the lengths do not add up to N, or the places are not ascending.
        """
        dropped = self.dropout if self.training else 0.0
        if asked is None or keep is None:
            return self.output(packed_attention(self.qkv(hidden), lengths, self.heads, dropped))  # type: ignore[no-any-return]
        width = hidden.shape[1]
        (q_weight, kv_weight), (q_bias, kv_bias) = (
            torch.split(x, [width, 2 * width]) for x in (self.qkv.weight, self.qkv.bias)
        )
        projected = linear(asked, q_weight, q_bias), linear(hidden, kv_weight, kv_bias)  # [M, D], [N, 2 D]
        return self.output(_attend(projected, lengths, kept_in_rows(keep, lengths), self.heads, dropped))  # type: ignore[no-any-return]


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
    return _attend((qkv,), lengths, lengths, heads, dropped)


def kept_in_rows(keep: Tensor, lengths: Sequence[int]) -> list[int]:
    """How many of the `[M]` places to keep lie in each row.

    Raises:
        ValueError: they are not ascending.
    """
    if bool((keep[1:] < keep[:-1]).any()):
        raise ValueError("the places to keep must be in ascending order")
    ends = torch.tensor(lengths, device=keep.device).cumsum(0)  # [B]
    counts: list[int] = torch.bincount(torch.searchsorted(ends, keep, right=True), minlength=len(lengths)).tolist()
    return counts


@dataclass(frozen=True)
class _Batch:
    """Neighbouring rows of one length, and their queries."""

    length: int
    """T."""
    counts: Sequence[int]
    """`[B]` queries in each row; Q is the most of them."""

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and queries."""
        return len(self.counts) * self.length, sum(self.counts)

    def scores(self, heads: int) -> tuple[int, int, int]:
        """The shape of the scores of H heads: `[B H, Q, T]`."""
        return len(self.counts) * heads, max(self.counts), self.length

    def slots(self, device: torch.device) -> Tensor | None:
        """`[queries]` places among `B Q`, as if every row had Q; None where all have."""
        most = max(self.counts)
        if min(self.counts) == most:
            return None
        counts = torch.tensor(self.counts, device=device)[:, None]  # [B, 1]
        return (torch.arange(most, device=device) < counts).flatten().nonzero()[:, 0]

    def first(self, x: Tensor, slots: Tensor | None = None) -> Tensor:
        """`[places, H, X]` as `[B, H, places in a row, X]`, a view; with slots a copy, zeros where a row has none."""
        if slots is not None:
            x = x.new_zeros(len(self.counts) * max(self.counts), *x.shape[1:]).index_copy(0, slots, x)
        return torch.unflatten(x, 0, (len(self.counts), -1)).transpose(1, 2)

    def back(self, x: Tensor, slots: Tensor | None = None) -> Tensor:
        """The reverse of `first`, copied."""
        x = x.transpose(1, 2).flatten(0, 1)
        return x if slots is None else x[slots]

    def put(self, out: Tensor, x: Tensor, slots: Tensor | None = None) -> None:
        """Write `back` of `[B H, places in a row, X]` into `[places, H, X]`, in one copy where there are no slots."""
        x = torch.unflatten(x, 0, (len(self.counts), -1))
        if slots is None:
            self.first(out).copy_(x)
        else:
            out.copy_(self.back(x, slots))


def _batches(lengths: Sequence[int], counts: Sequence[int], most_scores: float) -> Iterator[_Batch]:
    """The rows of a pack in batches of one length, each of one row or of at most so many scores a head."""
    start = 0
    for length, run in groupby(lengths):
        end = start + sum(1 for _ in run)
        rows = int(max(1, min(end - start, most_scores // max(1, max(counts[start:end]) * length))))
        yield from (_Batch(length, counts[at : min(at + rows, end)]) for at in range(start, end, rows))
        start = end


def _parts(projected: Sequence[Tensor], heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """`[M, H, D/H]` queries, `[N, H, D/H]` keys and values: views of `[N, 3 D]`, or of `[M, D]` and `[N, 2 D]`."""
    size = sum(x.shape[1] for x in projected) // (3 * heads)
    q, k, v = (part for x in projected for part in torch.unflatten(x, 1, (-1, heads, size)).unbind(1))
    return q, k, v


def _split(projected: Sequence[Tensor], batches: Sequence[_Batch]) -> Iterator[tuple[Tensor, ...]]:
    """The projections of each batch. Split, not sliced: the gradient of every slice would be a whole pack of zeros."""
    tokens, queries = (list(sizes) for sizes in zip(*(batch.shape for batch in batches), strict=True))
    *first, last = projected
    yield from zip(*(torch.split(x, queries) for x in first), torch.split(last, tokens), strict=True)


def _attend(
    projected: tuple[Tensor, ...], lengths: Sequence[int], counts: Sequence[int], heads: int, dropped: float
) -> Tensor:
    """Attention of some places to their rows.

    Args:
        projected: `[N, 3 D]`, or `[M, D]` queries and `[N, 2 D]` keys and values.
        lengths: `[B]` tokens in each row.
        counts: `[B]` queries in each row.
        heads: H.
        dropped: share of probabilities to drop.

    Returns:
        `[M, D]`, M being N for the whole pack.
    """
    like, tokens = projected[0], len(projected[-1])
    if sum(lengths) != tokens:
        raise ValueError(f"row lengths add up to {sum(lengths)}, the pack holds {tokens} tokens")
    if like.is_cuda and like.dtype in (torch.float16, torch.bfloat16) and _has_flash(like.device):
        return _flash(projected, lengths, counts, heads, dropped)
    if on_cpu(like) and steps(dropped):
        return _DroppedAttention.apply(lengths, counts, heads, dropped, *projected)  # type: ignore[no-any-return, no-untyped-call]
    found = []
    batches = list(_batches(lengths, counts, float("inf")))
    for batch, blocks in zip(batches, _split(projected, batches), strict=True):
        q, k, v = _parts(blocks, heads)
        if len(q):
            slots = batch.slots(q.device)
            # In fp32: torch's backward pass in bfloat16 takes fifteen times as long on a CPU.
            q, k, v = (_exact(x) for x in (batch.first(q, slots), batch.first(k), batch.first(v)))
            with torch.autocast(q.device.type, enabled=False):
                mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped).to(like.dtype)  # [B, H, Q, D/H]
            found.append(batch.back(mixed, slots).flatten(1))  # [queries, D]
    return torch.cat(found) if found else like  # nothing is asked for


@cache
def _has_flash(device: torch.device) -> bool:
    """Whether a GPU has that kernel: Ampere and newer."""
    return torch.backends.cuda.is_flash_attention_available() and torch.cuda.get_device_capability(device) >= (8, 0)


@lru_cache(maxsize=4)
def _starts(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """`[B + 1]` where rows begin, and the last one ends: copied once for all layers, as a GPU waits for it."""
    with torch.inference_mode(False):  # an evaluation's is used in training, too
        return torch.tensor([0, *accumulate(sizes)], dtype=torch.int32).to(device)


def _flash(
    projected: tuple[Tensor, ...], lengths: Sequence[int], counts: Sequence[int], heads: int, dropped: float
) -> Tensor:
    """As `_attend`, by the kernel for rows of different lengths. Not run by our tests, which have no GPU."""
    q, k, v = _parts(projected, heads)
    starts = [_starts(tuple(sizes), q.device) for sizes in (counts, lengths)]  # 2 x [B + 1]
    kernel = torch.ops.aten._flash_attention_forward  # `varlen_attn`, its public form, has no dropout
    mixed = kernel(q, k, v, *starts, max(counts), max(lengths), dropped, False, False)[0]  # [M, H, D/H]
    return mixed.flatten(1)  # type: ignore[no-any-return]


class _DroppedAttention(torch.autograd.Function):
    """Attention with dropout on a CPU, in batches of rows whose scores stay in the cache.

    For the backward pass it keeps one number a score: the probability P, below zero where it is dropped. With G the
    gradient of what is kept and d the product of an output and its gradient, which is the sum of P G over a row of
    scores, the gradient of a score is P (G - d), and -P d where it is dropped.
    """

    @staticmethod
    def forward(
        ctx: Any, lengths: Sequence[int], counts: Sequence[int], heads: int, dropped: float, *projected: Tensor
    ) -> Tensor:
        batches = list(_batches(lengths, counts, _CACHED / heads))
        ctx.batches, ctx.heads, ctx.scale, ctx.projected = batches, heads, scale(dropped), len(projected)
        q = _parts(projected, heads)[0]
        out = q.new_empty(q.shape)  # [M, H, D/H]
        room, signed = _Scratch(_exact(q[:0])), []
        tossed = coins([batch.scores(heads) for batch in batches], steps(dropped))
        blocks = _split((out, *map(_exact, projected)), batches)
        for batch, signs, (mixed, *block) in zip(batches, tossed, blocks, strict=True):
            if not len(mixed):
                continue
            slots = batch.slots(mixed.device)
            q, k, v = _batched(batch, block, heads, slots)  # [B H, Q, D/H], 2 x [B H, T, D/H]
            scores = _product(q, k.transpose(1, 2), q.shape[2] ** -0.5, room.take(*batch.scores(heads)))
            p = scores.softmax(2)  # [B H, Q, T]
            signed.append(p.copysign_(signs.view(torch.float32) if p.dtype == torch.float32 else signs))
            batch.put(mixed, _product(torch.clamp(p, min=0, out=scores), v, ctx.scale), slots)
        ctx.save_for_backward(*projected, out, *signed)
        return out.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: with recomputation they cannot be had again
        projected, (out, *signed) = saved[: ctx.projected], saved[ctx.projected :]
        of_out = _exact(torch.unflatten(gradients[0], 1, (ctx.heads, -1)))  # [M, H, D/H]
        products = (of_out * out).sum(2, keepdim=True)  # [M, H, 1]
        found = [torch.empty_like(x) for x in projected]
        blocks = _split((of_out, products, *map(_exact, projected)), ctx.batches)
        room, more_room, left = _Scratch(_exact(out[:0])), _Scratch(_exact(out[:0])), iter(signed)
        for batch, (g, d, *block), targets in zip(ctx.batches, blocks, _split(found, ctx.batches), strict=True):
            of_q, of_k, of_v = _parts(targets, ctx.heads)
            if not len(of_q):
                targets[-1].zero_()
                continue
            p, slots = next(left), batch.slots(out.device)  # [B H, Q, T]
            q, k, v = _batched(batch, block, ctx.heads, slots)
            g, d = (batch.first(x, slots).flatten(0, 1) for x in (g, d))  # [B H, Q, D/H], [B H, Q, 1]
            kept = torch.clamp(p, min=0, out=room.take(*p.shape))
            batch.put(of_v, _product(kept.transpose(1, 2), g, ctx.scale))
            scores = _product(g, v.transpose(1, 2), ctx.scale, more_room.take(*p.shape))
            scores.sub_(2 * d).mul_(kept).addcmul_(p, d)  # P (G - 2 d) + P d where it is kept, else -P d
            factor = q.shape[2] ** -0.5
            batch.put(of_q, _product(scores, k, factor), slots)
            batch.put(of_k, _product(scores.transpose(1, 2), q, factor))
        return (None, None, None, None, *found)


class _Scratch:
    """Memory that is written again and again, so that it stays in the cache.

    Args:
        like: a tensor of its number format.
    """

    def __init__(self, like: Tensor) -> None:
        self._room = like.new_empty(0)

    def take(self, *shape: int) -> Tensor:
        """All of it that a shape needs; what was taken before is lost."""
        if prod(shape) > len(self._room):
            self._room = self._room.new_empty(prod(shape))
        return self._room[: prod(shape)].view(shape)


def _batched(batch: _Batch, block: Sequence[Tensor], heads: int, slots: Tensor | None) -> tuple[Tensor, ...]:
    """`[B H, Q, D/H]` queries, `[B H, T, D/H]` keys and values of a batch; for a batch of one row they are views."""
    q, k, v = _parts(block, heads)
    return tuple(x.flatten(0, 1) for x in (batch.first(q, slots), batch.first(k), batch.first(v)))


def _exact(x: Tensor) -> Tensor:
    """In fp32 what came in bf16: scores are computed in the format that they are added up in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _product(left: Tensor, right: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """`factor * left @ right` of `[B, X, Y]` and `[B, Y, Z]`."""
    if out is None:
        out = left.new_empty(len(left), left.shape[1], right.shape[2])
    return out.baddbmm_(left, right, beta=0, alpha=factor)
