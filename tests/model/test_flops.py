"""The FLOPs of the formula are those that torch counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pubmedbert.model.flops import peak_flops, training_flops
from tests.model.reference import SMALL, our_model, some_rows


def test_the_formula_counts_what_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pubmedbert.model.linear.HAS_ONEDNN", False)  # whose products torch does not count
    model, lengths, masked = our_model(), [5, 5, 9, 30], [1, 2, 40]
    tokens = torch.tensor([token for row in some_rows(SMALL, lengths) for token in row])
    positions = torch.cat([torch.arange(length) for length in lengths])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused kernel is not counted
        hidden = model(tokens, positions, torch.zeros_like(tokens), lengths)
        model.logits(hidden[masked]).sum().backward()  # type: ignore[no-untyped-call]
    assert counter.get_total_flops() == training_flops(SMALL, lengths, len(masked))


def test_what_the_last_layer_does_for_places_that_are_not_wanted_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pubmedbert.model.linear.HAS_ONEDNN", False)
    model, lengths, keep = our_model(), [5, 7, 9, 30], torch.tensor([1, 2, 30, 40])
    tokens = torch.tensor([token for row in some_rows(SMALL, lengths) for token in row])
    positions = torch.cat([torch.arange(length) for length in lengths])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model.encoder(tokens, positions, torch.zeros_like(tokens), lengths, keep=keep)
        model.logits(hidden).sum().backward()  # type: ignore[no-untyped-call]
    assert counter.get_total_flops() == training_flops(SMALL, lengths, len(keep), [2, 0, 0, 2])


def test_the_best_rate_is_a_rate() -> None:
    assert 1e8 < peak_flops(1) < 1e15
