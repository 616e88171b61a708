"""Where and with what code a figure was taken."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def place() -> str:
    """Processor, cores and commit."""
    return f"{cpu()}, {os.cpu_count()} cores, commit {commit()}"


WIDEST = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}
"""What a processor's flags say of its widest instructions: one name is sold with different ones."""


def cpu() -> str:
    """The processor's name, with its widest instructions where it says them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    told = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    name = told.get("model name", platform.processor()).strip()
    flags = set(told.get("flags", "").split())
    return " with ".join([name, *(word for flag, word in WIDEST.items() if flag in flags)][:2])


def commit() -> str:
    """The commit of this checkout, "-dirty" if it was changed since; "unknown" outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
