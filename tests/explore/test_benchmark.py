"""The benchmark of the explorer runs, and puts its tables where they belong in a page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_quick_run(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    command = [sys.executable, "-m", "benchmarks.explore", "--quick", "--out", str(page)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = page.read_text()
    for row in ("pass", "maps", "maps, deflate", "answer", "tiny, random", "bundled", "onnxruntime, MatMulInteger"):
        assert f"| {row} | " in text
    assert "| numpy, fp32 in blocks, 1 threads | " in text
