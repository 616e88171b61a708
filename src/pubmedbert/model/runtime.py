"""How torch is set up for a long training."""

from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h


def prepare_torch() -> None:
    """Deterministic kernels, and memory that is kept for the next step.

    By default glibc gives large tensors back to the system when they are freed; getting them again, page by page, can
    cost a third of a step. Kept, the heap grows ever more slowly as packs of new sizes come.
    """
    torch.use_deterministic_algorithms(True)
    # Every tensor is written before it is read, so none need be filled first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            if not libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30):  # an older glibc allows 32 MiB at most
                libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
