"""Linear layers by oneDNN: the values and gradients of torch's own."""

from __future__ import annotations

import pytest
import torch
from benchmarks import products
from torch.nn import functional as F

from pubmedbert.model.linear import Linear, linear


@pytest.mark.parametrize(("rows", "inner", "outer"), [(1, 3, 2), (7, 32, 96), (130, 64, 5), (0, 4, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mkl", [True, False])
def test_values_and_gradients_are_those_of_torch(
    rows: int, inner: int, outer: int, bias: bool, mkl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pubmedbert.model.linear.INPUT_BY_MKL", mkl)
    torch.manual_seed(0)
    found = []
    x, weight, offset = torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(outer) if bias else None
    pull = torch.randn(rows, outer)
    for function in (linear, F.linear):
        given = [None if one is None else one.clone().requires_grad_() for one in (x, weight, offset)]
        y = function(*given)  # type: ignore[arg-type]
        y.backward(pull)  # type: ignore[no-untyped-call]
        found.append([y.detach(), *(one.grad for one in given if one is not None)])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_frozen_weights_get_no_gradient() -> None:
    layer = Linear(4, 3)
    layer.requires_grad_(False)
    x = torch.randn(2, 4, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None


def test_the_same_input_gives_the_same_bits() -> None:
    layer, x = Linear(64, 48), torch.randn(200, 64)
    assert all(torch.equal(layer(x), layer(x)) for _ in range(5))


def test_other_numbers_are_left_to_torch() -> None:
    layer, x = Linear(8, 4).double(), torch.randn(3, 8, dtype=torch.float64)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(8, 4)(torch.randn(3, 8)).dtype == torch.bfloat16


def test_benchmark_of_equal_products(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    for name, by_onednn, by_mkl in products.products(7, 5, 3):
        assert torch.allclose(by_onednn(), by_mkl(), atol=1e-5), name
    monkeypatch.setattr(products, "PIECES", 9)
    monkeypatch.setattr(products, "MASKED", 2)
    monkeypatch.setattr("sys.argv", ["products", "--sizes", "mini", "--rounds", "1"])
    products.main()
    rows = capsys.readouterr().out.splitlines()[4:]
    assert len(rows) == 12
    chosen = {row.split(" | ")[1]: row.split(" | ")[-1].strip(" |") for row in rows}
    monkeypatch.setattr("pubmedbert.model.linear.HAS_ONEDNN", True)
    monkeypatch.setattr("pubmedbert.model.linear.INPUT_BY_MKL", chosen["of_input"] == "oneDNN")
    assert products.chosen("of_input") != chosen["of_input"]
