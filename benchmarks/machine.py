"""Where and with what code a figure was taken."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def place() -> str:
    """Processor, cores and commit."""
    return f"{cpu()}, {os.cpu_count()} cores, commit {commit()}"


def cpu() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def commit() -> str:
    """The commit of this checkout, "-dirty" if it was changed since; "unknown" outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
