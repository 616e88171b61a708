"""Which products of a run are in bfloat16."""

from __future__ import annotations

from functools import cache

from pubmedbert.model.runtime import bf16_gain

WORTHWHILE = 1.3
"""How many times as fast a CPU must multiply in bfloat16, so that a step, which is not products alone, gains by it."""


def in_bf16(precision: str, kind: str) -> bool:
    """Whether a precision of a recipe means bfloat16.

    Args:
        precision: "fp32", "bf16", "auto" or "fastest".
        kind: of the device, "cpu" or "cuda".
    """
    if precision in ("fp32", "bf16"):
        return precision == "bf16"
    return kind == "cuda" or (precision == "fastest" and gain() > WORTHWHILE)


@cache
def gain() -> float:
    """How many times as fast bfloat16 is on this CPU; measured once for each process."""
    return bf16_gain(rounds=3)
