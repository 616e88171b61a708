"""The benchmark of pretraining runs, scaled down, and puts its tables where they belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from benchmarks.masked_batches import collated, packs, write_texts

ROOT = Path(__file__).parents[2]
ALL = "<!-- pretrain: begin -->\nof all sizes\n<!-- pretrain: end -->\n"
OPENING, CLOSING = "<!-- pretrain tiny: begin -->\n", "<!-- pretrain tiny: end -->\n"


def test_the_quick_run(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Benchmarks\n\n{ALL}\n{OPENING}of yesterday\n{CLOSING}\n## Others\n")
    command = [sys.executable, "-m", "benchmarks.pretrain", "--quick", "--profile", "--out", str(page)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = page.read_text()
    assert text.startswith(f"# Benchmarks\n\n{ALL}\n{OPENING}## Pretraining step, tiny alone\n")
    assert text.endswith(f"{CLOSING}\n## Others\n")
    assert "yesterday" not in text
    for part in (
        "| tiny, 128 | ",
        "padded to longest",
        "2048×2048×2048",
        "times as fast as in fp32",
        "| all others | ",
    ):
        assert part in text, part


def test_all_variants_read_the_same_rows(tmp_path: Path) -> None:
    write_texts(None, tmp_path / "texts.npz")
    ours, flops = packs("tiny", 128, tmp_path / "texts.npz", 3, 1024)
    padded, longest, blocks = (
        collated(kind, 128, tmp_path / "texts.npz", 3, 1024) for kind in ("padded", "longest", "blocks")
    )
    assert 1e6 < flops < 1e7
    for pack, whole, short, block in zip(ours, padded, longest, blocks, strict=True):
        real = [batch["attention_mask"].sum(1) for batch in (whole, short)]
        assert sorted(real[0].tolist()) == sorted(real[1].tolist()) == pack.lengths
        assert whole["input_ids"].shape == block["input_ids"].shape == (8, 128)
        assert short["input_ids"].shape == (8, max(pack.lengths))
        assert bool(block["attention_mask"].all())
        restored = torch.where(whole["labels"] >= 0, whole["labels"], whole["input_ids"])
        text = np.sort(np.concatenate([row[:length] for row, length in zip(restored, real[0], strict=True)]))
        tokens = pack.tokens.copy()
        tokens[pack.where] = pack.labels
        assert np.array_equal(np.sort(tokens), text)
    share = np.mean([len(pack.where) / len(pack.tokens) for pack in ours])
    assert 0.1 < share < 0.2
