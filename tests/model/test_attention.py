"""Attention within rows: queries at some places only, and dropout whose gradient is written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pubmedbert.model import attention
from pubmedbert.model.attention import SelfAttention, packed_attention
from tests.model.reference import SMALL, keep_all, randomise

HEADS = 2


def plain(qkv: Tensor, lengths: list[int], kept: Tensor | None = None, share: float = 1.0) -> Tensor:
    """Attention as it is written down, row by row; probabilities times 0 or 1 / share where `kept` tells."""
    out, at = [], 0
    for row in torch.split(qkv, lengths):
        q, k, v = row.view(len(row), 3, HEADS, -1).permute(1, 2, 0, 3)  # 3 x [H, T, D/H]
        p = (q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(2)
        if kept is not None:
            p = p * kept[at : at + p.numel()].view(p.shape) / share
            at += p.numel()
        out.append((p @ v).transpose(0, 1).flatten(1))
    return torch.cat(out)


@pytest.fixture
def tossed(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Coins that do not change: True where a probability is kept."""
    kept = torch.rand(4000, generator=torch.Generator().manual_seed(0)) > 0.25

    def coins(shapes: Sequence[Sequence[int]], threshold: int) -> Iterator[Tensor]:
        counts = [prod(shape) for shape in shapes]
        for shape, part in zip(shapes, torch.split(kept[: sum(counts)], counts), strict=True):
            yield torch.where(part, 1, -1).to(torch.int32).view(tuple(shape))

    monkeypatch.setattr(attention, "coins", coins)
    return kept.double()


@pytest.mark.parametrize("most", [1 << 20, 1])
def test_dropped_probabilities_and_their_gradient(tossed: Tensor, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_CACHED", most)
    lengths = [3, 7, 9]  # of different lengths, so that coins come in the order of the rows
    qkv = torch.randn(19, 3 * 8, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(19, 8, dtype=torch.float64)
    found = packed_attention(qkv, lengths, HEADS, 0.25)
    expected = plain(qkv, lengths, tossed, 0.75)
    assert torch.allclose(found, expected, atol=1e-12)
    (ours,), (theirs,) = (torch.autograd.grad(one, qkv, pull) for one in (found, expected))
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("keep", [[0, 2, 3, 8, 9, 10, 13, 19, 25], list(range(27)), [4], [26], []])
@pytest.mark.parametrize("dropped", [0.0, 0.3])
def test_queries_at_some_places_only(keep: list[int], dropped: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if dropped:  # nothing is, by these coins: the function with the gradient by hand, and the values without dropout
        monkeypatch.setattr(attention, "coins", keep_all)
        monkeypatch.setattr(attention, "scale", lambda _: 1.0)
    lengths, places = [3, 5, 5, 5, 9], torch.tensor(keep, dtype=torch.long)
    layer = SelfAttention(SMALL).double().train(dropped > 0)
    randomise(layer)
    layer.dropout = dropped
    hidden = torch.randn(27, SMALL.width, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(len(keep), SMALL.width, dtype=torch.float64)
    inputs = [hidden, *layer.parameters()]
    some = layer(hidden, lengths, hidden[places], places)
    all_ = layer(hidden, lengths)[places]
    assert torch.allclose(some, all_, atol=1e-12)
    for one, other in zip(*(torch.autograd.grad(out, inputs, pull) for out in (some, all_)), strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_gradient_by_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def coins(shapes: Sequence[Sequence[int]], threshold: int) -> Iterator[Tensor]:
        for shape in shapes:
            draws = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(prod(shape)))
            yield torch.where(draws < 0.3, -1, 1).to(torch.int32)

    monkeypatch.setattr(attention, "coins", coins)
    qkv = torch.randn(13, 3 * 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: packed_attention(x, [3, 5, 5], HEADS, 0.3), (qkv,))


def test_dropped_attention_has_the_mean_of_whole_attention() -> None:
    torch.manual_seed(0)
    qkv = torch.randn(5 + 5 + 9, 3 * 8)
    whole = packed_attention(qkv, [5, 5, 9], HEADS)
    mean = torch.stack([packed_attention(qkv, [5, 5, 9], HEADS, dropped=0.1) for _ in range(3000)]).mean(dim=0)
    assert torch.allclose(mean, whole, atol=0.08)
    one = packed_attention(qkv[:5], [5], HEADS, dropped=0.1)
    assert not torch.allclose(one, whole[:5]), "it does drop"


def test_the_share_that_is_dropped() -> None:
    """With equal scores and values of one, an output is the share of its probabilities that are kept, scaled."""
    torch.manual_seed(0)
    rows, length, dropped = 12, 64, 0.1
    qkv = torch.cat([torch.zeros(rows * length, 16), torch.ones(rows * length, 8)], dim=1)
    kept = packed_attention(qkv, [length] * rows, HEADS, dropped)
    assert float(kept.mean()) == pytest.approx(1, abs=0.01)
    expected = (dropped / (1 - dropped) / length) ** 0.5
    assert float(kept[:, ::4].std()) == pytest.approx(expected, rel=0.1), "the spread of independent coins"


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), data=st.data())
def test_the_seed_decides_and_rows_do_not_mix(lengths: list[int], data: st.DataObject) -> None:
    total = sum(lengths)
    keep = sorted(data.draw(st.sets(st.integers(0, total - 1), min_size=1)))
    layer, hidden = SelfAttention(SMALL).train(), torch.randn(total, SMALL.width)
    changed = hidden.clone()
    changed[: lengths[0]] += 1
    outcomes = []
    for given_ in (hidden, hidden, changed):
        torch.manual_seed(7)
        outcomes.append(layer(given_, lengths, given_[keep], torch.tensor(keep)))
    assert torch.equal(outcomes[0], outcomes[1])
    others = torch.tensor([place >= lengths[0] for place in keep])
    assert torch.allclose(outcomes[0][others], outcomes[2][others], atol=1e-6)


def test_places_must_be_ascending() -> None:
    layer, hidden, keep = SelfAttention(SMALL), torch.zeros(6, SMALL.width), torch.tensor([3, 1])
    with pytest.raises(ValueError, match="ascending order"):
        layer(hidden, [6], hidden[keep], keep)


@pytest.mark.parametrize("dropped", [0.0, 0.25])
def test_scores_of_bfloat16_are_in_fp32(dropped: float) -> None:
    qkv, found = torch.randn(19, 3 * 16, generator=torch.Generator().manual_seed(3)).bfloat16(), []
    for half in (True, False):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            found.append(packed_attention(qkv if half else qkv.float(), [5, 5, 9], HEADS, dropped))
    assert found[0].dtype == torch.bfloat16
    assert torch.equal(found[0], found[1].bfloat16())
