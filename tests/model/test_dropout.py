"""Dropout by sixteen bits an element: its share, its scale, its gradient, its seed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pubmedbert.model.attention import packed_attention
from pubmedbert.model.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_share_and_scale(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((1001, 777), 3.0)
    y = dropout(x, p)
    kept = y != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5 + 2**-16)
    assert torch.allclose(y[kept], torch.tensor(3.0 / (1 - p)), rtol=1e-4)
    assert kept.float().mean(dim=0).std() < 1.2 * (p * (1 - p) / 1001) ** 0.5, "no column is favoured"


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(2**20), 0.1) == 0).float()
    for distance in (1, 2, 3, 4, 8):
        both = float((dropped[:-distance] * dropped[distance:]).mean())
        assert both == pytest.approx(0.01, abs=0.0005), distance


def test_the_gradient_is_dropped_with_the_value() -> None:
    x = torch.randn(33, 7, requires_grad=True)
    y = dropout(x, 0.3)
    (2 * y).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    assert torch.allclose(x.grad[y != 0], torch.tensor(2 / 0.7), rtol=1e-4)


def test_the_seed_decides() -> None:
    x = torch.ones(5, 13)
    outcomes = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outcomes.append(dropout(x, 0.5))
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    x = torch.randn(4, 4)
    assert dropout(x, 0.0) is x
    assert Dropout(0.5).eval()(x) is x


def test_dropped_attention_has_the_mean_of_whole_attention() -> None:
    torch.manual_seed(0)
    qkv = torch.randn(5 + 5 + 9, 3 * 8)
    whole = packed_attention(qkv, [5, 5, 9], heads=2)
    mean = torch.stack([packed_attention(qkv, [5, 5, 9], heads=2, dropped=0.1) for _ in range(3000)]).mean(dim=0)
    assert torch.allclose(mean, whole, atol=0.08)
    one = packed_attention(qkv[:5], [5], heads=2, dropped=0.1)
    assert not torch.allclose(one, whole[:5]), "it does drop"


def test_attention_with_dropout_computes_softmax_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pubmedbert.model.attention.dropout", lambda x, p: x)
    qkv = torch.randn(7, 3 * 8)
    q, k, v = qkv.view(1, 7, 3, 2, 4).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(7, 8)
    assert torch.allclose(packed_attention(qkv, [7], heads=2, dropped=0.1), expected, atol=1e-6)
