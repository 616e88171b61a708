"""Rounding to 8 bits: bounds, and what the file of weights holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper, numpy_helper

from pubmedbert.errors import InputError
from pubmedbert.infer.engines import quantise as quantise_module
from pubmedbert.infer.engines.quantise import ZERO, factor, multiplies_signed, quantise
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


@pytest.mark.parametrize("signed", [True, False])
def test_a_factor_stands_for_the_same_numbers(monkeypatch: pytest.MonkeyPatch, signed: bool) -> None:
    monkeypatch.setattr(quantise_module, "multiplies_signed", lambda: signed)
    whole = np.arange(-127, 128, dtype=np.int8)[None]
    made = factor(whole)
    assert made.dtype == (np.int8 if signed else np.uint8)
    assert np.array_equal(made.astype(int) - (0 if signed else ZERO), whole)


@pytest.mark.parametrize("signed", [multiplies_signed(), False])
def test_products_are_exact_where_16_bits_would_overflow(monkeypatch: pytest.MonkeyPatch, signed: bool) -> None:
    """All numbers are the largest: a pair of their products is 64,770. In this processor's form, and in the other."""
    monkeypatch.setattr(quantise_module, "multiplies_signed", lambda: signed)
    matrix = np.repeat(np.array([[1], [-1], [2], [-3]], np.float32), 64, axis=1)  # [out, in]
    whole, scales = quantise(matrix)
    arrays: dict[str, Any] = {
        "whole": np.ascontiguousarray(factor(whole).T),
        "scales": scales[:, 0],
        "zero": np.array(ZERO, np.uint8),
    }
    inputs = ["states", "whole", "scales", "" if signed else "zero"]
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeMatMul", inputs, ["out"], domain="com.microsoft")],
        "product",
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("com.microsoft", 1)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"states": np.ones((3, 64), np.float32)})
    assert np.allclose(found, matrix.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_file_holds_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool, signed: bool) -> None:
    monkeypatch.setattr(quantise_module, "multiplies_signed", lambda: signed)
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
        if stored[f"{name}.int8"].data_type == TensorProto.UINT8:
            assert name != "words"
            whole = read(f"{name}.int8", np.uint8).astype(int) - ZERO
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
