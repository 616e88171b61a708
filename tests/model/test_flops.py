"""The FLOPs of the formula are those that torch counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pubmedbert.model.flops import training_flops
from tests.model.reference import SMALL, our_model, some_rows


def test_the_formula_counts_what_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pubmedbert.model.linear._HAS_ONEDNN", False)  # whose products torch does not count
    model, lengths, masked = our_model(), [5, 5, 9, 30], [1, 2, 40]
    tokens = torch.tensor([token for row in some_rows(SMALL, lengths) for token in row])
    positions = torch.cat([torch.arange(length) for length in lengths])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused kernel is not counted
        hidden = model(tokens, positions, torch.zeros_like(tokens), lengths)
        model.logits(hidden[masked]).sum().backward()  # type: ignore[no-untyped-call]
    assert counter.get_total_flops() == training_flops(SMALL, lengths, len(masked))
