"""Matrices in 8 bits: whole numbers from -127 to 127 and a scale for each row of `[rows, D]`.

A row of a linear layer's matrix is one of its outputs, a row of an embedding table is one word piece. Activations are
rounded while the model runs (`DynamicQuantizeMatMul` of onnxruntime, a scale for each call), so nothing is calibrated.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LARGEST = 127
ZERO = 128
"""What stands for 0 in an unsigned factor."""


def quantise(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix in int8.

    Args:
        matrix: `[rows, D]`, finite.

    Returns:
        Whole numbers `[rows, D]` and scales `[rows, 1]`: their product differs from the matrix by half a scale at most.
    """
    largest = np.maximum(matrix.max(axis=1, keepdims=True), -matrix.min(axis=1, keepdims=True))  # [rows, 1]
    tiny = np.finfo(np.float32).tiny * _LARGEST  # below, a scale would lose its own digits
    scales = np.where(largest >= tiny, largest / _LARGEST, np.float32(1)).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


def factor(whole: NDArray[np.int8]) -> NDArray[np.int8] | NDArray[np.uint8]:
    """A rounded matrix in the form in which this processor multiplies it exactly; both forms give the same products.

    Activations are unsigned. On x86 without VNNI onnxruntime adds pairs of products with signed numbers in 16 bits,
    which cut off what is larger; products of unsigned numbers it adds in 32, not quite as fast.

    Args:
        whole: signed numbers.

    Returns:
        The same, or unsigned ones, `ZERO` higher.
    """
    return whole if multiplies_signed() else (whole.view(np.uint8) ^ np.uint8(ZERO))


def multiplies_signed() -> bool:
    """Whether this processor adds up products of unsigned and signed 8-bit numbers without overflow."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            about = file.read(8192)  # the first processor speaks for all
    except OSError:
        return False
    return "avx512_vnni" in about or "avx_vnni" in about
