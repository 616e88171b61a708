"""Rounding to 8 bits: bounds, and what the file of weights holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pubmedbert.errors import InputError
from pubmedbert.infer.engines.quantise import quantise
from pubmedbert.infer.engines.weight_file import matrices, write_weights
from pubmedbert.infer.engines.weights import read_checkpoint
from pubmedbert.model import hf
from tests.model.reference import SMALL, our_model

numbers = st.floats(-(2.0**100), 2.0**100, width=32)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=numbers))
def test_each_number_is_within_half_a_scale(matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    whole, scales = quantise(matrix)
    assert whole.dtype == np.int8
    assert scales.dtype == np.float32
    assert scales.shape == (len(matrix), 1)
    assert np.abs(whole.astype(int)).max() <= 127
    bound = scales.astype(np.float64) * 0.5001
    off = np.abs(whole * scales.astype(np.float64) - matrix)
    assert (off <= np.maximum(bound, np.abs(matrix) * (np.abs(matrix) < 1e-35))).all()


def test_rows_that_are_zero_or_tiny() -> None:
    whole, scales = quantise(np.array([[0, 0], [1e-40, -1e-40], [2, -1]], np.float32))
    assert whole.tolist() == [[0, 0], [0, 0], [127, -64]]
    assert np.isfinite(scales).all()


def test_a_row_keeps_its_own_scale() -> None:
    """An outlier in one row costs the others nothing."""
    matrix = np.random.default_rng(0).standard_normal((8, 32), dtype=np.float32)
    matrix[3, 5] = 1e4
    whole, scales = quantise(matrix)
    off = np.abs(whole * scales - matrix).max(axis=1)
    assert off[3] > 1
    assert np.delete(off, 3).max() < 0.02


@pytest.mark.parametrize("tied", [True, False])
def test_the_file_holds_every_number(tmp_path: Path, tied: bool) -> None:
    hf.save(our_model(dataclasses.replace(SMALL, tied=tied)), tmp_path)
    checkpoint = read_checkpoint(tmp_path, "mlm")
    names = matrices(checkpoint.config, vocabulary=True)
    stored = write_weights(checkpoint, tmp_path / "weights.bin", [name for name in names if name != "0.up"])

    def read(name: str, kind: type[np.generic]) -> Any:
        place = {entry.key: entry.value for entry in stored[name].external_data}
        assert place["location"] == "weights.bin"
        assert int(place["offset"]) % 4096 == 0
        values = np.fromfile(
            tmp_path / "weights.bin",
            kind,
            stored[name].dims[0] * int(np.prod(stored[name].dims[1:])),
            offset=int(place["offset"]),
        )
        assert values.nbytes == int(place["length"])
        return values.reshape(stored[name].dims)

    for name, modules in names.items():
        matrix = np.concatenate(
            [
                checkpoint.tensors[
                    f"{'bert.embeddings.word_embeddings' if name == 'decoder' and tied else module}.weight"
                ]
                for module in modules
            ]
        )
        if name == "0.up":
            assert np.array_equal(read("0.up.weight", np.float32), matrix)
            continue
        whole, scales = read(f"{name}.int8", np.int8), read(f"{name}.scales", np.float32)
        again = whole * scales if name == "words" else (whole * scales).T
        assert np.abs(again - matrix).max() <= np.abs(matrix).max() / 127 * 0.51


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    model = our_model()
    hf.save(model, tmp_path)
    checkpoint = read_checkpoint(tmp_path, "mlm")
    broken = dict(checkpoint.tensors)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    broken[name] = broken[name].copy()
    broken[name][0, 0] = np.nan
    with pytest.raises(InputError, match=r"layer\.0\.intermediate\.dense holds what is no finite number"):
        write_weights(dataclasses.replace(checkpoint, tensors=broken), tmp_path / "weights.bin", ["0.up"])
