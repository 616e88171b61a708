"""Matrices in 8 bits: whole numbers from -127 to 127 and a scale for each row of `[rows, D]`.

A row of a linear layer's matrix is one of its outputs, a row of an embedding table is one word piece. Activations are
rounded while the model runs (`DynamicQuantizeMatMul` of onnxruntime, a scale for each call), so nothing is calibrated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LARGEST = 127


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
