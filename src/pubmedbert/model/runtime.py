"""How torch is set up for a long training."""

from __future__ import annotations

import ctypes
import sys
import time

import torch

from pubmedbert.model.linear import product

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


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
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never


def bf16_gain(rounds: int = 3) -> float:
    """How many times as fast this CPU multiplies matrices in bfloat16 as in fp32, measured on a product of BERT-base.

    No flag of a CPU tells: with AMX it is several times as fast, with AVX-512 alone twice as fast on some (AMD Zen 4)
    and half as fast on others (Intel).
    """
    fp32 = torch.ones(1024, 768), torch.ones(3072, 768)
    bf16 = tuple(x.bfloat16() for x in fp32)
    best = {x: float("inf") for x in (fp32, bf16)}
    for _ in range(rounds):
        for x in best:
            started = time.perf_counter()
            product(x[0], x[1], None)
            best[x] = min(best[x], time.perf_counter() - started)
    return best[fp32] / best[bf16]
