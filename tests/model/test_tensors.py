"""Tensors of safetensors files, mapped: the numbers of torch, whatever their kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from pubmedbert.model.tensors import BFLOAT16, Floats, floats, read_safetensors

KINDS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number(tmp_path: Path, kind: torch.dtype) -> None:
    state = {"a": (torch.randn(3, 5) * 4).to(kind), "b": torch.zeros(0, 4, dtype=kind), "c": torch.ones(()).to(kind)}
    save_file({**state, "odd": torch.ones(3, dtype=torch.uint8)}, tmp_path / "a.safetensors")
    found = Floats(read_safetensors(tmp_path / "a.safetensors"))
    assert set(found) == {"a", "b", "c", "odd"}
    assert len(found) == 4
    for name, value in state.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == tuple(value.shape)
        assert np.array_equal(found[name], value.float().numpy())


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=50))
def test_bfloat16_bit_by_bit(bits: list[int]) -> None:
    stored = np.array(bits, np.uint16)
    expected = torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert np.array_equal(floats(stored.view(BFLOAT16)), expected, equal_nan=True)


def test_an_fp64_beyond_fp32_is_infinite() -> None:
    assert floats(np.array([1e300, -1e300, 0.5])).tolist() == [np.inf, -np.inf, 0.5]


def test_fp32_is_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    save_file({"a": torch.ones(64, 64)}, tmp_path / "a.safetensors")
    found = Floats(read_safetensors(tmp_path / "a.safetensors"))
    assert np.shares_memory(found["a"], found["a"])
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0, 0] = 2


def test_what_lies_at_an_odd_place_is_aligned() -> None:
    odd = np.frombuffer(bytes(1) + np.arange(6, dtype=np.float32).tobytes(), np.float32, 6, 1)
    assert not odd.flags.aligned
    assert floats(odd).flags.aligned
    assert floats(odd).tolist() == [0, 1, 2, 3, 4, 5]
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert floats(turned).flags.c_contiguous
    half = np.arange(6, dtype=np.uint16).view(BFLOAT16).reshape(2, 3).T
    assert floats(half).flags.c_contiguous


def test_kinds_that_no_bert_has(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="a is of kind F8_E4M3, only F64, F32, F16"):
        read_safetensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}beyond"])
def test_damaged_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(SafetensorError):
        read_safetensors(tmp_path / "a.safetensors")


def test_a_header_of_endless_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    names = ",".join(f'"{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(50_000))
    header = f"{{{names}}}".encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(SafetensorError, match="a header of"):
        read_safetensors(path)
