"""The benchmark of less compute, scaled down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from benchmarks.budget import reached, settings
from benchmarks.run_mlm import batches, grouped

from pubmedbert.pretrain.feed import feed
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.read import open_shards

ROOT = Path(__file__).parents[2]


def test_the_quick_run_writes_a_page_and_goes_on_from_what_is_there(shards: Path, tmp_path: Path) -> None:
    page, work = tmp_path / "docs" / "benchmarks.md", tmp_path / "work"
    page.parent.mkdir()
    command = [sys.executable, "-m", "benchmarks.budget", "--shards", str(shards), "--work", str(work)]
    command += ["--minutes", "0.1", "--quick", "--whole", "--out", str(page)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = page.read_text()
    (name, *_) = settings(json.loads((work / "begun.json").read_text())["half"])
    assert f"| {name} | " in text
    said = ("1/6 of the loop's time", "In all of the loop's time", "changes to `mini` and `mini-fast` 2.")
    for part in ("| mini | ", "| mini-fast | ", *said):
        assert part in text, part
    result = json.loads((work / f"loop {name}.json").read_text())
    assert result["points"][-1][0] >= 6
    assert result["loss"] == result["points"][-1][1] < result["points"][0][1] - 0.5, "it learns"
    picture = ElementTree.parse(page.parent / "images" / "less-compute.svg").getroot()
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) >= 4
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "after" not in again.stderr
    assert page.read_text() == text
    other = subprocess.run([*command, "--minutes", "0.2"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert other.returncode == 1
    assert "choose another --work" in other.stderr


def test_a_bar_is_reached_where_the_loss_stays_below_it() -> None:
    points = [(10.0, 7.0), (20.0, 5.9), (30.0, 6.5), (40.0, 5.5)]
    assert reached(points, 6.0) == 35.0
    assert reached(points, 7.5) == 10.0
    assert reached(points, 5.0) is None


def test_blocks_are_full_and_masked_as_ours_are(shards: Path) -> None:
    train = feed(open_shards(shards), "train", Recipe(size="tiny", length=32))
    special, split = train.special, train.split
    blocks = grouped(split, special, 32)
    documents = zip(split.documents[:-1], split.documents[1:], strict=True)
    framed = np.concatenate([[special.cls, *split.tokens[first:end], special.sep] for first, end in documents])
    assert np.array_equal(blocks.reshape(-1), framed[: len(framed) // 32 * 32])
    held = {row.tobytes() for row in blocks.astype(np.int64)}
    made = batches(train, 32, 8)
    for _ in range(5):
        batch = next(made)
        assert batch["input_ids"].shape == batch["labels"].shape == (8, 32)
        share = (batch["labels"] >= 0).double().mean()
        assert 0.08 < float(share) < 0.25
        whole = torch.where(batch["labels"] >= 0, batch["labels"], batch["input_ids"]).numpy()
        assert all(row.tobytes() in held for row in whole)
        assert not special.special[batch["labels"][batch["labels"] >= 0].numpy()].any()
