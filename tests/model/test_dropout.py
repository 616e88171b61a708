"""Dropout by coins: its share, its scale, its gradient, its seed."""

from __future__ import annotations

import pytest
import torch

from pubmedbert.model.dropout import Dropout, coins, dropout, dropout_add


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_share_and_scale(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((1001, 777), 3.0)
    y = dropout(x, p)
    kept = y != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5 + 2**-13)
    assert torch.allclose(y[kept], torch.tensor(3.0 / (1 - p)), rtol=2e-3)
    assert float(y.mean()) == pytest.approx(3, abs=12 * (p / (1 - p) / x.numel()) ** 0.5), "exact, whatever p became"
    assert kept.float().mean(dim=0).std() < 1.2 * (p * (1 - p) / 1001) ** 0.5, "no column is favoured"


@pytest.mark.parametrize("size", [2**20, 999_983])
def test_coins_are_independent(size: int) -> None:
    """Neighbours, and elements whose coins are bits of one word, or of words tossed after each other."""
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(size), 0.1) == 0).float()
    words = -(-size // 32)
    for distance in (1, 2, 3, 4, 8, 31, 32, 64, words - 1, words, words + 1, 2 * words, 16 * words):
        both = float((dropped[:-distance] * dropped[distance:]).mean())
        assert both == pytest.approx(0.01, abs=0.0006), distance


def test_no_bit_of_a_word_is_favoured() -> None:
    torch.manual_seed(2)
    (tossed,) = coins([(32, 2**15)], 410)
    tails = (tossed < 0).float().mean(dim=1)  # [32] one for each bit
    assert torch.allclose(tails, torch.tensor(410 / 4096), atol=5 * (0.1 * 0.9 / 2**15) ** 0.5)


def test_coins_of_several_shapes_are_tossed_as_one() -> None:
    shapes = [(3, 5), (0, 7), (2, 32), (33,)]
    torch.manual_seed(4)
    several = list(coins(shapes, 410))
    assert [tuple(one.shape) for one in several] == shapes
    torch.manual_seed(4)
    (whole,) = coins([(32 * (1 + 2 + 2),)], 410)
    bits = whole.view(32, 5).T  # [5 words, 32 bits]
    starts = [0, 1, 1, 3]
    for one, start in zip(several, starts, strict=True):
        words = -(-one.numel() // 32)
        assert torch.equal(one.flatten() < 0, bits[start : start + words].T.flatten()[: one.numel()] < 0)


@pytest.mark.parametrize("threshold", [0, 1, 2, 1365, 2048, 4095])
def test_every_probability_can_be_tossed(threshold: int) -> None:
    torch.manual_seed(3)
    (tossed,) = coins([(2**20,)], threshold)
    share = float((tossed < 0).float().mean())
    assert share == pytest.approx(threshold / 4096, abs=5 * (threshold / 4096 / 2**20) ** 0.5)


def test_a_sum_with_dropout_has_the_gradients_of_both() -> None:
    x, residual = (torch.randn(33, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def seeded(x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return dropout_add(x, residual, 0.3)

    assert torch.autograd.gradcheck(seeded, (x, residual))
    torch.manual_seed(5)
    assert torch.allclose(seeded(x, residual), residual + _seeded_dropout(x))


def _seeded_dropout(x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(5)
    return dropout(x, 0.3)


def test_the_gradient_is_dropped_with_the_value() -> None:
    x = torch.randn(33, 7, requires_grad=True)
    y = dropout(x, 0.3)
    (2 * y).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    assert torch.allclose(x.grad[y != 0], torch.tensor(2 / 0.7), rtol=2e-3)


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
