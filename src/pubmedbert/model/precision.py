"""Which products of a run are in bfloat16."""

from __future__ import annotations

import time
from functools import cache

import torch

from pubmedbert.model.config import ModelError
from pubmedbert.model.linear import product

WORTHWHILE = 1.3
"""How many times as fast a CPU must multiply in bfloat16, so that a step, which is not products alone, gains by it."""


def in_bf16(precision: str, kind: str) -> bool:
    """Whether a precision of a recipe means bfloat16.

    Args:
        precision: "fp32", "bf16", or "auto": the faster one on a CPU, "bf16" on a GPU that has it (Ampere and newer).
        kind: of the device, "cpu" or "cuda".

    Raises:
        ModelError: a GPU is to multiply in bfloat16 and cannot: torch would imitate it, slowly.
    """
    able = kind != "cuda" or torch.cuda.get_device_capability() >= (8, 0)
    if precision == "bf16" and not able:
        raise ModelError("this GPU has no bfloat16 (Ampere and newer have): set precision=fp32, or leave it at auto")
    if precision in ("fp32", "bf16"):
        return precision == "bf16"
    return able if kind == "cuda" else gain() > WORTHWHILE


@cache
def gain() -> float:
    """How many times as fast bfloat16 is on this CPU; measured once for each process."""
    return bf16_gain(rounds=3)


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
