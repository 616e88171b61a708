"""Rows of a pack know nothing of each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pubmedbert.model.attention import packed_attention
from pubmedbert.model.config import SIZES
from tests.model.reference import SMALL, furthest, our_logits, our_model, some_rows

lengths = st.lists(st.integers(1, SMALL.max_positions), min_size=2, max_size=6)


@settings(max_examples=60)
@given(lengths=lengths, changed=st.integers(0, 5), seed=st.integers(0, 1000))
def test_changing_one_row_moves_no_bit_of_another(lengths: list[int], changed: int, seed: int) -> None:
    model = our_model()
    rows = some_rows(SMALL, lengths, seed)
    changed %= len(rows)
    others = [row for index, row in enumerate(our_logits(model, rows)) if index != changed]
    rows[changed] = some_rows(SMALL, [len(rows[changed])], seed + 1)[0]
    after = [row for index, row in enumerate(our_logits(model, rows)) if index != changed]
    assert all(torch.equal(one, other) for one, other in zip(others, after, strict=True))


@settings(max_examples=40)
@given(lengths=lengths, order=st.randoms(use_true_random=False))
def test_the_order_of_a_pack_does_not_matter(lengths: list[int], order: object) -> None:
    model = our_model()
    rows = some_rows(SMALL, lengths)
    places = list(range(len(rows)))
    order.shuffle(places)  # type: ignore[attr-defined]
    expected = our_logits(model, rows)
    found = our_logits(model, [rows[place] for place in places])
    assert furthest(found, [expected[place] for place in places]) < 1e-5


def test_threads_leak_nothing_either() -> None:
    config = replace(SIZES["mini"], vocab_size=1000)
    model = our_model(config)
    rows = some_rows(config, [128, 128, 128, 257])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = our_logits(model, rows)
        rows[1] = some_rows(config, [128], seed=1)[0]
        after = our_logits(model, rows)
    finally:
        torch.set_num_threads(threads)
    assert [torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [True, False, True, True]


def test_a_row_alone_equals_the_row_in_a_pack() -> None:
    model = our_model()
    rows = some_rows(SMALL, [5, 5, 40, 2])
    alone = [our_logits(model, [row])[0] for row in rows]
    assert furthest(our_logits(model, rows), alone) < 1e-5


def test_lengths_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 5, the pack holds 6"):
        packed_attention(torch.zeros(6, 12), [2, 3], heads=2)
