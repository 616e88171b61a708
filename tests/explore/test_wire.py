"""The bytes of a view: small, near, and refused when damaged."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.view import ExploredModel
from pubmedbert.explore.wire import LARGEST_ERROR, decode, encode, quantise, restore
from tests.explore.conftest import SENTENCE

Shares = arrays(np.float32, (2, 3, 4, 4), elements=st.floats(0, 1, width=32))


@given(Shares)
def test_the_error_is_as_stated(shares: NDArray[np.float32]) -> None:
    errors = np.abs(restore(quantise(shares)).astype(np.float64) - shares)
    assert errors.max() < LARGEST_ERROR
    assert (errors <= np.sqrt(shares.astype(np.float64)) / 255 + 1 / 510**2 + 1e-7).all()


@given(arrays(np.float32, (64,), elements=st.floats(-12, 12, width=32)))
def test_rows_still_add_up(logits: NDArray[np.float32]) -> None:
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    total = float(restore(quantise(shares[None])).sum(dtype=np.float64))
    assert abs(total - 1) <= 8 / 255 + 64 / 510**2 + 1e-5


def test_all_bytes_and_both_ends() -> None:
    steps = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantise(restore(steps)[None])[0], steps)
    assert quantise(np.array([[0.0, 1.0, 1.0 + 1e-6]], np.float32)).tolist() == [[0, 255, 255]]


@pytest.mark.parametrize("deflate", [True, False])
def test_a_view_there_and_back(explored: ExploredModel, deflate: bool) -> None:
    view = explored.view(SENTENCE, "A second one.", masks=[5])
    header, maps = decode(encode(view, {"model": "small"}, deflate=deflate))
    assert np.abs(maps - view.attentions).max() < LARGEST_ERROR
    assert header["model"] == "small"
    assert header["second"] == view.row.second
    assert [token["piece"] for token in header["tokens"]] == [token.piece for token in view.row.tokens]
    assert [token["masked"] for token in header["tokens"]].index(True) == 5
    assert view.guesses is not None
    assert header["guesses"][5][0][:2] == [view.guesses[5][0].id, view.guesses[5][0].piece]
    assert (header["says"], header["notices"]) == (None, [])


def test_it_is_much_smaller_than_json(explored: ExploredModel) -> None:
    view = explored.view(" ".join([SENTENCE] * 2), predictions=False)
    whole = json.dumps(view.attentions.tolist())
    assert len(encode(view)) < len(whole) / 15


@given(st.data())
def test_damage_is_refused_or_harmless(explored: ExploredModel, data: st.DataObject) -> None:
    whole = encode(explored.view("a b", predictions=False))
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if damaged:
        damaged[data.draw(st.integers(0, min(len(damaged), 200) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(InputError):  # anything else fails the test
        decode(bytes(damaged))


@pytest.mark.parametrize("harm", ["cut", "magic", "longer"])
def test_damage_is_named(explored: ExploredModel, harm: str) -> None:
    whole = encode(explored.view("a b"), deflate=False)
    damaged = {"cut": whole[:-1], "magic": b"XXXX" + whole[4:], "longer": whole + b"1"}[harm]
    with pytest.raises(InputError, match="these bytes are no attention view"):
        decode(damaged)
