"""The benchmark of inference runs, and puts its tables where they belong in a page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.infer import BARS, VARIANTS
from benchmarks.page import put

ROOT = Path(__file__).parents[2]
OPENING, CLOSING = "<!-- infer: begin -->\n", "<!-- infer: end -->\n"


def test_the_quick_run(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Benchmarks\n\n{OPENING}of yesterday\n{CLOSING}\n## Others\n")
    command = [sys.executable, "-m", "benchmarks.infer", "--quick", "--out", str(page)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n")
    assert text.endswith(f"{CLOSING}\n## Others\n")
    assert "yesterday" not in text
    for variant in VARIANTS:
        assert f"| {variant} | " in text
    for bar in BARS:
        assert bar.size == "large" or f"| {bar.what} | {bar.ours} | {bar.theirs} | " in text
    assert "random weights" in text
    assert "the same best piece for all texts" in text


def test_a_page_that_is_not_there_yet(tmp_path: Path) -> None:
    put("tables\n", tmp_path / "new.md", "infer")
    assert (tmp_path / "new.md").read_text() == f"# Benchmarks\n\n{OPENING}tables\n{CLOSING}"


def test_a_page_without_this_part(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n<!-- other: begin -->\nkept\n<!-- other: end -->\n")
    put("tables\n", page, "infer")
    put("newer\n", page, "infer")
    text = page.read_text()
    assert "kept" in text
    assert "tables" not in text
    assert text.endswith(f"\n\n{OPENING}newer\n{CLOSING}")
