"""Loss curves of fifty steps, frozen: the same bits on the machine that wrote them, close to them on any other.

`PUBMEDBERT_GOLDEN=write pytest tests/pretrain/test_golden.py` writes them anew, after a change that is meant.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pubmedbert.pretrain import run
from pubmedbert.pretrain.loop import pretrain
from tests.pretrain.conftest import SMALL, changed, metrics

GOLDEN = Path(__file__).parents[1] / "golden"
MLM = changed(SMALL, steps=50, evaluate_every=25, evaluate_rows=64, checkpoint_every=50)
RECIPES = {"mlm": MLM, "mlm+nsp": replace(MLM, objective="mlm+nsp", two_segments=True)}


def machine() -> str:
    """What must be equal for equal bits: processor, instructions, torch and threads."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {capability}, torch {torch.__version__}, {torch.get_num_threads()} threads"


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_those_of_before(name: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "peak_flops", lambda **_: 1e9)
    pretrain(RECIPES[name], shards, tmp_path / "run")
    curves: dict[str, list[object]] = {}
    for line in metrics(tmp_path / "run"):
        for key in line.keys() & {"loss", "grad_norm", "nsp_loss", "eval_loss", "eval_nsp_loss"}:
            curves.setdefault(key, []).append(line[key])
    path = GOLDEN / f"pretrain-{name}.json"
    if os.environ.get("PUBMEDBERT_GOLDEN") == "write":
        path.write_text(json.dumps({"machine": machine(), **dict(sorted(curves.items()))}, indent=0) + "\n")
    golden = json.loads(path.read_text())
    same = golden.pop("machine") == machine()
    assert curves.keys() == golden.keys()
    for key, curve in curves.items():
        assert curve == (golden[key] if same else pytest.approx(golden[key], rel=2e-2 if key == "grad_norm" else 2e-3))
