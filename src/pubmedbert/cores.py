"""How many processor cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """OMP_NUM_THREADS where it is set, as in torch; else the cores that the system lets this process use."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdecimal() and int(named) > 0:
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
